#!/usr/bin/env python3
"""F22: a job whose checkpoints, input and output are on an ext4 that loses its power (loop device, the file system's shutdown
ioctl without writing its log, mount again), several times in its life: the same command goes on to the exact end, and what was visible
stays."""
import ctypes
import fcntl
import os
import subprocess
import sys
import tempfile
import time

from crash_run import EndedEarly, Failure, Job, wait_until, with_longer_jobs
from support import run_cases

CLONE_NEWNS = 0x20000
EXT4_IOC_SHUTDOWN = 0x8004587D
CUT_LOG_LOST = 2


class Disk:
    """A mount in this process's own namespace: gone when the process is, and its loop device with it."""

    def __init__(self, path):
        self.path = path
        self.image = path + ".img"
        os.makedirs(path, exist_ok=True)
        with open(self.image, "wb") as image:
            image.truncate(256 << 20)
        try:
            self.run("mkfs.ext4", "-q", "-F", self.image)
            self.mount()
        except Failure:
            os.rmdir(path)
            os.unlink(self.image)
            raise

    @staticmethod
    def run(*command):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise Failure(f"{' '.join(command)}: {done.stdout.strip()}")

    def mount(self):
        self.run("mount", "-o", "loop,noatime,commit=300", self.image, self.path)

    def sync(self):
        self.run("sync", "-f", self.path)

    def cut(self):
        handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(handle, EXT4_IOC_SHUTDOWN, CUT_LOG_LOST.to_bytes(4, sys.byteorder))
        finally:
            os.close(handle)

    def unmount(self):
        def tried():
            return subprocess.run(["umount", self.path], stderr=subprocess.DEVNULL, check=False).returncode == 0
        wait_until(tried, f"{self.path} can be unmounted")

    def remove(self):
        self.unmount()
        os.rmdir(self.path)
        os.unlink(self.image)


class JobOnDisk(Job):
    """Its log alone is elsewhere: it would be lost as well."""

    def __init__(self, setting, disk, parameters, options):
        super().__init__(setting, parameters, options)
        self.log_path = self.directory + ".log"
        self.directory = os.path.join(disk.path, "job")
        self.checkpoints = os.path.join(self.directory, "checkpoints")
        self.disk = disk

    def cut_power(self):
        self.disk.cut()
        self.kill_all()
        self.expect_all_gone()
        self.disk.unmount()
        self.disk.mount()
        os.truncate(self.log_path, 0)  # what processes said about a disk that failed under them

    def __exit__(self, kind, error, trace):
        super().__exit__(kind, error, trace)
        if kind is None or issubclass(kind, EndedEarly):
            os.unlink(self.log_path)


def make_case(number, seed, random, cuts):
    def run(setting):
        with_longer_jobs(lambda count: run_one(setting, count), 16000)

    def run_one(setting, count):
        options = [[], ["--no-chain"], ["--io=pwrite"]][number % 3]
        disk = Disk(os.path.join(setting.scratch, f"power-{os.getpid()}-{number}"))
        try:
            with JobOnDisk(setting, disk, {"count": count, "rate": 8000, "seed": seed}, options) as job:
                disk.sync()
                cut = False
                for _ in range(cuts):
                    job.start()
                    time.sleep(random.uniform(0.02, 0.4))  # the chance of this test, not a wait for anything
                    if job.process.poll() is not None:
                        break
                    if os.path.isdir(os.path.join(job.directory, "output")):
                        job.check_committed()
                    job.cut_power()
                    cut = True
                    setting.count("power cuts")
                if not cut:
                    raise EndedEarly("the job ended before the power was cut once")
                setting.count("files seen before a cut and again at the end", len(job.seen))
                job.run_to_end()
                job.check_end()
                setting.count("jobs")
        finally:
            disk.remove()
    return f"F22 job {number} seed {seed}", run


def make_cases(setting, random):
    for number in range(12 if setting.long else 3):
        yield make_case(number, random.randrange(1 << 30), type(random)(random.randrange(1 << 30)), 8)


def own_mounts():
    """False: not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    return (os.geteuid() == 0 and os.path.exists("/dev/loop-control") and libc.unshare(CLONE_NEWNS) == 0 and
            subprocess.run(["mount", "--make-rprivate", "/"], check=False).returncode == 0)


def skip_unless_possible():
    """A container may have root and no loop devices."""
    why = "needs root and loop devices"
    if own_mounts():
        try:
            with tempfile.TemporaryDirectory() as scratch:
                Disk(os.path.join(scratch, "probe")).remove()
                return
        except Failure as failure:
            why = failure
    print(f"skipped: no ext4 on a loop device can be mounted here ({why})")
    sys.exit(77)


if __name__ == "__main__":
    skip_unless_possible()
    run_cases("crash.power_cut", __doc__, make_cases)
