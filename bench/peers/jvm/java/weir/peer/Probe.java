package weir.peer;

import java.io.IOException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * What a sink in another process tells whoever measures recovery, in a mapped file of 64 KiB of 64-bit words: results so far; how
 * many rows follow; rows of (process id, time of its first result). A sink is new after each start of the job. The time is
 * CLOCK_MONOTONIC in ns, as Python's.
 */
public final class Probe {
    private static final VarHandle WORD = MethodHandles.byteBufferViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final int BYTES = 65536;
    private static final int HEAD_BYTES = 16;
    private static final int ROW_BYTES = 16;

    private final ByteBuffer memory;
    private boolean noted;

    public Probe(String path) {
        try (FileChannel file = FileChannel.open(Path.of(path), StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            if (file.size() != BYTES) {
                throw new IOException(path + " has " + file.size() + " bytes, not " + BYTES);
            }
            memory = file.map(FileChannel.MapMode.READ_WRITE, 0, BYTES);
        } catch (IOException error) {
            throw new IllegalStateException("cannot map the probe: " + error.getMessage(), error);
        }
    }

    /** So many results came, now. */
    public void came(long count) {
        if (!noted) {
            noted = true;
            note_first();
        }
        long unused = (long) WORD.getAndAdd(memory, 0, count);
    }

    private void note_first() {
        long now_ns = System.nanoTime();
        int row = (int) (long) WORD.getVolatile(memory, 8) % ((BYTES - HEAD_BYTES) / ROW_BYTES);
        WORD.setVolatile(memory, HEAD_BYTES + row * ROW_BYTES, ProcessHandle.current().pid());
        WORD.setVolatile(memory, HEAD_BYTES + row * ROW_BYTES + 8, now_ns);
        long unused = (long) WORD.getAndAdd(memory, 8, 1L); // last: who reads the count sees the row
    }
}
