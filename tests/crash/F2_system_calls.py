#!/usr/bin/env python3
"""F2: SIGKILL at every system call, before it and after it, of each role: call_killer runs the job and kills each process of the role at its
n-th call, n growing until one lives to its end. The short test goes through the calls of the commit path from the first on, as
far as a few checkpoints go, and takes samples of all others."""
import collections
import os
import re
import signal

from crash_run import EndedEarly, Failure, Job, with_longer_jobs
from support import no_tracing, run_cases

KILLS_PER_JOB = 24
# role, calls, kills of the short test, its longest step, what must be among the calls that were killed at
PLACES = (
    ("coordinator", "commit", 48, 1, {"openat", "pwrite64", "renameat2", "fsync", "unlinkat"}),
    ("coordinator", "all", 12, 20, set()),
    ("snapshot:track/0", "commit", 24, 1, {"openat", "io_uring_setup", "io_uring_enter", "fdatasync"}),
    ("snapshot:sink/0", "commit", 24, 1, {"openat", "pwrite64", "fdatasync"}),
    ("snapshot:track/0", "all", 12, 4, set()),
    ("sink/0", "commit", 48, 1, {"openat", "renameat2", "fsync", "clone3"}),
    ("sink/0", "all", 12, 30, set()),
    ("track/0", "all", 24, 20, set()),
    ("file/0", "all", 24, 15, set()),
    ("standby:track/0", "all", 16, 12, set()),
    ("standby:track/0", "asleep", 48, 1, {"futex"}),
    ("newborn", "all", 24, 1, {"close"}),
    ("launcher", "commit", 8, 5, {"openat"}),
    ("launcher", "all", 4, 40, set()),
)
KILLS_LONG = 6000


class TracedJob(Job):
    """Its first start is below call_killer; what comes after the launcher's death is not."""

    def __init__(self, setting, parameters, options, place, first, step, kills):
        super().__init__(setting, parameters, options)
        killer = os.path.join(os.path.dirname(setting.program), "call_killer")
        self.report = os.path.join(self.directory, "report")
        self.killer = [killer, place[0], place[1], str(first), str(step), str(kills), self.report, "--"]

    def command(self):
        return super().command() if self.starts > 0 else self.killer + super().command()

    def reported(self):
        with open(self.report, encoding="utf-8") as report:
            return report.read().splitlines()


def run_job(setting, place, options, first, step, kills, seed, count):
    """Returns the kills, and whether a process lived to its end without an n-th call."""
    parameters = {"count": count // 4 if place[0] == "launcher" else count, "rate": 0 if place[0] == "launcher" else 20000, "seed": seed}
    with TracedJob(setting, parameters, options, place, first, step, kills) as job:
        job.start()
        status = job.wait()
        if status == -signal.SIGKILL and place[0] == "launcher":
            job.expect_all_gone()
            job.start()
            status = job.wait()
        if status != 0:
            raise Failure(f"exit status {status}; killed: {job.reported()}")
        job.check_end()
        lines = [line.split() for line in job.reported()]
    done = [(int(line[0]), line[2]) for line in lines if line[0] != "whole"]
    for _, call in done:
        setting.count(f"killed at {call if not call.startswith('call-') else 'others'}")
        setting.count(f"kills, {place[0]}, {place[1]}")
    setting.count("jobs")
    return done, len(lines) > len(done)


def options_of(place):
    """Small images are written by pwrite unless told otherwise."""
    return ["--io=uring"] if "io_uring_enter" in place[4] else ["--io=pwrite"] if "pwrite64" in place[4] else []


def sweep(setting, place, options, random, count):
    role, _, wanted, step_max, must = place
    wanted = KILLS_LONG if setting.long else wanted
    step = 1 if setting.long else (step_max + 1) // 2 + random.randrange((step_max + 1) // 2) if step_max > 1 else 1
    n = 1 if step == 1 else random.randrange(1, step)
    seen, dry = collections.Counter(), 0
    while sum(seen.values()) < wanted:
        at_once = 1 if role == "launcher" else min(KILLS_PER_JOB, wanted - sum(seen.values()))
        done, whole = run_job(setting, place, options + options_of(place), n, step, at_once, random.randrange(4), count)
        seen.update(call for _, call in done)
        n = done[-1][0] + step if done else 1
        if whole or not done:
            setting.count("gone through to the end")
            dry += 1
            n = 1
            if setting.long or dry > 2:
                break
    if not seen:
        raise EndedEarly("no process was killed")
    if must - set(seen):
        raise EndedEarly(f"never killed at {must - set(seen)}; killed at: {dict(seen)}")


def make_cases(setting, random):
    for place in PLACES:
        own = type(random)(random.randrange(1 << 30))
        for options in ([], ["--takeover=off"], ["--no-chain"]) if setting.long and place[0] != "newborn" else ([],):
            if place[0].startswith("standby") and "--takeover=off" in options:
                continue
            yield f"{place[0]} {place[1]} {' '.join(options)}", \
                lambda s, p=place, o=options, r=own: with_longer_jobs(lambda count: sweep(s, p, o, r, count), 8000, 3)


if __name__ == "__main__":
    run_cases("crash.F2_system_calls", __doc__, make_cases, no_tracing)
