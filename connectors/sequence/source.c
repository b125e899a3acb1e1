/* source.c - weir_sequence_source: 0, 1, 2, ... as uint64_t. */
#include "connectors/pace.h"

/* options->first is the value of number 0. */
struct sequence {
    struct pace pace;
    uint64_t first;
};

static const struct weir_field sequence_fields[] = {{.name = "value", .type = WEIR_U64, .offset = 0}};
static const struct weir_layout sequence_layout = {.name = "sequence", .fields = sequence_fields, .field_count = 1};

static int sequence_open(struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    static const struct weir_sequence_source_options defaults = {0};
    const struct weir_sequence_source_options *options = weir_arg(ctx) != NULL ? weir_arg(ctx) : &defaults;
    struct sequence *self = weir_self(ctx);

    uint64_t values_left = UINT64_MAX - options->first; /* 2^64 - 1 is never made: `end` must lie behind the last */
    if (options->count > values_left)
        return weir_fail(ctx, "first plus count is beyond 2^64 - 1");
    self->first = options->first;
    self->pace.end = options->count > 0 ? options->count : values_left;
    self->pace.per_second = options->per_second;
    return pace_open(&self->pace, ctx, position, position_bytes);
}

static int sequence_poll(struct weir_ctx *ctx, uint32_t records_max)
{
    struct sequence *self = weir_self(ctx);
    struct pace *pace = &self->pace;
    uint64_t limit = pace_poll(pace);
    for (uint32_t made = 0; made < records_max && pace->next < limit; made++) {
        uint64_t value = self->first + pace->next;
        int status = weir_emit(ctx, 0, &value, sizeof(value));
        if (status < 0)
            return status;
        pace->next += pace->step;
    }
    return pace_result(pace, ctx, limit);
}

static int sequence_position(struct weir_ctx *ctx, void *buffer, size_t *ret_size_bytes)
{
    const struct sequence *self = weir_self(ctx);
    return pace_position(&self->pace, buffer, ret_size_bytes);
}

const struct weir_source weir_sequence_source = {
    .type = "sequence",
    .self_bytes = sizeof(struct sequence),
    .output_layout = &sequence_layout,
    .open = sequence_open,
    .poll = sequence_poll,
    .position = sequence_position,
};
