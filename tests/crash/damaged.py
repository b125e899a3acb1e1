#!/usr/bin/env python3
"""The newest checkpoint is damaged while nothing runs: the next start says which file is wrong and where, goes on from the one before, and
the output is exact."""
import glob
import os
import re
import signal

from crash_run import Failure, Job, wait_until
from support import run_cases


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x40]))


def newest_manifest(job):
    return sorted(glob.glob(os.path.join(job.checkpoints, "manifest-*")))[-1]


def newest_snapshots(job):
    """Snapshot files that only the newest manifest names."""
    manifests = sorted(glob.glob(os.path.join(job.checkpoints, "manifest-*")))
    with open(manifests[-1], "rb") as file:
        newest = file.read()
    return [path for path in sorted(glob.glob(os.path.join(job.checkpoints, "snapshots", "*"))) if
            os.path.basename(path).encode() in newest and os.path.getsize(path) > 0]


def flip_snapshot(job, random):
    path = random.choice(newest_snapshots(job))
    flip(path, random.randrange(os.path.getsize(path)))
    return os.path.basename(path)


def truncate_snapshot(job, random):
    path = random.choice(newest_snapshots(job))
    os.truncate(path, random.randrange(os.path.getsize(path)))
    return os.path.basename(path)


def remove_snapshot(job, random):
    path = random.choice(newest_snapshots(job))
    os.unlink(path)
    return os.path.basename(path)


def flip_manifest(job, random):
    flip(newest_manifest(job), random.randrange(os.path.getsize(newest_manifest(job))))
    return os.path.basename(newest_manifest(job))


def truncate_manifest(job, random):
    os.truncate(newest_manifest(job), random.randrange(os.path.getsize(newest_manifest(job))))
    return os.path.basename(newest_manifest(job))


def run_until_killed(job):
    """With at least two checkpoints on disk, and their files the only ones that count."""
    job.start()
    wait_until(lambda: len(job.events("checkpoint_completed")) >= 4 or job.process.poll() is not None, "four checkpoints")
    os.kill(job.process.pid, signal.SIGKILL)
    job.process.wait()
    job.expect_all_gone()
    if len(glob.glob(os.path.join(job.checkpoints, "manifest-*"))) < 2:
        raise Failure("fewer than two checkpoints are on disk")


def make_case(damage, random):
    def run(setting):
        # Retained 3: what the newest one has committed must not be taken back, so its sinks must not have heard of it.
        with Job(setting, {"count": 16000, "rate": 16000, "timers": 0}, ["--checkpoints-retained=3"]) as job:
            run_until_killed(job)
            name = damage(job, random)
            log_before = len(job.log())
            job.start()
            status = job.wait()
            said = job.log()[log_before:]
            if not re.search(rf"checkpoint \d+ is (damaged and is )?skipped: .*{re.escape(name)}", said):
                raise Failure(f"{name} is damaged, and the log does not say so:\n{said[:1500]}")
            if not re.search(r"offset \d+|bytes|missing|No such file", said):
                raise Failure(f"the log does not say where {name} is damaged:\n{said[:1500]}")
            if status == 0:
                job.check_end()
                setting.count("went on from the one before, output exact")
                return
            # Its output was committed already: going back behind it would write it twice. Refusing that is right, in words.
            if "would be written twice" not in said and "newer than the restored checkpoint" not in said:
                raise Failure(f"exit status {status}:\n{said[:1500]}")
            job.check_committed()
            setting.count("refused: the damaged one's output was committed already")
    return damage.__name__.replace("_", " "), run


def make_cases(setting, random):
    for _ in range(8 if setting.long else 2):
        for damage in (flip_snapshot, truncate_snapshot, remove_snapshot, flip_manifest, truncate_manifest):
            yield make_case(damage, type(random)(random.randrange(1 << 30)))


if __name__ == "__main__":
    run_cases("crash.damaged", __doc__, make_cases)
