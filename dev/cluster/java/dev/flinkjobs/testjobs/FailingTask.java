package dev.flinkjobs.testjobs;

import org.apache.flink.configuration.Configuration;

/** A job whose task fails at once, or after {@code --fail-after N} records, and is not restarted. */
public final class FailingTask {
    private FailingTask() {}

    public static void main(String[] args) throws Exception {
        Job job = new Job("FailingTask", args);
        Configuration never = new Configuration();
        never.setString("restart-strategy.type", "none");
        job.env.configure(never);
        job.countAndFail(job.arguments.number("fail-after", 0));
        job.execute("failing");
    }
}
