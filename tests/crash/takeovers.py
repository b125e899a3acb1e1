#!/usr/bin/env python3
"""Takeover in place: killed tasks go on where they were. No other task goes back, no checkpoint is given up, no record is done twice: the
events say so, and the output is the oracle's."""
import json
import os
import signal
import struct

from crash_run import EndedEarly, Failure, Job, age_order, read_process, send, with_longer_jobs
from support import run_cases

TAKEOVERS_MAX = 12  # engine/takeover.h
RATE = 8000
PAGE_BYTES = 4096
COMMIT_HEAD_BYTES = 64 + 8 + 64 * 272  # struct commit_area of engine/batch.h


def tasks_of(job):
    """The tasks: no coordinator, no snapshot child, no standby, none that has just been forked and bears the launcher's name. A snapshot
    child bears its task's for its first moments: the task is the one that the last takeover names, or the oldest."""
    named = sorted((process for process in job.processes() if "/" in process.name and ":" not in process.name),
                   key=age_order, reverse=True)
    tasks = {process.name: process for process in named}
    takers = {event["task"]: event["pid"] for event in map(json.loads, job.events("takeover"))}
    for process in named:
        if process.pid == takers.get(process.name):
            tasks[process.name] = process
    return list(tasks.values())


def standbys_of(job):
    return [process for process in job.processes() if process.name.startswith("standby:")]


def takeovers(job):
    return len(job.events("takeover"))


def kill(job, victims):
    """How many were alive to be killed."""
    return sum(send(victim, signal.SIGKILL) for victim in victims)


def check_none_went_back(job):
    for event in ("recovery_started", "checkpoint_aborted"):
        if job.events(event):
            raise Failure(f"{event}: {job.events(event)[0]}")
    return False


def check(setting, job, kills, rounds):
    events = [json.loads(line) for line in job.events("takeover")]
    if job.wait() != 0:
        raise Failure(f"exit status {job.process.returncode}")
    job.check_end()
    check_none_went_back(job)
    if len(events) < rounds:
        raise Failure(f"{len(events)} takeovers in {rounds} rounds")
    setting.count("tasks killed", kills)
    for event in map(json.loads, job.events("takeover")):
        setting.count(f"taken over by {event['by']}")
    setting.count("jobs")


def run_rounds(setting, options, parameters, rounds, choose, standbys_die=False):
    """Each round kills what choose(tasks) gives, and waits until as many have been taken over."""
    def run_one(count):
        with Job(setting, {"count": count, "rate": RATE, **parameters}, options) as job:
            job.start()
            job.wait_for(lambda: len(job.events("checkpoint_completed")) > 1, "two checkpoints")
            kills = 0
            for _ in range(rounds):
                tasks = tasks_of(job)
                if job.process.poll() is not None or len(tasks) < 2:
                    raise EndedEarly("the job ended before all rounds were done")
                before = takeovers(job)
                victims = choose(tasks)
                if standbys_die:
                    setting.count("standbys killed", kill(job, standbys_of(job)))
                done = kill(job, victims)
                kills += done
                job.wait_for(lambda: takeovers(job) >= before + done or check_none_went_back(job), f"{done} takeovers")
                # Killed again and again before it gets on, a task would go back: see too_often(). Of two barriers one comes after a batch.
                completed = len(job.events("checkpoint_completed"))
                job.wait_for(lambda: len(job.events("checkpoint_completed")) > completed + 1 or check_none_went_back(job),
                             "two more checkpoints")
            if "--takeover=on" in options and not standbys_die:
                job.wait_for(lambda: len(standbys_of(job)) == len(tasks_of(job)), "a standby for each task")
            check(setting, job, kills, rounds)
    with_longer_jobs(run_one, 12000)


def one_by_one(options, random):
    return lambda setting: run_rounds(setting, options, {"seed": random.randrange(99), "timers": 1}, 12, lambda tasks: [random.choice(tasks)])


def neighbours(options, random):
    return lambda setting: run_rounds(setting, options, {"seed": random.randrange(99)}, 10, lambda tasks: random.sample(tasks, 2))


def all_at_once(options, random):
    return lambda setting: run_rounds(setting, options, {"seed": random.randrange(99)}, 10, lambda tasks: tasks)


def the_same_again_and_again(name, options, random):
    def choose(tasks):
        return [task for task in tasks if task.name == name]
    return lambda setting: run_rounds(setting, options, {"seed": random.randrange(99)}, 12, choose)


def given_up_meanwhile(setting):
    """A task stands still between the note that its snapshot runs and the fork of its child, until the checkpoint is given up, and is killed
    there: its successor says that no child runs, and the next checkpoints come about."""
    def run_one(count):
        options = ["--checkpoint-timeout=300ms", "--checkpoint-tolerated-failures=unlimited", "--heartbeat-timeout=60s"]
        with Job(setting, {"count": count, "rate": 8000}, options) as job:
            job.start(kill="b3:3:stop@track")
            stopped = job.wait_for(lambda: [process for process in tasks_of(job) if process.state in "Tt"], "the stop")
            aborted = len(job.events("checkpoint_aborted"))
            job.wait_for(lambda: len(job.events("checkpoint_aborted")) > aborted, "the checkpoint is given up")
            before = len(job.events("checkpoint_completed"))
            if kill(job, stopped) != 1:
                raise Failure(f"{len(stopped)} tasks stand still, not one")
            job.wait_for(lambda: len(job.events("checkpoint_completed")) > before + 2, "checkpoints after the takeover")
            if job.wait() != 0:
                raise Failure(f"exit status {job.process.returncode}")
            job.check_end()
            if job.events("recovery_started") or len(job.events("takeover")) != 1:
                raise Failure(f"taken over {len(job.events('takeover'))} times, gone back {len(job.events('recovery_started'))} times")
            setting.count("given up meanwhile", 1)
    with_longer_jobs(run_one, 12000)


def each_taker_dies(setting, times, expected_back):
    """So many takers in a row die before they get on; the job goes back so often."""
    def run_one(count):
        with Job(setting, {"count": count, "rate": 40000}) as job:
            job.run_to_end(kill="t4:200@track," + ",".join(["u3:1@track"] * times))
            if job.fired() != times + 1:
                raise EndedEarly("not all kill points were reached")
            job.check_end()
            if len(job.events("recovery_started")) != expected_back:
                raise Failure(f"gone back {len(job.events('recovery_started'))} times, not {expected_back}")
            setting.count(f"{times} takers in a row died, gone back {expected_back} times", 1)
    with_longer_jobs(run_one, 8000)


def ten_in_a_row(setting):
    each_taker_dies(setting, 10, 0)


def too_often(setting):
    each_taker_dies(setting, TAKEOVERS_MAX, 1)


def with_standbys(options, random):
    return lambda setting: run_rounds(setting, options, {"seed": random.randrange(99)}, 12, lambda tasks: random.sample(tasks, 2), True)


def commit_slots(job, task):
    """The task's shared memory, and where its two commit records lie: behind the region's first page and the head of the commit area."""
    folder = f"/proc/{job.process.pid}/fd"
    for entry in os.listdir(folder):
        path = os.path.join(folder, entry)
        try:
            found = os.readlink(path) == f"/memfd:{task.name} (deleted)"
        except OSError:  # closed meanwhile
            continue
        if found:
            memory = os.open(path, os.O_RDWR)
            if os.pread(memory, 8, 0) == b"werchunk":
                slot_bytes, = struct.unpack("=I", os.pread(memory, 4, PAGE_BYTES + 4))
                return memory, (PAGE_BYTES + COMMIT_HEAD_BYTES, PAGE_BYTES + COMMIT_HEAD_BYTES + slot_bytes)
            os.close(memory)
    raise Failure(f"the memory of {task.name} is not found")


def damaged_record(options):
    """A commit record that fails its checksum is not gone on from: the job goes back."""
    def run_one(setting, count):
        with Job(setting, {"count": count, "rate": RATE}, options) as job:
            job.start()
            job.wait_for(lambda: len(job.events("checkpoint_completed")) > 1, "two checkpoints")
            task = job.wait_for(lambda: [task for task in tasks_of(job) if task.name == "track/0"], "track/0")[0]
            memory, slots = commit_slots(job, task)
            send(task, signal.SIGSTOP)
            job.wait_for(lambda: (now := read_process(task.pid)) is not None and now.state == "T", "the stop")
            for slot in slots:
                checksum = os.pread(memory, 8, slot)
                os.pwrite(memory, bytes([checksum[0] ^ 1]) + checksum[1:], slot)
            os.close(memory)
            send(task, signal.SIGKILL)
            job.wait_for(lambda: job.events("recovery_finished"), "the job goes back")
            if "cannot be taken over" not in job.log() or "fails its checksum" not in job.log():
                raise Failure("it does not say why")
            if job.wait() != 0:
                raise Failure(f"exit status {job.process.returncode}")
            job.compare()
            setting.count("damaged records refused")
    return lambda setting: with_longer_jobs(lambda count: run_one(setting, count), 12000)


def make_cases(setting, random):
    def own():
        return type(random)(random.randrange(1 << 30))
    yield "standbys and tasks", with_standbys(["--takeover=on"], own())
    for options in (["--takeover=on"], ["--takeover=cold"], ["--takeover=on", "--no-chain"]):
        what = " ".join(options)
        yield f"one by one {what}", one_by_one(options, own())
        yield f"all at once {what}", all_at_once(options, own())
        if not setting.long and options != ["--takeover=on"]:
            continue
        yield f"neighbours {what}", neighbours(options, own())
        for name in ("file/0", "track/1", "sink/0"):
            yield f"{name} again and again {what}", the_same_again_and_again(name, options, own())
    for options in (["--takeover=on", "--guarantee=at-least-once"], ["--batch-records=1"], ["--batch-records=1", "--no-chain"]):
        yield f"one by one {' '.join(options)}", one_by_one(options, own())
    for options in (["--takeover=on"], ["--takeover=cold"]):
        yield f"damaged record {' '.join(options)}", damaged_record(options)
    yield "ten in a row", ten_in_a_row
    yield "too often", too_often
    yield "given up meanwhile", given_up_meanwhile


if __name__ == "__main__":
    run_cases("crash.takeovers", __doc__, make_cases)
