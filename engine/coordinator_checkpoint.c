/* coordinator_checkpoint.c - the life of a checkpoint: IDLE, REQUESTING, EXECUTING, COMMITTING, COMPLETED; ABORTED from any. */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/kill_point.h"
#include "engine/coordinator.h"
#include "engine/page_in.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char *const trigger_names[] = {"periodic", "records", "request", "stop", "final"};

static struct task_shared *task_at(const struct coordinator *c, unsigned i) { return &c->shared->tasks[i]; }

static uint64_t slot_word(const struct coordinator *c, unsigned i)
{
    return atomic_load_explicit(&task_at(c, i)->snapshot.word, memory_order_acquire);
}

/* ---- IDLE: is one due? ---- */

static bool snapshots_in_progress(const struct coordinator *c)
{
    atomic_thread_fence(memory_order_seq_cst); /* checkpoint_aborted before the slots; pairs with start_snapshot() */
    for (unsigned i = 0; i < c->job->plan->task_count; i++)
        if (SNAPSHOT_STATUS(slot_word(c, i)) == SNAPSHOT_RUNNING)
            return true;
    return false;
}

/* The next checkpoint is due: what children of one that was given up still write (a disk that hangs, perhaps) is of no use, and must
 * not hold it up. Their files are their own; what they were to persist is persisted with the next checkpoint. */
static void kill_given_up_snapshots(const struct coordinator *c)
{
    uint64_t aborted_id = atomic_load_explicit(&c->shared->checkpoint_aborted, memory_order_relaxed);
    for (unsigned i = 0; i < c->job->plan->task_count; i++) {
        uint64_t word = slot_word(c, i);
        int32_t pid = atomic_load(&task_at(c, i)->snapshot.child_pid);
        if (SNAPSHOT_STATUS(word) == SNAPSHOT_RUNNING && SNAPSHOT_ID(word) <= aborted_id && pid > 0)
            kill(pid, SIGKILL);
    }
}

static int64_t periodic_due_ns(const struct coordinator *c)
{
    const struct job_options *options = c->job->options;
    if (options->checkpoint_interval_ns == 0)
        return INT64_MAX;
    int64_t due_ns = c->state->started_ns + options->checkpoint_interval_ns;
    int64_t pause_over_ns = c->state->last_ended_ns + options->checkpoint_min_pause_ns;
    return due_ns > pause_over_ns ? due_ns : pause_over_ns;
}

/* Which trigger fires now; -1: none. */
static int due_trigger(const struct coordinator *c)
{
    if (c->state->stop_requested == STOP_CHECKPOINT)
        return TRIGGER_STOP;
    if (all_tasks_in_phase(c, TASK_ENDED))
        return TRIGGER_FINAL;
    if (c->checkpoint_wanted)
        return TRIGGER_REQUEST;
    if (atomic_load_explicit(&c->shared->records_trigger, memory_order_relaxed) != 0)
        return TRIGGER_RECORDS;
    return c->now_ns >= periodic_due_ns(c) ? TRIGGER_PERIODIC : -1;
}

static void begin(struct coordinator *c, enum trigger trigger)
{
    struct coordinator_shared *state = c->state;
    checkpoint_move(state, CHECKPOINT_REQUESTING);
    state->trigger = (uint32_t)trigger;
    state->checkpoint_id = state->next_id++;
    state->started_ns = c->now_ns;
    state->started_wall_ms = clock_wall_ms();
    state->acknowledged_count = 0;
    state->manifest_attempt = 0;
    c->checkpoint_wanted = false;
    atomic_store_explicit(&c->shared->records_trigger, 0, memory_order_relaxed);
    for (unsigned i = 0; i < c->waiting_count; i++)
        if (!c->waiting[i].stop && c->waiting[i].checkpoint_id == 0)
            c->waiting[i].checkpoint_id = state->checkpoint_id;
    event_log_append(&c->job->events, EVENT_CHECKPOINT_TRIGGERED,
                     json_pack("{s:I, s:s}", "checkpoint", (json_int_t)state->checkpoint_id, "trigger", trigger_names[trigger]));
}

static bool is_in_progress(const struct coordinator *c)
{
    return c->state->state != CHECKPOINT_IDLE && c->state->state != CHECKPOINT_COMPLETED && c->state->state != CHECKPOINT_ABORTED;
}

/* Large ones take milliseconds to delete (0.2 ms a MiB here): while tasks work on the next checkpoint, where that is due at once. Small ones go before
 * it: the directory's sync, which is all that they cost, would hold up the syncs that the next checkpoint waits for. */
#define RETAIN_LATER_BYTES (8u << 20)

static void retain(struct coordinator *c)
{
    c->retain_due = false;
    struct weir_error err = {0};
    bool running = atomic_load_explicit(&c->shared->run_state, memory_order_acquire) == RUN_RUNNING;
    if (running && page_in_is_going_on(c->job)) /* tasks, and whoever takes them over, read the restored one still */
        return;
    if (c->state->completed_count == 0) /* the one that the user chose to begin with may be older than those that are kept */
        return;
    uint64_t lowest_live_id = is_in_progress(c) ? c->state->checkpoint_id : c->state->next_id;
    if (checkpoint_retain(&c->job->dir, (uint32_t)c->job->options->checkpoints_retained, lowest_live_id, NULL, &err) != WEIR_OK)
        log_line(LOG_WARNING, "deleting old checkpoints: %s", err.text);
}

/* Repeatable: sources take a barrier once for each id. */
static void request(struct coordinator *c)
{
    bool last = c->state->trigger == TRIGGER_STOP;
    atomic_store_explicit(&c->shared->checkpoint_request, c->state->checkpoint_id << 1 | last, memory_order_release);
    for (unsigned i = 0; i < c->job->plan->task_count; i++) {
        const struct plan_chain *chain = &c->job->plan->chains[c->job->plan->tasks[i].chain];
        if (c->job->graph->nodes[chain->nodes[0]].kind == NODE_SOURCE)
            job_ring_task(c->job, i);
    }
    checkpoint_move(c->state, CHECKPOINT_EXECUTING);
    if (c->retain_due)
        retain(c);
}

/* ---- EXECUTING: collect acknowledgements ---- */

static void log_acknowledgement(struct coordinator *c, unsigned i)
{
    const struct snapshot_result *result = &task_at(c, i)->snapshot.result;
    bool has_file = task_at(c, i)->cut.has_file != 0;
    event_log_append(&c->job->events, EVENT_CHECKPOINT_ACKNOWLEDGED,
                     json_pack("{s:I, s:s, s:I, s:f}", "checkpoint", (json_int_t)c->state->checkpoint_id, "task",
                               c->job->plan->tasks[i].name, "bytes", (json_int_t)(has_file ? result->file.size_bytes : 0),
                               "duration_ms", has_file ? (double)(result->write_ns + result->sync_ns) / 1e6 : 0.0));
}

/* True when all have acknowledged. Aborts where one failed. */
static bool collect(struct coordinator *c)
{
    unsigned done = 0;
    for (unsigned i = 0; i < c->job->plan->task_count; i++) {
        uint64_t word = slot_word(c, i);
        if (SNAPSHOT_ID(word) != c->state->checkpoint_id)
            continue;
        if (SNAPSHOT_STATUS(word) == SNAPSHOT_FAILED) {
            checkpoint_abort(c, "task '%s': %s", c->job->plan->tasks[i].name, task_at(c, i)->snapshot.error.text);
            return false;
        }
        done += SNAPSHOT_STATUS(word) == SNAPSHOT_DONE;
    }
    if (done > 0 && c->state->acknowledged_count == 0)
        KILL_POINT(k1);
    c->state->acknowledged_count = done;
    if (done < c->job->plan->task_count)
        return false;
    for (unsigned i = 0; i < c->job->plan->task_count; i++)
        log_acknowledgement(c, i);
    KILL_POINT(k2);
    return true;
}

/* ---- COMMITTING: the manifest ---- */

static int fill_committables(struct manifest *m, struct manifest_task *task, const struct cut_record *cut)
{
    task->committables = manifest_alloc(m, cut->committable_count, sizeof *task->committables);
    if (task->committables == NULL)
        return WEIR_ENOMEM;
    task->committable_count = cut->committable_count;
    for (uint32_t i = 0; i < cut->committable_count; i++) {
        const struct pending_committable *from = &cut->committables[i];
        struct manifest_committable *to = &task->committables[i];
        to->operator_index = from->node;
        to->checkpoint_id = from->checkpoint_id;
        to->size_bytes = from->size_bytes;
        memcpy(to->bytes, from->bytes, from->size_bytes);
    }
    return WEIR_OK;
}

static int fill_task(const struct coordinator *c, unsigned i, struct manifest *m)
{
    const struct task_shared *shared = task_at(c, i);
    const struct cut_record *cut = &shared->cut;
    struct manifest_task *task = &m->tasks[i];
    CHECK(cut->checkpoint_id == c->state->checkpoint_id);
    task->finished = cut->ended != 0;
    task->records_in = cut->records_in;
    task->records_out = cut->records_out;
    task->watermark_ms = cut->watermark_ms;
    if (cut->has_file != 0) {
        task->files = manifest_alloc(m, 1, sizeof *task->files);
        if (task->files == NULL)
            return WEIR_ENOMEM;
        task->files[0] = shared->snapshot.result.file;
        task->file_count = 1;
    }
    if (cut->position_bytes > 0) {
        task->positions = manifest_alloc(m, 1, sizeof *task->positions);
        if (task->positions == NULL)
            return WEIR_ENOMEM;
        task->positions[0].operator_index = task->operators[0];
        task->positions[0].size_bytes = cut->position_bytes;
        memcpy(task->positions[0].bytes, cut->position, cut->position_bytes);
        task->position_count = 1;
    }
    return fill_committables(m, task, cut);
}

static int make_manifest(const struct coordinator *c, struct manifest **ret_manifest, struct weir_error *err)
{
    struct manifest *m;
    int code = job_expected_manifest(c->job, &m, err);
    if (code != WEIR_OK)
        return code;
    m->checkpoint_id = c->state->checkpoint_id;
    m->generation = atomic_load(&c->shared->generation);
    m->created_ms = c->state->started_wall_ms;
    m->duration_ns = clock_monotonic_ns() - c->state->started_ns;
    for (unsigned i = 0; code == WEIR_OK && i < c->job->plan->task_count; i++)
        code = fill_task(c, i, m);
    if (code != WEIR_OK) {
        manifest_free(m);
        return error_set(err, code, "manifest: out of memory");
    }
    *ret_manifest = m;
    return WEIR_OK;
}

/* A coordinator that was killed after its rename left a whole manifest: then there is nothing more to write. */
static int write_manifest(struct coordinator *c, uint64_t *ret_bytes, struct weir_error *err)
{
    struct manifest *m = NULL;
    if (c->state->manifest_attempt > 0) {
        /* Below id + 1: the manifest of this very checkpoint, if it is there; the directory is synced by this call. */
        int found = checkpoint_find_newest(&c->job->dir, c->state->checkpoint_id + 1, NULL, NULL, &m, err);
        if (found == WEIR_OK) {
            bool ours = m->checkpoint_id == c->state->checkpoint_id;
            *ret_bytes = m->total_bytes;
            manifest_free(m);
            if (ours)
                return WEIR_OK;
        }
    }
    int code = make_manifest(c, &m, err);
    if (code != WEIR_OK)
        return code;
    c->state->manifest_tried_id = c->state->checkpoint_id; /* from here on it may be on disk, whoever dies */
    code = manifest_write(&c->job->dir, m, ++c->state->manifest_attempt, err);
    *ret_bytes = m->total_bytes;
    manifest_free(m);
    return code;
}

static void tell_tasks(struct coordinator *c)
{
    KILL_POINT(k7);
    atomic_store_explicit(&c->shared->checkpoint_committed, c->state->last_completed_id, memory_order_release);
    for (unsigned i = 0; i < c->job->plan->task_count; i++) {
        job_ring_task(c->job, i);
        KILL_POINT(k8);
    }
}

static void complete(struct coordinator *c, uint64_t bytes)
{
    struct coordinator_shared *state = c->state;
    state->last_duration_ns = clock_monotonic_ns() - state->started_ns;
    state->last_completed_id = state->checkpoint_id;
    state->last_completed_ns = clock_monotonic_ns();
    state->last_bytes = bytes;
    state->completed_count++;
    state->aborted_in_a_row = 0;
    state->outside_deaths = 0;
    state->restore_below_id = 0; /* damaged ones are behind this one now */
    recovery_lift_care(c);
    checkpoint_move(state, CHECKPOINT_COMPLETED);
    event_log_append(&c->job->events, EVENT_CHECKPOINT_COMPLETED,
                     json_pack("{s:I, s:f, s:I}", "checkpoint", (json_int_t)state->checkpoint_id, "duration_ms",
                               (double)state->last_duration_ns / 1e6, "bytes", (json_int_t)bytes));
}

static void commit(struct coordinator *c)
{
    struct weir_error err = {0};
    uint64_t bytes = 0;
    if (write_manifest(c, &bytes, &err) != WEIR_OK) {
        checkpoint_abort(c, "%s", err.text);
        return;
    }
    complete(c, bytes);
}

/* ---- COMPLETED ---- */

static void conclude(struct coordinator *c)
{
    struct coordinator_shared *state = c->state;
    bool last = state->trigger == TRIGGER_STOP || state->trigger == TRIGGER_FINAL;
    tell_tasks(c);
    state->last_ended_ns = clock_monotonic_ns();
    coordinator_answer(c, state->checkpoint_id, NULL);
    checkpoint_move(state, CHECKPOINT_IDLE);
    if (last) {
        state->stop_checkpoint_id = state->checkpoint_id;
        atomic_store_explicit(&c->shared->run_state, RUN_FINISHING, memory_order_release);
        job_ring_all_tasks(c->job);
    }
    c->retain_due = !last && state->last_bytes >= RETAIN_LATER_BYTES;
    if (!c->retain_due)
        retain(c);
}

/* ---- ABORTED ---- */

static void tell_tasks_to_give_up(const struct coordinator *c)
{
    atomic_store_explicit(&c->shared->checkpoint_aborted, c->state->checkpoint_id, memory_order_release);
}

static void give_up(struct coordinator *c, const struct weir_error *err)
{
    struct coordinator_shared *state = c->state;
    checkpoint_move(state, CHECKPOINT_ABORTED);
    state->aborted_count++;
    state->last_ended_ns = clock_monotonic_ns();
    log_line(LOG_WARNING, "checkpoint %llu aborted: %s", (unsigned long long)state->checkpoint_id, err->text);
    event_log_append(&c->job->events, EVENT_CHECKPOINT_ABORTED,
                     json_pack("{s:I, s:s, s:I}", "checkpoint", (json_int_t)state->checkpoint_id, "reason", err->text, "failures",
                               (json_int_t)state->aborted_in_a_row));
    coordinator_answer(c, state->checkpoint_id, err);
}

void checkpoint_abort(struct coordinator *c, const char *format, ...)
{
    struct weir_error err = {0};
    if (!is_in_progress(c))
        return;
    va_list args;
    va_start(args, format);
    error_set_va(&err, WEIR_ECANCELLED, format, args);
    va_end(args);
    c->state->aborted_in_a_row++;
    tell_tasks_to_give_up(c);
    give_up(c, &err);
}

/* A manifest that was being committed may be on disk, and the job may go back to it: until the disk has been asked, tasks keep their cuts. */
void checkpoint_interrupted(struct coordinator *c)
{
    if (!is_in_progress(c))
        return;
    if (c->state->state != CHECKPOINT_COMMITTING)
        tell_tasks_to_give_up(c);
    give_up(c, &(struct weir_error){WEIR_ECANCELLED, "a task died"});
}

static void clean_up_aborted(struct coordinator *c)
{
    checkpoint_move(c->state, CHECKPOINT_IDLE);
    retain(c);
    const struct job_options *options = c->job->options;
    if (options->checkpoint_tolerated_failures != OPTION_UNLIMITED && c->state->recovery_state == RECOVERY_NONE &&
        c->state->aborted_in_a_row > options->checkpoint_tolerated_failures) {
        struct weir_error failure = {0};
        error_set(&failure, WEIR_EFAILED, "%llu checkpoints in a row failed (--checkpoint-tolerated-failures %llu); 'weir events' says why",
                  (unsigned long long)c->state->aborted_in_a_row, (unsigned long long)options->checkpoint_tolerated_failures);
        coordinator_end_job(c, OUTCOME_FAILED, &failure);
    }
}

/* ---- the tick ---- */

static int64_t idle_tick(struct coordinator *c)
{
    bool running = atomic_load_explicit(&c->shared->run_state, memory_order_acquire) == RUN_RUNNING;
    if (!running || c->state->recovery_state != RECOVERY_NONE)
        return INT64_MAX;
    if (c->job->options->guarantee == OPTION_NO_GUARANTEE) {
        if (all_tasks_in_phase(c, TASK_ENDED) || c->state->stop_requested != STOP_NONE) {
            atomic_store_explicit(&c->shared->run_state, RUN_FINISHING, memory_order_release);
            job_ring_all_tasks(c->job);
        }
        return INT64_MAX;
    }
    int trigger = due_trigger(c);
    if (trigger < 0 && c->retain_due) {
        retain(c);
        return c->now_ns;
    }
    if (trigger < 0)
        return periodic_due_ns(c);
    if (atomic_load_explicit(&c->shared->departing, memory_order_acquire) != 0) /* their end wakes us */
        return c->now_ns + 10 * NS_PER_MS;
    if (snapshots_in_progress(c)) { /* of an aborted checkpoint: their end wakes us */
        kill_given_up_snapshots(c);
        return c->now_ns + 10 * NS_PER_MS;
    }
    begin(c, (enum trigger)trigger);
    return c->now_ns;
}

static int64_t executing_tick(struct coordinator *c)
{
    if (collect(c)) {
        checkpoint_move(c->state, CHECKPOINT_COMMITTING);
        return c->now_ns;
    }
    int64_t timeout_at_ns = c->state->started_ns + c->job->options->checkpoint_timeout_ns;
    if (c->state->state == CHECKPOINT_EXECUTING && c->now_ns >= timeout_at_ns)
        checkpoint_abort(c, "not complete after --checkpoint-timeout; %u of %u tasks have acknowledged", c->state->acknowledged_count,
                         c->job->plan->task_count);
    return c->state->state == CHECKPOINT_EXECUTING ? timeout_at_ns : c->now_ns;
}

int64_t checkpoint_tick(struct coordinator *c)
{
    switch ((enum checkpoint_state)c->state->state) {
    case CHECKPOINT_IDLE:
        return idle_tick(c);
    case CHECKPOINT_REQUESTING:
        request(c);
        return c->now_ns;
    case CHECKPOINT_EXECUTING:
        return executing_tick(c);
    case CHECKPOINT_COMMITTING:
        commit(c);
        return c->now_ns;
    case CHECKPOINT_COMPLETED:
        conclude(c);
        return c->now_ns;
    case CHECKPOINT_ABORTED:
        clean_up_aborted(c);
        return c->now_ns;
    case CHECKPOINT_STATE_COUNT:
        break;
    }
    CHECK(!"a checkpoint state");
    return INT64_MAX;
}
