/*
 * work.c - the job of figures `w0`, `w1` and `w2`: a binary file of bids (make_bids) through one of three pieces of work to a
 * sink that adds up what it gets, so that plain_work can say whether all of it was done.
 *
 *     work run --set work=NAME --set input=FILE [--set copies=N] --set result=FILE [options of run; see run --help]
 *
 * The source maps the file, as those of the peers do (the file source reads it, which costs 3 ns a record more), and goes
 * through it `copies` times. w0.exchange: bids, partitioned by auction, to the sink; w0.chained: bids to the sink. w1: those
 * with auction % 123 = 0. w2: count and highest price per auction, one update out per bid. With --no-chain each operator is a
 * process. Without it the operators that no partition keeps apart share one: all of w0.chained and w1; count and sink of w2.
 * `result` is a file that is made: struct work_result.
 */
#include "count.h"
#include "work.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct work_options {
    const char *input;
    uint64_t copies;
    struct work_result *result;
    bool updates; /* what the sink gets: updates, or bids */
};

static uint64_t process_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* What this process has used so far, when its operators are closed: its last call counts. */
static void note_cpu(const struct work_options *options, unsigned role)
{
    options->result->process[role] = (struct work_process){getpid(), process_cpu_ns()};
}

/* ---- the source: the mapped file, `copies` times over ---- */

struct mapped_source {
    const struct bid *bids;
    uint64_t count; /* of one copy */
    uint64_t next;
};

static int mapped_open(struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    const struct work_options *options = weir_arg(ctx);
    struct mapped_source *self = weir_self(ctx);
    struct stat st;
    if (position != NULL && position_bytes == sizeof self->next)
        memcpy(&self->next, position, sizeof self->next);
    int fd = open(options->input, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        return weir_fail(ctx, "cannot open %s", options->input);
    self->count = (uint64_t)st.st_size / sizeof(struct bid);
    self->bids = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    return self->bids == MAP_FAILED ? weir_fail(ctx, "cannot map %s", options->input) : WEIR_OK;
}

static int mapped_poll(struct weir_ctx *ctx, uint32_t records_max)
{
    struct mapped_source *self = weir_self(ctx);
    if (self->next >= self->count * ((const struct work_options *)weir_arg(ctx))->copies)
        return WEIR_END;
    uint64_t at = self->next % self->count;
    uint64_t taken = self->count - at < records_max ? self->count - at : records_max;
    int code = weir_emit_batch(ctx, 0, &self->bids[at], sizeof self->bids[0], taken);
    self->next += taken;
    return code;
}

static int mapped_position(struct weir_ctx *ctx, void *buffer, size_t *ret_size_bytes)
{
    const struct mapped_source *self = weir_self(ctx);
    memcpy(buffer, &self->next, sizeof self->next);
    *ret_size_bytes = sizeof self->next;
    return WEIR_OK;
}

static void mapped_close(struct weir_ctx *ctx) { note_cpu(weir_arg(ctx), WORK_SOURCE); }

static const struct weir_source mapped_source = {
    .type = "mapped-bids",
    .self_bytes = sizeof(struct mapped_source),
    .open = mapped_open,
    .poll = mapped_poll,
    .position = mapped_position,
    .close = mapped_close,
};

/* ---- w1 ---- */

static int filter_on_span(struct weir_ctx *ctx, const struct weir_span *span)
{
    for (uint32_t i = 0; i < span->count; i++) {
        const struct bid *bid = weir_span_at(span, i);
        if (bid->auction % 123 != 0)
            continue;
        int code = weir_emit(ctx, 0, bid, sizeof *bid);
        if (code < 0)
            return code;
    }
    return WEIR_OK;
}

static void operator_close(struct weir_ctx *ctx) { note_cpu(weir_arg(ctx), WORK_OPERATOR); }

static const struct weir_operator filter_operator = {.type = "filter", .on_span = filter_on_span, .close = operator_close};

/* ---- the sink ---- */

struct sum_sink {
    uint64_t count;
    uint64_t price_sum;
    uint64_t count_sum;
};

static int sum_write_span(struct weir_ctx *ctx, const struct weir_span *span)
{
    struct sum_sink *self = weir_self(ctx);
    struct sum_sink sum = {0};
    if (((const struct work_options *)weir_arg(ctx))->updates) {
        for (uint32_t i = 0; i < span->count; i++) {
            const struct count_update *update = weir_span_at(span, i);
            sum.price_sum += update->price_max;
            sum.count_sum += update->count;
        }
    } else {
        for (uint32_t i = 0; i < span->count; i++)
            sum.price_sum += ((const struct bid *)weir_span_at(span, i))->price;
    }
    self->count += span->count;
    self->price_sum += sum.price_sum;
    self->count_sum += sum.count_sum;
    return WEIR_OK;
}

/* Private memory: what one that is killed had summed is missing from the result, and the figure fails. */
static int sum_resume(struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    (void)ctx;
    (void)position;
    (void)position_bytes;
    return WEIR_OK;
}

static void sum_close(struct weir_ctx *ctx)
{
    const struct work_options *options = weir_arg(ctx);
    const struct sum_sink *self = weir_self(ctx);
    options->result->count = self->count;
    options->result->price_sum = self->price_sum;
    options->result->count_sum = self->count_sum;
    note_cpu(options, WORK_SINK);
}

static const struct weir_sink sum_sink = {
    .type = "sum",
    .self_bytes = sizeof(struct sum_sink),
    .write_span = sum_write_span,
    .resume = sum_resume,
    .close = sum_close,
};

/* ---- the graph ---- */

/* Mapped before the tasks are forked, so that all of them share it. */
static struct work_result *map_result(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return NULL;
    void *address = MAP_FAILED;
    if (ftruncate(fd, sizeof(struct work_result)) == 0)
        address = mmap(NULL, sizeof(struct work_result), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return address == MAP_FAILED ? NULL : address;
}

static struct weir_stream *add_work(struct weir_job *job, struct weir_stream *bids, const char *work,
                                    struct work_options *options)
{
    if (strcmp(work, "w0.chained") == 0)
        return bids;
    if (strcmp(work, "w0.exchange") == 0)
        return weir_key_by(bids, offsetof(struct bid, auction), sizeof(uint64_t));
    if (strcmp(work, "w1") == 0)
        return weir_process(bids, "filter", &filter_operator, options);
    if (strcmp(work, "w2") != 0) {
        weir_job_fail(job, "there is no work '%s': w0.exchange, w0.chained, w1 or w2", work);
        return NULL;
    }
    struct weir_operator *count = weir_job_alloc(job, sizeof *count);
    if (count == NULL)
        return NULL;
    *count = count_operator;
    count->close = operator_close;
    options->updates = true;
    return weir_process(weir_key_by(bids, offsetof(struct bid, auction), sizeof(uint64_t)), "count", count, options);
}

static int build(struct weir_job *job)
{
    struct work_options *options = weir_job_alloc(job, sizeof *options);
    if (options == NULL)
        return WEIR_ENOMEM;
    const char *work = weir_param(job, "work", "w2", "w0.exchange, w0.chained, w1 or w2");
    const char *result = weir_param(job, "result", "work-result", "File that the sums are written to");
    options->input = weir_param(job, "input", "bids.bin", "File of 32-byte bids");
    options->copies = weir_param_u64(job, "copies", 1, "How often the file is gone through");
    options->result = map_result(result);
    if (options->result == NULL)
        return weir_job_fail(job, "cannot make the file %s", result);
    struct weir_stream *bids = weir_add_source(job, "source", &mapped_source, options);
    weir_add_sink(add_work(job, bids, work, options), "sink", &sum_sink, options);
    return WEIR_OK;
}

int main(int argc, char **argv) { return weir_main(argc, argv, "work", build); }
