/* layout.c - the fields of struct weir_nexmark_event: event_id and kind, then those of its kind. */
#include "connectors/nexmark/layout.h"

#define FIELD(kind, member, field_type)                                                                                \
    {.name = #member, .type = (field_type), .offset = offsetof(struct weir_nexmark_event, as.kind.member)}

static const struct weir_field person_fields[] = {
    FIELD(person, id, WEIR_U64),
    FIELD(person, date_time_ms, WEIR_TIME_MS),
    FIELD(person, name, WEIR_STRING),
    FIELD(person, email_address, WEIR_STRING),
    FIELD(person, credit_card, WEIR_STRING),
    FIELD(person, city, WEIR_STRING),
    FIELD(person, state, WEIR_STRING),
    FIELD(person, extra, WEIR_STRING),
};

static const struct weir_field auction_fields[] = {
    FIELD(auction, id, WEIR_U64),
    FIELD(auction, initial_bid, WEIR_U64),
    FIELD(auction, reserve, WEIR_U64),
    FIELD(auction, date_time_ms, WEIR_TIME_MS),
    FIELD(auction, expires_ms, WEIR_TIME_MS),
    FIELD(auction, seller, WEIR_U64),
    FIELD(auction, category, WEIR_U64),
    FIELD(auction, item_name, WEIR_STRING),
    FIELD(auction, description, WEIR_STRING),
    FIELD(auction, extra, WEIR_STRING),
};

static const struct weir_field bid_fields[] = {
    FIELD(bid, auction, WEIR_U64),
    FIELD(bid, bidder, WEIR_U64),
    FIELD(bid, price, WEIR_U64),
    FIELD(bid, date_time_ms, WEIR_TIME_MS),
    FIELD(bid, extra, WEIR_STRING),
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const struct weir_layout kinds[] = {
    [WEIR_NEXMARK_PERSON] = {.name = "person", .fields = person_fields, .field_count = COUNT_OF(person_fields)},
    [WEIR_NEXMARK_AUCTION] = {.name = "auction", .fields = auction_fields, .field_count = COUNT_OF(auction_fields)},
    [WEIR_NEXMARK_BID] = {.name = "bid", .fields = bid_fields, .field_count = COUNT_OF(bid_fields)},
};

static const struct weir_field event_fields[] = {
    {.name = "event_id", .type = WEIR_U64, .offset = offsetof(struct weir_nexmark_event, event_id)},
    {.name = "kind", .type = WEIR_U32, .offset = offsetof(struct weir_nexmark_event, kind)},
};

const struct weir_layout nexmark_layout = {
    .name = "nexmark_event",
    .fields = event_fields,
    .field_count = COUNT_OF(event_fields),
    .kinds = kinds,
    .kind_count = COUNT_OF(kinds),
    .kind_offset = offsetof(struct weir_nexmark_event, kind),
};
