#!/usr/bin/env python3
"""The two long sizes of the proof (tools/test --night, --release): parts, each run in batches until it has reached its target, in kills, pairs,
seeds or whatever it counts.

What each batch counted is added to a file below the build folder, so that a run that was stopped goes on where it was; a batch that
fails is a failure for good, with its log. --budget gives each part its share of that time: a part begins no batch when its own is over, and no
batch goes on when all is; what was reached is reported."""
import argparse
import collections
import os
import re
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# name; what it counts (a line "WHAT: N" of the output, or "batches"); target by size; batch(run, n): command and environment, None: no more
Part = collections.namedtuple("Part", "name counts night release batch")
KILL_POINTS = ("s1 s2 s3 r1 r2 r3 r4 c1 c2 c3 c4 b1 b2 b3 b4 b5 h1 h2 h3 h4 h5 h6 h7 k1 k2 k3 k4 k5 k6 k7 k8 k9 k10 p1 p2 p3 p4 p5 t1 t2 t3 t4 t5 t6 t7 t8 t9 "
                 "u1 u2 u3 u4 u5 v1 v2 v3 v4 v5").split()
INSTRUCTIONS = ("batch_commit of track", "batch_commit of file", "batch_commit of sink", "input_turn of track", "input_turn of sink", "barrier_take of track",
                "barrier_take of sink", "batch_recover", "batch_publish_again", "task_take_over_main")
SYSTEM_CALLS = ("coordinator commit", "coordinator all", "snapshot:track/0 commit", "snapshot:sink/0 commit", "snapshot:track/0 all", "sink/0 commit", "sink/0 all",
                "track/0 all", "file/0 all", "standby:track/0 all", "standby:track/0 asleep", "newborn", "launcher commit", "launcher all")
ROWS = ("F12_out_of_memory", "F18_slow_disk", "F27_clocks", "F31_resources", "F32_signals", "in_place", "takeovers", "launcher_kills", "stopped", "poison", "damaged",
        "rollbacks", "F4_orphans", "F10_freezer", "F11_fork_fails", "F13_full_at_sync", "F17_no_io_uring")
PAIR_SLICES = 250
SEEDS_A_BATCH = 1000


def crash(run, name, seed=None, only="", **environment):
    command = [sys.executable, "-B", os.path.join(HERE, "crash", f"{name}.py"), "--program", os.path.join(run.build, "tests/crash/crash_job"),
               "--scratch", os.path.join(run.scratch, name), "--only", only, "--workers", str(run.workers)]
    return command + (["--seed", str(seed)] if seed is not None else []), environment


def nth(values, n):
    return values[n] if n < len(values) else None


def listed(name, values, only):
    """A batch for each value, all cases of the long form."""
    def batch(run, n):
        value = nth(values, n)
        return None if value is None else crash(run, name, only=only(value), WEIR_TEST_SIZE="long")
    return batch


def seeds(run, n):
    command = [os.path.join(run.build, "tests/sim/sim"), "--first", str(n * SEEDS_A_BATCH + 1), "--count", str(SEEDS_A_BATCH), "--jobs", str(run.workers)]
    return (command, {}) if os.path.exists(command[0]) else None


def power_cuts(run, n):
    """Below whole jobs, and below the files of checkpoints alone."""
    return crash(run, "power_cut") if n % 2 == 0 else ([os.path.join(run.build, "tests/faults/faults_test_power_cut")], {})


PARTS = (
    Part("random kills", "random kills", 20000, 100000, lambda run, n: crash(run, "random_kills", WEIR_TEST_KILLS="120")),
    # The same kills at a higher rate: more records for each.
    Part("records under kills", "records compared", None, 10**9,
         lambda run, n: crash(run, "random_kills", WEIR_TEST_KILLS="120", WEIR_TEST_RECORDS="10")),
    Part("kill points x processes x times", "batches", len(KILL_POINTS), len(KILL_POINTS), listed("sweep", KILL_POINTS, lambda point: f"{point}:")),
    Part("ordered pairs of kill points", "batches", PAIR_SLICES, PAIR_SLICES,
         lambda run, n: crash(run, "pairs", seed=1, only="pair", WEIR_TEST_PAIRS=f"{n}/{PAIR_SLICES}") if n < PAIR_SLICES else None),
    Part("simulator seeds", "seeds", 300000, 300000, seeds),
    Part("power cuts", "power cuts", 10000, 10000, power_cuts),
    Part("every instruction", "batches", len(INSTRUCTIONS), len(INSTRUCTIONS), listed("instructions", INSTRUCTIONS, str)),
    Part("every system call", "batches", len(SYSTEM_CALLS), len(SYSTEM_CALLS), listed("F2_system_calls", SYSTEM_CALLS, str)),
    Part("the other rows, long", "batches", len(ROWS), len(ROWS),
         lambda run, n: crash(run, ROWS[n], WEIR_TEST_SIZE="long") if n < len(ROWS) else None),
)


class Run:
    def __init__(self, arguments):
        self.build = os.path.abspath(arguments.build)
        self.folder = os.path.join(self.build, arguments.size)
        self.scratch = os.path.join(self.folder, "scratch")
        self.workers = os.cpu_count() or 2
        self.size = arguments.size
        self.totals_path = os.path.join(self.folder, "totals.tsv")
        os.makedirs(os.path.join(self.folder, "log"), exist_ok=True)
        os.makedirs(self.scratch, exist_ok=True)

    def totals(self):
        """By part: what was counted, so far."""
        found = collections.defaultdict(collections.Counter)
        if os.path.exists(self.totals_path):
            for line in open(self.totals_path, encoding="utf-8"):
                part, what, amount = line.rstrip("\n").split("\t")
                found[part][what] += int(amount)
        return found

    def add(self, part, counts):
        with open(self.totals_path, "a", encoding="utf-8") as file:
            file.write("".join(f"{part}\t{what}\t{amount}\n" for what, amount in counts.items()))


def read_counts(text):
    counts = collections.Counter()
    for line in text.splitlines():
        found = re.fullmatch(r"([a-zA-Z][\w ,:=/.-]*): (\d+)", line)
        if found is not None:
            counts[found.group(1)] += int(found.group(2))
        found = re.match(r"(\d+) cuts in \d+ ms", line)
        if found is not None:
            counts["power cuts"] += int(found.group(1))
    return counts


def run_batch(run, part, n, until):
    """Its counts; None where the time was up first."""
    made = part.batch(run, n)
    if made is None:
        return collections.Counter({"no more": 1})
    command, environment = made
    log_path = os.path.join(run.folder, "log", f"{part.name.replace(' ', '-')}-{n}.log")
    environment = dict(os.environ, TMPDIR=run.scratch, XDG_STATE_HOME=run.scratch, WEIR_RUNTIME_DIR=os.path.join(run.scratch, "runtime"), **environment)
    os.makedirs(environment["WEIR_RUNTIME_DIR"], mode=0o700, exist_ok=True)
    begun = time.monotonic()
    with open(log_path, "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            status = process.wait(max(1.0, until - time.monotonic()) if until is not None else None)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as reason:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            end_jobs_of(run)
            if isinstance(reason, KeyboardInterrupt):
                raise
            return None
    counts = read_counts(open(log_path, encoding="utf-8", errors="replace").read())
    counts["batches"] = 1
    counts["seconds"] = round(time.monotonic() - begun)
    if part.counts == "seeds" and status == 0:
        counts["seeds"] = SEEDS_A_BATCH
    if status == 77:
        counts = collections.Counter({"skipped": 1})
    elif status != 0:
        counts["failed batches"] = 1
        print(f"FAILED {part.name}, batch {n}: status {status}: {log_path}", flush=True)
    return counts


def end_jobs_of(run):
    """Jobs of a batch that was ended before its time run in sessions of their own: they are known by their directories."""
    mark = run.scratch.encode()
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and int(entry) != os.getpid() and mark in open(f"/proc/{entry}/cmdline", "rb").read():
                os.kill(int(entry), signal.SIGKILL)
        except OSError:
            pass  # gone, or another's


def target_of(part, size):
    return part.night if size == "night" else part.release


def run_part(run, part, share_s, until):
    target = target_of(part, run.size)
    own_end = time.monotonic() + share_s if until is not None else None
    while until is None or time.monotonic() < own_end:
        total = run.totals()[part.name]
        if total[part.counts] >= target or total["no more"] or total["skipped"] or total["failed batches"]:
            return
        print(f"{part.name}: {total[part.counts]} of {target} {part.counts}", flush=True)
        counts = run_batch(run, part, total["batches"], until)
        if counts is None:
            return
        run.add(part.name, counts)


def summary(run):
    """A table for docs/proof.md."""
    totals, good = run.totals(), True
    lines = [f"| {run.size} | reached | target | jobs | kills | records compared | lost | doubled | minutes | |", "|---|---|---|---|---|---|---|---|---|---|"]
    for part in PARTS:
        target, total = target_of(part, run.size), totals[part.name]
        if target is None:
            continue
        kills = total["kills"] + total["random kills"] + total["killed behind an instruction"] + sum(
            amount for what, amount in total.items() if what.startswith("kills, "))
        state = ("**failed**" if total["failed batches"] else "skipped here" if total["skipped"] else "not here" if total["no more"] and not total["batches"]
                 else "done" if total[part.counts] >= target else "in part")
        good = good and state == "done"
        cells = [part.name, f"{total[part.counts]:,} {part.counts}", f"{target:,}"] + [f"{value:,}" for value in (
            total["jobs"], kills, total["records compared"], total["lost"], total["doubled"], total["seconds"] // 60)]
        lines.append("| " + " | ".join(cells + [state]) + " |")
    return "\n".join(lines), good


def seconds_of(text):
    found = re.fullmatch(r"(\d+)(s|m|h)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no time: 90s, 5m, 8h")
    return int(found.group(1)) * {"s": 1, "m": 60, "h": 3600}[found.group(2)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=("night", "release"))
    parser.add_argument("--build", required=True, help="the build folder, with kill points")
    parser.add_argument("--budget", type=seconds_of, help="for all parts together: 5m, 8h")
    parser.add_argument("--part", default="", help="only parts whose name contains this")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run has reached")
    arguments = parser.parse_args()
    run = Run(arguments)
    if arguments.fresh and os.path.exists(run.totals_path):
        os.unlink(run.totals_path)
    parts = [part for part in PARTS if arguments.part in part.name and target_of(part, run.size) is not None]
    until = time.monotonic() + arguments.budget if arguments.budget is not None else None
    for i, part in enumerate(parts):
        run_part(run, part, (until - time.monotonic()) / (len(parts) - i) if until is not None else None, until)
    table, good = summary(run)
    with open(os.path.join(run.folder, "summary.md"), "w", encoding="utf-8") as file:
        file.write(table + "\n")
    print(f"{table}\n\nIn {os.path.join(run.folder, 'summary.md')}; logs beside it. The same command goes on where this one stopped.")
    failed = any(total["failed batches"] for total in run.totals().values())
    return 1 if failed or (not good and arguments.budget is None and not arguments.part) else 0


if __name__ == "__main__":
    sys.exit(main())
