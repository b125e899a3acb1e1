/*
 * options.h - what `weir chaos` and weir_chaos() take besides the options of `run`: one table, from which the parser, the
 * help, the manual page and the completion come.
 */
#ifndef WEIR_CHAOS_OPTIONS_H
#define WEIR_CHAOS_OPTIONS_H

#include "weir.h"

#include <limits.h>

#define CHAOS_TARGETS_MAX 64

/* name, placeholder (NULL: a flag), what it does, how it is parsed, field of struct chaos_options */
#define CHAOS_OPTION_TABLE(X)                                                                                          \
    X("kills", "COUNT", "How many random faults, over as many runs of the job as it takes (default: 50, or 0 where "   \
                        "--kill-points or "                                                                            \
      "--io-faults is given)", COUNT, kills)                                                                           \
    X("interval", "TIME", "Mean time between two random faults; their waits are exponentially distributed (default: 50ms)", \
      DURATION,                                                                                                        \
      interval_ns)                                                                                                     \
    X("fault", "KIND", "A kind of random fault: kill, segv, abort, or stop (SIGSTOP, then SIGCONT); may be given for each " \
                       "of them "                                                                                      \
      "(default: kill)", KIND, kinds)                                                                                  \
    X("target", "TARGET", "Whom the random faults hit: OPERATOR, OPERATOR/INDEX, task, snapshot, coordinator, launcher or " \
                          "standby; may be "                                                                           \
      "given for each of them (default: mostly tasks, then snapshot children, the coordinator, the launcher)", TARGET, targets) \
    X("hold", "TIME", "The longest time that a stopped process stays stopped (default: 50ms)", DURATION, hold_ns)     \
    X("kill-points", "LIST", "A run for the first, second and some later time that each of these kill points is reached: " \
                             "names between "                                                                          \
      "commas, or all; in builds with kill points", TEXT, kill_points)                                                \
    X("io-faults", "LIST", "A run for each of these disk faults, OPERATION:NTH[*TIMES]:error=NAME or :delay=MS between " \
                           "commas, or all: "                                                                          \
      "every operation's first, second and some later call, failing and slow; in builds with kill points", TEXT, io_faults) \
    X("seed", "NUMBER", "What is left to chance follows from it: the same seed makes the same choices again (default: a new " \
                        "one)", SEED,                                                                                  \
      seed)                                                                                                            \
    X("runs", "COUNT", "Most runs for the random faults (default: 1000)", COUNT, runs_max)                            \
    X("run-timeout", "TIME", "A run that takes longer has failed (default: 5min)", DURATION, timeout_ns)              \
    X("expect", "PATH", "The output that is right, a file or a directory of files, in place of a run without faults; for " \
                        "several outputs "                                                                             \
      "a directory with an entry named for each", TEXT, expect)                                                       \
    X("output-param", "NAME", "A parameter of the job that names a directory for output: a new one for each run, compared " \
                              "like those of the "                                                                     \
      "file sinks, which are found without it", TEXT, output_param)                                                   \
    X("record-bytes", "COUNT", "Outputs are records of so many bytes, not lines", COUNT, record_bytes)                \
    X("scratch", "DIR", "Where the runs have their directories (default: $TMPDIR, else /tmp)", TEXT, scratch)         \
    X("keep", NULL, "Keeps the directories of all runs, not only of those that went wrong", FLAG, keep)

struct chaos_options {
    uint64_t kills;
    int64_t interval_ns;
    unsigned kinds; /* bits of enum fault_kind; 0: the default */
    const char *targets[CHAOS_TARGETS_MAX]; /* borrowed, as all texts */
    unsigned target_count;
    int64_t hold_ns;
    const char *kill_points; /* NULL: none */
    const char *io_faults;
    uint64_t seed;
    bool seed_given;
    bool kills_given;
    uint64_t runs_max;
    int64_t timeout_ns;
    const char *expect;
    const char *output_param;
    uint64_t record_bytes; /* 0: lines */
    const char *scratch;
    bool keep;
};

void chaos_options_init(struct chaos_options *options);
#define CHAOS_OPTIONS_MAX 64
/* NULL past the end. */
const char *chaos_options_name(size_t index);
/* Whether there is an option of this name. */
bool chaos_options_has(const char *name);
/* value NULL for flags. WEIR_EINVAL, in words. */
int chaos_options_set(struct chaos_options *options, const char *name, const char *value, struct weir_error *err);
/* Once all are set: defaults that depend on others, the seed, what does not go together. */
int chaos_options_finish(struct chaos_options *options, struct weir_error *err);

#endif
