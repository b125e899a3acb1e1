package weir.peer.flink;

import java.util.Objects;
import org.apache.flink.api.common.serialization.SerializerConfig;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeutils.TypeSerializer;

/**
 * A bid, or an update of a key: `number` is the bidder of a bid, the count of an update; `price` the highest so far, in an
 * update.
 */
public final class Row {
    public long auction;
    public long number;
    public long price;
    public long sequence;

    @Override
    public boolean equals(Object other) {
        return other instanceof Row row && row.auction == auction && row.number == number && row.price == price
            && row.sequence == sequence;
    }

    @Override
    public int hashCode() {
        return Objects.hash(auction, number, price, sequence);
    }

    /** Says that a Row goes over the exchange by RowSerializer, not by reflection. */
    public static final class Type extends TypeInformation<Row> {
        private static final long serialVersionUID = 1;

        @Override
        public boolean isBasicType() {
            return false;
        }

        @Override
        public boolean isTupleType() {
            return false;
        }

        @Override
        public int getArity() {
            return 1;
        }

        @Override
        public int getTotalFields() {
            return 1;
        }

        @Override
        public Class<Row> getTypeClass() {
            return Row.class;
        }

        @Override
        public boolean isKeyType() {
            return false;
        }

        @Override
        public TypeSerializer<Row> createSerializer(SerializerConfig config) {
            return RowSerializer.INSTANCE;
        }

        @Override
        public String toString() {
            return "Row";
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof Type;
        }

        @Override
        public int hashCode() {
            return Type.class.hashCode();
        }

        @Override
        public boolean canEqual(Object other) {
            return other instanceof Type;
        }
    }
}
