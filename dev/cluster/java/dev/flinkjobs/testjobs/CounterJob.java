package dev.flinkjobs.testjobs;

/** Counts for ever. {@code --checkpoint-ms N} turns checkpoints on, as {@code execution.checkpointing.interval} does. */
public final class CounterJob {
    private CounterJob() {}

    public static void main(String[] args) throws Exception {
        Job job = new Job("CounterJob", args);
        long checkpoints = job.arguments.number("checkpoint-ms", 0);
        if (checkpoints > 0) {
            job.env.enableCheckpointing(checkpoints);
        }
        job.count(Long.MAX_VALUE - 1);
        job.execute("counter");
    }
}
