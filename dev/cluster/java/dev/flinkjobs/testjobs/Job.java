package dev.flinkjobs.testjobs;

import org.apache.flink.configuration.PipelineOptionsInternal;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;

/** What all test jobs share: arguments, ledger, and the one pipeline that they build. */
final class Job {
    final Arguments arguments;
    final Ledger ledger;
    final StreamExecutionEnvironment env;

    /** Called first by each main method; records that it was started. {@code --checkpoint-ms N} turns checkpoints on. */
    Job(String name, String[] args) throws Exception {
        arguments = new Arguments(args);
        ledger = new Ledger(arguments.text("ledger"));
        env = StreamExecutionEnvironment.getExecutionEnvironment();
        long checkpoints = arguments.number("checkpoint-ms", 0);
        if (checkpoints > 0) {
            env.enableCheckpointing(checkpoints);
        }
        // The id that the submission asked for, if it did.
        String id = env.getConfiguration().get(PipelineOptionsInternal.PIPELINE_FIXED_JOB_ID);
        ledger.add("main " + name + " " + (id == null ? "-" : id));
    }

    /** Adds a source that counts up to a limit, slowly, and keeps its count in a checkpoint. */
    void count(long limit) {
        count(limit, null);
    }

    /** Adds a source whose task fails. */
    void countAndFail(Failure failure) {
        count(Long.MAX_VALUE - 1, failure);
    }

    private void count(long limit, Failure failure) {
        long pause = arguments.number("pause-ms", 10);
        Counter counter =
                new Counter(ledger, pause, failure, arguments.text("on-snapshot"), arguments.text("on-complete"));
        // Parallelism 1 throughout, so that one start is one line of the ledger.
        env.fromSequence(1, limit)
                .setParallelism(1)
                .uid("numbers")
                .map(counter)
                .setParallelism(1)
                .uid("counter")
                .sinkTo(new DiscardingSink<>())
                .setParallelism(1)
                .uid("nowhere");
    }

    void execute(String name) throws Exception {
        env.execute(arguments.text("name") == null ? name : arguments.text("name"));
    }
}
