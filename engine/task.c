/* task.c - the process of a task: set-up, the loop, idling, the end. */
#include "engine/batch.h"
#include "engine/takeover.h"
#include "engine/task.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sched.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define PARK_NS_MAX (500 * NS_PER_MS) /* the bound of any wait: a lost wake-up costs no more */

#define RUN_FIRST_NS_MAX (5 * NS_PER_MS)

/* By itself: no standby is to take this for a death. */
static _Noreturn void leave(struct task *task, int status)
{
    atomic_store(&task->shared->leaving, 1);
    _exit(status);
}

_Noreturn void task_fail(struct task *task, const struct weir_error *err, bool damaged)
{
    struct task_shared *shared = task->shared;
    log_line(LOG_DEBUG, "%s", err->text); /* who ends the job, or takes it back, says it to the user */
    shared->failure = *err;
    shared->damaged = damaged;
    leave(task, EXIT_TASK_FAILED);
}

/* Why a callback or the engine failed, in the operator's words where it has any. */
static void describe_failure(const struct task *task, int code, struct weir_error *ret_err)
{
    *ret_err = (struct weir_error){.code = code};
    snprintf(ret_err->text, sizeof ret_err->text, "failed with %d (%s)", code, weir_status_name(code));
    const struct weir_ctx *failed = NULL;
    for (unsigned i = 0; i < task->op_count; i++) {
        const struct weir_ctx *ctx = &task->ops[i];
        if (ctx->error.code == code && (failed == NULL || failed->error.code != code))
            failed = ctx;
        else if (ctx->error.code != WEIR_OK && failed == NULL) /* other words; perhaps older ones, that the operator could live with */
            failed = ctx;
    }
    if (failed != NULL)
        ctx_take_failure(failed, code, ret_err);
}

_Noreturn void task_fail_with_code(struct task *task, int code)
{
    struct weir_error err;
    describe_failure(task, code, &err);
    task_fail(task, &err, false);
}

/* ---- set-up ---- */

static void set_phase(struct task *task, enum task_phase phase)
{
    atomic_store_explicit(&task->shared->phase, phase, memory_order_release);
    job_wake(task->job->coordinator_fd);
}

static void pin_to_cpu(struct task *task)
{
    const struct option_cpus *cpus = &task->job->options->pin_cpus;
    cpu_set_t wanted, *allowed = &task->cpus_allowed;
    if ((cpus->count == 0 && !cpus->automatic) || sched_getaffinity(0, sizeof *allowed, allowed) != 0)
        return;
    task->pinned = true;
    CPU_ZERO(&wanted);
    if (cpus->count > 0)
        CPU_SET(cpus->cpu[task->index % cpus->count], &wanted);
    unsigned skip = cpus->count > 0 ? 0 : task->index % (unsigned)CPU_COUNT(allowed);
    for (unsigned cpu = 0; cpus->count == 0 && cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, allowed) && skip-- == 0) {
            CPU_SET(cpu, &wanted);
            break;
        }
    if (sched_setaffinity(0, sizeof wanted, &wanted) != 0)
        log_line(LOG_WARNING, "cannot pin to the CPU that --pin-cpus names: %s", strerror(errno));
}

void task_unpin(const struct task *task)
{
    if (task->pinned && sched_setaffinity(0, sizeof task->cpus_allowed, &task->cpus_allowed) != 0)
        log_line(LOG_DEBUG, "stays on the CPU of its task: %s", strerror(errno));
}

/* Regions of other tasks are not this process's business. */
static void drop_other_memory(const struct job *job, unsigned index)
{
    for (unsigned i = 0; i < job->plan->task_count; i++)
        if (i != index)
            chunk_region_unmap(&job->memory[i].region);
}

static int attach_rings(struct task *task, struct weir_error *err)
{
    const struct job *job = task->job;
    task->ins = calloc(job->plan->ring_count + 1, sizeof *task->ins);
    task->outs = calloc(job->plan->ring_count + 1, sizeof *task->outs);
    if (task->ins == NULL || task->outs == NULL)
        return error_set(err, WEIR_ENOMEM, "no memory for %u rings", job->plan->ring_count);
    int code = WEIR_OK;
    for (unsigned i = 0; code == WEIR_OK && i < job->plan->ring_count; i++) {
        const struct plan_ring *ring = &job->plan->rings[i];
        if (ring->to_task == task->index) {
            struct task_input *in = &task->ins[task->in_count++];
            in->ring_index = i;
            in->from_task = ring->from_task;
            code = ring_consumer_attach(&in->ring, job->ring_fds[i], err);
            in->ring.writer_polls = job->options->busy_poll;
        } else if (ring->from_task == task->index) {
            struct task_output *out = &task->outs[task->out_count++];
            out->ring_index = i;
            out->to_task = ring->to_task;
            code = ring_producer_attach(&out->ring, job->ring_fds[i], err);
            out->ring.reader_polls = job->options->busy_poll;
        }
    }
    return code;
}

void task_describe_channels(struct task *task)
{
    const struct weir_job *graph = task->job->graph;
    for (unsigned i = 0; i < graph->edge_count; i++) {
        const struct graph_edge *edge = &graph->edges[i];
        if (edge->to_node != task->chain->nodes[0])
            continue;
        bool keyed = edge->partition == PARTITION_HASH;
        task->channels[task->channel_count++] =
            (struct task_channel){.input = edge->to_input, .keyed = keyed};
    }
}

static int allocate_gulp(struct task *task, struct weir_error *err)
{
    task->gulp_max = task->poll_max = GULP_RECORDS_MAX;
    task->records = calloc(GULP_RECORDS_MAX, sizeof *task->records);
    if (task->records == NULL)
        return error_set(err, WEIR_ENOMEM, "no memory for a batch");
    return WEIR_OK;
}

int task_map_memory(struct task *task, bool taken_over, struct weir_error *err)
{
    struct job *job = task->job;
    task->region = job->memory[task->index].region;
    page_in_attach(task);
    int code = allocate_gulp(task, err);
    if (code == WEIR_OK)
        code = attach_rings(task, err);
    if (code == WEIR_OK)
        code = commit_area_attach(task, taken_over, err);
    if (code == WEIR_OK)
        code = overflow_attach(&task->overflow, job->memory[task->index].overflow_fd, job->options->overflow_limit_bytes, err);
    return code;
}

static int set_up(struct task *task, struct weir_error *err, bool *ret_damaged)
{
    struct task_shared *shared = task->shared;
    memset(shared->user_counters, 0, sizeof shared->user_counters);
    memset(&shared->counters, 0, sizeof shared->counters);
    int code = task_map_memory(task, false, err);
    if (code != WEIR_OK)
        return code;
    task_describe_channels(task);
    struct manifest *manifest = NULL;
    const struct manifest_task *restored = NULL;
    code = task_restore(task, atomic_load(&task->job->shared->restore_checkpoint), &manifest, &restored, err);
    *ret_damaged = restore_is_damaged(code);
    if (code == WEIR_OK)
        code = task_make_operators(task, err);
    if (code == WEIR_OK)
        code = task_warm_up_operators(task, err);
    if (code == WEIR_OK)
        code = task_open_state(task, err);
    if (code == WEIR_OK)
        code = task_make_outputs(task, err);
    if (code == WEIR_OK && restored != NULL)
        task_wait_for_the_others(task);
    if (code == WEIR_OK && task->has_sink)
        task_wait_for_the_departing(task);
    if (code == WEIR_OK)
        code = task_open_operators(task, restored, err);
    manifest_free(manifest);
    return code;
}

/* The first commit: from here on the task can be taken over. */
static int first_commit(struct task *task, struct weir_error *err)
{
    int code = task->has_source ? source_note_position(task) : WEIR_OK;
    task->batch_open = true;
    if (code >= 0)
        code = batch_commit(task);
    if (code >= 0)
        return WEIR_OK;
    describe_failure(task, code, err);
    return code;
}

/* ---- idling ---- */

/* Whether the coordinator wants something. */
static bool is_called(const struct task *task)
{
    const struct job_shared *job = task->job->shared;
    if (atomic_load_explicit(&job->run_state, memory_order_relaxed) != RUN_RUNNING)
        return true;
    if (atomic_load_explicit(&job->checkpoint_committed, memory_order_acquire) >
        atomic_load_explicit(&task->shared->committed_seen, memory_order_relaxed))
        return true;
    return task->has_source && (atomic_load_explicit(&job->checkpoint_request, memory_order_acquire) >> 1) > task->barrier_id;
}

static bool has_work(const struct task *task) { return is_called(task) || task_has_input(task); }

static int64_t park_timeout_ns(struct task *task, int64_t limit_ns)
{
    int64_t timer_ms = task_next_timer_ms(task);
    if (timer_ms == INT64_MAX || task->stopping || task->ended)
        return limit_ns;
    int64_t wait_ms = timer_ms - job_now_ms(task->job);
    if (wait_ms <= 0)
        return 0;
    return wait_ms < limit_ns / NS_PER_MS ? wait_ms * NS_PER_MS : limit_ns;
}

static void ask_for_data(struct task *task)
{
    for (unsigned i = 0; i < task->in_count; i++)
        if (!task->ins[i].blocked)
            atomic_store_explicit(&task->ins[i].ring.shared->data_wanted, 1, memory_order_relaxed);
}

static void park(struct task *task, int64_t timeout_ns)
{
    ask_for_data(task);
    doorbell_prepare(&task->shared->bell, DOORBELL_SLEEPING);
    if (has_work(task)) {
        doorbell_cancel(&task->shared->bell);
        return;
    }
    KILL_POINT(c4);
    int64_t begun_ns = clock_monotonic_ns();
    doorbell_wait(&task->shared->bell, timeout_ns);
    counter_add(&task->shared->counters.idle_ns, (uint64_t)(clock_monotonic_ns() - begun_ns));
    counter_add(&task->shared->counters.parks, 1);
}

/* A source that waits for a descriptor: polls it, and an eventfd that ringers write. */
static void park_polling(struct task *task, int wait_fd, int64_t timeout_ns)
{
    int event_fd = task->job->memory[task->index].event_fd;
    doorbell_prepare(&task->shared->bell, DOORBELL_POLLING);
    if (!has_work(task)) {
        struct pollfd fds[2] = {{.fd = wait_fd, .events = POLLIN}, {.fd = event_fd, .events = POLLIN}};
        struct timespec timeout = {timeout_ns / NS_PER_S, timeout_ns % NS_PER_S};
        int64_t begun_ns = clock_monotonic_ns();
        if (ppoll(fds, 2, &timeout, NULL) < 0 && errno != EINTR)
            log_line(LOG_WARNING, "poll of descriptor %d: %s", wait_fd, strerror(errno));
        counter_add(&task->shared->counters.idle_ns, (uint64_t)(clock_monotonic_ns() - begun_ns));
        uint64_t rings;
        if ((fds[1].revents & POLLIN) != 0 && read(event_fd, &rings, sizeof rings) < 0 && errno != EAGAIN)
            log_line(LOG_WARNING, "read of the doorbell's descriptor: %s", strerror(errno));
    }
    doorbell_cancel(&task->shared->bell);
}

/* The heartbeat goes on while a task is parked. */
static int64_t longest_park_ns(const struct task *task)
{
    int64_t beat_ns = task->job->options->heartbeat_timeout_ns / 4;
    return beat_ns > 0 && beat_ns < PARK_NS_MAX ? beat_ns : PARK_NS_MAX;
}

static int64_t spin_budget_ns(const struct task *task)
{
    const struct job_options *options = task->job->options;
    if (options->busy_poll)
        return INT64_MAX;
    if (options->spin_ns != OPTION_SPIN_AUTO)
        return options->spin_ns;
    /* Spinning takes the core that a neighbour needs, unless there are cores for all. */
    return (long)task->job->plan->task_count < sysconf(_SC_NPROCESSORS_ONLN) ? 20 * NS_PER_US : 0;
}

/* Whether work came while spinning. */
static bool spin(struct task *task)
{
    int64_t budget_ns = task->spin_ns;
    if (budget_ns <= 0)
        return false;
    int64_t begun_ns = clock_monotonic_ns();
    for (unsigned turn = 0;; turn++) {
        if (has_work(task))
            return true;
        __builtin_ia32_pause();
        if (turn % 64 == 63) {
            int64_t spent_ns = clock_monotonic_ns() - begun_ns;
            if (spent_ns > budget_ns || spent_ns > task->park_ns_max)
                return budget_ns == INT64_MAX; /* busy polling: a turn of the loop, for the heartbeat, and on */
        }
    }
}

/* A task that has taken over, and now has committed records or has nothing to do, was not killed by what it had in hand. */
static void got_on(struct task *task)
{
    if (!task->proving)
        return;
    atomic_store_explicit(&task->shared->takeover_attempts, 0, memory_order_relaxed);
    task->proving = false;
    job_wake(task->job->launcher_fd); /* for a standby of its own: not earlier, it would need the processor as well */
    takeover_tell(task);
}

static void got_past_records(struct task *task)
{
    if (atomic_load_explicit(&task->shared->deaths_in_hand, memory_order_relaxed) != 0)
        atomic_store_explicit(&task->shared->deaths_in_hand, 0, memory_order_relaxed);
    got_on(task);
}

/* One that has taken over goes before all others until it has published its first records, or has nothing to do; but not for long. From then on it
 * is for the readers to go on, who may be waiting for this very processor: it goes behind them at once, not when its time slice ends. */
static void let_others_in(struct task *task, bool at_once)
{
    int64_t noticed_ns = atomic_load_explicit(&task->shared->takeover_noticed_ns, memory_order_relaxed);
    if (!at_once && clock_monotonic_ns() - noticed_ns < RUN_FIRST_NS_MAX)
        return;
    sched_run_as_others();
    sched_yield();
    task->runs_first = false;
}

static void idle(struct task *task)
{
    got_on(task);
    takeover_guard(task->job, task->index);
    bool source_waits = task->has_source && !task->ended && !task->stopping;
    bool asks_again = source_waits && task->spin_ns == INT64_MAX; /* busy polling: nobody says when a source has more */
    if (asks_again || spin(task))
        return;
    int64_t limit_ns = task->park_ns_max;
    struct weir_ctx *head = &task->ops[0];
    if (source_waits && head->wait_ms > 0)
        limit_ns = (int64_t)head->wait_ms * NS_PER_MS < limit_ns ? (int64_t)head->wait_ms * NS_PER_MS : limit_ns;
    else if (source_waits && head->wait_fd < 0)
        limit_ns = NS_PER_MS;
    int64_t timeout_ns = park_timeout_ns(task, limit_ns);
    if (timeout_ns == 0)
        return;
    if (source_waits && head->wait_fd >= 0)
        park_polling(task, head->wait_fd, timeout_ns);
    else
        park(task, timeout_ns);
}

/* Busy polling: for one turn of the loop. Nobody would ring. */
static void poll_for_room(struct task *task)
{
    for (unsigned turn = 0; turn < 64 && !task_outputs_roomy(task) && !is_called(task); turn++)
        __builtin_ia32_pause();
}

static void sleep_for_room(struct task *task)
{
    struct doorbell *bell = &task->shared->bell;
    doorbell_prepare(bell, DOORBELL_SLEEPING);
    if (task_outputs_roomy(task) || is_called(task))
        doorbell_cancel(bell);
    else
        doorbell_wait(bell, task->park_ns_max);
}

/* Output rings are full: waits until the readers have made room. */
static void wait_for_room(struct task *task)
{
    struct task_shared *shared = task->shared;
    int64_t begun_ns = clock_monotonic_ns();
    got_on(task);
    if (task->spin_ns == INT64_MAX)
        poll_for_room(task);
    else
        sleep_for_room(task);
    uint64_t blocked_ns = (uint64_t)(clock_monotonic_ns() - begun_ns);
    counter_add(&shared->counters.blocked_ns, blocked_ns);
    for (unsigned i = 0; i < task->out_count; i++) {
        struct ring_producer *ring = &task->outs[i].ring;
        if (ring_free_bytes(ring) < ring->capacity_bytes / 2)
            counter_add(&ring->shared->blocked_ns, blocked_ns);
    }
}

/* ---- the loop ---- */

/* What the coordinator wants. Returns a negative code where it failed. */
static int obey(struct task *task)
{
    struct job_shared *job = task->job->shared;
    uint64_t committed = atomic_load_explicit(&job->checkpoint_committed, memory_order_acquire);
    int code = WEIR_OK;
    if (committed > atomic_load_explicit(&task->shared->committed_seen, memory_order_relaxed))
        code = sinks_commit(task, committed);
    if (code < 0 || !task->has_source)
        return code;
    uint64_t request = atomic_load_explicit(&job->checkpoint_request, memory_order_acquire);
    if ((request >> 1) <= task->barrier_id)
        return code;
    KILL_POINT(s3);
    return barrier_take(task, request >> 1, (request & 1) != 0);
}

static void count_for_trigger(struct task *task)
{
    uint64_t wanted = task->job->options->checkpoint_records;
    if (wanted == 0 || task->records_since_barrier < (wanted + task->chain->parallelism - 1) / task->chain->parallelism)
        return;
    if (atomic_exchange_explicit(&task->job->shared->records_trigger, 1, memory_order_relaxed) == 0)
        job_wake(task->job->coordinator_fd);
}

/* Sum of the positions of what was written to all output rings. */
static uint64_t bytes_written(const struct task *task)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < task->out_count; i++)
        bytes += task->outs[i].ring.head;
    return bytes;
}

/* A source is asked for more at once where a poll took little time, and little of the room that a ring has when a batch goes on. */
static void adapt_poll(struct task *task, int64_t spent_ns, uint64_t spent_bytes)
{
    int64_t limit_ns = task->job->options->batch_time_ns;
    uint64_t ring_bytes = task->job->options->ring_bytes;
    if (spent_ns > limit_ns / 8 || spent_bytes > ring_bytes / 16)
        task->poll_max = GULP_RECORDS_MAX;
    else if (spent_ns < limit_ns / 32 && spent_bytes < ring_bytes / 32 && task->poll_max < POLL_RECORDS_MAX)
        task->poll_max *= 2;
}

static int source_work(struct task *task)
{
    if (task->ended && !task->end_forwarded) {
        task->end_forwarded = true;
        return task_push_control(task, FRAME_END, NULL, 0);
    }
    if (task->ended || task->stopping)
        return WEIR_IDLE;
    int code = WEIR_OK;
    int64_t now_ns = task->work_begun_ns = clock_monotonic_ns();
    do { /* several polls make a batch */
        int64_t begun_ns = now_ns;
        uint64_t left = task->job->options->batch_records - task->batch_records;
        uint64_t before = task->batch_records, bytes_before = bytes_written(task);
        code = source_turn(task, (uint32_t)u64_min(left, task->poll_max));
        if (task->batch_records == before)
            break;
        now_ns = clock_monotonic_ns();
        adapt_poll(task, now_ns - begun_ns, bytes_written(task) - bytes_before);
        if (task->proving || now_ns - task->work_begun_ns >= task->job->options->batch_time_ns)
            break;
    } while (code == WEIR_OK && task->batch_records < task->job->options->batch_records && !task->output_tight &&
             overflow_is_empty(&task->overflow) && !undo_is_long(task->region.undo));
    count_for_trigger(task);
    return code == WEIR_END ? WEIR_OK : code;
}

/* One turn: WEIR_OK where something was done, WEIR_IDLE where there was nothing to do. */
static int turn(struct task *task)
{
    int code = obey(task);
    if (code < 0)
        return code;
    if (!overflow_is_empty(&task->overflow)) {
        task_drain_overflow(task);
        task->output_tight |= !overflow_is_empty(&task->overflow);
        return WEIR_OK; /* committed before anything is added: an empty queue begins at its start again */
    }
    int fired = task->stopping || task->ended ? 0 : task_fire_timers(task);
    if (fired < 0)
        return fired;
    code = task->has_source ? source_work(task) : input_turn(task);
    return code == WEIR_IDLE && fired > 0 ? WEIR_OK : code;
}

static bool is_poisoned(const struct task *task)
{
    for (unsigned i = 0; i < task->in_count; i++)
        if (atomic_load_explicit(&task->ins[i].ring.shared->poisoned, memory_order_relaxed) != 0)
            return true;
    for (unsigned i = 0; i < task->out_count; i++)
        if (atomic_load_explicit(&task->outs[i].ring.shared->poisoned, memory_order_relaxed) != 0)
            return true;
    return false;
}

static void show_end(struct task *task)
{
    if (task->ended && atomic_load_explicit(&task->shared->phase, memory_order_relaxed) == TASK_RUNNING &&
        overflow_is_empty(&task->overflow) && task->end_forwarded)
        set_phase(task, TASK_ENDED);
}

static void loop(struct task *task)
{
    struct job_shared *job = task->job->shared;
    while (atomic_load_explicit(&job->run_state, memory_order_acquire) == RUN_RUNNING) {
        atomic_store_explicit(&task->shared->heartbeat, ++task->turns, memory_order_relaxed);
        if (task->turns % 256 == 0)
            takeover_guard(task->job, task->index);
        task->now_ms = 0;
        int result = turn(task);
        bool with_records = task->batch_records > 0;
        if (result >= 0) {
            int code = batch_commit(task);
            result = code < 0 ? code : result;
        }
        if (result < 0)
            task_fail_with_code(task, result);
        bool caught_up = result == WEIR_IDLE || task->output_tight;
        batch_wake_readers(task, !caught_up && !task->runs_first);
        if (task->runs_first)
            let_others_in(task, caught_up || with_records);
        if (with_records)
            got_past_records(task);
        barrier_release_cut(task);
        show_end(task);
        if (task->output_tight) {
            task->output_tight = !task_outputs_roomy(task);
            while (task->output_tight && !is_called(task) && page_in_step(task))
                task->output_tight = !task_outputs_roomy(task);
            if (task->output_tight)
                wait_for_room(task);
        } else if (result == WEIR_IDLE) {
            if (is_poisoned(task))
                task_fail(task, &(struct weir_error){WEIR_ECORRUPT, "a ring was found damaged by its other side"}, false);
            got_on(task);
            if (!page_in_step(task))
                idle(task);
        } else {
            page_in_share(task);
        }
    }
    batch_wake_readers(task, false);
    sched_run_as_others(); /* the end may take its time */
}

static _Noreturn void finish(struct task *task)
{
    struct job_shared *job = task->job->shared;
    int code = WEIR_OK;
    if (task->job->options->guarantee == OPTION_NO_GUARANTEE)
        code = sinks_commit_without_checkpoint(task);
    else
        code = sinks_commit(task, atomic_load_explicit(&job->checkpoint_committed, memory_order_acquire));
    if (code < 0)
        task_fail_with_code(task, code);
    task_close_operators(task);
    got_on(task); /* here at the latest: it may have taken over behind its last batch */
    set_phase(task, TASK_FINISHED);
    leave(task, 0);
}

static void wait_for_start(struct task *task)
{
    while (atomic_load_explicit(&task->job->shared->run_state, memory_order_acquire) == RUN_STARTING) {
        doorbell_prepare(&task->shared->bell, DOORBELL_SLEEPING);
        if (atomic_load_explicit(&task->job->shared->run_state, memory_order_acquire) != RUN_STARTING)
            doorbell_cancel(&task->shared->bell);
        else
            doorbell_wait(&task->shared->bell, task->park_ns_max);
        atomic_fetch_add_explicit(&task->shared->heartbeat, 1, memory_order_relaxed);
    }
}

struct task *task_make(struct job *job, unsigned index, const char *role)
{
    struct task *task = calloc(1, sizeof *task);
    if (task == NULL)
        _exit(EXIT_TASK_FAILED);
    *task = (struct task){
        .job = job,
        .index = index,
        .plan = &job->plan->tasks[index],
        .chain = &job->plan->chains[job->plan->tasks[index].chain],
        .shared = &job->shared->tasks[index],
        .manual_now_ms = -1,
        .dead_letter_fd = -1,
    };
    snprintf(task->process_name, sizeof task->process_name, "%s%s", role, task->plan->name);
    job_enter_process(job, task->process_name);
    drop_other_memory(job, index);
    pin_to_cpu(task);
    task->spin_ns = spin_budget_ns(task);
    task->park_ns_max = longest_park_ns(task);
    return task;
}

_Noreturn void task_run(struct task *task)
{
    takeover_guard(task->job, task->index);
    loop(task);
    if (atomic_load_explicit(&task->job->shared->run_state, memory_order_acquire) == RUN_FINISHING)
        finish(task);
    leave(task, 0);
}

_Noreturn void task_main(struct job *job, unsigned index)
{
    struct task *task = task_make(job, index, "");
    takeover_mark_own_faults(task->shared);
    set_phase(task, TASK_STARTING);
    poison_forget(task); /* it is no record's fault if this one fails before it takes any */
    int64_t begun_ns = clock_monotonic_ns();
    struct weir_error err = {0};
    bool damaged = false;
    if (set_up(task, &err, &damaged) != WEIR_OK)
        task_fail(task, &err, damaged);
    counter_set(&task->shared->counters.restore_ns, (uint64_t)(clock_monotonic_ns() - begun_ns));
    /* What its sinks may commit only later is pending: see reconcile_sink(). */
    atomic_store(&task->shared->committed_seen, atomic_load(&job->shared->restore_checkpoint) - (task->pending->count > 0));
    if (first_commit(task, &err) != WEIR_OK)
        task_fail(task, &err, false);
    KILL_POINT(v5);
    set_phase(task, TASK_READY);
    wait_for_start(task);
    set_phase(task, TASK_RUNNING);
    task_run(task);
}
