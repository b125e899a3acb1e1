package weir.peer.jet;

import com.hazelcast.jet.core.DefaultPartitionStrategy;
import com.hazelcast.jet.core.Partitioner;

/**
 * Keys in groups. A snapshot holds one entry a group, not one a key; its key is the group's number, and Jet gives it back to
 * whoever has the partition of that number. So a record goes to the partition of its group's number too. (The default partitioner
 * would serialize each key.)
 */
public final class Groups implements Partitioner<Row> {
    private static final long serialVersionUID = 1;
    public static final int COUNT = 1024;

    private transient int[] partitions;

    /** A number with well mixed high bits; the group is the highest ten of them. */
    public static long hash(long key) {
        return key * 0x9E3779B97F4A7C15L;
    }

    public static int group(long key) {
        return (int) (hash(key) >>> 54);
    }

    @Override
    public void init(DefaultPartitionStrategy strategy) {
        partitions = new int[COUNT];
        for (int i = 0; i < COUNT; i++) {
            partitions[i] = strategy.getPartition(i);
        }
    }

    @Override
    public int getPartition(Row row, int count) {
        return partitions[group(row.auction)];
    }
}
