"""The bars that Weir is held to: what, the bar in words, which figures it is judged by and how, and, where it is known, why it is missed. The page
shows every check, whether it was reached, missed or not measured. To add a reason, put it at the check; it is shown only where the check is missed."""

import re
from fnmatch import fnmatchcase

REACHED, MISSED, UNMEASURED = "reached", "missed", "not measured"

# Units that can be compared with one another: (factor, unit)
SCALES = {"ns": (1e-3, "us"), "us": (1.0, "us"), "ms": (1e3, "us"), "s": (1e6, "us"), "MB/s": (1e-3, "GB/s"), "GB/s": (1.0, "GB/s"),
          "KiB/task": (1 / 1024, "MiB/task"), "MiB/task": (1.0, "MiB/task")}


def scaled(value, unit):
    factor, _ = SCALES.get(unit, (1.0, unit))
    return value * factor


BARE = re.compile(r"\.machine\.|\.line[12]$")  # figures that stand beside others, of no peer


class Figures:
    """All figures of a comparison by name. `weir`: the names of Weir's own, by whomever they were measured."""

    def __init__(self, pieces):
        self.by_name, self.weir = {}, set()
        self.open = [piece for piece in pieces if piece["status"] != "measured"]
        for piece in pieces:
            for figure in piece["figures"]:
                self.by_name[figure["name"]] = figure
                if piece["runner"] == "weir" or "weir" in figure["name"].split("."):
                    self.weir.add(figure["name"])

    def get(self, name):
        """(name, value, unit) of a figure, or of what it was compared with in the same run: "ring.trip.p50@two bare lines". None: not measured."""
        name, _, other = name.partition("@")
        figure = self.by_name.get(name)
        if figure is None:
            return None
        if not other:
            return name, figure["value"], figure["unit"]
        value = next((row["value"] for row in figure.get("compare") or () if row["name"] == other), None)
        return None if value is None else (other, value, figure["unit"])

    def first(self, names):
        return next((found for found in map(self.get, names) if found), None)

    def matching(self, patterns):
        """Of others, not of Weir and not of the bare machine."""
        return [(name, figure["value"], figure["unit"]) for name, figure in self.by_name.items()
                if name not in self.weir and not BARE.search(name) and any(fnmatchcase(name, pattern) for pattern in patterns)]

    def why_not(self, names):
        """What is known of why there is no figure of these names: the pieces that would have given it."""
        wanted = {name.partition("@")[0] for name in names}
        wanted |= {name.removesuffix(".cpu") for name in wanted} | {name.rsplit(".", 1)[0] for name in wanted}
        reasons = {}
        for piece in self.open:
            if any(fnmatchcase(piece["name"], name) or name.startswith(piece["name"] + ".") for name in wanted):
                reasons[f"{piece['runner']}: {piece['status']}" + (f": {piece['error']}" if piece["error"] else "")] = True
        return "; ".join(list(reasons)[:2]) or None


class Verdict:
    def __init__(self, label, state, text, reason=None):
        self.label = label
        self.state = state
        self.text = text
        self.reason = reason


def tuple_of(names):
    return (names,) if isinstance(names, str) else tuple(names)


class Check:
    """ours op factor (x the hardest of others). ours: a name, or several of which the first that was measured counts; with best_of_ours the best, and the
    text says which. others: names or patterns of figures of peers, or NAME@COMPARE; () where factor is the bar itself, in `unit`."""

    def __init__(self, label, ours, op, factor, others=(), unit=None, reason=None, best_of_ours=False):
        self.label = label
        self.ours = tuple_of(ours)
        self.op = op
        self.factor = factor
        self.others = tuple_of(others)
        self.unit = unit
        self.reason = reason
        self.best_of_ours = best_of_ours

    def best(self, rows):
        return (max if self.op == ">=" else min)(rows, key=lambda row: scaled(row[1], row[2]), default=None)

    def hardest(self, figures):
        exact = [figures.get(name) for name in self.others if "*" not in name]
        return self.best([row for row in exact if row] + figures.matching([name for name in self.others if "*" in name]))

    def judge(self, figures):
        ours = self.best(filter(None, map(figures.get, self.ours))) if self.best_of_ours else figures.first(self.ours)
        if ours is None:
            return Verdict(self.label, UNMEASURED, f"no figure {' or '.join(self.ours)}", figures.why_not(self.ours))
        name, value, unit = ours
        shown = f"{shown_number(value)} {unit}" + (f" ({name})" if self.best_of_ours else "")
        if not self.others:
            return self.verdict(scaled(value, unit), scaled(self.factor, self.unit or unit), shown)
        other = self.hardest(figures)
        if other is None:
            return Verdict(self.label, UNMEASURED, f"{shown}; no figure {' or '.join(self.others)}", figures.why_not(self.others))
        name, against, other_unit = other
        against = scaled(against, other_unit)
        ratio = scaled(value, unit) / against if against else float("inf")
        return self.verdict(ratio, self.factor, f"{shown}, {shown_number(ratio)} x {name} ({shown_number(other[1])} {other_unit})")

    def verdict(self, value, limit, text):
        good = value >= limit if self.op == ">=" else value <= limit
        return Verdict(self.label, REACHED if good else MISSED, text, None if good else self.reason)


class First:
    """Several ways to judge the same: the first that was measured."""

    def __init__(self, checks):
        self.label = checks[0].label
        self.checks = checks

    def judge(self, figures):
        verdicts = [check.judge(figures) for check in self.checks]
        return next((verdict for verdict in verdicts if verdict.state != UNMEASURED), verdicts[0])


class All:
    """Several checks as one line: reached where all are."""

    def __init__(self, label, checks, reason=None):
        self.label = label
        self.checks = checks
        self.reason = reason

    def judge(self, figures):
        verdicts = [check.judge(figures) for check in self.checks]
        missed = [f"{verdict.label}: {verdict.text}" for verdict in verdicts if verdict.state == MISSED]
        open_labels = [verdict.label for verdict in verdicts if verdict.state == UNMEASURED]
        reached = sum(verdict.state == REACHED for verdict in verdicts)
        text = f"{reached} of {len(verdicts)}"
        if missed:
            text += "; missed " + "; ".join(missed)
        if open_labels:
            text += "; not measured " + ", ".join(open_labels)
        state = MISSED if missed else UNMEASURED if open_labels else REACHED
        reasons = dict.fromkeys(verdict.reason for verdict in verdicts if verdict.state == UNMEASURED and verdict.reason)
        return Verdict(self.label, state, text, self.reason if state == MISSED else "; ".join(reasons))


def shown_number(value):
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


SIZES = (16, 64, 256, 1024)
KEYS = (("1k", "1,000 keys", 4, 6), ("1m", "1 M keys", 10, 12), ("10m", "10 M keys", 15, 50))  # name, text, x Flink, x Jet
PERCENTILES = (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9"), ("p9999", "p99.99"), ("max", "longest"))
RATES = (("100k", "100,000/s", 10), ("1m", "1,000,000/s", 25))

# Reasons that several checks share.
FRAMES = ("records of any size, in frames that are checked: one by one each has a header of 8 bytes of its own, begins anywhere in a line and shares lines with its neighbours; the "
          "peer's slots have a size that its compiler knows, and keep to their lines. Tries: docs/decisions/0007, 0019")
TRIP = ("the head and then the record: two lines after one another each way. Polling the record's own header takes a tenth off, not enough: docs/decisions/0007")
EXCHANGE = ("one process hashes each record and copies it into the ring, hash in front, and the other reads it there; the peer hands buffers of typed records over within a process")
CALLS = ("nine tenths of the time are the job's own loops, which read 32 bytes a record from memory, and they are told of all records of a batch at once: docs/decisions/0020. What the "
         "peer's filter does better is not known yet")
FORK_COPIES = ("with state changed all over, nearly every chunk is copied at the first write after each cut, and the child's writing takes CPU from the "
               "task on two cores")
KEYED = ("look-up in shared memory, undo log and snapshots cost what the peer does without: it cannot be killed")
HEAP = ("the peers are tuned further than they were when the bar was set")
STALLS = ("the machine itself: a spinning process loses its CPU for as long (the machine's gaps in this table), and at 1,000,000/s the chunks that are copied in the "
          "milliseconds after each cut add to it")
WHOLE_IMAGE = ("every checkpoint writes all of the state, 34 MiB, which alone takes this disk some 20 ms (limits.disk.write): there are no incremental snapshots yet")


def ring(kind, factor):
    checks = []
    for size in SIZES:
        name = f"ring.{kind}.{size}"
        checks.append(Check(f"{size} bytes", (f"{name}.weir", name), ">=", factor, f"{name}.*", reason=FRAMES))
    return checks


def against(label, ours, work, factors, reason=None):
    """Per CPU-second, Weir's best variant against that of each engine."""
    return [Check(f"{label}, {engine}", ours, ">=", factor, f"{work}.{engine}*.cpu", reason=reason, best_of_ours=True) for engine, factor in factors]


def keyed(name, text, flink, jet):
    ours = (f"w2.{name}.weir.cpu", f"w2.{name}.chained.weir.cpu", f"w2.{name}.one.weir.cpu", f"keyed.{name}.cpu")
    return [Check(f"{text}, timely with bytes exchanged", ours, ">=", 1, f"w2.{name}.timely*bytes*.cpu", reason=KEYED, best_of_ours=True),
            *against(text, ours, f"w2.{name}", (("flink", flink), ("jet", jet)), HEAP)]


def latency(rate, text, p50_us):
    name = f"latency.{rate}.1s"
    ours = {short: f"{name}.weir.{short}" for short, _ in PERCENTILES}
    checks = [Check(f"{text}, p50", ours["p50"], "<=", p50_us, unit="us")]
    for short, shown in (("p99", "p99"), ("p999", "p99.9")):
        checks.append(Check(f"{text}, {shown} to the machine's gaps", ours[short], "<=", 1.5, f"{name}.machine.{short}", reason=STALLS))
    for engine, intervals in (("timely", ("1s", "none")), ("flink", ("1s",)), ("jet", ("1s",))):  # timely has no checkpoints
        checks.append(All(f"{text}, below {engine}", [
            Check(shown, ours[short], "<=", 1, [f"latency.{rate}.{interval}.{engine}*.{short}" for interval in intervals]) for short, shown in PERCENTILES], STALLS))
    return checks


# (what, the bar, its checks)
ROWS = [
    ("ring, two processes, batches of 32", "1.1 x the best peer at each size", ring("batched", 1.1)),
    ("ring, one by one", "at least the best peer at each size", ring("single", 1)),
    ("ring round trip, busy-polling, 64 bytes", "at most 1.3 x the bare ping-pong over two cache lines; every peer behind", [
        First([Check("bare two lines", "ring.trip.weir", "<=", 1.3, "ring.trip.line2", reason=TRIP),
               Check("bare two lines", "ring.trip.p50", "<=", 1.3, "ring.trip.p50@two bare lines", reason=TRIP)]),
        Check("best peer", ("ring.trip.weir", "ring.trip.p50"), "<=", 1, "ring.trip.*", reason=TRIP)]),
    ("W0 through an exchange, W0 chained, W1, per CPU-second", "at least timely's; exchange 4 x Flink, 6 x Jet; chained and filter 2.5 x Flink", [
        *against("exchange", "w0.exchange.weir.cpu", "w0.exchange", (("timely", 1), ("flink", 4), ("jet", 6)), EXCHANGE),
        *against("chained", "w0.chained.weir.cpu", "w0.chained", (("timely", 1), ("flink", 2.5)), CALLS),
        *against("filter", ("w1.chained.weir.cpu", "w1.weir.cpu"), "w1", (("timely", 1), ("flink", 2.5)), CALLS)]),
    ("W2, exactly-once, a checkpoint every second, per CPU-second of all processes",
     "at least timely's with bytes exchanged (no fault tolerance); 4 x / 10 x / 15 x Flink, 6 x / 12 x / 50 x Jet",
     [check for row in KEYS for check in keyed(*row)]),
    ("latency at a fixed rate, a checkpoint every second",
     "p50 below 10 and 25 us; p99 and p99.9 at most 1.5 x the machine's own gaps; below every peer at every percentile",
     [check for row in RATES for check in latency(*row)]),
    ("pause at a checkpoint, steady state, random updates", "0.3 ms at 16 MiB, 0.6 ms at 1 GiB, 2 ms at 4 GiB", [
        Check(text, (f"pause.{size}.p50", f"growth.state.{size}.weir.pause"), "<=", limit, unit="ms")
        for size, text, limit in (("16mib", "16 MiB", 0.3), ("1gib", "1 GiB", 0.6), ("4gib", "4 GiB", 2))]),
    ("throughput kept with a checkpoint every second", "95 % at 16 MiB, 85 % at 1 GiB", [
        Check("16 MiB", "pause.16mib.kept", ">=", 95), Check("1 GiB", "pause.1gib.kept", ">=", 85, reason=FORK_COPIES)]),
    ("snapshot write bandwidth, with checksums", "at least fio's in the same run", [
        Check("in order", "snapshot.write.in_order.of_fio", ">=", 1), Check("scattered", "snapshot.write.scattered.of_fio", ">=", 1)]),
    ("committed output visible, 100,000 events/s", "p99 below 15 ms (interval 10 ms, 1,000 keys), 30 ms (10 ms, 1 M keys), 6 ms (2 ms, 1,000 keys)", [
        Check(text, f"visible.{name}.weir.p99", "<=", limit, unit="ms", reason=WHOLE_IMAGE if "1m" in name else None) for name, text, limit in (
            ("10ms.1k", "10 ms, 1,000 keys", 15), ("10ms.1m", "10 ms, 1 M keys", 30), ("2ms.1k", "2 ms, 1,000 keys", 6))]),
    ("checkpoints per second, sustained", "400 at 1,000 keys, 40 at 1 M keys", [
        Check("1,000 keys", "checkpoints.1k.weir", ">=", 400), Check("1 M keys", "checkpoints.1m.weir", ">=", 40, reason=WHOLE_IMAGE)]),
    ("recovery, the same job", "SIGKILL to new output p50 below 1 ms", [
        Check("p50", ("recovery.weir.p50", "recovery.in_place.64mib.p50"), "<=", 1, unit="ms")]),
    ("memory", "at most 4 MiB a task beyond rings and state; state at most 1.5 x the bytes of keys and values at 10^7 keys of 8 + 8 bytes", [
        Check("a task", ("memory.task.weir", "idle.memory.3_tasks"), "<=", 4, unit="MiB/task"),
        Check("state", "memory.state.weir", "<=", 1.5)]),
]
