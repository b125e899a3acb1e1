#!/usr/bin/env python3
"""F31: the n-th request for memory or for a descriptor is refused in the launcher, coordinator, a task, its snapshot child, its standby; limits on
descriptors and file sizes come down on a running job and are lifted again. A start is refused in words or goes well; a running job gives up a
checkpoint, or goes back, and ends well; what it wrote is right each time."""
import os
import resource
import struct

from crash_run import EndedEarly, Failure, Job, with_longer_jobs
from support import run_cases

MEMORY, DESCRIPTORS = 0, 1
# the beginning of a process's name, kills, options
ROLES = (
    ("crash_job", None, []), ("coordinator", None, []), ("track/0", None, []), ("sink/0", None, []), ("file/0", None, []),
    ("snapshot:track/", None, []), ("snapshot:sink/", None, []), ("standby:sink/0", None, []),
    ("standby:track/0", "t5:40@track", []), ("track/0", "t5:40@track", ["--takeover=cold"]), ("sink/0", "p5:2@sink", ["--takeover=cold"]),
    ("track/0", "p5:2@sink", ["--takeover=off"]), ("sink/0", "p5:2@sink", ["--takeover=off"]), ("crash_job", "p5:2@sink", ["--takeover=off"]),
    ("coordinator", "k6:2@coordinator", []),
)
SAMPLES = 2
WORDS = ("emory", "open files", "No space left", "file table")
WORDS_OF_LIMITS = {resource.RLIMIT_NOFILE: "Too many open files", resource.RLIMIT_FSIZE: "File too large"}


class FailingJob(Job):
    """One call fails in its first start."""

    def plan(self, role, kind, n):
        with open(self.plan_path, "wb") as file:
            file.write(struct.pack("<16sQQQ", role.encode(), kind, n, 0))

    @property
    def plan_path(self):
        return os.path.join(self.directory, "plan")

    def command(self):
        if self.starts > 0:
            return super().command()
        library = os.path.join(os.path.dirname(self.setting.program), "libfail_call.so")
        return ["/usr/bin/env", f"LD_PRELOAD={library}", f"WEIR_TEST_FAIL={self.plan_path}"] + super().command()

    def calls(self):
        with open(self.plan_path, "rb") as file:
            return struct.unpack("<16sQQQ", file.read())[3]


def run_once(setting, place, kind, n, seed, count=2000):
    """Returns how many calls there were."""
    role, kill, options = place
    with FailingJob(setting, {"count": count, "seed": seed, "rate": 15000}, options,
                    ["fault=none"]) as job:  # processes may say that they fail
        job.plan(role, kind, n)
        job.start(kill)
        status = job.wait()
        calls = job.calls()
        if status not in (0, 1):
            raise Failure(f"call {n}: exit status {status}")
        if status == 1:
            setting.count("refused at start, in words")
            if not any(word in job.log() for word in WORDS):
                raise Failure(f"call {n}: exit status 1, and not a word of what was lacking")
            if job.events("checkpoint_completed"):
                raise Failure(f"call {n}: a job that ran has failed")
            job.expect_all_gone()
            job.start()
            if job.wait() != 0:
                raise Failure(f"call {n}: the next start fails as well: {job.process.returncode}")
        job.check_end()
        setting.count("jobs")
        if n > 0:
            setting.count(f"refused, {role}, {['memory', 'descriptor'][kind]}", calls >= n)
    return calls


def refuse(setting, place, kind, random):
    seed = random.randrange(4)
    count = 2000

    def look(longer):  # what is to be killed, or forked, may come too late for a short job
        nonlocal count
        count, total = longer, run_once(setting, place, kind, 0, seed, longer)
        if total == 0 and kind == MEMORY:
            raise EndedEarly("it asks for nothing: the test sees nothing")
        return total
    total = with_longer_jobs(look, count)
    if total == 0:
        return
    numbers = range(1, total + 1) if setting.long else sorted(random.sample(range(1, total + 1), min(SAMPLES, total)))
    for n in numbers:
        run_once(setting, place, kind, n, seed, count)


def limit_all(job, what, value):
    """Soft limits of all its processes but the coordinator, which ends the job in words where it cannot read the directory to go back."""
    pids = [job.process.pid] + [process.pid for process in job.processes() if process.name != "coordinator" or value < 0]
    for pid in pids:
        try:
            hard = resource.prlimit(pid, what)[1]
            resource.prlimit(pid, what, (value if value >= 0 else hard, hard))
        except ProcessLookupError:
            pass  # it has ended


def limits_come_down(setting, what, value, options, seed):
    """Of a running job, with all its processes; checkpoints fail, and after it they do not."""
    def run(count):
        with Job(setting, {"count": count, "seed": seed, "rate": 6000}, ["--checkpoint-tolerated-failures", "unlimited", *options],
                 ["fault=none"]) as job:
            job.start()
            job.wait_for(lambda: len(job.events("checkpoint_completed")) > 1, "two checkpoints")
            limit_all(job, what, value)
            # Processes that are forked meanwhile inherit it.
            # By the log: the event log may be as large as a file may be.
            job.wait_for(lambda: job.log().count(WORDS_OF_LIMITS[what]) > 1, "a limit that is met twice")
            limit_all(job, what, -1)
            done = len(job.events("checkpoint_completed"))
            job.wait_for(lambda: (limit_all(job, what, -1), len(job.events("checkpoint_completed")) > done + 2)[1], "checkpoints go on")
            if job.wait() != 0:
                raise Failure(f"exit status {job.process.returncode}")
            job.check_end()
            setting.count("jobs")
            setting.count("limits that came down")
            setting.count("gone back under a limit", len(job.events("recovery_started")))
    with_longer_jobs(run, 9000)


def make_cases(setting, random):
    for place in ROLES:
        for kind in (MEMORY, DESCRIPTORS):
            own = type(random)(random.randrange(1 << 30))
            yield (f"{place[0]} {['memory', 'descriptors'][kind]} {place[1] or ''} {' '.join(place[2])}",
                   lambda s, p=place, k=kind, o=own: refuse(s, p, k, o))
    for name, what, value in (("open files", resource.RLIMIT_NOFILE, 4), ("file size", resource.RLIMIT_FSIZE, 16384)):
        for options in ([], ["--takeover=off"], ["--io=uring"])[:3 if setting.long else 1]:
            yield (f"{name} {options}", lambda s, w=what, v=value, o=options, seed=random.randrange(4): limits_come_down(s, w, v, o, seed))


if __name__ == "__main__":
    run_cases("crash.F31_resources", __doc__, make_cases)
