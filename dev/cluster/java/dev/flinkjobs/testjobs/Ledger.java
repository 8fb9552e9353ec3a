package dev.flinkjobs.testjobs;

import java.io.IOException;
import java.io.Serializable;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Paths;
import java.nio.file.StandardOpenOption;

/**
 * A file in which each start leaves a line, so that a test can count what really ran, whatever Flink reports.
 *
 * <p>Without a path nothing is written.
 */
final class Ledger implements Serializable {
    private static final long serialVersionUID = 1;

    private final String path;

    Ledger(String path) {
        this.path = path;
    }

    /** Appends one line. A single write to a file opened for appending, so lines of several processes do not mix. */
    void add(String line) throws IOException {
        if (path == null) {
            return;
        }
        try (FileChannel file = FileChannel.open(Paths.get(path), StandardOpenOption.CREATE, StandardOpenOption.APPEND)) {
            file.write(ByteBuffer.wrap((line + "\n").getBytes(StandardCharsets.UTF_8)));
        }
    }
}
