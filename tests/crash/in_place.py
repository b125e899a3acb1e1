#!/usr/bin/env python3
"""A kill at a place of the batch, the barrier or the commit does no more than it must: the task is taken over in place or the
coordinator replaced, nothing goes back, the checkpoint in progress goes on. (sweep.py judges the output alone: a fault that sends
the job back where it need not go back is none to it.) And two orders that the output of a job that recovers does not show:
nothing is told before it is durable, and no checkpoint is complete before its output is persisted."""
import glob
import json
import os
import signal

from crash_run import EndedEarly, Failure, Job, send, with_longer_jobs
from support import run_cases

# Where: what is killed there, at the how manieth time.
PLACES = {
    "s1": ("file", 20), "s2": ("file", 20), "s3": ("file", 2),
    "r4": ("track", 20), "c1": ("track", 20), "c2": ("track", 20), "c3": ("track", 20),
    "t1": ("track", 20), "t2": ("track", 20), "t3": ("track", 20), "t4": ("track", 20), "t5": ("track", 20), "t6": ("track", 20),
    "t7": ("track", 20), "t8": ("track", 2), "t9": ("track", 2),
    "b1": ("track", 3), "b2": ("track", 3), "b3": ("track", 3), "b4": ("track", 3), "b5": ("track", 3),
    "p1": ("sink", 3), "p2": ("sink", 3), "p3": ("sink", 3), "p4": ("sink", 3), "p5": ("sink", 3),
    **{f"k{i}": ("coordinator", 2) for i in range(1, 10)},
}
RATE = 20000


def check_manifests(job):
    """What is told to be complete is on disk."""
    for event in map(json.loads, job.events("checkpoint_completed")):
        if not os.path.exists(os.path.join(job.checkpoints, f"manifest-{event['checkpoint']:020}")):
            raise Failure(f"checkpoint {event['checkpoint']} is told to be complete and has no manifest")


def no_more_than_it_must(point, role, nth, seed):
    keeps_all = role == "coordinator" and point != "k9"  # that one is reached when one is deleted

    def run_one(setting, count):
        options = ["--checkpoints-retained=1000"] if keeps_all else []
        with Job(setting, {"count": count, "rate": RATE, "seed": seed}, options) as job:
            job.run_to_end(kill=f"{point}:{nth}@{role}")
            if job.fired() != 1:
                raise EndedEarly(f"{point} was not reached")
            job.check_end()
            for event in ("recovery_started", "checkpoint_aborted"):
                if job.events(event):
                    raise Failure(f"{event}: {job.events(event)[0]}")
            if keeps_all:
                check_manifests(job)
            if role != "coordinator" and len(job.events("takeover")) != 1:
                raise Failure(f"{len(job.events('takeover'))} takeovers")
            setting.count("jobs")
    return lambda setting: with_longer_jobs(lambda count: run_one(setting, count), 8000)


def staged(job, subtask=""):
    return glob.glob(os.path.join(job.directory, "output", f".part-{subtask}*"))


def size_of(path):
    try:
        return os.path.getsize(path)
    except FileNotFoundError:  # committed meanwhile
        return 0


def wait_for_output(job, times, subtask=""):
    """Until so many batches have reached the sinks, or one of them: their staged files grow."""
    def size():
        return sum(map(size_of, staged(job, subtask)))
    for _ in range(times):
        before = size()
        job.wait_for(lambda b=before: size() > b, "more output")


def all_killed_at(point, seed):
    """The coordinator stands still, then all are killed. Behind the manifest's last byte, before its sync (k4): whatever sinks
    show by then must be of older checkpoints, or the next start could not go on from there. With the manifest durable and no sink
    told (k7): the next start has to show what the checkpoint has."""
    def run_one(setting, count):
        with Job(setting, {"count": count, "rate": 10000, "seed": seed}, ["--heartbeat-timeout=60s"]) as job:
            job.start(kill=f"{point}:3:stop@coordinator")
            job.wait_for(lambda: job.fired() == 1, "the stop")
            wait_for_output(job, 20)
            job.kill_all()
            job.expect_all_gone()
            job.start()
            if job.wait() != 0:
                raise Failure(f"it does not go on: exit status {job.process.returncode}")
            job.check_end()
    return lambda setting: with_longer_jobs(lambda count: run_one(setting, count), 12000)


def persisted_first(seed):
    """A snapshot child stands still with its state written. Meanwhile the files that it has yet to sync get the name of such
    whose sync failed: the checkpoint must be given up. With their names back the job goes on."""
    def run_one(setting, count):
        with Job(setting, {"count": count, "rate": 10000, "seed": seed}) as job:
            job.start(kill="h6:3:stop@snapshot:sink")
            job.wait_for(lambda: job.fired() == 1, "the stop")
            completed = len(job.events("checkpoint_completed"))
            child = job.wait_for(lambda: [process for process in job.processes() if process.state == "T"], "the child")
            for subtask in range(job.sinks):  # each has had a turn since: what is of an earlier checkpoint has its name
                wait_for_output(job, 2, f"{subtask}-")
            names = staged(job)
            for name in names:
                os.rename(name, name + ".failed")
            send(child[0], signal.SIGCONT)
            job.wait_for(lambda: job.events("checkpoint_aborted") or len(job.events("checkpoint_completed")) > completed,
                         "its end")
            for name in names:
                os.rename(name + ".failed", name)
            if not job.events("checkpoint_aborted"):
                raise Failure("a checkpoint is complete whose output was not persisted")
            if job.wait() != 0:
                raise Failure(f"exit status {job.process.returncode}")
            job.check_end()
    return lambda setting: with_longer_jobs(lambda count: run_one(setting, count), 48000)  # nothing ends while the child stands still


def make_cases(setting, random):
    for point, (role, nth) in PLACES.items():
        yield f"{point} of {role}", no_more_than_it_must(point, role, nth, random.randrange(99))
    yield "nothing is told before it is durable", all_killed_at("k4", random.randrange(99))
    yield "what is durable is shown by the next start", all_killed_at("k7", random.randrange(99))
    yield "nothing is complete before it is persisted", persisted_first(random.randrange(99))


if __name__ == "__main__":
    run_cases("crash.in_place", __doc__, make_cases)
