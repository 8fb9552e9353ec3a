package dev.flinkjobs.testjobs;

import java.util.HashMap;
import java.util.Map;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.state.CheckpointListener;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;

/**
 * Counts what passes. It runs in the task of the source, so its start is the start of the source.
 *
 * <p>The ledger gets a line for each start, with the count that was restored, each snapshot, with the count in it, each end,
 * and ten times a second while it counts.
 */
final class Counter extends RichMapFunction<Long, Long> implements CheckpointedFunction, CheckpointListener {
    private static final long serialVersionUID = 1;
    /** Between two lines about counting, in nanoseconds. */
    private static final long SILENCE = 100_000_000;

    private final Ledger ledger;
    private final long pause;
    /** Null: never. */
    private final Failure failure;
    private final String onSnapshot;
    private final String onComplete;

    private transient ListState<Long> kept;
    /** The counts in the checkpoints that may become complete, by their numbers. */
    private transient Map<Long, Long> snapshots;

    private long count;
    private long restored;
    /** How many records since the start are in a completed checkpoint; -1 before there is one. */
    private long completed = -1;

    private long told;

    Counter(Ledger ledger, long pause, Failure failure, String onSnapshot, String onComplete) {
        this.ledger = ledger;
        this.pause = pause;
        this.failure = failure;
        this.onSnapshot = onSnapshot;
        this.onComplete = onComplete;
    }

    @Override
    public void initializeState(FunctionInitializationContext context) throws Exception {
        kept = context.getOperatorStateStore().getListState(new ListStateDescriptor<>("count", Types.LONG));
        for (Long part : kept.get()) {
            count += part;
        }
        restored = count;
        snapshots = new HashMap<>();
    }

    @Override
    public void open(OpenContext context) throws Exception {
        tell("source", getRuntimeContext().getTaskInfo().getAttemptNumber());
    }

    /** Adds a line: what, which job, a number, and the count. */
    private void tell(String what, long number) throws Exception {
        ledger.add(what + " " + getRuntimeContext().getJobInfo().getJobId() + " " + number + " " + count);
        told = System.nanoTime();
    }

    @Override
    public Long map(Long number) throws Exception {
        long counted = count - restored;
        if (failure != null && failure.isDue(counted, completed)) {
            throw new IllegalStateException("the task fails on purpose after " + counted + " records");
        }
        count++;
        if (System.nanoTime() - told >= SILENCE) {
            tell("count", getRuntimeContext().getTaskInfo().getAttemptNumber());
        }
        Thread.sleep(pause);
        return number;
    }

    @Override
    public void close() throws Exception {
        tell("end", getRuntimeContext().getTaskInfo().getAttemptNumber());
    }

    @Override
    public void snapshotState(FunctionSnapshotContext context) throws Exception {
        misbehave(onSnapshot, "the snapshot");
        kept.clear();
        kept.add(count);
        snapshots.put(context.getCheckpointId(), count);
        tell("snapshot", context.getCheckpointId());
    }

    @Override
    public void notifyCheckpointComplete(long checkpointId) throws Exception {
        misbehave(onComplete, "the completion of a snapshot");
        Long complete = snapshots.remove(checkpointId);
        if (complete != null) {
            completed = Math.max(completed, complete - restored);
        }
    }

    private static void misbehave(String how, String when) throws Exception {
        if ("fail".equals(how)) {
            throw new IllegalStateException("the task fails on purpose at " + when);
        } else if ("hang".equals(how)) {
            Thread.sleep(Long.MAX_VALUE);
        }
    }
}
