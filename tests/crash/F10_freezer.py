#!/usr/bin/env python3
"""F10: a process hangs in the kernel, and not by a signal: the freezer of a cgroup holds it. One of version 2 lets it be killed, so it is replaced; one of
version 1 does not: it stays, as one that waits for a broken disk, until it is thawed, and then dies. Either way the output is right, and
what wakes up late does no harm. Needs root and a cgroup with a freezer; ends with 77 where there is none."""
import os

from crash_run import Failure, Job, age_order, read_process, wait_until, with_longer_jobs
from stopped import HEARTBEAT, find
from support import run_cases


class Freezer:
    """A cgroup of its own, in the hierarchy of one version."""

    def __init__(self, version, name):
        self.version = version
        root = mount_of(version)
        if root is None:
            raise OSError(0, "not mounted", f"a freezer of version {version}")
        self.path = os.path.join(root, name)
        self.switch = os.path.join(self.path, *(("cgroup.freeze",) if version == 2 else ("freezer.state",)))
        os.mkdir(self.path)

    def set(self, frozen):
        with open(self.switch, "w", encoding="utf-8") as file:
            file.write(("0", "1")[frozen] if self.version == 2 else ("THAWED", "FROZEN")[frozen])

    def is_frozen(self):
        if self.version == 2:
            with open(os.path.join(self.path, "cgroup.events"), encoding="utf-8") as file:
                return "frozen 1" in file.read()
        with open(self.switch, encoding="utf-8") as file:
            return file.read().strip() == "FROZEN"

    def take(self, process):
        """False: it has ended."""
        try:
            with open(os.path.join(self.path, "cgroup.procs"), "w", encoding="utf-8") as file:
                file.write(str(process.pid))
        except ProcessLookupError:
            return False
        return True

    def remove(self):
        def gone():
            try:
                self.set(False)
                os.rmdir(self.path)
            except OSError:
                return False
            return True
        wait_until(gone, "the cgroup is empty")


def mount_of(version):
    for line in open("/proc/self/mounts", encoding="utf-8"):
        _, path, kind, options = line.split()[:4]
        if kind == "cgroup2" and version == 2 or kind == "cgroup" and version == 1 and "freezer" in options.split(","):
            return path
    return None


def works(version):
    """None, or why not."""
    try:
        freezer = Freezer(version, f"weir-probe-{os.getpid()}")
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    try:
        freezer.set(True)
        return None
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    finally:
        freezer.remove()


def freeze(setting, version, name, evidence, options):
    def run(count):
        with Job(setting, {"count": count, "rate": 10000}, HEARTBEAT + options) as job:
            freezer = Freezer(version, f"weir-{os.path.basename(job.directory)}")
            try:
                run_one(setting, job, freezer, name, evidence)
            finally:
                freezer.set(False)
                job.kill_all()
                freezer.remove()
    with_longer_jobs(run, 12000)


def run_one(setting, job, freezer, name, evidence):
    job.start()
    job.wait_for(lambda: len(job.events("checkpoint_completed")) > 1, "two checkpoints")
    # A snapshot child bears its task's name for its first moments: the older process is the task.
    victim = job.wait_for(lambda: (found := find(job, name)) and freezer.take(oldest := min(found, key=age_order)) and oldest, f"process {name}")
    freezer.set(True)
    job.wait_for(freezer.is_frozen, "it is frozen")
    job.wait_for(lambda: evidence in job.log(), f"{name} is missed")
    if freezer.version == 2:
        job.wait_for(lambda: [process for process in find(job, name) if process.pid != victim.pid], f"{name} is replaced")
    elif read_process(victim.pid) is None:
        raise Failure("a process that cannot be killed is gone")
    freezer.set(False)
    job.wait_for(lambda: read_process(victim.pid) is None, "it is gone")
    if job.wait() != 0:
        raise Failure(f"exit status {job.process.returncode}")
    job.check_end()
    setting.count("processes frozen")
    setting.count("taken over", len(job.events("takeover")))
    setting.count("gone back", len(job.events("recovery_started")))


def make_cases(setting, random):
    for version in (1, 2):
        reason = works(version)
        if reason is not None:
            print(f"no freezer of version {version} here: {reason}", flush=True)
            continue
        for name in ("track/0", "sink/0", "file/0") if setting.long else ("track/0", "sink/0"):
            yield f"version {version}, {name}", lambda s, v=version, n=name: freeze(s, v, n, "gave no sign of life", [])
        yield f"version {version}, coordinator", lambda s, v=version: freeze(s, v, "coordinator", "the coordinator gave no sign of life", [])


def unable(setting):
    reasons = [works(version) for version in (1, 2)]
    return None if None in reasons else "; ".join(reasons)


if __name__ == "__main__":
    run_cases("crash.F10_freezer", __doc__, make_cases, unable)
