#!/usr/bin/env python3
"""SIGSTOP: a task, a snapshot child or the coordinator that hangs is replaced, and when it wakes up again it does no harm."""
import os
import signal

from crash_run import Failure, Job, wait_until
from support import run_cases

HEARTBEAT = ["--heartbeat-timeout=300ms", "--checkpoint-timeout=1s"]


def find(job, name):
    return [process for process in job.processes() if process.name == name and process.state != "T"]


def continue_all(job):
    for process in job.processes():
        try:
            os.kill(process.pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


def stop_by_hand(name, evidence):
    """Stops the process of this name, waits for its replacement, wakes whatever is left of it."""
    def run(setting):
        with Job(setting, {"count": 12000, "rate": 10000}, HEARTBEAT) as job:
            job.start()
            wait_until(lambda: len(job.events("checkpoint_completed")) > 1, "two checkpoints")
            victim = wait_until(lambda: find(job, name), f"process {name}")[0]
            os.kill(victim.pid, signal.SIGSTOP)
            replaced = wait_until(lambda: [p for p in find(job, name) if p.pid != victim.pid] or job.process.poll() is not None,
                                  f"{name} is replaced")
            try:
                os.kill(victim.pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
            if job.wait() != 0 or replaced is True:
                raise Failure(f"exit status {job.process.returncode}, replaced: {replaced}")
            if evidence not in job.log():
                raise Failure(f"the log has no '{evidence}'")
            job.check_end()
            setting.count("processes stopped")
    return run


def stop_at_point(row):
    """Stops at a kill point; woken as soon as the job has gone on, or has ended, without it."""
    def run(setting):
        with Job(setting, {"count": 8000, "rate": 20000}, HEARTBEAT) as job:
            job.start(kill=row)
            wait_until(lambda: job.fired() == 1, "the stop")
            before = len(job.events("checkpoint_completed"))
            wait_until(lambda: len(job.events("checkpoint_completed")) > before + 1 or job.process.poll() is not None,
                       "checkpoints after the stop")
            continue_all(job)
            if job.wait() != 0:
                raise Failure(f"exit status {job.process.returncode}")
            job.check_end()
            setting.count("processes stopped")
    return run


def make_cases(setting, random):
    for name in ("track/0", "file/1", "sink/1", "tally/0"):
        yield f"task {name}", stop_by_hand(name, "gave no sign of life")
    yield "coordinator", stop_by_hand("coordinator", "the coordinator gave no sign of life")
    points = ["t4:100:stop@track", "t5:100:stop@track", "p4:2:stop@sink", "k5:2:stop@coordinator", "k6:2:stop@coordinator",
              "b4:2:stop@sink", "h3:2:stop@snapshot:track", "h6:2:stop@snapshot:sink", "h5:2:stop@snapshot:tally"]
    for row in points if setting.long else points[::2]:
        yield f"stop at {row}", stop_at_point(row)


if __name__ == "__main__":
    run_cases("crash.stopped", __doc__, make_cases)
