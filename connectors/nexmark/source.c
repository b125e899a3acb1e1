/* source.c - weir_nexmark_source. Event number n, counted from 0, has the id first_event_id + n and the time
 * base_time_ms + n * NEXMARK_EVENT_DELAY_MS, as in a Beam generator that begins at that id. */
#include "connectors/nexmark/generator.h"
#include "connectors/nexmark/layout.h"
#include "connectors/pace.h"

#include <inttypes.h>

/* Far beyond use, and low enough that neither ids nor times overflow. */
#define EVENT_ID_MAX (UINT64_C(1) << 62)
#define EVENT_NUMBER_MAX (UINT64_C(1) << 58)
#define TIME_MS_MAX (INT64_C(1) << 62)

struct nexmark_source {
    struct pace pace;
    uint64_t first_event_id;
    int64_t base_time_ms;
};

static int options_check(struct weir_ctx *ctx, const struct weir_nexmark_source_options *options)
{
    if (options->first_event_id > EVENT_ID_MAX)
        return weir_fail(ctx, "first event id %" PRIu64 " is beyond 2^62", options->first_event_id);
    if (options->event_count > EVENT_NUMBER_MAX)
        return weir_fail(ctx, "event count %" PRIu64 " is beyond 2^58", options->event_count);
    if (options->base_time_ms > TIME_MS_MAX || options->base_time_ms < -TIME_MS_MAX)
        return weir_fail(ctx, "base time %" PRId64 " ms is beyond 2^62", options->base_time_ms);
    return WEIR_OK;
}

static int nexmark_open(struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    static const struct weir_nexmark_source_options defaults = {0};
    const struct weir_nexmark_source_options *options = weir_arg(ctx) != NULL ? weir_arg(ctx) : &defaults;
    struct nexmark_source *self = weir_self(ctx);

    int status = options_check(ctx, options);
    if (status < 0)
        return status;
    self->first_event_id = options->first_event_id;
    self->base_time_ms = options->base_time_ms != 0 ? options->base_time_ms : NEXMARK_BASE_TIME_MS;
    self->pace.end = options->event_count > 0 ? options->event_count : EVENT_NUMBER_MAX;
    self->pace.per_second = options->per_second;
    return pace_open(&self->pace, ctx, position, position_bytes);
}

static int nexmark_emit(struct weir_ctx *ctx, const struct nexmark_source *self, uint64_t number)
{
    uint64_t event_id = self->first_event_id + number;
    void *record = weir_reserve(ctx, 0, nexmark_event_bytes_max(nexmark_event_kind(event_id)));
    if (record == NULL)
        return weir_ctx_error(ctx)->code;
    int64_t date_time_ms = self->base_time_ms + (int64_t)number * NEXMARK_EVENT_DELAY_MS;
    return weir_emit_reserved(ctx, nexmark_event(event_id, date_time_ms, record));
}

static int nexmark_poll(struct weir_ctx *ctx, uint32_t records_max)
{
    struct nexmark_source *self = weir_self(ctx);
    struct pace *pace = &self->pace;
    uint64_t limit = pace_poll(pace);
    for (uint32_t made = 0; made < records_max && pace->next < limit; made++) {
        int status = nexmark_emit(ctx, self, pace->next);
        if (status < 0)
            return status;
        pace->next += pace->step;
    }
    return pace_result(pace, ctx, limit);
}

static int nexmark_position(struct weir_ctx *ctx, void *buffer, size_t *ret_size_bytes)
{
    const struct nexmark_source *self = weir_self(ctx);
    return pace_position(&self->pace, buffer, ret_size_bytes);
}

const struct weir_source weir_nexmark_source = {
    .type = "nexmark",
    .self_bytes = sizeof(struct nexmark_source),
    .output_layout = &nexmark_layout,
    .open = nexmark_open,
    .poll = nexmark_poll,
    .position = nexmark_position,
};
