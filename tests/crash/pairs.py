#!/usr/bin/env python3
"""A second kill, and a third, while the job recovers from the first: in place, or by going back to its last checkpoint."""
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


def make_cases(setting, random):
    for rows, takeover in ((GOING_BACK, "off"), (IN_PLACE, "on")):
        for row in rows:
            for options in ([], ["--io=pwrite"], ["--no-chain"]) if setting.long else ([],):
                if "--no-chain" not in options or "@tally" not in row and "snapshot:tally" not in row:
                    yield make_case(row, random.randrange(1 << 30), options + [f"--takeover={takeover}"])


if __name__ == "__main__":
    run_cases("crash.pairs", __doc__, make_cases)
