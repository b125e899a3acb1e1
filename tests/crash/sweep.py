#!/usr/bin/env python3
"""Every named kill point x every process in which it can be reached x {1st, 2nd, a random nth time}: the job ends with status 0, the
kill took effect, the output is the oracle's, nothing is left behind."""
import os
import re
import sys

from crash_run import Failure, Job
from support import run_cases

SOURCES = ["file", "sequence"]
CHAINED = {"sources": SOURCES, "stateful": ["track", "sink", "tally"], "consumers": ["track", "sink", "tally"],
           "producers": SOURCES + ["track"], "sinks": ["sink", "tally"],
           "processors": SOURCES + ["track", "sink", "tally"], "changing": ["track", "tally"]}
UNCHAINED = {"sources": SOURCES, "stateful": ["track", "tally", "sink", "tally_sink"],
             "consumers": ["tag", "make", "track", "burst", "tally", "sink", "tally_sink"],
             "producers": SOURCES + ["tag", "make", "track", "burst", "tally"], "sinks": ["sink", "tally_sink"],
             "processors": ["tag", "make", "track", "burst", "tally", "sink", "tally_sink"], "changing": ["track", "tally"]}
# tally is chained to the file source, of which there is one: source, state, rings and a sink in one task. Only that one is killed.
KEYED = {"sources": ["file"], "stateful": ["file"], "consumers": [], "producers": ["file"], "sinks": ["file"], "processors": ["file"],
         "changing": ["file"]}
KEYED_OPTIONS = ["--chain-keyed", "--set=files=1"]

# Point: the roles that reach it. "snapshots" are the snapshot children of the stateful tasks.
ROLES = {
    "s1": "sources", "s2": "sources", "s3": "sources",
    "r1": "producers", "r2": "producers", "r3": "producers", "r4": "producers",
    "c1": "consumers", "c2": "tasks", "c3": "consumers", "c4": "tasks",
    "b1": "consumers", "b2": "consumers", "b3": "stateful", "b4": "tasks", "b5": "tasks",
    "h1": "snapshots", "h2": "snapshots", "h3": "snapshots", "h4": "snapshots", "h5": "snapshots", "h6": "snapshots",
    "h7": "snapshots",
    "k1": "coordinator", "k2": "coordinator", "k3": "coordinator", "k4": "coordinator", "k5": "coordinator", "k6": "coordinator",
    "k7": "coordinator", "k8": "coordinator", "k9": "coordinator", "k10": "coordinator",
    "p1": "sinks", "p2": "sinks", "p3": "sinks", "p4": "sinks", "p5": "sinks",
    "t1": "stateful", "t2": "processors", "t3": "tasks", "t4": "tasks", "t5": "tasks", "t6": "producers", "t7": "tasks",
    "t8": "stateful", "t9": "stateful", "u1": "tasks", "u2": "changing", "u3": "tasks", "u4": "tasks", "u5": "tasks",
    "v1": "coordinator", "v2": "stateful", "v3": "launcher", "v4": "sinks", "v5": "tasks", "l1": "stateful", "l2": "stateful",
}
FREQUENT = {"s1", "s2", "r1", "r2", "r3", "r4", "c1", "c2", "c3", "c4", "t2", "t3", "t4", "t5", "t6", "t7"}
# Reached by a process that takes over; the job runs with --takeover=on, all others with on and with off.
IN_TAKEOVER = {"u1", "u2", "u3", "u4", "u5"}
# Reached when the whole job goes back; the job runs with --takeover=off.
IN_RECOVERY = {"k10", "v1", "v2", "v3", "v4", "v5", "l1", "l2"}
# How state comes back: from memory, or read from disk in one of two ways. The last two points are of one of them only.
ON_DISK = [["--rollback-memory=0", "--restore-mode=lazy"], ["--rollback-memory=0", "--restore-mode=eager"]]
WAYS_BACK = {"v2": [[]] + ON_DISK, "v4": [[]] + ON_DISK, "l1": ON_DISK[:1], "l2": ON_DISK[:1]}
# What makes a recovery happen, once there are checkpoints to go back to.
FIRST_DEATH = "p5:3@sink"

# (point, role, plan) that no run reaches, each with its reason. Any other that is not reached, and any of these that is, fails
# the sweep.
UNREACHED = {}
ATTEMPTS = 7  # a row may be missed: whether, say, a chunk is written while its cut lives is a matter of time.
              # Each attempt is twice as long as the one before


def points_of_header():
    header = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../base/kill_point.h")
    with open(header, encoding="utf-8") as file:
        return re.findall(r"^    X\((\w+),", file.read(), re.M)


def roles_of(point, plan):
    kind = ROLES[point]
    if kind in ("coordinator", "launcher"):
        return [kind]
    if kind == "snapshots":
        return [f"snapshot:{task}" for task in plan["stateful"]]
    if kind == "tasks":
        return sorted(set(plan["sources"] + plan["consumers"]))
    return plan[kind]


def row_text(point, role, nth):
    row = f"{point}:{nth}@{role}"
    if point in IN_TAKEOVER:  # of the second, and third: the takers of takers
        return f"t4:20@{role}" + f",{point}:1@{role}" * min(nth, 2)
    if point not in IN_RECOVERY:
        return row
    return f"{FIRST_DEATH},{row}" if nth == 1 else f"{FIRST_DEATH},c1:1@track,{point}:1@{role}"


def run_row(setting, row, options, parameters):
    with Job(setting, parameters, options) as job:
        job.run_to_end(kill=row)
        fired = job.fired()
        job.check_end()
        setting.count("jobs")
        setting.count("kills", fired)
        setting.count("taken over", len(job.events("takeover")))
        setting.count("gone back", len(job.events("recovery_started")))
        return fired == row.count(",") + 1


def make_case(point, role, plan_name, options, seed, nth):
    def run(setting):
        listed = (point, role, plan_name) in UNREACHED
        for attempt in range(1 if listed else ATTEMPTS):
            parameters = {"count": 8000 << attempt, "seed": seed % 7, "rate": 40000}
            if run_row(setting, row_text(point, role, nth if attempt == 0 else 1), options, parameters):
                setting.count(f"fired, points {point[0]}")
                if listed:
                    raise Failure("listed as not reached, but it was")
                return
            setting.count("not reached, as listed" if listed else "missed, tried again with the 1st in a longer job")
        if not listed:
            raise Failure("the kill point was not reached")
    return f"{row_text(point, role, nth)} {plan_name} {' '.join(options[-2:])}", run


def takeovers_of(point, role, long, number):
    if point in IN_TAKEOVER or point == "t1":  # the undo log
        return ["on", "cold"] if long else [["on", "cold"][number % 2]]
    if point in IN_RECOVERY:
        return ["off"]
    if point[0] in "hk":  # no task dies of them
        return ["on"]
    if long:
        return ["on", "cold", "off"]
    return ["on", "off"] if number % 4 == 0 else ["cold"] if number % 4 == 2 else ["on"]


def make_cases(setting, random):
    if sorted(points_of_header()) != sorted(ROLES):
        sys.exit(f"kill_point.h and this sweep differ: {set(points_of_header()) ^ set(ROLES)}")
    variants = [("chained", CHAINED, []), ("no-chain", UNCHAINED, ["--no-chain"]), ("chain-keyed", KEYED, KEYED_OPTIONS), ("pwrite", CHAINED, ["--io=pwrite"])]
    number = random.randrange(6)
    for point in ROLES:
        for plan_name, plan, options in variants:
            if plan_name == "pwrite" and point[0] not in "hk":
                continue
            if plan_name == "chain-keyed" and ROLES[point] in ("coordinator", "launcher"):
                continue
            for role in roles_of(point, plan):
                number += 1
                nths = [1, 2, random.randint(3, 300 if point in FREQUENT else 4)]
                if not setting.long:  # one of them; over all rows each comes as often
                    nths = [nths[number % 3]]
                    if plan_name == "no-chain" and role in CHAINED["producers"] + CHAINED["consumers"] and number % 2 == 0:
                        continue
                for takeover in takeovers_of(point, role, setting.long, number):
                    for nth, way in [(nth, way) for nth in nths for way in WAYS_BACK.get(point, [[]])]:
                        yield make_case(point, role, plan_name, options + way + [f"--takeover={takeover}"], random.randrange(1 << 30), nth)


if __name__ == "__main__":
    run_cases("crash.sweep", __doc__, make_cases)
