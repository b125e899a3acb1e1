/*
 * weir_chaos.h - a job under faults, from a program of the user's: for test suites. It does what `weir chaos` does.
 *
 *     static const char *const options[] = {"set.input=data/small.txt", "kills=100", "seed=7"};
 *     struct weir_chaos_result result;
 *     struct weir_error error = {0};
 *     if (weir_chaos("counter", build, options, 3, &result, &error) != WEIR_OK)
 *         fail("%s (seed %llu)", error.text, (unsigned long long)result.seed);
 *
 * The job runs once without faults, then again and again, with SIGKILLs (or others, see the options) at random times to its
 * processes, and each time what it put out is compared with what the first run put out, as a multiset of lines. File sinks
 * write to a directory of each run's own in place of their own, and so does standard output: the job needs nothing for it. It
 * must come to its end by itself, and what it puts out must not depend on time or chance.
 *
 * Needs Linux 5.3 (pidfds). Works in any build of the library; kill-points and io-faults need one with kill points.
 */
#ifndef WEIR_CHAOS_H
#define WEIR_CHAOS_H

#include "weir.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What happened. Times are of all recoveries whose duration is known; 0 where there is none. */
struct weir_chaos_result {
    uint64_t seed;           /* what chance followed from: the option "seed" makes the same choices again */
    uint64_t runs;           /* of the job, without the first one */
    uint64_t faults;         /* that took effect */
    uint64_t faults_missed;  /* whose process was not there, or whose place was not reached */
    uint64_t in_place_count; /* recoveries by another process that took over; other tasks went on */
    uint64_t rollback_count; /* of the whole job, to a checkpoint in memory */
    uint64_t disk_count;     /* of the whole job, to a checkpoint on disk, by the launcher or by another one */
    uint64_t coordinator_count; /* coordinators that were replaced while records flowed on */
    int64_t recovery_ns_p50;
    int64_t recovery_ns_p99;
    int64_t recovery_ns_max;
    uint64_t records_compared; /* that were expected, in all runs together */
    uint64_t records_lost;
    uint64_t records_doubled;
    uint64_t records_wrong;    /* that nobody expected */
    char kept[1024];           /* the directory of runs that went wrong, which is the caller's then; "": none */
};

/*
 * Runs the job `name`, built by `build`, under faults. option_values is "name=value" (a flag: its name alone) of the options
 * of `chaos` and of `run`, as `weir chaos --help` lists them, without dashes, and "set.NAME=VALUE" for job parameters. An
 * option may be given several times where the help says so. Options of `run` that name a directory of their own are refused:
 * directory, dead-letter, restore, from-scratch.
 *
 * WEIR_OK: all runs put out what the first one did, all faults that were asked for were tried, and at least one took effect.
 * WEIR_ECORRUPT: the output of a run differs. WEIR_EFAILED: the job failed, or did not come to its end (run-timeout).
 * WEIR_ELIMIT: the output is right, but faults were left over as the job ended too early in all runs, or none took effect.
 * WEIR_EINVAL: a wrong option or job, or nothing to compare; and other codes for what the system refuses.
 *
 * Unlike elsewhere, *ret_result is filled in whatever comes out, as far as it is known: zeroed first. It must not be NULL;
 * error may be.
 *
 * Forks, and blocks until all is done; nothing of it runs afterwards. The caller must have one thread only, and must not wait for
 * children that it does not know. Writes below the option "scratch" (else $TMPDIR, else /tmp) only.
 */
WEIR_API int weir_chaos(const char *name, weir_build_fn build, const char *const *option_values, size_t option_count,
                        struct weir_chaos_result *ret_result, struct weir_error *error);

#ifdef __cplusplus
}
#endif
#endif /* WEIR_CHAOS_H */
