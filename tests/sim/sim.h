/*
 * sim.h - one seed of the simulator: its processes, clock, memory, disk and faults. One operating-system process and thread; what looks
 * like a process to the engine is a coroutine here (struct proc), and what looks like a kernel is kernel.c.
 *
 * Everything is drawn from the seed, so a seed replays. The one global is `sim`: functions that stand in for the C library's are
 * handed nothing else.
 */
#ifndef WEIR_TESTS_SIM_H
#define WEIR_TESTS_SIM_H

#include "engine/job.h"
#include "faults/disk_model.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <sys/types.h>

#define SIM_PROCS_MAX 256
#define SIM_TASKS_MAX 16
#define SIM_NAME_BYTES 96
#define SIM_FAT_BYTES_MAX 15000u

enum proc_state { PROC_RUNNABLE, PROC_BLOCKED, PROC_ZOMBIE };

/* What a blocked process waits for; it is looked at again in every turn of the scheduler. */
enum wait_kind { WAIT_TIME, WAIT_FUTEX, WAIT_MUTEX, WAIT_FDS };

struct proc {
    int pid;
    int parent; /* pid; 1: nobody waits for it */
    int run;    /* of which start of the command */
    enum proc_state state;
    char name[SIM_NAME_BYTES]; /* as in the log; "" before it has one */
    bool dies_with_parent;
    int exit_status;
    int64_t reapable_ns;
    bool announced; /* its parent has read SIGCHLD */
    int64_t stopped_until_ns; /* SIGSTOP; 0: not */
    int64_t ran_ns;           /* last */
    /* the coroutine */
    void *sp;
    unsigned char *stack;
    size_t stack_bytes, stack_capacity;
    int fork_result;
    int saved_errno;
    void (*main_fn)(void);
    /* blocked */
    enum wait_kind wait;
    const void *wait_address; /* futex, mutex */
    uint64_t wait_fds;        /* a bit for each of the simulator's descriptors */
    bool woken;
    int64_t deadline_ns;
    /* faults */
    int64_t doomed_in; /* killed after so many more accesses to memory; 0: not */
    struct task_shared *marked;
    struct sigaction actions[NSIG];
};

/* What a seed is like; drawn at its beginning. */
struct profile {
    unsigned sources, counts, sinks;
    uint32_t records; /* of each source */
    uint32_t keys;
    uint32_t fat; /* rows behind the count are up to so much larger: rings are full, queues run over */
    uint32_t fat_state; /* and elements of lists */
    bool no_chain;
    unsigned cpus;
    const char *takeover;
    const char *rollback_memory;
    bool eager; /* state is read before the first record */
    char interval[24];
    uint64_t retained;
    int64_t burst;         /* accesses to memory between two switches, about */
    unsigned faults;       /* at times */
    unsigned point_faults; /* at and near kill points */
    unsigned point_odds;   /* one in so many */
    bool power_cuts;
    bool launcher_kills;
    bool disk_errors;
    bool slow_disk;
    bool fork_errors;
    bool no_children_file; /* a kernel that does not list a process's children */
    int64_t fault_gap_ns;
};

struct sim {
    uint64_t seed;
    uint64_t random;
    struct profile profile;
    int64_t now_ns;
    int64_t wall_offset_ns;
    uint64_t accesses;
    uint64_t switches;
    uint64_t hash; /* of the trace */
    FILE *trace_to; /* NULL: nobody reads it */
    bool failed;
    char reason[1024];

    struct proc *procs[SIM_PROCS_MAX];
    unsigned proc_count;
    struct proc *current;
    int next_pid;
    int run; /* how often the command was started */
    int launcher_pid;
    bool over;
    int command_code; /* of the last run that ended */
    int64_t start_at_ns; /* when the command is started (again) */

    struct disk *disk;
    struct job_shared *shared; /* of the run; NULL: none */
    unsigned task_count;

    int64_t next_fault_ns;
    unsigned faults_left;
    unsigned point_faults_left;
    bool cut_due; /* the power is cut before anybody runs again */
    int64_t last_fault_ns;
    unsigned counts_of_faults[16];
    uint64_t takeovers, rollbacks, completed, aborted, runs_failed;
};

extern struct sim sim;

/* Accesses to memory left before the scheduler is asked (hooks.c). */
extern int64_t sim_budget;

/* ---- random numbers (main.c) ---- */
uint64_t sim_random(void);
static inline uint64_t sim_below(uint64_t limit) { return sim_random() % limit; }
static inline bool sim_one_in(uint64_t odds) { return odds != 0 && sim_random() % odds == 0; }

/* ---- the story (main.c) ---- */
/* A line of the trace; all of it goes into the hash. */
void sim_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line that is only printed. */
void sim_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The seed has failed: the first reason counts. Does not return into a process: its seed is over. */
void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool sim_run_seed(uint64_t seed, FILE *trace_to);

/* ---- processes (process.c) ---- */
void proc_begin_seed(void);
/* The scheduler: until the seed is over or has failed. */
void proc_run_all(void);
struct proc *proc_start(void (*main_fn)(void), int parent);
struct proc *proc_find(int pid);
/* In a process: gives the processor away; it stays runnable. */
void proc_yield(void);
/* In a process: until what `kind` says, or the deadline. True: woken, not timed out. */
bool proc_block(enum wait_kind kind, const void *address, uint64_t fds, int64_t deadline_ns);
int proc_fork(int parent);
_Noreturn void proc_exit(int status);
/* Any process; the current one does not return from it. status as of waitpid(). */
void proc_kill(struct proc *proc, int status);
void proc_reaped(struct proc *proc);
/* The power is cut: nobody is left, and nobody sees it. */
void proc_drop_all(void);
bool proc_is(const struct proc *proc, const char *prefix);

/* ---- kernel (kernel.c) ---- */
void kernel_begin_seed(void);
void kernel_power_cut(void);
void kernel_begin_run(void);
void kernel_wake(const void *address, int count);
bool kernel_mutex_is_free(const void *address);
bool kernel_fds_ready(uint64_t fds);
/* A process has died: what it held, and who is told. */
void kernel_died(struct proc *proc);
bool kernel_lock_is_held(void);

/* ---- memory (memory.c) ---- */
void memory_begin_seed(void);
void memory_begin_run(void);
size_t memory_region_bytes(int fd); /* 0: no region */

/* ---- disk (disk.c) ---- */
const struct io *disk_io(void);
void disk_begin_seed(void);
void disk_died(int pid);
void disk_power_cut(void);

/* ---- faults (faults.c) ---- */
void faults_begin_seed(void);
/* Before each turn of the scheduler. */
void faults_tick(void);
/* At a named place; error: whether the place is to fail. */
bool faults_at_point(const char *name);
bool faults_disk_error(const char *what);
bool faults_fork_error(void);
const char *faults_name(unsigned kind);

/* ---- the job (job.c) ---- */
void job_begin_seed(void);
/* The process of the command `run`. */
void job_command_main(void);
void job_power_cut(void);
/* The key of a record: what the source says and the judge knows. */
uint32_t job_key(uint32_t source, uint32_t seq);

/* ---- the judge (judge.c): knows nothing of how the engine works, but where it looks at shared memory ---- */
void judge_begin_seed(void);
/* What a sink has made visible, in the order of one subtask. */
struct sim_row {
    uint32_t source, seq, key, count;
};
void judge_visible(uint64_t checkpoint, unsigned sink, const struct sim_row *rows, size_t count);
void judge_sink_commit(uint64_t checkpoint);
void judge_event(enum event_kind kind, const json_t *fields);
void judge_manifest_renamed(uint64_t checkpoint);
/* The current process has made a commit record current. */
void judge_batch_committed(void);
/* Between two turns of the scheduler. */
void judge_shared(void);
/* True: the job is done; false: the user starts the command again. */
bool judge_run_ended(int code, const struct weir_error *err);
void judge_end(void);

#endif
