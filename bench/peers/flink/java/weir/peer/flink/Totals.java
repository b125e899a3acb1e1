package weir.peer.flink;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** The state of a key. */
public final class Totals {
    public long count;
    public long price;

    /** Two longs, 16 bytes, written by hand; the copy is what the heap backend's copy-on-write needs. */
    public static final class Serializer extends TypeSerializerSingleton<Totals> {
        private static final long serialVersionUID = 1;
        public static final Serializer INSTANCE = new Serializer();

        @Override
        public boolean isImmutableType() {
            return false;
        }

        @Override
        public Totals createInstance() {
            return new Totals();
        }

        @Override
        public Totals copy(Totals from) {
            return copy(from, new Totals());
        }

        @Override
        public Totals copy(Totals from, Totals to) {
            to.count = from.count;
            to.price = from.price;
            return to;
        }

        @Override
        public int getLength() {
            return 16;
        }

        @Override
        public void serialize(Totals totals, DataOutputView out) throws IOException {
            out.writeLong(totals.count);
            out.writeLong(totals.price);
        }

        @Override
        public Totals deserialize(DataInputView in) throws IOException {
            return deserialize(new Totals(), in);
        }

        @Override
        public Totals deserialize(Totals totals, DataInputView in) throws IOException {
            totals.count = in.readLong();
            totals.price = in.readLong();
            return totals;
        }

        @Override
        public void copy(DataInputView in, DataOutputView out) throws IOException {
            out.write(in, 16);
        }

        @Override
        public TypeSerializerSnapshot<Totals> snapshotConfiguration() {
            return new Snapshot();
        }
    }

    /** The format of Totals in a checkpoint: it has one. */
    public static final class Snapshot extends SimpleTypeSerializerSnapshot<Totals> {
        public Snapshot() {
            super(() -> Serializer.INSTANCE);
        }
    }
}
