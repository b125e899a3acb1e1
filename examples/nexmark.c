/*
 * nexmark.c - queries over the events of Apache Beam's Nexmark generator: the persons, auctions and bids of an auction
 * house.
 *
 *     weir run nexmark_q0 --set events=100k --set output=/tmp/events      every event, unchanged
 *     weir run nexmark_q1 --set events=1M --set output=/tmp/euros         bids, their prices in euros: price * 89 / 100
 *     weir run nexmark_q2 --set events=1M --set output=/tmp/some          price of bids for auctions that 123 divides
 *     weir run nexmark_bids --set events=10M --set rate=1M --set parallelism=2 --set output=/tmp/bids
 *                                                      after each bid: the auction's bids so far, and the highest price
 *
 * The first three are Beam's Query0, Query1 and Query2, with their arithmetic. The last one keeps state per auction:
 *
 *     events -> project (auction, price) -> by auction: highest -> output
 *
 * The events are the same in every run, and each auction's bids stay in order, so the output is as well.
 */
#include "examples.h"

#include <string.h>

#define AUCTION_DIVISOR 123

static struct weir_stream *add_events(struct weir_job *job)
{
    struct weir_nexmark_source_options *options = weir_job_alloc(job, sizeof(*options));
    if (options == NULL)
        return NULL;
    options->first_event_id = weir_param_u64(job, "first", 0, "id of the first event");
    options->event_count = weir_param_u64(job, "events", 1000000, "number of events; 0 is without end");
    options->per_second = weir_param_u64(job, "rate", 0, "events per second; 0 is as fast as it goes");
    options->base_time_ms = (int64_t)weir_param_u64(job, "base_time", 1436918400000, "time of the event 0, in ms since 1970");
    return weir_add_source(job, "events", &weir_nexmark_source, options);
}

static int add_output(struct weir_job *job, struct weir_stream *results, unsigned parallelism)
{
    const char *output = weir_param(job, "output", "-", "directory for the results; - is standard output");
    weir_parallelism(example_add_sink(job, results, "output", output), parallelism);
    return WEIR_OK;
}

int nexmark_q0_build(struct weir_job *job)
{
    return add_output(job, add_events(job), 1);
}

/* ---- q1 ---- */

static const struct weir_field bid_fields[] = {
    {.name = "auction", .type = WEIR_U64, .offset = offsetof(struct weir_nexmark_event, as.bid.auction)},
    {.name = "bidder", .type = WEIR_U64, .offset = offsetof(struct weir_nexmark_event, as.bid.bidder)},
    {.name = "price", .type = WEIR_U64, .offset = offsetof(struct weir_nexmark_event, as.bid.price)},
    {.name = "date_time_ms", .type = WEIR_TIME_MS, .offset = offsetof(struct weir_nexmark_event, as.bid.date_time_ms)},
    {.name = "extra", .type = WEIR_STRING, .offset = offsetof(struct weir_nexmark_event, as.bid.extra)},
};
static const struct weir_layout bid_layout = {.name = "bid", .fields = bid_fields, .field_count = 5};

#define BID_BYTES_MAX 512

static int64_t to_euros(const struct weir_record *record, void *out, const void *arg)
{
    const struct weir_nexmark_event *event = record->data;
    struct weir_nexmark_event *in_euros = out;
    (void)arg;
    if (event->kind != WEIR_NEXMARK_BID)
        return 0;
    if (record->size_bytes > BID_BYTES_MAX)
        return WEIR_ELIMIT;
    memcpy(out, record->data, record->size_bytes);
    in_euros->as.bid.price = event->as.bid.price * 89 / 100;
    return record->size_bytes;
}

int nexmark_q1_build(struct weir_job *job)
{
    struct weir_stream *bids = weir_map(add_events(job), "to_euros", to_euros, BID_BYTES_MAX, NULL);
    return add_output(job, weir_set_layout(bids, &bid_layout), 1);
}

/* ---- q2, and the first step of nexmark_bids ---- */

struct auction_price {
    uint64_t auction;
    uint64_t price;
};

static const struct weir_field auction_price_fields[] = {
    {.name = "auction", .type = WEIR_U64, .offset = offsetof(struct auction_price, auction)},
    {.name = "price", .type = WEIR_U64, .offset = offsetof(struct auction_price, price)},
};
static const struct weir_layout auction_price_layout = {
    .name = "auction_price", .fields = auction_price_fields, .field_count = 2};

static bool is_selected_bid(const struct weir_record *record, const void *arg)
{
    const struct weir_nexmark_event *event = record->data;
    (void)arg;
    return event->kind == WEIR_NEXMARK_BID && event->as.bid.auction % AUCTION_DIVISOR == 0;
}

static int64_t project(const struct weir_record *record, void *out, const void *arg)
{
    const struct weir_nexmark_event *event = record->data;
    struct auction_price *projected = out;
    (void)arg;
    if (event->kind != WEIR_NEXMARK_BID)
        return 0;
    *projected = (struct auction_price){.auction = event->as.bid.auction, .price = event->as.bid.price};
    return sizeof(*projected);
}

static struct weir_stream *add_project(struct weir_stream *events)
{
    struct weir_stream *projected = weir_map(events, "project", project, sizeof(struct auction_price), NULL);
    return weir_set_layout(projected, &auction_price_layout);
}

int nexmark_q2_build(struct weir_job *job)
{
    struct weir_stream *selected = weir_filter(add_events(job), "select", is_selected_bid, NULL);
    return add_output(job, add_project(selected), 1);
}

/* ---- nexmark_bids ---- */

struct bids {
    uint64_t bid_count;
    uint64_t price_max;
};

struct bids_update {
    uint64_t auction;
    struct bids bids;
};

static const struct weir_field bids_update_fields[] = {
    {.name = "auction", .type = WEIR_U64, .offset = offsetof(struct bids_update, auction)},
    {.name = "bids", .type = WEIR_U64, .offset = offsetof(struct bids_update, bids.bid_count)},
    {.name = "highest", .type = WEIR_U64, .offset = offsetof(struct bids_update, bids.price_max)},
};
static const struct weir_layout bids_update_layout = {
    .name = "bids_update", .fields = bids_update_fields, .field_count = 3};

enum { BIDS }; /* the operator's states, by index */
static const struct weir_state highest_states[] = {
    [BIDS] = {.name = "bids", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = sizeof(struct bids)},
};

/* A whole batch at once: the state of all its keys is looked for together, and all updates go out together. An on_record() of one
 * weir_value() and one weir_emit() would do the same, a little slower. */
static int highest_on_batch(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    void *values[WEIR_BATCH_RECORDS_MAX];
    struct bids_update updates[WEIR_BATCH_RECORDS_MAX];
    int code = weir_values(ctx, BIDS, records, count, values);
    if (code < 0)
        return code;
    for (size_t i = 0; i < count; i++) {
        const struct auction_price *bid = records[i].data;
        struct bids *bids = values[i]; /* two bids of one auction: the same address, and so in order */
        bids->bid_count++;
        if (bid->price > bids->price_max)
            bids->price_max = bid->price;
        updates[i] = (struct bids_update){.auction = bid->auction, .bids = *bids};
    }
    return weir_emit_batch(ctx, 0, updates, sizeof(updates[0]), count);
}

static const struct weir_operator highest_operator = {
    .type = "highest",
    .states = highest_states,
    .state_count = 1,
    .output_layout = &bids_update_layout,
    .on_batch = highest_on_batch,
};

int nexmark_bids_build(struct weir_job *job)
{
    unsigned parallelism = example_parallelism(job);
    struct weir_stream *bids = weir_key_by(add_project(add_events(job)), offsetof(struct auction_price, auction),
                                           sizeof(uint64_t));
    struct weir_stream *highest = weir_process(bids, "highest", &highest_operator, NULL);
    weir_parallelism(highest, parallelism);
    return add_output(job, highest, parallelism);
}
