#!/usr/bin/env python3
"""The newest checkpoint is damaged while nothing runs. The next start says which file is wrong and where. Where no sink had made that
checkpoint's output visible yet, it goes on from the one before, to the exact output. Where one had, going on would write records
twice: it refuses at once, in words, and leaves everything as it is."""
import glob
import os
import re

from crash_run import Failure, Job, with_longer_jobs
from support import run_cases


BLOCK_BYTES = 4096


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


def replace_block(path, offset, block):
    """False where that changes nothing."""
    with open(path, "r+b") as file:
        file.seek(offset)
        old = file.read(len(block))
        file.seek(offset)
        file.write(block)
    return old != block


def read_blocks(path):
    with open(path, "rb") as file:
        data = file.read()
    return [data[at:at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]


def zero_block(job, random):
    path = random.choice(newest_snapshots(job))
    used = [i for i, block in enumerate(read_blocks(path)) if any(block)]
    replace_block(path, random.choice(used) * BLOCK_BYTES, bytes(BLOCK_BYTES))
    return os.path.basename(path)


def swap_blocks(job, random):
    path = random.choice(newest_snapshots(job))
    blocks = read_blocks(path)
    first, second = random.choice([(i, j) for i in range(len(blocks)) for j in range(i) if blocks[i] != blocks[j]])
    replace_block(path, first * BLOCK_BYTES, blocks[second])
    replace_block(path, second * BLOCK_BYTES, blocks[first])
    return os.path.basename(path)


def stale_block(job, random):
    """A block of the same task's snapshot in the checkpoint before."""
    newest = {os.path.basename(path)[20:]: path for path in newest_snapshots(job)}
    number = lambda path: int(os.path.basename(path)[:20])
    pairs = [(newest[name], path) for path in glob.glob(os.path.join(job.checkpoints, "snapshots", "*"))
             if (name := os.path.basename(path)[20:]) in newest and number(path) < number(newest[name])]
    random.shuffle(pairs)
    for path, old in pairs:
        blocks = list(enumerate(read_blocks(old)))[:os.path.getsize(path) // BLOCK_BYTES]
        random.shuffle(blocks)
        if any(replace_block(path, i * BLOCK_BYTES, block) for i, block in blocks):  # the first that differs
            return os.path.basename(path)
    raise Failure("no snapshot of the checkpoint before differs from the newest one's")


def empty_manifest(job, random):
    os.truncate(newest_manifest(job), 0)
    return os.path.basename(newest_manifest(job))


def changed_version(job, random):
    """The version stands behind the magic. The checksum does not vouch for this one: it is damage. Of one that is newer indeed:
    integration/test_bad_input.c."""
    path = newest_manifest(job)
    with open(path, "r+b") as file:
        file.seek(8)
        version = int.from_bytes(file.read(4), "little")
        file.seek(8)
        file.write((version + 1).to_bytes(4, "little"))
    return os.path.basename(path)


def duplicate_manifest(job, random):
    """The one before, under the newest one's name."""
    before, newest = sorted(glob.glob(os.path.join(job.checkpoints, "manifest-*")))[-2:]
    with open(before, "rb") as old, open(newest, "wb") as file:
        file.write(old.read())
    return os.path.basename(newest)


def junk(job, random):
    """What is no checkpoint, named as if it were one: a directory, a pipe nobody writes to, a link to nowhere, an empty file."""
    manifest = newest_manifest(job)
    newest = int(os.path.basename(manifest)[len("manifest-"):])
    name = lambda more: os.path.join(job.checkpoints, f"manifest-{newest + more:020d}")
    os.mkdir(name(1))
    os.mkfifo(name(2))
    os.symlink("/nonexistent/manifest", name(3))
    open(name(4), "wb").close()
    pipe = os.path.join(job.checkpoints, "snapshots", f"{newest + 4:020d}-words-0-g1-a1.snap")
    os.mkfifo(pipe)
    other = os.path.join(job.checkpoints, "manifest-abc")
    open(other, "wb").close()
    job.junk = [name(1), name(2), name(3), name(4), pipe, other]
    if random.randrange(2):
        os.unlink(manifest)  # else the whole one below all that is the newest
    return os.path.basename(name(2))


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


def remove_junk(job):
    for path in getattr(job, "junk", ()):
        if not os.path.lexists(path):
            raise Failure(f"{path} was deleted, although nobody knows whose it is")
        (os.rmdir if os.path.isdir(path) else os.unlink)(path)


def say_in_log(name, said):
    if not re.search(rf"checkpoint \d+ is (damaged and is )?skipped: .*{re.escape(name)}", said):
        raise Failure(f"{name} is damaged, and the log does not say so:\n{said[:1500]}")
    if not re.search(r"byte \d+|\d+ bytes|missing|No such file|holds checkpoint|no regular file", said):
        raise Failure(f"the log does not say where {name} is damaged:\n{said[:1500]}")


def make_case(damage, random, output_visible, mode):
    def run(setting):
        with_longer_jobs(lambda count: run_one(setting, count), 16000)

    def run_one(setting, count):
        options = ["--checkpoints-retained=3", f"--restore-mode={mode}"]
        with Job(setting, {"count": count, "rate": 16000, "timers": 0}, options) as job:
            run_until_killed(job, output_visible)
            before = job.check_committed()
            name = damage(job, random)
            if name.startswith("manifest-"):  # unreadable: it may name any snapshot up to its own, and nothing is deleted on doubt
                job.snapshots_in_doubt_up_to = int(name[len("manifest-"):]) + (2 if hasattr(job, "junk") else 0)
            log_bytes = len(job.log())
            job.start()
            status = job.wait()
            said = job.log()[log_bytes:]
            say_in_log(name, said)
            remove_junk(job)
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
    return f"{damage.__name__.replace('_', ' ')}, output {'visible' if output_visible else 'not visible yet'}, {mode}", run


def make_cases(setting, random):
    for i in range(8 if setting.long else 2):
        mode = ["lazy", "eager"][i % 2]
        for damage in (flip_snapshot, truncate_snapshot, remove_snapshot, zero_block, swap_blocks, stale_block, flip_manifest, truncate_manifest,
                       empty_manifest, changed_version, duplicate_manifest, junk):
            yield make_case(damage, type(random)(random.randrange(1 << 30)), False, mode)
        yield make_case(random.choice((flip_snapshot, truncate_manifest)), type(random)(random.randrange(1 << 30)), True, mode)


if __name__ == "__main__":
    run_cases("crash.damaged", __doc__, make_cases)
