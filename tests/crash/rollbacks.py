#!/usr/bin/env python3
"""Going back in memory: tasks that die of their own fault (SIGSEGV and the like) at random times, kills in the middle of the
rollback, at its kill points too, chunks that are scribbled over, a bound that is too small. The output is compared each time, and the
path that each recovery took."""
import json
import os
import re
import signal
import time

from crash_run import EndedEarly, Failure, Job, send, with_longer_jobs
from support import run_cases

FAULTS = [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL]
LONG_JOBS = 24
SHORT_JOBS = 4
DEATHS_PER_JOB = 40
POINTS = ["v1", "v2", "v3", "v4", "v5"]
ANY_NUMBER = "--checkpoint-tolerated-failures=unlimited"  # a slow machine's checkpoints meet more deaths than they survive
FAULT_SETTING = ["fault=none"]  # tells the comparison that processes may fail


def paths(job):
    """Of the recoveries from a checkpoint: those to the very start read nothing and are none."""
    finished = [json.loads(line) for line in job.events("recovery_finished")]
    return [event["path"] for event in finished if event["checkpoint"] > 0]


def session_has(job, pid):
    return any(process.pid == pid for process in job.processes())


def tasks_of(job):
    return [process for process in job.processes() if "/" in process.name and ":" not in process.name]


def hurt_at_random(setting, job, random, deaths_max):
    deaths = 0
    while deaths < deaths_max and job.process.poll() is None:
        time.sleep(random.expovariate(1 / 0.05))  # the chance of this test, not a wait for anything
        victims = tasks_of(job)
        if not victims:
            continue
        chance = random.random()
        number = random.choice(FAULTS) if chance < 0.6 else signal.SIGKILL
        chosen = victims if chance > 0.9 else random.sample(victims, min(len(victims), random.randint(1, 2)))
        if sum(send(victim, number) for victim in chosen) > 0:
            setting.count(f"deaths by {signal.Signals(number).name}")
            deaths += 1
    return deaths


def finish(setting, job, hurt):
    status = job.wait()
    if status != 0:
        raise Failure(f"exit status {status} after {hurt}")
    job.check_end()
    for path in paths(job):
        setting.count(f"recoveries by {path}")


def random_case(number, seed, random):
    def run(setting):
        takeover = ["on", "off", "cold"][number % 3]
        options = [["--no-chain"], [], ["--io=pwrite"]][number % 3] + [f"--takeover={takeover}", "--on-poison=dead-letter",
                                                                      "--poison-attempts=1000", ANY_NUMBER]
        parameters = {"count": 24000, "seed": seed, "rate": 12000, "timers": number % 2}
        with Job(setting, parameters, options, FAULT_SETTING) as job:
            job.sinks = 1 + number % 2
            job.start()
            deaths = hurt_at_random(setting, job, random, DEATHS_PER_JOB)
            finish(setting, job, f"{deaths} deaths")
            if "disk" in paths(job):
                raise Failure(f"{paths(job).count('disk')} of {len(paths(job))} recoveries read the disk")
    return f"random {number} seed {seed}", run


def hurt_track(job):
    """False where no such task lives at this moment."""
    return any(send(process, signal.SIGSEGV) for process in tasks_of(job) if process.name.startswith("track"))


def go_back(job, times):
    """SIGSEGV, when there is something to go back to. EndedEarly where the job is at its end before it has gone back so often."""
    for _ in range(times):
        done, recovered = len(job.events("checkpoint_completed")), len(job.events("recovery_finished"))
        job.wait_for(lambda: len(job.events("checkpoint_completed")) > done + 1, "two more checkpoints")
        job.wait_for(lambda: hurt_track(job), "a task to hurt")
        job.wait_for(lambda: len(job.events("recovery_finished")) > recovered, "going back")


def check_paths(job, wanted, at_least=1):
    """Of the ways that were gone, none but the wanted one; EndedEarly where only the job was too short for so many."""
    if set(paths(job)) - {wanted}:
        raise Failure(f"recoveries by {paths(job)}")
    if len(paths(job)) < at_least:
        raise EndedEarly(f"only {len(paths(job))} recoveries by {wanted}")


def point_case(point, nth, seed):
    """Killed at a point of the rollback, and what is left goes back once more."""
    def attempt(setting, count):
        with Job(setting, {"count": count, "seed": seed, "rate": 8000}, ["--no-chain"], FAULT_SETTING) as job:
            job.start(kill=f"{point}:{nth}")
            try:
                go_back(job, max(3, nth + 1))
            except EndedEarly:
                if job.process.returncode != -signal.SIGKILL:
                    raise
            # v3 is the launcher's: then the next run goes on from disk.
            status = job.wait()
            while status == -signal.SIGKILL and job.starts < 3:
                job.expect_all_gone()
                job.start()
                status = job.wait()
            if status != 0:
                raise Failure(f"exit status {status}")
            if job.fired() == 0:
                raise Failure(f"{point} was not reached for the {nth}. time")
            job.check_end()
            for path in paths(job):
                setting.count(f"recoveries by {path}")
            if job.starts == 1:
                check_paths(job, "rollback", 2)
    return f"point {point}:{nth}", lambda setting: with_longer_jobs(lambda count: attempt(setting, count), 8000)


def bound_case(seed):
    """More frozen chunks than may be kept: the disk, and right."""
    def attempt(setting, count):
        options = ["--no-chain", "--rollback-memory=0"]
        with Job(setting, {"count": count, "seed": seed, "rate": 8000}, options, FAULT_SETTING) as job:
            job.start()
            go_back(job, 2)
            finish(setting, job, "two faults")
            check_paths(job, "disk")
    return "off", lambda setting: with_longer_jobs(lambda count: attempt(setting, count), 8000)


def torn_case(seed):
    """The coordinator dies when its manifest has just got its name, a task of its own fault at the same time. The checkpoint is complete,
    although nobody has said so: the job goes back to that one and no other, and so does the next run."""
    def attempt(setting, count):
        with Job(setting, {"count": count, "seed": seed, "rate": 8000}, ["--no-chain", "--checkpoint-interval=100ms"], FAULT_SETTING) as job:
            job.start(kill="k6:4:stop@coordinator")
            job.wait_for(lambda: job.fired() == 1, "the stop")
            newest = max(int(name.split("-")[1]) for name in os.listdir(job.checkpoints) if re.fullmatch(r"manifest-\d+", name))
            coordinator = [process for process in job.processes() if process.name == "coordinator"]
            track = [process for process in tasks_of(job) if process.name.startswith("track")]
            send(track[0], signal.SIGSEGV)
            job.wait_for(lambda: not session_has(job, track[0].pid), "the end of the task")
            send(coordinator[0], signal.SIGKILL)
            job.wait_for(lambda: job.events("recovery_finished"), "going back")
            job.process.kill()
            job.process.wait()
            event = json.loads(job.events("recovery_finished")[0])
            if event["checkpoint"] != newest or event["path"] != "rollback":
                raise Failure(f"went back to {event} although {newest} is complete")
            job.expect_all_gone()
            job.start()
            finish(setting, job, "a torn commit")
    return f"torn commit seed {seed}", lambda setting: with_longer_jobs(lambda count: attempt(setting, count), 8000)


def make_cases(setting, random):
    for number in range(LONG_JOBS if setting.long else SHORT_JOBS):
        yield random_case(number, random.randrange(1 << 30), type(random)(random.randrange(1 << 30)))
    for point in POINTS:
        for nth in [1, 2, random.randint(3, 9)] if setting.long else [random.randint(1, 3)]:
            yield point_case(point, nth, random.randrange(1 << 30))
    yield torn_case(random.randrange(1 << 30))
    yield bound_case(random.randrange(1 << 30))


if __name__ == "__main__":
    run_cases("crash.rollbacks", __doc__, make_cases)
