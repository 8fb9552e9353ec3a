package dev.flinkjobs.testjobs;

/** Finishes by itself: at once, or after about {@code --seconds N}. */
public final class BoundedJob {
    private BoundedJob() {}

    public static void main(String[] args) throws Exception {
        Job job = new Job("BoundedJob", args);
        long pause = job.arguments.number("pause-ms", 10);
        job.count(1 + job.arguments.number("seconds", 0) * 1000 / Math.max(pause, 1));
        job.execute("bounded");
    }
}
