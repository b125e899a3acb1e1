#!/usr/bin/env python3
"""SIGKILL behind every single instruction (F1b): of a batch with its state changes, of a commit, of a barrier with its cut, of a takeover.
step_killer stops a task of a running job at a function by ptrace, steps it n instructions, and kills it; n grows until the function
has returned. The short test takes every k-th n, but for one batch of one record, with its commit: every instruction of that."""
import os
import subprocess

from crash_run import EndedEarly, Failure, Job, with_longer_jobs
from support import no_tracing, run_cases

# function, task, kills of the short test, whether in the process that takes the task over
PLACES = (
    ("batch_commit", "track/0", 60, False),
    ("batch_commit", "file/0", 30, False),
    ("batch_commit", "sink/0", 30, False),
    ("input_turn", "track/0", 60, False),
    ("input_turn", "sink/0", 30, False),
    ("barrier_take", "track/0", 40, False),
    ("barrier_take", "sink/0", 40, False),
    ("batch_recover", "track/0", 40, True),
    ("batch_publish_again", "track/0", 20, True),
    ("task_take_over_main", "sink/0", 40, True),
)
KILLS_LONG = 4000
RATE = 12000
# What is gone through from its first instruction to its last, in the short test too: the batch's records, and its commit.
WHOLE = (("input_turn", "track/0"), ("batch_commit", "track/0"))
KILLS_WHOLE = 20000
RATE_WHOLE = 1500
NOT_REACHED_MAX = 5  # one of so many at most: other batches may go another way


def offsets(program):
    """Functions of the program's file, and where they begin."""
    table = subprocess.run(["nm", program], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in table.splitlines()]
    return {row[2]: row[0] for row in rows if len(row) == 3 and row[1] in "tT"}


def measure(setting, job, killer, place, step, kills):
    """Kills, the last n, and whether the whole function was gone through."""
    function, task = place[:2]
    done = subprocess.run([killer, *(["--taker"] if place[3] else []), str(job.process.pid), task, offsets(setting.program)[function], "0", str(step), str(kills)],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"{done.stderr.strip()}; {job.describe()}")
    count, last, how = done.stdout.split()
    return int(count), int(last), how


def sweep(setting, killer, place, options, random):
    """The short test knows no length beforehand: it doubles the step until the function ends within its number of kills."""
    def run(count):
        wanted = KILLS_LONG if setting.long else place[2]
        step, kills = (1, 0) if setting.long else (random.randrange(11, 60), 0)
        with Job(setting, {"count": count, "rate": RATE, "seed": random.randrange(99)}, options) as job:
            job.start()
            job.wait_for(lambda: len(job.events("checkpoint_completed")) > 1, "two checkpoints")
            while kills < wanted:
                result = measure(setting, job, killer, place, step, wanted - kills)
                kills += result[0]
                if result[2] == "ended":
                    raise EndedEarly("the job ended before all kills")
                if setting.long and result[2] == "whole":
                    break
                step = random.randrange(11, 60) if result[2] == "whole" else step
            if job.wait() != 0:
                raise Failure(f"exit status {job.process.returncode}")
            job.check_end()
            setting.count("killed behind an instruction", kills)
    with_longer_jobs(run, 400000 if setting.long else 24000)


def whole(setting, killer, place, seed):
    """One batch is noted, instruction by instruction; at each of them a task is killed in a batch of its own."""
    def run(count):
        with Job(setting, {"count": count, "rate": RATE_WHOLE, "seed": seed}, ["--batch-records=1", "--checkpoint-interval=500ms"]) as job:
            job.start()
            job.wait_for(lambda: len(job.events("checkpoint_completed")) > 1, "two checkpoints")
            done = subprocess.run([killer, "--path", str(job.process.pid), place[1], offsets(setting.program)[place[0]], str(KILLS_WHOLE)],
                                  capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Failure(f"{done.stderr.strip()}; {job.describe()}")
            kills, at, how, length, missed = done.stdout.split()
            if how == "ended":
                raise EndedEarly(f"the job ended after {at} of {length} instructions")
            if how != "whole":
                raise Failure(f"{how}: {at} of {length} instructions, {missed} not reached")
            # Where all passes that were looked at had nothing to do, or the one that was chosen was an unusual one: once more.
            if int(length) < 100 or int(missed) * NOT_REACHED_MAX > int(length):
                raise EndedEarly(f"{missed} of {length} instructions not reached")
            if job.wait() != 0:
                raise Failure(f"exit status {job.process.returncode}")
            job.check_end()
            setting.count("killed behind an instruction", int(kills))
            setting.count(f"instructions of one {place[0]}", int(length))
            setting.count(f"instructions of one {place[0]}, not reached again", int(missed))
            setting.count("gone back", len(job.events("recovery_started")))
    with_longer_jobs(run, 48000)


def make_cases(setting, random):
    killer = os.path.join(os.path.dirname(setting.program), "step_killer")
    for place in PLACES:
        own = type(random)(random.randrange(1 << 30))
        if place[:2] in WHOLE:  # these take longest: first
            seed = own.randrange(99)
            yield f"a whole {place[0]} of {place[1]}", lambda s, p=place, n=seed: whole(s, killer, p, n)
        # A taker is caught where the launcher forks it: standbys wait already.
        first = ["--takeover=cold"] if place[3] else []
        for options in (first, [*first, "--no-chain"]) if setting.long else (first,):
            yield f"{place[0]} of {place[1]} {' '.join(options)}", lambda s, p=place, o=options, r=own: sweep(s, killer, p, o, r)


if __name__ == "__main__":
    run_cases("crash.instructions", __doc__, make_cases, no_tracing)
