package weir.peer.flink;

import org.apache.flink.core.execution.JobClient;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import weir.peer.Failure;
import weir.peer.Gaps;
import weir.peer.Options;
import weir.peer.Shared;
import weir.peer.Windows;

/**
 * The keyed count at a fixed rate, one subtask: `work=` (w2, w2.chained) `input= rate= checkpoint_ms= buffer_ms= nap_us=
 * directory= warmup_s= measure_s= gaps_s=`. Prints a line of JSON: latency from due to sink; the machine's own gaps, of the same
 * thread spinning before and after the job; throughput and checkpoints.
 */
public final class Paced {
    private Paced() {
    }

    public static void main(String[] words) throws Exception {
        Failure.ends_the_program();
        Options options = new Options(words);
        long rate = options.number("rate");
        long gaps_ns = options.seconds("gaps_s");
        Gaps machine = new Gaps();
        machine.spin(gaps_ns / 2, rate);

        StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(1, Jobs.settings(options));
        long epoch_ns = Windows.epoch_ns(rate);
        BidSource source = new BidSource(options.text("input"), 1, rate, epoch_ns, options.number("nap_us") * 1000);
        Jobs.build(environment, options.text("work", "w2"), source, new Sinks.Timing(rate, epoch_ns));
        JobClient job = environment.executeAsync("paced");
        Windows.sleep_ns(options.seconds("warmup_s"));
        Windows.wait_until_caught_up(() -> Shared.total(Shared.results), rate, epoch_ns);
        long measure_ns = options.seconds("measure_s");
        long now = System.nanoTime();
        Sinks.latency.measure(now, now + measure_ns);
        Windows windows = new Windows();
        windows.take(1, measure_ns, () -> Shared.total(Shared.results), () -> Clusters.check_alive(job));
        Shared.stopping = true;
        job.getJobExecutionResult().get();

        machine.spin(gaps_ns / 2, rate);
        if (Sinks.latency.events() < measure_ns * (rate / 1e9) * 0.999) {
            throw new IllegalStateException("only " + Sinks.latency.events() + " of the events reached the sink");
        }
        System.out.printf("{\"latency\": %s, \"machine\": %s, \"windows\": %s}%n",
            Sinks.latency.json(), machine.json(), windows.json());
        System.exit(0);
    }
}
