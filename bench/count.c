#include "count.h"

struct count_state {
    uint64_t count;
    uint64_t price_max;
};

static const struct weir_state count_states[] = {
    {.name = "count", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = sizeof(struct count_state)},
};

static int count_on_record(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct bid *bid = record->data;
    struct count_state *state = weir_value(ctx, 0);
    if (state == NULL)
        return WEIR_ELIMIT;
    state->count++;
    if (bid->price > state->price_max)
        state->price_max = bid->price;
    struct count_update update = {bid->auction, state->count, state->price_max, bid->sequence};
    return weir_emit(ctx, 0, &update, sizeof update);
}

static const struct weir_field count_fields[] = {
    {.name = "auction", .type = WEIR_U64, .offset = offsetof(struct count_update, auction)},
    {.name = "count", .type = WEIR_U64, .offset = offsetof(struct count_update, count)},
    {.name = "price_max", .type = WEIR_U64, .offset = offsetof(struct count_update, price_max)},
    {.name = "sequence", .type = WEIR_U64, .offset = offsetof(struct count_update, sequence)},
};

const struct weir_layout count_layout = {.name = "count", .fields = count_fields, .field_count = 4};

const struct weir_operator count_operator = {
    .type = "count",
    .states = count_states,
    .state_count = 1,
    .output_layout = &count_layout,
    .on_record = count_on_record,
};
