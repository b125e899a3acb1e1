/* input.c - a turn of a task: a gulp of frames from one input ring, or a poll of the source. */
#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "engine/task.h"

#include <stdio.h>

static int corrupt(struct task *task, const struct task_input *in, const char *what)
{
    atomic_store_explicit(&in->ring.shared->poisoned, 1, memory_order_relaxed);
    return error_set(&task->ops[0].error, WEIR_ECORRUPT, "ring from '%s': %s near position %llu",
                     task->job->plan->tasks[in->from_task].name, what, (unsigned long long)in->ring.tail);
}

static const char *check_frame(const struct task *task, const struct ring_frame *frame)
{
    if (__builtin_expect(frame->channel >= task->channel_count, 0))
        return "a frame for an edge that does not exist";
    if (__builtin_expect(task->channels[frame->channel].keyed && frame->size_bytes < sizeof(uint64_t), 0))
        return "a keyed frame without a hash";
    return NULL;
}

/* The records of a frame as the head's callback will see them. */
static inline void decode_records(const struct task *task, const struct ring_frame *frame, struct weir_record *records)
{
    const struct task_channel *channel = &task->channels[frame->channel];
    uint32_t prefix = channel->keyed ? (uint32_t)sizeof(uint64_t) : 0;
    const uint64_t payload_bytes = ring_payload_bytes(frame->size_bytes);
    const char *payload = frame->payload;
    for (uint32_t i = 0; i < frame->count; i++, payload += payload_bytes) {
        ring_fetch_for_reading(frame, payload, payload_bytes);
        struct weir_record *record = &records[i];
        uint64_t hash = 0;
        if (prefix > 0)
            memcpy(&hash, payload, sizeof hash);
        record->data = payload + prefix;
        record->size_bytes = frame->size_bytes - prefix;
        record->input = channel->input;
        record->reserved = 0;
        record->key_hash = hash;
    }
}

/* The next frame, of at most `max` records: WEIR_OK, WEIR_IDLE while there is none, or a negative code. `ring` is in->ring, or a copy. */
static inline __attribute__((always_inline)) int take_frame(struct task *task, struct task_input *in, struct ring_consumer *ring,
                                                            uint64_t max, struct ring_frame *ret_frame)
{
    uint64_t pos = ring->tail;
    int code = ring_peek_run(ring, max, ret_frame);
    if (code == WEIR_IDLE)
        return WEIR_IDLE;
    const char *wrong = code < 0 ? "a damaged frame header" : ret_frame->kind == FRAME_RECORD ? check_frame(task, ret_frame) : NULL;
    if (__builtin_expect(wrong == NULL, 1))
        return WEIR_OK;
    in->ring.tail = pos; /* for the error's text */
    return corrupt(task, in, wrong);
}

/* Takes frames up to `max` records, to the end of what is there, or to a control frame (given in *ret_control). Returns the number of
 * records, or a negative code. */
static int64_t gulp(struct task *task, struct task_input *in, uint64_t max, struct ring_frame *ret_control, bool *ret_has_control)
{
    uint64_t count = 0;
    struct ring_frame frame = {0};
    struct ring_consumer ring = in->ring; /* a copy, which the compiler keeps in registers */
    int code = WEIR_OK;
    while (count < max && (code = take_frame(task, in, &ring, max - count, &frame)) == WEIR_OK && frame.kind == FRAME_RECORD) {
        decode_records(task, &frame, &task->records[count]);
        count += frame.count;
    }
    if (code < 0)
        return code;
    in->ring = ring;
    *ret_has_control = code == WEIR_OK && frame.kind != FRAME_RECORD;
    if (*ret_has_control)
        *ret_control = frame;
    return (int64_t)count;
}

/* Where a record that was just taken is in its ring: less than a ring's bytes behind the tail, or just that. */
static uint64_t record_pos(const struct task *task, const struct task_input *in, const void *record)
{
    const unsigned char *payload = (const unsigned char *)record - (task->ops[0].keyed ? sizeof(uint64_t) : 0);
    uint64_t index = (uint64_t)(payload - RING_FRAME_HEADER_BYTES - in->ring.data) & in->ring.index_mask;
    uint64_t behind = (in->ring.tail - index) & in->ring.index_mask;
    return in->ring.tail - (behind != 0 ? behind : in->ring.capacity_bytes);
}

static void note_in_progress(struct task *task, const struct task_input *in, const void *first, uint32_t size_bytes, uint64_t count)
{
    struct in_progress *note = &task->shared->in_progress;
    atomic_store_explicit(&note->pos, record_pos(task, in, first), memory_order_relaxed);
    note->size_bytes = size_bytes;
    atomic_store_explicit(&note->count, (uint32_t)count, memory_order_relaxed);
    atomic_store_explicit(&note->ring, in->ring_index + 1, memory_order_relaxed);
}

/* Some records are known to kill this task: pass them by, one at a time. */
static int process_without_poison(struct task *task, struct task_input *in, uint64_t count)
{
    struct weir_ctx *head = &task->ops[0];
    for (uint64_t i = 0; i < count; i++) {
        const struct weir_record *record = &task->records[i];
        note_in_progress(task, in, record->data, record->size_bytes, 1);
        int code = poison_is_diverted(task->job, head->node_index, record) ? poison_divert(task, record) : ctx_process(head, record, 1);
        if (code >= 0)
            code = task_hand_on(task);
        if (code < 0)
            return code;
    }
    return WEIR_OK;
}

static void note_taken(struct task *task, uint64_t count)
{
    task->batch_open = true;
    task->records_in += count;
    task->batch_records += count;
    KILL_POINT(c1);
}

static int process_gulp(struct task *task, struct task_input *in, uint64_t count)
{
    struct weir_ctx *head = &task->ops[0];
    note_taken(task, count);
    if (__builtin_expect(poison_is_suspected(task), 0))
        return process_without_poison(task, in, count);
    note_in_progress(task, in, task->records->data, task->records->size_bytes, count);
    int code = ctx_process(head, task->records, count);
    return code < 0 ? code : task_hand_on(task);
}

static int process_frame_as_span(struct task *task, struct task_input *in, const struct ring_frame *frame)
{
    const struct task_channel *channel = &task->channels[frame->channel];
    uint32_t prefix = channel->keyed ? (uint32_t)sizeof(uint64_t) : 0;
    struct weir_span span = {.data = (const char *)frame->payload + prefix,
                             .stride_bytes = ring_payload_bytes(frame->size_bytes),
                             .size_bytes = frame->size_bytes - prefix,
                             .count = frame->count,
                             .input = channel->input};
    ring_fetch_for_reading(frame, frame->payload, span.stride_bytes * span.count);
    note_taken(task, span.count);
    note_in_progress(task, in, span.data, span.size_bytes, span.count);
    int code = ctx_process_span(&task->ops[0], &span);
    return code < 0 ? code : task_hand_on(task);
}

/* What gulp() and process_gulp() do, where the head takes spans: each frame is one. */
static int64_t gulp_spans(struct task *task, struct task_input *in, uint64_t max, struct ring_frame *ret_control, bool *ret_has_control)
{
    uint64_t count = 0;
    struct ring_frame frame = {0};
    int code = WEIR_OK;
    while (count < max && (code = take_frame(task, in, &in->ring, max - count, &frame)) == WEIR_OK && frame.kind == FRAME_RECORD) {
        code = process_frame_as_span(task, in, &frame);
        if (code < 0)
            return code;
        count += frame.count;
        if (task->output_tight)
            break;
    }
    if (code < 0)
        return code;
    *ret_has_control = code == WEIR_OK && frame.kind != FRAME_RECORD;
    if (*ret_has_control)
        *ret_control = frame;
    return (int64_t)count;
}

/* on_end of one after the other: each has had by then what those before it emit in theirs. */
static int end_operators(struct task *task, unsigned first)
{
    int code = WEIR_OK;
    for (unsigned i = first; code >= 0 && i < task->op_count; i++) {
        code = ctx_end(&task->ops[i]);
        if (code >= 0)
            code = task_hand_on(task);
    }
    return code;
}

static int input_ended(struct task *task, struct task_input *in)
{
    in->ended = true;
    for (unsigned i = 0; i < task->in_count; i++)
        if (!task->ins[i].ended)
            return WEIR_OK;
    int code = task->ended ? WEIR_OK : end_operators(task, 0); /* ended: restored so, on_end was called before */
    if (code < 0)
        return code;
    task->ended = true;
    task->end_forwarded = true; /* also after a restore: not all readers need have had it before the checkpoint */
    return task_push_control(task, FRAME_END, NULL, 0);
}

static int control_frame(struct task *task, struct task_input *in, const struct ring_frame *frame)
{
    task->batch_open = true;
    poison_forget(task); /* on_end and what a barrier brings with it are not the last record's doing */
    switch ((enum frame_kind)frame->kind) {
    case FRAME_BARRIER: {
        struct barrier_payload barrier;
        if (frame->size_bytes != sizeof barrier)
            return corrupt(task, in, "a barrier of another size");
        memcpy(&barrier, frame->payload, sizeof barrier);
        return barrier_arrived(task, in, barrier.checkpoint_id, barrier.stop != 0);
    }
    case FRAME_END:
        return input_ended(task, in);
    case FRAME_WATERMARK: /* event time comes later; nobody sends one yet */
    case FRAME_RECORD:
    case FRAME_KIND_COUNT:
        break;
    }
    return corrupt(task, in, "a control frame of an unknown kind");
}

/* Whether the batch has taken its time (--batch-time). Gulps of slow operators shrink, so that one of them does not take much
 * longer than a batch may. */
static bool time_is_up(struct task *task, int64_t *begun_ns)
{
    int64_t limit_ns = task->job->options->batch_time_ns;
    int64_t now_ns = clock_monotonic_ns();
    int64_t gulp_ns = now_ns - task->gulp_begun_ns;
    task->gulp_begun_ns = now_ns;
    if (gulp_ns > limit_ns / 2 && task->gulp_max > 1)
        task->gulp_max /= 2;
    else if (gulp_ns < limit_ns / 8 && task->gulp_max < GULP_RECORDS_MAX)
        task->gulp_max *= 2;
    if (*begun_ns == 0)
        *begun_ns = now_ns - gulp_ns;
    return now_ns - *begun_ns >= limit_ns;
}

/* Up to a batch from one ring. */
static int drain_input(struct task *task, struct task_input *in)
{
    uint64_t batch_max = task->job->options->batch_records;
    bool careful = atomic_load_explicit(&task->shared->careful, memory_order_relaxed) != 0;
    int result = WEIR_IDLE;
    int64_t begun_ns = 0;
    task->work_begun_ns = task->gulp_begun_ns = clock_monotonic_ns();
    do {
        struct ring_frame control = {0};
        bool has_control = false;
        uint64_t gulp_max = careful ? 1 : task->gulp_max;
        gulp_max = u64_min(gulp_max, batch_max - task->batch_records);
        bool in_spans = task->head_takes_spans && !poison_is_suspected(task);
        int64_t count = in_spans ? gulp_spans(task, in, gulp_max, &control, &has_control) : gulp(task, in, gulp_max, &control, &has_control);
        if (count < 0)
            return (int)count;
        int code = count > 0 && !in_spans ? process_gulp(task, in, (uint64_t)count) : WEIR_OK;
        if (code >= 0 && has_control)
            code = control_frame(task, in, &control);
        if (code < 0)
            return code;
        if (count > 0 || has_control)
            result = WEIR_OK;
        if (count == 0 || has_control || in->blocked || task->proving || time_is_up(task, &begun_ns))
            break; /* proving: its readers have waited long enough */
    } while (task->batch_records < batch_max && !task->output_tight && overflow_is_empty(&task->overflow) &&
             !undo_is_long(task->region.undo));
    return result;
}

static bool may_read(const struct task_input *in)
{
    return !in->blocked && ring_has_data(&in->ring);
}

bool task_has_input(const struct task *task)
{
    for (unsigned i = 0; i < task->in_count; i++)
        if (may_read(&task->ins[i]))
            return true;
    return false;
}

int input_turn(struct task *task)
{
    for (unsigned turn = 0; turn < task->in_count; turn++) {
        struct task_input *in = &task->ins[task->in_next];
        task->in_next = task->in_next + 1 < task->in_count ? task->in_next + 1 : 0;
        if (!may_read(in))
            continue;
        int code = drain_input(task, in);
        if (code != WEIR_IDLE)
            return code;
    }
    return WEIR_IDLE;
}

static int source_ended(struct task *task)
{
    int code = end_operators(task, 1);
    if (code < 0)
        return code;
    task->ended = true;
    task->batch_open = true;
    return WEIR_OK;
}

int source_note_position(struct task *task)
{
    struct weir_ctx *head = &task->ops[0];
    size_t size_bytes = 0;
    int code = ctx_callback_result(head, "position", head->node->source->position(head, task->position, &size_bytes));
    if (code < 0)
        return code;
    if (size_bytes > WEIR_POSITION_BYTES_MAX)
        return error_set(&head->error, WEIR_ELIMIT, "a position of %zu bytes; at most %d", size_bytes, WEIR_POSITION_BYTES_MAX);
    task->position_bytes = size_bytes;
    KILL_POINT(s1);
    return WEIR_OK;
}

int source_turn(struct task *task, uint32_t records_max)
{
    struct weir_ctx *head = &task->ops[0];
    head->wait_fd = -1;
    head->wait_ms = 0;
    task->watching = poison_is_suspected(task);
    bool careful = atomic_load_explicit(&task->shared->careful, memory_order_relaxed) != 0;
    poison_note_polling(task);
    int result = head->node->source->poll(head, careful ? 1 : records_max);
    if (task->source_emitted == 0)
        poison_forget(task);
    if (result > WEIR_END)
        result = error_set(&head->error, WEIR_EINVAL, "callback poll returned %d; it must return WEIR_OK, WEIR_IDLE, WEIR_END or a "
                                                      "negative code", result);
    int code = result < 0 ? result : task_hand_on(task);
    if (code < 0)
        return code;
    KILL_POINT(s2);
    task->records_in += task->source_emitted;
    task->records_since_barrier += task->source_emitted;
    task->batch_records += task->source_emitted;
    task->source_emitted = 0;
    code = task->batch_open || result == WEIR_END ? source_note_position(task) : WEIR_OK;
    if (code >= 0 && result == WEIR_END)
        code = source_ended(task);
    return code < 0 ? code : result;
}
