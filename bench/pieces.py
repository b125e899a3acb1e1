"""The pieces of a comparison: a name of some runner's --list each (bench/run, bench/peers/*/run), run as a command of its own, its result stored in a
file of its own, so that a run that was interrupted goes on where it was."""

import glob
import json
import os
import re
import signal
import subprocess
import time

# By the first word of a name: the order in which pieces run and are shown. Others come last.
TOPICS = ("limits", "ring", "w0", "w1", "w2", "keyed", "nexmark", "latency", "visible", "pause", "snapshot", "checkpoints", "recovery", "growth", "memory",
          "undo", "takeover", "idle")
MEASURED, PARTIAL, FAILED, LATE = "measured", "partial", "failed", "late"
NO_TIME, NOT_QUICK, NOT_ASKED = "no time", "not in --quick", "not asked for"
SECONDS_UNKNOWN = 20  # what a piece is taken to need before it has run once


def topic(name):
    return name.split(".", 1)[0]


def topic_order(name):
    first = topic(name)
    return TOPICS.index(first) if first in TOPICS else len(TOPICS)


def begins(name, beginnings):
    return any(name == beginning or name.startswith(beginning + ".") for beginning in beginnings)


class Runner:
    """bench/run or a peer's run."""

    def __init__(self, name, path, options=()):
        self.name = name
        self.path = path
        self.options = list(options)

    def listed(self):
        """[(name, what it is, whether a star before the name says that it belongs to --quick)] of --list; raises OSError, ValueError or
        subprocess.SubprocessError where there is none."""
        done = subprocess.run([self.path, "--list"], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise ValueError(f"--list ended with {done.returncode}: {done.stderr.strip()[-300:]}")
        rows = [re.fullmatch(r"\s*(\* )?\s*(\S+)\s*(.*?)\s*", line) for line in done.stdout.splitlines() if line.strip()]
        return [(row.group(2), row.group(3), row.group(1) is not None) for row in rows]

    def command(self, names, quick, runs):
        more = (["--quick"] if quick else []) + ([f"--runs={runs}"] if runs else [])
        return [self.path, *names, "--json", *more, *self.options]


def runners(bench, weir_options=(), scratch=None):
    """Weir's own first. scratch: where peers work, a folder each; None: where each does by itself."""
    found = [Runner("weir", os.path.join(bench, "run"), weir_options)]
    for path in sorted(glob.glob(os.path.join(bench, "peers", "*", "run"))):
        name = os.path.basename(os.path.dirname(path))
        found.append(Runner(name, path, [] if scratch is None else [f"--scratch={os.path.join(scratch, name)}"]))
    return found


class Piece:
    """names: what its runner is asked for; one, or several that it measures in turns."""

    def __init__(self, runner, name, text, in_quick, names=None):
        self.runner = runner
        self.name = name
        self.text = text
        self.in_quick = in_quick
        self.names = names or [name]

    def order(self):
        return (topic_order(self.name), topic(self.name), self.name, self.runner.name)


def pieces_of(runner):
    """A peer's run that lists Weir as well measures it in turns with the others: all of the same work are then one piece, named by the work."""
    rows = runner.listed()
    marked = any(star for _, _, star in rows)
    in_turns = {} if runner.name == "weir" else {name.removesuffix(".weir"): [] for name, _, _ in rows if name.endswith(".weir")}
    pieces = []
    for name, text, star in rows:
        work = name.rpartition(".")[0]
        if work in in_turns:
            in_turns[work].append(name)
        else:
            pieces.append(Piece(runner, name, text, star or not marked))
    for work, names in in_turns.items():
        text = "in turns: " + ", ".join(name.rpartition(".")[2] for name in names)
        stars = [star for name, _, star in rows if name in names]
        pieces.append(Piece(runner, work, text, any(stars) or not marked, names))
    return pieces


def all_pieces(found):
    """(pieces in the order in which they run, results of runners whose --list fails)"""
    pieces, broken = [], []
    for runner in found:
        try:
            pieces += pieces_of(runner)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            broken.append({"runner": runner.name, "name": runner.name, "text": "all of its figures", "status": FAILED, "error": str(error), "figures": []})
    return sorted(pieces, key=Piece.order), broken


class Store:
    """A folder of results, a JSON file a piece, and run.json: what all of them have in common."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)

    def path(self, piece):
        return os.path.join(self.folder, re.sub(r"[^\w.-]", "_", f"{piece.runner.name}--{piece.name}") + ".json")

    def write(self, path, content):
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
        os.replace(path + ".new", path)

    @staticmethod
    def read(path):
        try:
            with open(path, encoding="utf-8") as file:
                return json.load(file)
        except (OSError, ValueError):  # none yet, or one that a dying run has left half written
            return None

    def result(self, piece):
        return self.read(self.path(piece))

    def given(self, pieces):
        """{runner: names of the figures that are stored}, without those of these pieces: they are to be measured (again)."""
        found, open_paths = {}, {self.path(piece) for piece in pieces}
        for path in glob.glob(os.path.join(self.folder, "*--*.json")):
            row = self.read(path)
            if row and path not in open_paths:
                found.setdefault(row["runner"], set()).update(figure["name"] for figure in row["figures"])
        return found

    def keep(self, piece, result):
        self.write(self.path(piece), result)

    def header(self):
        return self.read(os.path.join(self.folder, "run.json"))

    def keep_header(self, header):
        self.write(os.path.join(self.folder, "run.json"), header)

    def forget(self):
        for path in glob.glob(os.path.join(self.folder, "*.json")) + glob.glob(os.path.join(self.folder, "*.log")):
            os.unlink(path)


def end_group(child):
    """Ends a runner and whatever it has started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, sign)
        except ProcessLookupError:
            break
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue
    child.wait()


def output_of(command, log, timeout_s):
    """(exit status, standard output) of a runner in a group of its own; what it leaves running is ended."""
    with open(log, "w", encoding="utf-8") as errors:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
        try:
            text, _ = child.communicate(timeout=timeout_s)
        except BaseException:
            end_group(child)
            raise
        end_group(child)
    return child.returncode, text


def figures_in(text):
    figures = json.loads(text)
    if not isinstance(figures, list) or not all(isinstance(row, dict) and {"name", "value", "unit"} <= row.keys() for row in figures):
        raise ValueError("it did not print a list of figures")
    return figures


def last_lines(path, count=6):
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file if line.strip() and not line.lstrip().startswith(("...", "machine:", "BUILD=", "shared memory"))]
    return " / ".join(lines[-count:])[-600:]


def run_piece(piece, log, quick, runs, timeout_s):
    """Runs it and returns its result, as it is stored. Never fails but by an interrupt."""
    command = piece.runner.command(piece.names, quick, runs)
    begun, load = time.monotonic(), os.getloadavg()[0]
    result = {"runner": piece.runner.name, "name": piece.name, "text": piece.text, "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()), "load": load,
              "figures": []}
    status, text, error, late = None, "", "", False
    try:
        status, text = output_of(command, log, timeout_s)
        result["figures"] = figures_in(text)
    except subprocess.TimeoutExpired:
        error, late = f"not done within {timeout_s:.0f} s", True
    except (OSError, ValueError) as problem:
        error = str(problem) if status == 0 else ""
    if status != 0 and not error:
        error = last_lines(log) or f"ended with {status}"
    if not error and not result["figures"]:
        error = "it printed no figure"
    result["status"] = LATE if late else MEASURED if not error else PARTIAL if result["figures"] else FAILED
    result["error"] = error
    result["seconds"] = time.monotonic() - begun
    return result
