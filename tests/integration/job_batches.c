/*
 * job_batches.c - operators that take and emit whole batches, joined in every way; test_batches.c knows what each must give. With
 * --set plain=1 the same is done record by record.
 */
#include "jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Two sizes in turns, a batch of each: what is kept of one batch is not true of the next. */
static bool two_sizes(const struct parameters *p) { return strcmp(p->how, "sizes") == 0; }

static size_t record_bytes(const struct parameters *p, uint64_t v)
{
    size_t bytes = p->bytes > sizeof(struct row) ? p->bytes : sizeof(struct row);
    return two_sizes(p) && v % 2 == 0 ? sizeof(struct row) : bytes;
}

static int emit_rows(struct weir_ctx *ctx, unsigned port, const unsigned char *data, size_t size_bytes, size_t count)
{
    const struct parameters *p = weir_arg(ctx);
    int code = WEIR_OK;
    if (!p->plain)
        return weir_emit_batch(ctx, port, data, size_bytes, count);
    for (size_t i = 0; code == WEIR_OK && i < count; i++)
        code = weir_emit(ctx, port, data + i * size_bytes, size_bytes);
    return code;
}

/* ---- fan: `each` records of `bytes` for each record, all of a batch in one call ---- */

/* Row {v % keys, v, 0}, and a filling that depends on v. */
static void write_row(const struct parameters *p, uint64_t v, unsigned char *data)
{
    struct row row = {v % p->keys, v, 0};
    memset(data, (int)(v & 0xff), record_bytes(p, v));
    memcpy(data, &row, sizeof row);
}

static int fan(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    const struct parameters *p = weir_arg(ctx);
    bool to_side = strcmp(p->how, "side") == 0, by_parity = to_side || two_sizes(p);
    if (strcmp(p->how, "countless") == 0) /* so many empty frames that their bytes cannot be counted */
        return weir_emit_batch(ctx, 0, records->data, 0, (size_t)1 << 61);
    size_t each = p->each;
    if (strcmp(p->how, "tally-empty") == 0)
        return emit_rows(ctx, 0, records->data, 0, count * each);
    unsigned char *rows = malloc(count * each * record_bytes(p, 1) + 1);
    if (rows == NULL)
        return weir_fail(ctx, "out of memory");
    int code = WEIR_OK;
    for (unsigned parity = 0; code == WEIR_OK && parity < (by_parity ? 2 : 1); parity++) {
        size_t used = 0, size_bytes = record_bytes(p, by_parity ? parity : 1);
        for (size_t i = 0; i < count * each; i++) {
            uint64_t v = ((const struct row *)records[i / each].data)->b * each + i % each;
            if (!by_parity || v % 2 == parity)
                write_row(p, v, rows + used++ * size_bytes);
        }
        code = emit_rows(ctx, to_side ? parity : 0, rows, size_bytes, used);
    }
    free(rows);
    return code;
}
static const struct weir_operator fan_operator = {
    .type = "fan", .output_count = 2, .output_layout = &row_layout, .on_batch = fan};

/* ---- mix: records one by one and batches in turns, and some when all is over ---- */

static int emit_number(struct weir_ctx *ctx, uint64_t v)
{
    const struct parameters *p = weir_arg(ctx);
    return weir_emit(ctx, 0, &(struct row){v % p->keys, v, 0}, sizeof(struct row));
}

/* Of five numbers the first two by themselves, the others together: in their order. */
static int mix(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    const struct parameters *p = weir_arg(ctx);
    struct row rows[3];
    size_t used = 0;
    int code = WEIR_OK;
    for (size_t i = 0; code == WEIR_OK && i < count; i++) {
        uint64_t v = ((const struct row *)records[i].data)->b;
        if (v % 5 < 2) {
            code = emit_number(ctx, v);
            continue;
        }
        rows[used++] = (struct row){v % p->keys, v, 0};
        if (v % 5 < 4 && i + 1 < count)
            continue;
        code = weir_emit_batch(ctx, 0, rows, sizeof rows[0], used);
        used = 0;
    }
    return code;
}

static int mix_end(struct weir_ctx *ctx)
{
    const struct parameters *p = weir_arg(ctx);
    int code = WEIR_OK;
    for (uint64_t v = p->count; code == WEIR_OK && v < p->count + p->keys; v++)
        code = emit_number(ctx, v);
    return code;
}
static const struct weir_operator mix_operator = {.type = "mix", .output_layout = &row_layout, .on_batch = mix, .on_end = mix_end};

/* ---- the receivers ---- */

/* A record as fan() made it, at an address that suits any type. */
static int check_record(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct parameters *p = weir_arg(ctx);
    const unsigned char *bytes = record->data;
    uint64_t v;
    if ((uintptr_t)bytes % 8 != 0)
        return weir_fail(ctx, "a record that is not aligned");
    if (record->size_bytes < sizeof(struct row))
        return weir_fail(ctx, "a record of %u bytes", record->size_bytes);
    memcpy(&v, bytes + offsetof(struct row, b), sizeof v);
    if (record->size_bytes != record_bytes(p, v))
        return weir_fail(ctx, "record %llu has %u bytes", (unsigned long long)v, record->size_bytes);
    for (size_t i = sizeof(struct row); i < record->size_bytes; i++)
        if (bytes[i] != (v & 0xff))
            return weir_fail(ctx, "byte %zu of record %llu is another's", i, (unsigned long long)v);
    return WEIR_OK;
}

static int tag_all(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    struct row rows[WEIR_BATCH_RECORDS_MAX];
    for (size_t i = 0; i < count; i++) {
        int code = check_record(ctx, &records[i]);
        if (code < 0)
            return code;
        memcpy(&rows[i], records[i].data, sizeof rows[i]);
        rows[i].c = weir_subtask_index(ctx);
    }
    return emit_rows(ctx, 0, (const unsigned char *)rows, sizeof rows[0], count);
}
static int tag_span(struct weir_ctx *ctx, const struct weir_span *span)
{
    int code = WEIR_OK;
    for (uint32_t done = 0, count; code == WEIR_OK && done < span->count; done += count) {
        struct weir_record records[WEIR_BATCH_RECORDS_MAX] = {0};
        count = span->count - done < WEIR_BATCH_RECORDS_MAX ? span->count - done : WEIR_BATCH_RECORDS_MAX;
        for (uint32_t i = 0; i < count; i++)
            records[i] = (struct weir_record){.data = weir_span_at(span, done + i), .size_bytes = span->size_bytes, .input = span->input};
        code = tag_all(ctx, records, count);
    }
    return code;
}
static const struct weir_operator tag_span_operator = {.type = "tag", .output_layout = &row_layout, .on_span = tag_span};

static const struct weir_operator tag_operator = {.type = "tag", .output_layout = &row_layout, .on_batch = tag_all};

enum { COUNTS, SUMS };
static const struct weir_state sum_states[] = {
    [COUNTS] = {.name = "count", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = sizeof(uint64_t)},
    [SUMS] = {.name = "sum", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = sizeof(uint64_t)},
};

static int find_values(struct weir_ctx *ctx, unsigned state, const struct weir_record *records, size_t count, void **ret_values)
{
    const struct parameters *p = weir_arg(ctx);
    if (!p->plain)
        return weir_values(ctx, state, records, count, ret_values);
    if (weir_select_key(ctx, records) < 0 || (ret_values[0] = weir_value(ctx, state)) == NULL)
        return weir_ctx_error(ctx)->code;
    return WEIR_OK;
}

/* Adds to one state of each record's key; what it is then goes into the row that is emitted. */
static int add_to_state(struct weir_ctx *ctx, unsigned state, const struct weir_record *records, size_t count, struct row *rows)
{
    void *values[WEIR_BATCH_RECORDS_MAX];
    int code = find_values(ctx, state, records, count, values);
    for (size_t i = 0; code == WEIR_OK && i < count; i++) {
        uint64_t *value = values[i];
        *value += state == COUNTS ? 1 : ((const struct row *)records[i].data)->b;
        *(state == COUNTS ? &rows[i].b : &rows[i].c) = *value;
    }
    return code;
}

/* {key, how many of its records so far, the sum of their numbers} */
static int sum_all(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    const struct parameters *p = weir_arg(ctx);
    struct row rows[WEIR_BATCH_RECORDS_MAX];
    size_t step = p->plain ? 1 : count;
    int code = WEIR_OK;
    for (size_t i = 0; code == WEIR_OK && i < count; i++) {
        code = check_record(ctx, &records[i]);
        rows[i].a = ((const struct row *)records[i].data)->a;
    }
    for (unsigned state = COUNTS; state <= SUMS; state++)
        for (size_t i = 0; code == WEIR_OK && i < count; i += step)
            code = add_to_state(ctx, state, records + i, step, rows + i);
    return code == WEIR_OK ? emit_rows(ctx, 0, (const unsigned char *)rows, sizeof rows[0], count) : code;
}
static const struct weir_operator sum_operator = {
    .type = "sum", .states = sum_states, .state_count = 2, .output_layout = &row_layout, .on_batch = sum_all};

/* ---- a sink that takes records in a row, also behind a partition by key ---- */

struct tally {
    uint64_t count, sum, largest_span;
};

static int tally_span(struct weir_ctx *ctx, const struct weir_span *span)
{
    const struct parameters *p = weir_arg(ctx);
    struct tally *self = weir_self(ctx);
    for (uint32_t i = 0; span->size_bytes > 0 && i < span->count; i++) {
        struct weir_record record = {.data = weir_span_at(span, i), .size_bytes = span->size_bytes};
        int code = check_record(ctx, &record);
        if (code < 0)
            return code;
        self->sum += ((const struct row *)record.data)->b;
    }
    if ((span->size_bytes == 0) != (strcmp(p->how, "tally-empty") == 0))
        return weir_fail(ctx, "a span of %u bytes a record", span->size_bytes);
    self->count += span->count;
    self->largest_span = span->count > self->largest_span ? span->count : self->largest_span;
    return WEIR_OK;
}

/* A line of each instance, at the end of a job that nobody kills. */
static void tally_close(struct weir_ctx *ctx)
{
    const struct parameters *p = weir_arg(ctx);
    const struct tally *self = weir_self(ctx);
    FILE *file = fopen(p->note, "a");
    if (file == NULL)
        return;
    fprintf(file, "%llu %llu %llu\n", (unsigned long long)self->count, (unsigned long long)self->sum, (unsigned long long)self->largest_span);
    fclose(file);
}
static const struct weir_sink tally_sink = {
    .type = "tally", .self_bytes = sizeof(struct tally), .write_span = tally_span, .close = tally_close};

/* ---- the graph ---- */

/* The key, backwards, in the scratch: two of them at once need two scratches. */
static int key_backwards(const struct weir_record *record, void *scratch, struct weir_bytes *ret_key)
{
    const unsigned char *bytes = record->data;
    unsigned char *key = scratch;
    if ((uintptr_t)bytes % 8 != 0)
        return WEIR_EINVAL; /* a record that is not aligned */
    for (unsigned i = 0; i < 8; i++)
        key[i] = bytes[7 - i];
    *ret_key = (struct weir_bytes){key, 8};
    return WEIR_OK;
}

static void add_sums(struct weir_job *job, struct weir_stream *keyed, const struct parameters *p, const char *name,
                     const char *part)
{
    struct weir_stream *sums = weir_process(keyed, "sum", &sum_operator, p);
    add_lines_sink(job, weir_parallelism(sums, p->p), name, p, part);
}

static void add_tags(struct weir_job *job, struct weir_stream *in, const struct parameters *p, const char *name, const char *part)
{
    char tag_name[32] = "tag";
    add_lines_sink(job, weir_parallelism(weir_process(in, strcat(tag_name, part), p->spans ? &tag_span_operator : &tag_operator, p), p->p), name, p, part);
}

void build_batches(struct weir_job *job, const struct parameters *p)
{
    bool wide = strcmp(p->how, "forward") == 0 || strcmp(p->how, "side") == 0; /* as many fans as receivers */
    struct weir_stream *numbers = weir_parallelism(add_numbers(job, p, "numbers", 0, p->count), wide ? p->p : 1);
    if (strcmp(p->how, "mixed") == 0) {
        add_sums(job, weir_key_by(weir_process(numbers, "mix", &mix_operator, p), 0, 8), p, "write", "");
        return;
    }
    struct weir_stream *rows = weir_parallelism(weir_process(numbers, "fan", &fan_operator, p), wide ? p->p : 1);
    if (strcmp(p->how, "tally") == 0 || strcmp(p->how, "tally-empty") == 0)
        weir_parallelism(weir_add_sink(rows, "tally", &tally_sink, p), p->p);
    else if (strcmp(p->how, "tally-keyed") == 0)
        weir_parallelism(weir_add_sink(weir_key_by(rows, 0, 8), "tally", &tally_sink, p), p->p);
    else if (strcmp(p->how, "hash") == 0)
        add_sums(job, weir_key_by(rows, 0, 8), p, "write", "");
    else if (strcmp(p->how, "hash-fn") == 0)
        add_sums(job, weir_key_by_fn(rows, key_backwards), p, "write", "");
    else if (strcmp(p->how, "bad-key") == 0)
        add_sums(job, weir_key_by(rows, 100, 8), p, "write", "");
    else if (strcmp(p->how, "rebalance") == 0)
        add_tags(job, weir_rebalance(rows), p, "write", "");
    else if (strcmp(p->how, "broadcast") == 0)
        add_tags(job, weir_broadcast(rows), p, "write", "");
    else
        add_tags(job, wide ? weir_forward(rows) : rows, p, "write", "");
    if (strcmp(p->how, "side") == 0)
        add_tags(job, weir_forward(weir_side_output(rows, 1)), p, "write-odd", "odd");
    if (strcmp(p->how, "twice") == 0)
        add_sums(job, weir_key_by(rows, 0, 8), p, "write-sums", "sums");
}
