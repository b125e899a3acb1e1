#!/usr/bin/env python3
"""F17: the kernel refuses io_uring to every process of a job (a seccomp filter: EPERM, ENOSYS, ENOMEM; or it kills whoever asks). With --io=auto
the job says so once and writes by pwrite, with --io=uring it does not begin and says why, with --io=pwrite nobody asks."""
import os

from crash_run import EndedEarly, Failure, Job, with_longer_jobs
from support import run_cases

KILLS = "h3:2@snapshot:track,t5:100@track,k6:1"
FALLS_BACK = "snapshots are written by pwrite"


class RefusedJob(Job):
    answer = ""

    def command(self):
        return [os.path.join(os.path.dirname(self.setting.program), "refuse_call"), "io_uring_setup", self.answer] + super().command()


def run_job(setting, answer, options, seed):
    def run(count):
        with RefusedJob(setting, {"count": count, "rate": 20000, "seed": seed}, options) as job:
            job.answer = answer
            job.start(KILLS)
            status = job.wait()
            if status != 0:
                raise Failure(f"exit status {status}")
            said = job.log().count(FALLS_BACK)
            if said != ("--io=auto" in options):
                raise Failure(f"said {said} times that {FALLS_BACK}")
            job.check_end()
            setting.count("jobs")
            setting.count("kills", job.fired())
            if job.fired() < KILLS.count(",") + 1:
                raise EndedEarly(f"{job.fired()} kill points fired")
    with_longer_jobs(run, 8000)


def is_refused(setting, answer, seed):
    with RefusedJob(setting, {"count": 2000, "seed": seed}, ["--io=uring"]) as job:
        job.answer = answer
        job.start()
        status = job.wait()
        job.expect_all_gone()
        if status != 1 or "--io=uring: " not in job.log() or "--io=auto falls back to pwrite" not in job.log():
            raise Failure(f"status {status}: {job.log()}")
        if job.events("checkpoint_completed"):
            raise Failure("it ran")
        # The same command, as its words say.
        job.options = ["--io=auto"]
        job.run_to_end()
        job.check_end()
        setting.count("refused in words")


def make_cases(setting, random):
    for answer in ("EPERM", "ENOSYS", "ENOMEM", "kill"):
        yield f"auto, {answer}", lambda s, a=answer, n=random.randrange(9): run_job(s, a, ["--io=auto"], n)
        yield f"uring, {answer}", lambda s, a=answer, n=random.randrange(9): is_refused(s, a, n)
    yield "pwrite, kill", lambda s, n=random.randrange(9): run_job(s, "kill", ["--io=pwrite"], n)


if __name__ == "__main__":
    run_cases("crash.F17_no_io_uring", __doc__, make_cases)
