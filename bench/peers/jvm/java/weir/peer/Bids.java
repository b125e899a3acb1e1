package weir.peer;

import java.io.IOException;
import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** The input file, mapped: records of four little-endian 64-bit words (auction, bidder, price, sequence). */
public final class Bids {
    public static final int RECORD_BYTES = 32;

    private final MappedByteBuffer memory;

    /** How many records the file has. */
    public final int count;

    public Bids(String path) {
        try (FileChannel file = FileChannel.open(Path.of(path), StandardOpenOption.READ)) {
            if (file.size() == 0 || file.size() % RECORD_BYTES != 0 || file.size() > Integer.MAX_VALUE) {
                throw new IOException(path + ": " + file.size() + " bytes are not 1 to 67,108,863 records of 32 bytes");
            }
            memory = file.map(FileChannel.MapMode.READ_ONLY, 0, file.size());
            memory.order(ByteOrder.LITTLE_ENDIAN);
            memory.load();
            count = (int) (file.size() / RECORD_BYTES);
        } catch (IOException error) {
            throw new IllegalStateException("cannot map the input: " + error.getMessage(), error);
        }
    }

    public long auction(int record) {
        return memory.getLong(record * RECORD_BYTES);
    }

    public long bidder(int record) {
        return memory.getLong(record * RECORD_BYTES + 8);
    }

    public long price(int record) {
        return memory.getLong(record * RECORD_BYTES + 16);
    }

    public long sequence(int record) {
        return memory.getLong(record * RECORD_BYTES + 24);
    }
}
