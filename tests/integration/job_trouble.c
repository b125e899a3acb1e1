/* job_trouble.c - graphs that are hard on the engine: floods, slow sinks, failures, changed declarations. */
#include "jobs.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- floods ---- */

/* Each record becomes `bytes` bytes of output, in records of 1,000 bytes that are numbered in their first 8. */
#define BURST_RECORD_BYTES 1000

static int burst(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct parameters *p = weir_arg(ctx);
    unsigned char bytes[BURST_RECORD_BYTES] = {0};
    memcpy(bytes + 8, (const unsigned char *)record->data + 8, 8);
    for (uint64_t i = 0; i < p->bytes / BURST_RECORD_BYTES; i++) {
        memcpy(bytes, &i, sizeof i);
        int code = weir_emit(ctx, 0, bytes, sizeof bytes);
        if (code < 0)
            return code;
    }
    return WEIR_OK;
}
static const struct weir_operator burst_operator = {.type = "burst", .on_record = burst};

/* Checks that the numbers of each burst come in order, and emits {which burst, how many, 0} at the end of each. */
struct burst_seen {
    uint64_t burst, next;
};
static const struct weir_state seen_states[] = {
    {.name = "seen", .kind = WEIR_VALUE, .scope = WEIR_PER_OPERATOR, .size_bytes = sizeof(struct burst_seen)}};

static int check_burst(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct parameters *p = weir_arg(ctx);
    struct burst_seen *seen = weir_value(ctx, 0);
    uint64_t i, which;
    if (seen == NULL)
        return weir_ctx_error(ctx)->code;
    memcpy(&i, record->data, sizeof i);
    memcpy(&which, (const unsigned char *)record->data + 8, sizeof which);
    if (record->size_bytes != BURST_RECORD_BYTES || i != seen->next || which != seen->burst)
        return weir_fail(ctx, "record %llu of burst %llu where %llu of %llu was due", (unsigned long long)i,
                         (unsigned long long)which, (unsigned long long)seen->next, (unsigned long long)seen->burst);
    seen->next++;
    if (seen->next < p->bytes / BURST_RECORD_BYTES)
        return WEIR_OK;
    struct row row = {seen->burst, seen->next, 0};
    *seen = (struct burst_seen){seen->burst + 1, 0};
    return weir_emit(ctx, 0, &row, sizeof row);
}
static const struct weir_operator check_operator = {
    .type = "check", .states = seen_states, .state_count = 1, .output_layout = &row_layout, .on_record = check_burst};

void build_burst(struct weir_job *job, const struct parameters *p)
{
    struct weir_stream *in = add_numbers(job, p, "numbers", 0, p->count);
    struct weir_stream *flood = weir_process(in, "burst", &burst_operator, p);
    struct weir_stream *checked = weir_no_chain(weir_process(flood, "check", &check_operator, p));
    add_lines_sink(job, checked, "write", p, "");
}

/* Input 0 never ends and is dropped; input 1 is bounded and must come through all the same. */
static int second_input_only(struct weir_ctx *ctx, const struct weir_record *record)
{
    return record->input == 1 ? weir_emit(ctx, 0, record->data, record->size_bytes) : WEIR_OK;
}
static const struct weir_operator second_operator = {
    .type = "second", .output_layout = &row_layout, .on_record = second_input_only};

void build_starve(struct weir_job *job, const struct parameters *p)
{
    struct weir_stream *both[] = {add_numbers(job, p, "endless", 0, 0), add_numbers(job, p, "bounded", 0, p->count)};
    add_lines_sink(job, weir_process_n(both, 2, "second", &second_operator, NULL), "write", p, "");
}

void build_slow(struct weir_job *job, const struct parameters *p)
{
    struct parameters *fast = weir_job_alloc(job, sizeof *fast);
    if (fast == NULL)
        return;
    *fast = *p;
    fast->step = 0;
    weir_no_chain(weir_add_sink(add_numbers(job, fast, "numbers", 0, p->count), "slow", &slow_sink, p));
}

/* One source ends at once, the other goes on. */
void build_early(struct weir_job *job, const struct parameters *p)
{
    struct parameters *ending = weir_job_alloc(job, sizeof *ending);
    if (ending == NULL)
        return;
    *ending = *p;
    ending->hold = false;
    ending->step = 0;
    struct weir_stream *both[] = {add_numbers(job, ending, "short", 1000000, 10), add_numbers(job, p, "long", 0, p->count)};
    struct weir_stream *counts = weir_process(weir_key_by(weir_union(both, 2), 0, 8), "count", &count_operator, NULL);
    add_lines_sink(job, weir_parallelism(counts, p->p), "write", p, "");
}

/* ---- timers ---- */

/* The first record of a key sets a timer; it fires once: {key, its id, how often so far}. */
static const struct weir_state timer_states[] = {
    {.name = "fired", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = sizeof(uint64_t)},
    {.name = "seen", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = sizeof(uint64_t)}};

static int timer_on_record(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct parameters *p = weir_arg(ctx);
    uint64_t *seen = weir_value(ctx, 1);
    (void)record;
    if (seen == NULL)
        return weir_ctx_error(ctx)->code;
    return (*seen)++ == 0 ? weir_timer_set(ctx, 7, weir_now_ms(ctx) + (int64_t)p->at) : WEIR_OK;
}

static int timer_on_timer(struct weir_ctx *ctx, uint64_t id, int64_t at_ms)
{
    uint64_t *fired = weir_value(ctx, 0);
    struct row row = {0, id, 0};
    if (fired == NULL)
        return weir_ctx_error(ctx)->code;
    if (weir_now_ms(ctx) < at_ms)
        return weir_fail(ctx, "a timer fires before its time");
    row.c = ++*fired;
    memcpy(&row.a, weir_key(ctx, NULL), sizeof row.a);
    return weir_emit(ctx, 0, &row, sizeof row);
}
static const struct weir_operator timer_operator = {.type = "timer", .states = timer_states, .state_count = 2,
                                                    .output_layout = &row_layout, .on_record = timer_on_record,
                                                    .on_timer = timer_on_timer};

void build_timer(struct weir_job *job, const struct parameters *p)
{
    struct weir_stream *in = add_numbers(job, p, "numbers", 0, p->count);
    struct weir_stream *timed = weir_process(weir_key_by(in, 0, 8), "timer", &timer_operator, p);
    add_lines_sink(job, weir_parallelism(timed, p->p), "write", p, "");
}

/* ---- failures ---- */

/* How often the note's file was written to so far; one more from now on. */
static uint64_t count_attempt(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    struct stat stat = {0};
    if (fd < 0 || fstat(fd, &stat) != 0 || write(fd, "x", 1) != 1)
        abort();
    close(fd);
    return (uint64_t)stat.st_size;
}

static int fail_at(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct parameters *p = weir_arg(ctx);
    const struct row *row = record->data;
    bool elsewhere = strcmp(p->how, "end") == 0 || strcmp(p->how, "flush") == 0;
    if (elsewhere || row->b != p->at || count_attempt(p->note) >= p->times)
        return weir_emit(ctx, 0, row, sizeof *row);
    if (strcmp(p->how, "kill") == 0)
        raise(SIGKILL);
    if (strcmp(p->how, "abort") == 0)
        abort();
    if (strcmp(p->how, "hang") == 0)
        for (;;)
            pause();
    if (strcmp(p->how, "wordless") == 0)
        return WEIR_EIO;
    if (strcmp(p->how, "final") == 0) {
        (void)weir_fail(ctx, "no use at all");
        return WEIR_EFINAL;
    }
    return weir_fail(ctx, "cannot digest %llu", (unsigned long long)row->b);
}

static int fail_at_end(struct weir_ctx *ctx)
{
    const struct parameters *p = weir_arg(ctx);
    bool fails = strcmp(p->how, "end") == 0 && count_attempt(p->note) < p->times;
    return fails ? weir_fail(ctx, "cannot come to an end") : WEIR_OK;
}
static const struct weir_operator fail_operator = {
    .type = "fail", .output_layout = &row_layout, .on_record = fail_at, .on_end = fail_at_end};

static int fail_in_span(struct weir_ctx *ctx, const struct weir_span *span)
{
    int code = WEIR_OK;
    for (uint32_t i = 0; code == WEIR_OK && i < span->count; i++)
        code = fail_at(ctx, &(struct weir_record){.data = weir_span_at(span, i), .size_bytes = span->size_bytes, .input = span->input});
    return code;
}
static const struct weir_operator fail_span_operator = {
    .type = "fail", .output_layout = &row_layout, .on_span = fail_in_span, .on_end = fail_at_end};

/* A sink that cannot hand over what it was given. */
static int take(struct weir_ctx *ctx, const struct weir_record *record)
{
    (void)ctx;
    (void)record;
    return WEIR_OK;
}
static int fail_to_flush(struct weir_ctx *ctx)
{
    const struct parameters *p = weir_arg(ctx);
    return count_attempt(p->note) < p->times ? weir_fail(ctx, "nobody there") : WEIR_OK;
}
static const struct weir_sink moody_sink = {.type = "moody", .write = take, .flush = fail_to_flush};

void build_fail(struct weir_job *job, const struct parameters *p)
{
    struct weir_stream *in = add_numbers(job, p, "numbers", 0, p->count);
    struct weir_stream *out = weir_process(in, "digest", p->spans ? &fail_span_operator : &fail_operator, p);
    add_lines_sink(job, out, "write", p, "");
    if (strcmp(p->how, "flush") == 0)
        weir_add_sink(out, "moody", &moody_sink, p);
}

static int64_t swell(const struct weir_record *record, void *out, const void *arg)
{
    const struct parameters *p = arg;
    (void)record;
    memset(out, 'x', p->bytes);
    return (int64_t)p->bytes;
}

void build_big_record(struct weir_job *job, const struct parameters *p)
{
    struct weir_stream *in = add_numbers(job, p, "numbers", 0, p->count);
    struct weir_stream *big = weir_map(in, "swell", swell, (uint32_t)p->bytes, p);
    add_lines_sink(job, weir_rebalance(big), "write", p, "");
}

static int no_key(const struct weir_record *record, void *scratch, struct weir_bytes *ret_key)
{
    const struct row *row = record->data;
    (void)scratch;
    *ret_key = (struct weir_bytes){&row->a, row->b == 5 ? 0 : 8};
    return WEIR_OK;
}

void build_bad_key(struct weir_job *job, const struct parameters *p)
{
    struct weir_stream *in = add_numbers(job, p, "numbers", 0, p->count);
    add_lines_sink(job, weir_process(weir_key_by_fn(in, no_key), "count", &count_operator, NULL), "write", p, "");
}

/* ---- changed declarations ---- */

static int pass(struct weir_ctx *ctx, const struct weir_record *record)
{
    return weir_emit(ctx, 0, record->data, record->size_bytes);
}

static const struct weir_state base_states[] = {{"total", WEIR_VALUE, WEIR_PER_KEY, 8, 0}};
static const struct weir_state sized_states[] = {{"total", WEIR_VALUE, WEIR_PER_KEY, 16, 0}};
static const struct weir_state list_states[] = {{"total", WEIR_LIST, WEIR_PER_KEY, 0, 0}};
static const struct weir_state later_states[] = {{"total", WEIR_VALUE, WEIR_PER_KEY, 8, 3}};
static const struct weir_state operator_states[] = {{"total", WEIR_VALUE, WEIR_PER_OPERATOR, 8, 0}};
#define STATES_OPERATOR(variant)                                                                                       \
    {#variant, {.type = "keep", .states = variant##_states, .state_count = 1, .output_layout = &row_layout, .on_record = pass}}
static const struct {
    const char *name;
    struct weir_operator op;
} variants[] = {STATES_OPERATOR(base), STATES_OPERATOR(sized), STATES_OPERATOR(list), STATES_OPERATOR(later), STATES_OPERATOR(operator)};

/* how: which declaration `keep` has; "removed" leaves the operator out. */
void build_states(struct weir_job *job, const struct parameters *p)
{
    struct weir_stream *stream = add_numbers(job, p, "numbers", 0, p->count);
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++)
        if (strcmp(variants[i].name, p->how) == 0)
            stream = weir_parallelism(weir_process(weir_key_by(stream, 0, 8), "keep", &variants[i].op, NULL), p->p);
    add_lines_sink(job, stream, "write", p, "");
}

/* ---- wrong graphs ---- */

void build_broken(struct weir_job *job, const struct parameters *p)
{
    struct weir_stream *in = add_numbers(job, p, "numbers", 0, p->count);
    if (strcmp(p->how, "unconnected") == 0)
        weir_process(in, "alone", &second_operator, NULL);
    else if (strcmp(p->how, "same-name") == 0)
        add_lines_sink(job, in, "numbers", p, "");
    else if (strcmp(p->how, "parallelism") == 0)
        add_lines_sink(job, weir_parallelism(in, 0), "write", p, "");
}
