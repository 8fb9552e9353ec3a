package dev.flinkjobs.testjobs;

/** A main method that builds a pipeline and never calls execute. */
public final class NoExecute {
    private NoExecute() {}

    public static void main(String[] args) throws Exception {
        new Job("NoExecute", args).count(10);
    }
}
