package weir.peer;

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.LongSupplier;

/**
 * Throughput after a warm-up, in windows of one run: records, wall time, and CPU time of the whole JVM (all of its threads,
 * compiler and GC too).
 */
public final class Windows {
    private static final OperatingSystemMXBean SYSTEM = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    /** Of 1 M keys drawn at random, 95 % come up in so many. */
    private static final long FILL = 3_000_000;

    private final List<String> rows = new ArrayList<>();

    public static void sleep_ns(long duration_ns) {
        long end = System.nanoTime() + duration_ns;
        for (long left = duration_ns; left > 0; left = end - System.nanoTime()) {
            try {
                Thread.sleep(Math.max(1, left / 1_000_000));
            } catch (InterruptedException error) {
                throw new IllegalStateException("interrupted", error);
            }
        }
    }

    /**
     * The time from which a paced source counts: so long ago that it begins with FILL records that are due. They fill the state,
     * and the JVM compiles what it will run, before the rate is kept.
     */
    public static long epoch_ns(long rate) {
        return System.nanoTime() - FILL / rate * 1_000_000_000L;
    }

    /**
     * Waits until a paced job has made up for its start: what came is at most 50 ms behind what is due. Throws where it does not
     * within 30 s.
     */
    public static void wait_until_caught_up(LongSupplier records, long rate, long epoch_ns) {
        long deadline = System.nanoTime() + 30_000_000_000L;
        long behind = Long.MAX_VALUE;
        while (behind > rate / 20) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException("the job does not keep up with " + rate + " events/s: " + behind + " behind");
            }
            sleep_ns(10_000_000);
            behind = (long) ((System.nanoTime() - epoch_ns) / 1e9 * rate) - records.getAsLong();
        }
    }

    /** Takes `count` windows of what `records` counts up. `alive` throws where the job has failed meanwhile. */
    public void take(int count, long window_ns, LongSupplier records, Runnable alive) {
        long at = System.nanoTime();
        long cpu = SYSTEM.getProcessCpuTime();
        long done = records.getAsLong();
        long checkpoints = Shared.checkpoints.get();
        for (int i = 0; i < count; i++) {
            sleep_ns(window_ns);
            alive.run();
            long at_end = System.nanoTime();
            long cpu_end = SYSTEM.getProcessCpuTime();
            long done_end = records.getAsLong();
            long checkpoints_end = Shared.checkpoints.get();
            rows.add(String.format(Locale.ROOT, "{\"records\": %d, \"wall_ns\": %d, \"cpu_ns\": %d, \"checkpoints\": %d}",
                done_end - done, at_end - at, cpu_end - cpu, checkpoints_end - checkpoints));
            at = at_end;
            cpu = cpu_end;
            done = done_end;
            checkpoints = checkpoints_end;
        }
    }

    public String json() {
        return "[" + String.join(", ", rows) + "]";
    }
}
