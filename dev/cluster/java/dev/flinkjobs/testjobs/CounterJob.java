package dev.flinkjobs.testjobs;

/** Counts for ever. */
public final class CounterJob {
    private CounterJob() {}

    public static void main(String[] args) throws Exception {
        Job job = new Job("CounterJob", args);
        job.count(Long.MAX_VALUE - 1);
        job.execute("counter");
    }
}
