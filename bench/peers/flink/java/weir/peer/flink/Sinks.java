package weir.peer.flink;

import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import weir.peer.Cell;
import weir.peer.Latency;
import weir.peer.Probe;
import weir.peer.Shared;

/** Sinks that drop what they get: after they have added it up, or noted how late it was. */
public final class Sinks {
    /** Of the latency run: the one sink of the one job in this JVM. */
    public static final Latency latency = new Latency();

    private Sinks() {
    }

    private abstract static class Writer implements SinkWriter<Row> {
        @Override
        public void flush(boolean end_of_input) {
            // keeps nothing back
        }

        @Override
        public void close() {
            // holds nothing
        }
    }

    /** Adds up the results. `of_updates`: their counts, else their auctions. */
    public static final class Adding implements Sink<Row> {
        private static final long serialVersionUID = 1;
        private final boolean of_updates;

        public Adding(boolean of_updates) {
            this.of_updates = of_updates;
        }

        @Override
        public SinkWriter<Row> createWriter(WriterInitContext context) {
            int subtask = context.getTaskInfo().getIndexOfThisSubtask();
            Cell results = Shared.results[subtask];
            Cell counts = Shared.sum_counts[subtask];
            Cell prices = Shared.sum_prices[subtask];
            boolean updates = of_updates;
            return new Writer() {
                @Override
                public void write(Row row, Context unused) {
                    results.add(1);
                    counts.add(updates ? row.number : row.auction);
                    prices.add(row.price);
                }
            };
        }
    }

    /** Notes from when a bid was due to now. */
    public static final class Timing implements Sink<Row> {
        private static final long serialVersionUID = 1;
        private final long rate;
        private final long epoch_ns;

        public Timing(long rate, long epoch_ns) {
            this.rate = rate;
            this.epoch_ns = epoch_ns;
        }

        @Override
        public SinkWriter<Row> createWriter(WriterInitContext context) {
            Cell results = Shared.results[context.getTaskInfo().getIndexOfThisSubtask()];
            long interval_ns = 1_000_000_000L / rate;
            long begin_ns = epoch_ns;
            return new Writer() {
                @Override
                public void write(Row row, Context unused) {
                    results.add(1);
                    latency.record(begin_ns + row.sequence * interval_ns, System.nanoTime());
                }
            };
        }
    }

    /** Notes in the shared file when its first result came, and how many. */
    public static final class Probing implements Sink<Row> {
        private static final long serialVersionUID = 1;
        private final String path;

        public Probing(String path) {
            this.path = path;
        }

        @Override
        public SinkWriter<Row> createWriter(WriterInitContext context) {
            Probe probe = new Probe(path);
            return new Writer() {
                @Override
                public void write(Row row, Context unused) {
                    probe.came(1);
                }
            };
        }
    }
}
