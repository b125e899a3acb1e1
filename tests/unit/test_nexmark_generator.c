/* The golden rows were printed by Apache Beam's own classes: tools/nexmark_golden. */
#include "connectors/nexmark/generator.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROW_BYTES_MAX 4096

/* A string of the record, backslashes doubled as in the golden rows. */
static int append_string(char *row, int used, const void *record, size_t record_bytes, struct weir_string string)
{
    cr_assert_leq((size_t)string.offset + string.size_bytes, record_bytes);
    cr_assert_geq(string.offset, sizeof(struct weir_nexmark_event));
    row[used++] = '\t';
    for (uint32_t i = 0; i < string.size_bytes; i++) {
        char character = ((const char *)record)[string.offset + i];
        if (character == '\\')
            row[used++] = '\\';
        row[used++] = character;
    }
    row[used] = 0;
    return used;
}

static int append_person(char *row, int used, const void *record, size_t size)
{
    const struct weir_nexmark_person *person = &((const struct weir_nexmark_event *)record)->as.person;
    used += sprintf(row + used, "person\t%" PRIu64 "\t%" PRId64, person->id, person->date_time_ms);
    used = append_string(row, used, record, size, person->name);
    used = append_string(row, used, record, size, person->email_address);
    used = append_string(row, used, record, size, person->credit_card);
    used = append_string(row, used, record, size, person->city);
    used = append_string(row, used, record, size, person->state);
    return append_string(row, used, record, size, person->extra);
}

static int append_auction(char *row, int used, const void *record, size_t size)
{
    const struct weir_nexmark_auction *auction = &((const struct weir_nexmark_event *)record)->as.auction;
    used += sprintf(row + used, "auction\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64, auction->id, auction->initial_bid,
                    auction->reserve);
    used += sprintf(row + used, "\t%" PRId64 "\t%" PRId64 "\t%" PRIu64 "\t%" PRIu64, auction->date_time_ms,
                    auction->expires_ms, auction->seller, auction->category);
    used = append_string(row, used, record, size, auction->item_name);
    used = append_string(row, used, record, size, auction->description);
    return append_string(row, used, record, size, auction->extra);
}

static int append_bid(char *row, int used, const void *record, size_t size)
{
    const struct weir_nexmark_bid *bid = &((const struct weir_nexmark_event *)record)->as.bid;
    used += sprintf(row + used, "bid\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRId64, bid->auction, bid->bidder,
                    bid->price, bid->date_time_ms);
    return append_string(row, used, record, size, bid->extra);
}

static void format_row(const void *record, size_t size, char *row)
{
    const struct weir_nexmark_event *event = record;
    int used = sprintf(row, "%" PRIu64 "\t", event->event_id);
    switch (event->kind) {
    case WEIR_NEXMARK_PERSON: append_person(row, used, record, size); break;
    case WEIR_NEXMARK_AUCTION: append_auction(row, used, record, size); break;
    case WEIR_NEXMARK_BID: append_bid(row, used, record, size); break;
    default: cr_assert_fail("event %" PRIu64 " has kind %u", event->event_id, event->kind);
    }
}

Test(nexmark_generator, every_field_is_as_beam_makes_it)
{
    FILE *golden = fopen(WEIR_SOURCE_DIR "/tests/data/nexmark_golden.tsv", "r");
    cr_assert_not_null(golden);
    char line[ROW_BYTES_MAX];
    char row[ROW_BYTES_MAX];
    _Alignas(8) char record[NEXMARK_EVENT_BYTES_MAX];
    unsigned row_count = 0;
    unsigned kind_counts[3] = {0};

    while (fgets(line, sizeof(line), golden) != NULL) {
        int64_t base_time_ms;
        int64_t number;
        uint64_t event_id;
        int head_bytes;
        int scanned = sscanf(line, "%" SCNd64 "\t%*u\t%" SCNd64 "\t%n%" SCNu64, &base_time_ms, &number, &head_bytes,
                             &event_id);
        cr_assert_eq(scanned, 3, "line %u", row_count + 1);
        line[strcspn(line, "\n")] = 0;
        size_t size = nexmark_event(event_id, base_time_ms + number * NEXMARK_EVENT_DELAY_MS, record);
        format_row(record, size, row);
        cr_assert_str_eq(row, line + head_bytes, "line %u", row_count + 1);
        kind_counts[((struct weir_nexmark_event *)(void *)record)->kind]++;
        row_count++;
    }
    fclose(golden);
    cr_assert_eq(row_count, 6000);
    cr_assert_gt(kind_counts[WEIR_NEXMARK_PERSON], 100);
    cr_assert_gt(kind_counts[WEIR_NEXMARK_AUCTION], 300);
    cr_assert_gt(kind_counts[WEIR_NEXMARK_BID], 5000);
}

Test(nexmark_generator, an_event_depends_on_its_id_and_time_alone)
{
    _Alignas(8) char first[NEXMARK_EVENT_BYTES_MAX];
    _Alignas(8) char second[NEXMARK_EVENT_BYTES_MAX];
    for (uint64_t id = 0; id < 100; id++) {
        memset(first, 0x00, sizeof(first));
        memset(second, 0xff, sizeof(second));
        size_t size = nexmark_event(id, 77, first);
        nexmark_event(99 - id, 1, second);
        cr_assert_eq(nexmark_event(id, 77, second), size);
        cr_assert_arr_eq(first, second, size, "event %" PRIu64, id);
    }
}

Test(nexmark_generator, every_byte_of_a_record_is_defined)
{
    _Alignas(8) char first[NEXMARK_EVENT_BYTES_MAX];
    _Alignas(8) char second[NEXMARK_EVENT_BYTES_MAX];
    for (uint64_t id = 1000000; id < 1000100; id++) {
        memset(first, 0x00, sizeof(first));
        memset(second, 0xff, sizeof(second));
        size_t size = nexmark_event(id, 77, first);
        cr_assert_eq(nexmark_event(id, 77, second), size);
        cr_assert_arr_eq(first, second, size, "event %" PRIu64, id);
    }
}

Test(nexmark_generator, nothing_is_written_beyond_the_bound_of_its_kind)
{
    _Alignas(8) unsigned char record[NEXMARK_EVENT_BYTES_MAX + 8];
    for (uint64_t id = 0; id < 200000; id++) {
        size_t bytes_max = nexmark_event_bytes_max(nexmark_event_kind(id));
        cr_assert_leq(bytes_max, NEXMARK_EVENT_BYTES_MAX);
        memset(record + bytes_max, 0xee, 8);
        cr_assert_leq(nexmark_event(id, 0, record), bytes_max);
        for (size_t i = 0; i < 8; i++)
            cr_assert_eq(record[bytes_max + i], 0xee, "event %" PRIu64, id);
    }
}

Test(nexmark_generator, one_in_fifty_events_is_a_person_and_three_are_auctions)
{
    unsigned counts[3] = {0};
    for (uint64_t id = 0; id < 5000; id++)
        counts[nexmark_event_kind(id)]++;
    cr_assert_eq(counts[WEIR_NEXMARK_PERSON], 100);
    cr_assert_eq(counts[WEIR_NEXMARK_AUCTION], 300);
    cr_assert_eq(counts[WEIR_NEXMARK_BID], 4600);
}
