"""What the peers on the JVM share: their jars, compiling, starting a JVM, and the command line of their `run`."""

import argparse
import hashlib
import json
import mmap
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.insert(0, os.path.join(ROOT, "bench"))

from measure import BenchError, Context, Figure, machine_facts, output_of  # noqa: E402

MAVEN_CENTRAL = "https://repo.maven.apache.org/maven2"
MIRROR_VARIABLE = "WEIR_MAVEN_URL"
OLDEST_JAVA = 17
BIDS = 20_000_000
MIB = 1048576
PERCENTILES = ("p50", "p99", "p999", "p9999", "max")

# Flink and Hazelcast look into these by reflection; both name them in their start scripts.
OPENS = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in
         ("java.lang", "java.lang.reflect", "java.net", "java.io", "java.nio", "java.util", "java.util.concurrent", "java.util.concurrent.atomic",
          "java.text", "java.time", "sun.nio.ch", "sun.net.util")] + \
        ["--add-modules=java.se", "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED", "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
         "--add-opens=java.management/sun.management=ALL-UNNAMED", "--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED"]


def tool(name):
    """Path of a program of the JDK."""
    home = os.environ.get("JAVA_HOME")
    path = os.path.join(home, "bin", name) if home else shutil.which(name)
    if path is None or not os.access(path, os.X_OK):
        raise BenchError(f"no {name}: apt-get install openjdk-17-jdk-headless, or set JAVA_HOME to a JDK from {OLDEST_JAVA} on")
    return path


def java_version():
    done = subprocess.run([tool("java"), "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)([^"]*)"', done.stderr)
    if done.returncode != 0 or not found:
        raise BenchError(f"java -version: {done.stderr.strip()[-200:]}")
    if int(found.group(1)) < OLDEST_JAVA:
        raise BenchError(f"java is {found.group(1)}: from {OLDEST_JAVA} on is needed (apt-get install openjdk-17-jdk-headless)")
    return found.group(1) + found.group(2)


def download(url, path, wanted):
    """A file whose SHA-256 is as wanted, under its name in one step."""
    digest = hashlib.sha256()
    part = path + ".part"
    try:
        with urllib.request.urlopen(url, timeout=60) as source, open(part, "wb") as file:
            for block in iter(lambda: source.read(MIB), b""):
                digest.update(block)
                file.write(block)
    except (urllib.error.URLError, OSError) as error:
        raise BenchError(f"{url}: {error} (behind a mirror: set {MIRROR_VARIABLE} to its address, {MAVEN_CENTRAL} by default)") from error
    if digest.hexdigest() != wanted:
        os.unlink(part)
        raise BenchError(f"{url}: SHA-256 is {digest.hexdigest()}, jars.lock has {wanted}")
    os.rename(part, path)


def fetch_jars(lock, directory, say):
    """The jars of a lock file (a SHA-256 and a path below the repository's address, a line each), downloaded once. Returns their paths."""
    os.makedirs(directory, exist_ok=True)
    base = os.environ.get(MIRROR_VARIABLE, MAVEN_CENTRAL).rstrip("/")
    paths = []
    with open(lock, encoding="ascii") as file:
        for line in file:
            if not line.strip() or line.startswith("#"):
                continue
            wanted, place = line.split()
            paths.append(os.path.join(directory, os.path.basename(place)))
            if not os.path.exists(paths[-1]):
                say(f"fetching {os.path.basename(place)}")
                download(f"{base}/{place}", paths[-1], wanted)
    return paths


def sources_below(*folders):
    found = []
    for folder in folders:
        for directory, _, names in os.walk(folder):
            found += [os.path.join(directory, name) for name in names if name.endswith(".java")]
    return sorted(found)


def compile_java(sources, jars, directory, say):
    """Classes of the sources, made anew when a source has changed. Returns their folder."""
    digest = hashlib.sha256(" ".join(jars).encode())
    for path in sources:
        with open(path, "rb") as file:
            digest.update(file.read())
    target = os.path.join(directory, "classes-" + digest.hexdigest()[:16])
    if not os.path.isdir(target):
        say("compiling")
        part = target + ".part"
        shutil.rmtree(part, ignore_errors=True)
        done = subprocess.run([tool("javac"), "--release", str(OLDEST_JAVA), "-Xlint:all,-processing,-classfile,-path", "-Werror",
                               "-cp", ":".join(jars), "-d", part, *sources], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"javac failed:\n{done.stderr[-2000:]}")
        os.rename(part, target)
    return target


class Peer:
    """A peer on the JVM: where its things are and how one of its programs is run."""

    def __init__(self, name, folder, context, quick):
        self.name = name
        self.context = context
        self.quick = quick
        self.version = java_version()
        jars = fetch_jars(os.path.join(folder, "jars.lock"), os.path.join(context.scratch, "jars"), context.say)
        sources = sources_below(os.path.join(HERE, "java"), os.path.join(folder, "java"))
        self.class_path = ":".join([compile_java(sources, jars, context.scratch, context.say), *jars])

    def bids(self, keys):
        """The input file, shared with bench/run, in the page cache."""
        directory = os.path.dirname(os.path.dirname(self.context.scratch.rstrip("/")))
        if os.path.basename(directory) != "bench-data":
            directory = self.context.scratch
        path = os.path.join(directory, f"bids-{keys}.bin")
        if not os.path.exists(path) or os.path.getsize(path) != BIDS * 32:
            self.context.say(f"making {path}")
            output_of([self.context.program("make_bids"), path + ".part", str(BIDS), str(keys)])
            os.rename(path + ".part", path)
        with open(path, "rb", buffering=0) as file:
            block = bytearray(MIB)
            while file.readinto(block):
                pass
        return path

    def command(self, main, heap_mib, flags, arguments):
        """`heap_mib` is taken at once, in huge pages where the system has such, touched beforehand."""
        return [tool("java"), *OPENS, f"-Xms{heap_mib}m", f"-Xmx{heap_mib}m", "-XX:+AlwaysPreTouch", "-XX:+UseTransparentHugePages", *flags,
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=" + os.environ.get("PEER_LOG", "error"), "-cp", self.class_path, main,
                *(f"{name}={value}" for name, value in arguments.items())]

    def shown(self, command):
        """The command as a reader can type it."""
        opens = set(OPENS)
        return self.context.shown(["$CLASS_PATH" if word == self.class_path else word for word in command if word not in opens])

    def json_of(self, command, timeout_s=300):
        """The last line that a program printed, which ends by itself."""
        lines = output_of(command, timeout_s).strip().splitlines()
        if not lines or not lines[-1].startswith("{"):
            raise BenchError(f"{command[0]} ... printed no result")
        return json.loads(lines[-1])


def heap_mib(wanted):
    """So much, but at most half of the memory that is available."""
    with open("/proc/meminfo", encoding="ascii") as file:
        available = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable")) // 1024
    return min(wanted, available // 2)


def throughput_figures(name, windows, command, records_note=None):
    """The pair of figures, of wall time and of CPU time, from the windows of all runs."""
    rates = [window["records"] / window["wall_ns"] * 1000 for window in windows]
    per_cpu = [window["records"] / window["cpu_ns"] * 1000 for window in windows]
    return [Figure(name, rates, "M records/s", command, note=records_note), Figure(f"{name}.cpu", per_cpu, "M records/CPU-s", command)]


def latency_figures(name, runs, command, note):
    """A figure a percentile, and the machine's own beside each."""
    figures = []
    for label in PERCENTILES:
        own = [run["latency"][label] / 1000 for run in runs]
        machine = [run["machine"][label] / 1000 for run in runs]
        middle = sorted(machine)[len(machine) // 2]
        figures.append(Figure(f"{name}.{label}", own, "us", command, compare=[("machine", middle)], note=note))
    for label in PERCENTILES:
        figures.append(Figure(f"{name}.machine.{label}", [run["machine"][label] / 1000 for run in runs], "us", command,
                              note="a thread that only looks at the clock, before and after the job"))
    return figures


def checkpoints_per_s(windows):
    return sum(w["checkpoints"] for w in windows) / sum(w["wall_ns"] for w in windows) * 1e9


class Process:
    """A child that is SIGKILLed at the end, also where this process is killed: `with Process(arguments, log) as process`."""

    def __init__(self, arguments, log):
        self.arguments = arguments
        self.log = log

    def __enter__(self):
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *self.arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid = self.child.pid
        return self

    def __exit__(self, *_):
        self.kill()

    def running(self):
        return self.child.poll() is None

    def kill(self):
        if self.running():
            self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    def last_words(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()[-600:].strip()


class Probe:
    """The file that a sink in another process writes: Probe.java says what is in it."""

    BYTES = 65536
    HEAD = struct.Struct("<qq")
    ROW = struct.Struct("<qq")

    def __init__(self, path):
        self.path = path
        with open(path, "wb") as file:
            file.truncate(self.BYTES)
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), self.BYTES)

    def results(self):
        return self.HEAD.unpack_from(self.memory, 0)[0]

    def starts(self, first=0):
        """(process id, time of its first result in ns) of the sinks that got any, from number `first` on."""
        count = self.HEAD.unpack_from(self.memory, 0)[1]
        return [self.ROW.unpack_from(self.memory, self.HEAD.size + self.ROW.size * n) for n in range(first, count)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def kill_and_wait(probe, pid, timeout_s=120):
    """SIGKILLs a process. Returns the ms until the first result of a sink that is new since."""
    seen = len(probe.starts())
    killed_ns = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: any(at > killed_ns for _, at in probe.starts(seen)), "the first result after a kill", timeout_s, 0.005)
    return (min(at for _, at in probe.starts(seen) if at > killed_ns) - killed_ns) / 1e6


def recovery_figures(name, times, command, note):
    return [Figure(f"{name}.p50", times, "ms", command, note=note), Figure(f"{name}.max", times, "ms", command, value=max(times), note=note)]


def wait_until(is_so, what, timeout_s, pause_s=0.02):
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise BenchError(f"{what} did not come about within {timeout_s} s")
        time.sleep(pause_s)


# ------------------------------------------------------------------------------------------------- the command --


def parse_arguments(name, text):
    parser = argparse.ArgumentParser(prog=f"bench/peers/{name}/run", description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures to measure, or the beginning of some (default: all)")
    parser.add_argument("--json", action="store_true", help="print a list of JSON objects, a figure each; the machine on standard error")
    parser.add_argument("--list", action="store_true", help="list the figures and end")
    parser.add_argument("--quick", action="store_true", help="short runs, and without names only the figures marked * in the list")
    parser.add_argument("--runs", type=int, default=0, metavar="N", help="fresh runs of each figure (default: 1)")
    parser.add_argument("--scratch", metavar="DIR", help=f"where jars, classes and checkpoints go (default: build-release/bench-data/peers/{name})")
    return parser.parse_args()


def chosen(arguments, figures, name):
    def matches(figure, wanted):
        return figure == wanted if wanted in figures else figure.startswith(wanted + ".")
    for wanted in arguments.names:
        if not any(matches(figure, wanted) for figure in figures):
            raise BenchError(f"no figure '{wanted}': bench/peers/{name}/run --list shows them")
    if arguments.names:
        return [figure for figure in figures if any(matches(figure, wanted) for wanted in arguments.names)]
    return [figure for figure, (_, _, quick) in figures.items() if quick or not arguments.quick]


def measure(figure, function, peer, name, as_json):
    try:
        results = function(peer)
    except (BenchError, OSError, subprocess.TimeoutExpired) as error:
        print(f"bench/peers/{name}/run: {figure}: {error}", file=sys.stderr, flush=True)
        return [], False
    if not as_json:
        for command in dict.fromkeys(result.command for result in results):
            print(f"$ {command}")
        for result in results:
            print(result.as_text(), flush=True)
    return results, True


def run(name, folder, text, figures):
    arguments = parse_arguments(name, text)
    if arguments.list:
        for figure, (_, what, quick) in figures.items():
            print(f"{'*' if quick else ' '} {figure:<28} {what}")
        return 0
    names = chosen(arguments, figures, name)
    build = os.path.join(ROOT, "build-release")
    scratch = os.path.abspath(arguments.scratch or os.path.join(build, "bench-data", "peers", name))
    os.makedirs(scratch, exist_ok=True)
    context = Context(build, scratch, arguments.runs, sys.stderr if sys.stderr.isatty() else None)
    facts = machine_facts()
    peer = Peer(name, folder, context, arguments.quick)
    print(f"machine: {facts['cpu']}, {facts['cores']} CPUs, {facts['memory_gib']} GiB, Linux {facts['kernel']}, governor {facts['governor']}, "
          f"load {facts['load']}; Java {peer.version}\nBUILD={build} SCRATCH={scratch}", file=sys.stderr if arguments.json else sys.stdout)
    results, complete = [], True
    for figure in names:
        context.say(figure)
        measured, done = measure(figure, figures[figure][0], peer, name, arguments.json)
        results += measured
        complete = complete and done
    if arguments.json:
        print(json.dumps([result.as_json() for result in results], indent=2))
    return 0 if complete else 1


def main(name, folder, text, figures):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of every __exit__
    try:
        sys.exit(run(name, folder, text, figures))
    except BenchError as error:
        print(f"bench/peers/{name}/run: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
