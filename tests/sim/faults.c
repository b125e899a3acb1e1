/* faults.c - what goes wrong in a seed, and when: at times, and at or shortly behind the engine's named kill points. */
#include "sim/sim.h"

#include "base/check.h"
#include "base/clock.h"

#include <string.h>

enum fault { KILL_TASK, KILL_COORDINATOR, KILL_SNAPSHOT, KILL_STANDBY, KILL_TASK_AND_STANDBY, KILL_ALL_TASKS, KILL_TWO, KILL_LAUNCHER,
             CUT_POWER, STOP_TASK, STOP_COORDINATOR, OWN_FAULT, ASK_TO_STOP, AT_POINT, DISK_ERROR, NO_FORK, FAULT_COUNT };
static const char *const fault_names[FAULT_COUNT] = {"task", "coordinator", "snapshot child", "standby", "task and standby", "all tasks",
                                                     "two at once", "launcher", "power cut", "task stopped", "coordinator stopped",
                                                     "own fault", "asked to stop", "kill point", "disk error", "no fork"};
_Static_assert(FAULT_COUNT <= sizeof sim.counts_of_faults / sizeof sim.counts_of_faults[0], "a count for each kind");


const char *faults_name(unsigned kind) { return kind < FAULT_COUNT ? fault_names[kind] : NULL; }

/* How often of 100, summed up below; what a profile forbids falls back to a task. */
static const unsigned char weights[FAULT_COUNT] = {
    [KILL_TASK] = 30, [KILL_COORDINATOR] = 16, [KILL_SNAPSHOT] = 8, [KILL_STANDBY] = 5, [KILL_TASK_AND_STANDBY] = 7,
    [KILL_ALL_TASKS] = 3, [KILL_TWO] = 7, [KILL_LAUNCHER] = 5, [CUT_POWER] = 7, [STOP_TASK] = 3, [STOP_COORDINATOR] = 2,
    [OWN_FAULT] = 4, [ASK_TO_STOP] = 3,
};

static void count(enum fault fault)
{
    sim.counts_of_faults[fault]++;
    sim.last_fault_ns = sim.now_ns;
}

static bool is_task(const struct proc *proc)
{
    return proc->name[0] != 0 && !proc_is(proc, "standby:") && !proc_is(proc, "snapshot:") && !proc_is(proc, "coordinator") &&
           !proc_is(proc, "launcher") && proc->pid != sim.launcher_pid;
}

static bool is_of(const struct proc *proc, enum fault fault)
{
    if (proc->state == PROC_ZOMBIE)
        return false;
    switch (fault) {
    case KILL_COORDINATOR:
    case STOP_COORDINATOR:
        return proc_is(proc, "coordinator");
    case KILL_SNAPSHOT:
        return proc_is(proc, "snapshot:");
    case KILL_STANDBY:
        return proc_is(proc, "standby:");
    case KILL_TWO:
        return proc->pid != sim.launcher_pid;
    case KILL_LAUNCHER:
        return proc->pid == sim.launcher_pid;
    default:
        return is_task(proc);
    }
}

static struct proc *pick(enum fault fault)
{
    struct proc *found[SIM_PROCS_MAX];
    unsigned found_count = 0;
    for (unsigned i = 0; i < sim.proc_count; i++)
        if (is_of(sim.procs[i], fault))
            found[found_count++] = sim.procs[i];
    return found_count > 0 ? found[sim_below(found_count)] : NULL;
}

static void kill_one(struct proc *proc)
{
    if (proc == NULL)
        return;
    sim_note("FAULT: kills %d %s", proc->pid, proc->name);
    proc_kill(proc, SIGKILL);
}

static void restart_command_later(void) { sim.start_at_ns = sim.now_ns + (int64_t)sim_below(20 * (uint64_t)NS_PER_MS); }

static void cut_power(void)
{
    sim_note("FAULT: power cut");
    proc_drop_all();
    disk_power_cut();
    kernel_power_cut();
    job_power_cut();
    restart_command_later();
}

static void stop_one(struct proc *proc)
{
    if (proc == NULL)
        return;
    proc->stopped_until_ns = sim.now_ns + (int64_t)sim_below(400 * (uint64_t)NS_PER_MS);
    sim_note("FAULT: stops %d %s for %lld us", proc->pid, proc->name, (long long)((proc->stopped_until_ns - sim.now_ns) / 1000));
}

void __real_takeover_mark_own_faults(struct task_shared *shared);

/* The signal handler that the engine has put in runs, as it would: then the signal ends the process. */
static void fault_by_itself(struct proc *proc)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    int signal_number = signals[sim_below(5)];
    if (proc == NULL)
        return;
    sim_note("FAULT: %d %s dies of signal %d", proc->pid, proc->name, signal_number);
    if (proc->marked != NULL && proc->actions[signal_number].sa_sigaction != NULL) {
        siginfo_t info = {.si_code = 1};
        sim.current = proc; /* its signal handlers, its mark */
        void (*handler)(int, siginfo_t *, void *) = proc->actions[signal_number].sa_sigaction;
        __real_takeover_mark_own_faults(proc->marked);
        handler(signal_number, &info, NULL);
        sim.current = NULL;
    }
    proc_kill(proc, signal_number);
}

static void ask_to_stop(void)
{
    if (sim.shared == NULL)
        return;
    sim_note("FAULT: asked to stop");
    atomic_fetch_add(&sim.shared->stop_signals, 1);
}

static void happen(enum fault fault)
{
    switch (fault) {
    case KILL_TASK_AND_STANDBY: {
        struct proc *task = pick(KILL_TASK);
        char standby[SIM_NAME_BYTES + 16];
        snprintf(standby, sizeof standby, "standby:%s", task != NULL ? task->name : "");
        kill_one(task);
        for (unsigned i = 0; i < sim.proc_count; i++)
            if (strcmp(sim.procs[i]->name, standby) == 0 && sim.procs[i]->state != PROC_ZOMBIE) {
                kill_one(sim.procs[i]);
                break;
            }
        return;
    }
    case KILL_ALL_TASKS:
        for (struct proc *task = pick(KILL_TASK); task != NULL; task = pick(KILL_TASK))
            kill_one(task);
        return;
    case KILL_TWO:
        kill_one(pick(KILL_TWO));
        kill_one(pick(KILL_TWO));
        return;
    case KILL_LAUNCHER:
        kill_one(pick(KILL_LAUNCHER));
        return;
    case CUT_POWER:
        cut_power();
        return;
    case STOP_TASK:
    case STOP_COORDINATOR:
        stop_one(pick(fault));
        return;
    case OWN_FAULT:
        fault_by_itself(pick(OWN_FAULT));
        return;
    case ASK_TO_STOP:
        ask_to_stop();
        return;
    default:
        kill_one(pick(fault));
        return;
    }
}

static enum fault draw(void)
{
    unsigned at = (unsigned)sim_below(100);
    unsigned fault = 0;
    while (at >= weights[fault]) {
        at -= weights[fault];
        fault++;
    }
    bool forbidden = (fault == CUT_POWER && !sim.profile.power_cuts) || (fault == KILL_LAUNCHER && !sim.profile.launcher_kills);
    return forbidden ? KILL_TASK : (enum fault)fault;
}

static void plan_next(void)
{
    sim.next_fault_ns = sim.faults_left == 0 ? INT64_MAX : sim.now_ns + 1 + (int64_t)sim_below(2 * (uint64_t)sim.profile.fault_gap_ns);
}

/* The command is gone, by a fault: the user starts it again. */
static void see_to_the_command(void)
{
    if (sim.start_at_ns == INT64_MAX && sim.run > 0 && !sim.over && proc_find(sim.launcher_pid) == NULL)
        restart_command_later();
}

void faults_tick(void)
{
    see_to_the_command();
    if (sim.cut_due) {
        sim.cut_due = false;
        count(CUT_POWER);
        cut_power();
    }
    if (sim.now_ns < sim.next_fault_ns)
        return;
    if (sim.faults_left > 0) {
        sim.faults_left--;
        enum fault fault = draw();
        count(fault);
        happen(fault);
        see_to_the_command();
    }
    plan_next();
}

/* Kills here, or after a few more accesses to memory, or cuts the power. */
bool faults_at_point(const char *name)
{
    struct proc *proc = sim.current;
    sim_print("at %s", name);
    if (sim.point_faults_left == 0 || !sim_one_in(sim.profile.point_odds) || (proc->pid == sim.launcher_pid && !sim.profile.launcher_kills))
        return false;
    sim.point_faults_left--;
    count(AT_POINT);
    sim_note("FAULT: at kill point %s", name);
    uint64_t how = sim_below(8);
    if (how == 0 && (strcmp(name, "k5") == 0 || strcmp(name, "k6") == 0))
        return true;
    if (how == 7 && sim.profile.power_cuts) {
        sim.cut_due = true;
        proc_yield(); /* for good */
    }
    if (how < 3)
        proc_kill(proc, SIGKILL);
    proc->doomed_in = 1 + (int64_t)sim_below(how < 6 ? 40 : 400);
    proc_yield(); /* so that it is counted from here */
    return false;
}

bool faults_disk_error(const char *what)
{
    if (!sim.profile.disk_errors || sim.point_faults_left == 0 || !sim_one_in(60))
        return false;
    sim.point_faults_left--;
    count(DISK_ERROR);
    sim_note("FAULT: %s fails", what);
    return true;
}

bool faults_fork_error(void)
{
    if (!sim.profile.fork_errors || sim.point_faults_left == 0 || !sim_one_in(12))
        return false;
    sim.point_faults_left--;
    count(NO_FORK);
    sim_note("FAULT: fork fails");
    return true;
}

void faults_begin_seed(void)
{
    sim.faults_left = sim.profile.faults;
    sim.point_faults_left = sim.profile.point_faults;
    memset(sim.counts_of_faults, 0, sizeof sim.counts_of_faults);
    sim.last_fault_ns = 0;
    plan_next();
}
