/*
 * scenario.h - a private place for one test, the processes that it starts, and what they left: output, events, status.
 *
 * A test that fails leaves by longjmp; scenario_end() is called by the fixture all the same. Every process started here is
 * killed when the test's own process dies, and every wait has a deadline, after which the test fails with the process's words.
 * Commands are given as one text, split at blanks; a word "@" stands for the checkpoint directory.
 */
#ifndef WEIR_TESTS_SCENARIO_H
#define WEIR_TESTS_SCENARIO_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#define ROOT_BYTES 384
#define PATH_BYTES 512
#define DEADLINE_S 180 /* far beyond what a loaded machine needs; a test that reaches it fails */
#define TIMEOUT_S 900  /* of a whole test, that hangs where no deadline watches */

struct process {
    pid_t pid; /* 0: none, or waited for */
    char out_path[PATH_BYTES];
    char err_path[PATH_BYTES];
};

#define SCENARIO_PROCESSES_MAX 64

struct scenario {
    char root[ROOT_BYTES];      /* everything of this test is below it */
    char directory[PATH_BYTES]; /* checkpoints; passed to every job started */
    char output[PATH_BYTES];    /* of the job's sink; passed as --set output= */
    struct process processes[SCENARIO_PROCESSES_MAX];
    unsigned process_count;
    char *kill_list;  /* WEIR_KILL of the processes started from now on; NULL: none */
    uid_t uid;        /* 0: as the test itself */
    int limit;        /* an RLIMIT_ to set in the processes started; -1: none */
    rlim_t limit_value;
    char *out; /* standard output of the command that ended last; owned by the scenario */
    char *err;
};

/* `name` is that of the test. What an earlier run left under this name is removed. */
void scenario_begin(struct scenario *s, const char *name);
/* Kills what still runs, waits until nothing of it is left, unmounts and removes everything. */
void scenario_end(struct scenario *s);

/* Starts the test job's `run` on this scenario's directory and output, by default with much patience for processes that give no sign of
 * life. The result belongs to the scenario. */
struct process *start_job(struct scenario *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Waits for the end. The exit status, or 128 + signal. s->out and s->err are what it printed. */
int end_of(struct scenario *s, struct process *process);
/* Both. */
int run_job(struct scenario *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Runs the `weir` command / the test job's program itself with these words. Where it asks a job it waits long for the answer. */
int weir(struct scenario *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
int program(struct scenario *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Fails the test unless s->err (s->out) contains every one of the words, which end with NULL. */
void assert_says(const char *text, const char *const *words);
#define ASSERT_ERR_SAYS(s, ...) assert_says((s)->err, (const char *const[]){__VA_ARGS__, NULL})
#define ASSERT_OUT_SAYS(s, ...) assert_says((s)->out, (const char *const[]){__VA_ARGS__, NULL})

/* ---- what a job left ---- */

struct lines {
    char **line;
    size_t count;
    size_t capacity;
};
void lines_add(struct lines *lines, const char *format, ...) __attribute__((format(printf, 2, 3)));
void lines_sort(struct lines *lines);
void lines_free(struct lines *lines);
/* Every line of every finished part file below `directory`, sorted; none where there is no directory. */
struct lines output_lines(const char *directory);
/* How many lines there are so far. */
size_t output_count(const char *directory);
/* Sorts `expected`; fails with the first difference; frees both. */
void assert_same_lines(struct lines *expected, struct lines got);

/* All events of the job so far, oldest first; json_decref. */
json_t *events(const struct scenario *s);
size_t event_count(const struct scenario *s, const char *name);
/* A new reference to the n-th event of that name, from 0; negative: from the end. NULL where there is none. */
json_t *event_at(const struct scenario *s, const char *name, int n);

/* The job's status; NULL while it answers nothing. json_decref. */
json_t *job_status(struct scenario *s);
/* As the kernel shows it: 'R' running, 'S' asleep, 'T' stopped, 'Z' ended and not reaped; 0 where there is none. */
char process_state(pid_t pid);
/* Until the tasks whose name begins so have taken in as many records together: they are in the next checkpoint. */
void await_records_in(struct scenario *s, const char *task, json_int_t count);
/* The process ids of a running job: launcher, coordinator, tasks. */
unsigned job_pids(struct scenario *s, pid_t *pids, unsigned capacity);

/* Calls `holds` again and again until it is true; fails the test, naming `what`, at the deadline. */
typedef bool (*condition)(struct scenario *s, void *arg);
void await(struct scenario *s, condition holds, void *arg, const char *what);
void await_events(struct scenario *s, const char *name, size_t count);
void await_output(struct scenario *s, size_t count);
void await_running(struct scenario *s);
/* Ends a running job by the command, with its final checkpoint; its exit status must be 0. */
void stop_job(struct scenario *s, struct process *process);

/* Completed checkpoints on disk, by their manifests. */
unsigned manifests_on_disk(const struct scenario *s);
void write_file(const char *path, const char *text);
char *read_file(const char *path); /* free() */
/* A tmpfs of so many bytes on `path`, in a mount namespace of the test's own. False with the reason on standard error. */
bool mount_small_disk(const char *path, size_t size_bytes);

#endif
