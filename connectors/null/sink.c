/* sink.c - weir_null_sink: counts and drops. Nothing to prepare, so nothing to commit. */
#include "weir.h"

struct null_sink {
    uint64_t *records;
};

static int null_open(struct weir_ctx *ctx)
{
    struct null_sink *self = weir_self(ctx);
    self->records = weir_counter(ctx, "records");
    return WEIR_OK;
}

static int null_write_span(struct weir_ctx *ctx, const struct weir_span *span)
{
    struct null_sink *self = weir_self(ctx);
    *self->records += span->count;
    return WEIR_OK;
}

static int null_write_batch(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    struct null_sink *self = weir_self(ctx);
    (void)records;
    *self->records += count;
    return WEIR_OK;
}

static int null_resume(struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    (void)position;
    (void)position_bytes;
    return null_open(ctx);
}

const struct weir_sink weir_null_sink = {
    .type = "null",
    .self_bytes = sizeof(struct null_sink),
    .open = null_open,
    .write_batch = null_write_batch,
    .write_span = null_write_span,
    .resume = null_resume,
};
