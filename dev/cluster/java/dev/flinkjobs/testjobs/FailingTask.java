package dev.flinkjobs.testjobs;

import org.apache.flink.configuration.Configuration;

/**
 * A job whose task fails: at once, or when all that is asked for holds: {@code --fail-after N} records were counted, N of them are
 * in a completed checkpoint with {@code --fail-after-kept N}, a file exists with {@code --fail-when FILE}. It is not restarted, but
 * with {@code --restart as-configured}.
 */
public final class FailingTask {
    private FailingTask() {}

    public static void main(String[] args) throws Exception {
        Job job = new Job("FailingTask", args);
        if (!"as-configured".equals(job.arguments.text("restart"))) {
            Configuration never = new Configuration();
            never.setString("restart-strategy.type", "none");
            job.env.configure(never);
        }
        job.countAndFail(new Failure(
                job.arguments.number("fail-after", 0),
                job.arguments.number("fail-after-kept", -1),
                job.arguments.text("fail-when")));
        job.execute("failing");
    }
}
