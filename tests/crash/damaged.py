#!/usr/bin/env python3
"""The newest checkpoint is damaged while nothing runs. The next start says which file is wrong and where. Where no sink had made that
checkpoint's output visible yet, it goes on from the one before, to the exact output. Where one had, going on would write records
twice: it refuses at once, in words, and leaves everything as it is."""
import glob
import os
import re

from crash_run import Failure, Job, with_longer_jobs
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


def run_until_killed(job, output_visible):
    """Several checkpoints are on disk; the sinks have heard of the newest one, or the coordinator stood still before it told them."""
    job.start(kill="p5:5:stop@tally" if output_visible else "k7:5:stop@coordinator")
    if output_visible:
        # No later checkpoint can complete without the task that stopped.
        job.wait_for(lambda: job.fired() == 1 and len(job.events("checkpoint_completed")) >= 5 and job.committed_files("tallies"),
                     "five checkpoints and their output")
    else:
        job.wait_for(lambda: job.fired() == 1, "the coordinator stops before it tells the sinks")
    job.process.kill()
    job.process.wait()
    job.expect_all_gone()


def say_in_log(name, said):
    if not re.search(rf"checkpoint \d+ is (damaged and is )?skipped: .*{re.escape(name)}", said):
        raise Failure(f"{name} is damaged, and the log does not say so:\n{said[:1500]}")
    if not re.search(r"byte \d+|\d+ bytes|missing|No such file", said):
        raise Failure(f"the log does not say where {name} is damaged:\n{said[:1500]}")


def make_case(damage, random, output_visible):
    def run(setting):
        with_longer_jobs(lambda count: run_one(setting, count), 16000)

    def run_one(setting, count):
        with Job(setting, {"count": count, "rate": 16000, "timers": 0}, ["--checkpoints-retained=3"]) as job:
            run_until_killed(job, output_visible)
            before = job.check_committed()
            name = damage(job, random)
            if name.startswith("manifest-"):  # unreadable: it may name any snapshot up to its own, and nothing is deleted on doubt
                job.snapshots_in_doubt_up_to = int(name[len("manifest-"):])
            log_bytes = len(job.log())
            job.start()
            status = job.wait()
            said = job.log()[log_bytes:]
            say_in_log(name, said)
            if not output_visible:
                if status != 0:
                    raise Failure(f"exit status {status}:\n{said[:1500]}")
                job.check_end()
                setting.count("went on from the one before, output exact")
                return
            if status == 0 or "would be written twice" not in said:
                raise Failure(f"exit status {status}, though the damaged checkpoint's output is visible:\n{said[:1500]}")
            if job.check_committed() != before:
                raise Failure("the refused start changed the output")
            setting.count("refused, the damaged one's output was visible")
    return f"{damage.__name__.replace('_', ' ')}, output {'visible' if output_visible else 'not visible yet'}", run


def make_cases(setting, random):
    for _ in range(8 if setting.long else 2):
        for damage in (flip_snapshot, truncate_snapshot, remove_snapshot, flip_manifest, truncate_manifest):
            yield make_case(damage, type(random)(random.randrange(1 << 30)), False)
        yield make_case(random.choice((flip_snapshot, truncate_manifest)), type(random)(random.randrange(1 << 30)), True)


if __name__ == "__main__":
    run_cases("crash.damaged", __doc__, make_cases)
