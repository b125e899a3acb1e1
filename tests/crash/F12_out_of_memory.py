#!/usr/bin/env python3
"""F12: the job's memory cgroup is full, and the kernel chooses whom it kills: snapshot children first, then standbys, tasks, the coordinator.
memory_hog asks for memory until one is. Needs a memory cgroup (version 1 or 2) below one's own; says so
where it cannot be had, and ends with 77."""
import json
import os
import subprocess
import sys

from crash_run import EndedEarly, Failure, Job, send, wait_until, with_longer_jobs
from random_kills import role_of
from support import run_cases

LIMIT_BYTES = 256 << 20
TAKEN_MIB = 228  # of it, from the beginning; the job needs less than what is left
RANKS = {"snapshot child": 0, "standby": 1, "task": 2, "coordinator": 3}
KILLS = 4


class NoCgroup(Exception):
    """Why, in words."""


class TooSlow(EndedEarly):
    """The job has ended well, and nobody was killed by then."""


class Cgroup:
    """Of its own, below that of this process; gone at the end."""

    def __init__(self, name):
        self.path, self.counter = self.place(name)
        try:
            os.mkdir(self.path)
            try:
                self.write(self.limit_name, str(LIMIT_BYTES))
            except OSError:
                os.rmdir(self.path)
                raise
        except OSError as error:
            raise NoCgroup(f"{error.filename or self.path}: {error.strerror}") from None

    def place(self, name):
        for line in open("/proc/self/cgroup", encoding="utf-8"):
            _, controllers, path = line.strip().split(":", 2)
            if controllers == "memory":
                self.limit_name = "memory.limit_in_bytes"
                return f"/sys/fs/cgroup/memory{path}/{name}", "memory.oom_control"
        self.limit_name = "memory.max"
        return f"/sys/fs/cgroup{path}/{name}", "memory.events"

    def write(self, name, text):
        with open(os.path.join(self.path, name), "w", encoding="utf-8") as file:
            file.write(text)

    def kills(self):
        return read_kills(os.path.join(self.path, self.counter))

    def remove(self):
        def gone():
            try:
                os.rmdir(self.path)
            except OSError:
                return False
            return True
        wait_until(gone, "the cgroup is empty")


def read_kills(path):
    for line in open(path, encoding="utf-8"):
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


class LimitedJob(Job):
    cgroup = None

    def command(self):
        return ["/bin/sh", "-c", 'echo $$ >"$0" && exec "$@"', os.path.join(self.cgroup.path, "cgroup.procs")] + super().command()


def starved(setting, options, kill, parameters, body):
    """Where the kernel looks for memory that it can have back for so long that even the longest job is at its end first, nobody is
    killed, and that is said and counted: the job's output is right all the same."""
    def run(count):
        with LimitedJob(setting, {"count": count, "rate": 3000, **parameters}, options) as job:
            job.cgroup = Cgroup(f"weir-{os.path.basename(job.directory)}")
            hog = None
            try:
                hog = subprocess.Popen([os.path.join(os.path.dirname(setting.program), "memory_hog"), job.cgroup.path,
                                        os.path.join(job.cgroup.path, job.cgroup.counter), str(TAKEN_MIB)], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
                job.start(kill)
                try:
                    body(job, hog)
                except EndedEarly as reason:
                    if job.process.returncode != 0:
                        raise EndedEarly(f"{reason}, with status {job.process.returncode}") from None
                    job.check_end()
                    raise TooSlow(str(reason)) from None
                if job.wait() != 0:
                    raise Failure(f"exit status {job.process.returncode}")
                job.check_end()
                setting.count("jobs")
                setting.count("killed by the kernel", job.cgroup.kills())
                setting.count("taken over", len(job.events("takeover")))
            finally:
                if hog is not None:
                    hog.kill()
                    hog.wait()
                job.kill_all()
                job.cgroup.remove()
    try:
        with_longer_jobs(run, 9000)
    except TooSlow as reason:
        setting.count("not arranged: the kernel was slower than the job")
        print(f"not arranged here: {reason}", flush=True)


def ask(job, hog):
    """For one kill; returns how many there were."""
    hog.stdin.write("\n")
    hog.stdin.flush()
    line = hog.stdout.readline()
    if job.process.poll() is not None:
        raise EndedEarly("the job ended meanwhile")
    if not line.strip() or int(line) == 0:
        raise Failure(f"nobody was killed for want of memory, or the one who asked for it: {line!r}")
    return int(line)


def was_killed(job, pid, recoveries):
    """Whether the task died of SIGKILL. False where it failed by itself, for want of memory, or went when the whole job went back: the
    kernel had no part in either."""
    def told():
        return [event for event in map(json.loads, job.events("process_died")) if event["pid"] == pid]
    job.wait_for(lambda: told() or len(job.events("recovery_started")) > recoveries, f"what {pid} died of")
    return len(job.events("recovery_started")) == recoveries and any(event.get("signal") == 9 for event in told())


def starve(setting, job, hog):
    """One kill or more. Whoever was killed, nobody who should have been before it lived through it. Returns the roles of the dead."""
    recoveries = len(job.events("recovery_started"))
    before = {process.pid: role_of(process) for process in job.processes()}
    ask(job, hog)
    wait_until(lambda: len(set(before) - {process.pid for process in job.processes()}) >= 1 or job.process.poll() is not None, "one of them is gone")
    if job.process.poll() is not None:
        raise EndedEarly("the job ended meanwhile")
    alive = {process.pid for process in job.processes()}
    dead = [RANKS[role] for pid, role in before.items() if pid not in alive and role in RANKS]
    survivors = [RANKS[role] for pid, role in before.items() if pid in alive and role in RANKS]
    killed = [RANKS[role] for pid, role in before.items() if pid not in alive and role in RANKS
              and (role != "task" or not survivors or min(survivors) >= RANKS["task"] or was_killed(job, pid, recoveries))]
    if killed and survivors and min(survivors) < max(killed):
        raise Failure(f"killed, by rank: {sorted(killed)}, although these lived: {sorted(survivors)}")
    for role, rank in RANKS.items():
        setting.count(f"dead meanwhile, {role}", dead.count(rank))
    return dead


def with_checkpoints(job):
    job.wait_for(lambda: len(job.events("checkpoint_completed")) > 1, "two checkpoints")


def kill_several(job, hog, setting, wanted):
    with_checkpoints(job)
    dead = []
    for _ in range(KILLS * (5 if setting.long else 1)):
        job.wait_for(lambda: len([p for p in job.processes() if role_of(p) == "task"]) >= 5, "the tasks are back")
        dead += starve(setting, job, hog)
    if RANKS[wanted] not in dead:
        raise Failure(f"no {wanted} was killed: ranks {dead}")


def kill_snapshot_child(job, hog, setting):
    def stopped():
        return [p for p in job.processes() if role_of(p) == "snapshot child" and p.state == "T"]
    child = job.wait_for(stopped, "a snapshot child is stopped")[0]
    starve(setting, job, hog)
    wait_until(lambda: child.pid not in {p.pid for p in job.processes()}, "the snapshot child was the one")
    job.wait_for(lambda: job.events("checkpoint_aborted"), "its checkpoint is given up")


def kill_coordinator(job, hog, setting):
    """It is alone in the cgroup with the launcher: else the kernel would choose it after all others only."""
    with_checkpoints(job)
    for _ in range(3):
        coordinator = job.wait_for(lambda: [p for p in job.processes() if role_of(p) == "coordinator"], "a coordinator")[0]
        for process in job.processes():
            if role_of(process) == "task":
                try:
                    with open(os.path.join(job.cgroup.path, "../cgroup.procs"), "w", encoding="utf-8") as others:
                        others.write(str(process.pid))
                except ProcessLookupError:
                    pass  # it has ended: the job may be at its end
        ask(job, hog)
        job.wait_for(lambda: coordinator.pid not in {p.pid for p in job.processes()}, "the coordinator is gone")
    if job.events("recovery_started"):
        raise Failure("the job went back")


def scores_above_the_launchers(setting):
    """Started with a score of its own, the job's processes are above it all the same, in the same order."""
    with_longer_jobs(lambda count: read_scores(setting, count), 12000)


def read_scores(setting, count):
    with Job(setting, {"count": count, "rate": 8000}, []) as job:
        command = job.command
        job.command = lambda: ["/bin/sh", "-c", 'echo 600 >/proc/self/oom_score_adj && exec "$@"', "sh"] + command()
        job.start(kill="h3:2:stop@snapshot:track")

        def seen():
            scores = {}
            for process in job.processes():
                try:
                    with open(f"/proc/{process.pid}/oom_score_adj", encoding="utf-8") as score:
                        scores[role_of(process)] = int(score.read())
                except OSError:
                    pass  # it has ended
            return scores if set(RANKS) <= set(scores) else None
        scores = job.wait_for(lambda: (seen() or {}).values() and seen(), "a process of each role")
        ranked = [scores[role] for role in RANKS] + [600]
        for process in job.processes():
            if role_of(process) == "snapshot child" and process.state == "T":
                send(process, 9)
        if sorted(set(ranked), reverse=True) != ranked:
            raise Failure(f"snapshot child, standby, task, coordinator, launcher have {ranked}")
        if job.wait() != 0:
            raise Failure(f"exit status {job.process.returncode}")
        job.check_end()


def make_cases(setting, random):
    seed = random.randrange(7)
    cases = {
        "scores": scores_above_the_launchers,
        "standby": lambda s: starved(s, ["--takeover=on"], None, {"seed": seed}, lambda j, h: kill_several(j, h, s, "standby")),
        "task, taken over": lambda s: starved(s, ["--takeover=cold"], None, {"seed": seed}, lambda j, h: kill_several(j, h, s, "task")),
        "task, gone back": lambda s: starved(s, ["--takeover=off"], None, {"seed": seed}, lambda j, h: kill_several(j, h, s, "task")),
        "snapshot child": lambda s: starved(s, [], "h3:4:stop@snapshot:track", {"seed": seed}, lambda j, h: kill_snapshot_child(j, h, s)),
        "coordinator": lambda s: starved(s, ["--takeover=off"], None, {"seed": seed}, lambda j, h: kill_coordinator(j, h, s)),
    }
    yield from cases.items()


if __name__ == "__main__":
    try:
        Cgroup(f"weir-probe-{os.getpid()}").remove()
    except NoCgroup as reason:
        print(f"skipped: no memory cgroup can be made here: {reason}")
        sys.exit(77)
    run_cases("crash.F12_out_of_memory", __doc__, make_cases)
