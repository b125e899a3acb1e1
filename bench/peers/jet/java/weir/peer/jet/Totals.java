package weir.peer.jet;

import java.util.Arrays;

/** Count and highest price of the keys of one group: open addressing in one array, of key + 1 (0: free), count, price. */
final class Totals {
    private static final int WORDS = 3;

    private long[] slots = new long[WORDS * 16];
    private int mask = 15;
    private int used;

    /** Adds a bid to its key; the row becomes the update. */
    void apply(Row row) {
        int at = slot_of(row.auction);
        if (slots[at] == 0) {
            slots[at] = row.auction + 1;
            if (++used * 2 > mask) {
                grow();
                at = slot_of(row.auction);
            }
        }
        slots[at + 1]++;
        slots[at + 2] = Math.max(slots[at + 2], row.price);
        row.number = slots[at + 1];
        row.price = slots[at + 2];
    }

    private int slot_of(long key) {
        int at = (int) (Groups.hash(key) >>> 22) & mask;
        while (slots[at * WORDS] != 0 && slots[at * WORDS] != key + 1) {
            at = at + 1 & mask;
        }
        return at * WORDS;
    }

    private void grow() {
        long[] old = slots;
        mask = 2 * mask + 1;
        slots = new long[WORDS * (mask + 1)];
        for (int i = 0; i < old.length; i += WORDS) {
            if (old[i] != 0) {
                System.arraycopy(old, i, slots, slot_of(old[i] - 1), WORDS);
            }
        }
    }

    /** The used slots alone. */
    long[] snapshot() {
        long[] copy = new long[WORDS * used];
        int end = 0;
        for (int i = 0; i < slots.length; i += WORDS) {
            if (slots[i] != 0) {
                System.arraycopy(slots, i, copy, end, WORDS);
                end += WORDS;
            }
        }
        return end == copy.length ? copy : Arrays.copyOf(copy, end);
    }

    static Totals restored(long[] snapshot) {
        Totals totals = new Totals();
        for (int i = 0; i < snapshot.length; i += WORDS) {
            if (++totals.used * 2 > totals.mask) {
                totals.grow();
            }
            System.arraycopy(snapshot, i, totals.slots, totals.slot_of(snapshot[i] - 1), WORDS);
        }
        return totals;
    }
}
