/*
 * process.h - the processes of a running job, as the kernel shows them, and signals to exactly one of them.
 *
 * A pid names a process only as long as nobody has reaped it, and the job's launcher reaps and forks at any time. So a
 * process is opened first (a pidfd), then it is looked at: whether it is a child of the job's launcher and has the name that
 * was asked for. What has passed is signalled through the pidfd, which can hit no other process, whatever becomes of the
 * number.
 *
 * Any process of the same user. Blocks on /proc only, but for process_open_launcher().
 */
#ifndef WEIR_CHAOS_PROCESS_H
#define WEIR_CHAOS_PROCESS_H

#include "weir.h"

#include <sys/types.h>

#define PROCESS_NAME_BYTES 96    /* "snapshot:" and a task's name */
#define PROCESS_COMM_BYTES 15    /* how much of a name the kernel keeps */
#define PROCESS_CHILDREN_MAX 4096

struct process {
    pid_t pid;
    int fd; /* pidfd; -1: not open */
};

struct process_entry {
    pid_t pid;
    char comm[PROCESS_COMM_BYTES + 1]; /* the beginning of its name */
};

/* The living children of `parent`, in the order of their forks; at most capacity. 0 where it has gone. */
size_t process_children(pid_t parent, struct process_entry *ret_entries, size_t capacity);
/* Whether a process whose name the kernel shows as `comm` may be called `name`. */
bool process_may_be(const char *comm, const char *name);

/* `pid`, if it lives, is a child of `parent`, and may be called `name`; WEIR_ENOENT else. */
int process_open_child(pid_t pid, pid_t parent, const char *name, struct process *ret_process, struct weir_error *err);
/* The launcher of the job that runs on `directory`. Waits up to timeout_ms for a job that is just starting. */
int process_open_launcher(const char *directory, unsigned timeout_ms, struct process *ret_process, struct weir_error *err);
/* WEIR_ENOENT: it has ended meanwhile. */
int process_signal(const struct process *process, int signal, struct weir_error *err);
void process_close(struct process *process);

#endif
