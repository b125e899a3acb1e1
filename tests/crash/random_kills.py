#!/usr/bin/env python3
"""SIGKILLs at random times to random processes of jobs that live long: one at a time, several at once, all tasks in the same
instant. The output is compared each time."""
import os
import signal
import time

from crash_run import Failure, Job, send
from support import run_cases

KILLS_PER_JOB = 60
LONG_JOBS = 120
SHORT_JOBS = 30
ANY_NUMBER = "--checkpoint-tolerated-failures=unlimited"  # on a slow machine each may have its snapshot child killed
KILLS = int(os.environ.get("WEIR_TEST_KILLS", 0))  # so many, about
MORE_RECORDS = int(os.environ.get("WEIR_TEST_RECORDS", 1))  # so many times as many


def role_of(process):
    if process.name == "coordinator":
        return "coordinator"
    if process.name.startswith("snapshot:"):
        return "snapshot child"
    if process.name.startswith("standby:"):
        return "standby"
    return "task" if "/" in process.name else "process just forked"


def choose_victims(processes, random):
    """What is killed next: a list of processes, and a name for the count."""
    chance = random.random()
    tasks = [process for process in processes if role_of(process) == "task"]
    if chance < 0.08:
        return tasks, "all tasks at once"
    if chance < 0.12:
        return processes, "all but the launcher at once"
    if chance < 0.22:
        return random.sample(processes, min(len(processes), random.randint(2, 4))), "several at once"
    if chance < 0.25:
        return [process for process in processes if role_of(process) in ("task", "standby")], "all tasks and standbys at once"
    if chance < 0.33:
        coordinators = [process for process in processes if role_of(process) == "coordinator"]
        return coordinators, "coordinator"
    others = [process for process in processes if role_of(process) in ("snapshot child", "process just forked", "standby")]
    victim = random.choice(others if others and chance < 0.5 else tasks if tasks and chance < 0.8 else processes)
    return [victim], role_of(victim)


def kill_at_random(setting, job, random, kills_max):
    kills = 0
    while kills < kills_max and job.process.poll() is None:
        time.sleep(random.expovariate(1 / 0.025))  # the chance of this test, not a wait for anything
        processes = job.processes()
        victims, name = choose_victims(processes, random) if processes else ([], "")
        done = 0
        for victim in victims:
            done += send(victim, signal.SIGKILL)
        if done > 0:
            setting.count(f"random kills, {name}")
            setting.count("processes killed", done)
            kills += 1
    return kills


def make_case(number, seed, random):
    def run(setting):
        takeover = ["on", "on", "cold", "on", "off"][number % 5]
        options = [["--no-chain"], [], ["--io=pwrite"], ["--chain-keyed", "--set=files=1"]][number % 4] + ["--busy-poll"] * (number % 10 == 6) + [ANY_NUMBER, f"--takeover={takeover}"]
        parameters = {"count": 24000 * MORE_RECORDS, "seed": seed, "rate": 12000 * MORE_RECORDS, "timers": number % 2}
        with Job(setting, parameters, options) as job:
            job.sinks = 1 + number % 2
            job.start()
            kills = kill_at_random(setting, job, random, KILLS_PER_JOB)
            status = job.wait()
            if status != 0:
                raise Failure(f"exit status {status} after {kills} kills")
            job.check_end()
            setting.count("jobs")
            setting.count("random kills", kills)
            setting.count("taken over", len(job.events("takeover")))
            setting.count(f"gone back, {options[-1]}", len(job.events("recovery_started")))
    return f"job {number} seed {seed}", run


def make_cases(setting, random):
    for number in range(-(-KILLS // KILLS_PER_JOB) or (LONG_JOBS if setting.long else SHORT_JOBS)):
        yield make_case(number, random.randrange(1 << 30), type(random)(random.randrange(1 << 30)))


if __name__ == "__main__":
    run_cases("crash.random_kills", __doc__, make_cases)
