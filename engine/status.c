/* status.c - what `status` shows, from the counters in shared memory; see docs/formats/control.md. */
#include "base/clock.h"
#include "engine/coordinator.h"

static const char *const phase_names[] = {"empty", "starting", "ready", "running", "ended", "finished", "dead"};

static json_int_t count_of(const _Atomic uint64_t *counter) { return (json_int_t)counter_get(counter); }

static const char *state_name(const struct coordinator *c)
{
    static const char *const names[] = {"starting", "running", "finishing", "cancelled"};
    if (c->state->recovery_state != RECOVERY_NONE && c->state->death_noticed_ns != 0)
        return "recovering";
    if (c->state->stop_requested != STOP_NONE)
        return "stopping";
    return names[atomic_load(&c->shared->run_state)];
}

static json_t *operators_json(const struct coordinator *c, const struct plan_chain *chain)
{
    json_t *names = json_array();
    for (unsigned i = 0; i < chain->node_count; i++)
        json_array_append_new(names, json_string(c->job->graph->nodes[chain->nodes[i]].name));
    return names;
}

static json_t *task_json(const struct coordinator *c, unsigned i)
{
    const struct plan_task *plan = &c->job->plan->tasks[i];
    const struct plan_chain *chain = &c->job->plan->chains[plan->chain];
    const struct task_shared *task = &c->shared->tasks[i];
    const struct task_counters *counters = &task->counters;
    json_t *memory = json_pack("{s:I, s:I, s:I}", "frozen_bytes", count_of(&counters->frozen_bytes), "rollback_checkpoint",
                               count_of(&counters->rollback_checkpoint), "rollback_given_up", count_of(&counters->rollback_given_up));
    double write_ns = (double)counter_get(&counters->snapshot_ns_last);
    double bytes = (double)counter_get(&counters->snapshot_bytes_last);
    json_t *json = json_pack("{s:s, s:i, s:o, s:i, s:s, s:I, s:I, s:f, s:f, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:I, s:f, s:I, s:I, s:I, s:i, s:i}",
                     "name", c->job->graph->nodes[chain->nodes[0]].name, "subtask", (int)plan->subtask, "operators",
                     operators_json(c, chain), "pid", (int)atomic_load(&task->pid), "state",
                     phase_names[atomic_load_explicit(&task->phase, memory_order_relaxed)],
                     "records_in", count_of(&counters->records_in), "records_out", count_of(&counters->records_out),
                     "rate_in", c->samples[i].records_per_s, "busy_pct", c->samples[i].busy_pct,
                     "batches", count_of(&counters->batches), "idle_ms", count_of(&counters->idle_ns) / 1000000,
                     "blocked_ms", count_of(&counters->blocked_ns) / 1000000, "state_bytes", count_of(&counters->state_bytes),
                     "fork_us_last", (double)counter_get(&counters->fork_ns_last) / 1e3,
                     "pause_us_last", (double)counter_get(&counters->pause_ns_last) / 1e3,
                     "pause_us_max", (double)counter_get(&counters->pause_ns_max) / 1e3,
                     "align_us_last", (double)counter_get(&counters->align_ns_last) / 1e3,
                     "snapshot_bytes_last", (json_int_t)bytes,
                     "snapshot_mb_s", write_ns > 0 ? bytes / write_ns * 1e3 : 0.0,
                     "chunks_copied", count_of(&counters->chunks_copied), "overflow_records", count_of(&counters->overflow_records),
                     "poison_diverted", count_of(&counters->poison_diverted), "standby_pid", (int)atomic_load(&task->standby_pid), "takeovers",
                     (int)atomic_load_explicit(&task->takeover_count, memory_order_relaxed));
    json_object_update_new(json, memory);
    return json;
}

/* The process that writes the task's snapshot; 0: none does. */
static int snapshot_pid(const struct coordinator *c, unsigned i)
{
    const struct snapshot_slot *slot = &c->shared->tasks[i].snapshot;
    uint64_t word = atomic_load_explicit(&slot->word, memory_order_acquire);
    return SNAPSHOT_STATUS(word) == SNAPSHOT_RUNNING ? (int)atomic_load(&slot->child_pid) : 0;
}

static json_t *edge_json(const struct coordinator *c, unsigned i)
{
    const struct plan_ring *ring = &c->job->plan->rings[i];
    const struct ring_shared *shared = c->job->ring_controls[i];
    uint64_t tail = atomic_load_explicit(&shared->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&shared->head, memory_order_relaxed);
    double fill = head >= tail ? (double)(head - tail) / (double)shared->capacity_bytes : 0.0;
    return json_pack("{s:s, s:s, s:I, s:f, s:I, s:I}", "from", c->job->plan->tasks[ring->from_task].name, "to",
                     c->job->plan->tasks[ring->to_task].name, "ring_bytes", (json_int_t)shared->capacity_bytes, "fill_pct",
                     fill * 100.0, "blocked_ms", count_of(&shared->blocked_ns) / 1000000, "records", count_of(&shared->records));
}

static void append_counters(const struct coordinator *c, unsigned i, json_t *list)
{
    const struct user_counter *counters = c->shared->tasks[i].user_counters;
    for (unsigned j = 0; j < USER_COUNTERS_MAX && counters[j].name[0] != 0; j++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I}", "task", c->job->plan->tasks[i].name, "operator",
                                              c->job->graph->nodes[counters[j].node].name, "name", counters[j].name, "value",
                                              (json_int_t)counters[j].value));
}

static json_t *checkpoints_json(const struct coordinator *c)
{
    const struct coordinator_shared *state = c->state;
    json_t *last = json_null();
    if (state->last_completed_ns != 0)
        last = json_pack("{s:I, s:f, s:I, s:I}", "id", (json_int_t)state->last_completed_id, "duration_ms",
                         (double)state->last_duration_ns / 1e6, "bytes", (json_int_t)state->last_bytes, "age_ms",
                         (json_int_t)((clock_monotonic_ns() - state->last_completed_ns) / NS_PER_MS));
    bool busy = state->state != CHECKPOINT_IDLE;
    return json_pack("{s:I, s:I, s:o, s:o, s:s}", "completed", (json_int_t)state->completed_count, "failed",
                     (json_int_t)state->aborted_count, "last", last, "in_progress",
                     busy ? json_integer((json_int_t)state->checkpoint_id) : json_null(), "state",
                     checkpoint_state_name((enum checkpoint_state)state->state));
}

json_t *status_json(const struct coordinator *c)
{
    static const char *const guarantees[] = {"exactly-once", "at-least-once", "none"};
    json_t *path = c->state->last_path != PATH_NONE ? json_string(recovery_path_name((enum recovery_path)c->state->last_path)) : json_null();
    json_t *tasks = json_array(), *edges = json_array(), *counters = json_array();
    for (unsigned i = 0; i < c->job->plan->task_count; i++) {
        json_t *task = task_json(c, i);
        json_object_set_new(task, "snapshot_pid", json_integer(snapshot_pid(c, i)));
        json_array_append_new(tasks, task);
        append_counters(c, i, counters);
    }
    for (unsigned i = 0; i < c->job->plan->ring_count; i++)
        json_array_append_new(edges, edge_json(c, i));
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:i, s:i, s:s, s:o, s:I, s:f, s:o, s:I, s:o, s:o, s:o}", "job", c->job->graph->name,
                     "directory", c->job->options->directory, "state", state_name(c), "generation",
                     (json_int_t)atomic_load(&c->shared->generation), "uptime_ms",
                     (json_int_t)((clock_monotonic_ns() - c->shared->started_ns) / NS_PER_MS), "launcher_pid",
                     (int)c->job->launcher_pid, "coordinator_pid", (int)atomic_load(&c->shared->coordinator_pid), "guarantee",
                     guarantees[c->job->options->guarantee], "checkpoints", checkpoints_json(c), "restarts",
                     (json_int_t)c->state->restart_count, "recovery_ms_last", (double)c->state->last_recovery_ns / 1e6,
                     "recovery_path_last", path,
                     "restored_checkpoint", (json_int_t)atomic_load(&c->shared->restore_checkpoint), "tasks", tasks, "edges", edges,
                     "counters", counters);
}
