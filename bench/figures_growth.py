"""The figures growth and memory: how cost grows with records, tasks, keys, checkpoints and state, and what memory is taken. A table each."""

import subprocess
import time

from measure import Figure, Job, percentile, private_kib, timed
from updates import STATE_BYTES_PER_KEY, updates_job, watch_checkpoints, without_checkpoints

MIB = 1048576


def size_text(size_bytes):
    for unit, text in ((1 << 30, "gib"), (MIB, "mib"), (1024, "kib")):
        if size_bytes >= unit:
            return f"{size_bytes // unit}{text}"
    return f"{size_bytes}b"


def count_text(count):
    for unit, text in ((1_000_000, "m"), (1_000, "k")):
        if count >= unit:
            return f"{count // unit}{text}"
    return str(count)


# ------------------------------------------------------------------------------------------------- records, tasks


def grow_run(context, settings, records):
    """(M records/s by the wall clock, M records per CPU-second of all processes, command)"""
    command = [context.program("grow"), "run", "--quiet", f"--directory={context.fresh_directory('grow-checkpoints')}", "--checkpoint-interval=1s",
               f"--set=records={records}", *(f"--set={name}={value}" for name, value in settings.items())]
    wall_s, cpu_s = timed(command)
    return records / wall_s / 1e6, records / cpu_s / 1e6, context.shown(command)


def growth_records(context):
    figures = []
    for size in (16, 64, 256, 1024, 4096, 16384, 65536):
        records = min(20_000_000, 4 * (1 << 30) // size)
        context.say(f"growth.records: {size} bytes")
        rows = [grow_run(context, {"bytes": size}, records) for _ in range(context.runs(3))]
        name = f"growth.records.{size_text(size)}.weir"
        rate = percentile([row[0] for row in rows], 0.5)
        figures.append(Figure(name, [row[0] for row in rows], "M records/s", rows[0][2], note=f"{rate * size / 1000:.2f} GB/s, source to reader, two processes"))
        figures.append(Figure(f"{name}.cpu", [row[1] for row in rows], "M records/CPU-s", rows[0][2]))
    return figures


def growth_tasks(context):
    figures = []
    for tasks in (2, 4, 8, 16, 32, 64):
        context.say(f"growth.tasks: {tasks}")
        rows = [grow_run(context, {"tasks": tasks - 1, "tally": 1}, 10_000_000) for _ in range(context.runs(3))]
        name = f"growth.tasks.{tasks}.weir"
        figures.append(Figure(name, [row[0] for row in rows], "M records/s", rows[0][2],
                              note=f"one source, {tasks - 1} tasks that count by key, 1,000 keys, start and end included"))
        figures.append(Figure(f"{name}.cpu", [row[1] for row in rows], "M records/CPU-s", rows[0][2]))
    return figures


# ------------------------------------------------------------------------------------------------- keys, interval, state


def updates_run(context, keys, interval, checkpoints, seconds):
    """Pauses in ms, M records/s, bytes of state, the command: random updates at full speed, the state full."""
    job, probe = updates_job(context, keys, [f"--checkpoint-interval={interval}", "--state-limit=16GiB"])
    with job:
        job.wait_until(lambda: probe.records() >= keys, "filling the state")
        if checkpoints == 0:
            time.sleep(0.5)
            begun, records = time.monotonic(), probe.records()
            time.sleep(seconds)
            rate = (probe.records() - records) / (time.monotonic() - begun) / 1e6
            return [], rate, job.task("count")["state_bytes"], context.shown(job.arguments)
        job.wait_until(lambda: job.status()["checkpoints"]["completed"] >= 2, "the first checkpoints", 120)
        pauses, rate, state_bytes = watch_checkpoints(job, probe, checkpoints)
        return pauses, rate, state_bytes, context.shown(job.arguments)


def growth_keys(context):
    figures = []
    for keys in (10, 1_000, 100_000, 1_000_000, 10_000_000):
        context.say(f"growth.keys: {keys}")
        rows = [updates_run(context, keys, "1s", 3, 0) for _ in range(context.runs(3))]
        figures.append(Figure(f"growth.keys.{count_text(keys)}.weir", [row[1] for row in rows], "M records/s", rows[0][3],
                              note=f"random updates, three processes, {rows[0][2] / MIB:.1f} MiB of state, a checkpoint every second"))
    return figures


def growth_interval(context, keys=1_000_000):
    plain = [updates_run(context, keys, "off", 0, 3)[1] for _ in range(context.runs(3))]
    figures = [Figure("growth.interval.off.weir", plain, "M records/s", "", note=f"{keys:,} keys, no checkpoints")]
    for interval, checkpoints in (("10s", 1), ("1s", 4), ("100ms", 20), ("10ms", 50)):
        context.say(f"growth.interval: {interval}")
        rows = [updates_run(context, keys, interval, checkpoints, 0) for _ in range(context.runs(3))]
        kept = 100 * percentile([row[1] for row in rows], 0.5) / percentile(plain, 0.5)
        pauses = [pause for row in rows for pause in row[0]]
        command = rows[0][3]
        figures[0].command = figures[0].command or command
        figures.append(Figure(f"growth.interval.{interval}.weir", [row[1] for row in rows], "M records/s", command, note=f"{kept:.0f} % of that without checkpoints"))
        figures.append(Figure(f"growth.interval.{interval}.weir.pause", pauses, "ms", command))
    return figures


def growth_state(context, sizes_mib=(1, 16, 64, 256, 1024, 4096)):
    figures = []
    for mib in sizes_mib:
        if context.quick and mib > 256:
            continue
        context.say(f"growth.state: {mib} MiB")
        keys = mib * MIB // STATE_BYTES_PER_KEY
        kept, pauses = [], []
        for _ in range(context.runs(1)):
            some, rate, state_bytes, command = updates_run(context, keys, "1s", 4, 0)
            kept.append(100 * rate / without_checkpoints(context, keys, 4))
            pauses += some
        name, note = f"growth.state.{size_text(mib * MIB)}.weir", f"{state_bytes / MIB:.0f} MiB of state, random updates, a checkpoint every second"
        figures.append(Figure(f"{name}.kept", kept, "% of throughput", command, note=note))
        figures.append(Figure(f"{name}.pause", pauses, "ms", command, note=note))
    return figures


# ------------------------------------------------------------------------------------------------- memory -------

MEMORY_KEYS = 10_000_000
TASK_MEMORY_MIB_MAX = 4
OVERHEAD_MAX = 1.5


def memory_task(context):
    """What a task takes that is neither ring nor state: of an idle job with a source, one keyed task and a sink."""
    rows = []
    with Job(context, "idle_job", context.fresh_directory("idle-checkpoints"), ["--checkpoint-interval=1s"], stdin=subprocess.PIPE) as job:
        time.sleep(2)
        for task in job.status()["tasks"]:
            total, shared = private_kib(task["pid"])
            rows.append((total - shared) / 1024)
        command = context.shown(job.arguments)
    return [Figure("memory.task.weir", rows, "MiB/task", command, value=max(rows), bar=("<=", TASK_MEMORY_MIB_MAX),
                   note="the largest of source, keyed task and sink; memory that only this process maps, without rings and state")]


def memory_state(context):
    with Job(context, "grow", context.fresh_directory("grow-checkpoints"),
             [f"--set=keys={MEMORY_KEYS}", "--set=tally=1", "--checkpoint-interval=1s", "--takeover=cold"]) as job:
        job.wait_until(lambda: job.task("read")["records_in"] > MEMORY_KEYS, "filling the state")
        completed = job.status()["checkpoints"]["completed"]
        job.wait_until(lambda: job.status()["checkpoints"]["completed"] > completed + 1, "a checkpoint of the full state")
        task = job.task("read")
        command, mapped_mib = context.shown(job.arguments), private_kib(task["pid"])[1] / 1024
    ratio = task["state_bytes"] / (MEMORY_KEYS * 16)
    return [Figure("memory.state.weir", [ratio], "x keys and values", command, bar=("<=", OVERHEAD_MAX),
                   note=f"{MEMORY_KEYS:,} keys of 8 bytes with values of 8: {task['state_bytes'] / MIB:.0f} MiB of state, {mapped_mib:.0f} MiB of memory that it "
                        "takes, commit records and undo log with it; without a standby")]


def memory(context):
    return memory_task(context) + memory_state(context)


GROWTH = {
    "growth.records": (growth_records, "records of 16 bytes to 64 KiB through an exchange"),
    "growth.tasks": (growth_tasks, "2 to 64 tasks that count by key"),
    "growth.keys": (growth_keys, "10 to 10,000,000 keys, random updates"),
    "growth.interval": (growth_interval, "a checkpoint every 10 s to 10 ms, 1,000,000 keys"),
    "growth.state": (growth_state, "1 MiB to 4 GiB of state: throughput kept, pause"),
    "memory": (memory, "memory of a task beside rings and state; of state, over that of its keys and values"),
}
