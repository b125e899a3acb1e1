package weir.peer.jet;

import com.hazelcast.config.Config;
import com.hazelcast.config.TcpIpConfig;
import com.hazelcast.core.Hazelcast;
import com.hazelcast.core.HazelcastInstance;
import com.hazelcast.jet.core.DAG;
import com.hazelcast.jet.core.Edge;
import com.hazelcast.jet.core.ProcessorMetaSupplier;
import com.hazelcast.jet.core.ProcessorSupplier;
import com.hazelcast.jet.core.Vertex;
import weir.peer.Failure;
import weir.peer.Options;
import weir.peer.Windows;

/**
 * A member of a cluster of two on this host: `port= others=` (ports, its own may be among them) `submit=`. With submit=1 it waits
 * until there are two and starts the keyed count at a fixed rate: one source, count and sink on both. Runs until it is killed.
 */
public final class Member {
    private Member() {
    }

    private static Config config(Options options) {
        Config config = Jobs.member(options);
        config.getJetConfig().setScaleUpDelayMillis(options.number("scale_up_ms", 500)).setBackupCount(1);
        config.getNetworkConfig().setPort((int) options.number("port")).setPortAutoIncrement(false);
        config.getNetworkConfig().getInterfaces().setEnabled(true).addInterface("127.0.0.1");
        TcpIpConfig members = config.getNetworkConfig().getJoin().getTcpIpConfig().setEnabled(true);
        for (String port : options.text("others").split(",")) {
            members.addMember("127.0.0.1:" + port);
        }
        return config;
    }

    private static DAG dag(Options options) {
        String input = options.text("input");
        String probe = options.text("probe");
        long rate = options.number("rate");
        long patience_ns = options.number("patience_us") * 1000;
        long epoch_ns = Windows.epoch_ns(rate);
        DAG dag = new DAG();
        Vertex bids = dag.newVertex("bids", ProcessorMetaSupplier.forceTotalParallelismOne(
            ProcessorSupplier.of(() -> new Processors.Source(input, 1, rate, epoch_ns, patience_ns))));
        Vertex count = dag.newVertex("count", Processors.KeyedCount::new).localParallelism(1);
        Vertex sink = dag.newVertex("sink", () -> new Processors.Probing(probe)).localParallelism(1);
        return dag.edge(Edge.between(bids, count).partitioned((Row row) -> row, new Groups()).distributed())
            .edge(Edge.between(count, sink).isolated());
    }

    public static void main(String[] words) {
        Failure.ends_the_program();
        Options options = new Options(words);
        HazelcastInstance member = Hazelcast.newHazelcastInstance(config(options));
        if (options.number("submit") == 1) {
            while (member.getCluster().getMembers().size() < 2) {
                Windows.sleep_ns(10_000_000);
            }
            member.getJet().newJob(dag(options), Jobs.job(options)).join();
        }
    }
}
