"""The job random_updates, which several figures look at: run, watched while checkpoints complete, and without any."""

import os
import time

from measure import BenchError, Job, Probe

STATE_BYTES_PER_KEY = 42  # 8-byte keys, 16-byte values, full buckets; the figure's note says what it came to


def updates_job(context, keys, options):
    probe = Probe(os.path.join(context.scratch, "probe"))
    directory = context.fresh_directory("updates-checkpoints")
    options = [f"--set=probe={probe.path}", f"--set=keys={keys}", *options]
    return Job(context, "random_updates", directory, options), probe


def watch_checkpoints(job, probe, count):
    """Pauses in ms of the next `count` checkpoints, and M records/s meanwhile."""
    first = last = job.status()["checkpoints"]["last"]["id"]
    begun, records = time.monotonic(), probe.records()
    pauses, state_bytes = [], 0
    while last - first < count:
        time.sleep(0.1)
        status = job.status()
        if status is None or time.monotonic() - begun > 20 * count:
            raise BenchError("checkpoints do not come about; see the job's event log")
        newest = status["checkpoints"]["last"]["id"]
        if newest > last:
            task = next(t for t in status["tasks"] if "count" in t["operators"])
            pauses.append(task["pause_us_last"] / 1000)
            state_bytes = task["state_bytes"]
            last = newest
    rate = (probe.records() - records) / (time.monotonic() - begun) / 1e6
    return pauses, rate, state_bytes


def without_checkpoints(context, keys, seconds=8):
    job, probe = updates_job(context, keys, ["--checkpoint-interval=off"])
    with job:
        job.wait_until(lambda: probe.records() >= keys, "filling the state")
        time.sleep(1)
        begun, records = time.monotonic(), probe.records()
        while time.monotonic() - begun < seconds: # looks at the status as often as the other run does
            time.sleep(0.1)
            job.status()
        return (probe.records() - records) / (time.monotonic() - begun) / 1e6
