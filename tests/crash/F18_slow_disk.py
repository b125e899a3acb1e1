#!/usr/bin/env python3
"""F18: a sync takes a minute. All input flows meanwhile, and no other checkpoint is begun beside that one or queued behind it; after
--checkpoint-timeout it is given up and the next one completes."""
import json
import os
import re
import signal
import subprocess

from crash_run import EndedEarly, Failure, Job, send, with_longer_jobs
from random_kills import role_of
from support import run_cases

SLOW_MS = 60000  # longer than anything here waits; who sleeps so long is killed

# On a busy machine one that is not slow may be given up as well.
GIVEN_UP = ["--checkpoint-timeout=200ms", "--checkpoint-tolerated-failures=unlimited"]


class SlowJob(Job):
    fault = ""

    def command(self):
        return ["/usr/bin/env", f"WEIR_IO_FAULT={self.fault}"] + super().command() if self.starts == 0 else super().command()

    def status(self):
        """None while it answers nothing."""
        environment = dict(os.environ, WEIR_RUNTIME_DIR=os.path.join(self.directory, "runtime"))
        done = subprocess.run([self.setting.program, "status", "--directory", self.checkpoints, "--json"], env=environment,
                              capture_output=True, text=True, check=False, timeout=60)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def is_slow(self):
        return len(re.findall(r"io fault \w+ reached", self.log()))

    def last_child(self):
        """The slow snapshot child, once those of other tasks have ended, as they do sooner or later."""
        children = [process for process in self.processes() if role_of(process) == "snapshot child"]
        return children[0] if len(children) == 1 else None

    def in_order(self):
        """Each checkpoint ended before the next one began."""
        busy = None
        path = os.path.join(self.checkpoints, "events.jsonl")
        for line in open(path, encoding="utf-8"):
            event = json.loads(line)
            if event["event"] == "checkpoint_triggered":
                if busy is not None:
                    raise Failure(f"checkpoint {event['checkpoint']} was begun beside {busy}")
                busy = event["checkpoint"]
            elif event["event"] in ("checkpoint_completed", "checkpoint_aborted"):
                busy = None


def all_flows(setting, options, seed):
    def run(count):
        with SlowJob(setting, {"count": count, "seed": seed, "rate": 20000}, options) as job:
            job.fault = f"fdatasync:{12 + seed}*1:delay={SLOW_MS}"
            job.start()
            job.wait_for(job.is_slow, "a sync that is slow")
            id_slow = job.wait_for(job.status, "its status")["checkpoints"]["in_progress"]

            def all_in():
                status = job.status()
                if status is None or id_slow is None or status["checkpoints"]["in_progress"] != id_slow:
                    return None
                sources = [task for task in status["tasks"] if task["operators"][0] in ("file", "sequence")]
                # They have seen the end of their input, and all others the end of theirs.
                return all(task["state"] == "ended" for task in status["tasks"]) and sum(task["records_in"] for task in sources) == 2 * count
            job.wait_for(all_in, "all input has gone through while a checkpoint hangs in its sync")
            slow = job.wait_for(job.last_child, "one snapshot child alone")
            if len(job.events("checkpoint_triggered")) != id_slow:
                raise Failure(f"{len(job.events('checkpoint_triggered'))} checkpoints were begun, the slow one is {id_slow}")
            send(slow, signal.SIGKILL)
            if job.wait() != 0:
                raise Failure(f"exit status {job.process.returncode}")
            job.in_order()
            job.check_end()
            setting.count("jobs")
            setting.count("slow syncs", job.is_slow())
    with_longer_jobs(run, 6000)


def not_bound(setting, seed):
    """--pin-cpus binds tasks, and not what writes their snapshots: a slow one would be in its task's way."""
    everywhere = os.sched_getaffinity(0)
    one = min(everywhere)

    def run(count):
        with SlowJob(setting, {"count": count, "seed": seed, "rate": 20000}, [f"--pin-cpus={one}"]) as job:
            job.fault = f"fdatasync:{12 + seed}*1:delay={SLOW_MS}"
            job.start()
            job.wait_for(job.is_slow, "a sync that is slow")
            slow = job.wait_for(job.last_child, "one snapshot child alone")
            bound = {process.name: os.sched_getaffinity(process.pid) for process in job.processes() if role_of(process) == "task"}
            if not bound or any(cpus != {one} for cpus in bound.values()):
                raise Failure(f"tasks run on {bound}, not on CPU {one} alone")
            if os.sched_getaffinity(slow.pid) != everywhere:
                raise Failure(f"{slow.name} may run on {os.sched_getaffinity(slow.pid)}, not on {everywhere}")
            send(slow, signal.SIGKILL)
            if job.wait() != 0:
                raise Failure(f"exit status {job.process.returncode}")
            job.check_end()
            setting.count("jobs")
            setting.count("tasks bound, and a snapshot child that is not", len(bound))
    if len(everywhere) < 2:
        setting.count("one CPU only: nothing can be told")
        return
    with_longer_jobs(run, 6000)


def given_up(setting, fault, options, seed):
    def run(count):
        with SlowJob(setting, {"count": count, "seed": seed, "rate": 8000}, GIVEN_UP + options) as job:
            job.fault = fault
            job.start()
            job.wait_for(lambda: any("--checkpoint-timeout" in event for event in job.events("checkpoint_aborted")), "a checkpoint given up")
            done = len(job.events("checkpoint_completed"))
            job.wait_for(lambda: len(job.events("checkpoint_completed")) > done, "another one completes")
            if job.wait() != 0:
                raise Failure(f"exit status {job.process.returncode}")
            if job.events("recovery_started"):
                raise Failure("a slow disk is no reason to go back")
            job.in_order()
            job.check_end()
            setting.count("jobs")
            setting.count("slow syncs", job.is_slow())
            setting.count("given up", len(job.events("checkpoint_aborted")))
    with_longer_jobs(run, 9000)


def slow_everywhere(setting, fault, options, seed):
    """For a while each call of a kind takes a tenth of a second, whoever makes it: the coordinator as well."""
    def run(count):
        with SlowJob(setting, {"count": count, "seed": seed, "rate": 12000}, options) as job:
            job.fault = fault
            job.run_to_end()
            if not job.is_slow():
                raise EndedEarly("nothing was slow")
            job.in_order()
            job.check_end()
            setting.count("jobs")
            setting.count("slow calls", job.is_slow())
    with_longer_jobs(run, 6000)


def make_cases(setting, random):
    for options in ([], ["--io=uring"], ["--no-chain"], ["--takeover=off"])[:4 if setting.long else 2]:
        yield f"all input flows {options}", lambda s, o=options, seed=random.randrange(7): all_flows(s, o, seed)
        yield (f"given up {options}",
               lambda s, o=options, seed=random.randrange(7): given_up(s, f"fdatasync:{9 + seed}*3:delay={SLOW_MS}", o, seed))
    yield "what writes for a bound task is not bound", lambda s, seed=random.randrange(7): not_bound(s, seed)
    for operation in ("fdatasync", "fsync", "rename_new", "openat", "unlinkat")[:5 if setting.long else 2]:
        yield (f"slow {operation}", lambda s, o=operation, seed=random.randrange(7): slow_everywhere(s, f"{o}:{5 + seed}*8:delay=100", [], seed))


if __name__ == "__main__":
    run_cases("crash.F18_slow_disk", __doc__, make_cases)
