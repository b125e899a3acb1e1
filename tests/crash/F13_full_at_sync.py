#!/usr/bin/env python3
"""F13, M2: the checkpoints' ext4 lies in a file on a tmpfs that is full: writes succeed, and the sync fails; one that were tried again would
succeed with the data lost. Checkpoints are given up meanwhile and the stream goes on; with room again they complete. At the end all is killed and the disk
mounted anew, so that only what it really has is left: the same command goes on from there. Needs root and loop devices; ends with 77 elsewhere."""
import errno
import os
import re
import subprocess

from crash_run import EndedEarly, Failure, Job, wait_until, with_longer_jobs
from power_cut import Disk, skip_unless_possible
from support import run_cases

HOST_MIB = 96
DISK_MIB = 64
OPTIONS = ["--checkpoint-tolerated-failures=unlimited"]


class ThinDisk(Disk):
    """Its metadata and journal have their room from the beginning, so that only the data of files finds none."""

    def __init__(self, path):
        self.host = path + ".host"
        os.makedirs(self.host, exist_ok=True)
        try:
            self.run("mount", "-t", "tmpfs", "-o", f"size={HOST_MIB}m", "tmpfs", self.host)
        except Failure:
            os.rmdir(self.host)
            raise
        self.path, self.image = path, os.path.join(self.host, "image")
        os.makedirs(path, exist_ok=True)
        with open(self.image, "wb") as image:
            image.write(bytes(DISK_MIB << 20))
        # Zeros are written, not left out: what is written here has its place for good.
        self.run("mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", self.image)
        with open(self.image, "r+b") as image:
            image.seek(0)
            content = image.read()
            image.seek(0)
            image.write(content)
        self.punch_what_is_free()
        self.mount()

    def punch_what_is_free(self):
        listing = subprocess.run(["dumpe2fs", self.image], check=True, capture_output=True, text=True).stdout
        ranges = [part for line in re.findall(r"^  Free blocks: (.+)$", listing, re.M) for part in line.split(", ")]
        for part in ranges:
            first, last = (list(map(int, part.split("-"))) * 2)[:2]
            self.run("fallocate", "--punch-hole", "--offset", str(first * 4096), "--length", str((last - first + 1) * 4096), self.image)

    def fill(self):
        """Takes all that the host has left."""
        with open(os.path.join(self.host, "filler"), "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def make_room(self):
        os.unlink(os.path.join(self.host, "filler"))

    def mount_again(self):
        """Whatever was only in memory is gone."""
        self.unmount()
        done = subprocess.run(["e2fsck", "-p", self.image], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode > 1:
            raise Failure(f"e2fsck: {done.stdout}")
        self.mount()

    def remove(self):
        self.unmount()
        os.rmdir(self.path)
        self.run("umount", self.host)
        os.rmdir(self.host)


class JobOnThinDisk(Job):
    """`part` of it is there: its checkpoints, its manifests alone (snapshots are on another disk), or a sink's output."""

    def __init__(self, setting, disk, part, parameters, options):
        super().__init__(setting, parameters, options)
        self.disk = disk
        self.part = part
        if part != "output":
            self.checkpoints = os.path.join(disk.path, "checkpoints")
        self.places = {"manifests": ("snapshots", os.path.join(self.checkpoints, "snapshots")),
                       "output": (os.path.join(disk.path, "output"), os.path.join(self.directory, "output"))}

    def __enter__(self):
        super().__enter__()
        if self.part in self.places:
            source, target = (os.path.join(self.directory, path) for path in self.places[self.part])
            os.makedirs(source, exist_ok=True)
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)  # it may be the checkpoint directory
            os.makedirs(target, exist_ok=True)
            Disk.run("mount", "--bind", source, target)
        return self

    def unbind(self):
        if self.part in self.places:
            Disk.run("umount", self.places[self.part][1])

    def bind_again(self):
        if self.part in self.places:
            source, target = (os.path.join(self.directory, path) for path in self.places[self.part])
            Disk.run("mount", "--bind", source, target)

    def __exit__(self, kind, error, trace):
        self.kill_all()
        self.unbind()
        super().__exit__(kind, error, trace)


def full_for_a_while(setting, number, part, options, seed):
    def run(count):
        disk = ThinDisk(os.path.join(setting.scratch, f"thin-{os.getpid()}-{number}"))
        try:
            with JobOnThinDisk(setting, disk, part, {"count": count, "rate": 6000, "seed": seed}, OPTIONS + options) as job:
                run_one(setting, job, disk)
        finally:
            disk.remove()
    with_longer_jobs(run, 12000)


def given_up(job):
    """By the log: the event log may be on that disk, too."""
    return [line for line in job.log().splitlines() if "aborted: " in line]


def run_one(setting, job, disk):
    job.start()
    job.wait_for(lambda: len(job.events("checkpoint_completed")) > 1, "two checkpoints")
    disk.fill()
    ended = lambda: job.process.poll() is not None
    wait_until(lambda: len(given_up(job)) > 2 or ended(), "checkpoints are given up")
    disk.make_room()
    if not ended():
        known = len(job.events("checkpoint_completed"))
        wait_until(lambda: len(job.events("checkpoint_completed")) > known + 2 or ended(), "checkpoints complete again")
    if ended() and job.process.returncode == 0:
        job.ended_before("the disk was full for a while")
    # A file system that has become read-only ends the job, in words.
    setting.count("jobs that ended on a read-only disk", ended())
    if ended() and "Read-only file system" not in job.log():
        raise Failure(f"the job failed: status {job.process.returncode}")
    syncs = sum("sync" in line for line in given_up(job))
    setting.count("checkpoints given up", len(given_up(job)))
    setting.count("for a sync that failed", syncs)
    job.kill_all()
    job.unbind()
    disk.mount_again()
    job.bind_again()
    log_bytes = len(job.log())
    job.check_committed()
    job.run_to_end()
    job.check_end()
    if "is skipped" in job.log()[log_bytes:]:
        raise Failure("a checkpoint that was complete is not whole on the disk")
    setting.count("jobs")
    if job.part != "checkpoints" and syncs == 0:
        raise EndedEarly("no sync failed")


def make_cases(setting, random):
    number = 0
    for part in ("checkpoints", "manifests", "output"):
        for options in ([], ["--no-chain"], ["--io=uring"])[:3 if setting.long else 1]:
            number += 1
            yield f"{part} {options}", lambda s, n=number, p=part, o=options, seed=random.randrange(9): full_for_a_while(s, n, p, o, seed)


if __name__ == "__main__":
    skip_unless_possible()
    run_cases("crash.F13_full_at_sync", __doc__, make_cases)
