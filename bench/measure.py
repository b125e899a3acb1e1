"""What every figure needs: results and how they print, programs and their CPU time, running jobs, the machine."""

import glob
import json
import mmap
import os
import platform
import shutil
import signal
import statistics
import struct
import subprocess
import time


class BenchError(Exception):
    """A figure could not be measured; the text says why and what to do."""


class Figure:
    """One line of output. `samples` are the values of the runs; the value is their median, unless given."""

    def __init__(self, name, samples, unit, command, compare=(), bar=None, value=None, note=None):
        self.name = name
        self.samples = list(samples)
        self.unit = unit
        self.command = command
        self.compare = [{"name": n, "value": v} for n, v in compare]
        self.bar = bar  # (">=" or "<=", number)
        self.value = statistics.median(self.samples) if value is None else value
        self.note = note

    def ok(self):
        if self.bar is None:
            return None
        return self.value >= self.bar[1] if self.bar[0] == ">=" else self.value <= self.bar[1]

    def as_json(self):
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "min": min(self.samples),
            "max": max(self.samples),
            "runs": len(self.samples),
            "samples": self.samples,
            "compare": self.compare,
            "bar": None if self.bar is None else f"{self.bar[0]} {number(self.bar[1])}",
            "ok": self.ok(),
            "command": self.command,
            "note": self.note,
        }

    def as_text(self):
        spread = f"({number(min(self.samples))}..{number(max(self.samples))})"
        parts = [f"{c['name']} {number(c['value'])}" for c in self.compare]
        if self.bar is not None:
            parts.append(f"bar {self.bar[0]} {number(self.bar[1])}: {'reached' if self.ok() else 'MISSED'}")
        if self.note:
            parts.append(self.note)
        return f"{self.name:<34} {number(self.value):>9} {self.unit:<18} {spread:<20} {'; '.join(parts)}"


def number(value):
    """Three significant digits, without an exponent."""
    if value is None:
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Context:
    """Where programs and data are, and how often to run."""

    def __init__(self, build, scratch, runs, progress, quick=False):
        self.build = build
        self.scratch = scratch
        self.runs_wanted = runs or (1 if quick else 0)
        self.quick = quick  # a first look: as little as gives a figure at all
        self.progress = progress

    def runs(self, standard):
        return self.runs_wanted or standard

    def program(self, name):
        path = os.path.join(self.build, "bench", name)
        if not os.access(path, os.X_OK):
            raise BenchError(f"{path} is missing: cmake --preset release && cmake --build --preset release")
        return path

    def say(self, text):
        if self.progress:
            print(f"  ... {text}", file=self.progress, flush=True)

    def fresh_directory(self, name):
        path = os.path.join(self.scratch, name)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path, mode=0o700)  # a checkpoint directory is nobody else's
        return path

    def shown(self, arguments):
        """The command as a reader can type it."""
        text = " ".join(arguments)
        return text.replace(self.build + os.sep, "$BUILD/").replace(self.scratch, "$SCRATCH")


def output_of(arguments, timeout_s=600):
    """Standard output of a program that ends by itself; its failure is the figure's."""
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode != 0:
        raise BenchError(f"{arguments[0]} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


def timed(arguments):
    """Wall and CPU seconds of a program and of all its descendants that were waited for (a launcher reaps all of a job)."""
    begun = time.monotonic()
    child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    text = child.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(child.pid, 0)
    wall_s = time.monotonic() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise BenchError(f"{arguments[0]} ended with {child.returncode}: {text.strip()[-400:]}")
    return wall_s, usage.ru_utime + usage.ru_stime


class Probe:
    """struct probe of random_updates.c, shared with the running job."""

    BYTES = 262144
    HEAD = struct.Struct("=QQqQQQqQ")
    ROW = struct.Struct("=qq")
    ROWS = 4096

    def __init__(self, path):
        self.path = path
        with open(path, "wb") as file:
            file.truncate(self.BYTES)
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), self.BYTES)

    def head(self, index):
        return self.HEAD.unpack_from(self.memory, 0)[index]

    def records(self):
        return self.head(0)

    def rows(self, count_index, table, first):
        """The rows from number `first` on that are still there."""
        count = self.head(count_index)
        place = self.HEAD.size + table * self.ROWS * self.ROW.size
        return [self.ROW.unpack_from(self.memory, place + n % self.ROWS * self.ROW.size) for n in range(max(first, count - self.ROWS), count)]

    def writer_count(self):
        return self.head(4)

    def writers(self, first):
        """(pid, time of its first update in ns), in the order of their coming."""
        return self.rows(4, 0, first)

    def gap_count(self):
        return self.head(5)

    def gaps(self, first):
        """(end, length) in ns of the times in which the sink got nothing."""
        return self.rows(5, 1, first)

    def stall_count(self):
        return self.head(7)

    def stalls(self, first):
        """(end, length) in ns of the times in which a source that looks at the clock all the time did not: it had no processor, or its ring was full."""
        return self.rows(7, 2, first)


class Job:
    """A job that runs until it is stopped: `with Job(context, program, [options]) as job`."""

    def __init__(self, context, program, directory, options, stdin=subprocess.DEVNULL):
        self.program = context.program(program)
        self.directory = directory
        self.arguments = [self.program, "run", "--quiet", "--log-level=error", f"--directory={directory}", *options]
        self.stdin = stdin

    def __enter__(self):
        self.child = subprocess.Popen(self.arguments, stdin=self.stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            self.wait_until_running()
        except BenchError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:  # the launcher's end is the end of all its processes
            self.child.send_signal(signal.SIGKILL)
        self.child.wait()
        self.child.stderr.close()
        if self.child.stdin is not None:
            self.child.stdin.close()

    def status(self):
        done = subprocess.run([self.program, "status", "--json", f"--directory={self.directory}"], capture_output=True, text=True,
                              timeout=30, check=False)
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout else None

    def wait_until(self, is_so, what, timeout_s=300, pause_s=0.02):
        deadline = time.monotonic() + timeout_s
        while not is_so():
            if self.child.poll() is not None:
                raise BenchError(f"{self.program} ended early: {self.child.stderr.read().decode(errors='replace').strip()[-400:]}")
            if time.monotonic() > deadline:
                raise BenchError(f"{self.program}: {what} did not come about within {timeout_s} s")
            time.sleep(pause_s)

    def wait_until_running(self):
        def runs():
            status = self.status()
            return status is not None and status.get("state") == "running"
        self.wait_until(runs, "running", 60)

    def task(self, operator):
        """The task that the operator is in."""
        return next(t for t in self.status()["tasks"] if operator in t["operators"])


def cpu_ns(pid):
    """CPU time of a single-threaded process, and of its children that it waited for (those in steps of a clock tick)."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        own = int(file.read().split()[0])
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    ticks = int(fields[13]) + int(fields[14])
    return own + ticks * 1000000000 // os.sysconf("SC_CLK_TCK")


def private_kib(pid):
    """Memory that only this process maps, without rings: (all of it, of that shared memory: state, commit records)."""
    total = shared = 0
    name = ""
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            if not words[0].endswith(":"):
                name = words[5] if len(words) > 5 else ""
            elif words[0] in ("Private_Clean:", "Private_Dirty:") and not name.startswith("/memfd:ring"):
                total += int(words[1])
                shared += int(words[1]) if name.startswith("/memfd:") else 0
    return total, shared


def standby_kib(pid):
    """(private memory, page tables) of a process."""
    private, tables = private_kib(pid)[0], 0
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        for line in file:
            if line.startswith("VmPTE:"):
                tables = int(line.split()[1])
    return private, tables


def read_line(path, fallback="unknown"):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return fallback


def commit_of(root):
    """The commit that a tree is at, with "-changed" where tracked files differ from it."""
    done = subprocess.run(["git", "describe", "--always", "--abbrev=12", "--dirty=-changed"], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def machine_facts():
    model = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    memory_kib = next(int(line.split()[1]) for line in open("/proc/meminfo", encoding="ascii") if line.startswith("MemTotal"))
    governors = {read_line(path) for path in glob.glob("/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")}
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_kib / 1048576, 1),
        "kernel": platform.release(),
        "governor": ",".join(sorted(governors)) or "none",
        "shmem_enabled": read_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }
