/*
 * call_killer - runs a job and kills its processes of one role at the n-th system call, n = FIRST, FIRST + STEP, ... (FAULTS.md, F2).
 *
 *     call_killer ROLE CALLS FIRST STEP KILLS REPORT -- COMMAND...
 *
 * ROLE    a process's name in the job ("track/0", "coordinator", "snapshot:track/0", "standby:track/0"), "launcher", or "newborn": any
 *         process that has no name of its own yet
 * CALLS   what is counted: "commit", the calls that the table below marks, "all", or "asleep": all of a standby from its first sleep on
 * REPORT  a file: a line for each kill ("3 before fdatasync", "3 after fdatasync"), and "whole" where a process lived to its end, or
 *         was given its name (newborn), without an n-th call
 *
 * It traces the job with ptrace, as `strace -f -e inject=...:signal=SIGKILL:when=N` would, but for one role alone. Each process of that
 * role is killed at its n-th call, once before the kernel does it, the next process once after; then n grows. Of snapshot
 * children some are left alone, so that checkpoints complete. A standby is given work: what it stands by for is killed shortly after it has gone to
 * sleep. Ends as the command ended; with status 2 where tracing is not permitted.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TRACED_MAX 256
#define NAME_MAX_LINUX 15 /* what a process's name is cut to */
#define OPTIONS (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL)
#define STANDBY_SLEEPS_MS 15
#define SPARED 3 /* snapshot children after a kill: of two subtasks, whose names are cut to the same, those of a whole checkpoint */

static const struct {
    long number;
    const char *name;
    bool commit; /* of the path of a checkpoint, or of what a sink makes visible */
} calls[] = {
    {SYS_fsync, "fsync", true},
    {SYS_fdatasync, "fdatasync", true},
    {SYS_renameat2, "renameat2", true},
    {SYS_renameat, "renameat", true},
#ifdef SYS_rename
    {SYS_rename, "rename", true},
    {SYS_link, "link", true},
    {SYS_unlink, "unlink", true},
    {SYS_open, "open", true},
#endif
    {SYS_linkat, "linkat", true},
    {SYS_unlinkat, "unlinkat", true},
    {SYS_openat, "openat", true},
    {SYS_openat2, "openat2", true},
    {SYS_mkdirat, "mkdirat", true},
    {SYS_pwrite64, "pwrite64", true},
    {SYS_pwritev, "pwritev", true},
    {SYS_writev, "writev", true},
    {SYS_ftruncate, "ftruncate", true},
    {SYS_fallocate, "fallocate", true},
    {SYS_io_uring_setup, "io_uring_setup", true},
    {SYS_io_uring_enter, "io_uring_enter", true},
    {SYS_io_uring_register, "io_uring_register", true},
    {SYS_clone, "clone", true},
    {SYS_clone3, "clone3", true},
    {SYS_write, "write", false},
    {SYS_read, "read", false},
    {SYS_close, "close", false},
    {SYS_futex, "futex", false},
    {SYS_mmap, "mmap", false},
    {SYS_munmap, "munmap", false},
    {SYS_prctl, "prctl", false},
    {SYS_ppoll, "ppoll", false},
    {SYS_wait4, "wait4", false},
    {SYS_waitid, "waitid", false},
    {SYS_kill, "kill", false},
    {SYS_clock_nanosleep, "clock_nanosleep", false},
    {SYS_flock, "flock", false},
    {SYS_memfd_create, "memfd_create", false},
};
#define CALL_COUNT (sizeof calls / sizeof calls[0])

enum mode {
    MODE_UNNAMED, /* every call is looked at, until it gives itself a name */
    MODE_COUNTED, /* one of the role */
    MODE_FOLLOWED /* only its forks are */
};

struct traced {
    pid_t pid; /* 0: a free row */
    enum mode mode;
    bool sets_name;
    bool spared;
    bool slept;
    unsigned long count;
    uint64_t number; /* of the call that it is in */
};

struct killer {
    const char *role;
    bool commit_calls_only;
    bool from_sleep;
    unsigned long n, step, kills_left;
    bool after; /* the next kill is after the call */
    unsigned spare; /* so many of those that come next */
    FILE *report;
    pid_t launcher;
    pid_t owner;      /* of a standby's role: the task */
    int owner_due_ms; /* until it is killed; 0: not */
    struct traced traced[TRACED_MAX];
};

static _Noreturn void fail(const char *what)
{
    int code = errno;
    fprintf(stderr, "call_killer: %s: %s\n", what, strerror(code));
    _exit(code == EPERM ? 2 : 1);
}

static bool role_is(const struct killer *k, const char *name) { return strcmp(k->role, name) == 0; }
static bool role_begins(const struct killer *k, const char *prefix) { return strncmp(k->role, prefix, strlen(prefix)) == 0; }

static struct traced *find(struct killer *k, pid_t pid)
{
    for (unsigned i = 0; i < TRACED_MAX; i++)
        if (k->traced[i].pid == pid)
            return &k->traced[i];
    return NULL;
}

static struct traced *add(struct killer *k, pid_t pid)
{
    struct traced *row = find(k, 0);
    if (row == NULL) {
        errno = ENOSPC;
        fail("too many processes at one time");
    }
    *row = (struct traced){.pid = pid, .mode = MODE_UNNAMED};
    return row;
}

static void report(struct killer *k, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(k->report, format, arguments);
    va_end(arguments);
    fputc('\n', k->report);
    fflush(k->report);
}

/* Of a stopped process. It may have been killed by somebody else meanwhile: then the request fails, and its end is reported next. */
static void go_on(struct killer *k, struct traced *row, int signal_number)
{
    bool all_calls = row->mode != MODE_FOLLOWED && k->kills_left > 0;
    ptrace(all_calls ? PTRACE_SYSCALL : PTRACE_CONT, row->pid, NULL, (void *)(intptr_t)signal_number);
}

static void let_go(struct traced *row)
{
    ptrace(PTRACE_DETACH, row->pid, NULL, NULL);
    row->pid = 0;
}

static const char *call_name(uint64_t number, bool *ret_commit)
{
    static char other[32];
    for (size_t i = 0; i < CALL_COUNT; i++)
        if ((uint64_t)calls[i].number == number) {
            *ret_commit = calls[i].commit;
            return calls[i].name;
        }
    *ret_commit = false;
    snprintf(other, sizeof other, "call-%llu", (unsigned long long)number);
    return other;
}

static void kill_it(struct killer *k, struct traced *row, const char *call)
{
    report(k, "%lu %s %s", k->n, k->after ? "after" : "before", call);
    kill(row->pid, SIGKILL); /* a stopped tracee does not go on with its call */
    row->pid = 0;
    k->kills_left--;
    k->n += k->after ? k->step : 0;
    k->after = !k->after;
    k->spare = role_begins(k, "snapshot:") ? SPARED : 0;
}

static bool counted(const struct killer *k, const struct traced *row)
{
    return k->kills_left > 0 && !row->spared && (row->mode == MODE_COUNTED || (row->mode == MODE_UNNAMED && role_is(k, "newborn")));
}

static void read_name(pid_t pid, char name[NAME_MAX_LINUX + 1])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    FILE *file = fopen(path, "re");
    name[0] = 0;
    if (file == NULL)
        return;
    if (fgets(name, NAME_MAX_LINUX + 1, file) != NULL)
        name[strcspn(name, "\n")] = 0;
    fclose(file);
}

/* It has just said who it is. Returns whether it stays traced. */
static bool take_name(struct killer *k, struct traced *row)
{
    char name[NAME_MAX_LINUX + 1];
    read_name(row->pid, name);
    if (role_is(k, "newborn") && counted(k, row))
        report(k, "whole");
    if (role_begins(k, "standby:") && strncmp(name, k->role + strlen("standby:"), NAME_MAX_LINUX) == 0)
        k->owner = row->pid;
    if (row->mode == MODE_COUNTED)
        return true; /* a standby that has become the task */
    if (strncmp(name, k->role, NAME_MAX_LINUX) == 0) {
        row->mode = MODE_COUNTED;
        row->spared = k->spare > 0;
        k->spare -= row->spared;
        row->count = 0;
        return true;
    }
    row->mode = MODE_FOLLOWED; /* a task, whose snapshot children are wanted */
    return role_begins(k, "snapshot:") && strcmp(name, "coordinator") != 0 && strncmp(name, "snapshot:", 9) != 0;
}

/* Returns whether it goes on. */
static bool at_call(struct killer *k, struct traced *row)
{
    struct __ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, row->pid, (void *)sizeof info, &info) <= 0)
        return true; /* killed meanwhile */
    bool commit, entry = info.op == PTRACE_SYSCALL_INFO_ENTRY;
    if (entry) {
        row->number = info.entry.nr;
        row->slept |= info.entry.nr == SYS_futex;
        row->sets_name = info.entry.nr == SYS_prctl && info.entry.args[0] == PR_SET_NAME;
    }
    const char *name = call_name(row->number, &commit);
    if (counted(k, row) && (commit || !k->commit_calls_only) && (row->slept || !k->from_sleep)) {
        row->count += entry;
        if (row->count == k->n && entry != k->after) {
            kill_it(k, row, name);
            return false;
        }
    }
    if (entry && row->mode == MODE_COUNTED && role_begins(k, "standby:") && row->number == SYS_futex && row->pid != k->owner)
        k->owner_due_ms = STANDBY_SLEEPS_MS;
    if (!entry && row->sets_name && !take_name(k, row)) {
        let_go(row);
        return false;
    }
    return true;
}

static void at_stop(struct killer *k, pid_t pid, int status)
{
    struct traced *row = find(k, pid);
    if (row == NULL)
        row = add(k, pid);
    int event = status >> 16, signal_number = WSTOPSIG(status);
    if (signal_number == (SIGTRAP | 0x80)) {
        if (at_call(k, row))
            go_on(k, row, 0);
        return;
    }
    go_on(k, row, event != 0 ? 0 : signal_number); /* births are seen when the new process stops */
}

static void at_tick(int signal_number) { (void)signal_number; }

/* What a standby waits for: the death of the task. */
static void kill_owner_when_due(struct killer *k, int passed_ms)
{
    if (k->owner_due_ms == 0)
        return;
    k->owner_due_ms -= passed_ms < k->owner_due_ms ? passed_ms : k->owner_due_ms;
    char name[NAME_MAX_LINUX + 1];
    if (k->owner_due_ms > 0 || k->owner == 0)
        return;
    read_name(k->owner, name);
    if (strncmp(name, k->role + strlen("standby:"), NAME_MAX_LINUX) == 0)
        kill(k->owner, SIGKILL);
}

static pid_t start(struct killer *k, char **command)
{
    int gate[2];
    if (pipe(gate) != 0)
        fail("pipe");
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        char byte;
        close(gate[1]);
        if (read(gate[0], &byte, 1) != 1)
            _exit(1);
        close(gate[0]);
        execv(command[0], command);
        fail(command[0]);
    }
    if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)(intptr_t)OPTIONS) != 0)
        fail("trace");
    struct traced *row = add(k, pid);
    row->mode = role_is(k, "launcher") ? MODE_COUNTED : MODE_FOLLOWED;
    if (row->mode == MODE_COUNTED && (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) != 0))
        fail("interrupt"); /* it stops, and goes on from call to call */
    if (write(gate[1], "", 1) != 1)
        fail("write");
    close(gate[0]);
    close(gate[1]);
    return pid;
}

static int follow(struct killer *k)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0 && errno == EINTR) {
            kill_owner_when_due(k, 5);
            continue;
        }
        if (pid < 0)
            fail("wait");
        if (WIFSTOPPED(status)) {
            at_stop(k, pid, status);
            continue;
        }
        struct traced *row = find(k, pid);
        if (row != NULL && counted(k, row) && row->mode == MODE_COUNTED && WIFEXITED(status))
            report(k, "whole");
        if (row != NULL)
            row->pid = 0;
        if (pid == k->launcher)
            return status;
    }
}

int main(int argc, char **argv)
{
    if (argc < 9 || strcmp(argv[7], "--") != 0) {
        fprintf(stderr, "usage: call_killer ROLE commit|all|asleep FIRST STEP KILLS REPORT -- COMMAND...\n");
        return 1;
    }
    static struct killer killer;
    killer.role = argv[1];
    killer.commit_calls_only = strcmp(argv[2], "commit") == 0;
    killer.from_sleep = strcmp(argv[2], "asleep") == 0;
    killer.n = strtoul(argv[3], NULL, 10);
    killer.step = strtoul(argv[4], NULL, 10);
    killer.kills_left = strtoul(argv[5], NULL, 10);
    killer.report = fopen(argv[6], "ae");
    if (killer.report == NULL)
        fail(argv[6]);
    struct sigaction action = {.sa_handler = at_tick}; /* without SA_RESTART: the wait ends */
    sigaction(SIGALRM, &action, NULL);
    killer.launcher = start(&killer, argv + 8);
    struct itimerval tick = {{0, 5000}, {0, 5000}};
    setitimer(ITIMER_REAL, &tick, NULL);
    int status = follow(&killer);
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
    return 1;
}
