/*
 * coordinator_recovery.c - from a death to running again: the whole job goes back to its newest checkpoint. Each task finds its part
 * of it in its own memory (rollback.c), or reads it from disk.
 *
 *   NONE -> (a task is dead) DELAYED -> (the restart strategy allows it) REQUESTED -> (the launcher has re-forked) STARTING ->
 *   (all tasks are ready) NONE
 *
 * The launcher's first start enters at STARTING as well.
 */
#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "engine/coordinator.h"
#include "engine/page_in.h"
#include "engine/takeover.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* Deaths from outside (SIGKILL, the OOM killer) are no fault of the job and are not held against it, unless this many come without a checkpoint
 * completed in between: then something kills it for what it does (memory). */
#define OUTSIDE_DEATHS_MAX 1000
#define SUSPICIOUS_DEATHS 100 /* so many of them at one place, and what is processed meanwhile is looked at */
/* No batch is larger; and as much for inputs that come in another order when they are read again. */
#define SAME_PLACE_RECORDS (2 * 65536)

static bool is_running_phase(enum task_phase phase)
{
    return phase == TASK_STARTING || phase == TASK_READY || phase == TASK_RUNNING || phase == TASK_ENDED;
}

static enum task_phase phase_of(const struct coordinator *c, unsigned i)
{
    return (enum task_phase)atomic_load_explicit(&c->shared->tasks[i].phase, memory_order_acquire);
}

bool all_tasks_in_phase(const struct coordinator *c, enum task_phase phase)
{
    for (unsigned i = 0; i < c->job->plan->task_count; i++)
        if (phase_of(c, i) != phase)
            return false;
    return true;
}

/* By a signal that no instruction of its own raises; or it was to take over from one that died so. */
static bool died_from_outside(const struct task_shared *task)
{
    if (task->fell_back != 0)
        return true;
    return WIFSIGNALED(task->exit_status) && task->hung == 0 && task->distrusted == 0 &&
           !takeover_signal_is_own_fault(WTERMSIG(task->exit_status));
}

static void describe_death(const struct task_shared *task, char *text, size_t capacity)
{
    int status = task->exit_status;
    if (task->hung != 0)
        snprintf(text, capacity, "was hung and was killed");
    else if (task->distrusted != 0)
        snprintf(text, capacity, "had taken over from a process that died of its own fault, and was killed");
    else if (WIFSIGNALED(status))
        snprintf(text, capacity, "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == EXIT_TASK_FAILED && task->failure.code != 0)
        snprintf(text, capacity, "%s", task->failure.text);
    else
        snprintf(text, capacity, "exited with status %d", WEXITSTATUS(status));
}

static void log_death(struct coordinator *c, unsigned i, const char *how)
{
    const struct task_shared *task = &c->shared->tasks[i];
    json_t *fields = json_pack("{s:s, s:s, s:i, s:s}", "role", "task", "task", c->job->plan->tasks[i].name, "pid",
                               (int)task->exit_pid, "reason", how);
    if (fields != NULL && WIFSIGNALED(task->exit_status))
        json_object_set_new(fields, "signal", json_integer(WTERMSIG(task->exit_status)));
    else if (fields != NULL)
        json_object_set_new(fields, "exit", json_integer(WEXITSTATUS(task->exit_status)));
    event_log_append(&c->job->events, EVENT_PROCESS_DIED, fields);
}

/* ---- the restart strategy ---- */

static unsigned restarts_within(const struct coordinator_shared *state, int64_t since_ns)
{
    unsigned count = 0;
    for (unsigned i = 0; i < COUNT_OF(state->restart_times_ns); i++)
        count += state->restart_times_ns[i] != 0 && state->restart_times_ns[i] >= since_ns;
    return count;
}

static int64_t exponential_delay_ns(const struct job_options *options, const struct coordinator_shared *state)
{
    if (state->strategy_restarts == 0)
        return options->restart_delay_ns;
    int64_t delay_ns = options->restart_delay_ns;
    for (uint64_t i = 0; i < state->strategy_restarts && delay_ns < options->restart_delay_max_ns; i++)
        delay_ns *= 2;
    return delay_ns < options->restart_delay_max_ns ? delay_ns : options->restart_delay_max_ns;
}

/* The delay before the next restart, or -1 with the reason in *err: no more restarts. */
static int64_t strategy_delay_ns(struct coordinator *c, struct weir_error *err)
{
    const struct job_options *options = c->job->options;
    struct coordinator_shared *state = c->state;
    int64_t delay_ns = options->restart_delay_ns;
    switch ((enum option_restart)options->restart) {
    case OPTION_RESTART_NONE:
        error_set(err, WEIR_EFAILED, "--restart none");
        return -1;
    case OPTION_RESTART_FIXED_DELAY:
        if (state->strategy_restarts >= options->restart_attempts) {
            error_set(err, WEIR_EFAILED, "restarted %llu times already (--restart-attempts)", (unsigned long long)state->strategy_restarts);
            return -1;
        }
        break;
    case OPTION_RESTART_EXPONENTIAL_DELAY:
        if (c->now_ns - state->last_restart_ns > options->restart_window_ns)
            state->strategy_restarts = 0;
        delay_ns = exponential_delay_ns(options, state);
        break;
    case OPTION_RESTART_FAILURE_RATE:
        if (restarts_within(state, c->now_ns - options->restart_window_ns) >= options->restart_attempts) {
            error_set(err, WEIR_EFAILED, "%llu failures within --restart-window", (unsigned long long)options->restart_attempts);
            return -1;
        }
        break;
    }
    state->restart_times_ns[state->strategy_restarts % COUNT_OF(state->restart_times_ns)] = c->now_ns;
    state->strategy_restarts++;
    state->last_restart_ns = c->now_ns;
    return delay_ns;
}

/* ---- NONE: has somebody died? ---- */

/* A checkpoint that its restoring task found damaged is not tried again; that is no failure of the job. */
static void skip_damaged(struct coordinator *c, const struct task_shared *task)
{
    uint64_t id = atomic_load(&c->shared->restore_checkpoint);
    log_line(LOG_WARNING, "checkpoint %llu is damaged and is skipped: %s", (unsigned long long)id, task->failure.text);
    event_log_append(&c->job->events, EVENT_CHECKPOINT_SKIPPED_DAMAGED,
                     json_pack("{s:I, s:s}", "checkpoint", (json_int_t)id, "reason", task->failure.text));
    if (c->state->last_completed_id <= id) /* else a newer one, for which all of this one was verified, is complete */
        c->state->restore_below_id = id;
    /* Records may have flowed since, where state is read lazily. But what now cannot begin (a sink whose output is ahead: decision 0013) never will. */
    c->state->has_run = 0;
}

/* What a task was rolled back to had been written over before. From memory nothing is taken any more that is as old; the checkpoint on
 * disk is as good as ever. */
static void give_up_memory(struct coordinator *c, unsigned i, const struct task_shared *task)
{
    uint64_t id = c->state->last_completed_id;
    log_line(LOG_WARNING, "task '%s': memory of checkpoint %llu is damaged; the job goes back to it on disk: %s", c->job->plan->tasks[i].name,
             (unsigned long long)id, task->failure.text);
    event_log_append(&c->job->events, EVENT_MEMORY_DAMAGED,
                     json_pack("{s:I, s:s, s:s}", "checkpoint", (json_int_t)id, "task", c->job->plan->tasks[i].name, "reason",
                               task->failure.text));
    atomic_store(&c->shared->rollback_barred_id, c->state->next_id - 1); /* all there have been */
}

/* A full disk or a refused file is no fault of the record that was in hand. */
static bool may_be_the_record(const struct task_shared *task)
{
    if (!WIFEXITED(task->exit_status) || WEXITSTATUS(task->exit_status) != EXIT_TASK_FAILED)
        return true;
    int code = task->failure.code;
    return code == WEIR_EUSER || code == WEIR_EINVAL || code == WEIR_ELIMIT;
}

/* What cannot be opened or restored when the command starts (an input file that is missing, say) is the user's to mend: trying
 * again and again would only hide it. */
static bool reported_its_failure(const struct task_shared *task)
{
    return WIFEXITED(task->exit_status) && WEXITSTATUS(task->exit_status) == EXIT_TASK_FAILED && task->failure.code != WEIR_OK;
}

struct verdict {
    bool any;
    bool own_fault;
    bool damaged;
    bool give_up;
    struct weir_error why;
};

/* A death from outside: whether it has been killed often where it is. A completed checkpoint says nothing of that: there may be time for one
 * before the record comes again that kills it. */
static bool keeps_being_killed_there(struct task_shared *task)
{
    uint64_t at = counter_get(&task->counters.records_in);
    if (at > task->died_at || at + SAME_PLACE_RECORDS < task->died_at) {
        task->died_at = at;
        task->deaths_there = 0;
    }
    return ++task->deaths_there >= SUSPICIOUS_DEATHS;
}

static void be_careful(struct task_shared *task)
{
    task->careful_until = counter_get(&task->counters.records_in) + SAME_PLACE_RECORDS;
    atomic_store_explicit(&task->careful, 1, memory_order_relaxed);
}

void recovery_lift_care(struct coordinator *c)
{
    for (unsigned i = 0; i < c->job->plan->task_count; i++) {
        struct task_shared *task = &c->shared->tasks[i];
        if (counter_get(&task->counters.records_in) >= task->careful_until)
            atomic_store_explicit(&task->careful, 0, memory_order_relaxed);
    }
}

static void judge_death(struct coordinator *c, unsigned i, struct verdict *verdict)
{
    struct task_shared *task = &c->shared->tasks[i];
    char how[WEIR_ERROR_BYTES];
    describe_death(task, how, sizeof how);
    log_death(c, i, how);
    verdict->any = true;
    if (verdict->why.code == WEIR_OK)
        error_set(&verdict->why, WEIR_EFAILED, "task '%s': %s", c->job->plan->tasks[i].name, how);
    if (task->damaged != 0) {
        skip_damaged(c, task);
        verdict->damaged = true;
    } else if (task->memory_damaged != 0) {
        give_up_memory(c, i, task);
        verdict->damaged = true;
    } else if (!died_from_outside(task)) {
        verdict->own_fault = true;
        if (c->state->has_run == 0 && reported_its_failure(task)) {
            verdict->give_up = true;
            verdict->why.code = task->failure.code;
        }
        verdict->give_up |= reported_its_failure(task) && task->failure.code == WEIR_EFINAL;
        verdict->give_up |= may_be_the_record(task) && poison_examine(c, i, &verdict->why) != WEIR_OK;
        be_careful(task);
    } else if (keeps_being_killed_there(task) || takeover_got_nowhere(task)) {
        /* Killed from outside each time that it has come so far: by the OOM killer, perhaps, for what a record makes it ask for. */
        verdict->give_up |= poison_examine(c, i, &verdict->why) != WEIR_OK;
        be_careful(task);
    }
}

static void note_deaths(struct coordinator *c)
{
    struct verdict verdict = {0};
    for (unsigned i = 0; i < c->job->plan->task_count; i++)
        if (phase_of(c, i) == TASK_DEAD)
            judge_death(c, i, &verdict);
    if (!verdict.any)
        return;
    KILL_POINT(k10);
    struct coordinator_shared *state = c->state;
    if (state->death_noticed_ns == 0)
        state->death_noticed_ns = c->now_ns;
    checkpoint_interrupted(c);
    if (!verdict.own_fault && !verdict.damaged && ++state->outside_deaths > OUTSIDE_DEATHS_MAX)
        verdict.own_fault = true;
    struct weir_error denied = {0};
    bool counts = verdict.own_fault || c->job->options->restart == OPTION_RESTART_NONE;
    int64_t delay_ns = verdict.give_up ? -1 : counts && !verdict.damaged ? strategy_delay_ns(c, &denied) : 0;
    if (delay_ns < 0) {
        if (denied.code != WEIR_OK)
            error_append(&verdict.why, "; not restarted: %s", denied.text);
        coordinator_end_job(c, OUTCOME_FAILED, &verdict.why);
        return;
    }
    state->recovery_due_ns = c->now_ns + delay_ns;
    state->recovery_state = RECOVERY_DELAYED;
    state->restart_count++;
    log_line(verdict.own_fault ? LOG_ERROR : LOG_INFO, "%s: going back to the last checkpoint", verdict.why.text);
    event_log_append(&c->job->events, EVENT_RECOVERY_STARTED,
                     json_pack("{s:I, s:s, s:I}", "generation", (json_int_t)atomic_load(&c->shared->generation) + 1, "cause",
                               verdict.why.text, "attempt", (json_int_t)state->restart_count));
}

/* ---- DELAYED: choose a checkpoint ---- */

static void skipped(void *self, uint64_t checkpoint_id, const struct weir_error *reason)
{
    struct coordinator *c = self;
    log_line(LOG_WARNING, "checkpoint %llu is skipped: %s", (unsigned long long)checkpoint_id, reason->text);
    event_log_append(&c->job->events, EVENT_CHECKPOINT_SKIPPED_DAMAGED,
                     json_pack("{s:I, s:s}", "checkpoint", (json_int_t)checkpoint_id, "reason", reason->text));
}

/* The last complete checkpoint, where that is known without a look at the disk and may be in memory; 0: it is not. */
static uint64_t newest_in_memory(const struct coordinator *c)
{
    const struct coordinator_shared *state = c->state;
    uint64_t id = state->last_completed_id;
    bool known = state->completed_count > 0 && state->manifest_tried_id <= id && state->restore_below_id == 0 &&
                 id > state->ignore_up_to_id;
    return known && c->job->options->rollback_memory_bytes > 0 && id > atomic_load(&c->shared->rollback_barred_id) ? id : 0;
}

/* Nothing to go back to is a start from nothing, unless there was a checkpoint once. */
static int choose_checkpoint(struct coordinator *c, uint64_t *ret_id, struct weir_error *err)
{
    struct coordinator_shared *state = c->state;
    *ret_id = 0;
    if (c->job->options->guarantee == OPTION_NO_GUARANTEE)
        return WEIR_OK;
    *ret_id = newest_in_memory(c);
    if (*ret_id != 0)
        return WEIR_OK;
    uint64_t below = state->restore_below_id != 0 ? state->restore_below_id : UINT64_MAX;
    struct manifest *m;
    int code = checkpoint_find_between(&c->job->dir, state->ignore_up_to_id, below, skipped, c, &m, err);
    if (code == WEIR_OK) {
        *ret_id = m->checkpoint_id;
        manifest_free(m);
        return WEIR_OK;
    }
    if (code < 0 && code != WEIR_ECORRUPT)
        return code;
    if (state->completed_count == 0 && state->start_id != state->restore_below_id) {
        *ret_id = state->start_id; /* an older one that the user chose, or none */
        return WEIR_OK;
    }
    if (state->last_completed_id > state->ignore_up_to_id)
        return error_set(err, WEIR_ECORRUPT, "there is no undamaged checkpoint left to go back to; 'weir checkpoints' shows what is there, "
                         "--from-scratch starts from nothing");
    return WEIR_OK;
}

static void request_restart(struct coordinator *c)
{
    uint64_t id;
    struct weir_error err = {0};
    if (choose_checkpoint(c, &id, &err) != WEIR_OK) {
        coordinator_end_job(c, OUTCOME_FAILED, &err);
        return;
    }
    KILL_POINT(v1);
    atomic_store(&c->shared->restore_checkpoint, id);
    c->state->recovery_state = RECOVERY_REQUESTED;
    atomic_store_explicit(&c->shared->launcher_request, LAUNCHER_RESTART, memory_order_release);
    job_wake(c->job->launcher_fd);
}

/* ---- STARTING: all ready? ---- */

const char *recovery_path_name(enum recovery_path path)
{
    static const char *const names[] = {"none", "rollback", "disk"};
    return names[path];
}

static enum recovery_path path_taken(const struct coordinator *c)
{
    for (unsigned i = 0; i < c->job->plan->task_count; i++)
        if (c->shared->tasks[i].rolled_back == 0)
            return PATH_DISK;
    return PATH_ROLLBACK;
}

static void start_running(struct coordinator *c)
{
    struct coordinator_shared *state = c->state;
    state->has_run = 1;
    int64_t now_ns = clock_monotonic_ns();
    uint64_t restored = atomic_load(&c->shared->restore_checkpoint);
    if (restored > state->last_completed_id)
        state->last_completed_id = restored;
    /* Of one that is read lazily it is not known yet whether it is whole: see tell_restored(). */
    uint64_t committed = restored != 0 && page_in_is_going_on(c->job) ? restored - 1 : restored;
    atomic_store_explicit(&c->shared->checkpoint_committed, committed, memory_order_relaxed);
    state->started_ns = now_ns; /* the next periodic checkpoint is due an interval from now */
    atomic_store_explicit(&c->shared->run_state, RUN_RUNNING, memory_order_release);
    state->recovery_state = RECOVERY_NONE; /* last: a successor that finds STARTING does all of this again */
    job_ring_all_tasks(c->job);
    if (state->death_noticed_ns == 0)
        return;
    state->last_recovery_ns = now_ns - state->death_noticed_ns;
    state->death_noticed_ns = 0;
    state->last_path = path_taken(c);
    const char *path = recovery_path_name((enum recovery_path)state->last_path);
    log_line(LOG_INFO, "recovered in %.1f ms, from checkpoint %llu (%s)", (double)state->last_recovery_ns / 1e6,
             (unsigned long long)restored, path);
    event_log_append(&c->job->events, EVENT_RECOVERY_FINISHED,
                     json_pack("{s:I, s:I, s:s, s:I}", "generation", (json_int_t)atomic_load(&c->shared->generation), "checkpoint",
                               (json_int_t)restored, "path", path, "duration_ns", (json_int_t)state->last_recovery_ns));
}

/* The sinks may commit what was prepared for the restored checkpoint, once all tasks have found it whole. */
static void tell_restored(struct coordinator *c)
{
    uint64_t restored = atomic_load(&c->shared->restore_checkpoint);
    if (atomic_load_explicit(&c->shared->run_state, memory_order_acquire) != RUN_RUNNING || page_in_is_going_on(c->job) ||
        atomic_load_explicit(&c->shared->checkpoint_committed, memory_order_relaxed) >= restored)
        return;
    atomic_store_explicit(&c->shared->checkpoint_committed, restored, memory_order_release);
    job_ring_all_tasks(c->job);
}

static void note_finished(struct coordinator *c)
{
    if (atomic_load_explicit(&c->shared->run_state, memory_order_acquire) == RUN_FINISHING && all_tasks_in_phase(c, TASK_FINISHED))
        coordinator_end_job(c, c->state->stop_requested != STOP_NONE ? OUTCOME_STOPPED : OUTCOME_FINISHED, NULL);
}

int64_t recovery_tick(struct coordinator *c)
{
    struct coordinator_shared *state = c->state;
    bool launcher_busy = atomic_load_explicit(&c->shared->launcher_request, memory_order_acquire) != LAUNCHER_NOTHING;
    switch ((enum recovery_state)state->recovery_state) {
    case RECOVERY_NONE:
        if (!launcher_busy)
            note_deaths(c);
        if (state->recovery_state == RECOVERY_NONE) {
            tell_restored(c);
            note_finished(c);
        }
        return state->recovery_state == RECOVERY_DELAYED ? c->now_ns : INT64_MAX;
    case RECOVERY_DELAYED:
        if (c->now_ns < state->recovery_due_ns && state->stop_requested == STOP_NONE)
            return state->recovery_due_ns;
        if (c->now_ns < state->recovery_due_ns) { /* no final checkpoint can be had from a job that fails: the last one stands */
            struct weir_error failure = {0};
            error_set(&failure, WEIR_EFAILED, "stopped while it waited to recover from a failure; it will go on from checkpoint %llu",
                      (unsigned long long)state->last_completed_id);
            coordinator_end_job(c, OUTCOME_FAILED, &failure);
            return INT64_MAX;
        }
        request_restart(c);
        return INT64_MAX;
    case RECOVERY_REQUESTED:
        if (launcher_busy) {
            job_wake(c->job->launcher_fd); /* a predecessor may have died between the request and the wake */
            return c->now_ns + 100 * NS_PER_MS;
        }
        state->recovery_state = RECOVERY_STARTING;
        return c->now_ns;
    case RECOVERY_STARTING:
        note_deaths(c);
        if (state->recovery_state == RECOVERY_STARTING &&
            (all_tasks_in_phase(c, TASK_READY) || atomic_load_explicit(&c->shared->run_state, memory_order_acquire) == RUN_RUNNING))
            start_running(c);
        return state->recovery_state == RECOVERY_STARTING ? INT64_MAX : c->now_ns;
    }
    CHECK(!"a recovery state");
    return INT64_MAX;
}

/* ---- hung tasks ---- */

static void check_heartbeat(struct coordinator *c, unsigned i)
{
    struct task_shared *task = &c->shared->tasks[i];
    struct heartbeat_seen *seen = &c->heartbeats[i];
    uint64_t value = atomic_load_explicit(&task->heartbeat, memory_order_relaxed);
    if (value != seen->value || seen->at_ns == 0 || !is_running_phase(phase_of(c, i))) {
        *seen = (struct heartbeat_seen){value, c->now_ns};
        return;
    }
    int64_t silent_ns = c->now_ns - seen->at_ns;
    int32_t pid = atomic_load(&task->pid);
    if (silent_ns < c->job->options->heartbeat_timeout_ns || pid <= 0)
        return;
    log_line(LOG_WARNING, "task '%s' gave no sign of life for %lld ms: killed", c->job->plan->tasks[i].name,
             (long long)(silent_ns / NS_PER_MS));
    event_log_append(&c->job->events, EVENT_TASK_HUNG,
                     json_pack("{s:s, s:i, s:I}", "task", c->job->plan->tasks[i].name, "pid", (int)pid, "silent_ms",
                               (json_int_t)(silent_ns / NS_PER_MS)));
    task->hung = 1;
    kill(pid, SIGKILL);
    seen->at_ns = c->now_ns;
}

int64_t heartbeat_tick(struct coordinator *c)
{
    atomic_fetch_add_explicit(&c->shared->coordinator_heartbeat, 1, memory_order_relaxed);
    c->now_ns = clock_monotonic_ns(); /* the checkpoint's part of this turn may have waited for the disk, longer than a task may be silent */
    if (c->job->options->heartbeat_timeout_ns == 0)
        return c->now_ns + NS_PER_S;
    /* Where this process did not come to look for so long, the machine may have stood still: then nobody's silence says anything. */
    if (c->now_ns - c->heartbeats_at_ns > c->job->options->heartbeat_timeout_ns / 2)
        memset(c->heartbeats, 0, c->job->plan->task_count * sizeof *c->heartbeats);
    c->heartbeats_at_ns = c->now_ns;
    for (unsigned i = 0; i < c->job->plan->task_count; i++)
        check_heartbeat(c, i);
    return c->now_ns + c->job->options->heartbeat_timeout_ns / 4;
}
