#!/usr/bin/env python3
"""F32: every process of a job gets a signal up to ten thousand times a second, so that its system calls are interrupted, and is killed meanwhile as
well; 64 children of the launcher are killed in one loop. Nothing fails of it, no death is missed, no zombie stays."""
import os
import signal
import subprocess

from crash_run import EndedEarly, Failure, Job, with_longer_jobs
from random_kills import role_of
from support import run_cases

RATE = 10000
AT_ONCE = 64


class InterruptedJob(Job):
    def command(self):
        library = os.path.join(os.path.dirname(self.setting.program), "libtake_signals.so")
        return ["/usr/bin/env", f"LD_PRELOAD={library}"] + super().command()


def storm(setting, options, kill, seed):
    def run(count):
        with InterruptedJob(setting, {"count": count, "seed": seed, "rate": 12000}, options) as job:
            job.start(kill)
            # The handler is there once the program is: by then it has its first child.
            job.wait_for(job.processes, "a child")
            with subprocess.Popen([os.path.join(os.path.dirname(setting.program), "signal_storm"), str(job.process.pid), str(RATE)],
                                  stdout=subprocess.PIPE, text=True) as sender:
                try:
                    status = job.wait()
                finally:
                    job.kill_all()
                sent = int(sender.communicate()[0])
            if status != 0:
                raise Failure(f"exit status {status}")
            job.check_end()
            if kill is None and job.events("recovery_started"):
                raise Failure("a process failed of the signals")
            if sent < 1000:
                raise EndedEarly(f"only {sent} signals were sent")
            setting.count("jobs")
            setting.count("signals", sent)
            setting.count("kills", job.fired())
    with_longer_jobs(run, 9000)


def zombies_of(launcher):
    found = []
    try:
        with open(f"/proc/{launcher}/task/{launcher}/children", encoding="utf-8") as children:
            pids = children.read().split()
    except OSError:
        return []  # the launcher has ended: whoever waits for something sees that
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
                text = stat.read()
        except OSError:
            continue  # reaped
        if text[text.rindex(")") + 2] == "Z":
            found.append(pid)
    return found


def kill_in_one_loop(setting, rounds, options, seed):
    def run(count):
        with Job(setting, {"count": count, "seed": seed, "rate": 4000}, options) as job:
            job.sinks = 32
            job.start()
            for _ in range(rounds):
                def enough():
                    found = [p for p in job.processes() if role_of(p) in ("task", "standby")]
                    return found if len(found) >= AT_ONCE else None
                victims = job.wait_for(enough, f"{AT_ONCE} tasks and standbys")[:AT_ONCE]
                done = len(job.events("checkpoint_completed"))
                handles = []
                for victim in victims:
                    try:
                        handles.append(os.pidfd_open(victim.pid))
                    except ProcessLookupError:
                        pass  # it has ended by itself
                for handle in handles:
                    try:
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                for handle in handles:
                    os.close(handle)
                setting.count("children killed in one loop", len(handles))
                pids = {victim.pid for victim in victims}
                job.wait_for(lambda: not pids & {p.pid for p in job.processes()}, "they are gone")
                job.wait_for(lambda: not zombies_of(job.process.pid), "no zombie stays")
                job.wait_for(lambda: len(job.events("checkpoint_completed")) > done + 1, "checkpoints go on")
            if job.wait() != 0:
                raise Failure(f"exit status {job.process.returncode}")
            job.check_end()
            setting.count("jobs")
            setting.count("taken over", len(job.events("takeover")))
            setting.count("gone back", len(job.events("recovery_started")))
    with_longer_jobs(run, 16000)


def make_cases(setting, random):
    for options, kill in ((["--takeover=on"], None), (["--takeover=on", "--io=uring"], "t5:200@track,h3:2@snapshot:track,k6:1,p4:1@sink"),
                          (["--takeover=off", "--io=pwrite"], "t5:200@track,h3:2@snapshot:track,k6:1,v4:1@sink")):
        yield (f"storm {' '.join(options)} {kill}",
               lambda s, o=options, k=kill, seed=random.randrange(5): storm(s, o, k, seed))
    yield (f"{AT_ONCE} children in one loop",
           lambda s, seed=random.randrange(5): kill_in_one_loop(s, 12 if setting.long else 2, [], seed))


if __name__ == "__main__":
    run_cases("crash.F32_signals", __doc__, make_cases)
