package dev.flinkjobs.testjobs;

/** A main method that sleeps {@code --sleep-seconds N} (for ever without it) and then runs the counter. */
public final class SleepingMain {
    private SleepingMain() {}

    public static void main(String[] args) throws Exception {
        Job job = new Job("SleepingMain", args);
        long seconds = job.arguments.number("sleep-seconds", -1);
        Thread.sleep(seconds < 0 ? Long.MAX_VALUE : seconds * 1000);
        job.count(Long.MAX_VALUE - 1);
        job.execute("slept");
    }
}
