"""The figures, one function a group. Each takes the Context and gives Figures; FIGURES at the end names them."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

from bids import BIDS, bids_directory
from figures_growth import GROWTH
from figures_latency import LATENCY
from figures_work import WORK
from measure import BenchError, Figure, Job, Probe, cpu_ns, output_of, percentile, private_kib, standby_kib, timed
from updates import STATE_BYTES_PER_KEY, updates_job, watch_checkpoints, without_checkpoints

MIB = 1048576

# ------------------------------------------------------------------------------------------------- ring ---------


def ring_stream(context, size, batch, count, bar, ring_kib=2048):
    """Two pinned processes that poll (--busy-poll), one ring; run for run beside it bare slots without frames or checks, and the ring with a fence a
    publish, as it needs one where a side may sleep."""
    program = context.program("ring_bench")
    command = [program, "stream", str(size), str(batch), str(count), str(ring_kib)]
    others = {"bare slots": "bare", "where either side may sleep": "sleepy"}
    ring, compared = [], {text: [] for text in others}
    for _ in range(context.runs(7)):
        ring.append(float(output_of(command)))
        for text, way in others.items():
            compared[text].append(float(output_of([program, way, *command[2:]])))
    name = f"ring.{'batched' if batch > 1 else 'single'}.{size}" + (f".{ring_kib // 1024}mib" if ring_kib != 2048 else "")
    return [Figure(name, ring, "M records/s", context.shown(command), compare=[(text, percentile(rows, 0.5)) for text, rows in compared.items()], bar=bar)]


def ring_trip(context):
    command = [context.program("ring_bench"), "trip", "300000"]
    rows = [[float(word) for word in output_of(command).split()] for _ in range(context.runs(7))]
    one, two, ring = (percentile([row[i] for row in rows], 0.5) for i in range(3))
    ratios = [row[2] / row[0] for row in rows]
    shown = context.shown(command)
    return [
        Figure("ring.trip.p50", [row[2] for row in rows], "ns", shown, compare=[("one bare line", one), ("two bare lines", two)]),
        Figure("ring.trip.ratio", ratios, "x one bare line", shown, bar=("<=", 2)),
    ]


def ring_parked(context):
    command = [context.program("ring_bench"), "parked", "20000"]
    times = [float(output_of(command)) / 1000 for _ in range(context.runs(5))]
    return [Figure("ring.parked.p50", times, "us", context.shown(command))]


# ------------------------------------------------------------------------------------------------- keyed --------

def keyed_run(context, keys, copies, guarantee, more=()):
    """(M records/s of wall time from start to end of the command, M records per CPU-second of all its processes, command)"""
    command = [context.program("keyed_count"), "run", "--quiet", f"--set=input={bids_directory(context, keys, copies)}",
               f"--directory={context.fresh_directory('keyed-checkpoints')}", f"--guarantee={guarantee}", *more]
    if guarantee == "exactly-once":
        command.append("--checkpoint-interval=1s")
    wall_s, cpu_s = timed(command)
    return BIDS * copies / wall_s / 1e6, BIDS * copies / cpu_s / 1e6, context.shown(command)


def keyed(context, keys, label, prototype):
    rows = {"exactly-once": [], "long": [], "none": []}
    for i in range(context.runs(5)):
        context.say(f"keyed.{label}: run {i + 1}")
        rows["exactly-once"].append(keyed_run(context, keys, 1, "exactly-once"))
        rows["long"].append(keyed_run(context, keys, 5, "exactly-once"))
        rows["none"].append(keyed_run(context, keys, 1, "none"))
    none = percentile([row[0] for row in rows["none"]], 0.5)
    figures = []
    for kind, suffix, compare in (("exactly-once", "", [("no guarantee", none)]), ("long", ".100m", []), ("none", ".none", [])):
        command = rows[kind][0][2]
        bar = (">=", prototype) if kind == "exactly-once" else None
        figures.append(Figure(f"keyed.{label}{suffix}", [row[0] for row in rows[kind]], "M records/s", command, compare, bar))
        figures.append(Figure(f"keyed.{label}{suffix}.cpu", [row[1] for row in rows[kind]], "M records/CPU-s", command))
    return figures


def undo(context, keys, label):
    """What the undo log costs: the keyed count with it and without, in turns."""
    kept, command = [], ""
    for i in range(context.runs(5)):
        context.say(f"undo.{label}: run {i + 1}")
        with_log = keyed_run(context, keys, 1, "exactly-once", ["--takeover=cold"])
        without = keyed_run(context, keys, 1, "exactly-once", ["--takeover=off"])
        kept.append((100 * with_log[0] / without[0], 100 * with_log[1] / without[1]))
        command = with_log[2]
    return [Figure(f"undo.{label}", [pair[0] for pair in kept], "% of records/s", command, bar=(">=", 90), note="the same with --takeover=off is 100 %"),
            Figure(f"undo.{label}.cpu", [pair[1] for pair in kept], "% per CPU-s", command)]


# ------------------------------------------------------------------------------------------------- pause --------

CHECKPOINTS_SKIPPED = 3
CHECKPOINTS_MEASURED = 10


def with_checkpoints(context, keys):
    job, probe = updates_job(context, keys, ["--checkpoint-interval=1s"])
    with job:
        job.wait_until(lambda: probe.records() >= keys, "filling the state")
        after = (job.status()["checkpoints"]["last"] or {"id": 0})["id"] + CHECKPOINTS_SKIPPED
        job.wait_until(lambda: (job.status()["checkpoints"]["last"] or {"id": 0})["id"] >= after, "the first checkpoints", pause_s=0.2)
        return watch_checkpoints(job, probe, CHECKPOINTS_MEASURED), job.arguments


def pause(context, label, size_bytes, prototype, bar):
    keys = size_bytes // STATE_BYTES_PER_KEY
    pauses, kept, rates, plain, state_bytes, command = [], [], [], [], 0, []
    for i in range(context.runs(3)):
        context.say(f"pause.{label}: run {i + 1}, {keys} keys")
        (some, rate, state_bytes), command = with_checkpoints(context, keys)
        without = without_checkpoints(context, keys)
        pauses += some
        rates.append(rate)
        plain.append(without)
        kept.append(100 * rate / without)
    shown = context.shown(command)
    note = f"{keys} keys, {state_bytes / MIB:.0f} MiB of state, {len(pauses)} checkpoints"
    compare = [("prototype", prototype)] if prototype else []
    return [
        Figure(f"pause.{label}.p50", pauses, "ms", shown, compare, bar, note=note),
        Figure(f"pause.{label}.max", pauses, "ms", shown, value=max(pauses)),
        Figure(f"pause.{label}.throughput", rates, "M records/s", shown, [("no checkpoints", percentile(plain, 0.5))]),
        Figure(f"pause.{label}.kept", kept, "% of throughput", shown),
    ]


# ------------------------------------------------------------------------------------------------- snapshot -----

SNAPSHOT_MIB = 1024


def fio_write(context):
    path = os.path.join(context.scratch, "fio-file")
    command = ["fio", "--name=write", f"--filename={path}", f"--size={SNAPSHOT_MIB}M", "--rw=write", "--bs=1M", "--iodepth=16",
               "--ioengine=io_uring", "--direct=1", "--end_fsync=1", "--fallocate=native", "--fixedbufs", "--registerfiles", "--unlink=1", "--output-format=json"]
    text = output_of(command)
    job = json.loads(text[text.index("{"):])["jobs"][0]
    return job["write"]["io_bytes"] / (job["write"]["runtime"] / 1e3) / 1e9, context.shown(command)


def snapshot(context):
    """One round of snapshot_bench, one of fio, in turns: a new file each, synced, removed."""
    command = [context.program("snapshot_bench"), str(SNAPSHOT_MIB), context.scratch, "1"]
    has_fio = shutil.which("fio") is not None
    rows, fio, fio_command = {}, [], ""
    for i in range(context.runs(5)):
        context.say(f"snapshot: run {i + 1}")
        for line in output_of(command).splitlines():
            name, value = line.split()[:2]
            rows.setdefault(name, []).append(float(value))
        if has_fio:
            rate, fio_command = fio_write(context)
            fio.append(rate)
    compare = [("fio", percentile(fio, 0.5))] if fio else []
    figures = []
    for name, values in rows.items():
        note = None if fio or ".write." not in name else "fio is not installed: nothing to compare with"
        figures.append(Figure(name, values, "GB/s", context.shown(command), compare if ".write." in name else (), note=note))
    if fio:
        for name in ("in_order", "scattered"):
            ratios = [ours / theirs for ours, theirs in zip(rows[f"snapshot.write.uring.{name}"], fio)]
            figures.append(Figure(f"snapshot.write.{name}.of_fio", ratios, "of fio", fio_command, bar=(">=", 0.9)))
    return figures


# ------------------------------------------------------------------------------------------------- recovery -----

KILLS = 60
GAP_KILL_SECONDS = 60


def keys_of(mib):
    return mib * MIB // STATE_BYTES_PER_KEY


def kill_once(job, probe):
    """SIGKILLs the keyed task. Returns ms to the first record at the sink that its successor made."""
    pid = job.task("count")["pid"]
    seen = probe.writer_count()
    killed_ns = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    job.wait_until(lambda: any(writer != pid and at > killed_ns for writer, at in probe.writers(seen)), "recovery", 60, pause_s=0.002)
    return (next(at for writer, at in probe.writers(seen) if writer != pid and at > killed_ns) - killed_ns) / 1e6


def spread(name, values, unit, command, note, bar=None, p99_bar=None):
    figures = [Figure(f"{name}.p50", values, unit, command, note=note, bar=bar)]
    for share, text in ((0.99, "p99"), (1, "max")):
        figures.append(Figure(f"{name}.{text}", values, unit, command, bar=p99_bar if text == "p99" else None, value=percentile(values, share)))
    return figures


def recovery(context, way, mib, rate=1_000_000, kills=KILLS):
    """way: in_place, by the standby; cold, in place by a process that is forked then; rollback, disk.lazy, disk.eager: the whole job goes
    back to the last checkpoint, in memory or on disk."""
    takeover, memory = {"in_place": ("on", "0"), "cold": ("cold", "0"), "rollback": ("off", "16GiB")}.get(way, ("off", "0"))
    options = [f"--set=rate={rate}", "--set=spin=1", "--checkpoint-interval=1s", "--pin-cpus=auto", f"--takeover={takeover}", "--state-limit=16GiB",
               f"--rollback-memory={memory}"]
    if way.startswith("disk."):
        options.append(f"--restore-mode={way[5:]}")
    job, probe = updates_job(context, keys_of(mib), options)
    random.seed(42)
    times, stalls = [], []
    with job:
        job.wait_until(lambda: probe.records() >= keys_of(mib), "filling the state")
        for i in range(kills):
            if way == "rollback" or way.startswith("disk."):
                completed = job.status()["checkpoints"]["completed"]
                job.wait_until(lambda: job.status()["checkpoints"]["completed"] > completed, "a checkpoint", 60)
            time.sleep(random.uniform(0.1, 0.5))
            first_stall = probe.stall_count()
            times.append(kill_once(job, probe))
            stalls += [length / 1e6 for _, length in probe.stalls(first_stall)]
            context.say(f"recovery.{way}.{mib}mib: kill {i + 1} of {kills}: {times[-1]:.2f} ms")
        command = context.shown(job.arguments)
    note = f"{len(times)} kills, {mib} MiB of state, {rate / 1e6:g} M records/s, checkpoint every second"
    if way in ("in_place", "cold"):
        note += f"; the source, which spins, did not look at the clock {len(stalls)} times between kill and first record, {max(stalls, default=0):.2f} ms at most"
    bar = ("<=", 0.5) if way == "in_place" else None
    return spread(f"recovery.{way}.{mib}mib", times, "ms", command, note, bar)


def memory_of_takeover(context, interval, label, mib=256, seconds=5):
    """What standbys and frozen chunks take, beside a state that is changed all over at 1 M records/s."""
    job, probe = updates_job(context, keys_of(mib), ["--set=rate=1000000", f"--checkpoint-interval={interval}", "--state-limit=16GiB"])
    rows = []
    with job:
        job.wait_until(lambda: probe.records() >= keys_of(mib), "filling the state")
        before = job.status()["checkpoints"]["completed"]
        job.wait_until(lambda: job.status()["checkpoints"]["completed"] >= before + 3, "three checkpoints", 60)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            task = job.task("count")
            if task["standby_pid"] > 0:
                rows.append((*standby_kib(task["standby_pid"]), task["frozen_bytes"] / MIB, task["state_bytes"] / MIB))
            time.sleep(0.05)
        command = context.shown(job.arguments)
    note = f"{percentile([row[3] for row in rows], 0.5):.0f} MiB of state, 1 M random updates/s, checkpoint every {interval}"
    return [Figure(f"takeover.memory.{label}.standby", [row[0] for row in rows], "KiB", command, note=f"private memory of the keyed task's standby; {note}"),
            Figure(f"takeover.memory.{label}.page_tables", [row[1] for row in rows], "KiB", command, note="of the same process"),
            Figure(f"takeover.memory.{label}.frozen", [row[2] for row in rows], "MiB", command, note="chunks that belong to cuts alone")]


def gaps(context, rate, every_s, label):
    """A random task is killed again and again: what the sink sees of it."""
    options = [f"--set=rate={rate}", "--set=spin=1", "--checkpoint-interval=1s", "--pin-cpus=auto"]
    job, probe = updates_job(context, keys_of(64), options)
    random.seed(42)
    with job:
        job.wait_until(lambda: probe.records() >= keys_of(64), "filling the state")
        time.sleep(2)
        first_gap, first_records, begun = probe.gap_count(), probe.records(), time.monotonic()
        kills = 0
        while time.monotonic() - begun < GAP_KILL_SECONDS:
            time.sleep(every_s)
            pids = [task["pid"] for task in job.status()["tasks"] if task["pid"] > 0]
            try:
                os.kill(random.choice(pids), signal.SIGKILL)
                kills += 1
            except ProcessLookupError:
                pass
        seconds = time.monotonic() - begun
        kept = (probe.records() - first_records) / seconds / rate * 100
        found = [gap / 1e6 for _, gap in probe.gaps(first_gap)]
        command = context.shown(job.arguments)
    note = f"{kills} kills of random tasks in {seconds:.0f} s, {rate / 1e6:g} M records/s, 64 MiB of state"
    longest = sorted(found)[-kills:] or [0.0]
    bar = ("<=", 2) if label == "1s" else None
    return [*spread(f"recovery.gaps.{label}", longest, "ms", command, note, p99_bar=bar),
            Figure(f"recovery.gaps.{label}.kept", [kept], "% of the rate", command)]


# ------------------------------------------------------------------------------------------------- idle ---------

IDLE_S = 10


def idle_sample(context, tasks, interval):
    options = [f"--set=tasks={tasks}", f"--checkpoint-interval={interval}"]
    directory = context.fresh_directory("idle-checkpoints")
    with Job(context, "idle_job", directory, options, stdin=subprocess.PIPE) as job:
        time.sleep(2)
        status = job.status()
        counts = [t["pid"] for t in status["tasks"] if "count" in t["operators"]]
        pids = [status["launcher_pid"], status["coordinator_pid"], *(t["pid"] for t in status["tasks"])]
        before = {pid: cpu_ns(pid) for pid in pids}
        time.sleep(IDLE_S)
        cpu_ms = sum(cpu_ns(pid) - before[pid] for pid in pids) / 1e6
        memory = [private_kib(pid) for pid in counts]
    return {"cpu_ms": cpu_ms, "private": percentile([m[0] for m in memory], 0.5), "shared": percentile([m[1] for m in memory], 0.5),
            "processes": len(pids), "command": context.shown(job.arguments)}


def idle(context):
    figures = []
    for tasks in (1, 8, 32):
        for interval in ("off", "1s"):
            rows = []
            for i in range(context.runs(1 if tasks > 1 else 3)):
                context.say(f"idle, {tasks + 2} tasks, checkpoint interval {interval}: run {i + 1}")
                rows.append(idle_sample(context, tasks, interval))
            suffix = "" if interval == "off" else ".checkpoints"
            bar = ("<=", 0.1) if interval == "off" else None
            figures.append(Figure(f"idle.cpu.{tasks + 2}_tasks{suffix}", [row["cpu_ms"] / IDLE_S / 10 for row in rows], "% of one CPU",
                                  rows[0]["command"], bar=bar, note=f"{rows[0]['processes']} processes, {IDLE_S} s"))
            if interval == "off":
                figures.append(Figure(f"idle.memory.{tasks + 2}_tasks", [row["private"] for row in rows], "KiB/task", rows[0]["command"],
                                      note=f"a keyed task; {percentile([row['shared'] for row in rows], 0.5)} KiB of it state and commit records"))
    return figures


# ------------------------------------------------------------------------------------------------- the table ----

# name: (function, what it measures)
FIGURES = {
    "ring.batched": (lambda c: ring_stream(c, 64, 32, 100_000_000, (">=", 150)) +
                     ring_stream(c, 64, 32, 100_000_000, None, 1024), "64-byte records, 32 a publish; ring of 2 MiB and of 1 MiB"),
    "ring.single": (lambda c: ring_stream(c, 64, 1, 10_000_000, (">=", 20)) +
                    ring_stream(c, 64, 1, 10_000_000, None, 1024), "64-byte records, one a publish; ring of 2 MiB and of 1 MiB"),
    "ring.sizes": (lambda c: [f for size, batched in ((16, 100_000_000), (256, 20_000_000), (1024, 10_000_000))
                              for batch, count in ((32, batched), (1, batched // 10))
                              for f in ring_stream(c, size, batch, count, None)], "16, 256 and 1,024 bytes, both ways"),
    "ring.trip": (ring_trip, "round trip of a 64-byte record over two rings, busy-polling"),
    "ring.parked": (ring_parked, "the same, both sides asleep in between"),
    "keyed.1k": (lambda c: keyed(c, 1_000, "1k", 38), "source, keyed count, sink: 1,000 keys"),
    "keyed.1m": (lambda c: keyed(c, 1_000_000, "1m", 20), "the same, 1,000,000 keys"),
    "keyed.10m": (lambda c: keyed(c, 10_000_000, "10m", 9), "the same, 10,000,000 keys"),
    **WORK,
    **LATENCY,
    "pause.16mib": (lambda c: pause(c, "16mib", 16 * MIB, None, None), "pause at a barrier, throughput kept: 16 MiB of state"),
    "pause.256mib": (lambda c: pause(c, "256mib", 256 * MIB, None, None), "the same, 256 MiB"),
    "pause.1gib": (lambda c: pause(c, "1gib", 1024 * MIB, 0.8, ("<=", 0.8)), "the same, 1 GiB"),
    "pause.4gib": (lambda c: pause(c, "4gib", 4096 * MIB, None, ("<=", 2)), "the same, 4 GiB; takes up to 10 GiB of memory"),
    "snapshot": (snapshot, "snapshot write and read bandwidth, beside fio"),
    "recovery.in_place.1mib": (lambda c: recovery(c, "in_place", 1), "SIGKILL of the keyed task to its successor's first record: 1 MiB of state, 1 M records/s"),
    "recovery.in_place.64mib": (lambda c: recovery(c, "in_place", 64), "the same, 64 MiB"),
    "recovery.in_place.1gib": (lambda c: recovery(c, "in_place", 1024), "the same, 1 GiB"),
    "recovery.in_place.4gib": (lambda c: recovery(c, "in_place", 4096), "the same, 4 GiB"),
    "recovery.cold.64mib": (lambda c: recovery(c, "cold", 64), "the same without standbys, 64 MiB"),
    "recovery.rollback.64mib": (lambda c: recovery(c, "rollback", 64, kills=20), "the whole job back to its last checkpoint in memory, 64 MiB"),
    "recovery.rollback.1gib": (lambda c: recovery(c, "rollback", 1024, kills=20), "the same, 1 GiB"),
    "recovery.disk.lazy.64mib": (lambda c: recovery(c, "disk.lazy", 64, kills=20), "the same without takeover: back to the checkpoint, which is read lazily, 64 MiB"),
    "recovery.disk.lazy.1gib": (lambda c: recovery(c, "disk.lazy", 1024, kills=10), "the same, 1 GiB"),
    "recovery.disk.eager.64mib": (lambda c: recovery(c, "disk.eager", 64, kills=20), "all of it read before the first record, 64 MiB"),
    "recovery.disk.eager.1gib": (lambda c: recovery(c, "disk.eager", 1024, kills=10), "the same, 1 GiB"),
    "recovery.gaps.1s": (lambda c: gaps(c, 1_000_000, 1.0, "1s"), "the longest times without output, a random task killed every second"),
    "recovery.gaps.100ms": (lambda c: gaps(c, 1_000_000, 0.1, "100ms"), "the same, every 100 ms"),
    "recovery.gaps.10ms": (lambda c: gaps(c, 1_000_000, 0.01, "10ms"), "the same, every 10 ms"),
    "recovery.gaps.100k.1s": (lambda c: gaps(c, 100_000, 1.0, "100k.1s"), "the same at 100,000 records/s, every second"),
    "recovery.gaps.100k.10ms": (lambda c: gaps(c, 100_000, 0.01, "100k.10ms"), "the same at 100,000 records/s, every 10 ms"),
    "undo.1k": (lambda c: undo(c, 1_000, "1k"), "what the undo log costs: the keyed count with it and without, 1,000 keys"),
    "undo.1m": (lambda c: undo(c, 1_000_000, "1m"), "the same, 1,000,000 keys"),
    "undo.10m": (lambda c: undo(c, 10_000_000, "10m"), "the same, 10,000,000 keys"),
    "takeover.memory.1s": (lambda c: memory_of_takeover(c, "1s", "1s"), "memory of a standby and of frozen chunks, a checkpoint every second"),
    "takeover.memory.100ms": (lambda c: memory_of_takeover(c, "100ms", "100ms"), "the same, every 100 ms"),
    **GROWTH,
    "idle": (idle, "CPU time and memory of a job without input"),
}
