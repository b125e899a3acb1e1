package weir.peer.flink;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** Four longs, 32 bytes, written by hand. */
public final class RowSerializer extends TypeSerializerSingleton<Row> {
    private static final long serialVersionUID = 1;
    public static final RowSerializer INSTANCE = new RowSerializer();

    @Override
    public boolean isImmutableType() {
        return false;
    }

    @Override
    public Row createInstance() {
        return new Row();
    }

    @Override
    public Row copy(Row from) {
        return copy(from, new Row());
    }

    @Override
    public Row copy(Row from, Row to) {
        to.auction = from.auction;
        to.number = from.number;
        to.price = from.price;
        to.sequence = from.sequence;
        return to;
    }

    @Override
    public int getLength() {
        return 32;
    }

    @Override
    public void serialize(Row row, DataOutputView out) throws IOException {
        out.writeLong(row.auction);
        out.writeLong(row.number);
        out.writeLong(row.price);
        out.writeLong(row.sequence);
    }

    @Override
    public Row deserialize(DataInputView in) throws IOException {
        return deserialize(new Row(), in);
    }

    @Override
    public Row deserialize(Row row, DataInputView in) throws IOException {
        row.auction = in.readLong();
        row.number = in.readLong();
        row.price = in.readLong();
        row.sequence = in.readLong();
        return row;
    }

    @Override
    public void copy(DataInputView in, DataOutputView out) throws IOException {
        out.write(in, 32);
    }

    @Override
    public TypeSerializerSnapshot<Row> snapshotConfiguration() {
        return new Snapshot();
    }

    /** The format of Row in a checkpoint: it has one. */
    public static final class Snapshot extends SimpleTypeSerializerSnapshot<Row> {
        public Snapshot() {
            super(() -> INSTANCE);
        }
    }
}
