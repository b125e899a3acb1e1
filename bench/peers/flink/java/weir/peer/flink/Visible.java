package weir.peer.flink;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardWatchEventKinds;
import java.nio.file.WatchEvent;
import java.nio.file.WatchKey;
import java.nio.file.WatchService;
import java.util.concurrent.TimeUnit;
import org.apache.flink.api.common.serialization.Encoder;
import org.apache.flink.connector.file.sink.FileSink;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.filesystem.bucketassigners.BasePathBucketAssigner;
import org.apache.flink.streaming.api.functions.sink.filesystem.rollingpolicies.OnCheckpointRollingPolicy;
import weir.peer.Failure;
import weir.peer.Gaps;
import weir.peer.Latency;
import weir.peer.Options;
import weir.peer.Shared;
import weir.peer.Windows;

/**
 * The keyed count at a fixed rate into Flink's FileSink: from an event being due until a file with its result has its final name.
 * Options as of Paced, and `output=`, an empty directory. A thread is told of each finished file (inotify), reads it and removes
 * it.
 */
public final class Visible {
    private static final int ROW_BYTES = 32;

    private final Latency latency = new Latency();
    private final Path output;
    private final long interval_ns;
    private final long epoch_ns;
    private long expected;
    private volatile IOException failed;

    private Visible(Path output, long rate, long epoch_ns) {
        this.output = output;
        this.epoch_ns = epoch_ns;
        interval_ns = 1_000_000_000L / rate;
    }

    public static void main(String[] words) throws Exception {
        Failure.ends_the_program();
        Options options = new Options(words);
        long rate = options.number("rate");
        long gaps_ns = options.seconds("gaps_s");
        Gaps machine = new Gaps();
        machine.spin(gaps_ns / 2, rate);

        StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(1, Jobs.settings(options));
        Visible visible = new Visible(Path.of(options.text("output")), rate, Windows.epoch_ns(rate));
        Thread watcher = new Thread(visible::watch, "watcher");
        watcher.setDaemon(true);
        watcher.start();
        BidSource source = new BidSource(options.text("input"), 1, rate, visible.epoch_ns, options.number("nap_us") * 1000);
        Jobs.build(environment, options.text("work", "w2"), source, visible.sink());
        JobClient job = environment.executeAsync("visible");
        Windows.sleep_ns(options.seconds("warmup_s"));
        Windows.wait_until_caught_up(() -> Shared.total(Shared.read), rate, visible.epoch_ns);
        long measure_ns = options.seconds("measure_s");
        long now = System.nanoTime();
        visible.latency.measure(now, now + measure_ns);
        Windows windows = new Windows();
        windows.take(1, measure_ns, () -> Shared.total(Shared.read), () -> Clusters.check_alive(job));
        Windows.sleep_ns(options.number("checkpoint_ms") * 3_000_000L + 2_000_000_000L); // until the last are visible
        Shared.stopping = true;
        job.getJobExecutionResult().get();

        machine.spin(gaps_ns / 2, rate);
        visible.check((long) (measure_ns * (rate / 1e9)));
        System.out.printf("{\"latency\": %s, \"machine\": %s, \"windows\": %s}%n",
            visible.latency.json(), machine.json(), windows.json());
        System.exit(0);
    }

    private FileSink<Row> sink() {
        Encoder<Row> encoder = (row, stream) -> stream.write(ByteBuffer.allocate(ROW_BYTES)
            .putLong(row.auction).putLong(row.number).putLong(row.price).putLong(row.sequence).array());
        return FileSink.forRowFormat(new org.apache.flink.core.fs.Path("file://" + output), encoder)
            .withBucketAssigner(new BasePathBucketAssigner<>())
            .withRollingPolicy(OnCheckpointRollingPolicy.build())
            .build();
    }

    private void watch() {
        try (WatchService service = FileSystems.getDefault().newWatchService()) {
            output.register(service, StandardWatchEventKinds.ENTRY_CREATE);
            while (true) {
                WatchKey key = service.poll(100, TimeUnit.MILLISECONDS);
                if (key == null) {
                    continue;
                }
                long now = System.nanoTime();
                for (WatchEvent<?> event : key.pollEvents()) {
                    if (event.kind() == StandardWatchEventKinds.OVERFLOW) {
                        throw new IOException("inotify lost events");
                    }
                    finished((Path) event.context(), now);
                }
                key.reset();
            }
        } catch (IOException error) {
            failed = error;
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    /** Files being written begin with a dot; the finished ones are named part-... in one step. */
    private void finished(Path name, long now_ns) throws IOException {
        if (name.toString().startsWith(".")) {
            return;
        }
        Path path = output.resolve(name);
        ByteBuffer rows = ByteBuffer.wrap(Files.readAllBytes(path));
        if (rows.remaining() % ROW_BYTES != 0) {
            throw new IOException(path + " ends in the middle of a row");
        }
        for (; rows.hasRemaining(); expected++) {
            long sequence = rows.getLong(rows.position() + 24);
            rows.position(rows.position() + ROW_BYTES);
            if (sequence != expected) {
                throw new IOException(path + ": result " + sequence + " where " + expected + " was expected");
            }
            latency.record(epoch_ns + sequence * interval_ns, now_ns);
        }
        Files.delete(path);
    }

    private void check(long events) throws IOException {
        if (failed != null) {
            throw failed;
        }
        if (latency.events() < events * 0.999) {
            throw new IOException("only " + latency.events() + " of " + events + " results became visible");
        }
    }
}
