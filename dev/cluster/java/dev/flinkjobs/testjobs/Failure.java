package dev.flinkjobs.testjobs;

import java.io.Serializable;
import java.nio.file.Files;
import java.nio.file.Paths;

/**
 * When a task fails on purpose: once all of this holds. It is counted from the start of the task, so that a job that was restored
 * makes progress before it fails again.
 */
final class Failure implements Serializable {
    private static final long serialVersionUID = 1;

    private final long records;
    private final long kept;
    private final String file;

    /** After so many records, with so many in a completed checkpoint (-1: none is needed), while a file exists (null: none). */
    Failure(long records, long kept, String file) {
        this.records = records;
        this.kept = kept;
        this.file = file;
    }

    /** Whether it fails now. {@code completed} is -1 before the first checkpoint is complete. */
    boolean isDue(long counted, long completed) {
        return counted >= records && completed >= kept && (file == null || Files.exists(Paths.get(file)));
    }
}
