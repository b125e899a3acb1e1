"""What the Rust peers share: building them with cargo, their input, checking their sums, and the command line of their `run`."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.insert(0, os.path.join(ROOT, "bench"))

from measure import BenchError, Context, Figure, machine_facts, output_of  # noqa: E402

BIDS = 20_000_000
KEYS = {"1k": 1_000, "1m": 1_000_000, "10m": 10_000_000}
PERCENTILES = ("p50", "p99", "p999", "p9999", "max")
MIB = 1048576


def cargo(oldest):
    """The path of cargo, whose rustc is at least so new (two numbers)."""
    advice = "install Rust with rustup (https://rustup.rs), then `rustup update stable`; the rustc 1.63 of Debian 12 is too old"
    path = shutil.which("cargo")
    if path is None:
        raise BenchError(f"no cargo: {advice}")
    found = re.search(r"rustc (\d+)\.(\d+)", output_of(["rustc", "--version"]))
    if not found or tuple(map(int, found.groups())) < oldest:
        raise BenchError(f"{found.group(0) if found else 'rustc'} is too old, from {oldest[0]}.{oldest[1]} on is needed: {advice}")
    return path


class Peer:
    """A peer in Rust: its program, built, and how it is run."""

    def __init__(self, name, folder, oldest_rustc, context, quick):
        self.context = context
        self.quick = quick
        target = os.path.join(context.scratch, "target")
        command = [cargo(oldest_rustc), "build", "--release", "--locked", "--target-dir", target]
        context.say(" ".join(command))
        environment = dict(os.environ, RUSTFLAGS="-C target-cpu=native")
        done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(command)} failed:\n{done.stderr.strip()[-2000:]}")
        self.program = os.path.join(target, "release", f"{name}-peer")
        self.known = {}

    def bids(self, keys):
        """The input file, the same as of bench/run (and its file, where it has made one), in the page cache."""
        for directory in (self.context.scratch, os.path.dirname(self.context.scratch), os.path.dirname(os.path.dirname(self.context.scratch))):
            path = os.path.join(directory, f"bids-{keys}.bin")
            if os.path.exists(path) and os.path.getsize(path) == BIDS * 32:
                break
        else:
            path = os.path.join(self.context.scratch, f"bids-{keys}.bin")
            self.make_bids(path, keys)
        with open(path, "rb", buffering=0) as file:
            block = bytearray(MIB)
            while file.readinto(block):
                pass
        return path

    def make_bids(self, path, keys):
        maker = os.path.join(self.context.scratch, "make_bids")
        if shutil.which("cc") is None:
            raise BenchError("no cc: apt-get install gcc")
        output_of(["cc", "-O2", "-I", os.path.join(ROOT, "include"), os.path.join(ROOT, "bench", "make_bids.c"), "-o", maker])
        self.context.say(f"making {path}")
        output_of([maker, path + ".part", str(BIDS), str(keys)])
        os.rename(path + ".part", path)

    def shown(self, command):
        return self.context.shown(["$PEER" if word == self.program else word for word in command])

    def json_of(self, arguments, timeout_s=300):
        return last_json(output_of([self.program, *arguments], timeout_s), arguments)

    def json_of_processes(self, commands, timeout_s=300):
        """The same of several processes that run together."""
        children = [subprocess.Popen([self.program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                    for arguments in commands]
        try:
            said = [child.communicate(timeout=timeout_s) for child in children]
        finally:
            for child in children:
                if child.poll() is None:
                    child.kill()
                    child.communicate()
        for child, (_, errors) in zip(children, said):
            if child.returncode != 0:
                raise BenchError(f"{self.program} ended with {child.returncode}: {errors.strip()[-400:]}")
        return [last_json(text, arguments) for (text, _), arguments in zip(said, commands)]

    def plain(self, arguments):
        """What the plain loop gives for the same work, once for all runs."""
        key = tuple(arguments)
        if key not in self.known:
            self.known[key] = self.json_of(arguments)
        return self.known[key]

    def check(self, found, wanted, names):
        for name in names:
            if found[name] != wanted[name]:
                raise BenchError(f"wrong result: {name} is {found[name]}, the plain loop says {wanted[name]}")


def last_json(text, arguments):
    lines = text.strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise BenchError(f"{' '.join(arguments)} printed no result")
    return json.loads(lines[-1])


def throughput_figures(name, rows, command, note=None, compare=()):
    """The pair of figures, by wall time and by CPU time, from the rows of all runs."""
    return [Figure(name, [row["records"] / row["wall_s"] / 1e6 for row in rows], "M records/s", command, compare, note=note),
            Figure(f"{name}.cpu", [row["records"] / row["cpu_s"] / 1e6 for row in rows], "M records/CPU-s", command)]


def latency_figures(name, rows, command, note):
    """A figure a percentile, and beside each the machine's own of the same runs."""
    figures = []
    for label in PERCENTILES:
        own, machine = ([row[side][label] / 1000 for row in rows] for side in ("latency", "machine"))
        figures.append(Figure(f"{name}.{label}", own, "us", command, [("machine", sorted(machine)[len(machine) // 2])], note=note))
    for label in PERCENTILES:
        figures.append(Figure(f"{name}.machine.{label}", [row["machine"][label] / 1000 for row in rows], "us", command,
                              note="how late a thread that only looks at the clock sees events due at the same rate, in the same run"))
    return figures


# ------------------------------------------------------------------------------------------------- the command --


def parse_arguments(name, text):
    parser = argparse.ArgumentParser(prog=f"bench/peers/{name}/run", description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures to measure, or the beginning of some (default: all)")
    parser.add_argument("--json", action="store_true", help="print a list of JSON objects, a figure each; the machine on standard error")
    parser.add_argument("--list", action="store_true", help="list the figures and end")
    parser.add_argument("--quick", action="store_true", help="one short run a figure")
    parser.add_argument("--runs", type=int, default=0, metavar="N", help="runs of each figure (default: 3 to 5; with --quick 1)")
    parser.add_argument("--scratch", metavar="DIR", help=f"where the peer is built and its input lies (default: build-release/bench-data/peers/{name})")
    return parser.parse_args()


def chosen(names, figures, program):
    def matches(figure, wanted):
        return figure == wanted or figure.startswith(wanted + ".")
    for wanted in names:
        if not any(matches(figure, wanted) for figure in figures):
            raise BenchError(f"no figure '{wanted}': {program} --list shows them")
    return [figure for figure in figures if not names or any(matches(figure, wanted) for wanted in names)]


def measure(figure, function, peer, program, as_json):
    try:
        results = function(peer)
    except (BenchError, OSError, KeyError, ValueError, subprocess.TimeoutExpired) as error:
        print(f"{program}: {figure}: {error}", file=sys.stderr, flush=True)
        return [], False
    if not as_json:
        for command in dict.fromkeys(result.command for result in results):
            print(f"$ {command}")
        for result in results:
            print(result.as_text(), flush=True)
    return results, True


def run(name, folder, text, oldest_rustc, figures):
    arguments = parse_arguments(name, text)
    program = f"bench/peers/{name}/run"
    if arguments.list:
        for figure, (_, what) in figures.items():
            print(f"{figure:<28} {what}")
        return 0
    names = chosen(arguments.names, figures, program)
    build = os.path.join(ROOT, "build-release")
    scratch = os.path.abspath(arguments.scratch or os.path.join(build, "bench-data", "peers", name))
    os.makedirs(scratch, exist_ok=True)
    context = Context(build, scratch, arguments.runs or (1 if arguments.quick else 0), sys.stderr if sys.stderr.isatty() else None)
    peer = Peer(name, folder, oldest_rustc, context, arguments.quick)
    facts = machine_facts()
    print(f"machine: {facts['cpu']}, {facts['cores']} CPUs, {facts['memory_gib']} GiB, Linux {facts['kernel']}, governor {facts['governor']}, "
          f"load {facts['load']}\nPEER={peer.program} SCRATCH={scratch}", file=sys.stderr if arguments.json else sys.stdout, flush=True)
    results, complete = [], True
    for figure in names:
        context.say(figure)
        measured, done = measure(figure, figures[figure][0], peer, program, arguments.json)
        results += measured
        complete = complete and done
    if arguments.json:
        print(json.dumps([result.as_json() for result in results], indent=2))
    return 0 if complete else 1


def main(name, folder, text, oldest_rustc, figures):
    """oldest_rustc: (1, 88), say. figures: {name: (function of the Peer that returns Figures, what it measures)}."""
    try:
        sys.exit(run(name, folder, text, oldest_rustc, figures))
    except BenchError as error:
        print(f"bench/peers/{name}/run: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
