#include "engine/takeover.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define OWNER_NOBODY UINT64_C(1)

bool takeover_signal_is_own_fault(int signal_number)
{
    static const int own_faults[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
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

static bool died_from_outside(const struct task_shared *task)
{
    return WIFSIGNALED(task->exit_status) && !takeover_signal_is_own_fault(WTERMSIG(task->exit_status)) && task->hung == 0 &&
           task->fell_back == 0;
}

/* The launcher alone forks, for a takeover as for going back, and it does one after the other: what it sees here stays so. */
static bool job_runs(const struct job_shared *shared, const struct task_shared *task)
{
    uint32_t run_state = atomic_load_explicit(&shared->run_state, memory_order_acquire);
    uint32_t phase = atomic_load_explicit(&task->phase, memory_order_acquire);
    return (run_state == RUN_RUNNING || run_state == RUN_FINISHING) && phase >= TASK_READY && phase <= TASK_FINISHED &&
           atomic_load_explicit(&shared->launcher_request, memory_order_acquire) == LAUNCHER_NOTHING;
}

static bool is_killed_again_and_again(const struct job *job, unsigned task)
{
    uint32_t attempts = atomic_load_explicit(&job->shared->tasks[task].takeover_attempts, memory_order_relaxed);
    if (attempts < TAKEOVERS_MAX)
        return false;
    log_line(LOG_WARNING, "task '%s' was taken over %u times without getting on: the job goes back to the last checkpoint",
             job->plan->tasks[task].name, attempts);
    return true;
}

bool takeover_claim(struct job *job, unsigned task)
{
    struct task_shared *shared = &job->shared->tasks[task];
    uint64_t owner = atomic_load_explicit(&shared->owner, memory_order_acquire);
    bool wanted = died_from_outside(shared) && job_runs(job->shared, shared) && takeover_is_possible(job, task) &&
                  !is_killed_again_and_again(job, task);
    uint64_t next = wanted ? owner + 2 : owner | OWNER_NOBODY;
    if ((owner & OWNER_NOBODY) != 0 || !atomic_compare_exchange_strong(&shared->owner, &owner, next) || !wanted)
        return false;
    atomic_fetch_add_explicit(&shared->takeover_attempts, 1, memory_order_relaxed);
    atomic_store_explicit(&shared->takeover_noticed_ns, clock_monotonic_ns(), memory_order_relaxed);
    return true;
}

void takeover_log_death(struct job *job, unsigned task)
{
    const struct task_shared *shared = &job->shared->tasks[task];
    int signal_number = WTERMSIG(shared->exit_status);
    char reason[64];
    snprintf(reason, sizeof reason, "killed by signal %d (%s)", signal_number, strsignal(signal_number));
    event_log_append(&job->events, EVENT_PROCESS_DIED,
                     json_pack("{s:s, s:s, s:i, s:s, s:i}", "role", "task", "task", job->plan->tasks[task].name, "pid",
                               (int)shared->exit_pid, "reason", reason, "signal", signal_number));
}

void takeover_give_up(struct job *job, unsigned task)
{
    atomic_fetch_or(&job->shared->tasks[task].owner, OWNER_NOBODY);
}
