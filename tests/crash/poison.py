#!/usr/bin/env python3
"""A record that crashes, hangs or fails its operator: once, and it is recovered from; every time, and it is found out, reported with its
position and bytes, and the job fails, or the record goes to the dead-letter file and the output is right without it."""
import json
import os
import struct

import oracle
from crash_run import Failure, Job
from support import run_cases

AT = 777
PARAMETERS = {"count": 6000, "rate": 40000, "seed": 5}


def bytes_of_record(keys):
    """What the operators see of the record: `tag` has mixed its hash."""
    sequence, key, value = list(oracle.file_events(PARAMETERS["count"], keys, PARAMETERS["seed"]))[AT]
    return struct.pack("<QQQQ", 0, sequence, key, oracle.mix(value)).hex()


def make_job(setting, fault, where, options=(), expected=None, once=False):
    job = Job(setting, PARAMETERS, list(options), [f"fault={fault}", f"fault-in={where}", f"fault-at={AT}"], expected)
    if once:
        job.settings.append(f"fault-once={os.path.join(job.directory, 'fault-happened')}")
    return job


def once(fault, where, options):
    def run(setting):
        with make_job(setting, fault, where, options, once=True) as job:
            job.run_to_end()
            if not os.path.exists(os.path.join(job.directory, "fault-happened")):
                raise Failure("the fault did not happen")
            job.check_end()
            if job.events("takeover"):  # its memory is not to be trusted
                raise Failure(f"taken over in place after a fault of its own: {job.events('takeover')[0]}")
            setting.count("recovered from")
    return run


def fails(fault, where, options):
    def run(setting):
        with make_job(setting, fault, where, options) as job:
            job.start()
            status = job.wait()
            if status == 0:
                raise Failure("the job ended well in spite of a poison record")
            job.check_committed()
            events = [json.loads(line) for line in job.events("poison_record")]
            if len(events) != 1 or events[0].get("bytes") != bytes_of_record(50) or "position" not in events[0]:
                raise Failure(f"the poison record was not reported with its bytes and position: {events}")
            if events[0]["attempts"] != 3 or not events[0]["task"].startswith(where):
                raise Failure(f"reported wrongly: {events}")
            if bytes_of_record(50) not in job.log():
                raise Failure("its bytes are not in the error")
            if job.processes():
                raise Failure("a process is left")
            setting.count("job failed, reported")
    return run


def diverted(fault, where, options, kill=None):
    def run(setting):
        with make_job(setting, fault, where, options, {f"skip_{where}": AT}) as job:
            letters = os.path.join(job.directory, "letters.jsonl")
            job.options += ["--on-poison", "dead-letter", "--dead-letter", letters]
            job.run_to_end(kill)
            job.check_end()
            with open(letters, encoding="utf-8") as file:
                found = {json.loads(text)["bytes_hex"] for text in file}
            if found != {bytes_of_record(50)}:
                raise Failure(f"the dead-letter file has {found}")
            setting.count("diverted")
    return run


def make_cases(setting, random):
    hang = ["--heartbeat-timeout=200ms"]
    for where in ("track", "tally"):  # on_record, on_batch
        for fault, options in (("segv", []), ("abort", []), ("fail", []), ("spin", hang)):
            yield f"{fault} once in {where}", once(fault, where, options)
            if fault == "abort" and not setting.long:
                continue
            yield f"{fault} always in {where}", fails(fault, where, options)
            yield f"{fault} always in {where}, dead letter", diverted(fault, where, options)
    yield "dead letter and a kill", diverted("segv", "track", [], "c1:1500@track")
    yield "dead letter, no chain", diverted("fail", "track", ["--no-chain"])


if __name__ == "__main__":
    run_cases("crash.poison", __doc__, make_cases)
