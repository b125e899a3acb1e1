package weir.peer;

import java.util.concurrent.atomic.AtomicLong;

/**
 * What the tasks of a job and the thread that measures share: they are in one JVM, and the engine loads our classes once.
 * A source that has seen `stopping` sets its cell of `read` to how many records it gave, and ends.
 */
public final class Shared {
    public static final int MOST_TASKS = 64;

    public static volatile boolean stopping;
    /** Where a paced source counts its due times from (System.nanoTime); 0: as fast as it can. */
    public static volatile long epoch_ns;
    /** Records that a source gave, by its subtask index. */
    public static final Cell[] read = cells();
    /** Results that a sink got, by its subtask index; their sums. */
    public static final Cell[] results = cells();
    public static final Cell[] sum_counts = cells();
    public static final Cell[] sum_prices = cells();
    /** Checkpoints that were completed. */
    public static final AtomicLong checkpoints = new AtomicLong();

    private Shared() {
    }

    private static Cell[] cells() {
        Cell[] cells = new Cell[MOST_TASKS];
        for (int i = 0; i < MOST_TASKS; i++) {
            cells[i] = new Cell();
        }
        return cells;
    }

    public static long total(Cell[] cells) {
        long total = 0;
        for (Cell cell : cells) {
            total += cell.get();
        }
        return total;
    }
}
