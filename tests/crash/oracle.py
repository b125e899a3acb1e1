"""What crash_job must write, computed from its parameters alone. Shares no code with the engine or the job."""
import struct

MASK = (1 << 64) - 1
KIND_TRACK, KIND_SIDE, KIND_BURST, KIND_TIMER, KIND_TALLY, KIND_TOTAL = 1, 2, 3, 4, 5, 6
BURST_COUNT = 200
RUN_BYTES_MAX = 512

POWERS = [pow(31, n, 1 << 64) for n in range(RUN_BYTES_MAX)]
GEOMETRIC = [sum(POWERS[:n]) & MASK for n in range(RUN_BYTES_MAX)]  # 1 + 31 + ... + 31^(n-1)


def mix(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def fold_run(so_far, byte, count):
    """The fold of `count` equal bytes."""
    return (so_far * POWERS[count] + byte * GEOMETRIC[count]) & MASK


def fold(so_far, data):
    for byte in data:
        so_far = (so_far * 31 + byte) & MASK
    return so_far


def file_events(count, keys, seed):
    """(sequence, key, hash) of the input file. Its first half goes to one instance of the source, and has keys of its own."""
    for sequence in range(count):
        value = mix(seed ^ mix(sequence ^ 0xF11E))
        yield sequence, value % keys * 2 + (sequence >= count // 2), value


def write_input(path, count, keys, seed):
    with open(path, "wb") as out:
        out.write(b"".join(struct.pack("<QQQQ", 0, sequence, key, value)
                           for sequence, key, value in file_events(count, keys, seed)))


def made_events(count, keys, seed):
    for sequence in range(count):
        value = mix(seed ^ mix(sequence))
        if value % 16 != 3:
            yield sequence, value % keys * 2 + sequence % 2, value


class Key:
    """What `track` remembers of one key, the two inputs apart."""

    def __init__(self):
        self.count = [0, 0]
        self.sum = [0, 0]
        self.recent = []
        self.classes = {}
        self.last = None

    def take(self, side, value):
        self.count[side] += 1
        self.sum[side] = (self.sum[side] * 31 + value) & MASK

    def keep_recent(self, sequence, value):
        self.recent.append((sequence, 8 + value % 40, value & 0xFF))
        folded = len(self.recent)
        if folded < 50:
            return folded
        for sequence, size_bytes, byte in self.recent:
            folded = fold_run(fold(folded, struct.pack("<Q", sequence)), byte, size_bytes - 8)
        self.recent = []
        return folded

    def keep_last(self, value):
        folded = 0 if self.last is None else fold_run(self.last[0], self.last[1], self.last[0])
        self.last = (value % 300, value >> 8 & 0xFF)
        return folded

    def keep_classes(self, value):
        name = value % 7
        seen = self.classes[name] = self.classes.get(name, 0) + 1
        if seen == 5:
            del self.classes[name]
            return seen, 0
        if self.count[1] % 64 != 0:
            return seen, 0
        total = sum(self.classes.values())
        self.classes = {}
        return seen, total


def line(*fields):
    return "\t".join(map(str, fields))


def with_side(row, value):
    """A row of the main output, and what follows from it on the side."""
    yield line(KIND_TRACK, *row)
    if value % 10 != 0:
        return
    yield line(KIND_SIDE, *row)
    if row[4] % 97 == 0:
        for i in range(BURST_COUNT):
            yield line(KIND_BURST, *row[:5], i, row[6])


def expected_output(parameters):
    """The lines of the sink and of the tally's sink, each sorted."""
    count, keys, seed = parameters["count"], parameters["keys"], parameters["seed"]
    skip_track = parameters.get("skip_track")
    skip_tally = parameters.get("skip_tally")
    sink, tallies = [], []
    states, tallied = {}, {}
    total_count = total_sum = 0
    for sequence, key, value in file_events(count, keys, seed):
        value = mix(value)
        if sequence != skip_tally:
            key_count, key_sum = tallied.get(key, (0, 0))
            tallied[key] = key_count + 1, (key_sum * 31 + value) & MASK
            tallies.append(line(KIND_TALLY, 0, sequence, key, tallied[key][0], value, tallied[key][1], 0))
            total_count += 1
            total_sum = (total_sum + value) & MASK
        if sequence == skip_track:
            continue
        state = states.setdefault(key, Key())
        state.take(0, value)
        row = (0, sequence, key, state.count[0], state.sum[0], state.keep_recent(sequence, value), state.keep_last(value))
        sink.extend(with_side(row, value))
        if parameters["timers"] and state.count[0] % 16 == 0:
            sink.append(line(KIND_TIMER, 0, 0, key, state.count[0], 0, 0, 0))
    for sequence, key, value in made_events(count, keys, seed):
        state = states.setdefault(key, Key())
        state.take(1, value)
        row = (1, sequence, key, state.count[1], state.sum[1], *state.keep_classes(value))
        sink.extend(with_side(row, value))
    tallies.append(line(KIND_TOTAL, 0, 0, 0, total_count, total_sum, 0, 0))
    return sorted(sink), sorted(tallies)
