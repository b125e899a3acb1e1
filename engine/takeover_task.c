/* takeover_task.c - the process that takes a dead task's place: as it is forked then, or as a standby that has waited for it. */
#include "engine/takeover.h"
#include "engine/task.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FIRST_RECORDS_MAX 16 /* in the first batch of one that takes over, for which its readers wait: each may cost several misses of cold caches */

/* In the place of a process that died: what it had committed. */
static int take_over(struct task *task, uint64_t *ret_undone_bytes, struct weir_error *err)
{
    memset(task->shared->user_counters, 0, sizeof task->shared->user_counters);
    int code = batch_recover(task, ret_undone_bytes, err);
    if (code != WEIR_OK)
        return code;
    code = task_open_state(task, err);
    if (code == WEIR_OK)
        code = task_make_outputs(task, err);
    if (code == WEIR_OK)
        code = task_resume_operators(task, err);
    return code;
}

/* What took how long, for people and tests. */
static void note_takeover(struct task *task, bool by_standby, uint64_t undone_bytes)
{
    struct task_shared *shared = task->shared;
    takeover_tell(task); /* of the one before, if that one was killed too soon */
    atomic_fetch_add_explicit(&shared->takeover_count, 1, memory_order_relaxed);
    shared->takeover = (struct takeover_report){
        .untold = 1,
        .by_standby = by_standby,
        .old_pid = shared->exit_pid,
        .pid = (int32_t)getpid(),
        .duration_ns = clock_monotonic_ns() - atomic_load_explicit(&shared->takeover_noticed_ns, memory_order_relaxed),
        .undone_bytes = undone_bytes,
        .attempt = atomic_load_explicit(&shared->takeover_attempts, memory_order_relaxed),
    };
}

void takeover_tell(struct task *task)
{
    struct takeover_report report = task->shared->takeover;
    if (report.untold == 0)
        return;
    task->shared->takeover.untold = 0;
    const char *by = report.by_standby != 0 ? "standby" : "launcher";
    log_line(LOG_INFO, "taken over from process %d by %s in %.2f ms", (int)report.old_pid, by, (double)report.duration_ns / 1e6);
    event_log_append(&task->job->events, EVENT_TAKEOVER,
                     json_pack("{s:s, s:i, s:i, s:s, s:I, s:I, s:i}", "task", task->plan->name, "old_pid", (int)report.old_pid, "pid",
                               (int)report.pid, "by", by, "duration_ns", (json_int_t)report.duration_ns, "undone_bytes",
                               (json_int_t)report.undone_bytes, "attempt", (int)report.attempt));
}

static _Noreturn void fall_back(struct task *task, struct weir_error *err)
{
    error_context(err, "cannot be taken over");
    task->shared->fell_back = 1;
    task_fail(task, err, false);
}

/* The phase stays what it was: nobody else is to notice. */
static _Noreturn void go_on(struct task *task, bool by_standby)
{
    struct task_shared *shared = task->shared;
    struct weir_error err = {0};
    uint64_t undone_bytes = 0;
    takeover_mark_own_faults(shared);
    task->turns = atomic_load_explicit(&shared->heartbeat, memory_order_relaxed);
    task->proving = true;
    task->gulp_max = FIRST_RECORDS_MAX;
    doorbell_cancel(&shared->bell);
    poison_forget(task);
    KILL_POINT(u1);
    if (take_over(task, &undone_bytes, &err) != WEIR_OK)
        fall_back(task, &err);
    batch_publish_again(task);
    KILL_POINT(u3);
    int code = task->barrier_due != 0 ? barrier_finish(task) : WEIR_OK;
    if (code < 0)
        task_fail_with_code(task, code);
    uint32_t ready = TASK_READY;
    if (atomic_compare_exchange_strong(&shared->phase, &ready, TASK_RUNNING)) /* it died before it saw that all were */
        job_wake(task->job->coordinator_fd);
    KILL_POINT(u4);
    note_takeover(task, by_standby, undone_bytes);
    KILL_POINT(u5);
    task_run(task);
}

/* All that needs nothing of what the task had come to. */
static int get_ready(struct task *task, struct weir_error *err)
{
    int code = task_map_memory(task, true, err);
    if (code != WEIR_OK)
        return code;
    task_describe_channels(task);
    code = task_make_operators(task, err);
    return code == WEIR_OK ? task_warm_up_operators(task, err) : code;
}

_Noreturn void task_take_over_main(struct job *job, unsigned index)
{
    struct task *task = task_make(job, index, "");
    struct weir_error err = {0};
    if (get_ready(task, &err) != WEIR_OK)
        fall_back(task, &err);
    go_on(task, false);
}

_Noreturn void task_standby_main(struct job *job, unsigned index)
{
    struct task *task = task_make(job, index, "standby:");
    struct weir_error err = {0};
    int code = get_ready(task, &err);
    if (code != WEIR_OK) {
        log_line(LOG_WARNING, "this standby cannot take over: %s", err.text);
        takeover_decline(job, index);
        _exit(1);
    }
    if (!takeover_wait(job, index))
        _exit(0);
    snprintf(task->process_name, sizeof task->process_name, "%s", task->plan->name);
    job_set_process_name(job, task->process_name);
    task->runs_first = true;
    go_on(task, true);
}
