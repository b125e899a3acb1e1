#include "count.h"

struct count_state {
    uint64_t count;
    uint64_t price_max;
};

const struct weir_state count_states[1] = {
    {.name = "count", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = sizeof(struct count_state)},
};

int count_batch(struct weir_ctx *ctx, const struct weir_record *records, size_t count, struct count_update *ret_updates)
{
    void *states[WEIR_BATCH_RECORDS_MAX];
    int code = weir_values(ctx, 0, records, count, states);
    for (size_t i = 0; code == WEIR_OK && i < count; i++) {
        const struct bid *bid = records[i].data;
        struct count_state *state = states[i];
        state->count++;
        if (bid->price > state->price_max)
            state->price_max = bid->price;
        ret_updates[i] = (struct count_update){bid->auction, state->count, state->price_max, bid->sequence};
    }
    return code;
}

static int count_on_batch(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    struct count_update updates[WEIR_BATCH_RECORDS_MAX];
    int code = count_batch(ctx, records, count, updates);
    return code == WEIR_OK ? weir_emit_batch(ctx, 0, updates, sizeof updates[0], count) : code;
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
    .on_batch = count_on_batch,
};
