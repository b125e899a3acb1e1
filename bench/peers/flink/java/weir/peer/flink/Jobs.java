package weir.peer.flink;

import java.time.Duration;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExecutionOptions;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.core.execution.CheckpointingMode;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.DataStreamUtils;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import weir.peer.Options;
import weir.peer.Work;

/** The jobs and their settings; README.md says why each. */
public final class Jobs {
    private Jobs() {
    }

    /** Settings of the job: checkpoint_ms (0: none), directory, buffer_ms, and `set.KEY=VALUE` for any other of Flink's own. */
    public static Configuration settings(Options options) {
        Configuration settings = new Configuration();
        settings.set(PipelineOptions.OBJECT_REUSE, true);
        settings.set(PipelineOptions.GENERIC_TYPES, false);
        settings.set(ExecutionOptions.BUFFER_TIMEOUT, Duration.ofMillis(options.number("buffer_ms", 100)));
        long checkpoint_ms = options.number("checkpoint_ms");
        if (checkpoint_ms > 0) {
            settings.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, Duration.ofMillis(checkpoint_ms));
            settings.set(CheckpointingOptions.CHECKPOINTING_CONSISTENCY_MODE, CheckpointingMode.EXACTLY_ONCE);
            settings.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
            settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, "file://" + options.text("directory"));
        }
        options.with_prefix("set.").forEach(settings::setString);
        return settings;
    }

    /**
     * W0 with an exchange (w0.exchange) or in one chain (w0.chained), W1, W2 with an exchange by key. w2.chained: one subtask of
     * source, count and sink in one thread, where Flink takes our word that the records are with their keys.
     */
    public static void build(StreamExecutionEnvironment environment, String work, BidSource source, Sink<Row> sink) {
        DataStream<Row> bids = environment.fromSource(source, WatermarkStrategy.noWatermarks(), "bids", new Row.Type());
        DataStream<Row> results = switch (work) {
            case "w0.exchange" -> bids.rebalance();
            case "w0.chained" -> bids;
            case "w1" -> bids.filter(bid -> bid.auction % Work.FILTER == 0);
            case "w2" -> counted(bids.keyBy(bid -> bid.auction, Types.LONG));
            case "w2.chained" -> counted(DataStreamUtils.reinterpretAsKeyedStream(bids, bid -> bid.auction, Types.LONG));
            default -> throw new IllegalArgumentException("no work '" + work + "'");
        };
        results.sinkTo(sink).name("sink");
    }

    private static DataStream<Row> counted(KeyedStream<Row, Long> bids) {
        return bids.process(new KeyedCount()).returns(new Row.Type()).name("count");
    }
}
