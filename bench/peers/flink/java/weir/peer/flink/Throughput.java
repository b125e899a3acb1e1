package weir.peer.flink;

import org.apache.flink.core.execution.JobClient;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import weir.peer.Bids;
import weir.peer.Failure;
import weir.peer.Options;
import weir.peer.Shared;
import weir.peer.Windows;
import weir.peer.Work;

/**
 * W0, W1, W2 as fast as they go: `work= input= keys= parallelism= checkpoint_ms= directory= warmup_s= window_s= windows=`. Prints
 * a line of JSON. Ends with 1 where the results are not those of a plain loop.
 */
public final class Throughput {
    private Throughput() {
    }

    public static void main(String[] words) throws Exception {
        Failure.ends_the_program();
        Options options = new Options(words);
        String plan = options.text("work");
        String work = plan.equals("w2.chained") ? "w2" : plan;
        int parallelism = (int) options.number("parallelism");
        StreamExecutionEnvironment environment =
            StreamExecutionEnvironment.createLocalEnvironment(parallelism, Jobs.settings(options));
        BidSource source = new BidSource(options.text("input"), parallelism, 0, 0, 0);
        Jobs.build(environment, plan, source, new Sinks.Adding(work.equals("w2")));
        JobClient job = environment.executeAsync(plan);
        Runnable alive = () -> Clusters.check_alive(job);
        Windows.sleep_ns(options.seconds("warmup_s"));
        Windows windows = new Windows();
        windows.take((int) options.number("windows"), options.seconds("window_s"),
            () -> Shared.total(work.equals("w1") ? Shared.read : Shared.results), alive);
        Shared.stopping = true;
        job.getJobExecutionResult().get();
        Work.expected(work, new Bids(options.text("input")), parallelism, options.number("keys")).compare(work, parallelism);
        System.out.println("{\"windows\": " + windows.json() + "}");
        System.exit(0);
    }
}
