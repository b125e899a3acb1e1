package weir.peer.jet;

import static com.hazelcast.jet.core.BroadcastKey.broadcastKey;

import com.hazelcast.jet.core.AbstractProcessor;
import com.hazelcast.jet.core.BroadcastKey;
import com.hazelcast.jet.core.Inbox;
import weir.peer.Bids;
import weir.peer.Cell;
import weir.peer.Latency;
import weir.peer.Probe;
import weir.peer.Shared;
import weir.peer.Work;

/** The processors of the jobs. All of them are cooperative: they share Jet's threads. */
final class Processors {
    /** Of the latency run: the one sink of the one job in this JVM. */
    static final Latency latency = new Latency();

    private Processors() {
    }

    /**
     * The file of bids, again and again, a share of it each of `sources`. With a rate, record n of the only source is given when
     * it is due, epoch + n / rate, and its sequence is n. `patience_ns`: so long it waits, looking at the clock, for the next
     * record to fall due, before it lets others have the thread.
     */
    static final class Source extends AbstractProcessor {
        private static final int MOST_PER_CALL = 1024;

        private final String path;
        private final int sources;
        private final long rate;
        private final long epoch_ns;
        private final long patience_ns;
        private Bids bids;
        private Row pending;
        private int index;
        private long given;
        private int at;
        private int begin;
        private int end;

        Source(String path, int sources, long rate, long epoch_ns, long patience_ns) {
            this.path = path;
            this.sources = sources;
            this.rate = rate;
            this.epoch_ns = epoch_ns;
            this.patience_ns = patience_ns;
        }

        @Override
        protected void init(Context context) {
            index = sources == 1 ? 0 : context.globalProcessorIndex(); // the only one of two members may have index 1
            bids = new Bids(path);
            begin = Work.share_begin(bids, index, sources);
            end = Work.share_begin(bids, index + 1, sources);
            at = begin;
        }

        @Override
        public boolean complete() {
            if (Shared.stopping && pending == null) {
                return true;
            }
            long count = rate == 0 ? MOST_PER_CALL : due();
            for (long i = 0; i < count; i++) {
                if (pending == null) {
                    pending = next();
                }
                if (!tryEmit(pending)) {
                    break;
                }
                pending = null;
                given++;
                at = at + 1 == end ? begin : at + 1;
            }
            Shared.read[index].set(given);
            return false;
        }

        private Row next() {
            Row row = new Row();
            row.auction = bids.auction(at);
            row.number = bids.bidder(at);
            row.price = bids.price(at);
            row.sequence = rate == 0 ? bids.sequence(at) : given;
            return row;
        }

        /** How many records are due and not given. */
        private long due() {
            long begun_ns = System.nanoTime();
            long now_ns = begun_ns;
            long next_ns = epoch_ns + given / rate * 1_000_000_000L + given % rate * 1_000_000_000L / rate;
            while (now_ns < next_ns && now_ns - begun_ns < patience_ns) {
                now_ns = System.nanoTime();
            }
            long elapsed_ns = now_ns - epoch_ns;
            long due = elapsed_ns / 1_000_000_000L * rate + elapsed_ns % 1_000_000_000L * rate / 1_000_000_000L + 1;
            return Math.max(0, Math.min(MOST_PER_CALL, due - given));
        }

        @Override
        public boolean saveToSnapshot() {
            return tryEmitToSnapshot(broadcastKey(index), given);
        }

        @Override
        protected void restoreFromSnapshot(Object key, Object value) {
            if (((BroadcastKey<?>) key).key().equals(index)) {
                given = (Long) value;
                at = begin + (int) (given % (end - begin));
            }
        }
    }

    /** W1. */
    static final class Filter extends AbstractProcessor {
        @Override
        public void process(int ordinal, Inbox inbox) {
            for (Object item = inbox.peek(); item != null; item = inbox.peek()) {
                if (((Row) item).auction % Work.FILTER == 0 && !tryEmit(item)) {
                    return;
                }
                inbox.remove();
            }
        }
    }

    /** W2: how many bids an auction had, and the highest price; an update a bid. */
    static final class KeyedCount extends AbstractProcessor {
        private final Totals[] groups = new Totals[Groups.COUNT];
        private Object applied; // the head of the inbox, where it was counted and the way out was full
        private int saved;
        private boolean first;

        @Override
        protected void init(Context context) {
            first = context.globalProcessorIndex() == 0;
        }

        @Override
        public void process(int ordinal, Inbox inbox) {
            for (Object item = inbox.peek(); item != null; item = inbox.peek()) {
                if (item != applied) {
                    apply((Row) item);
                    applied = item;
                }
                if (!tryEmit(item)) {
                    return;
                }
                applied = null;
                inbox.remove();
            }
        }

        private void apply(Row row) {
            int group = Groups.group(row.auction);
            if (groups[group] == null) {
                groups[group] = new Totals();
            }
            groups[group].apply(row);
        }

        @Override
        public boolean saveToSnapshot() {
            for (; saved < Groups.COUNT; saved++) {
                if (groups[saved] != null && !tryEmitToSnapshot(saved, groups[saved].snapshot())) {
                    return false;
                }
            }
            saved = 0;
            return true;
        }

        @Override
        public boolean snapshotCommitFinish(boolean success) {
            if (success && first) {
                Shared.checkpoints.incrementAndGet();
            }
            return true;
        }

        @Override
        protected void restoreFromSnapshot(Object key, Object value) {
            groups[(Integer) key] = Totals.restored((long[]) value);
        }
    }

    /** Adds up the results. `of_updates`: their counts, else their auctions. */
    static final class Adding extends AbstractProcessor {
        private final boolean of_updates;
        private Cell results;
        private Cell counts;
        private Cell prices;

        Adding(boolean of_updates) {
            this.of_updates = of_updates;
        }

        @Override
        protected void init(Context context) {
            results = Shared.results[context.globalProcessorIndex()];
            counts = Shared.sum_counts[context.globalProcessorIndex()];
            prices = Shared.sum_prices[context.globalProcessorIndex()];
        }

        @Override
        public void process(int ordinal, Inbox inbox) {
            for (Row row = (Row) inbox.poll(); row != null; row = (Row) inbox.poll()) {
                results.add(1);
                counts.add(of_updates ? row.number : row.auction);
                prices.add(row.price);
            }
        }
    }

    /** Notes from when a bid was due to now. */
    static final class Timing extends AbstractProcessor {
        private final long interval_ns;
        private final long epoch_ns;

        Timing(long rate, long epoch_ns) {
            interval_ns = 1_000_000_000L / rate;
            this.epoch_ns = epoch_ns;
        }

        @Override
        public void process(int ordinal, Inbox inbox) {
            for (Row row = (Row) inbox.poll(); row != null; row = (Row) inbox.poll()) {
                Shared.results[0].add(1);
                latency.record(epoch_ns + row.sequence * interval_ns, System.nanoTime());
            }
        }
    }

    /** Notes in the shared file when its first result came, and how many. */
    static final class Probing extends AbstractProcessor {
        private final String path;
        private Probe probe;

        Probing(String path) {
            this.path = path;
        }

        @Override
        protected void init(Context context) {
            probe = new Probe(path);
        }

        @Override
        public void process(int ordinal, Inbox inbox) {
            int count = inbox.size();
            inbox.clear();
            probe.came(count);
        }
    }
}
