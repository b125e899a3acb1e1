#!/usr/bin/env python3
"""F27: the wall clock is set a day forward and back while the job runs, and between two runs of it; the machine's monotonic clock begins
anew between them, as after a boot. Timers that are due in an hour do not fire (crash_job fails if one does), those that are due in 3 ms
do, each once, also after the clock was set; checkpoints go on; the output is right."""
import datetime
import os
import signal
import struct

import oracle
from crash_run import Failure, Job, with_longer_jobs
from support import run_cases

DAY_NS = 86400 * 10**9
WEEK_MS = 7 * 86400 * 1000


class ClockedJob(Job):
    def set_clock(self, wall_ns, since_boot_ns=0):
        """In one store each, as a process reads them."""
        mode = "r+b" if os.path.exists(self.clock_path) else "w+b"
        with open(self.clock_path, mode, buffering=0) as file:
            file.write(struct.pack("<qq", wall_ns, since_boot_ns))

    @property
    def clock_path(self):
        return os.path.join(self.directory, "clock")

    def command(self):
        library = os.path.join(os.path.dirname(self.setting.program), "libset_clock.so")
        return ["/usr/bin/env", f"LD_PRELOAD={library}", f"WEIR_TEST_CLOCK={self.clock_path}"] + super().command()

    def timers_fired(self):
        """In what is committed so far."""
        begin = f"{oracle.KIND_TIMER}\t"
        return sum(text.startswith(begin) for text in self.check_committed()["output"])


def expect_events_of(job, days):
    """The job does see the clock that was set: its events, which are for people, have that day."""
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    event = job.events("checkpoint_completed")[-1]
    if not any((now - datetime.timedelta(minutes=ago)).strftime("%Y-%m-%dT") in event for ago in (0, 10)):
        raise Failure(f"the clock was not set: {event}")


def while_it_runs(setting, options, kill, jumps, seed):
    def run(count):
        with ClockedJob(setting, {"count": count, "seed": seed, "rate": 8000}, options) as job:
            job.set_clock(0)
            job.start(kill)
            for jump in jumps:
                job.wait_for(lambda: len(job.events("checkpoint_completed")) > 1, "two checkpoints")
                job.set_clock(jump * DAY_NS)
                fired, done = job.timers_fired(), len(job.events("checkpoint_completed"))
                job.wait_for(lambda: len(job.events("checkpoint_completed")) > done + 2, f"checkpoints after the clock was set by {jump} days")
                expect_events_of(job, jump)
                job.wait_for(lambda: job.timers_fired() > fired, f"timers that fire after the clock was set by {jump} days")
                setting.count("clock set while running")
            if job.wait() != 0:
                raise Failure(f"exit status {job.process.returncode}")
            job.check_end()
            setting.count("jobs")
    with_longer_jobs(run, 12000)


def between_runs(setting, options, wall_days, since_boot_days, seed):
    """The launcher is killed; the next run's clocks are others. What was due in a week is not, a day later."""
    def run(count):
        with ClockedJob(setting, {"count": count, "seed": seed, "rate": 10000}, options, [f"far-timer={WEEK_MS}"]) as job:
            job.set_clock(0)
            job.start()
            job.wait_for(lambda: job.timers_fired() > 10, "timers")
            os.kill(job.process.pid, signal.SIGKILL)
            job.wait()
            job.expect_all_gone()
            job.set_clock(wall_days * DAY_NS, since_boot_days * DAY_NS)
            done = len(job.events("checkpoint_completed"))
            job.start()
            job.wait_for(lambda: len(job.events("checkpoint_completed")) > done + 2, "checkpoints after the start")
            expect_events_of(job, wall_days)
            if job.wait() != 0:
                raise Failure(f"exit status {job.process.returncode}")
            job.check_end()
            setting.count("jobs")
            setting.count("started with other clocks")
    with_longer_jobs(run, 12000)


def make_cases(setting, random):
    for options, kill in (([], "t5:300@track,p5:6@sink"), (["--takeover=off"], None), (["--no-chain"], None))[:3 if setting.long else 2]:
        jumps = [1, -1, 0, -1, 1] if setting.long else [1, -1]
        yield (f"while it runs {options} {kill}",
               lambda s, o=options, k=kill, j=jumps, seed=random.randrange(7): while_it_runs(s, o, k, j, seed))
    for wall_days, since_boot_days in ((1, 100), (-1, 0), (0, 1), (-1, 1000), (1, 0))[:5 if setting.long else 2]:
        yield (f"between runs {wall_days} {since_boot_days}",
               lambda s, w=wall_days, b=since_boot_days, seed=random.randrange(7): between_runs(s, [], w, b, seed))


if __name__ == "__main__":
    run_cases("crash.F27_clocks", __doc__, make_cases)
