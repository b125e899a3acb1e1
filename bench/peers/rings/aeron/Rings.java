import io.aeron.Aeron;
import io.aeron.ExclusivePublication;
import io.aeron.Image;
import io.aeron.Subscription;
import io.aeron.driver.MediaDriver;
import io.aeron.driver.ThreadingMode;
import io.aeron.logbuffer.BufferClaim;
import io.aeron.logbuffer.FragmentHandler;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.agrona.DirectBuffer;
import org.agrona.MutableDirectBuffer;
import org.agrona.concurrent.AgentInvoker;

/**
 * Aeron IPC between two processes: the work of ../job.h. Written in place (tryClaim of an exclusive publication), read in place
 * (poll of an image). A batch is one message that holds so many records. The media driver is in the other side's process (invoker
 * mode: no thread of its own, so that two CPUs suffice), which calls it while it finds nothing and after each 32 KiB, since it is
 * the driver that lets the publisher go on.
 *
 * Rings DIRECTORY stream SIZE BATCH COUNT RING_BYTES EMPTY_PAUSES ROOM | Rings DIRECTORY trip COUNT EMPTY_PAUSES
 *
 * As many records again go through before, as a warm-up, twice. The other side is this program once more, with "other" before the
 * work.
 */
public final class Rings {
    private static final int STREAM_THERE = 1;
    private static final int STREAM_BACK = 2;
    private static final int WARM_UPS = 2;
    private static final int DRIVER_EVERY_BYTES = 32 << 10;
    private static final int TRIP_BYTES = 64;
    private static final int TRIP_RING_BYTES = 2 << 20;

    private final String directory;
    private final boolean trip;
    private final int sizeBytes;
    private final int batch;
    private final long count;
    private final int ringBytes;
    private final int emptyPauses;
    private long sum;
    private long records;

    private Rings(String[] a) {
        directory = a[0];
        trip = a[1].equals("trip");
        sizeBytes = trip ? TRIP_BYTES : Integer.parseInt(a[2]);
        batch = trip ? 1 : Integer.parseInt(a[3]);
        count = Long.parseLong(a[trip ? 2 : 4]);
        ringBytes = trip ? TRIP_RING_BYTES : Integer.parseInt(a[5]);
        emptyPauses = Integer.parseInt(a[trip ? 3 : 6]);
        if (count % batch != 0) {
            throw new IllegalArgumentException("the count must be a multiple of the batch");
        }
    }

    private static void fill(MutableDirectBuffer buffer, int at, int sizeBytes, long number) {
        for (int i = 0; i < sizeBytes; i += 8) {
            buffer.putLong(at + i, number + (i >> 3));
        }
    }

    private void add(DirectBuffer buffer, int at, int length) {
        long all = 0;
        for (int i = 0; i < length; i += 8) {
            all += buffer.getLong(at + i);
        }
        sum += all;
        records += length / sizeBytes;
    }

    private long expectedSum(long count) {
        long words = sizeBytes / 8;
        long numbers = count % 2 == 0 ? count / 2 * (count - 1) : (count - 1) / 2 * count;
        return numbers * words + words * (words - 1) / 2 * count;
    }

    private void idle() {
        for (int i = 0; i < emptyPauses; i++) {
            Thread.onSpinWait();
        }
    }

    private void send(ExclusivePublication to, BufferClaim claim, long number) {
        while (to.tryClaim(sizeBytes * batch, claim) < 0) {
            Thread.onSpinWait();
        }
        MutableDirectBuffer buffer = claim.buffer();
        int at = claim.offset();
        for (int i = 0; i < batch; i++, at += sizeBytes) {
            fill(buffer, at, sizeBytes, number + i);
        }
        claim.commit();
    }

    private void produce(ExclusivePublication to) {
        BufferClaim claim = new BufferClaim();
        for (long sent = 0; sent < count; sent += batch) {
            send(to, claim, sent);
        }
    }

    private void consume(Image from, Runnable driver) {
        FragmentHandler handler = (buffer, offset, length, header) -> add(buffer, offset, length);
        sum = 0;
        records = 0;
        long driverAt = 0;
        while (records < count) {
            int got = from.poll(handler, 1);
            if (got == 0 || records * sizeBytes >= driverAt) {
                driver.run();
                driverAt = records * sizeBytes + DRIVER_EVERY_BYTES;
            }
            if (got == 0) {
                idle();
            }
        }
    }

    private void receive(Image from, FragmentHandler handler) {
        sum = 0;
        while (from.poll(handler, 1) == 0) {
            Thread.onSpinWait();
        }
    }

    private static Image imageOf(Subscription subscription, Runnable driver) {
        while (subscription.imageCount() == 0) {
            if (driver != null) {
                driver.run();
            }
            Thread.yield();
        }
        return subscription.imageAtIndex(0);
    }

    private static void waitUntilConnected(ExclusivePublication to, Runnable driver) {
        while (!to.isConnected()) {
            if (driver != null) {
                driver.run();
            }
            Thread.yield();
        }
    }

    /** The consumer, or the pong; a line "RECORDS-SUM END" on standard output for each pass. */
    private void otherSide() throws Exception {
        MediaDriver.Context context = new MediaDriver.Context()
            .aeronDirectoryName(directory)
            .dirDeleteOnStart(true)
            .dirDeleteOnShutdown(true)
            .threadingMode(ThreadingMode.INVOKER)
            .ipcTermBufferLength(2 * ringBytes)
            .publicationTermBufferLength(2 * ringBytes)
            .ipcPublicationTermWindowLength(ringBytes)
            .ipcMtuLength(65504)
            .clientLivenessTimeoutNs(60_000_000_000L)
            .publicationUnblockTimeoutNs(120_000_000_000L)
            .driverTimeoutMs(60_000);
        try (MediaDriver media = MediaDriver.launch(context)) {
            Aeron.Context client = new Aeron.Context()
                .aeronDirectoryName(directory)
                .useConductorAgentInvoker(true)
                .driverAgentInvoker(media.sharedAgentInvoker())
                .driverTimeoutMs(60_000);
            try (Aeron aeron = Aeron.connect(client)) {
                AgentInvoker own = aeron.conductorAgentInvoker();
                Runnable driver = () -> {
                    media.sharedAgentInvoker().invoke();
                    own.invoke();
                };
                Subscription subscription = aeron.addSubscription("aeron:ipc", STREAM_THERE);
                ExclusivePublication back = trip ? aeron.addExclusivePublication("aeron:ipc", STREAM_BACK) : null;
                System.out.println("ready");
                Image from = imageOf(subscription, driver);
                if (trip) {
                    waitUntilConnected(back, driver);
                }
                for (int pass = 0; pass <= WARM_UPS; pass++) {
                    if (trip) {
                        pong(from, back, driver);
                    } else {
                        consume(from, driver);
                    }
                    System.out.println(sum + " " + System.nanoTime());
                }
                while (from.isClosed() == false && !from.isEndOfStream()) {
                    driver.run(); /* until the publisher has gone */
                    Thread.yield();
                }
            }
        }
    }

    private void pong(Image from, ExclusivePublication back, Runnable driver) {
        BufferClaim claim = new BufferClaim();
        FragmentHandler handler = (buffer, offset, length, header) -> add(buffer, offset, length);
        for (long i = 0; i < count; i++) {
            receive(from, handler);
            send(back, claim, (sum - 28) / 8);
            if (i % 64 == 0) {
                driver.run();
            }
        }
    }

    private long[] ping(ExclusivePublication to, Image from) {
        long[] timesNs = new long[(int) count];
        BufferClaim claim = new BufferClaim();
        FragmentHandler handler = (buffer, offset, length, header) -> add(buffer, offset, length);
        for (int i = 0; i < timesNs.length; i++) {
            long begunNs = System.nanoTime();
            send(to, claim, i);
            receive(from, handler);
            if (sum != i * 8L + 28) {
                throw new IllegalStateException("another record came back");
            }
            timesNs[i] = System.nanoTime() - begunNs;
        }
        return timesNs;
    }

    /** The producer, or the ping; its lines come from the other side's standard output, given as this one's standard input. */
    private void thisSide() throws Exception {
        BufferedReader other = new BufferedReader(new InputStreamReader(System.in));
        if (!"ready".equals(other.readLine())) {
            throw new IllegalStateException("the other side did not start");
        }
        try (Aeron aeron = Aeron.connect(new Aeron.Context().aeronDirectoryName(directory).driverTimeoutMs(60_000))) {
            ExclusivePublication to = aeron.addExclusivePublication("aeron:ipc", STREAM_THERE);
            Image from = trip ? imageOf(aeron.addSubscription("aeron:ipc", STREAM_BACK), null) : null;
            waitUntilConnected(to, null);
            for (int pass = 0; pass <= WARM_UPS; pass++) {
                long begunNs = System.nanoTime();
                long[] timesNs = null;
                if (trip) {
                    timesNs = ping(to, from);
                } else {
                    produce(to);
                }
                String[] words = other.readLine().split(" ");
                if (!trip && Long.parseLong(words[0]) != expectedSum(count)) {
                    throw new IllegalStateException("the consumer read something else than was written");
                }
                if (pass < WARM_UPS) {
                    continue;
                }
                if (trip) {
                    Arrays.sort(timesNs);
                    System.out.println(timesNs[timesNs.length / 2]);
                } else {
                    System.out.printf("%.3f%n", count * 1e3 / (Long.parseLong(words[1]) - begunNs));
                }
            }
        }
    }

    /** Both sides are processes of their own; each is pinned by `run`. */
    public static void main(String[] arguments) throws Exception {
        List<String> words = new ArrayList<>(Arrays.asList(arguments));
        boolean other = words.remove("other");
        Rings rings = new Rings(words.toArray(new String[0]));
        if (other) {
            rings.otherSide();
        } else {
            rings.thisSide();
        }
    }
}
