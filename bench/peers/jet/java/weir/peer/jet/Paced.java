package weir.peer.jet;

import com.hazelcast.core.Hazelcast;
import com.hazelcast.core.HazelcastInstance;
import com.hazelcast.jet.Job;
import com.hazelcast.jet.core.DAG;
import weir.peer.Failure;
import weir.peer.Gaps;
import weir.peer.Options;
import weir.peer.Shared;
import weir.peer.Windows;

/**
 * The keyed count at a fixed rate, one processor a vertex: `input= rate= checkpoint_ms= patience_us= warmup_s= measure_s=
 * gaps_s=`. Prints a line of JSON: latency from due to sink; the machine's own gaps, of the same thread spinning before and after
 * the job; throughput and checkpoints.
 */
public final class Paced {
    private Paced() {
    }

    public static void main(String[] words) {
        Failure.ends_the_program();
        Options options = new Options(words);
        long rate = options.number("rate");
        long gaps_ns = options.seconds("gaps_s");
        String input = options.text("input");
        long patience_ns = options.number("patience_us") * 1000;
        Gaps machine = new Gaps();
        machine.spin(gaps_ns / 2, rate);

        HazelcastInstance member = Hazelcast.newHazelcastInstance(Jobs.member(options));
        long epoch_ns = Windows.epoch_ns(rate);
        DAG dag = Jobs.dag("w2", 1, () -> new Processors.Source(input, 1, rate, epoch_ns, patience_ns),
            () -> new Processors.Timing(rate, epoch_ns), options);
        Job job = member.getJet().newJob(dag, Jobs.job(options));
        Windows.sleep_ns(options.seconds("warmup_s"));
        Windows.wait_until_caught_up(() -> Shared.total(Shared.results), rate, epoch_ns);
        long measure_ns = options.seconds("measure_s");
        long now = System.nanoTime();
        Processors.latency.measure(now, now + measure_ns);
        Windows windows = new Windows();
        windows.take(1, measure_ns, () -> Shared.total(Shared.results), () -> Throughput.check_alive(job));
        Shared.stopping = true;
        job.join();

        machine.spin(gaps_ns / 2, rate);
        if (Processors.latency.events() < measure_ns * (rate / 1e9) * 0.99) {
            throw new IllegalStateException("only " + Processors.latency.events() + " of the events reached the sink");
        }
        System.out.printf("{\"latency\": %s, \"machine\": %s, \"windows\": %s}%n",
            Processors.latency.json(), machine.json(), windows.json());
        System.exit(0);
    }
}
