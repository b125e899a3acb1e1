package weir.peer.jet;

import com.hazelcast.config.Config;
import com.hazelcast.config.SerializerConfig;
import com.hazelcast.function.SupplierEx;
import com.hazelcast.jet.config.EdgeConfig;
import com.hazelcast.jet.config.JobConfig;
import com.hazelcast.jet.config.ProcessingGuarantee;
import com.hazelcast.jet.core.DAG;
import com.hazelcast.jet.core.Edge;
import com.hazelcast.jet.core.Processor;
import com.hazelcast.jet.core.Vertex;
import weir.peer.Options;

/** The jobs and their settings; README.md says why each. */
final class Jobs {
    private Jobs() {
    }

    /**
     * A member: threads= (cooperative), idle_us= (longest sleep of an idle thread), alone unless the caller makes it join others.
     */
    static Config member(Options options) {
        Config config = new Config();
        config.setProperty("hazelcast.logging.type", options.text("log", "none"));
        config.setProperty("hazelcast.phone.home.enabled", "false");
        config.setProperty("hazelcast.jet.idle.cooperative.min.microseconds", options.text("idle_min_us", "25"));
        config.setProperty("hazelcast.jet.idle.cooperative.max.microseconds", options.text("idle_us", "500"));
        options.with_prefix("set.").forEach(config::setProperty);
        config.getMetricsConfig().setEnabled(false);
        config.getSerializationConfig().addSerializerConfig(
            new SerializerConfig().setTypeClass(Row.class).setImplementation(new Row.Serializer()));
        config.getNetworkConfig().getJoin().getMulticastConfig().setEnabled(false);
        config.getNetworkConfig().getJoin().getAutoDetectionConfig().setEnabled(false);
        int threads = (int) options.number("threads", Runtime.getRuntime().availableProcessors());
        config.getJetConfig().setEnabled(true).setCooperativeThreadCount(threads);
        return config;
    }

    static JobConfig job(Options options) {
        JobConfig job = new JobConfig().setName("bench").setMetricsEnabled(false);
        long checkpoint_ms = options.number("checkpoint_ms");
        if (checkpoint_ms > 0) {
            job.setProcessingGuarantee(ProcessingGuarantee.EXACTLY_ONCE).setSnapshotIntervalMillis(checkpoint_ms);
        }
        return job;
    }

    private static Edge edge(Vertex from, Vertex to, Options options) {
        int queue = (int) options.number("queue", EdgeConfig.DEFAULT_QUEUE_SIZE);
        return Edge.between(from, to).setConfig(new EdgeConfig().setQueueSize(queue));
    }

    /** W0 through an exchange (w0.exchange), W1, W2; each vertex with so many processors. */
    static DAG dag(String work, int parallelism, SupplierEx<Processor> source, SupplierEx<Processor> sink, Options options) {
        DAG dag = new DAG();
        Vertex bids = dag.newVertex("bids", source).localParallelism(parallelism);
        Vertex drop = dag.newVertex("sink", sink).localParallelism(parallelism);
        switch (work) {
            case "w0.exchange" -> dag.edge(edge(bids, drop, options));
            case "w1" -> {
                Vertex filter = dag.newVertex("filter", Processors.Filter::new).localParallelism(parallelism);
                dag.edge(edge(bids, filter, options).isolated()).edge(edge(filter, drop, options).isolated());
            }
            case "w2" -> {
                Vertex count = dag.newVertex("count", Processors.KeyedCount::new).localParallelism(parallelism);
                dag.edge(edge(bids, count, options).partitioned((Row row) -> row, new Groups()))
                    .edge(edge(count, drop, options).isolated());
            }
            default -> throw new IllegalArgumentException("no work '" + work + "'");
        }
        return dag;
    }
}
