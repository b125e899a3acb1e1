#!/usr/bin/env python3
"""The launcher is SIGKILLed, alone or with all its processes: nothing of the job stays alive (the longest that it took is printed),
what is committed is a sound beginning of the output, and the same command goes on to the exact end."""
import glob
import os
import signal
import time

from crash_run import DEADLINE_S, EndedEarly, Failure, Job, send, session_processes, with_longer_jobs
from support import run_cases


def named_shared_memory():
    return {path for path in glob.glob("/dev/shm/*") if "weir" in os.path.basename(path)}


def kill_job(job, together):
    """The launcher alone, or it and all that it has forked, in one sweep."""
    if together:
        for process in session_processes(job.process.pid):
            send(process, signal.SIGKILL)
    job.process.kill()


def make_case(number, seed, random, lives):
    def run(setting):
        options = [[], ["--no-chain"]][number % 2]
        shared_before = named_shared_memory()
        with Job(setting, {"count": 16000, "rate": 20000, "seed": seed}, options) as job:
            for life in range(lives):
                job.start()
                time.sleep(random.uniform(0.01, 0.35))  # the chance of this test, not a wait for anything
                if job.process.poll() is not None:
                    break
                kill_job(job, together=life % 3 == 2)
                job.process.wait()
                begun = time.monotonic()
                job.expect_all_gone()
                setting.counts["longest until all were gone, ms"] = max(
                    setting.counts["longest until all were gone, ms"], round(1000 * (time.monotonic() - begun)))
                setting.count("kills of the launcher" + (" and all others" if life % 3 == 2 else ""))
                job.check_committed()
            job.start()
            if job.wait() != 0:
                raise Failure(f"exit status {job.process.returncode}")
            job.check_end()
            if named_shared_memory() - shared_before:
                raise Failure(f"shared memory with a name: {named_shared_memory() - shared_before}")
            setting.count("jobs")
    return f"job {number} seed {seed}", run


def second_instance(setting):
    """Refused while the first one runs, and does it no harm."""
    def run(count):
        with Job(setting, {"count": count, "rate": 20000}) as job:
            job.start()
            first = job.process
            job.wait_for(lambda: job.events("checkpoint_completed"), "a checkpoint")
            job.start()
            second, job.process = job.process, first
            status = second.wait(DEADLINE_S)
            if status == 0 and first.poll() == 0:
                raise EndedEarly("the first instance had ended before the second one did")
            if status == 0 or "another instance" not in job.log():
                raise Failure("a second instance on the same directory was not refused")
            if job.wait() != 0:
                raise Failure(f"exit status {first.returncode}")
            job.check_end()
    with_longer_jobs(run, 16000)


def make_cases(setting, random):
    for number in range(12 if setting.long else 3):
        yield make_case(number, random.randrange(1 << 30), type(random)(random.randrange(1 << 30)), 10)
    yield "second instance", second_instance


if __name__ == "__main__":
    run_cases("crash.launcher_kills", __doc__, make_cases)
