package weir.peer;

import org.HdrHistogram.Histogram;

/**
 * The machine's own share: a thread that does nothing but look at the clock. The time between two looks is what an event that
 * fell due meanwhile would have waited, so every gap counts once for each event of that rate in it: the percentiles are those of
 * events, as the engine's are.
 */
public final class Gaps {
    private final Histogram histogram = new Histogram(1, Latency.MOST_NS, 3);

    public void spin(long duration_ns, long rate) {
        long interval_ns = 1_000_000_000L / rate;
        long begin = System.nanoTime();
        long due = begin;
        long last = begin;
        while (last - begin < duration_ns) {
            last = System.nanoTime();
            for (; due <= last; due += interval_ns) {
                histogram.recordValue(Math.max(1, last - due));
            }
        }
    }

    public String json() {
        return Latency.json(histogram);
    }
}
