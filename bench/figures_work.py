"""The figures w0, w1 and w2: the work that engines are compared by. Every run's result is compared with that of a plain loop."""

import os
import struct

from bids import BIDS, bids_file
from measure import BenchError, Figure, output_of, percentile, timed

COPIES = 5  # the file so many times over: start and end of the job weigh less, several checkpoints fall into a run
RESULT = struct.Struct("=QQQqQqQqQ")  # struct work_result of work.h


def plain(context, kind, keys, copies):
    """(number of results, sum of prices, sum of counts), seconds, of a loop on one core."""
    words = output_of([context.program("plain_work"), kind, bids_file(context, keys), str(copies), str(keys)]).split()
    return tuple(int(word) for word in words[:3]), float(words[3])


def read_result(path, expected):
    """CPU seconds of the tasks. A result that differs from the plain loop's is no result."""
    with open(path, "rb") as file:
        words = RESULT.unpack(file.read())
    if words[:3] != expected:
        raise BenchError(f"the job's result (number, prices, counts) is {words[:3]}; a plain loop over the same input gives {expected}")
    by_process = {}
    for pid, cpu_ns in zip(words[3::2], words[4::2]):
        if pid != 0:
            by_process[pid] = max(by_process.get(pid, 0), cpu_ns)
    return sum(by_process.values()) / 1e9


def run_once(context, work, keys, copies, guarantee, chaining, expected):
    result = os.path.join(context.scratch, "work-result")
    command = [context.program("work"), "run", "--quiet", f"--set=work={work}", f"--set=input={bids_file(context, keys)}",
               f"--set=copies={copies}", f"--set=result={result}", f"--directory={context.fresh_directory('work-checkpoints')}", f"--guarantee={guarantee}"]
    if chaining is not None:
        command.append(chaining)
    if guarantee == "exactly-once":
        command.append("--checkpoint-interval=1s")
    wall_s, cpu_s = timed(command)
    records = BIDS * copies / 1e6
    return {"wall": records / wall_s, "cpu": records / cpu_s, "tasks": records / read_result(result, expected), "command": context.shown(command)}


def work(context, name, job_work, keys=1_000, guarantee="exactly-once", chaining="--no-chain", copies=COPIES):
    kind = job_work.split(".", maxsplit=1)[0]
    expected, plain_s = plain(context, kind, keys, copies)
    rows = []
    for i in range(context.runs(5)):
        context.say(f"{name}: run {i + 1}")
        rows.append(run_once(context, job_work, keys, copies, guarantee, chaining, expected))
    loop = ("a plain loop on one core", BIDS * copies / plain_s / 1e6)
    note = f"{BIDS * copies // 1_000_000} M records; {expected[0]} results, sums {expected[1]} and {expected[2]}: those of the plain loop"
    command = rows[0]["command"]
    return [
        Figure(name, [row["wall"] for row in rows], "M records/s", command, [loop], note=note),
        Figure(f"{name}.cpu", [row["cpu"] for row in rows], "M records/CPU-s", command, note="all processes, from start to end of the command"),
        Figure(f"{name}.cpu_tasks", [row["tasks"] for row in rows], "M records/CPU-s", command,
               note="without launcher, coordinator, standbys and snapshot children"),
    ]


# suffix: (guarantee, chaining, in words)
W2_WAYS = {
    "": ("exactly-once", "--no-chain", "exactly-once, a checkpoint every second, three processes"),
    ".chained": ("exactly-once", None, "exactly-once, a checkpoint every second, count and sink in one process"),
    ".one": ("exactly-once", "--chain-keyed", "exactly-once, a checkpoint every second, all in one process"),
    ".none": ("none", "--no-chain", "no checkpoints, three processes"),
    ".none.chained": ("none", None, "no checkpoints, count and sink in one process"),
    ".none.one": ("none", "--chain-keyed", "no checkpoints, all in one process"),
}


def w2(label, keys):
    def measured(suffix, guarantee, chaining):
        name = f"w2.{label}{suffix}.weir"
        return name, lambda c: work(c, name, "w2", keys, guarantee, chaining)
    figures = {}
    for suffix, (guarantee, chaining, text) in W2_WAYS.items():
        name, function = measured(suffix, guarantee, chaining)
        figures[name] = (function, f"count and highest price per auction, {keys:,} keys: {text}")
    return figures


WORK = {
    "w0.exchange.weir": (lambda c: work(c, "w0.exchange.weir", "w0.exchange"), "records from a file, partitioned by key, to a sink: two processes"),
    "w0.chained.weir": (lambda c: work(c, "w0.chained.weir", "w0.chained", chaining=None), "records from a file to a sink: one process"),
    "w1.weir": (lambda c: work(c, "w1.weir", "w1"), "filter auction % 123 = 0: three processes"),
    "w1.chained.weir": (lambda c: work(c, "w1.chained.weir", "w1", chaining=None), "the same: one process"),
    **w2("1k", 1_000),
    **w2("1m", 1_000_000),
    **w2("10m", 10_000_000),
}
