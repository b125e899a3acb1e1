"""What the test programs of this folder share: arguments, and running named cases."""
import argparse
import concurrent.futures
import os
import random
import subprocess
import sys
import time
import traceback

from crash_run import Failure, Setting


def read_arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--program", required=True, help="the built jobs/crash_job")
    parser.add_argument("--scratch", required=True, help="a directory for the jobs' directories")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("WEIR_TEST_SEED", random.SystemRandom().randrange(1 << 31))))
    parser.add_argument("--only", default="", help="run only cases whose name contains this")
    parser.add_argument("--workers", type=int, default=3, help="jobs at the same time")
    return parser.parse_args()


def no_tracing(setting):
    """Why processes may not be traced here (a container's seccomp profile, kernel.yama.ptrace_scope), or None where they may."""
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            done = subprocess.run([os.path.join(os.path.dirname(setting.program), "step_killer"), "--permitted", str(stranger.pid)],
                                  stderr=subprocess.PIPE, text=True, check=False)
        finally:
            stranger.kill()
    if done.returncode not in (0, 2):
        raise Failure(f"step_killer --permitted: status {done.returncode}: {done.stderr.strip()}")
    return done.stderr.strip() if done.returncode == 2 else None


def run_cases(name, description, make_cases, unable=None):
    """make_cases(setting, random) gives (name, function of setting); all are run, failures are gathered, counts printed.
    unable(setting): why none of them can be run here, or None. Then the test is skipped, status 77."""
    arguments = read_arguments(description)
    setting = Setting(name, arguments)
    print(f"{name}: seed {setting.seed}, {'long' if setting.long else 'short'}", flush=True)
    reason = unable(setting) if unable is not None else None
    if reason is not None:
        print(f"skipped: {reason}")
        sys.exit(77)
    begun = time.monotonic()
    cases = [case for case in make_cases(setting, random.Random(setting.seed)) if arguments.only in case[0]]
    failures = []

    def run(case):
        try:
            case[1](setting)
        except Failure as failure:
            return f"{case[0]}: {failure}"
        except Exception:  # a defect of the test: shown, and counted as a failure
            return f"{case[0]}: {traceback.format_exc()}"
        return None

    with concurrent.futures.ThreadPoolExecutor(arguments.workers) as pool:
        for case, failure in zip(cases, pool.map(run, cases)):
            setting.count("cases")
            if failure is not None:
                failures.append(failure)
                print(f"FAILED {failure}", flush=True)
    setting.report(failures, begun)
