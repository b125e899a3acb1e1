#!/usr/bin/env python3
"""A second kill, and a third, while the job recovers from the first."""
from crash_run import EndedEarly, Job, with_longer_jobs
from support import run_cases

PAIRS = [
    "p5:2@sink,t5:200@track,v1:1@coordinator", "p5:2@sink,t4:100@track,v2:1@track", "c2:50@sink,v5:1@sink", "p5:2@sink,t6:100@track,v3:1@launcher",
    "p2:3@sink,v4:1@sink", "p4:3@sink,v4:1@sink", "p4:3@tally,v2:1@tally", "k6:3,c1:1@track,k10:1", "k5:3,t4:1@track", "k7:3,p3:1@sink",
    "k8:3,p4:1@sink", "h3:3@snapshot:track,t5:1@track", "h6:3@snapshot:sink,k1:1", "b4:3@track,h3:1@snapshot:track",
    "b4:4@sink,h6:1@snapshot:sink", "p5:2@sink,r4:200@file,v5:1@track", "s3:3@file,s3:1@sequence", "b5:3@sequence,b1:1@track",
    "p5:2@sink,k10:1,v1:1", "p5:2@sink,t5:200@track,k10:1,v1:1", "p4:2@sink,k10:1@coordinator,v4:1@sink,p3:1@sink",
    "p5:2@sink,v5:1@track,v5:1@sink,v5:1@tally,v2:1@track,v1:1", "k9:1,k9:1", "k6:2,k6:1,k6:1", "k4:2,k3:1,k5:1",
    "p5:2@sink,v5:1@file,v5:1@sequence,k2:2", "p5:2@sink,t5:300@track,v3:2@launcher", "p3:4@tally,p4:1@sink,k6:1",
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
                if fired != wanted:
                    raise EndedEarly(f"{fired} of {wanted} kill points fired")
        with_longer_jobs(run_one, 8000)
    return f"{row} {' '.join(options)}", run


def make_cases(setting, random):
    for row in PAIRS:
        for options in ([], ["--io=pwrite"]) if setting.long else ([],):
            yield make_case(row, random.randrange(1 << 30), options)


if __name__ == "__main__":
    run_cases("crash.pairs", __doc__, make_cases)
