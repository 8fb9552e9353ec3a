package dev.flinkjobs.testjobs;

import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;

/** A main method that calls execute twice, in two environments, so that only the cluster can refuse the second. */
public final class TwoEnvironments {
    private TwoEnvironments() {}

    public static void main(String[] args) throws Exception {
        Job job = new Job("TwoEnvironments", args);
        job.count(Long.MAX_VALUE - 1);
        job.execute("first");
        StreamExecutionEnvironment other = StreamExecutionEnvironment.getExecutionEnvironment();
        other.fromSequence(1, 10).sinkTo(new DiscardingSink<>());
        other.execute("second");
    }
}
