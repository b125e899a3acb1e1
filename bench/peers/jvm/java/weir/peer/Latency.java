package weir.peer;

import java.util.Locale;
import org.HdrHistogram.Histogram;

/**
 * Latencies in a histogram, 1 ns to 100 s with three digits. One thread records; another asks for a fresh start, or for the
 * figures once the recorder has ended.
 */
public final class Latency {
    private static final double[] SHARES = {50, 99, 99.9, 99.99, 100};
    private static final String[] NAMES = {"p50", "p99", "p999", "p9999", "max"};
    public static final long MOST_NS = 100_000_000_000L;

    private final Histogram histogram = new Histogram(1, MOST_NS, 3);
    private volatile long from_ns = Long.MAX_VALUE;
    private volatile long until_ns = Long.MAX_VALUE;

    /** Only events due from then on count. */
    public void measure(long from, long until) {
        until_ns = until;
        from_ns = from;
    }

    public void record(long due_ns, long now_ns) {
        if (due_ns >= from_ns && due_ns < until_ns) {
            histogram.recordValue(Math.min(MOST_NS, Math.max(1, now_ns - due_ns)));
        }
    }

    public static String json(Histogram histogram) {
        StringBuilder text = new StringBuilder("{");
        for (int i = 0; i < SHARES.length; i++) {
            text.append(String.format(Locale.ROOT, "\"%s\": %d, ", NAMES[i], histogram.getValueAtPercentile(SHARES[i])));
        }
        return text.append(String.format(Locale.ROOT, "\"events\": %d}", histogram.getTotalCount())).toString();
    }

    public String json() {
        return json(histogram);
    }

    public long events() {
        return histogram.getTotalCount();
    }
}
