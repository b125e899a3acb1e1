/*
 * step_killer - kills tasks of a running job behind the n-th instruction of a function, n = FIRST, FIRST + STEP, ...
 *
 *     step_killer LAUNCHER TASK OFFSET FIRST STEP COUNT          in the task itself
 *     step_killer --taker LAUNCHER TASK OFFSET FIRST STEP COUNT  in the process that takes the task over: the task is
 *                                                                SIGKILLed, then its successor behind its n-th instruction
 *     step_killer --permitted PID                                whether a process that is no child of this one may be traced: status 0 or 2
 *
 * LAUNCHER is the job's first process, TASK the name of one of its processes ("track/0"), OFFSET the place of the function in the program's
 * file (as nm gives it, hexadecimal). A process that comes by is stopped at the function by a breakpoint, stepped (ptrace), and
 * killed. It ends when the function has returned before its n-th instruction (all have been killed at: "whole"), after
 * COUNT kills ("part"), or when the job has ended ("ended"), and prints: KILLS LAST_N whole|part|ended.
 *
 * Exit status 0; 2 where tracing is not permitted here; 1 for anything else.
 */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_S 60   /* of last resort */
#define PERMISSION_S 20 /* a refusal that lasts so long is none of a process that is just dying */

struct killer {
    pid_t launcher;
    const char *task;
    uint64_t offset;
};

enum outcome { KILLED, RETURNED, ENDED };

static void fail(const char *what)
{
    fprintf(stderr, "step_killer: %s: %s\n", what, strerror(errno));
    exit(errno == EPERM ? 2 : 1);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void wait_a_little(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static bool has_name(pid_t pid, const char *name)
{
    char path[64], text[64] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool same = fgets(text, sizeof text, file) != NULL && strncmp(text, name, strlen(name)) == 0 && text[strlen(name)] == '\n';
    fclose(file);
    return same;
}

/* The launcher's child of that name, other than `not_this`; 0 where there is none just now. */
static pid_t find_child(const struct killer *k, pid_t not_this)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)k->launcher, (int)k->launcher);
    FILE *file = fopen(path, "re");
    int pid;
    pid_t found = 0;
    while (file != NULL && found == 0 && fscanf(file, "%d", &pid) == 1)
        if (pid != not_this && has_name(pid, k->task))
            found = pid;
    if (file != NULL)
        fclose(file);
    return found;
}

static bool job_lives(const struct killer *k)
{
    char path[64], state = 'Z';
    snprintf(path, sizeof path, "/proc/%d/stat", (int)k->launcher);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        state = 'Z';
    fclose(file);
    return state != 'Z' && state != 'X';
}

static pid_t await_child(const struct killer *k, pid_t not_this)
{
    double end = now_s() + DEADLINE_S;
    for (;;) {
        pid_t pid = find_child(k, not_this);
        if (pid != 0 || !job_lives(k))
            return pid;
        if (now_s() > end) {
            errno = ETIMEDOUT;
            fail("no such process comes up");
        }
        wait_a_little();
    }
}

/* Where the program's file is mapped: the first line of its maps. */
static uint64_t base_of(pid_t pid)
{
    char path[64];
    unsigned long base = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%lx", &base) != 1)
        base = 0;
    fclose(file);
    return base;
}

/* Waits for the next stop of a traced process: its signal, or -1 where it is gone. */
static int next_stop(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, __WALL) < 0)
        if (errno != EINTR)
            return -1;
    return WIFSTOPPED(status) ? WSTOPSIG(status) : -1;
}

/* Lets a stopped process run until it comes to `address`. False: it is gone. */
static bool run_to(pid_t pid, uint64_t address)
{
    errno = 0;
    long word = ptrace(PTRACE_PEEKTEXT, pid, address, NULL);
    if (errno != 0)
        return false;
    if (ptrace(PTRACE_POKETEXT, pid, address, (word & ~0xffL) | 0xcc) != 0)
        return false;
    int pass = 0;
    for (;;) {
        if (ptrace(PTRACE_CONT, pid, NULL, pass) != 0)
            return false;
        int stop = next_stop(pid);
        struct user_regs_struct regs;
        if (stop < 0 || ptrace(PTRACE_GETREGS, pid, NULL, &regs) != 0)
            return false;
        if (stop == SIGTRAP && regs.rip == address + 1) {
            regs.rip = address;
            return ptrace(PTRACE_POKETEXT, pid, address, word) == 0 && ptrace(PTRACE_SETREGS, pid, NULL, &regs) == 0;
        }
        pass = stop == SIGTRAP ? 0 : stop;
    }
}

/* n steps from the first instruction of a function; false: it has returned before. */
static bool step(pid_t pid, uint64_t n)
{
    struct user_regs_struct regs;
    if (ptrace(PTRACE_GETREGS, pid, NULL, &regs) != 0)
        return true; /* gone already: killed by something else */
    uint64_t stack_at_entry = regs.rsp;
    for (uint64_t i = 0; i < n; i++) {
        if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0 || next_stop(pid) < 0)
            return true;
        if (ptrace(PTRACE_GETREGS, pid, NULL, &regs) == 0 && regs.rsp > stack_at_entry)
            return false;
    }
    return true;
}

static bool seize(pid_t pid)
{
    if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0)
        return false;
    return ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0 && next_stop(pid) >= 0;
}

static int say_whether_permitted(pid_t pid)
{
    if (seize(pid)) {
        ptrace(PTRACE_DETACH, pid, NULL, NULL);
        return 0;
    }
    fprintf(stderr, "step_killer: ptrace: %s\n", strerror(errno));
    return errno == EPERM || errno == EACCES || errno == ENOSYS ? 2 : 1;
}

static void kill_and_wait(pid_t pid)
{
    kill(pid, SIGKILL);
    int status;
    while (waitpid(pid, &status, __WALL) == pid && !WIFEXITED(status) && !WIFSIGNALED(status))
        ptrace(PTRACE_CONT, pid, NULL, NULL);
}

/* A process that is stopped: brought to the function, stepped, killed. */
static enum outcome kill_behind(const struct killer *k, pid_t pid, uint64_t n)
{
    uint64_t base = base_of(pid);
    if (base == 0 || !run_to(pid, base + k->offset)) {
        kill_and_wait(pid); /* gone, mostly */
        return job_lives(k) ? KILLED : ENDED;
    }
    bool still_in = step(pid, n);
    kill_and_wait(pid);
    return still_in ? KILLED : RETURNED;
}

/* A process that is just dying cannot be traced either (EPERM, too): only if that lasts is it not permitted. */
static enum outcome kill_task(const struct killer *k, pid_t *last, uint64_t n)
{
    double end = now_s() + PERMISSION_S;
    for (;;) {
        pid_t pid = await_child(k, *last);
        if (pid == 0)
            return ENDED;
        if (seize(pid)) {
            *last = pid;
            return kill_behind(k, pid, n);
        }
        if (now_s() > end)
            fail("ptrace");
        wait_a_little();
    }
}

/* The launcher's next child is caught at its first instruction. Its own stop may be told before the launcher's. */
static pid_t catch_fork(const struct killer *k)
{
    pid_t stopped = 0;
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0 || (pid == k->launcher && !WIFSTOPPED(status)))
            return 0;
        if (pid != k->launcher) {
            stopped = WIFSTOPPED(status) ? pid : stopped;
            continue;
        }
        if (status >> 8 == (SIGTRAP | (PTRACE_EVENT_FORK << 8))) {
            unsigned long child = 0;
            if (ptrace(PTRACE_GETEVENTMSG, pid, NULL, &child) != 0)
                return 0;
            ptrace(PTRACE_CONT, pid, NULL, NULL);
            return (pid_t)child == stopped || next_stop((pid_t)child) >= 0 ? (pid_t)child : 0;
        }
        ptrace(PTRACE_CONT, pid, NULL, WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status));
    }
}

/* Until a process has slept a few times: then it has done what there was to do, and a kill is not one in a row. */
static void await_rest(const struct killer *k, pid_t pid)
{
    double end = now_s() + DEADLINE_S;
    unsigned long sleeps = 0;
    while (sleeps < 5 && job_lives(k) && now_s() < end) {
        char path[64], line[256];
        snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
        FILE *file = fopen(path, "re");
        if (file == NULL)
            return;
        while (fgets(line, sizeof line, file) != NULL)
            if (sscanf(line, "voluntary_ctxt_switches: %lu", &sleeps) == 1)
                break;
        fclose(file);
        wait_a_little();
    }
}

static enum outcome kill_taker(const struct killer *k, pid_t *last, uint64_t n)
{
    pid_t victim = await_child(k, *last);
    if (victim == 0)
        return ENDED;
    await_rest(k, victim);
    if (ptrace(PTRACE_SEIZE, k->launcher, NULL, PTRACE_O_TRACEFORK) != 0)
        return job_lives(k) ? (fail("ptrace of the launcher"), ENDED) : ENDED;
    kill(victim, SIGKILL);
    pid_t taker = catch_fork(k);
    *last = taker != 0 ? taker : victim;
    /* Before the taker dies: what the launcher forks then is not ours to stop. */
    if (ptrace(PTRACE_INTERRUPT, k->launcher, NULL, NULL) == 0 && next_stop(k->launcher) >= 0)
        ptrace(PTRACE_DETACH, k->launcher, NULL, NULL);
    return taker != 0 ? kill_behind(k, taker, n) : ENDED;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--permitted") == 0)
        return say_whether_permitted((pid_t)strtol(argv[2], NULL, 10));
    bool taker = argc > 1 && strcmp(argv[1], "--taker") == 0;
    char **arguments = argv + 1 + taker;
    if (argc - 1 - taker != 6) {
        fprintf(stderr, "usage: step_killer [--taker] LAUNCHER TASK OFFSET FIRST STEP COUNT\n");
        return 1;
    }
    struct killer k = {.launcher = (pid_t)strtol(arguments[0], NULL, 10), .task = arguments[1],
                       .offset = strtoull(arguments[2], NULL, 16)};
    uint64_t n = strtoull(arguments[3], NULL, 10), each = strtoull(arguments[4], NULL, 10);
    uint64_t count = strtoull(arguments[5], NULL, 10), kills = 0;
    pid_t last = 0;
    enum outcome outcome = KILLED;
    while (outcome == KILLED && kills < count) {
        outcome = (taker ? kill_taker : kill_task)(&k, &last, n);
        kills += outcome != ENDED;
        n += each;
    }
    printf("%llu %llu %s\n", (unsigned long long)kills, (unsigned long long)(n - each),
           outcome == RETURNED ? "whole" : outcome == ENDED ? "ended" : "part");
    return 0;
}
