#include "engine/takeover.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sched.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define POPULATE_EVERY_NS NS_PER_S
#define POPULATE_SLICE_NS (100 * NS_PER_US)
#define POPULATE_PAUSE_NS (500 * NS_PER_US)
#define OWNER_NOBODY UINT64_C(1)
#define OWNER_PID(owner) ((pid_t)((owner) >> 32))

static const int own_faults[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTRAP, SIGSYS};

static uint64_t next_owner(uint64_t owner, pid_t pid) { return (uint64_t)pid << 32 | (uint32_t)((uint32_t)owner + 2); }

bool takeover_signal_is_own_fault(int signal_number)
{
    for (size_t i = 0; i < COUNT_OF(own_faults); i++)
        if (signal_number == own_faults[i])
            return true;
    return false;
}

bool takeover_is_possible(const struct job *job, unsigned task)
{
    const struct plan_chain *chain = &job->plan->chains[job->plan->tasks[task].chain];
    if (job->memory[task].region.undo == NULL)
        return false;
    for (unsigned i = 0; i < chain->node_count; i++) {
        const struct graph_node *node = &job->graph->nodes[chain->nodes[i]];
        if (node->kind == NODE_SINK && node->sink->resume == NULL)
            return false;
    }
    return true;
}

int takeover_reset(struct task_shared *shared, struct weir_error *err)
{
    pthread_mutexattr_t attributes;
    int failure = pthread_mutexattr_init(&attributes);
    if (failure == 0)
        failure = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (failure == 0)
        failure = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    memset(&shared->alive, 0, sizeof shared->alive); /* whatever its last owner left */
    if (failure == 0)
        failure = pthread_mutex_init(&shared->alive, &attributes);
    if (failure != 0)
        return error_set_errno(err, failure, "a robust mutex");
    pthread_mutexattr_destroy(&attributes);
    atomic_store(&shared->owner, 0);
    for (unsigned i = 0; i < PREVIOUS_MAX; i++)
        atomic_store(&shared->previous_pids[i], 0);
    atomic_store(&shared->standby_pid, 0);
    atomic_store(&shared->guarded, 0);
    atomic_store(&shared->standby_spared, 0);
    atomic_store(&shared->leaving, 0);
    atomic_store(&shared->fault_signal, 0);
    atomic_store(&shared->takeover_attempts, 0);
    atomic_store(&shared->deaths_in_hand, 0);
    shared->fell_back = 0;
    shared->distrusted = 0;
    shared->takeover.untold = 0;
    return WEIR_OK;
}

/* ---- who may ---- */

static bool job_runs(const struct job_shared *shared, const struct task_shared *task, enum task_phase last_phase)
{
    uint32_t run_state = atomic_load_explicit(&shared->run_state, memory_order_acquire);
    uint32_t phase = atomic_load_explicit(&task->phase, memory_order_acquire);
    return (run_state == RUN_RUNNING || run_state == RUN_FINISHING) && phase >= TASK_READY && phase <= (uint32_t)last_phase &&
           atomic_load_explicit(&shared->launcher_request, memory_order_acquire) == LAUNCHER_NOTHING;
}

bool takeover_got_nowhere(const struct task_shared *task)
{
    return atomic_load_explicit(&task->takeover_attempts, memory_order_relaxed) >= TAKEOVERS_MAX ||
           atomic_load_explicit(&task->deaths_in_hand, memory_order_relaxed) >= TAKEOVERS_MAX;
}

static bool is_killed_again_and_again(const struct job *job, unsigned task)
{
    if (!takeover_got_nowhere(&job->shared->tasks[task]))
        return false;
    log_line(LOG_WARNING, "task '%s' was taken over %u times without getting on: the job goes back to the last checkpoint",
             job->plan->tasks[task].name, TAKEOVERS_MAX);
    return true;
}

static void note_claim(struct task_shared *shared)
{
    atomic_store_explicit(&shared->guarded, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&shared->takeover_attempts, 1, memory_order_relaxed);
    if (atomic_load_explicit(&shared->in_progress.ring, memory_order_relaxed) != 0)
        atomic_fetch_add_explicit(&shared->deaths_in_hand, 1, memory_order_relaxed);
    atomic_store_explicit(&shared->takeover_noticed_ns, clock_monotonic_ns(), memory_order_relaxed);
}

/* ---- the launcher ---- */

pid_t takeover_owner(const struct task_shared *shared) { return OWNER_PID(atomic_load(&shared->owner)); }

void takeover_note_owner(struct job *job, unsigned task, pid_t pid)
{
    struct task_shared *shared = &job->shared->tasks[task];
    uint64_t owner = atomic_load(&shared->owner);
    atomic_store(&shared->owner, (uint64_t)pid << 32 | (uint32_t)owner);
    atomic_store(&shared->pid, (int32_t)pid);
}

static bool died_from_outside(const struct task_shared *task)
{
    return WIFSIGNALED(task->exit_status) && !takeover_signal_is_own_fault(WTERMSIG(task->exit_status)) && task->hung == 0 &&
           task->fell_back == 0 && task->distrusted == 0 &&
           atomic_load(&task->fault_signal) == 0; /* killed from outside after a fault of its own */
}

bool takeover_claim(struct job *job, unsigned task, pid_t pid, bool *ret_is_taken)
{
    struct task_shared *shared = &job->shared->tasks[task];
    uint64_t owner = atomic_load_explicit(&shared->owner, memory_order_acquire);
    bool wanted = died_from_outside(shared) && job_runs(job->shared, shared, TASK_FINISHED) && takeover_is_possible(job, task) &&
                  !is_killed_again_and_again(job, task);
    *ret_is_taken = OWNER_PID(owner) != pid ||
                    !atomic_compare_exchange_strong(&shared->owner, &owner, wanted ? next_owner(owner, 0) : owner | OWNER_NOBODY);
    if (*ret_is_taken || !wanted)
        return false;
    note_claim(shared);
    return true;
}

void takeover_log_death(struct job *job, unsigned task, pid_t pid, int status)
{
    int signal_number = WTERMSIG(status);
    char reason[64];
    snprintf(reason, sizeof reason, "killed by signal %d (%s)", signal_number, strsignal(signal_number));
    event_log_append(&job->events, EVENT_PROCESS_DIED,
                     json_pack("{s:s, s:s, s:i, s:s, s:i}", "role", "task", "task", job->plan->tasks[task].name, "pid", (int)pid,
                               "reason", reason, "signal", signal_number));
}

void takeover_give_up(struct job *job, unsigned task)
{
    atomic_fetch_or(&job->shared->tasks[task].owner, OWNER_NOBODY);
}

void takeover_distrust(struct job *job, unsigned task, int status)
{
    struct task_shared *shared = &job->shared->tasks[task];
    log_line(LOG_WARNING, "task '%s': its process died of its own fault (status %x) and was taken over: the job goes back to the last checkpoint",
             job->plan->tasks[task].name, (unsigned)status);
    shared->distrusted = 1; /* first: whoever follows the successor sees it, or is the owner by then, or follows one that is reaped after this */
    pid_t successor = takeover_owner(shared); /* not its own note of itself, which may be still to come */
    if (successor > 0)
        kill(successor, SIGKILL);
}

bool takeover_wants_standby(const struct job *job, unsigned task)
{
    const struct task_shared *shared = &job->shared->tasks[task];
    return atomic_load_explicit(&shared->guarded, memory_order_acquire) != 0 && atomic_load(&shared->standby_pid) == 0 &&
           atomic_load(&shared->standby_spared) == 0 &&
           job_runs(job->shared, shared, TASK_ENDED);
}

/* ---- the task ---- */

static struct task_shared *marked; /* for the signal handler: it is given nothing else */
static struct sigaction old_actions[NSIG];

/* Marks the task; then the signal goes its usual way: a fault happens again when this returns, what was sent is sent again. */
static void mark_own_fault(int signal_number, siginfo_t *info, void *context)
{
    (void)context;
    atomic_store(&marked->fault_signal, (uint32_t)signal_number);
    sigaction(signal_number, &old_actions[signal_number], NULL);
    if (info->si_code <= 0)
        raise(signal_number);
}

void takeover_mark_own_faults(struct task_shared *shared)
{
    const size_t stack_bytes = 65536;
    stack_t stack = {.ss_sp = malloc(stack_bytes), .ss_size = stack_bytes};
    marked = shared;
    if (stack.ss_sp == NULL || sigaltstack(&stack, NULL) != 0) /* then an overflow of the stack is told from the exit status, a bit later */
        log_line(LOG_DEBUG, "no stack for the handler of faults");
    for (size_t i = 0; i < COUNT_OF(own_faults); i++) {
        struct sigaction action = {.sa_sigaction = mark_own_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        sigemptyset(&action.sa_mask);
        CHECK(sigaction(own_faults[i], &action, &old_actions[own_faults[i]]) == 0);
    }
}

void takeover_spare_standbys(struct job *job)
{
    for (unsigned i = 0; i < job->plan->task_count; i++) {
        struct task_shared *shared = &job->shared->tasks[i];
        if (atomic_exchange(&shared->standby_spared, 1) == 0 && i == 0)
            log_line(LOG_WARNING, "no process is left for a snapshot child: from now on there are no standbys, and takeovers are cold");
        pid_t standby = atomic_load(&shared->standby_pid);
        if (standby > 0)
            kill(standby, SIGKILL);
    }
}

void takeover_forget_marks(void)
{
    for (size_t i = 0; i < COUNT_OF(own_faults); i++)
        sigaction(own_faults[i], &old_actions[own_faults[i]], NULL);
}

/* The mutex of a task whose last owner died is as good as any. */
static int settle(pthread_mutex_t *mutex, int result)
{
    return result == EOWNERDEAD ? pthread_mutex_consistent(mutex) : result;
}

void takeover_guard(const struct job *job, unsigned task)
{
    struct task_shared *shared = &job->shared->tasks[task];
    if (atomic_load_explicit(&shared->guarded, memory_order_relaxed) != 0 || job->options->takeover != OPTION_TAKEOVER_ON ||
        !takeover_is_possible(job, task))
        return;
    int result = pthread_mutex_trylock(&shared->alive);
    if (settle(&shared->alive, result) != 0)
        return; /* a standby that came too late has it, and is about to go */
    atomic_store_explicit(&shared->guarded, 1, memory_order_release);
    job_wake(job->launcher_fd);
}

/* ---- the standby ---- */

static bool left_by_itself(const struct task_shared *shared)
{
    return atomic_load(&shared->leaving) != 0 || atomic_load(&shared->fault_signal) != 0 || shared->hung != 0 || shared->fell_back != 0 ||
           shared->distrusted != 0;
}

/* Fills page tables for as long as a standby may keep others from a processor. False: all are filled. */
static bool populate_some(const struct chunk_region *region, uint64_t *done_bytes)
{
    int64_t end_ns = clock_monotonic_ns() + POPULATE_SLICE_NS;
    while (chunk_region_populate(region, done_bytes))
        if (clock_monotonic_ns() >= end_ns)
            return true;
    return false;
}

static int lock_within(pthread_mutex_t *mutex, int64_t limit_ns)
{
    int64_t until_ns = clock_monotonic_ns() + limit_ns;
    struct timespec until = {.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
    return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until);
}

/* Asleep in the lock, but for what is done ahead, bit by bit: page tables, and once a second those of memory that the task has taken since. */
static int lock_when_it_dies(struct task_shared *shared, const struct chunk_region *region)
{
    uint64_t populated_bytes = 0;
    int result;
    sched_run_first();
    do {
        bool more = populate_some(region, &populated_bytes);
        result = lock_within(&shared->alive, more ? POPULATE_PAUSE_NS : POPULATE_EVERY_NS);
    } while (result == ETIMEDOUT);
    return result;
}

void takeover_decline(struct job *job, unsigned task)
{
    pthread_mutex_t *alive = &job->shared->tasks[task].alive;
    (void)settle(alive, pthread_mutex_lock(alive)); /* its end leaves the mutex to the next */
}

static bool note_previous(struct task_shared *shared, pid_t pid)
{
    for (unsigned i = 0; i < PREVIOUS_MAX; i++) {
        int32_t none = 0;
        if (atomic_compare_exchange_strong(&shared->previous_pids[i], &none, (int32_t)pid))
            return true;
    }
    return false;
}

bool takeover_is_followed(const struct task_shared *shared, pid_t pid)
{
    for (unsigned i = 0; i < PREVIOUS_MAX; i++)
        if (atomic_load(&shared->previous_pids[i]) == pid)
            return true;
    return false;
}

bool takeover_was_followed(struct task_shared *shared, pid_t pid)
{
    for (unsigned i = 0; i < PREVIOUS_MAX; i++) {
        int32_t noted = (int32_t)pid;
        if (atomic_compare_exchange_strong(&shared->previous_pids[i], &noted, 0))
            return true;
    }
    return false;
}

bool takeover_wait(struct job *job, unsigned task)
{
    struct task_shared *shared = &job->shared->tasks[task];
    int result = lock_when_it_dies(shared, &job->memory[task].region);
    uint64_t owner = atomic_load_explicit(&shared->owner, memory_order_acquire);
    bool died = result == EOWNERDEAD;
    if (settle(&shared->alive, result) != 0 || !died || (owner & OWNER_NOBODY) != 0 || OWNER_PID(owner) == 0 || left_by_itself(shared) ||
        !job_runs(job->shared, shared, TASK_ENDED) || is_killed_again_and_again(job, task))
        return false;
    /* The owner may be another than the one that we slept beside, forked by the launcher, and alive: then it has no mutex yet. */
    if (atomic_load_explicit(&shared->guarded, memory_order_acquire) == 0)
        return false;
    pid_t dead = OWNER_PID(owner);
    if (!note_previous(shared, dead)) /* before it is followed: the launcher may reap it as soon as it is not the owner any more */
        return false;
    sched_step_back(dead); /* its teardown, by itself, on a processor that is needed now */
    if (!atomic_compare_exchange_strong(&shared->owner, &owner, next_owner(owner, getpid()))) {
        (void)takeover_was_followed(shared, dead);
        return false;
    }
    note_claim(shared);
    shared->exit_pid = (int32_t)dead;
    atomic_store(&shared->standby_pid, 0);
    atomic_store(&shared->pid, (int32_t)getpid());
    atomic_store_explicit(&shared->guarded, 1, memory_order_release); /* the mutex is ours already */
    return true;
}
