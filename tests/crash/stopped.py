#!/usr/bin/env python3
"""SIGSTOP: a task, a snapshot child or the coordinator that hangs is replaced, and when it wakes up again it does no harm."""
import signal

from crash_run import Failure, Job, age_order, send, with_longer_jobs
from support import run_cases

# Others may be taken for hung as well, on a busy machine, and checkpoints be given up: the output is right all the same.
HEARTBEAT = ["--heartbeat-timeout=300ms", "--checkpoint-timeout=1s", "--checkpoint-tolerated-failures=unlimited"]


def find(job, name):
    return [process for process in job.processes() if process.name == name and process.state != "T"]


def continue_all(job):
    for process in job.processes():
        send(process, signal.SIGCONT)


def stop_by_hand(name, evidence):
    """Stops the process of this name, waits for its replacement, wakes whatever is left of it."""
    def run(setting):
        with_longer_jobs(lambda count: run_one(setting, count), 12000)

    def run_one(setting, count):
        with Job(setting, {"count": count, "rate": 10000}, HEARTBEAT) as job:
            job.start()
            job.wait_for(lambda: len(job.events("checkpoint_completed")) > 1, "two checkpoints")
            # A snapshot child bears its task's name for its first moments: the older process is the task.
            victim = min(job.wait_for(lambda: find(job, name), f"process {name}"), key=age_order)
            send(victim, signal.SIGSTOP)
            job.wait_for(lambda: evidence in job.log() and [process for process in find(job, name) if process.pid != victim.pid],
                         f"{name} is replaced")
            send(victim, signal.SIGCONT)
            if job.wait() != 0:
                raise Failure(f"exit status {job.process.returncode}")
            job.check_end()
            setting.count("processes stopped")
    return run


def stop_at_point(row):
    """Stops at a kill point; woken as soon as the job has gone on, or has ended, without it."""
    def run(setting):
        with_longer_jobs(lambda count: run_one(setting, count), 8000)

    def run_one(setting, count):
        with Job(setting, {"count": count, "rate": 20000}, HEARTBEAT) as job:
            job.start(kill=row)
            job.wait_for(lambda: job.fired() == 1, "the stop")
            before = len(job.events("checkpoint_completed"))
            job.wait_for(lambda: len(job.events("checkpoint_completed")) > before + 1, "checkpoints after the stop")
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
