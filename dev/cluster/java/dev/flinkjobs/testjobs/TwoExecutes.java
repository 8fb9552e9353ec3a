package dev.flinkjobs.testjobs;

/** A main method that calls execute twice. */
public final class TwoExecutes {
    private TwoExecutes() {}

    public static void main(String[] args) throws Exception {
        Job job = new Job("TwoExecutes", args);
        job.count(Long.MAX_VALUE - 1);
        job.execute("first");
        job.count(Long.MAX_VALUE - 1);
        job.execute("second");
    }
}
