/*
 * kernel.c - what the engine's code asks of the kernel and the C library, answered from the simulation (the linker puts these functions in
 * their place: --wrap). And the few parts of the engine that are left out: log, event log, registry, control socket.
 */
#include "sim/sim.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/control.h"
#include "engine/registry.h"
#include "engine/takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Declares and begins a function that stands in for `name`. */
#define STAND_IN(type, name, ...)                                                                                      \
    type __wrap_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__)

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __real_read(int fd, void *data, size_t size);
int __real_close(int fd);
int __real_clock_gettime(clockid_t clock, struct timespec *ret_now);
void __real_takeover_mark_own_faults(struct task_shared *shared);
_Noreturn void __real__exit(int status);
_Noreturn void __real_abort(void);
pid_t __real_fork(void);
pid_t __real_getpid(void);
pid_t __real_waitpid(pid_t pid, int *ret_status, int options);
int __real_fstat(int fd, struct stat *ret_stat);

static int fails(int errno_value)
{
    errno = errno_value;
    return -1;
}

/* ---- processes ---- */

STAND_IN(pid_t, fork, void)
{
    if (sim.current == NULL)
        return __real_fork();
    if (faults_fork_error())
        return fails(EAGAIN);
    return proc_fork(sim.current->pid);
}

static long clone_child(void)
{
    if (faults_fork_error())
        return fails(EAGAIN);
    return proc_fork(sim.current->parent); /* CLONE_PARENT */
}

_Noreturn STAND_IN(void, _exit, int status)
{
    if (sim.current == NULL)
        __real__exit(status);
    proc_exit(status);
}

_Noreturn STAND_IN(void, abort, void)
{
    if (sim.current == NULL)
        __real_abort();
    sim_fail("abort()");
    proc_exit(1);
}

_Noreturn STAND_IN(void, check_failed, const char *file, int line, const char *expression)
{
    if (sim.current == NULL) {
        fprintf(stderr, "sim: seed %llu: check failed at %s:%d: %s\n", (unsigned long long)sim.seed, file, line, expression);
        __real_abort();
    }
    sim_fail("check failed at %s:%d: %s", file, line, expression);
    proc_exit(1);
}

STAND_IN(pid_t, getpid, void) { return sim.current != NULL ? sim.current->pid : __real_getpid(); }
STAND_IN(pid_t, getppid, void) { return sim.current != NULL ? sim.current->parent : 1; }

STAND_IN(int, prctl, int option, ...)
{
    if (option == PR_SET_PDEATHSIG)
        sim.current->dies_with_parent = true;
    return 0;
}

STAND_IN(pid_t, waitpid, pid_t pid, int *ret_status, int options)
{
    if (sim.current == NULL)
        return __real_waitpid(pid, ret_status, options);
    bool any = false;
    CHECK(pid == -1 && options == WNOHANG);
    for (unsigned i = 0; i < sim.proc_count; i++) {
        struct proc *child = sim.procs[i];
        if (child->parent != sim.current->pid)
            continue;
        any = true;
        if (child->state != PROC_ZOMBIE || child->reapable_ns > sim.now_ns)
            continue;
        *ret_status = child->exit_status;
        int child_pid = child->pid;
        proc_reaped(child);
        return child_pid;
    }
    return any ? 0 : fails(ECHILD);
}

/* Is there any such child, and does one wait to be reaped? */
STAND_IN(int, waitid, idtype_t type, id_t id, siginfo_t *ret_info, int options)
{
    bool any = false;
    CHECK((type == P_ALL || type == P_PID) && options == (WEXITED | WNOWAIT | WNOHANG));
    ret_info->si_pid = 0;
    for (unsigned i = 0; i < sim.proc_count; i++) {
        const struct proc *child = sim.procs[i];
        if (child->parent != sim.current->pid || (type == P_PID && child->pid != (int)id))
            continue;
        any = true;
        if (child->state == PROC_ZOMBIE && child->reapable_ns <= sim.now_ns)
            ret_info->si_pid = child->pid;
    }
    return any ? 0 : fails(ECHILD);
}

STAND_IN(int, kill, pid_t pid, int signal_number)
{
    struct proc *proc = proc_find(pid);
    if (proc == NULL)
        return fails(ESRCH);
    CHECK(signal_number == 0 || signal_number == SIGKILL);
    if (signal_number == SIGKILL && proc->state != PROC_ZOMBIE) {
        sim_note("kills %d %s", proc->pid, proc->name);
        proc_kill(proc, SIGKILL);
    }
    return 0;
}

STAND_IN(FILE *, fopen, const char *path, const char *mode)
{
    static char text[4096];
    size_t used = 0;
    CHECK(strncmp(path, "/proc/self/task/", 16) == 0);
    if (sim.profile.no_children_file) {
        errno = ENOENT;
        return NULL;
    }
    for (unsigned i = 0; i < sim.proc_count && used < sizeof text - 16; i++)
        if (sim.procs[i]->parent == sim.current->pid)
            used += (size_t)snprintf(text + used, sizeof text - used, "%d ", sim.procs[i]->pid);
    text[used++] = '\n';
    return fmemopen(text, used, mode[0] == 'r' ? "r" : mode);
}

/* ---- signals ---- */

STAND_IN(int, sigaction, int signal_number, const struct sigaction *action, struct sigaction *ret_old)
{
    struct sigaction *mine = &sim.current->actions[signal_number];
    if (ret_old != NULL)
        *ret_old = *mine;
    if (action != NULL)
        *mine = *action;
    return 0;
}

STAND_IN(sighandler_t, signal, int signal_number, sighandler_t handler)
{
    (void)signal_number, (void)handler;
    return SIG_DFL;
}

STAND_IN(int, sigprocmask, int how, const sigset_t *set, sigset_t *ret_old)
{
    (void)how, (void)set, (void)ret_old;
    return 0;
}

STAND_IN(int, sigaltstack, const stack_t *stack, stack_t *ret_old)
{
    (void)stack, (void)ret_old;
    return 0;
}

STAND_IN(int, raise, int signal_number)
{
    (void)signal_number;
    return 0; /* in the handler of faults: faults.c ends the process when it returns */
}

STAND_IN(void, takeover_mark_own_faults, struct task_shared *shared)
{
    sim.current->marked = shared;
    __real_takeover_mark_own_faults(shared);
}

/* ---- descriptors: eventfds and the one of signals are bits of a word ---- */

#define FD_FIRST 100
#define FDS_MAX 64
#define FD_SIGNALS 0
#define FD_LOCK 400
#define FD_OTHER 450 /* event log, listening socket */
static uint64_t event_counts[FDS_MAX];
static unsigned fd_count;

static int index_of(int fd) { return fd >= FD_FIRST && fd < FD_FIRST + FDS_MAX ? fd - FD_FIRST : -1; }

static bool signals_wait(void)
{
    for (unsigned i = 0; i < sim.proc_count; i++) {
        const struct proc *child = sim.procs[i];
        if (child->parent == sim.launcher_pid && child->state == PROC_ZOMBIE && !child->announced && child->reapable_ns <= sim.now_ns)
            return true;
    }
    return false;
}

static bool fd_ready(int index) { return index == FD_SIGNALS ? signals_wait() : event_counts[index] > 0; }

bool kernel_fds_ready(uint64_t fds)
{
    for (int i = 0; i < (int)fd_count; i++)
        if ((fds >> i & 1) != 0 && fd_ready(i))
            return true;
    return false;
}

STAND_IN(int, eventfd, unsigned count, int flags)
{
    (void)flags;
    CHECK(fd_count < FDS_MAX);
    event_counts[fd_count] = count;
    return FD_FIRST + (int)fd_count++;
}

STAND_IN(int, signalfd, int fd, const sigset_t *mask, int flags)
{
    (void)fd, (void)mask, (void)flags;
    return FD_FIRST + FD_SIGNALS;
}

static int wait_for(struct pollfd *fds, nfds_t count, int64_t timeout_ns)
{
    uint64_t mask = 0;
    for (nfds_t i = 0; i < count; i++) {
        CHECK(index_of(fds[i].fd) >= 0);
        mask |= UINT64_C(1) << index_of(fds[i].fd);
        fds[i].revents = 0;
    }
    if (!kernel_fds_ready(mask) && timeout_ns != 0)
        proc_block(WAIT_FDS, NULL, mask, timeout_ns < 0 ? INT64_MAX : sim.now_ns + timeout_ns);
    int ready = 0;
    for (nfds_t i = 0; i < count; i++)
        if (fd_ready(index_of(fds[i].fd))) {
            fds[i].revents = POLLIN;
            ready++;
        }
    return ready;
}

STAND_IN(int, poll, struct pollfd *fds, nfds_t count, int timeout_ms)
{
    return wait_for(fds, count, timeout_ms < 0 ? -1 : timeout_ms * NS_PER_MS);
}

STAND_IN(int, ppoll, struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    (void)mask;
    return wait_for(fds, count, timeout == NULL ? -1 : timeout->tv_sec * NS_PER_S + timeout->tv_nsec);
}

static ssize_t read_signal(struct signalfd_siginfo *info)
{
    if (!signals_wait())
        return fails(EAGAIN);
    for (unsigned i = 0; i < sim.proc_count; i++)
        if (sim.procs[i]->parent == sim.launcher_pid && sim.procs[i]->state == PROC_ZOMBIE && sim.procs[i]->reapable_ns <= sim.now_ns)
            sim.procs[i]->announced = true; /* standard signals do not queue */
    memset(info, 0, sizeof *info);
    info->ssi_signo = SIGCHLD;
    return (ssize_t)sizeof *info;
}

STAND_IN(ssize_t, read, int fd, void *data, size_t size)
{
    int index = index_of(fd);
    if (sim.current == NULL)
        return __real_read(fd, data, size);
    CHECK(index >= 0);
    if (index == FD_SIGNALS)
        return read_signal(data);
    if (event_counts[index] == 0)
        return fails(EAGAIN);
    memcpy(data, &event_counts[index], sizeof event_counts[index]);
    event_counts[index] = 0;
    return (ssize_t)size;
}

STAND_IN(ssize_t, write, int fd, const void *data, size_t size)
{
    int index = index_of(fd);
    if (sim.current == NULL)
        return __real_write(fd, data, size);
    CHECK(index > FD_SIGNALS);
    event_counts[index]++;
    return (ssize_t)size;
}

STAND_IN(int, close, int fd)
{
    (void)fd;
    return sim.current == NULL ? __real_close(fd) : 0; /* a child closes what its parent keeps */
}

STAND_IN(int, fcntl, int fd, int command, ...)
{
    (void)fd, (void)command;
    return 0;
}

STAND_IN(int, fstat, int fd, struct stat *ret_stat)
{
    size_t size = memory_region_bytes(fd);
    if (size == 0)
        return __real_fstat(fd, ret_stat);
    memset(ret_stat, 0, sizeof *ret_stat);
    ret_stat->st_size = (off_t)size;
    return 0;
}

STAND_IN(int, open, const char *path, int flags, ...)
{
    (void)path, (void)flags; /* oom_score_adj */
    return fails(ENOENT);
}

STAND_IN(int, mkdir, const char *path, mode_t mode)
{
    (void)path, (void)mode;
    return fails(EEXIST);
}

/* ---- the LOCK file: held as long as any process of the run lives, which have inherited it ---- */

static int lock_run;
static char lock_text[64];

bool kernel_lock_is_held(void)
{
    for (unsigned i = 0; i < sim.proc_count; i++)
        if (sim.procs[i]->run == lock_run && sim.procs[i]->state != PROC_ZOMBIE)
            return true;
    return false;
}

STAND_IN(int, openat, int dir_fd, const char *name, int flags, ...)
{
    (void)dir_fd, (void)flags;
    CHECK(strcmp(name, "LOCK") == 0);
    return FD_LOCK;
}

STAND_IN(int, flock, int fd, int operation)
{
    CHECK(fd == FD_LOCK && operation == (LOCK_EX | LOCK_NB));
    if (lock_run != 0 && lock_run != sim.current->run && kernel_lock_is_held())
        return fails(EWOULDBLOCK);
    lock_run = sim.current->run;
    kernel_begin_run();
    memory_begin_run();
    return 0;
}

STAND_IN(ssize_t, pread, int fd, void *data, size_t size, off_t offset)
{
    CHECK(fd == FD_LOCK && offset == 0 && size < sizeof lock_text);
    memcpy(data, lock_text, size);
    return lock_text[0] != 0 ? (ssize_t)size : 0;
}

STAND_IN(ssize_t, pwrite, int fd, const void *data, size_t size, off_t offset)
{
    CHECK(fd == FD_LOCK && offset == 0 && size < sizeof lock_text);
    memcpy(lock_text, data, size);
    return (ssize_t)size;
}

/* ---- futexes and robust mutexes ---- */

void kernel_wake(const void *address, int count)
{
    for (unsigned i = 0; i < sim.proc_count && count > 0; i++) {
        struct proc *proc = sim.procs[i];
        if (proc->state == PROC_BLOCKED && proc->wait == WAIT_FUTEX && proc->wait_address == address && !proc->woken) {
            proc->woken = true;
            count--;
        }
    }
}

static long futex(const uint32_t *address, int operation, uint32_t value, const struct timespec *timeout)
{
    if (operation == FUTEX_WAKE) {
        kernel_wake(address, (int)value);
        return 0;
    }
    CHECK(operation == FUTEX_WAIT);
    if (*(const volatile uint32_t *)address != value)
        return fails(EAGAIN);
    int64_t deadline_ns = timeout == NULL ? INT64_MAX : sim.now_ns + timeout->tv_sec * NS_PER_S + timeout->tv_nsec;
    return proc_block(WAIT_FUTEX, address, 0, deadline_ns) ? 0 : fails(ETIMEDOUT);
}

STAND_IN(long, syscall, long number, ...)
{
    va_list args;
    va_start(args, number);
    const void *address = va_arg(args, const void *);
    long operation = va_arg(args, long);
    long value = va_arg(args, long);
    const struct timespec *timeout = va_arg(args, const struct timespec *);
    va_end(args);
    if (number == SYS_futex)
        return futex(address, (int)operation, (uint32_t)value, timeout);
    CHECK(number == SYS_clone3);
    return clone_child();
}

STAND_IN(int, sched_yield, void)
{
    proc_yield();
    return 0;
}

STAND_IN(void, sched_run_first, void) {}
STAND_IN(void, sched_run_as_others, void) {}
STAND_IN(void, sched_step_back, pid_t pid) { (void)pid; }

#define MUTEXES_MAX 64
static struct robust_mutex {
    const void *address;
    int owner; /* pid; 0: free */
    bool owner_died;
} mutexes[MUTEXES_MAX];

static struct robust_mutex *mutex_at(const void *address)
{
    for (int i = 0; i < MUTEXES_MAX; i++) {
        if (mutexes[i].address == NULL)
            mutexes[i].address = address;
        if (mutexes[i].address == address)
            return &mutexes[i];
    }
    CHECK(!"room for a mutex");
    return NULL;
}

bool kernel_mutex_is_free(const void *address) { return mutex_at(address)->owner == 0; }

STAND_IN(int, pthread_mutex_init, pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    (void)attributes;
    *mutex_at(mutex) = (struct robust_mutex){.address = mutex};
    return 0;
}

STAND_IN(int, pthread_mutex_trylock, pthread_mutex_t *mutex)
{
    struct robust_mutex *robust = mutex_at(mutex);
    if (robust->owner != 0)
        return EBUSY;
    robust->owner = sim.current->pid;
    return robust->owner_died ? EOWNERDEAD : 0;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    int result;
    while ((result = __wrap_pthread_mutex_trylock(mutex)) == EBUSY)
        proc_block(WAIT_MUTEX, mutex, 0, INT64_MAX);
    return result;
}

STAND_IN(int, pthread_mutex_clocklock, pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until)
{
    CHECK(clock == CLOCK_MONOTONIC);
    int64_t deadline_ns = until->tv_sec * NS_PER_S + until->tv_nsec;
    int result;
    while ((result = __wrap_pthread_mutex_trylock(mutex)) == EBUSY)
        if (!proc_block(WAIT_MUTEX, mutex, 0, deadline_ns))
            return ETIMEDOUT;
    return result;
}

STAND_IN(int, pthread_mutex_consistent, pthread_mutex_t *mutex)
{
    mutex_at(mutex)->owner_died = false;
    return 0;
}

void kernel_died(struct proc *proc)
{
    for (int i = 0; i < MUTEXES_MAX; i++)
        if (mutexes[i].owner == proc->pid) {
            mutexes[i].owner = 0;
            mutexes[i].owner_died = true;
        }
}

void kernel_begin_run(void)
{
    fd_count = 1;
    memset(mutexes, 0, sizeof mutexes);
}

/* ---- clocks, chance, the machine ---- */

STAND_IN(int, clock_gettime, clockid_t clock, struct timespec *ret_now)
{
    if (sim.current == NULL)
        return __real_clock_gettime(clock, ret_now);
    sim.now_ns += 20;
    int64_t now_ns = sim.now_ns;
    if (clock == CLOCK_REALTIME)
        now_ns += INT64_C(1700000000) * NS_PER_S + sim.wall_offset_ns;
    *ret_now = (struct timespec){now_ns / NS_PER_S, now_ns % NS_PER_S};
    return 0;
}

STAND_IN(ssize_t, getrandom, void *buffer, size_t size, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < size; i++)
        ((unsigned char *)buffer)[i] = (unsigned char)sim_random();
    return (ssize_t)size;
}

STAND_IN(long, sysconf, int name)
{
    return name == _SC_NPROCESSORS_ONLN ? (long)sim.profile.cpus : name == _SC_PAGESIZE ? 4096 : 1 << 20;
}

STAND_IN(int, sched_getaffinity, pid_t pid, size_t size, void *set)
{
    (void)pid, (void)size, (void)set;
    return fails(ENOSYS);
}

/* ---- parts of the engine that are left out ---- */

STAND_IN(void, log_set_name, const char *name) { (void)name; }

STAND_IN(void, log_line, enum log_level level, const char *format, ...)
{
    char text[512];
    if (sim.current == NULL)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    sim_note("log %d: %s", (int)level, text);
}

STAND_IN(int, event_log_open, struct event_log *log, int directory_fd, struct weir_error *err)
{
    (void)directory_fd, (void)err;
    *log = (struct event_log){.fd = FD_OTHER, .directory_fd = FD_OTHER};
    return WEIR_OK;
}

STAND_IN(void, event_log_close, struct event_log *log) { log->fd = -1; }

STAND_IN(int, event_log_append, struct event_log *log, enum event_kind kind, json_t *fields)
{
    (void)log;
    char *text = sim.trace_to != NULL && fields != NULL ? json_dumps(fields, JSON_COMPACT) : NULL;
    sim_note("event %s", event_name(kind));
    sim_print("    %s", text != NULL ? text : "");
    free(text);
    judge_event(kind, fields);
    json_decref(fields);
    return WEIR_OK;
}

STAND_IN(int, registry_add, const char *name, const char *directory, struct registry_entry *ret_entry, struct weir_error *err)
{
    (void)name, (void)directory, (void)err;
    memset(ret_entry, 0, sizeof *ret_entry);
    return WEIR_OK;
}

STAND_IN(void, registry_remove, const struct registry_entry *entry) { (void)entry; }

STAND_IN(int, control_listen, int directory_fd, int *ret_fd, struct weir_error *err)
{
    (void)directory_fd, (void)err;
    *ret_fd = FD_OTHER;
    return WEIR_OK;
}

STAND_IN(void, control_unlink, int directory_fd) { (void)directory_fd; }

STAND_IN(int, control_server_new, int listen_fd, control_handler handler, void *self, struct control_server **ret_server,
         struct weir_error *err)
{
    (void)listen_fd, (void)handler, (void)self, (void)err;
    *ret_server = NULL;
    return WEIR_OK;
}

STAND_IN(void, control_server_free, struct control_server *server) { (void)server; }

STAND_IN(size_t, control_server_fill, struct control_server *server, struct pollfd *fds, size_t capacity)
{
    (void)server, (void)fds, (void)capacity;
    return 0;
}

STAND_IN(int, control_server_timeout_ms, const struct control_server *server)
{
    (void)server;
    return -1;
}

STAND_IN(void, control_server_process, struct control_server *server, const struct pollfd *fds, size_t count)
{
    (void)server, (void)fds, (void)count;
}

STAND_IN(void, control_server_drain, struct control_server *server, int timeout_ms) { (void)server, (void)timeout_ms; }

/* Nobody syncs the LOCK file. */
void kernel_power_cut(void)
{
    if (sim_one_in(3))
        lock_text[0] = 0;
}

void kernel_begin_seed(void)
{
    lock_run = 0;
    lock_text[0] = 0;
}
