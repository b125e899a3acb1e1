#!/usr/bin/env python3
"""Where processes may not be traced, the tests that trace them say so and end with 77: none of them passes without having killed anybody."""
import os
import subprocess
import sys

from crash_run import Failure
from support import run_cases

TRACING = ("instructions", "F2_system_calls", "F11_fork_fails")


def is_skipped(setting, name):
    here = os.path.dirname(os.path.abspath(__file__))
    command = [os.path.join(os.path.dirname(setting.program), "refuse_call"), "ptrace", "EPERM", sys.executable, "-B",
               os.path.join(here, f"{name}.py"), "--program", setting.program, "--scratch", setting.scratch]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode == 2:
        raise Failure(done.stdout.strip())
    if done.returncode != 77 or "skipped: step_killer: ptrace: Operation not permitted" not in done.stdout:
        raise Failure(f"{name} without ptrace: status {done.returncode}:\n{done.stdout}")
    setting.count("skipped in words")


def make_cases(setting, random):
    for name in TRACING:
        yield name, lambda s, n=name: is_skipped(s, n)


if __name__ == "__main__":
    run_cases("crash.without_ptrace", __doc__, make_cases)
