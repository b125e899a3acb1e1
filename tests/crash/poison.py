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
PATIENCE = ["200ms", "2s", "8s"]  # with one that hangs
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


def others_hung(job, where):
    return [event for event in map(json.loads, job.events("task_hung")) if not event["task"].startswith(where)]


def patiently(fault, where, make, body):
    """body(job) of make(options). Where a busy machine let tasks look hung that were not, again, and longer without a sign of life."""
    patience = PATIENCE if fault == "spin" else [None]

    def run(setting):
        for timeout in patience:
            with make(setting, [f"--heartbeat-timeout={timeout}"] if timeout else []) as job:
                try:
                    return body(setting, job)
                except Failure:
                    if timeout == patience[-1] or not others_hung(job, where):
                        raise
            setting.count("tried again: others looked hung as well")
        return None
    return run


def once(fault, where):
    def body(setting, job):
        job.run_to_end()
        if not os.path.exists(os.path.join(job.directory, "fault-happened")):
            raise Failure("the fault did not happen")
        job.check_end()
        if job.events("takeover"):  # its memory is not to be trusted
            raise Failure(f"taken over in place after a fault of its own: {job.events('takeover')[0]}")
        setting.count("recovered from")
    return patiently(fault, where, lambda setting, options: make_job(setting, fault, where, options, once=True), body)


def fails(fault, where):
    def body(setting, job):
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
        job.expect_all_gone()
        setting.count("job failed, reported")
    return patiently(fault, where, lambda setting, options: make_job(setting, fault, where, options), body)


def diverted(fault, where, options=(), kill=None):
    def body(setting, job):
        letters = os.path.join(job.directory, "letters.jsonl")
        job.options += ["--on-poison", "dead-letter", "--dead-letter", letters]
        job.run_to_end(kill)
        job.check_end()
        with open(letters, encoding="utf-8") as file:
            found = {json.loads(text)["bytes_hex"] for text in file}
        if found != {bytes_of_record(50)}:
            raise Failure(f"the dead-letter file has {found}")
        setting.count("diverted")
    return patiently(fault, where, lambda setting, patience: make_job(setting, fault, where, [*options, *patience], {f"skip_{where}": AT}),
                     body)


def make_cases(setting, random):
    for where in ("track", "tally"):  # on_record, on_batch
        for fault in ("segv", "abort", "fail", "spin"):
            yield f"{fault} once in {where}", once(fault, where)
            if fault == "abort" and not setting.long:
                continue
            yield f"{fault} always in {where}", fails(fault, where)
            yield f"{fault} always in {where}, dead letter", diverted(fault, where)
    yield "dead letter and a kill", diverted("segv", "track", kill="c1:1500@track")
    yield "dead letter, no chain", diverted("fail", "track", ["--no-chain"])


if __name__ == "__main__":
    run_cases("crash.poison", __doc__, make_cases)
