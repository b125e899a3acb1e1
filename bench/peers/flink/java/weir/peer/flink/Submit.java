package weir.peer.flink;

import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.RestOptions;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import weir.peer.Failure;
import weir.peer.Options;
import weir.peer.Windows;

/**
 * Hands the keyed count at a fixed rate to a running cluster, which has our classes: `port=` of its REST interface, `probe=`,
 * else as Paced. Prints the job's id.
 */
public final class Submit {
    private Submit() {
    }

    public static void main(String[] words) throws Exception {
        Failure.ends_the_program();
        Options options = new Options(words);
        Configuration settings = Jobs.settings(options);
        settings.set(RestOptions.ADDRESS, "127.0.0.1");
        StreamExecutionEnvironment environment =
            StreamExecutionEnvironment.createRemoteEnvironment("127.0.0.1", (int) options.number("port"), settings);
        environment.setParallelism(1);
        long nap_ns = options.number("nap_us") * 1000;
        long rate = options.number("rate");
        BidSource source = new BidSource(options.text("input"), 1, rate, Windows.epoch_ns(rate), nap_ns);
        Jobs.build(environment, "w2", source, new Sinks.Probing(options.text("probe")));
        JobClient job = environment.executeAsync("recovery");
        System.out.println("{\"job\": \"" + job.getJobID() + "\"}");
        System.exit(0);
    }
}
