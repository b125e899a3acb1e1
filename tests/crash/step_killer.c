/*
 * step_killer - kills tasks of a running job behind the n-th instruction of a function, n = FIRST, FIRST + STEP, ...
 *
 *     step_killer LAUNCHER TASK OFFSET FIRST STEP COUNT          in the task itself
 *     step_killer --taker LAUNCHER TASK OFFSET FIRST STEP COUNT  in the process that takes the task over: the task is
 *                                                                SIGKILLed, then its successor behind its n-th instruction
 *     step_killer --path LAUNCHER TASK OFFSET COUNT              behind every instruction of one pass through the function: one
 *                                                                is stepped through and noted, then one process after the
 *                                                                other is killed at the next place of it (breakpoints: far
 *                                                                quicker than steps)
 *     step_killer --permitted PID                                whether a process that is no child of this one may be traced: status 0 or 2
 *
 * LAUNCHER is the job's first process, TASK the name of one of its processes ("track/0"), OFFSET the place of the function in the program's
 * file (as nm gives it, hexadecimal). A process that comes by is stopped at the function by a breakpoint, stepped (ptrace), and
 * killed. It ends when the function has returned before its n-th instruction several times in a row (all have been killed at: "whole";
 * once may be a pass with nothing to do), after COUNT kills ("part"), or when the job has ended ("ended"), and prints: KILLS NEXT_N
 * whole|part|ended; with --path also how many instructions the path has, and how many of them no other process came to.
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
#define TRIES 8         /* passes that are looked at before something is said not to be reached */
#define PASSES 12       /* that one is chosen from */
#define PATH_MAX_STEPS 20000

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

/* Of the process that is traced: what a child that it forks has as well, and must not have. */
static struct {
    uint64_t address; /* 0: none */
    long word;
} breakpoints[2];

/* With --path: a child of the traced process, a snapshot child, is stopped at its first instruction. It goes on as it should be. */
static void let_child_go(pid_t parent)
{
    unsigned long child = 0;
    if (ptrace(PTRACE_GETEVENTMSG, parent, NULL, &child) != 0 || waitpid((pid_t)child, NULL, __WALL) < 0)
        return;
    for (unsigned i = 0; i < 2; i++)
        if (breakpoints[i].address != 0)
            ptrace(PTRACE_POKETEXT, (pid_t)child, breakpoints[i].address, breakpoints[i].word);
    ptrace(PTRACE_DETACH, (pid_t)child, NULL, NULL);
}

/* Waits for the next stop of a traced process: its signal, or -1 where it is gone. */
static int next_stop(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, __WALL) < 0)
        if (errno != EINTR)
            return -1;
    int event = status >> 16;
    if (WIFSTOPPED(status) && (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK))
        let_child_go(pid);
    return WIFSTOPPED(status) ? WSTOPSIG(status) : -1;
}

enum place { GONE, FIRST, SECOND };

/* Puts a breakpoint there; what it takes the place of goes to ret_word. */
static bool put_breakpoint(pid_t pid, uint64_t address, long *ret_word)
{
    errno = 0;
    *ret_word = ptrace(PTRACE_PEEKTEXT, pid, address, NULL);
    return errno == 0 && ptrace(PTRACE_POKETEXT, pid, address, (*ret_word & ~0xffL) | 0xcc) == 0;
}

/* Lets a stopped process run until it comes to `first` or, where that is not 0, to `second`; it is stopped there, without breakpoints. */
static enum place run_to_either(pid_t pid, uint64_t first, uint64_t second)
{
    long words[2] = {0};
    breakpoints[0].address = breakpoints[1].address = 0;
    if (!put_breakpoint(pid, first, &words[0]) || (second != 0 && !put_breakpoint(pid, second, &words[1])))
        return GONE;
    breakpoints[0].address = first;
    breakpoints[0].word = words[0];
    breakpoints[1].address = second;
    breakpoints[1].word = words[1];
    int pass = 0;
    for (;;) {
        if (ptrace(PTRACE_CONT, pid, NULL, pass) != 0)
            return GONE;
        int stop = next_stop(pid);
        struct user_regs_struct regs;
        if (stop < 0 || ptrace(PTRACE_GETREGS, pid, NULL, &regs) != 0)
            return GONE;
        if (stop == SIGTRAP && (regs.rip == first + 1 || (second != 0 && regs.rip == second + 1))) {
            regs.rip--;
            bool whole = (second == 0 || ptrace(PTRACE_POKETEXT, pid, second, words[1]) == 0) &&
                         ptrace(PTRACE_POKETEXT, pid, first, words[0]) == 0 && ptrace(PTRACE_SETREGS, pid, NULL, &regs) == 0;
            breakpoints[0].address = breakpoints[1].address = 0;
            return !whole ? GONE : regs.rip == first ? FIRST : SECOND;
        }
        pass = stop == SIGTRAP ? 0 : stop;
    }
}

static bool run_to(pid_t pid, uint64_t address) { return run_to_either(pid, address, 0) == FIRST; }

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

/* ---- one path ---- */

struct path {
    uint64_t count;
    uint64_t at[PATH_MAX_STEPS];
    uint64_t sorted[PATH_MAX_STEPS]; /* the same */
    uint32_t nth[PATH_MAX_STEPS]; /* at[i] is reached for the nth time, from 1 */
};

/* From the function's first instruction through the pass, to the first instruction of the next one. */
static bool run_through(const struct killer *k, pid_t pid)
{
    struct user_regs_struct regs;
    if (ptrace(PTRACE_GETREGS, pid, NULL, &regs) != 0)
        return false;
    errno = 0;
    uint64_t back = (uint64_t)ptrace(PTRACE_PEEKTEXT, pid, regs.rsp, NULL);
    return errno == 0 && run_to(pid, back) && run_to(pid, base_of(pid) + k->offset);
}

/* The next process that comes by, stopped at the function; 0 where the job has ended. It has gone through it once before: else it would die
 * again and again of the same batch, and the job go back. */
static pid_t catch_at_function(const struct killer *k, pid_t *last)
{
    for (;;) {
        pid_t pid = await_child(k, *last);
        if (pid == 0)
            return 0;
        if (!seize(pid)) {
            wait_a_little();
            continue;
        }
        *last = pid;
        ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK);
        uint64_t base = base_of(pid);
        if (base != 0 && run_to(pid, base + k->offset) && run_through(k, pid))
            return pid;
        kill_and_wait(pid); /* gone, mostly */
        if (!job_lives(k))
            return 0;
    }
}

/* Steps a process that is stopped at the function to its end, and notes where it was. */
static void note_path(pid_t pid, struct path *path)
{
    struct user_regs_struct regs;
    path->count = 0;
    if (ptrace(PTRACE_GETREGS, pid, NULL, &regs) != 0)
        return;
    uint64_t stack_at_entry = regs.rsp;
    while (path->count < PATH_MAX_STEPS && ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0 && next_stop(pid) >= 0 &&
           ptrace(PTRACE_GETREGS, pid, NULL, &regs) == 0 && regs.rsp <= stack_at_entry)
        path->at[path->count++] = regs.rip;
}

static void number_path(struct path *path)
{
    for (uint64_t i = 0; i < path->count; i++) {
        path->nth[i] = 1;
        for (uint64_t j = i; j-- > 0;)
            if (path->at[j] == path->at[i]) {
                path->nth[i] = path->nth[j] + 1;
                break;
            }
    }
}

/* A process that is stopped at the function: to a place of the path, in this pass or one of the next. */
static enum place bring_to(const struct killer *k, pid_t pid, uint64_t at, uint32_t nth)
{
    uint64_t function = base_of(pid) + k->offset;
    for (unsigned try = 0; try < TRIES; try++) {
        struct user_regs_struct regs;
        if (ptrace(PTRACE_GETREGS, pid, NULL, &regs) != 0)
            return GONE;
        errno = 0;
        uint64_t back = (uint64_t)ptrace(PTRACE_PEEKTEXT, pid, regs.rsp, NULL);
        enum place place = errno == 0 ? FIRST : GONE;
        for (uint32_t i = 0; i < nth && place == FIRST; i++) {
            place = run_to_either(pid, at, back);
            if (place == FIRST && i + 1 < nth && (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0 || next_stop(pid) < 0))
                place = GONE;
        }
        if (place != SECOND)
            return place;
        if (!run_to(pid, function))
            return GONE;
    }
    return SECOND;
}

static int by_length(const void *a, const void *b)
{
    const struct path *one = a, *other = b;
    return one->count < other->count ? -1 : one->count > other->count;
}

static int by_address(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
    return one < other ? -1 : one > other;
}

/* How often a pass was at an address. */
static uint32_t times_at(const struct path *path, uint64_t at)
{
    uint64_t ends[2];
    for (unsigned i = 0; i < 2; i++) { /* the first that is not below `at`, the first above it */
        uint64_t low = 0, high = path->count;
        while (low < high) {
            uint64_t middle = low + (high - low) / 2;
            if (path->sorted[middle] < at + i)
                low = middle + 1;
            else
                high = middle;
        }
        ends[i] = low;
    }
    return (uint32_t)(ends[1] - ends[0]);
}

/* How many of its places another pass came to as well, on average over all of them. */
static double likeness(const struct path *path, const struct path *all)
{
    uint64_t found = 0;
    for (unsigned j = 0; j < PASSES; j++)
        for (uint64_t i = 0; i < path->count; i++)
            found += times_at(&all[j], path->at[i]) >= path->nth[i];
    return (double)found / (double)(PASSES * path->count);
}

/* Of a few, which are killed at their end: of those that are not far shorter, with nothing to do, the one that is most like the others. */
static const struct path *choose_path(const struct killer *k, pid_t *last, uint64_t *kills)
{
    static struct path paths[PASSES];
    for (unsigned i = 0; i < PASSES; i++) {
        pid_t pid = catch_at_function(k, last);
        if (pid == 0)
            return NULL;
        note_path(pid, &paths[i]);
        kill_and_wait(pid);
        (*kills)++;
        number_path(&paths[i]);
        memcpy(paths[i].sorted, paths[i].at, paths[i].count * sizeof paths[i].at[0]);
        qsort(paths[i].sorted, paths[i].count, sizeof paths[i].sorted[0], by_address);
    }
    qsort(paths, PASSES, sizeof paths[0], by_length);
    const struct path *best = &paths[PASSES - 1];
    for (unsigned i = 0; i < PASSES; i++)
        if (paths[i].count * 4 >= paths[PASSES - 1].count && likeness(&paths[i], paths) > likeness(best, paths))
            best = &paths[i];
    return best;
}

static int kill_along_path(const struct killer *k, uint64_t count)
{
    pid_t last = 0;
    uint64_t kills = 0, missed = 0, i = 0;
    const struct path *path = choose_path(k, &last, &kills);
    bool ended = path == NULL;
    for (; !ended && i < path->count && kills < count; i++) {
        pid_t pid = catch_at_function(k, &last);
        ended = pid == 0;
        if (ended)
            break;
        missed += bring_to(k, pid, path->at[i], path->nth[i]) == SECOND;
        kill_and_wait(pid);
        kills++;
    }
    uint64_t length = path == NULL ? 0 : path->count;
    printf("%llu %llu %s %llu %llu\n", (unsigned long long)kills, (unsigned long long)i, ended ? "ended" : i == length ? "whole" : "part",
           (unsigned long long)length, (unsigned long long)missed);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--permitted") == 0)
        return say_whether_permitted((pid_t)strtol(argv[2], NULL, 10));
    bool taker = argc > 1 && strcmp(argv[1], "--taker") == 0, along_path = argc > 1 && strcmp(argv[1], "--path") == 0;
    char **arguments = argv + 1 + (taker || along_path);
    if (argc - (int)(arguments - argv) != (along_path ? 4 : 6)) {
        fprintf(stderr, "usage: step_killer [--taker] LAUNCHER TASK OFFSET FIRST STEP COUNT | --path LAUNCHER TASK OFFSET COUNT | --permitted PID\n");
        return 1;
    }
    struct killer k = {.launcher = (pid_t)strtol(arguments[0], NULL, 10), .task = arguments[1],
                       .offset = strtoull(arguments[2], NULL, 16)};
    if (along_path)
        return kill_along_path(&k, strtoull(arguments[3], NULL, 10));
    uint64_t n = strtoull(arguments[3], NULL, 10), each = strtoull(arguments[4], NULL, 10);
    uint64_t count = strtoull(arguments[5], NULL, 10), kills = 0;
    unsigned returned = 0; /* in a row */
    pid_t last = 0;
    enum outcome outcome = KILLED;
    while (outcome != ENDED && returned < TRIES && kills < count) {
        outcome = (taker ? kill_taker : kill_task)(&k, &last, n);
        kills += outcome != ENDED;
        returned = outcome == RETURNED ? returned + 1 : 0;
        n += outcome == KILLED ? each : 0;
    }
    printf("%llu %llu %s\n", (unsigned long long)kills, (unsigned long long)n,
           returned == TRIES ? "whole" : outcome == ENDED ? "ended" : "part");
    return 0;
}
