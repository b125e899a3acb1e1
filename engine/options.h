/*
 * options.h - the options of a run: one table, from which the parser, --help, the manual page, the shell completion,
 * weir_default() and weir_run() come.
 *
 * A value comes from the strongest of: the user (command line, weir_run), the environment, the job's own defaults
 * (weir_default), the table. job_options_set() may be called in any order: a weaker source never replaces a stronger one,
 * but its value is checked all the same.
 *
 * Launcher only, before any task exists; struct job_options is plain data that every process has a copy of after fork.
 * Nothing here blocks or keeps state of its own.
 */
#ifndef WEIR_ENGINE_OPTIONS_H
#define WEIR_ENGINE_OPTIONS_H

#include "weir.h"

#include <limits.h>

enum option_guarantee { OPTION_EXACTLY_ONCE, OPTION_AT_LEAST_ONCE, OPTION_NO_GUARANTEE };
enum option_io { OPTION_IO_AUTO, OPTION_IO_URING, OPTION_IO_PWRITE };
enum option_restart {
    OPTION_RESTART_NONE,
    OPTION_RESTART_FIXED_DELAY,       /* at most restart_attempts in all, restart_delay_ns apart */
    OPTION_RESTART_EXPONENTIAL_DELAY, /* restart_delay_ns, doubled up to restart_delay_max_ns; reset after restart_window_ns */
    OPTION_RESTART_FAILURE_RATE       /* at most restart_attempts within restart_window_ns, restart_delay_ns apart */
};
enum option_takeover { OPTION_TAKEOVER_OFF, OPTION_TAKEOVER_COLD, OPTION_TAKEOVER_ON };
enum option_restore_mode { OPTION_RESTORE_LAZY, OPTION_RESTORE_EAGER };
enum option_poison { OPTION_POISON_FAIL, OPTION_POISON_DEAD_LETTER };
enum option_log_level { OPTION_LOG_ERROR, OPTION_LOG_WARNING, OPTION_LOG_INFO, OPTION_LOG_DEBUG }; /* as enum log_level */

#define OPTION_UNLIMITED UINT64_MAX
#define OPTION_SPIN_AUTO INT64_C(-1)
#define OPTION_CPUS_MAX 256
#define OPTION_PARAMS_MAX 256
#define OPTION_ROWS_MAX 64

struct option_cpus {
    bool automatic; /* spread tasks over the CPUs that the process may use */
    uint16_t count; /* 0 and not automatic: no pinning */
    uint16_t cpu[OPTION_CPUS_MAX];
};

/* --set NAME=VALUE; one block of memory: name, zero, value, zero. */
struct option_param {
    char *name;
    const char *value;
};

/* Who gave a value; a larger one is stronger. */
enum option_source { OPTION_FROM_TABLE, OPTION_FROM_JOB, OPTION_FROM_ENVIRONMENT, OPTION_FROM_USER };

struct job_options {
    char name[WEIR_NAME_BYTES_MAX + 1]; /* "": the job's own */
    char directory[PATH_MAX];           /* absolute once job_options_finish() was called */
    int64_t checkpoint_interval_ns;     /* 0: not periodic */
    uint64_t checkpoint_records;        /* 0: off */
    int64_t checkpoint_min_pause_ns;
    int64_t checkpoint_timeout_ns;
    uint64_t checkpoint_tolerated_failures; /* consecutive; OPTION_UNLIMITED */
    uint64_t checkpoints_retained;
    int guarantee; /* enum option_guarantee */
    int io;        /* enum option_io */
    bool no_chain;
    bool chain_keyed;
    uint64_t ring_bytes; /* a power of two */
    uint64_t batch_records;
    int64_t batch_time_ns;
    uint64_t state_limit_bytes; /* of one task */
    uint64_t rollback_memory_bytes; /* of one task; 0: no rollback in memory */
    uint64_t overflow_limit_bytes;
    uint64_t key_groups;
    int takeover; /* enum option_takeover */
    int restart; /* enum option_restart */
    uint64_t restart_attempts;
    int64_t restart_delay_ns;
    int64_t restart_delay_max_ns;
    int64_t restart_window_ns;
    int on_poison; /* enum option_poison */
    uint64_t poison_attempts;
    char dead_letter[PATH_MAX];
    int64_t heartbeat_timeout_ns; /* 0: off */
    struct option_cpus pin_cpus;
    int64_t spin_ns; /* OPTION_SPIN_AUTO: the engine chooses */
    bool busy_poll;
    bool from_scratch;
    uint64_t restore; /* 0: the newest that is complete and undamaged */
    int restore_mode; /* enum option_restore_mode */
    bool quiet;
    bool no_progress;
    int log_level; /* enum option_log_level */
    struct option_param *params;
    size_t param_count;
    unsigned char source[OPTION_ROWS_MAX]; /* enum option_source, by index of the table */
};

enum option_type {
    OPTION_DURATION, /* int64_t ns: a number with us, ms, s, min or h behind it */
    OPTION_BYTES,    /* uint64_t: a number, or with k, M, G (1000) or KiB, MiB, GiB (1024) behind it */
    OPTION_COUNT,    /* uint64_t: a number, or with k, M, G behind it */
    OPTION_CHOICE,   /* int: index in choices */
    OPTION_FLAG,     /* bool */
    OPTION_NAME,     /* char[WEIR_NAME_BYTES_MAX + 1] */
    OPTION_PATH,     /* char[PATH_MAX] */
    OPTION_CPUS,     /* struct option_cpus */
    OPTION_PARAM     /* --set; repeatable */
};

/* One row of the table. Constant, static memory. */
struct option {
    const char *name; /* long name, without dashes */
    size_t offset;    /* in struct job_options */
    enum option_type type;
    bool power_of_two;
    bool percent_of_memory; /* OPTION_BYTES: "50%" of the machine's memory is accepted */
    const char *placeholder;
    const char *fallback; /* the default as text; NULL: none (flags: off) */
    int64_t minimum;      /* durations in ns; counts, bytes */
    int64_t maximum;
    const char *special;        /* a word that is accepted besides numbers, "off"; NULL: none */
    int64_t special_value;      /* and what it means */
    const char *const *choices; /* OPTION_CHOICE: names in the order of the enum, NULL at the end */
    const char *choices_of;     /* the option whose choices are accepted here as well, and set it; NULL: none */
    const char *environment;    /* the variable that gives it too; NULL: none */
    const char *group;          /* heading in --help */
    const char *help;           /* one sentence, no default in it: that is added */
};

size_t option_count(void);
const struct option *option_at(size_t index);       /* NULL past the end */
const struct option *option_find(const char *name); /* NULL: no such option */

/* Every option at the default of the table. Free with job_options_free(). */
void job_options_init(struct job_options *options);
void job_options_free(struct job_options *options);

/* Sets one option from text; a flag takes "true", "false" or NULL (true). "set.NAME" with a value sets a job parameter.
 * WEIR_EINVAL: no such option, or a value that is not accepted; the text says what is, and options stay as they were. */
int job_options_set(struct job_options *options, const char *name, const char *value, enum option_source source,
                    struct weir_error *err);
/* Takes what the environment gives. */
int job_options_set_environment(struct job_options *options, struct weir_error *err);
/* Once everything is set: finds the directory of the job (--directory, else $XDG_STATE_HOME/weir/<name>, else
 * ~/.local/state/weir/<name>), makes paths absolute, and checks what no single option can: WEIR_EINVAL. */
int job_options_finish(struct job_options *options, const char *job_name, struct weir_error *err);

/* The default directory of a job into directory[PATH_MAX]. */
int job_options_directory(const char *job_name, char *directory, struct weir_error *err);
/* The value of a job parameter; NULL: not given. Owned by options. */
const char *job_options_param(const struct job_options *options, const char *name);
/* The current value as text that job_options_set() accepts ("" for none). Returns buffer. */
const char *option_format(const struct job_options *options, const struct option *option, char *buffer, size_t capacity);

#endif
