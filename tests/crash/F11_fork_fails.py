#!/usr/bin/env python3
"""F11: the kernel has no memory for a fork (ENOMEM), or no process (EAGAIN), again and again, in the tasks (their snapshot children) and in the
launcher (standbys, takers, coordinators): strace says so in its place. Checkpoints are given up, counted and said, others complete; takers come
later; nothing fails."""
import os
import shutil

from crash_run import EndedEarly, Failure, Job, with_longer_jobs
from support import no_tracing, run_cases

WORDS = {"ENOMEM": "Cannot allocate memory", "EAGAIN": "Resource temporarily unavailable"}
KILLS = "t5:100@track,k6:1,t4:50@sink,t5:60@track"


class RefusedJob(Job):
    inject = ""

    def command(self):
        if self.starts > 0:
            return super().command()
        return ["strace", "-f", "-qq", "--seccomp-bpf", "-o", os.path.join(self.directory, "trace"), "-e", "trace=clone,clone3", "-e", f"inject={self.inject}"] + \
            super().command()

    def refused(self):
        """What strace has refused; its own file of calls goes with the job."""
        with open(os.path.join(self.directory, "trace"), encoding="utf-8", errors="replace") as file:
            return file.read().count("(INJECTED)")


def snapshots_refused(setting, error, options, seed):
    def run(count):
        with RefusedJob(setting, {"count": count, "rate": 15000, "seed": seed}, ["--checkpoint-tolerated-failures=unlimited", *options]) as job:
            # Each task's 2nd, 15th, 28th, ... fork. More than there are tasks in between: else they can fall into a step in which each checkpoint
            # has one that fails, and after 64 in a row a sink goes back, as it must.
            job.inject = f"clone3:error={error}:when=2+13"
            job.start()
            status = job.wait()
            if status != 0:
                raise Failure(f"exit status {status}")
            given_up = [event for event in job.events("checkpoint_aborted") if WORDS[error] in event]
            if not given_up or len(job.events("checkpoint_completed")) < 2:
                raise EndedEarly(f"{len(given_up)} checkpoints given up, {len(job.events('checkpoint_completed'))} completed")
            if job.events("recovery_started") or job.events("process_died"):
                raise Failure("a fork that failed is no reason to go back, or to die")
            setting.count("forks refused, snapshot children", job.refused())
            setting.count("checkpoints given up", len(given_up))
            finish(setting, job)
    with_longer_jobs(run, 8000)


# Of the launcher's forks: ten for the first tasks and the coordinator; standbys are no more than help; to go back takes ten in a row.
LAUNCHERS = {"on": "14..24+2", "cold": "12+12", "off": "12+12"}


def launcher_refused(setting, error, takeover, seed):
    def run(count):
        with RefusedJob(setting, {"count": count, "rate": 15000, "seed": seed}, [f"--takeover={takeover}"]) as job:
            job.inject = f"clone:error={error}:when={LAUNCHERS[takeover]}"
            job.start(KILLS)
            status = job.wait()
            if status != 0:
                raise Failure(f"exit status {status}")
            if job.refused() < 2 or job.fired() < KILLS.count(",") + 1:
                raise EndedEarly(f"{job.refused()} forks were refused, {job.fired()} kill points fired")
            setting.count("forks refused, launcher", job.refused())
            setting.count("kills", job.fired())
            setting.count("gone back", len(job.events("recovery_started")))
            finish(setting, job)
    with_longer_jobs(run, 8000)


def finish(setting, job):
    os.unlink(os.path.join(job.directory, "trace"))
    job.check_end()
    setting.count("jobs")


def unable(setting):
    return no_tracing(setting) if shutil.which("strace") else "there is no strace here"


def make_cases(setting, random):
    for error in WORDS:
        for options in ([], ["--no-chain"], ["--takeover=off"])[:3 if setting.long else 1]:
            yield f"snapshots, {error} {options}", lambda s, e=error, o=options, n=random.randrange(9): snapshots_refused(s, e, o, n)
        for takeover in ("on", "cold", "off"):
            yield f"launcher, {error}, {takeover}", lambda s, e=error, t=takeover, n=random.randrange(9): launcher_refused(s, e, t, n)


if __name__ == "__main__":
    run_cases("crash.F11_fork_fails", __doc__, make_cases, unable)
