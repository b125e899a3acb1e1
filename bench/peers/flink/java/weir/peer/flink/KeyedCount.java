package weir.peer.flink;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.CheckpointListener;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import weir.peer.Shared;

/** W2: how many bids an auction had, and the highest price; an update a bid. */
public final class KeyedCount extends KeyedProcessFunction<Long, Row, Row> implements CheckpointListener {
    private static final long serialVersionUID = 1;

    private transient ValueState<Totals> state;
    private transient Row update;
    private transient int subtask;

    @Override
    public void open(OpenContext context) {
        state = getRuntimeContext().getState(new ValueStateDescriptor<>("totals", Totals.Serializer.INSTANCE));
        update = new Row();
        subtask = getRuntimeContext().getTaskInfo().getIndexOfThisSubtask();
    }

    @Override
    public void processElement(Row bid, Context context, Collector<Row> out) throws Exception {
        Totals totals = state.value();
        if (totals == null) {
            totals = new Totals();
        }
        totals.count++;
        totals.price = Math.max(totals.price, bid.price);
        state.update(totals);
        update.auction = bid.auction;
        update.number = totals.count;
        update.price = totals.price;
        update.sequence = bid.sequence;
        out.collect(update);
    }

    @Override
    public void notifyCheckpointComplete(long checkpoint) {
        if (subtask == 0) {
            Shared.checkpoints.incrementAndGet();
        }
    }
}
