"""The figures, one function a group. Each takes the Context and gives Figures; FIGURES at the end names them."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

from measure import BenchError, Figure, Job, Probe, cpu_ns, output_of, percentile, private_kib, timed

MIB = 1048576

# ------------------------------------------------------------------------------------------------- ring ---------


def ring_stream(context, size, batch, count, bar, ring_kib=1024):
    """Two pinned processes, one ring; beside it bare slots without frames or checks, run for run."""
    program = context.program("ring_bench")
    command = [program, "stream", str(size), str(batch), str(count), str(ring_kib)]
    ring, bare = [], []
    for _ in range(context.runs(7)):
        ring.append(float(output_of(command)))
        bare.append(float(output_of([program, "bare", *command[2:]])))
    name = f"ring.{'batched' if batch > 1 else 'single'}.{size}" + (f".{ring_kib // 1024}mib" if ring_kib != 1024 else "")
    return [Figure(name, ring, "M records/s", context.shown(command), compare=[("bare slots", percentile(bare, 0.5))], bar=bar)]


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

BIDS = 20_000_000


def bids_directory(context, keys, copies):
    """A directory with the file of bids under `copies` names, in the page cache."""
    path = os.path.join(context.scratch, f"bids-{keys}.bin")
    if not os.path.exists(path) or os.path.getsize(path) != BIDS * 32:
        context.say(f"making {path}")
        output_of([context.program("make_bids"), path, str(BIDS), str(keys)])
    directory = context.fresh_directory(f"bids-{keys}-x{copies}")
    for i in range(copies):
        os.link(path, os.path.join(directory, f"{i}.bin"))
    with open(path, "rb", buffering=0) as file:
        block = bytearray(MIB)
        while file.readinto(block):
            pass
    return directory


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


# ------------------------------------------------------------------------------------------------- pause --------

CHECKPOINTS_SKIPPED = 3
CHECKPOINTS_MEASURED = 10
STATE_BYTES_PER_KEY = 42  # 8-byte keys, 16-byte values, full buckets; the figure's note says what it came to


def updates_job(context, keys, options):
    probe = Probe(os.path.join(context.scratch, "probe"))
    directory = context.fresh_directory("updates-checkpoints")
    options = [f"--set=probe={probe.path}", f"--set=keys={keys}", *options]
    return Job(context, "random_updates", directory, options), probe


def watch_checkpoints(job, probe, count):
    """Pauses in ms of the next `count` checkpoints, and M records/s meanwhile."""
    first = last = job.status()["checkpoints"]["last"]["id"]
    begun, records = time.monotonic(), probe.records()
    pauses, state_bytes = [], 0
    while last - first < count:
        time.sleep(0.1)
        status = job.status()
        if status is None or time.monotonic() - begun > 20 * count:
            raise BenchError("checkpoints do not come about; see the job's event log")
        newest = status["checkpoints"]["last"]["id"]
        if newest > last:
            task = next(t for t in status["tasks"] if t["name"] == "count")
            pauses.append(task["pause_us_last"] / 1000)
            state_bytes = task["state_bytes"]
            last = newest
    rate = (probe.records() - records) / (time.monotonic() - begun) / 1e6
    return pauses, rate, state_bytes


def with_checkpoints(context, keys):
    job, probe = updates_job(context, keys, ["--checkpoint-interval=1s"])
    with job:
        job.wait_until(lambda: probe.records() >= keys, "filling the state")
        after = (job.status()["checkpoints"]["last"] or {"id": 0})["id"] + CHECKPOINTS_SKIPPED
        job.wait_until(lambda: (job.status()["checkpoints"]["last"] or {"id": 0})["id"] >= after, "the first checkpoints", pause_s=0.2)
        return watch_checkpoints(job, probe, CHECKPOINTS_MEASURED), job.arguments


def without_checkpoints(context, keys, seconds=8):
    job, probe = updates_job(context, keys, ["--checkpoint-interval=off"])
    with job:
        job.wait_until(lambda: probe.records() >= keys, "filling the state")
        time.sleep(1)
        begun, records = time.monotonic(), probe.records()
        while time.monotonic() - begun < seconds: # looks at the status as often as the other run does
            time.sleep(0.1)
            job.status()
        return (probe.records() - records) / (time.monotonic() - begun) / 1e6


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
               "--ioengine=io_uring", "--direct=1", "--end_fsync=1", "--fallocate=none", "--unlink=1", "--output-format=json"]
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

KILLS = 40


def kill_once(job, probe, generation):
    """Kills the keyed task once a checkpoint was completed since the last recovery. Returns ms to the first record out of the
    sink's task, and to the first one that never came out before."""
    completed = job.status()["checkpoints"]["completed"]
    job.wait_until(lambda: job.status()["checkpoints"]["completed"] > completed, "a checkpoint", 60)
    time.sleep(random.uniform(0, 1))
    pid = job.task("count")["pid"]
    killed_ns = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    job.wait_until(lambda: probe.row(generation + 1)["first_new_ns"] > 0, "recovery", 60)
    row = probe.row(generation + 1)
    return (row["first_ns"] - killed_ns) / 1e6, (row["first_new_ns"] - killed_ns) / 1e6


def recovery(context, label, keys, rate, kills=KILLS):
    options = [f"--set=rate={rate}", "--checkpoint-interval=1s", "--takeover=off"]
    job, probe = updates_job(context, keys, options)
    random.seed(42)
    first, first_new = [], []
    with job:
        job.wait_until(lambda: probe.records() >= keys, "filling the state")
        for i in range(kills):
            generation = job.status()["generation"]
            times = kill_once(job, probe, generation)
            first.append(times[0])
            first_new.append(times[1])
            context.say(f"recovery.{label}: kill {i + 1} of {kills}: {times[0]:.1f} ms, {times[1]:.1f} ms")
        command = context.shown(job.arguments)
    figures = []
    for name, values in (("first", first), ("first_new", first_new)):
        note = f"{len(values)} kills, {keys} keys, {rate / 1e6:g} M records/s, checkpoint every second"
        figures.append(Figure(f"recovery.{label}.{name}.p50", values, "ms", command, note=note))
        for share, text in ((0.99, "p99"), (1, "max")):
            figures.append(Figure(f"recovery.{label}.{name}.{text}", values, "ms", command, value=percentile(values, share)))
    return figures


# ------------------------------------------------------------------------------------------------- takeover -----


def gap_after_kill(job, probe):
    """Kills the keyed task. Returns the sink's longest gap, in ms, in a moment before the kill, and in one around it."""
    time.sleep(random.uniform(0.05, 0.15))
    probe.take_gap_ns()
    time.sleep(0.05)
    before_ns = probe.take_gap_ns()
    task = job.task("count")
    os.kill(task["pid"], signal.SIGKILL)
    job.wait_until(lambda: job.task("count")["takeovers"] > task["takeovers"], "a takeover", 60)
    time.sleep(0.05)
    return before_ns / 1e6, probe.take_gap_ns() / 1e6


def takeover(context, label, keys, rate, how, kills=KILLS):
    options = [f"--set=rate={rate}", "--checkpoint-interval=1s", f"--takeover={how}"]
    job, probe = updates_job(context, keys, options)
    random.seed(42)
    with job:
        job.wait_until(lambda: probe.records() >= keys, "filling the state")
        gaps = [gap_after_kill(job, probe) for _ in range(kills)]
        command = context.shown(job.arguments)
    note = f"{kills} kills, {keys} keys, {rate / 1e6:g} M records/s, checkpoint every second"
    figures = []
    for name, values in (("gap", [gap[1] for gap in gaps]), ("gap_without_kill", [gap[0] for gap in gaps])):
        figures.append(Figure(f"takeover.{label}.{how}.{name}.p50", values, "ms", command, note=note))
        for share, text in ((0.99, "p99"), (1, "max")):
            figures.append(Figure(f"takeover.{label}.{how}.{name}.{text}", values, "ms", command, value=percentile(values, share)))
    return figures


# ------------------------------------------------------------------------------------------------- idle ---------

IDLE_S = 10


def idle_sample(context, tasks, interval):
    options = [f"--set=tasks={tasks}", f"--checkpoint-interval={interval}"]
    directory = context.fresh_directory("idle-checkpoints")
    with Job(context, "idle_job", directory, options, stdin=subprocess.PIPE) as job:
        time.sleep(2)
        status = job.status()
        counts = [t["pid"] for t in status["tasks"] if t["name"] == "count"]
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
                     ring_stream(c, 64, 32, 100_000_000, (">=", 150), 4096), "64-byte records, 32 a publish; ring of 1 MiB and of 4 MiB"),
    "ring.single": (lambda c: ring_stream(c, 64, 1, 10_000_000, (">=", 20)) +
                    ring_stream(c, 64, 1, 10_000_000, (">=", 20), 4096), "64-byte records, one a publish; ring of 1 MiB and of 4 MiB"),
    "ring.sizes": (lambda c: [f for size, batched in ((16, 100_000_000), (256, 20_000_000), (1024, 10_000_000))
                              for batch, count in ((32, batched), (1, batched // 10))
                              for f in ring_stream(c, size, batch, count, None)], "16, 256 and 1,024 bytes, both ways"),
    "ring.trip": (ring_trip, "round trip of a 64-byte record over two rings, busy-polling"),
    "ring.parked": (ring_parked, "the same, both sides asleep in between"),
    "keyed.1k": (lambda c: keyed(c, 1_000, "1k", 38), "source, keyed count, sink: 1,000 keys"),
    "keyed.1m": (lambda c: keyed(c, 1_000_000, "1m", 20), "the same, 1,000,000 keys"),
    "keyed.10m": (lambda c: keyed(c, 10_000_000, "10m", 9), "the same, 10,000,000 keys"),
    "pause.16mib": (lambda c: pause(c, "16mib", 16 * MIB, None, None), "pause at a barrier, throughput kept: 16 MiB of state"),
    "pause.256mib": (lambda c: pause(c, "256mib", 256 * MIB, None, None), "the same, 256 MiB"),
    "pause.1gib": (lambda c: pause(c, "1gib", 1024 * MIB, 0.8, ("<=", 0.8)), "the same, 1 GiB"),
    "snapshot": (snapshot, "snapshot write and read bandwidth, beside fio"),
    "recovery.1mps": (lambda c: recovery(c, "1mps", 100_000, 1_000_000), "SIGKILL of the keyed task to new output: 100,000 keys, 1 M records/s"),
    "recovery.1m": (lambda c: recovery(c, "1m", 1_000_000, 1_000_000), "the same, 1,000,000 keys"),
    "takeover.1mps": (lambda c: takeover(c, "1mps", 100_000, 1_000_000, "on") + takeover(c, "1mps", 100_000, 1_000_000, "cold"),
                      "SIGKILL of the keyed task: the sink's longest gap; 100,000 keys, 1 M records/s; with standbys, and cold"),
    "takeover.1m": (lambda c: takeover(c, "1m", 1_000_000, 1_000_000, "on") + takeover(c, "1m", 1_000_000, 1_000_000, "cold"),
                    "the same, 1,000,000 keys"),
    "idle": (idle, "CPU time and memory of a job without input"),
}
