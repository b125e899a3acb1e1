/* job_shapes.c - one graph for each way in which operators can be joined; test_shapes.c knows what each must give. */
#include "jobs.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

/* ---- word count ---- */

struct word {
    char text[24];
    uint64_t count;
};
static const struct weir_field word_fields[] = {{"word", WEIR_CHARS, offsetof(struct word, text), 24},
                                                {"count", WEIR_U64, offsetof(struct word, count), 0}};
static const struct weir_layout word_layout = {.name = "word", .fields = word_fields, .field_count = 2};

static int split_words(struct weir_ctx *ctx, const struct weir_record *record)
{
    const char *text = record->data;
    for (uint32_t begin = 0, end; begin < record->size_bytes; begin = end + 1) {
        for (end = begin; end < record->size_bytes && isalnum((unsigned char)text[end]); end++)
            continue;
        int code = end > begin ? weir_emit(ctx, 0, text + begin, end - begin) : WEIR_OK;
        if (code < 0)
            return code;
    }
    return WEIR_OK;
}

static int whole_record(const struct weir_record *record, void *scratch, struct weir_bytes *ret_key)
{
    (void)scratch;
    *ret_key = (struct weir_bytes){record->data, record->size_bytes};
    return WEIR_OK;
}

static int count_word(struct weir_ctx *ctx, const struct weir_record *record)
{
    uint64_t *count = weir_value(ctx, 0);
    struct word *out = weir_reserve(ctx, 0, sizeof *out);
    if (count == NULL || out == NULL)
        return weir_ctx_error(ctx)->code;
    count = weir_value(ctx, 0);
    memset(out, 0, sizeof *out);
    memcpy(out->text, record->data, record->size_bytes < sizeof out->text ? record->size_bytes : sizeof out->text);
    out->count = ++*count;
    return weir_emit_reserved(ctx, sizeof *out);
}

static const struct weir_state word_states[] = {
    {.name = "count", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = sizeof(uint64_t)}};
static const struct weir_operator word_operator = {
    .type = "count", .states = word_states, .state_count = 1, .output_layout = &word_layout, .on_record = count_word};

void build_wordcount(struct weir_job *job, const struct parameters *p)
{
    struct weir_file_source_options *options = weir_job_alloc(job, sizeof *options);
    if (options == NULL)
        return;
    options->path = p->input;
    struct weir_stream *lines = weir_parallelism(weir_add_source(job, "read", &weir_file_source, options), p->p);
    struct weir_stream *words = weir_parallelism(weir_flat_map(lines, "split", split_words, NULL), p->p);
    struct weir_stream *counts = weir_process(weir_key_by_fn(words, whole_record), "count", &word_operator, NULL);
    weir_parallelism(counts, p->p);
    weir_parallelism(add_lines_sink(job, counts, "write", p, ""), p->p);
}

/* ---- stateless parts ---- */

static bool is_wanted(const struct weir_record *record, const void *arg)
{
    const struct row *row = record->data;
    (void)arg;
    return row->b % 3 != 0;
}

static int64_t double_b(const struct weir_record *record, void *out, const void *arg)
{
    struct row *row = out;
    (void)arg;
    memcpy(row, record->data, sizeof *row);
    row->c = 2 * row->b;
    return sizeof *row;
}

/* Adds this instance's index to the record. */
static int tag(struct weir_ctx *ctx, const struct weir_record *record)
{
    struct row row;
    memcpy(&row, record->data, sizeof row);
    row.c = weir_subtask_index(ctx);
    return weir_emit(ctx, 0, &row, sizeof row);
}
static const struct weir_operator tag_operator = {.type = "tag", .output_layout = &row_layout, .on_record = tag};

/* {index of the instance that tagged it, b, own index} */
static int tag_again(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct row *in = record->data;
    struct row row = {in->c, in->b, weir_subtask_index(ctx)};
    return weir_emit(ctx, 0, &row, sizeof row);
}
static const struct weir_operator tag_again_operator = {.type = "tag", .output_layout = &row_layout, .on_record = tag_again};

/* ---- union, two inputs, side outputs ---- */

/* Two sources of different numbers through filter and map, as one stream. */
void build_union(struct weir_job *job, const struct parameters *p)
{
    struct weir_stream *both[] = {weir_parallelism(add_numbers(job, p, "left", 0, p->count), p->p),
                                  add_numbers(job, p, "right", 1000000, p->count / 2)};
    struct weir_stream *wanted = weir_parallelism(weir_filter(weir_union(both, 2), "wanted", is_wanted, NULL), p->p);
    weir_set_layout(wanted, &row_layout);
    struct weir_stream *doubled = weir_map(wanted, "double", double_b, sizeof(struct row), NULL);
    weir_parallelism(weir_set_layout(doubled, &row_layout), p->p);
    add_lines_sink(job, doubled, "write", p, "");
}

/* For each record: {key, 1000 * input + how many of this key came by this input, b}. */
static int join(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct row *row = record->data;
    uint64_t *counts = weir_value(ctx, 0);
    if (counts == NULL)
        return weir_ctx_error(ctx)->code;
    struct row out = {row->a, 1000 * (uint64_t)record->input + ++counts[record->input], row->b};
    return weir_emit(ctx, 0, &out, sizeof out);
}
static const struct weir_state join_states[] = {{.name = "counts", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = 16}};
static const struct weir_operator join_operator = {
    .type = "join", .states = join_states, .state_count = 1, .output_layout = &row_layout, .on_record = join};

void build_two_input(struct weir_job *job, const struct parameters *p)
{
    struct weir_stream *both[] = {weir_key_by(add_numbers(job, p, "left", 0, p->count), 0, 8),
                                  weir_key_by(add_numbers(job, p, "right", 1000000, p->count / 2), 0, 8)};
    struct weir_stream *joined = weir_process_n(both, 2, "join", &join_operator, NULL);
    add_lines_sink(job, weir_parallelism(joined, p->p), "write", p, "");
}

static int split_by_parity(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct row *row = record->data;
    return weir_emit(ctx, row->b % 2 == 0 ? 0 : 2, row, sizeof *row);
}
static const struct weir_operator parity_operator = {
    .type = "parity", .output_count = 3, .output_layout = &row_layout, .on_record = split_by_parity};

/* Even numbers by the main output, odd ones by side output 2; side output 1 stays empty and unread. */
void build_side_output(struct weir_job *job, const struct parameters *p)
{
    struct weir_stream *in = weir_parallelism(add_numbers(job, p, "numbers", 0, p->count), p->p);
    struct weir_stream *even = weir_parallelism(weir_process(in, "parity", &parity_operator, NULL), p->p);
    struct weir_stream *odd = weir_map(weir_side_output(even, 2), "odd", double_b, sizeof(struct row), NULL);
    weir_parallelism(weir_set_layout(odd, &row_layout), p->p);
    add_lines_sink(job, even, "write", p, "");
    add_lines_sink(job, odd, "write-odd", p, "odd");
}

/* ---- partitions ---- */

void build_broadcast(struct weir_job *job, const struct parameters *p)
{
    struct weir_stream *in = add_numbers(job, p, "numbers", 0, p->count);
    struct weir_stream *tagged = weir_process(weir_broadcast(in), "tag", &tag_operator, NULL);
    add_lines_sink(job, weir_parallelism(tagged, p->p), "write", p, "");
}

void build_rebalance(struct weir_job *job, const struct parameters *p)
{
    struct weir_stream *in = add_numbers(job, p, "numbers", 0, p->count);
    struct weir_stream *tagged = weir_process(weir_rebalance(in), "tag", &tag_operator, NULL);
    add_lines_sink(job, weir_parallelism(tagged, p->p), "write", p, "");
}

void build_forward(struct weir_job *job, const struct parameters *p)
{
    struct weir_stream *in = weir_parallelism(add_numbers(job, p, "numbers", 0, p->count), p->p);
    struct weir_stream *tagged = weir_parallelism(weir_process(weir_rebalance(in), "tag", &tag_operator, NULL), p->p);
    struct weir_stream *again = weir_process(weir_forward(tagged), "again", &tag_again_operator, NULL);
    add_lines_sink(job, weir_no_chain(weir_parallelism(again, p->p)), "write", p, "");
}

void build_keyed(struct weir_job *job, const struct parameters *p)
{
    struct weir_stream *in = add_numbers(job, p, "numbers", 0, p->count);
    struct weir_stream *counts = weir_process(weir_key_by(in, 0, 8), "count", &count_operator, NULL);
    add_lines_sink(job, weir_parallelism(counts, p->p), "write", p, "");
}
