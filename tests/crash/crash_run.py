"""One job of jobs/crash_job.c in a directory of its own: started, watched, killed, and its output compared with the oracle's.

Nothing here knows how the engine works, but for the names of its files and processes.
"""
import collections
import glob
import hashlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import oracle

DEADLINE_S = 300.0  # far beyond what a loaded machine needs
Process = collections.namedtuple("Process", "pid name state session began")  # began: in ticks, since the machine's start
# What a task may die of without being killed: recovered from, and so not to be seen in the output.
OWN_FAULTS = re.compile(r".*(?:AddressSanitizer|LeakSanitizer|runtime error:|check failed|assertion|killed by signal (?!9\b)\d|"
                        r"exited with status).*", re.I)
ROW_COLUMNS = ("kind", "source", "sequence", "key", "count", "sum", "extra", "last")


class Failure(Exception):
    """What the engine did wrong, in words."""


class EndedEarly(Failure):
    """The job was at its end before the thing that a test waits for came about: it needs a longer job."""


def expected(parameters, cache={}):
    name = tuple(sorted(parameters.items()))
    if name not in cache:
        cache[name] = oracle.expected_output(parameters)
    return cache[name]


def read_process(pid):
    """None where it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            text = stat.read()
    except OSError:
        return None
    name, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
    return Process(pid, name, rest[0], int(rest[3]), int(rest[19])) if rest[0] not in "ZX" else None


def session_processes(session):
    """The living processes of a session, whoever their parent is by now."""
    found = [read_process(int(entry)) for entry in os.listdir("/proc") if entry.isdigit()]
    return [process for process in found if process is not None and process.session == session]


def age_order(process):
    """The oldest first; process ids begin anew at some time."""
    return process.began, process.pid


def send(process, number):
    """Signals this process and no other that may have its number by now. False: it has ended."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        now = read_process(process.pid)
        if now is None or now.session != process.session:
            return False
        signal.pidfd_send_signal(handle, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


def wait_until(condition, what, deadline_s=DEADLINE_S):
    begun = time.monotonic()
    while True:
        looked = time.monotonic()
        value = condition()
        if value:
            return value
        now = time.monotonic()
        if now > begun + deadline_s:
            raise Failure(f"after {deadline_s:.0f} s still not: {what}")
        time.sleep(max(0.002, now - looked))  # to look takes time of a processor that the job needs


class Job:
    """Use as a context manager: whatever happens, its processes are ended and its directory goes (but for a failure's)."""

    numbers = itertools.count()

    def __init__(self, setting, parameters, options=(), settings=(), expected_parameters=None):
        self.parameters = dict({"count": 6000, "keys": 50, "seed": 1, "timers": 1}, **parameters)
        self.expected_parameters = dict(self.parameters, **(expected_parameters or {}))
        self.sinks = 2
        self.options = list(options)
        self.settings = list(settings)
        self.setting = setting
        self.directory = os.path.join(setting.scratch, f"{setting.name}-{os.getpid()}-{next(self.numbers)}")
        self.checkpoints = os.path.join(self.directory, "checkpoints")
        self.log_path = os.path.join(self.directory, "log")
        self.process = None
        self.sessions = []
        self.seen = {}
        self.starts = 0
        self.snapshots_in_doubt_up_to = 0

    def __enter__(self):
        os.makedirs(os.path.join(self.directory, "runtime"))
        oracle.write_input(os.path.join(self.directory, "input.bin"), self.parameters["count"], self.parameters["keys"],
                           self.parameters["seed"])
        return self

    def __exit__(self, kind, error, trace):
        self.kill_all()
        if kind is None or issubclass(kind, EndedEarly):
            shutil.rmtree(self.directory)
        else:
            print(f"kept for a look: {self.directory}\n--- end of its log:\n{self.log()[-3000:]}", flush=True)

    # ---- running ----

    def command(self):
        values = {"input": os.path.join(self.directory, "input.bin"), "output": os.path.join(self.directory, "output"),
                  "tallies": os.path.join(self.directory, "tallies"), "sinks": self.sinks, **self.parameters}
        # A process that a busy machine does not let run for a while is not hung.
        command = [self.setting.program, "run", "--directory", self.checkpoints, "--checkpoint-interval", "10ms", "--ring-size", "64KiB",
                   "--restart-delay", "1ms", "--restart-delay-max", "20ms", "--heartbeat-timeout", "60s"]
        command += self.options
        for item in list(f"{name}={value}" for name, value in values.items()) + self.settings:
            command += ["--set", item]
        return command

    def start(self, kill=None, options=()):
        environment = dict(os.environ, WEIR_RUNTIME_DIR=os.path.join(self.directory, "runtime"))
        environment.pop("WEIR_KILL", None)
        if kill is not None:
            environment["WEIR_KILL"] = kill
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command() + list(options), env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        self.sessions.append(self.process.pid)
        self.starts += 1

    def wait(self, deadline_s=DEADLINE_S):
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise Failure(f"the job does not end; its processes: {self.describe()}") from None

    def wait_for(self, condition, what):
        """While it runs."""
        value = wait_until(lambda: condition() or self.process.poll() is not None, what)
        if self.process.returncode is not None:
            self.ended_before(what)
        return value

    def ended_before(self, what):
        """A job that is at its end too early has to be right all the same; and none ends too early by failing."""
        status = self.process.wait()
        if status not in (0, -signal.SIGKILL):
            raise Failure(f"the job failed (status {status}) before: {what}")
        if status == 0:
            self.compare()
        raise EndedEarly(f"the job ended (status {status}) before: {what}")

    def run_to_end(self, kill=None):
        """To exit status 0; a launcher that a kill point took is started again."""
        self.start(kill)
        status = self.wait()
        while status == -signal.SIGKILL and self.starts < 4:
            self.expect_all_gone()
            self.start()
            status = self.wait()
        if status != 0:
            raise Failure(f"exit status {status}")

    def processes(self):
        return [process for process in session_processes(self.process.pid) if process.pid != self.process.pid]

    def describe(self):
        texts = []
        for process in session_processes(self.process.pid):
            try:
                with open(f"/proc/{process.pid}/wchan", encoding="utf-8") as file:
                    place = file.read()
            except OSError:
                place = "?"
            texts.append(f"{process.name}[{process.pid}] {process.state} {place}")
        return ", ".join(texts)

    def kill_all(self):
        """Until none is left, also of those that are forked meanwhile."""
        def gone():
            left = [process for session in self.sessions for process in session_processes(session)]
            for process in left:
                send(process, signal.SIGKILL)
            return not left
        wait_until(gone, "all processes of a killed job are gone")
        if self.process is not None:
            self.process.wait()

    def expect_all_gone(self, deadline_s=DEADLINE_S):
        wait_until(lambda: not session_processes(self.process.pid), "all processes of a dead launcher are gone", deadline_s)

    # ---- what it left ----

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def event_files(self):
        """Oldest first, each by its inode: a full one is renamed."""
        names = [f"events.{age}.jsonl" for age in (3, 2, 1)] + ["events.jsonl"]
        found = []
        for path in (os.path.join(self.checkpoints, name) for name in names):
            try:
                found.append((path, os.stat(path).st_ino))
            except FileNotFoundError:
                pass
        return found

    def events(self, name):
        while True:
            files, lines = self.event_files(), []
            for path, _ in files:
                try:
                    with open(path, encoding="utf-8", errors="replace") as file:
                        lines += [line for line in file if f'"event":"{name}"' in line.replace('": "', '":"') and line.endswith("\n")]
                except FileNotFoundError:
                    pass
            if self.event_files() == files:  # no other has taken a name meanwhile
                return lines  # but the last one, where it is half written at this moment

    def fired(self):
        """How many rows of WEIR_KILL took effect."""
        return len(re.findall(r"kill point \w+ reached", self.log()))

    def committed_files(self, which):
        def place(path):
            subtask, number = re.fullmatch(r"part-(\d+)-(\d+)", os.path.basename(path)).groups()
            return int(subtask), int(number)
        return sorted(glob.glob(os.path.join(self.directory, which, "part-*")), key=place)

    def check_committed(self):
        """At any time: a committed file is whole, is never changed or taken away again, and keys are in order without a gap."""
        for path, digest in self.seen.items():
            if not os.path.exists(path) or hashlib.sha256(open(path, "rb").read()).digest() != digest:
                raise Failure(f"{path} was committed and is not what it was")
        lines = {"output": [], "tallies": []}
        counters = {}
        for which, found in lines.items():
            for path in self.committed_files(which):
                with open(path, "rb") as file:
                    content = file.read()
                self.seen[path] = hashlib.sha256(content).digest()
                if not content.endswith(b"\n"):
                    raise Failure(f"{path} ends in the middle of a line")
                subtask = os.path.basename(path).split("-")[1]
                for text in content.decode().splitlines():
                    found.append(text)
                    if which == "output":
                        self.check_order(text, subtask, counters, path)
        return lines

    @staticmethod
    def check_order(text, subtask, counters, path):
        row = dict(zip(ROW_COLUMNS, map(int, text.split("\t"))))
        if row["kind"] != oracle.KIND_TRACK:
            return
        name = row["key"], row["source"]
        before, where = counters.get(name, (0, subtask))
        if where != subtask or row["count"] != before + 1:
            raise Failure(f"{path}: key {name} has count {row['count']} after {before} (subtasks {where}, {subtask})")
        counters[name] = row["count"], subtask

    def compare(self):
        """Byte for byte, sorted. Returns how many records were compared."""
        lines = self.check_committed()
        total = 0
        for which, wanted in zip(("output", "tallies"), expected(self.expected_parameters)):
            got = sorted(lines[which])
            total += len(wanted)
            if got == wanted:
                continue
            lost = collections.Counter(wanted) - collections.Counter(got)
            doubled = collections.Counter(got) - collections.Counter(wanted)
            self.setting.count("lost", sum(lost.values()))
            self.setting.count("doubled", sum(doubled.values()))
            raise Failure(f"{which}: {sum(lost.values())} records lost, {sum(doubled.values())} doubled or wrong; "
                          f"lost: {list(lost)[:3]}; doubled: {list(doubled)[:3]}")
        self.setting.count("records compared", total)
        return total

    def leftovers(self):
        left = [f"process {process.name}[{process.pid}]" for session in self.sessions for process in session_processes(session)]
        for which in ("output", "tallies"):
            left += [name for name in os.listdir(os.path.join(self.directory, which)) if not re.fullmatch(
                r"part-\d+-\d+|\.weir-owner", name)]
        manifests = b"".join(open(path, "rb").read() for path in glob.glob(os.path.join(self.checkpoints, "manifest-*")))
        left += [name for name in os.listdir(os.path.join(self.checkpoints, "snapshots")) if name.encode() not in manifests
                 and int(name.split("-")[0]) > self.snapshots_in_doubt_up_to]
        left += [name for name in os.listdir(self.checkpoints) if not re.fullmatch(
            r"manifest-\d+|snapshots|connectors|LOCK|events(\.\d+)?\.jsonl", name)]
        lists = [name for _, _, names in os.walk(os.path.join(self.checkpoints, "connectors")) for name in names]
        left += [name for name in lists if not re.fullmatch(r"files-\d+", name)] + lists[1:]  # of the newest fresh start
        left += [f"runtime/{name}" for _, _, names in os.walk(os.path.join(self.directory, "runtime")) for name in names]
        return left

    def check_end(self):
        """The output is right and nothing is left, at the latest after the next start, which must change nothing else."""
        self.compare()
        faults = OWN_FAULTS.findall(self.log())
        if faults and not any(setting.startswith("fault=") for setting in self.settings):
            raise Failure(f"the output is right, but a process failed by itself: {faults[:3]}")
        if not self.leftovers():
            return
        self.setting.count("cleaned by the next start", 1)
        first = self.leftovers()
        self.start()
        if self.wait() != 0:
            raise Failure("a finished job that is started again does not end well")
        self.compare()
        if self.leftovers():
            raise Failure(f"left behind: {self.leftovers()} (before the second start: {first})")


def with_longer_jobs(run, count, attempts=6):
    """run(count), with twice the count where the job ended too early: on a busy machine fewer checkpoints fit into it."""
    for attempt in range(attempts - 1):
        try:
            return run(count << attempt)
        except EndedEarly:
            continue
    return run(count << (attempts - 1))


class Setting:
    """Of a test program: where, with what, how much; and what it counts."""

    def __init__(self, name, arguments):
        self.name = name
        self.program = os.path.abspath(arguments.program)
        self.scratch = os.path.abspath(arguments.scratch)
        self.seed = arguments.seed
        self.long = os.environ.get("WEIR_TEST_SIZE", "short") == "long"
        self.counts = collections.Counter()
        os.makedirs(self.scratch, exist_ok=True)

    def count(self, what, amount=1):
        self.counts[what] += amount

    def report(self, failures, begun):
        self.counts.setdefault("lost", 0)
        self.counts.setdefault("doubled", 0)
        for what, amount in sorted(self.counts.items()):
            print(f"{what}: {amount}")
        print(f"{self.name}: {'FAILED' if failures else 'passed'} in {time.monotonic() - begun:.1f} s, seed {self.seed}", flush=True)
        for failure in failures:
            print(f"FAILED {failure}")
        sys.exit(1 if failures else 0)
