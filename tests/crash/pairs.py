#!/usr/bin/env python3
"""A second kill, and a third, while the job recovers from the first: in place, or by going back to its last checkpoint. Chosen rows, and every
ordered pair of kill points: the short test takes a sample of them, the long one (or WEIR_TEST_PAIRS=all, or =n/of for a slice) goes through all."""
import os
import signal

import sweep
from crash_run import EndedEarly, Failure, Job, with_longer_jobs
from support import run_cases

GOING_BACK = [  # --takeover=off
    "p5:2@sink,t5:200@track,v1:1@coordinator", "p5:2@sink,t4:100@track,v2:1@track", "c2:50@sink,v5:1@sink", "p5:2@sink,t6:100@track,v3:1@launcher",
    "p2:3@sink,v4:1@sink", "p4:3@sink,v4:1@sink", "p4:3@tally,v2:1@tally", "k6:3,c1:1@track,k10:1", "k5:3,t4:1@track", "k7:3,p3:1@sink",
    "k8:3,p4:1@sink", "h3:3@snapshot:track,t5:1@track", "h6:3@snapshot:sink,k1:1", "b4:3@track,h3:1@snapshot:track",
    "b4:4@sink,h6:1@snapshot:sink", "p5:2@sink,r4:200@file,v5:1@track", "s3:3@file,s3:1@sequence", "b5:3@sequence,b1:1@track",
    "p5:2@sink,k10:1,v1:1", "p5:2@sink,t5:200@track,k10:1,v1:1", "p4:2@sink,k10:1@coordinator,v4:1@sink,p3:1@sink",
    "p5:2@sink,v5:1@track,v5:1@sink,v5:1@tally,v2:1@track,v1:1", "k9:1,k9:1", "k6:2,k6:1,k6:1", "k4:2,k3:1,k5:1",
    "p5:2@sink,v5:1@file,v5:1@sequence,k2:2", "p5:2@sink,t5:300@track,v3:2@launcher", "p3:4@tally,p4:1@sink,k6:1",
]

IN_PLACE = [  # a taker is killed, or a neighbour, a snapshot child or the coordinator beside it; and every kill point of a barrier
    "t5:200@track,u1:1@track", "t4:200@track,u2:1@track", "t5:200@track,u3:1@track,u3:1@track", "t6:200@track,u5:1@track,u1:1@track",
    "t5:200@track,t4:1@sink", "t4:300@track,u2:1@track,u3:1@track", "t9:5@track,u2:1@track", "t8:5@track,u1:1@track",
    "b1:3@track,u3:1@track", "b2:3@track,u3:1@track", "b3:3@track,u1:1@track", "b3:3@track,b3:1@track", "b3:3@track,h3:1@snapshot:track",
    "b3:2@tally,b3:1@tally,b3:1@tally", "b4:3@track,u1:1@track", "b4:3@track,h3:1@snapshot:track", "b4:3@sink,b4:1@sink", "b5:3@track,u3:1@track",
    "b5:3@file,b1:1@track", "p1:3@sink,p1:1@sink", "p2:3@sink,u1:1@sink", "p2:3@sink,p2:1@sink", "p3:3@sink,p3:1@sink", "p4:3@sink,p4:1@sink",
    "p4:3@tally,u3:1@tally", "p5:3@sink,u1:1@sink", "p5:2@sink,t5:200@track,k7:1", "h1:3@snapshot:track,t5:1@track", "h3:3@snapshot:track,t5:1@track",
    "h6:3@snapshot:sink,t5:1@sink", "h7:3@snapshot:sink,b3:1@sink", "k6:3,c1:1@track", "k5:3,t4:1@track", "k7:3,p3:1@sink", "k8:3,p4:1@sink",
    "k4:2,b3:1@track", "s3:3@file,s3:1@sequence", "s1:100@file,s2:1@file", "r1:100@track,r4:1@track,r2:1@track", "c2:200@sink,c3:1@track",
    "c4:20@sink,c4:1@track", "s3:4@sequence,b3:1@track,b4:1@sink,p4:1@sink", "t5:200@track,u4:1@track", "t7:200@track,t7:1@track,t1:1@track", "t3:200@sink,p2:1@sink",
]


def make_case(row, seed, options):
    wanted = row.count(",") + 1

    def run(setting):
        def run_one(count):
            with Job(setting, {"count": count, "rate": 40000, "seed": seed}, options) as job:
                job.run_to_end(kill=row)
                fired = job.fired()
                job.check_end()
                setting.count("jobs")
                setting.count("kills", fired)
                went = len(job.events("recovery_started"))
                setting.count("taken over", len(job.events("takeover")))
                setting.count("gone back", went)
                if went > 0 and "--takeover=on" in options and wanted <= 3:
                    raise Failure(f"{went} times the whole job went back")
                if fired != wanted:
                    raise EndedEarly(f"{fired} of {wanted} kill points fired")
        with_longer_jobs(run_one, 8000)
    return f"{row} {' '.join(options)}", run


# ---- every ordered pair ----

PAIRS_SHORT = 24
FROM_DISK = {"v1", "v2", "v4", "l1", "l2"}  # without a rollback in memory they are all reached
LOGGED = sweep.IN_TAKEOVER | {"t1"}  # there without an undo log: never
TAKEOVERS_MAX = 12  # engine/takeover.h: so many takers have to die before the job goes back
OPEN_BATCH = ("t2", "t3", "t4")  # the taker of who dies there has something to undo
TASK_KINDS = ("sources", "producers", "consumers", "tasks", "stateful", "sinks", "processors", "changing")


def first_of(point, role, back_too):
    """Rows up to the first kill of a pair. back_too: the taker is killed until the job goes back."""
    if point in sweep.IN_TAKEOVER:
        return [f"t4:20@{role}", f"{point}:1@{role}"] + [f"u1:1@{role}"] * (TAKEOVERS_MAX - 1 if back_too else 0)
    if point in sweep.IN_RECOVERY:
        return [f"{point}:1@{role}"]
    nth = 4 if point == "c4" else 100 if point in sweep.FREQUENT else 2
    row = [f"{point}:{nth}@{role}"]
    return row + [f"u1:1@{role}"] * TAKEOVERS_MAX if point in LOGGED and back_too else row


def second_of(first, first_role, point, role):
    """Rows after it. Where the first does not lead to the place of the second, a task is killed that does."""
    is_task = sweep.ROLES[first] in TASK_KINDS
    row = [f"{point}:1@{role}"]
    if point in sweep.IN_RECOVERY and not is_task and (first not in sweep.IN_RECOVERY or point == "k10"):
        return ["c1:1@track"] + row
    if point not in sweep.IN_TAKEOVER:
        return row
    same = is_task and role == first_role and first not in sweep.IN_RECOVERY
    undone = first in ("u1", "u2") or first in OPEN_BATCH
    return row if same and (point != "u2" or undone) else [f"t4:20@{role}"] + row


def pair_rows(first, first_role, second, role, choice):
    """Lists for WEIR_KILL, one a start of the job (the launcher's death ends the first), and --takeover."""
    back = {first, second} & sweep.IN_RECOVERY
    in_place = {first, second} & LOGGED
    takeover = "on" if back and in_place else "off" if back else ["on", "cold"][choice % 2] if in_place else ["on", "cold", "off"][choice % 3]
    rows = ["p5:2@sink"] if back else []  # so that there is something to go back to
    if back and in_place and first in sweep.IN_RECOVERY:
        rows += ["t4:20@track"] + ["u1:1@track"] * TAKEOVERS_MAX
    rows += first_of(first, first_role, second in sweep.IN_RECOVERY)
    following = second_of(first, first_role, second, role)
    if first_role == "launcher":
        # The next start restores: what is reached then needs no other death; the rest happens after it.
        return [rows, following if second in ("v2", "v4", "v5") else ["p5:1@sink"] * (takeover == "off") + following], takeover
    return [rows + following], takeover


def run_pair(setting, lists, options, count, seed):
    with Job(setting, {"count": count, "rate": 40000, "seed": seed}, options) as job:
        wanted = sum(map(len, lists))
        for kill in lists:
            job.start(",".join(kill))
            status = job.wait()
            if status == -signal.SIGKILL:
                job.expect_all_gone()
        if status == -signal.SIGKILL:
            job.start()
            status = job.wait()
        if status != 0:
            raise Failure(f"exit status {status}")
        fired = job.fired()
        job.check_end()
        setting.count("jobs")
        setting.count("kills", fired)
        setting.count("taken over", len(job.events("takeover")))
        setting.count("gone back", len(job.events("recovery_started")))
        if fired != wanted:
            raise EndedEarly(f"{fired} of {wanted} kill points fired")
    setting.count("ordered pairs")


def is_mixed(first, second):
    """One in place, the other where the job goes back: takers have to die until it does, and may get on before."""
    return bool({first, second} & sweep.IN_RECOVERY) and bool({first, second} & LOGGED)


def make_pair(first, second, random):
    first_role = random.choice(sweep.roles_of(first, sweep.CHAINED))
    roles = sweep.roles_of(second, sweep.CHAINED)
    role = first_role if first_role in roles else random.choice(roles)
    lists, takeover = pair_rows(first, first_role, second, role, random.randrange(6))
    seed = random.randrange(7)
    name = f"pair {first} {second}: {'; '.join(map(','.join, lists))} --takeover={takeover}"
    options = [f"--takeover={takeover}"] + (["--rollback-memory=0"] if {first, second} & FROM_DISK else [])
    return name, lambda s: with_longer_jobs(lambda count: run_pair(s, lists, options, count, seed), 8000)


def all_pairs(random, mixed=True):
    for first in sweep.ROLES:
        for second in sweep.ROLES:
            if mixed or not is_mixed(first, second):
                yield make_pair(first, second, random)


def make_cases(setting, random):
    asked = os.environ.get("WEIR_TEST_PAIRS", "all" if setting.long else "")
    pairs = list(all_pairs(random, asked != ""))
    if "/" in asked:  # a slice: n/of
        begin, step = map(int, asked.split("/"))
        yield from pairs[begin::step]
    else:
        yield from pairs if asked == "all" else random.sample(pairs, PAIRS_SHORT)
    for rows, takeover in ((GOING_BACK, "off"), (IN_PLACE, "on")):
        for row in rows:
            for options in ([], ["--io=pwrite"], ["--no-chain"]) if setting.long else ([],):
                if "--no-chain" not in options or "@tally" not in row and "snapshot:tally" not in row:
                    yield make_case(row, random.randrange(1 << 30), options + [f"--takeover={takeover}"])


if __name__ == "__main__":
    run_cases("crash.pairs", __doc__, make_cases)
