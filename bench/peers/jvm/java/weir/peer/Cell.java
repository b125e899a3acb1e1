package weir.peer;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;

/** A counter with one writer, on cache lines of its own. Readers see it a little late. */
public final class Cell {
    private static final VarHandle VALUE;

    static {
        try {
            VALUE = MethodHandles.lookup().findVarHandle(Cell.class, "value", long.class);
        } catch (ReflectiveOperationException error) {
            throw new ExceptionInInitializerError(error);
        }
    }

    private long before1, before2, before3, before4, before5, before6, before7;
    private long value;
    private long after1, after2, after3, after4, after5, after6, after7;

    public void set(long to) {
        VALUE.setOpaque(this, to);
    }

    public void add(long more) {
        VALUE.setOpaque(this, value + more);
    }

    public long get() {
        return (long) VALUE.getOpaque(this);
    }
}
