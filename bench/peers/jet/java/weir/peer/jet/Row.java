package weir.peer.jet;

import com.hazelcast.nio.ObjectDataInput;
import com.hazelcast.nio.ObjectDataOutput;
import com.hazelcast.nio.serialization.StreamSerializer;
import java.io.IOException;

/**
 * A bid, or an update of a key: `number` is the bidder of a bid, the count of an update; `price` the highest so far, in an
 * update. Between two processors of one member it goes by reference, and has one reader: so the count turns the bid into its
 * update in place.
 */
public final class Row {
    public long auction;
    public long number;
    public long price;
    public long sequence;

    /** Four longs, for edges between members. */
    public static final class Serializer implements StreamSerializer<Row> {
        @Override
        public int getTypeId() {
            return 1;
        }

        @Override
        public void write(ObjectDataOutput out, Row row) throws IOException {
            out.writeLong(row.auction);
            out.writeLong(row.number);
            out.writeLong(row.price);
            out.writeLong(row.sequence);
        }

        @Override
        public Row read(ObjectDataInput in) throws IOException {
            Row row = new Row();
            row.auction = in.readLong();
            row.number = in.readLong();
            row.price = in.readLong();
            row.sequence = in.readLong();
            return row;
        }
    }
}
