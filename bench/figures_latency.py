"""The figures latency, visible and checkpoints: bids that are due at fixed times, whatever became of those before them."""

import mmap
import os
import struct
import subprocess
import time

from measure import BenchError, Figure, Job, percentile

PERCENTILES = (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999), ("max", 1.0))


class Histogram:
    """struct histogram of histogram.h, in shared memory."""

    SUB_BITS = 7
    BUCKETS = (42 - SUB_BITS + 1) << SUB_BITS
    LAYOUT = struct.Struct(f"=QQ{BUCKETS}Q")

    def __init__(self, memory, offset):
        self.count, self.max, *self.buckets = self.LAYOUT.unpack_from(memory, offset)

    def value_of(self, bucket):
        """The highest value of a bucket."""
        if bucket < 2 << self.SUB_BITS:
            return bucket
        shift = (bucket >> self.SUB_BITS) - 1
        return (bucket - (shift << self.SUB_BITS) + 1) * (1 << shift) - 1

    def percentile(self, share):
        seen = 0
        for bucket, count in enumerate(self.buckets):
            seen += count
            if count > 0 and seen >= share * self.count:
                return min(self.value_of(bucket), self.max)
        return self.max

    def percentiles_us(self):
        return [self.percentile(share) / 1000 for _, share in PERCENTILES]


class DueProbe:
    """struct due_probe of due.h, shared with the running job."""

    BYTES = 65536
    ORIGIN, FROM, UNTIL, DUE, RECORDS, HISTOGRAM = 0, 8, 16, 24, 32, 40

    def __init__(self, path):
        self.path = path
        with open(path, "wb") as file:
            file.truncate(self.BYTES)
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), self.BYTES)

    def word(self, offset):
        return struct.unpack_from("=q", self.memory, offset)[0]

    def measure(self, seconds):
        """From now on, for so long. Returns the end."""
        now_ns = time.monotonic_ns()
        until_ns = now_ns + int(seconds * 1e9)
        struct.pack_into("=q", self.memory, self.UNTIL, until_ns)
        struct.pack_into("=q", self.memory, self.FROM, now_ns)
        return until_ns

    def histogram(self):
        return Histogram(self.memory, self.HISTOGRAM)


def due_job(context, rate, keys, options):
    probe = DueProbe(os.path.join(context.scratch, "due-probe"))
    options = ["--chain-keyed", f"--set=probe={probe.path}", f"--set=rate={rate}", f"--set=keys={keys}", *options]
    return Job(context, "due_count", context.fresh_directory("due-checkpoints"), options), probe


def completed(job):
    """Checkpoints that the job has completed. Its coordinator may be at a disk that is busy: the question is put again."""
    answers = []
    job.wait_until(lambda: answers.append(job.status()) or answers[-1] is not None, "an answer to status", 30)
    return answers[-1]["checkpoints"]["completed"]


def checkpoint_options(interval):
    return ["--guarantee=none"] if interval == "none" else [f"--checkpoint-interval={interval}"]


# ------------------------------------------------------------------------------------------------- latency ------

WINDOW_S = 10
WARM_UP_S = 2
LATENCY_KEYS = 1_000_000
LATENCY_OPTIONS = ["--busy-poll"]  # besides --chain-keyed


def machine_gaps_us(context, seconds):
    """The waits of events at a process that does nothing but look at the clock, one process a CPU: at each percentile those of the worst CPU."""
    cpus = sorted(os.sched_getaffinity(0))[:2]
    children = [subprocess.Popen([context.program("gaps"), str(seconds), str(cpu)], stdout=subprocess.PIPE, text=True) for cpu in cpus]
    rows = [[int(word) / 1000 for word in child.communicate()[0].split()[1:]] for child in children]
    if any(child.returncode != 0 for child in children):
        raise BenchError("gaps: a process that looks at the clock failed")
    return [max(row[i] for row in rows) for i in range(len(PERCENTILES))]


def latency_run(context, rate, interval, options, window_s):
    """Percentiles in us of the job, and of the machine just before and after it; the checkpoints in the window; the command."""
    before = machine_gaps_us(context, window_s / 2)
    job, probe = due_job(context, rate, LATENCY_KEYS, [*checkpoint_options(interval), *options])
    with job:
        job.wait_until(lambda: probe.word(probe.DUE) != 0, "the first result")
        time.sleep(WARM_UP_S)
        first = completed(job)
        until_ns = probe.measure(window_s)
        time.sleep(window_s)
        job.wait_until(lambda: probe.word(probe.DUE) >= until_ns, "the last result", 60)
        checkpoints = completed(job) - first
        histogram = probe.histogram()
        command = context.shown(job.arguments)
    expected = rate * window_s
    if abs(histogram.count - expected) > expected // 100 + 1:
        raise BenchError(f"{histogram.count} results of {expected} bids that were due")
    after = machine_gaps_us(context, window_s / 2)
    return histogram.percentiles_us(), [max(pair) for pair in zip(before, after)], checkpoints, command


def latency(context, rate, label, interval, p50_bar, options=tuple(LATENCY_OPTIONS), engine="weir"):
    rows = []
    for i in range(context.runs(3)):
        context.say(f"latency.{label}.{interval}: run {i + 1}")
        rows.append(latency_run(context, rate, interval, list(options), 3 if context.runs_wanted == 1 else WINDOW_S))
    name, command = f"latency.{label}.{interval}", rows[0][3]
    note = f"{LATENCY_KEYS:,} keys, {rate:,} events/s; checkpoints in a run: {rows[0][2]}"
    figures = []
    for i, (text, _) in enumerate(PERCENTILES):
        ours, machine = [row[0][i] for row in rows], [row[1][i] for row in rows]
        bar = ("<=", p50_bar) if text == "p50" else None
        if text in ("p99", "p999") and interval != "none":
            bar = ("<=", 1.5 * percentile(machine, 0.5))
        figures.append(Figure(f"{name}.{engine}.{text}", ours, "us", command, [("the machine's gaps", percentile(machine, 0.5))], bar, note=note))
        figures.append(Figure(f"{name}.machine.{text}", machine, "us", context.shown([context.program("gaps"), str(WINDOW_S / 2), "0"]),
                              note="a spinning process on each of two CPUs, before and after the job"))
    return figures


# ------------------------------------------------------------------------------------------------- visible ------

VISIBLE_RATE = 100_000
VISIBLE_BARS = {("2ms", "1k"): 6, ("10ms", "1k"): 15, ("10ms", "1m"): 30}  # ms at p99


def visible_run(context, interval, keys, window_s):
    output = context.fresh_directory("visible-output")
    job, probe = due_job(context, VISIBLE_RATE, keys, [f"--checkpoint-interval={interval}", f"--set=output={output}"])
    with subprocess.Popen([context.program("visible"), probe.path, output], stdout=subprocess.PIPE, text=True) as reader:
        try:
            reader.stdout.readline()
            with job:
                job.wait_until(lambda: probe.word(probe.DUE) != 0, "the first committed result")
                time.sleep(WARM_UP_S)
                first = completed(job)
                probe.measure(window_s)
                time.sleep(window_s)
                checkpoints = completed(job) - first
                job.wait_until(lambda: reader.poll() is not None, "the last committed result", 60)
                words = [int(word) for word in reader.stdout.read().split()]
                command = context.shown(job.arguments)
        finally:
            if reader.poll() is None:
                reader.terminate()
    if reader.returncode != 0 or abs(words[1] - VISIBLE_RATE * window_s) > VISIBLE_RATE * window_s // 100:
        raise BenchError(f"visible: {words[1:2]} committed results of {VISIBLE_RATE * window_s} bids that were due")
    return [word / 1e6 for word in words[2:]], checkpoints / window_s, command


def visible(context, interval, label, keys):
    rows = []
    for i in range(context.runs(3)):
        context.say(f"visible.{interval}.{label}: run {i + 1}")
        rows.append(visible_run(context, interval, keys, 5))
    name, command = f"visible.{interval}.{label}.weir", rows[0][2]
    note = f"{VISIBLE_RATE:,} events/s, {keys:,} keys; {rows[0][1]:.0f} checkpoints/s"
    bar = VISIBLE_BARS.get((interval, label))
    return [Figure(f"{name}.{text}", [row[0][i] for row in rows], "ms", command, bar=("<=", bar) if bar and text == "p99" else None, note=note)
            for i, (text, _) in enumerate(PERCENTILES)]


# ------------------------------------------------------------------------------------------------- checkpoints --


def checkpoint_rate(context, label, keys, bar, seconds=5):
    """As many checkpoints as there may be (one every 2 ms at most: that is the least interval), at 100,000 events/s."""
    rows = []
    for i in range(context.runs(3)):
        context.say(f"checkpoints.{label}: run {i + 1}")
        job, probe = due_job(context, VISIBLE_RATE, keys, ["--checkpoint-interval=2ms"])
        with job:
            job.wait_until(lambda: probe.word(probe.DUE) != 0, "the first result")
            time.sleep(WARM_UP_S)
            first, begun, records = completed(job), time.monotonic(), probe.word(probe.RECORDS)
            time.sleep(seconds)
            took_s = time.monotonic() - begun
            rows.append(((completed(job) - first) / took_s, (probe.word(probe.RECORDS) - records) / took_s))
            command = context.shown(job.arguments)
    return [Figure(f"checkpoints.{label}.weir", [row[0] for row in rows], "checkpoints/s", command, bar=(">=", bar),
                   note=f"{keys:,} keys, {percentile([row[1] for row in rows], 0.5):,.0f} events/s of {VISIBLE_RATE:,} meanwhile")]


def visible_figures():
    figures = {}
    for label, keys in (("1k", 1_000), ("1m", 1_000_000)):
        for interval in ("2ms", "10ms", "100ms", "1s"):
            def measure(context, interval=interval, label=label, keys=keys):
                return visible(context, interval, label, keys)
            figures[f"visible.{interval}.{label}.weir"] = (measure, f"from due to visible in a committed file, a checkpoint every {interval}, {keys:,} keys")
    return figures


LATENCY = {
    "latency.100k.1s": (lambda c: latency(c, 100_000, "100k", "1s", 10), "keyed count at 100,000 events/s, from due to the sink, a checkpoint every second"),
    "latency.100k.none": (lambda c: latency(c, 100_000, "100k", "none", 10), "the same, no checkpoints"),
    "latency.1m.1s": (lambda c: latency(c, 1_000_000, "1m", "1s", 25), "the same at 1,000,000 events/s, a checkpoint every second"),
    "latency.1m.none": (lambda c: latency(c, 1_000_000, "1m", "none", 25), "the same, no checkpoints"),
    **visible_figures(),
    "checkpoints.1k": (lambda c: checkpoint_rate(c, "1k", 1_000, 400), "checkpoints per second, as many as there may be, 1,000 keys"),
    "checkpoints.1m": (lambda c: checkpoint_rate(c, "1m", 1_000_000, 40), "the same, 1,000,000 keys"),
}
