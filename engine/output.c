/* output.c - from an emit to a frame in a ring, a call of a chained operator, or the overflow queue. */
#include "base/bytes.h"
#include "base/check.h"
#include "engine/task.h"
#include "state/key.h"

#include <stdlib.h>

/* A ring with less room than this ends the batch: the next gulp is likely not to fit. */
static uint64_t room_wanted(const struct ring_producer *ring) { return ring->capacity_bytes / 8; }

/* Small copies without a call: records are mostly a few words. */
static inline void copy_record(void *to, const void *from, size_t size_bytes)
{
    if (size_bytes < 8 || size_bytes > 64) {
        memcpy(to, from, size_bytes);
        return;
    }
    for (size_t i = 0; i + 8 <= size_bytes; i += 8)
        memcpy((char *)to + i, (const char *)from + i, 8);
    memcpy((char *)to + size_bytes - 8, (const char *)from + size_bytes - 8, 8);
}

static int too_large(struct weir_ctx *ctx, size_t size_bytes, uint64_t limit_bytes)
{
    return error_set(&ctx->error, WEIR_ELIMIT, "operator '%s': a record of %zu bytes; at most %llu fit (--ring-size)",
                     ctx->node->name, size_bytes, (unsigned long long)limit_bytes);
}

/* The buffer's bytes, at least so many; NULL with ctx->error set. */
static void *grow_buffer(struct weir_ctx *ctx, struct emit_buffer *buffer, size_t size_bytes)
{
    if (size_bytes <= buffer->capacity && buffer->bytes != NULL)
        return buffer->bytes;
    size_t wanted = align_up(size_bytes > 0 ? size_bytes : 1, 4096); /* no bytes are room as well: NULL is a failure */
    free(buffer->bytes);
    buffer->bytes = malloc(wanted);
    buffer->capacity = buffer->bytes != NULL ? wanted : 0;
    if (buffer->bytes == NULL)
        error_set(&ctx->error, WEIR_ENOMEM, "operator '%s': no memory for a record of %zu bytes", ctx->node->name, size_bytes);
    return buffer->bytes;
}

/* Callbacks and key functions may count on records that are aligned to 8 bytes, wherever the emitter has them: points *data to a
 * copy where they are not. */
static inline int align_record(struct weir_ctx *ctx, const void **data, size_t size_bytes)
{
    if (__builtin_expect((uintptr_t)*data % 8 == 0 || size_bytes == 0, 1))
        return WEIR_OK;
    void *copy = grow_buffer(ctx, &ctx->aligned, size_bytes);
    if (copy == NULL)
        return ctx->error.code;
    memcpy(copy, *data, size_bytes);
    *data = copy;
    return WEIR_OK;
}

static uint64_t record_limit(const struct ring_producer *ring)
{
    return u64_min(WEIR_RECORD_BYTES_MAX, ring->capacity_bytes / 4);
}

/* Room for a frame of size_bytes in a ring, or in the overflow queue behind it. NULL with ctx->error set. */
static void *claim_frame(struct weir_ctx *ctx, struct task_output *out, uint32_t size_bytes, uint8_t channel, bool *ret_queued)
{
    struct task *task = ctx->task;
    *ret_queued = false;
    if (overflow_is_empty(&task->overflow)) {
        void *payload = ring_claim(&out->ring, size_bytes);
        if (payload != NULL)
            return payload;
    }
    struct overflow_frame frame = {.size_bytes = size_bytes, .out = (uint16_t)(out - task->outs), .kind = FRAME_RECORD,
                                   .channel = channel};
    void *payload;
    task->output_tight = true;
    if (overflow_push(&task->overflow, &frame, &payload, &ctx->error) != WEIR_OK)
        return NULL;
    counter_add(&task->shared->counters.overflow_records, 1);
    *ret_queued = true;
    return payload;
}

static inline void note_room(struct task *task, struct task_output *out)
{
    if (__builtin_expect(ring_free_bytes(&out->ring) < room_wanted(&out->ring), 0))
        task->output_tight |= !ring_refresh_tail(&out->ring, room_wanted(&out->ring));
}

static inline void push_frame(struct task *task, struct task_output *out, uint32_t size_bytes, uint8_t channel)
{
    ring_push(&out->ring, size_bytes, FRAME_RECORD, channel);
    note_room(task, out);
}

/* hash: in front of the record, where the receiver is keyed. */
static int send_to_ring(struct weir_ctx *ctx, const struct target *target, unsigned out_index, const uint64_t *hash,
                        const void *data, size_t size_bytes)
{
    struct task_output *out = &ctx->task->outs[out_index];
    size_t prefix = hash != NULL ? sizeof *hash : 0;
    if (__builtin_expect(size_bytes > record_limit(&out->ring), 0))
        return too_large(ctx, size_bytes, record_limit(&out->ring));
    bool queued;
    unsigned char *payload = claim_frame(ctx, out, (uint32_t)(size_bytes + prefix), target->channel, &queued);
    if (payload == NULL)
        return ctx->error.code;
    if (hash != NULL)
        memcpy(payload, hash, sizeof *hash);
    KILL_POINT(r2);
    copy_record(payload + prefix, data, size_bytes);
    KILL_POINT(r3);
    if (!queued)
        push_frame(ctx->task, out, (uint32_t)(size_bytes + prefix), target->channel);
    return WEIR_OK;
}

static int hash_of_record(struct weir_ctx *ctx, const struct key_spec *spec, const struct weir_record *record, uint64_t *ret_hash)
{
    struct weir_bytes key = {0};
    int code = key_extract(spec, record, ctx->key_scratch, &key, &ctx->error);
    if (code == WEIR_OK)
        *ret_hash = key_hash(key.data, key.size_bytes);
    return code;
}

static int send_by_key(struct weir_ctx *ctx, const struct target *target, const void *data, size_t size_bytes)
{
    int code = target->key->fn != NULL ? align_record(ctx, &data, size_bytes) : WEIR_OK;
    struct weir_record record = {.data = data, .size_bytes = (uint32_t)size_bytes};
    uint64_t hash = 0;
    if (code == WEIR_OK)
        code = hash_of_record(ctx, target->key, &record, &hash);
    if (code != WEIR_OK)
        return code;
    unsigned out = target->rings[0];
    if (target->ring_count > 1)
        out = target->ring_of_key_group[key_group(hash, ctx->task->job->plan->key_groups)];
    return send_to_ring(ctx, target, out, &hash, data, size_bytes);
}

static int call_chained(struct weir_ctx *ctx, const struct target *target, const void *data, size_t size_bytes)
{
    int code = align_record(ctx, &data, size_bytes);
    if (code < 0)
        return code;
    struct weir_record record = {.data = data, .size_bytes = (uint32_t)size_bytes, .input = target->input};
    if (target->key != NULL)
        code = hash_of_record(ctx, target->key, &record, &record.key_hash);
    if (code < 0)
        return code;
    code = ctx_process(target->chained, &record, 1);
    if (code < 0)
        ctx_take_failure(target->chained, code, &ctx->error);
    return code;
}

static int hand_on(struct weir_ctx *ctx, const struct target *target)
{
    struct gathered *gathered = target->gathered;
    size_t count = gathered->count;
    gathered->count = gathered->used_bytes = 0;
    int code = count > 0 ? ctx_process(target->chained, gathered->records, count) : WEIR_OK;
    if (code < 0)
        ctx_take_failure(target->chained, code, &ctx->error);
    return code;
}

int task_hand_on(struct task *task)
{
    int code = WEIR_OK;
    if (!task->has_gathered)
        return WEIR_OK;
    for (unsigned i = 0; i < task->op_count; i++) { /* in the order of the data: what one emits now, a later one is handed */
        struct weir_ctx *ctx = &task->ops[i];
        for (unsigned port = 0; port < ctx->node->output_count; port++)
            for (unsigned t = 0; code >= 0 && t < ctx->outputs[port].target_count; t++)
                if (ctx->outputs[port].targets[t].gathered != NULL)
                    code = hand_on(ctx, &ctx->outputs[port].targets[t]);
    }
    task->has_gathered = false;
    return code;
}

static int gather(struct weir_ctx *ctx, const struct target *target, const void *data, size_t size_bytes)
{
    struct gathered *gathered = target->gathered;
    size_t room_bytes = align_up(size_bytes, 8);
    if (gathered->count == WEIR_BATCH_RECORDS_MAX || room_bytes > GATHER_BYTES - gathered->used_bytes) {
        int code = hand_on(ctx, target);
        if (code < 0 || room_bytes > GATHER_BYTES)
            return code < 0 ? code : call_chained(ctx, target, data, size_bytes);
    }
    unsigned char *copy = gathered->bytes + gathered->used_bytes;
    struct weir_record *record = &gathered->records[gathered->count];
    copy_record(copy, data, size_bytes);
    *record = (struct weir_record){.data = copy, .size_bytes = (uint32_t)size_bytes, .input = target->input};
    int code = hash_of_record(ctx, target->key, record, &record->key_hash);
    if (code < 0)
        return code;
    gathered->count++;
    gathered->used_bytes += room_bytes;
    ctx->task->has_gathered = true;
    return WEIR_OK;
}

static int send_to_target(struct weir_ctx *ctx, struct target *target, unsigned port, const void *data, size_t size_bytes)
{
    if (target->kind == TARGET_CHAINED)
        return target->gathered != NULL ? gather(ctx, target, data, size_bytes) : call_chained(ctx, target, data, size_bytes);
    if (target->kind == TARGET_COLLECTED)
        return ctx->task->collect(ctx->task->collect_self, port, data, size_bytes);
    ctx->task->records_out++;
    switch (target->partition) {
    case PARTITION_HASH:
        return send_by_key(ctx, target, data, size_bytes);
    case PARTITION_BROADCAST: {
        int code = WEIR_OK;
        for (unsigned i = 0; code == WEIR_OK && i < target->ring_count; i++)
            code = send_to_ring(ctx, target, target->rings[i], NULL, data, size_bytes);
        return code;
    }
    case PARTITION_ROUND_ROBIN:
        target->next = target->next + 1 < target->ring_count ? target->next + 1 : 0;
        return send_to_ring(ctx, target, target->rings[target->next], NULL, data, size_bytes);
    case PARTITION_DEFAULT:
    case PARTITION_FORWARD:
        break;
    }
    return send_to_ring(ctx, target, target->rings[0], NULL, data, size_bytes);
}

static int emit_to_all(struct weir_ctx *ctx, unsigned port, const void *data, size_t size_bytes)
{
    struct output *output = &ctx->outputs[port];
    int code = WEIR_OK;
    for (unsigned i = 0; code >= 0 && i < output->target_count; i++)
        code = send_to_target(ctx, &output->targets[i], port, data, size_bytes);
    return code;
}

/* A source's record, where one may be a poison record: it is told apart by itself, and passed by if it is known to be one. */
__attribute__((noinline, cold)) static int emit_watched(struct weir_ctx *ctx, unsigned port, const void *data, size_t size_bytes)
{
    struct weir_record record = {.data = data, .size_bytes = (uint32_t)size_bytes};
    if (poison_is_diverted(ctx->task->job, ctx->node_index, &record))
        return poison_divert(ctx->task, &record);
    poison_note_emitted(ctx->task, &record);
    int code = emit_to_all(ctx, port, data, size_bytes);
    if (code >= 0)
        code = task_hand_on(ctx->task);
    if (code >= 0)
        poison_forget(ctx->task);
    return code;
}

static bool is_watched(const struct weir_ctx *ctx)
{
    return __builtin_expect(ctx->task->watching, 0) && ctx->node->kind == NODE_SOURCE;
}

static int emit(struct weir_ctx *ctx, unsigned port, const void *data, size_t size_bytes)
{
    ctx->task->batch_open = true;
    ctx->task->source_emitted += ctx->node->kind == NODE_SOURCE;
    return is_watched(ctx) ? emit_watched(ctx, port, data, size_bytes) : emit_to_all(ctx, port, data, size_bytes);
}

/* ---- several at once ---- */

/* Whether the keys of records of this size, if they have any, are a part of them: no record fails then. */
static bool keys_are_in_place(const struct key_spec *key, size_t size_bytes)
{
    return key == NULL || (key->fn == NULL && (uint64_t)key->offset + key->size_bytes <= size_bytes);
}

/* Records of the same size for one ring. */
struct batch_run {
    const unsigned char *data;
    uint32_t count; /* at most RING_RUN_MAX */
    uint32_t size_bytes; /* of a record */
    const struct key_spec *key; /* NULL: no hash in front of the record */
    uint8_t channel;
};

/* Inlined once for each kind of batch, with its sizes as constants. */
static inline __attribute__((always_inline)) void fill_run(unsigned char *payload, const struct batch_run *run, uint32_t size_bytes,
                                                           size_t key_bytes)
{
    const unsigned char *data = run->data;
    const uint32_t prefix = key_bytes > 0 ? (uint32_t)sizeof(uint64_t) : 0;
    const size_t key_offset = key_bytes > 0 ? run->key->offset : 0;
    const uint64_t payload_bytes = ring_payload_bytes(size_bytes + prefix);
    for (uint32_t i = 0; i < run->count; i++, data += size_bytes, payload += payload_bytes) {
        if (key_bytes > 0) {
            uint64_t hash = key_hash(data + key_offset, key_bytes);
            memcpy(payload, &hash, sizeof hash);
        }
        ring_fetch_for_writing(payload, payload_bytes);
        KILL_POINT(r2);
        copy_record(payload + prefix, data, size_bytes);
        KILL_POINT(r3);
    }
}

static inline __attribute__((always_inline)) void fill_run_sized(unsigned char *payload, const struct batch_run *run, size_t key_bytes)
{
    switch (run->size_bytes) {
    case 16: fill_run(payload, run, 16, key_bytes); return;
    case 24: fill_run(payload, run, 24, key_bytes); return;
    case 32: fill_run(payload, run, 32, key_bytes); return;
    case 64: fill_run(payload, run, 64, key_bytes); return;
    default: fill_run(payload, run, run->size_bytes, key_bytes);
    }
}

static void fill_any_run(unsigned char *payload, const struct batch_run *run)
{
    if (run->key == NULL)
        fill_run_sized(payload, run, 0);
    else if (run->key->size_bytes == 8)
        fill_run_sized(payload, run, 8);
    else
        fill_run(payload, run, run->size_bytes, run->key->size_bytes);
}

/* Whether all of them, at most RING_RUN_MAX, could go in one go. Empty ones have a header each. */
static bool send_all(struct weir_ctx *ctx, const struct target *target, const void *data, size_t size_bytes, size_t count)
{
    const struct key_spec *key = target->key;
    if (target->kind != TARGET_RINGS || target->ring_count != 1 || !overflow_is_empty(&ctx->task->overflow) ||
        !keys_are_in_place(key, size_bytes))
        return false;
    struct task_output *out = &ctx->task->outs[target->rings[0]];
    const struct batch_run run = {data, (uint32_t)count, (uint32_t)size_bytes, key, target->channel};
    uint32_t payload_size_bytes = run.size_bytes + (key != NULL ? (uint32_t)sizeof(uint64_t) : 0);
    bool fits_in_run = payload_size_bytes > 0 && size_bytes <= record_limit(&out->ring);
    unsigned char *payload = fits_in_run ? ring_claim_run(&out->ring, payload_size_bytes, run.count) : NULL;
    if (payload == NULL)
        return false;
    fill_any_run(payload, &run);
    ring_push_run(&out->ring, payload_size_bytes, run.count, FRAME_RECORD, run.channel);
    note_room(ctx->task, out);
    ctx->task->records_out += count;
    return true;
}

static int send_one_by_one(struct weir_ctx *ctx, struct target *target, unsigned port, const unsigned char *data, size_t size_bytes, size_t count)
{
    int code = WEIR_OK;
    for (size_t i = 0; code >= 0 && i < count; i++)
        code = send_to_target(ctx, target, port, data + i * size_bytes, size_bytes);
    return code;
}

/* What the chained operator is told of a batch's records but for where they are. The same for most batches. */
static void describe_records(const struct target *target, uint32_t size_bytes)
{
    if (target->records[0].size_bytes != size_bytes)
        for (size_t i = 0; i < WEIR_BATCH_RECORDS_MAX; i++)
            target->records[i] = (struct weir_record){.size_bytes = size_bytes, .input = target->input};
}

static int call_with_spans(const struct target *target, const unsigned char *data, size_t size_bytes, size_t count)
{
    struct weir_span span = {.data = data, .stride_bytes = size_bytes, .size_bytes = (uint32_t)size_bytes, .input = target->input};
    int code = WEIR_OK;
    while (code >= 0 && count > 0) {
        span.count = (uint32_t)u64_min(count, UINT32_MAX);
        code = ctx_process_span(target->chained, &span);
        span.data = (const char *)span.data + size_bytes * span.count;
        count -= span.count;
    }
    return code;
}

static int call_with_records(const struct target *target, const unsigned char *data, size_t size_bytes, size_t count)
{
    const struct key_spec *key = target->key;
    int code = WEIR_OK;
    describe_records(target, (uint32_t)size_bytes);
    while (code >= 0 && count > 0) {
        size_t taken = u64_min(count, WEIR_BATCH_RECORDS_MAX);
        for (size_t i = 0; i < taken; i++, data += size_bytes)
            target->records[i].data = data;
        for (size_t i = 0; key != NULL && i < taken; i++)
            target->records[i].key_hash = key_hash((const char *)target->records[i].data + key->offset, key->size_bytes);
        code = ctx_process(target->chained, target->records, taken);
        count -= taken;
    }
    return code;
}

/* Hands a batch on within the task: all at once, so that an operator that takes batches gets some. */
static int call_chained_batch(struct weir_ctx *ctx, const struct target *target, const unsigned char *data, size_t size_bytes,
                              size_t count)
{
    int code = target->gathered != NULL ? hand_on(ctx, target) : WEIR_OK; /* those that were emitted before */
    if (code >= 0)
        code = target->takes_spans ? call_with_spans(target, data, size_bytes, count) : call_with_records(target, data, size_bytes, count);
    if (code < 0)
        ctx_take_failure(target->chained, code, &ctx->error);
    return code;
}

static int emit_batch_to_target(struct weir_ctx *ctx, struct target *target, unsigned port, const void *data, size_t size_bytes,
                                size_t count)
{
    bool aligned = ((uintptr_t)data | size_bytes) % 8 == 0; /* then each record is, as callbacks may count on */
    if (target->kind == TARGET_CHAINED && aligned && keys_are_in_place(target->key, size_bytes))
        return call_chained_batch(ctx, target, data, size_bytes, count);
    int code = WEIR_OK;
    for (size_t done = 0, taken; code >= 0 && done < count; done += taken) {
        const unsigned char *from = (const unsigned char *)data + done * size_bytes;
        taken = u64_min(count - done, RING_RUN_MAX);
        if (!send_all(ctx, target, from, size_bytes, taken))
            code = send_one_by_one(ctx, target, port, from, size_bytes, taken);
    }
    return code;
}

static int emit_batch(struct weir_ctx *ctx, unsigned port, const void *data, size_t size_bytes, size_t count)
{
    struct output *output = &ctx->outputs[port];
    ctx->task->batch_open = true;
    int code = WEIR_OK;
    if (is_watched(ctx)) {
        for (size_t i = 0; code >= 0 && i < count; i++) {
            ctx->task->source_emitted++;
            code = emit_watched(ctx, port, (const char *)data + i * size_bytes, size_bytes);
        }
        return code;
    }
    ctx->task->source_emitted += ctx->node->kind == NODE_SOURCE ? count : 0;
    for (unsigned i = 0; code >= 0 && i < output->target_count; i++)
        code = emit_batch_to_target(ctx, &output->targets[i], port, data, size_bytes, count);
    return code;
}

/* ---- the functions of weir.h ---- */

static int no_such_port(struct weir_ctx *ctx, unsigned port)
{
    return error_set(&ctx->error, WEIR_EINVAL, "operator '%s': emits to output %u; it declares %u", ctx->node->name, port,
                     ctx->node->output_count);
}

int weir_emit(struct weir_ctx *ctx, unsigned port, const void *data, size_t size_bytes)
{
    ctx->reserved = NULL;
    if (__builtin_expect(port >= ctx->node->output_count, 0))
        return no_such_port(ctx, port);
    if (__builtin_expect(size_bytes > WEIR_RECORD_BYTES_MAX, 0))
        return too_large(ctx, size_bytes, WEIR_RECORD_BYTES_MAX);
    return emit(ctx, port, data, size_bytes);
}

int weir_emit_batch(struct weir_ctx *ctx, unsigned port, const void *data, size_t size_bytes, size_t count)
{
    ctx->reserved = NULL;
    if (__builtin_expect(port >= ctx->node->output_count, 0))
        return no_such_port(ctx, port);
    if (__builtin_expect(size_bytes > WEIR_RECORD_BYTES_MAX, 0))
        return too_large(ctx, size_bytes, WEIR_RECORD_BYTES_MAX);
    return emit_batch(ctx, port, data, size_bytes, count);
}

/* The ring that a record of this port goes to whatever is in it, or NULL. */
static struct task_output *sole_ring(struct weir_ctx *ctx, unsigned port)
{
    const struct output *output = &ctx->outputs[port];
    if (is_watched(ctx) || output->target_count != 1 || output->targets[0].kind != TARGET_RINGS || output->targets[0].ring_count != 1 ||
        !overflow_is_empty(&ctx->task->overflow))
        return NULL;
    return &ctx->task->outs[output->targets[0].rings[0]];
}

void *weir_reserve(struct weir_ctx *ctx, unsigned port, size_t size_bytes)
{
    ctx->reserved = NULL;
    if (__builtin_expect(port >= ctx->node->output_count, 0)) {
        no_such_port(ctx, port);
        return NULL;
    }
    if (__builtin_expect(size_bytes > WEIR_RECORD_BYTES_MAX, 0)) {
        too_large(ctx, size_bytes, WEIR_RECORD_BYTES_MAX);
        return NULL;
    }
    ctx->reserved_port = port;
    ctx->reserved_bytes = size_bytes;
    ctx->reserved_ring = NULL;
    struct task_output *out = sole_ring(ctx, port);
    if (out != NULL && size_bytes <= record_limit(&out->ring)) {
        size_t prefix = ctx->outputs[port].targets[0].key != NULL ? sizeof(uint64_t) : 0;
        unsigned char *payload = ring_claim(&out->ring, (uint32_t)(size_bytes + prefix));
        if (payload != NULL) {
            ctx->reserved_ring = &out->ring;
            ctx->reserved = payload + prefix;
            return ctx->reserved;
        }
    }
    ctx->reserved = grow_buffer(ctx, &ctx->scratch, size_bytes);
    return ctx->reserved;
}

/* The record stands in its ring already: add hash and header. */
static int push_reserved(struct weir_ctx *ctx, size_t size_bytes)
{
    struct output *output = &ctx->outputs[ctx->reserved_port];
    const struct target *target = &output->targets[0];
    struct task_output *out = &ctx->task->outs[target->rings[0]];
    size_t prefix = 0;
    if (target->key != NULL) {
        struct weir_record record = {.data = ctx->reserved, .size_bytes = (uint32_t)size_bytes};
        uint64_t hash;
        int code = hash_of_record(ctx, target->key, &record, &hash);
        if (code != WEIR_OK)
            return code;
        prefix = sizeof hash;
        memcpy((unsigned char *)ctx->reserved - prefix, &hash, prefix);
    }
    ctx->task->batch_open = true;
    ctx->task->source_emitted += ctx->node->kind == NODE_SOURCE;
    ctx->task->records_out++;
    push_frame(ctx->task, out, (uint32_t)(size_bytes + prefix), target->channel);
    return WEIR_OK;
}

int weir_emit_reserved(struct weir_ctx *ctx, size_t size_bytes)
{
    void *reserved = ctx->reserved;
    if (__builtin_expect(reserved == NULL || size_bytes > ctx->reserved_bytes, 0))
        return error_set(&ctx->error, WEIR_EINVAL, "operator '%s': weir_emit_reserved(%zu) %s", ctx->node->name, size_bytes,
                         reserved == NULL ? "without weir_reserve()" : "exceeds what was reserved");
    int code = ctx->reserved_ring != NULL ? push_reserved(ctx, size_bytes)
                                          : emit(ctx, ctx->reserved_port, reserved, size_bytes);
    ctx->reserved = NULL;
    return code;
}

/* ---- control frames: to every ring, in order behind the records ---- */

int task_push_control(struct task *task, enum frame_kind kind, const void *payload, uint32_t size_bytes)
{
    for (unsigned i = 0; i < task->out_count; i++) {
        struct ring_producer *ring = &task->outs[i].ring;
        void *at = overflow_is_empty(&task->overflow) ? ring_claim(ring, size_bytes) : NULL;
        bool queued = at == NULL;
        if (queued) {
            struct overflow_frame frame = {.size_bytes = size_bytes, .out = (uint16_t)i, .kind = (uint8_t)kind};
            int code = overflow_push(&task->overflow, &frame, &at, &task->ops[0].error);
            if (code != WEIR_OK)
                return code;
        }
        if (size_bytes > 0)
            memcpy(at, payload, size_bytes);
        if (!queued)
            ring_push(ring, size_bytes, kind, 0);
    }
    task->batch_open = true;
    return WEIR_OK;
}

void task_drain_overflow(struct task *task)
{
    struct overflow_frame frame;
    while (overflow_front(&task->overflow, &frame)) {
        struct ring_producer *ring = &task->outs[frame.out].ring;
        void *payload = ring_claim(ring, frame.size_bytes);
        if (payload == NULL)
            return;
        memcpy(payload, frame.payload, frame.size_bytes);
        ring_push(ring, frame.size_bytes, (enum frame_kind)frame.kind, frame.channel);
        overflow_pop(&task->overflow);
        task->batch_open = true;
    }
}

bool task_outputs_roomy(struct task *task)
{
    bool roomy = true;
    for (unsigned i = 0; i < task->out_count; i++) {
        struct ring_producer *ring = &task->outs[i].ring;
        uint64_t wanted = ring->capacity_bytes / 2; /* well above room_wanted(): one wake-up for many batches */
        if (ring_free_bytes(ring) >= wanted || ring_refresh_tail(ring, wanted))
            continue;
        atomic_store_explicit(&ring->shared->space_wanted, ring->head + wanted - ring->capacity_bytes, memory_order_relaxed);
        roomy = false;
    }
    return roomy;
}

/* ---- set-up ---- */

static int find_output(const struct task *task, unsigned to_task)
{
    for (unsigned i = 0; i < task->out_count; i++)
        if (task->outs[i].to_task == to_task)
            return (int)i;
    return -1;
}

static int make_ring_target(struct task *task, const struct graph_edge *edge, struct target *target)
{
    const struct job *job = task->job;
    const struct plan *plan = job->plan;
    const struct plan_chain *to = &plan->chains[plan->chain_of_node[edge->to_node]];
    target->rings = calloc(to->parallelism, sizeof *target->rings);
    if (target->rings == NULL)
        return WEIR_ENOMEM;
    for (unsigned subtask = 0; subtask < to->parallelism; subtask++) { /* in the order of the receivers' subtasks */
        if (target->partition == PARTITION_FORWARD && subtask != task->plan->subtask)
            continue;
        int out = find_output(task, to->first_task + subtask);
        CHECK(out >= 0);
        target->rings[target->ring_count++] = (uint16_t)out;
    }
    if (target->partition == PARTITION_ROUND_ROBIN) /* subtasks begin at different receivers */
        target->next = task->plan->subtask % target->ring_count;
    if (target->partition != PARTITION_HASH)
        return WEIR_OK;
    target->key = &edge->key;
    target->ring_of_key_group = calloc(plan->key_groups, sizeof *target->ring_of_key_group);
    if (target->ring_of_key_group == NULL)
        return WEIR_ENOMEM;
    for (unsigned group = 0; group < plan->key_groups; group++)
        target->ring_of_key_group[group] = target->rings[key_group_subtask(group, to->parallelism, plan->key_groups)];
    return WEIR_OK;
}

static struct weir_ctx *operator_of_node(struct task *task, unsigned node)
{
    for (unsigned i = 0; i < task->op_count; i++)
        if (task->ops[i].node_index == node)
            return &task->ops[i];
    return NULL;
}

static int make_gathered(struct target *target, const struct key_spec *key)
{
    target->key = key;
    target->gathered = calloc(1, sizeof *target->gathered);
    if (target->gathered == NULL)
        return WEIR_ENOMEM;
    target->gathered->records = calloc(WEIR_BATCH_RECORDS_MAX, sizeof *target->gathered->records);
    target->gathered->bytes = malloc(GATHER_BYTES);
    return target->gathered->records != NULL && target->gathered->bytes != NULL ? WEIR_OK : WEIR_ENOMEM;
}

static int make_target(struct task *task, const struct graph_edge *edge, struct target *target)
{
    target->partition = plan_edge_partition(task->job->graph, edge);
    if (plan_edge_is_chained(task->job->plan, edge)) {
        target->kind = TARGET_CHAINED;
        target->input = edge->to_input;
        target->chained = operator_of_node(task, edge->to_node);
        CHECK(target->chained != NULL);
        target->takes_spans = ctx_takes_spans(target->chained);
        target->records = calloc(WEIR_BATCH_RECORDS_MAX, sizeof *target->records);
        if (target->records == NULL)
            return WEIR_ENOMEM;
        for (size_t i = 0; i < WEIR_BATCH_RECORDS_MAX; i++)
            target->records[i].input = target->input;
        return edge->partition == PARTITION_HASH ? make_gathered(target, &edge->key) : WEIR_OK;
    }
    target->kind = TARGET_RINGS;
    target->channel = (uint8_t)plan_edge_channel(task->job->graph, edge);
    return make_ring_target(task, edge, target);
}

static int make_operator_outputs(struct task *task, struct weir_ctx *ctx)
{
    const struct weir_job *graph = task->job->graph;
    for (unsigned port = 0; port < ctx->node->output_count; port++) {
        struct output *output = &ctx->outputs[port];
        output->targets = calloc(graph->edge_count + 1, sizeof *output->targets);
        if (output->targets == NULL)
            return WEIR_ENOMEM;
        for (unsigned i = 0; i < graph->edge_count; i++) {
            const struct graph_edge *edge = &graph->edges[i];
            if (edge->from_node != ctx->node_index || edge->from_port != port)
                continue;
            int code = make_target(task, edge, &output->targets[output->target_count++]);
            if (code != WEIR_OK)
                return code;
        }
    }
    return WEIR_OK;
}

int task_make_outputs(struct task *task, struct weir_error *err)
{
    for (unsigned i = 0; i < task->op_count; i++)
        if (make_operator_outputs(task, &task->ops[i]) != WEIR_OK)
            return error_set(err, WEIR_ENOMEM, "task '%s': no memory for its outputs", task->plan->name);
    return WEIR_OK;
}

void task_free_outputs(struct task *task)
{
    for (unsigned i = 0; i < task->op_count; i++)
        for (unsigned port = 0; port < WEIR_OUTPUTS_MAX; port++) {
            struct output *output = &task->ops[i].outputs[port];
            for (unsigned j = 0; j < output->target_count; j++) {
                free(output->targets[j].records);
                if (output->targets[j].gathered != NULL) {
                    free(output->targets[j].gathered->records);
                    free(output->targets[j].gathered->bytes);
                }
                free(output->targets[j].gathered);
                free(output->targets[j].rings);
                free(output->targets[j].ring_of_key_group);
            }
            free(output->targets);
            *output = (struct output){0};
        }
}
