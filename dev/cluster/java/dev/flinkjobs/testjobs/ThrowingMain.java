package dev.flinkjobs.testjobs;

/** A main method that throws before it submits anything. */
public final class ThrowingMain {
    private ThrowingMain() {}

    public static void main(String[] args) throws Exception {
        new Job("ThrowingMain", args);
        throw new IllegalArgumentException("main throws on purpose");
    }
}
