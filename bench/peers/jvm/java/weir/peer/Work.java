package weir.peer;

import java.util.Locale;

/** The work of a throughput run: what a plain loop over the same records gives, and the comparison. */
public final class Work {
    public static final long FILTER = 123; // W1: auctions that it divides

    private long results;
    private long sum_counts;
    private long sum_prices;

    /** The records of source `index` of `sources`: its share of the file, again and again. */
    public static int share_begin(Bids bids, int index, int sources) {
        return (int) ((long) bids.count * index / sources);
    }

    /** What the sinks must have got, once every source has given so many records (Shared.read). */
    public static Work expected(String work, Bids bids, int sources, long keys) {
        Work work_done = new Work();
        int[] counts = new int[work.equals("w2") ? Math.toIntExact(keys) : 0];
        int[] prices = new int[counts.length];
        boolean more = true;
        for (long done = 0; more; done++) { // by turns: about as they meet
            more = false;
            for (int source = 0; source < sources; source++) {
                if (done >= Shared.read[source].get()) {
                    continue;
                }
                int begin = share_begin(bids, source, sources);
                int record = begin + (int) (done % (share_begin(bids, source + 1, sources) - begin));
                work_done.one(work, bids.auction(record), (int) bids.price(record), counts, prices);
                more = true;
            }
        }
        return work_done;
    }

    private void one(String work, long auction, int price, int[] counts, int[] prices) {
        if (work.equals("w1") && auction % FILTER != 0) {
            return;
        }
        results++;
        if (work.equals("w2")) {
            int key = (int) auction;
            counts[key]++;
            prices[key] = Math.max(prices[key], price);
            sum_counts += counts[key];
            sum_prices += prices[key];
        } else {
            sum_counts += auction;
            sum_prices += price;
        }
    }

    /**
     * Compares with what the sinks got. The highest price so far depends on the order in which the records of two sources meet,
     * and so does its sum, a little: it is compared exactly with one source, and to 1 % with more. All else is exact.
     */
    public void compare(String work, int sources) {
        long tolerance = work.equals("w2") && sources > 1 ? sum_prices / 100 : 0;
        boolean same = Shared.total(Shared.results) == results && Shared.total(Shared.sum_counts) == sum_counts
            && Math.abs(Shared.total(Shared.sum_prices) - sum_prices) <= tolerance;
        System.err.printf(Locale.ROOT, "results %d, sum of counts %d, of prices %d; a plain loop: %d, %d, %d%n",
            Shared.total(Shared.results), Shared.total(Shared.sum_counts), Shared.total(Shared.sum_prices),
            results, sum_counts, sum_prices);
        if (!same) {
            throw new IllegalStateException("the results are not those of the plain loop");
        }
    }
}
