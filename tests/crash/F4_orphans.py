#!/usr/bin/env python3
"""F4: the launcher is SIGKILLed while a snapshot child writes, and the signal that should end the child with it is lost (no_death_signal.c). As long
as it lives no other instance begins beside it; once it has finished, or was killed, the same command goes on, and what the child wrote counts or
is gone."""
import os
import signal

from crash_run import EndedEarly, Failure, Job, send, session_processes, wait_until, with_longer_jobs
from random_kills import role_of
from support import run_cases


STATUS_BUSY = 4


class OrphaningJob(Job):
    def command(self):
        library = os.path.join(os.path.dirname(self.setting.program), "libno_death_signal.so")
        return ["/usr/bin/env", f"LD_PRELOAD={library}"] + super().command() if self.starts == 0 else super().command()


def kill_launcher(job, delay_ms, point):
    """While a child is slow at a kill point. Returns the session."""
    job.start(f"{point}:2:delay={delay_ms}@snapshot:track")
    job.wait_for(lambda: job.fired() == 1, "a snapshot child in the middle of its work")
    job.process.kill()
    job.process.wait()
    return job.process.pid


def children_of(session):
    return [process for process in session_processes(session) if role_of(process) == "snapshot child"]


def orphan(setting, point, number, seed):
    """Stopped, by hand, where it was slow: a start is refused; then it goes on, or is killed."""
    def run(count):
        with OrphaningJob(setting, {"count": count, "rate": 8000, "seed": seed}) as job:
            session = kill_launcher(job, 2000, point)
            for child in children_of(session):
                send(child, signal.SIGSTOP)
            wait_until(lambda: all(role_of(process) == "snapshot child" for process in session_processes(session)), "all others are gone")
            left = children_of(session)
            if [child.state for child in left] != ["T"]:
                raise EndedEarly("nobody was left behind")
            seen = len(job.log())
            job.start()
            if job.wait() != STATUS_BUSY or "another instance of a job runs on it" not in job.log()[seen:]:
                raise Failure(f"a start beside a process of the dead run: status {job.process.returncode}: {job.log()[seen:]}")
            job.check_committed()
            send(left[0], number)
            if number == signal.SIGCONT:
                wait_until(lambda: not session_processes(session), "it has finished by itself")
            job.run_to_end()
            job.check_end()
            setting.count("orphans")
            setting.count("starts refused")
    with_longer_jobs(run, 9000)


def slow_orphan(setting, point, seed):
    """It writes on for a while: the next start waits for it."""
    def run(count):
        with OrphaningJob(setting, {"count": count, "rate": 8000, "seed": seed}) as job:
            alive = children_of(kill_launcher(job, 700, point))
            job.start()
            status = job.wait()
            if status != 0:
                raise Failure(f"exit status {status}")
            job.check_end()
            if not alive:
                raise EndedEarly("nobody was left behind")
            setting.count("orphans")
    with_longer_jobs(run, 9000)


def make_cases(setting, random):
    for point in ("h2", "h3", "h5", "h6", "h7") if setting.long else ("h3", "h6"):
        for number in (signal.SIGCONT, signal.SIGKILL):
            yield f"{point}, {number.name}", lambda s, p=point, n=number, seed=random.randrange(9): orphan(s, p, n, seed)
        yield f"{point}, slow", lambda s, p=point, seed=random.randrange(9): slow_orphan(s, p, seed)


if __name__ == "__main__":
    run_cases("crash.F4_orphans", __doc__, make_cases)
