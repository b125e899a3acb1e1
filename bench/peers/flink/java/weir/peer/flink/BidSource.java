package weir.peer.flink;

import java.io.DataInputStream;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.LockSupport;
import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.api.connector.source.ReaderOutput;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.SourceSplit;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.core.io.InputStatus;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import weir.peer.Bids;
import weir.peer.Shared;
import weir.peer.Work;

/**
 * The file of bids, again and again, by the interface of FLIP-27: one split a subtask, whose state is how many records it gave.
 * With a rate, record n of the only subtask is given when it is due, epoch + n / rate; its sequence is n.
 */
public final class BidSource implements Source<Row, BidSource.Split, List<BidSource.Split>> {
    private static final long serialVersionUID = 1;
    /** Records a call of pollNext: few enough that a barrier does not wait. */
    private static final int MOST_PER_POLL = 64;

    private final String path;
    private final int sources;
    private final long rate;
    private final long epoch_ns;
    private final long nap_ns;

    public BidSource(String path, int sources, long rate, long epoch_ns, long nap_ns) {
        this.path = path;
        this.sources = sources;
        this.rate = rate;
        this.epoch_ns = epoch_ns;
        this.nap_ns = nap_ns;
    }

    @Override
    public Boundedness getBoundedness() {
        return Boundedness.CONTINUOUS_UNBOUNDED;
    }

    @Override
    public SourceReader<Row, Split> createReader(SourceReaderContext context) {
        return new Reader(context);
    }

    @Override
    public SplitEnumerator<Split, List<Split>> createEnumerator(SplitEnumeratorContext<Split> context) {
        List<Split> splits = new ArrayList<>();
        for (int i = 0; i < sources; i++) {
            splits.add(new Split(i, 0));
        }
        return new Enumerator(context, splits);
    }

    @Override
    public SplitEnumerator<Split, List<Split>> restoreEnumerator(SplitEnumeratorContext<Split> context, List<Split> unassigned) {
        return new Enumerator(context, unassigned);
    }

    @Override
    public SimpleVersionedSerializer<Split> getSplitSerializer() {
        return new SplitSerializer();
    }

    @Override
    public SimpleVersionedSerializer<List<Split>> getEnumeratorCheckpointSerializer() {
        return new SplitsSerializer();
    }

    /** A share of the file and how many records of it were given, over all the times that it was read. */
    public record Split(int index, long given) implements SourceSplit {
        @Override
        public String splitId() {
            return Integer.toString(index);
        }
    }

    /** Gives each reader that registers one split. */
    private static final class Enumerator implements SplitEnumerator<Split, List<Split>> {
        private final SplitEnumeratorContext<Split> context;
        private final ArrayDeque<Split> unassigned;

        Enumerator(SplitEnumeratorContext<Split> context, List<Split> splits) {
            this.context = context;
            unassigned = new ArrayDeque<>(splits);
        }

        @Override
        public void start() {
            // readers come by themselves
        }

        @Override
        public void handleSplitRequest(int subtask, String host) {
            // no reader asks
        }

        @Override
        public void addSplitsBack(List<Split> splits, int subtask) {
            unassigned.addAll(splits);
        }

        @Override
        public void addReader(int subtask) {
            if (!unassigned.isEmpty()) {
                context.assignSplit(unassigned.poll(), subtask);
            }
        }

        @Override
        public List<Split> snapshotState(long checkpoint) {
            return new ArrayList<>(unassigned);
        }

        @Override
        public void close() {
            // holds nothing
        }
    }

    private final class Reader implements SourceReader<Row, Split> {
        private final SourceReaderContext context;
        private final Bids bids = new Bids(path);
        private final Row row = new Row();
        private final CompletableFuture<Void> came = new CompletableFuture<>();
        private Split split;
        private long given;
        private int at;
        private int begin;
        private int end;

        Reader(SourceReaderContext context) {
            this.context = context;
        }

        @Override
        public void start() {
            // the enumerator sends the split when this reader registers
        }

        @Override
        public InputStatus pollNext(ReaderOutput<Row> output) {
            if (split == null) {
                return InputStatus.NOTHING_AVAILABLE;
            }
            if (Shared.stopping) {
                return InputStatus.END_OF_INPUT;
            }
            int count = rate == 0 ? MOST_PER_POLL : due();
            for (int i = 0; i < count; i++) {
                row.auction = bids.auction(at);
                row.number = bids.bidder(at);
                row.price = bids.price(at);
                row.sequence = rate == 0 ? bids.sequence(at) : given;
                given++;
                at = at + 1 == end ? begin : at + 1;
                output.collect(row);
            }
            if (count > 0) {
                Shared.read[split.index].set(given);
            } else if (nap_ns > 0) {
                LockSupport.parkNanos(nap_ns);
            }
            return InputStatus.MORE_AVAILABLE;
        }

        /** How many records are due and not given: none mostly; the task's thread then looks again, at once or after a nap. */
        private int due() {
            long elapsed_ns = System.nanoTime() - epoch_ns;
            long whole = elapsed_ns / 1_000_000_000L;
            long rest = elapsed_ns % 1_000_000_000L;
            long due = whole * rate + rest * rate / 1_000_000_000L + 1; // the first at once
            return (int) Math.max(0, Math.min(MOST_PER_POLL, due - given));
        }

        @Override
        public List<Split> snapshotState(long checkpoint) {
            return split == null ? Collections.emptyList() : List.of(new Split(split.index, given));
        }

        @Override
        public CompletableFuture<Void> isAvailable() {
            return came;
        }

        @Override
        public void addSplits(List<Split> splits) {
            if (split != null || splits.size() != 1) {
                throw new IllegalStateException(
                    "subtask " + context.getIndexOfSubtask() + " expected one split, not " + splits.size());
            }
            split = splits.get(0);
            given = split.given;
            begin = Work.share_begin(bids, split.index, sources);
            end = Work.share_begin(bids, split.index + 1, sources);
            at = begin + (int) (given % (end - begin));
            came.complete(null);
        }

        @Override
        public void notifyNoMoreSplits() {
            // this source ends when it is told to
        }

        @Override
        public void close() {
            // the mapping goes with the reader
        }
    }

    /** A split in a checkpoint: index and records given. */
    private static final class SplitSerializer implements SimpleVersionedSerializer<Split> {
        @Override
        public int getVersion() {
            return 1;
        }

        @Override
        public byte[] serialize(Split split) {
            return ByteBuffer.allocate(12).putInt(split.index).putLong(split.given).array();
        }

        @Override
        public Split deserialize(int version, byte[] bytes) throws IOException {
            try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
                return new Split(in.readInt(), in.readLong());
            }
        }
    }

    /** The splits that no reader has. */
    private static final class SplitsSerializer implements SimpleVersionedSerializer<List<Split>> {
        @Override
        public int getVersion() {
            return 1;
        }

        @Override
        public byte[] serialize(List<Split> splits) {
            ByteBuffer bytes = ByteBuffer.allocate(12 * splits.size());
            for (Split split : splits) {
                bytes.putInt(split.index).putLong(split.given);
            }
            return bytes.array();
        }

        @Override
        public List<Split> deserialize(int version, byte[] bytes) {
            List<Split> splits = new ArrayList<>();
            for (ByteBuffer in = ByteBuffer.wrap(bytes); in.hasRemaining();) {
                splits.add(new Split(in.getInt(), in.getLong()));
            }
            return splits;
        }
    }
}
