package dev.flinkjobs.testjobs;

/** A main method that submits a job and throws then: Flink refuses the request, and the job runs. */
public final class ThrowsAfterExecute {
    private ThrowsAfterExecute() {}

    public static void main(String[] args) throws Exception {
        Job job = new Job("ThrowsAfterExecute", args);
        job.count(Long.MAX_VALUE - 1);
        job.execute("first");
        throw new IllegalStateException("main throws after execute");
    }
}
