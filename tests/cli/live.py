#!/usr/bin/env python3
"""live.py WEIR: what goes on until it is interrupted, in a pipe and on a terminal: status --watch, events --follow, and the progress line
of run. One job runs all the while; its coordinator and a task are killed under the eyes of the watchers."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

PATIENCE_S = 300  # far beyond what a loaded machine needs
LONG = "--timeout=60s"  # of a command that asks the job
weir = sys.argv[1]
failures = []


def check(condition, text):
    if not condition:
        failures.append(text)
        print(f"FAILED: {text}", file=sys.stderr)


class Watcher:
    """A process whose output is read as it comes: in a pipe, or on a terminal of its own where it is in the foreground."""

    def __init__(self, *arguments, terminal=False):
        self.name = " ".join(arguments)
        self.text = ""
        self.status = None
        if terminal:
            self.pid, self.fd = pty.fork()
            if self.pid == 0:
                os.execv(weir, [weir, *arguments])
            return
        self.fd, end = os.pipe()
        errors = open(os.path.join(work, "errors"), "w+")
        process = subprocess.Popen([weir, *arguments], stdin=subprocess.DEVNULL, stdout=end, stderr=errors)
        os.close(end)
        self.errors = errors
        self.pid = process.pid
        process.returncode = 0  # waited for here, not by it

    def read_some(self, timeout_s):
        if not select.select([self.fd], [], [], timeout_s)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # of a terminal whose process has gone
            data = b""
        self.text += data.decode("ascii", errors="replace").replace("\r\n", "\n")
        return data != b""

    def wait_for(self, condition, what):
        """Until condition(text); what has not come by the deadline is a failure."""
        end = time.monotonic() + PATIENCE_S
        more = True
        while not condition(self.text):
            if not more or time.monotonic() > end:
                check(False, f"{self.name}: no {what} in:\n{self.text[-3000:]}")
                return False
            more = self.read_some(0.1)
        return True

    def ended(self):
        """Reads to the end; the status as waitpid() gives it."""
        end = time.monotonic() + PATIENCE_S
        while self.status is None:
            self.read_some(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid != 0:
                self.status = status
            elif time.monotonic() > end:
                check(False, f"{self.name}: it does not end")
                os.kill(self.pid, signal.SIGKILL)
                self.status = os.waitpid(self.pid, 0)[1]
        while self.read_some(0) and select.select([self.fd], [], [], 0)[0]:
            pass
        os.close(self.fd)
        return self.status

    def said(self):
        self.errors.seek(0)
        return self.errors.read()


def run(*arguments):
    return subprocess.run([weir, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S)


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"gave up waiting for {what}")
        time.sleep(0.05)


def screens(text):
    return text.split("\033[H\033[2J")[1:]


def json_lines(text):
    return [json.loads(line) for line in text.split("\n")[:-1]]


def status_in_a_pipe():
    plain = Watcher("status", "nexmark_bids", "--watch", LONG)
    lines = Watcher("status", "nexmark_bids", "--watch", "--json", LONG)
    plain.wait_for(lambda text: text.count("\nstate ") >= 3, "third status")
    check("\033" not in plain.text, "status --watch in a pipe writes terminal codes")
    check(re.search(r"\n\njob +nexmark_bids\n", plain.text), "status --watch: no empty line before the second status")
    lines.wait_for(lambda text: text.count("\n") >= 2, "second line")
    # Whoever answers may be replaced at any time.
    check(run("kill", "nexmark_bids", "coordinator", LONG).returncode == 0, "kill coordinator")
    seen = len(json_lines(lines.text))
    lines.wait_for(lambda text: text.count("\n") >= seen + 3, "status after the coordinator's death")
    given = json_lines(lines.text)
    check(all(status["job"] == "nexmark_bids" for status in given), "status --watch --json: not all of them are of the job")
    check(given[-1]["uptime_ms"] > given[0]["uptime_ms"], "status --watch shows the same again")
    os.kill(plain.pid, signal.SIGINT)
    check(plain.ended() == signal.SIGINT, f"status --watch: SIGINT ends it with {plain.status}")
    os.close(lines.fd)
    lines.fd = os.open(os.devnull, os.O_RDONLY)
    check(lines.ended() == signal.SIGPIPE, f"status --watch: a reader that has gone ends it with {lines.status}")


def status_on_a_terminal():
    watcher = Watcher("status", "nexmark_bids", "--watch", LONG, terminal=True)
    watcher.wait_for(lambda text: len(screens(text)) >= 3, "third screen")
    check(watcher.text.startswith("\033[H\033[2J"), "status --watch does not clear the screen first")
    for screen in screens(watcher.text)[:2]:
        check(re.match(r"job +nexmark_bids\n", screen), f"a screen begins with {screen[:40]!r}")
        check(re.search(r"^highest/0 ", screen, re.M), "a screen lacks a task")
    os.write(watcher.fd, b"\x03")
    check(watcher.ended() == signal.SIGINT, f"Ctrl-C ends status --watch with {watcher.status}")
    once = Watcher("status", "nexmark_bids", LONG, terminal=True)
    check(once.ended() == 0 and "\033" not in once.text, "status without --watch writes terminal codes")


def events_in_a_pipe():
    everything = Watcher("events", "nexmark_bids", "--follow", "--json")
    deaths = Watcher("events", "nexmark_bids", "--follow", "--event=process_died", "--limit=1")
    everything.wait_for(lambda text: '"event":"job_started"' in text, "job_started")
    old = run("events", "nexmark_bids", "--event=process_died").stdout.splitlines()[-1:]
    check(run("kill", "nexmark_bids", "highest/0", LONG).returncode == 0, "kill highest/0")
    deaths.wait_for(lambda text: "highest/0" in text, "the death of highest/0")
    check(deaths.text.splitlines()[:-1] == old, f"--limit=1 --follow: {deaths.text!r} does not begin with the last one, {old!r}")
    # A standby takes over before the launcher has reaped the dead: either may be told first.
    everything.wait_for(lambda text: '"event":"takeover"' in text and '"event":"process_died"' in text, "takeover and death")
    taken = [event for event in json_lines(everything.text[:everything.text.rindex("\n") + 1]) if event["event"] == "takeover"]
    check(taken[0]["task"] == "highest/0", f"the event of the takeover is {taken[0]}")
    os.kill(everything.pid, signal.SIGINT)
    check(everything.ended() == signal.SIGINT, f"events --follow: SIGINT ends it with {everything.status}")
    # Across a rotation: a full file is moved away, and the next event is in a new one.
    filler = json.dumps({"time": "2026-01-01T00:00:00.000Z", "event": "filler", "text": "x" * 60000}) + "\n"
    with open(os.path.join(directory, "events.jsonl"), "a", encoding="utf-8") as log:
        log.write(filler * 75)
    wait_until(lambda: os.path.exists(os.path.join(directory, "events.1.jsonl")), "a rotation")
    seen = deaths.text.count("highest/0")
    check(run("kill", "nexmark_bids", "highest/0", LONG).returncode == 0, "kill highest/0")
    deaths.wait_for(lambda text: text.count("highest/0") > seen, "death in the new file")
    os.close(deaths.fd)  # nothing is to be written, so only looking tells that nobody reads
    deaths.fd = os.open(os.devnull, os.O_RDONLY)
    check(deaths.ended() in (0, signal.SIGPIPE), f"events --follow: a reader that has gone ends it with {deaths.status}")


def events_on_a_terminal():
    """A log is a file that others may have written to."""
    with open(os.path.join(directory, "events.jsonl"), "a", encoding="utf-8") as log:
        log.write('{"time":"2026-01-01T00:00:00.000Z\\u001b[2J","event":"\\u001b[31mred","ke\\u0007y":"\\u001b]0;title\\u0007"}\nno event\n')
    watcher = Watcher("events", "nexmark_bids", "--follow", terminal=True)
    watcher.wait_for(lambda text: "red" in text and "could not be read" in text, "damaged line")
    with open(os.path.join(directory, "events.jsonl"), "a", encoding="utf-8") as log:
        log.write("no event either\n")
    watcher.wait_for(lambda text: text.count("1 lines could not be read") == 2, "second damaged line")
    check("\033" not in watcher.text and "\a" not in watcher.text, f"events passes terminal codes on: {watcher.text!r}")
    os.write(watcher.fd, b"\x03")
    check(watcher.ended() == signal.SIGINT, f"Ctrl-C ends events --follow with {watcher.status}")


def run_on_a_terminal():
    job = Watcher("run", "nexmark_q0", "--set=events=0", "--set=rate=2000", "--set=output=", "--checkpoint-interval=50ms", terminal=True)
    job.wait_for(lambda text: re.search(r"\rnexmark_q0: running .*lag \d+, checkpoints \d+", text), "progress line")
    os.write(job.fd, b"\x03")
    check(job.ended() == 0, f"Ctrl-C ends run with {job.status}")
    check(re.search(r"\rnexmark_q0: [^\n]*\033\[K\n", job.text), f"no whole line at the end: {job.text[-300:]!r}")


def main():
    global directory
    log = open(os.path.join(work, "run.log"), "w+")
    job = subprocess.Popen([weir, "run", "nexmark_bids", "--set=events=0", "--set=rate=2000", f"--set=output={work}/results",
                            "--checkpoint-interval=100ms", "--restart-attempts=1000"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(lambda: run("status", "nexmark_bids").returncode == 0, "the job")
        directory = json.loads(run("status", "nexmark_bids", "--json", LONG).stdout)["directory"]
        for part in (status_in_a_pipe, status_on_a_terminal, events_in_a_pipe, events_on_a_terminal, run_on_a_terminal):
            part()
        last = Watcher("status", "nexmark_bids", "--watch", LONG)
        last.wait_for(lambda text: "state" in text, "first status")
        check(run("stop", "nexmark_bids").returncode == 0, "stop")
        check(last.ended() == 0 and "runs no more" in last.said(), f"the job's end ends status --watch with {last.status}: {last.said()}")
        job.wait(PATIENCE_S)
    finally:
        job.kill()
        job.wait()
    if failures:
        log.seek(0)
        sys.exit(f"{len(failures)} failed; the job said:\n{log.read()[-3000:]}")
    print("all passed")


with tempfile.TemporaryDirectory() as work:
    os.environ.update(XDG_STATE_HOME=f"{work}/state", WEIR_RUNTIME_DIR=f"{work}/runtime", TERM="xterm")
    for name in ("WEIR_KILL", "WEIR_IO", "WEIR_LOG_LEVEL"):
        os.environ.pop(name, None)
    main()
