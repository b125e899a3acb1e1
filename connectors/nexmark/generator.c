/* generator.c - persons, auctions and bids. The order in which numbers are drawn decides what they are. */
#include "connectors/nexmark/generator.h"

#include "connectors/nexmark/random.h"

#include <math.h>
#include <string.h>

/* Out of each EPOCH_EVENTS ids: so many persons, then auctions, then bids. */
#define EPOCH_EVENTS 50
#define EPOCH_PERSONS 1
#define EPOCH_AUCTIONS 3

#define FIRST_ID 1000 /* of persons and of auctions */
#define FIRST_CATEGORY 10
#define CATEGORY_COUNT 5
#define ID_LEAD 10           /* ids not made yet that an event may refer to */
#define ACTIVE_PERSONS 1000  /* the newest ones, who sell and bid */
#define IN_FLIGHT_AUCTIONS 100
#define HOT_GROUP 100        /* the hot auction, seller or bidder is one of each so many ids */
#define HOT_AUCTION_RATIO 2  /* one in so many bids is not for the hot one */
#define HOT_SELLER_RATIO 4
#define HOT_BIDDER_RATIO 4

/* Twice the event time until IN_FLIGHT_AUCTIONS more have been made. */
#define AUCTION_LENGTH_MS_MAX                                                                                          \
    (2u * (uint32_t)(IN_FLIGHT_AUCTIONS * EPOCH_EVENTS / EPOCH_AUCTIONS) * NEXMARK_EVENT_DELAY_MS)

/* What Beam takes for the sizes of an event's fields other than its strings, and wants as the average of the whole. */
#define PERSON_FIXED_BYTES 8
#define PERSON_AVERAGE_BYTES 200
#define AUCTION_FIXED_BYTES 48
#define AUCTION_AVERAGE_BYTES 500
#define BID_FIXED_BYTES 32
#define BID_AVERAGE_BYTES 100

#define STRING_BYTES_MIN 3
#define NAME_BYTES_MAX 20
#define DESCRIPTION_BYTES_MAX 100

struct word {
    char text[15];
    uint8_t size_bytes;
};
#define WORD(literal) {literal, sizeof(literal) - 1}

static const struct word states[] = {WORD("AZ"), WORD("CA"), WORD("ID"), WORD("OR"), WORD("WA"), WORD("WY")};
static const struct word cities[] = {WORD("Phoenix"), WORD("Los Angeles"), WORD("San Francisco"), WORD("Boise"),
                                     WORD("Portland"), WORD("Bend"), WORD("Redmond"), WORD("Seattle"),
                                     WORD("Kent"), WORD("Cheyenne")};
static const struct word first_names[] = {WORD("Peter"), WORD("Paul"), WORD("Luke"), WORD("John"),
                                          WORD("Saul"), WORD("Vicky"), WORD("Kate"), WORD("Julie"),
                                          WORD("Sarah"), WORD("Deiter"), WORD("Walter")};
static const struct word last_names[] = {WORD("Shultz"), WORD("Abrams"), WORD("Spencer"), WORD("White"),
                                         WORD("Bartels"), WORD("Walton"), WORD("Smith"), WORD("Jones"),
                                         WORD("Noris")};

/* Writes an event's strings one behind the other. */
struct text {
    char *record;
    char *start; /* of the string being written */
    char *end;   /* behind the last byte written */
};

static void text_begin(struct text *text)
{
    text->start = text->end;
}

static uint32_t text_size(const struct text *text)
{
    return (uint32_t)(text->end - text->start);
}

static struct weir_string text_finish(struct text *text)
{
    return (struct weir_string){.offset = (uint32_t)(text->start - text->record), .size_bytes = text_size(text)};
}

static void text_char(struct text *text, char character)
{
    *text->end++ = character;
}

static void text_word(struct text *text, const struct word *word)
{
    memcpy(text->end, word->text, sizeof(word->text));
    text->end += word->size_bytes;
}

/* A random string of STRING_BYTES_MIN to bytes_max - 1 letters and spaces, then without the spaces at its ends. */
static void text_random(struct text *text, struct random *random, uint32_t bytes_max)
{
    uint32_t drawn_count = STRING_BYTES_MIN + random_below(random, bytes_max - STRING_BYTES_MIN);
    char *start = text->end;
    for (uint32_t i = 0; i < drawn_count; i++) {
        bool is_space = random_below(random, 13) == 0;
        if (!is_space)
            text_char(text, (char)('a' + random_below(random, 26)));
        else if (text->end != start)
            text_char(text, ' ');
    }
    while (text->end != start && text->end[-1] == ' ')
        text->end--;
}

/* The six lowest digits of `value` in base 26, the lowest in the first byte: three digits in each half of a word.
 * n / 676 and n / 26 are multiplications, exact for n < 26 * 26 * 26 and n < 676. */
static uint64_t base26_digits(uint32_t value)
{
    const uint64_t each_half = UINT64_C(0x0000000100000001);
    uint64_t low = value % (26 * 26 * 26);
    uint64_t high = value / (26 * 26 * 26) % (26 * 26 * 26);
    uint64_t rest = low | high << 32;
    uint64_t third = rest * 24819 >> 24 & each_half * 31;
    rest -= third * 676;
    uint64_t second = rest * 40330 >> 20 & each_half * 31;
    uint64_t digits = (rest - second * 26) | second << 8 | third << 16;
    return (digits & 0xFFFFFF) | (digits >> 8 & UINT64_C(0xFFFFFF000000));
}

/* A random string of exactly size_bytes, six characters from each number drawn. A negative number counts down from 'a',
 * as its digits are negative in Java: those characters are 'H' to '`'. Writes up to seven bytes beyond the end. */
static void text_random_exact(struct text *text, struct random *random, uint32_t size_bytes)
{
    const uint64_t all_a = UINT64_C(0x6161616161616161);
    for (uint32_t done = 0; done < size_bytes; done += 6) {
        uint32_t drawn = random_bits(random, 32);
        uint32_t negative = -(drawn >> 31); /* all ones where it is; a branch would be mispredicted every other time */
        uint64_t digits = base26_digits((drawn ^ negative) - negative);
        uint64_t sign = 0 - (uint64_t)(drawn >> 31);
        uint64_t six = all_a + ((digits ^ sign) - sign); /* no digit borrows from the next: 'a' - 25 > 0 */
        memcpy(text->end + done, &six, sizeof(six));
    }
    text->end += size_bytes;
}

/* Fills the event up to average_bytes, give or take a fifth of what is missing. */
static struct weir_string text_extra(struct text *text, struct random *random, uint32_t current_bytes,
                                     uint32_t average_bytes)
{
    text_begin(text);
    if (current_bytes > average_bytes)
        return text_finish(text);
    uint32_t missing_bytes = average_bytes - current_bytes;
    uint32_t delta_bytes = (uint32_t)floor(missing_bytes * 0.2 + 0.5);
    uint32_t size_bytes = missing_bytes - delta_bytes;
    if (delta_bytes > 0)
        size_bytes += random_below(random, 2 * delta_bytes);
    text_random_exact(text, random, size_bytes);
    return text_finish(text);
}

static uint64_t random_price(struct random *random)
{
    return (uint64_t)floor(pow(10.0, random_double(random) * 6.0) * 100.0 + 0.5);
}

/* Ids below count from 0; FIRST_ID is added where they enter an event. */

/* The newest person at this event: itself, if it is one. */
static uint64_t newest_person(uint64_t event_id)
{
    return event_id / EPOCH_EVENTS * EPOCH_PERSONS; /* one person an epoch, its first event */
}

/* The newest auction at this event: itself, if it is one. -1 at the very first event, which asks for none. */
static int64_t newest_auction(uint64_t event_id)
{
    int64_t epoch = (int64_t)(event_id / EPOCH_EVENTS);
    int64_t offset = (int64_t)(event_id % EPOCH_EVENTS);
    int64_t made = offset - EPOCH_PERSONS + 1; /* in this epoch */
    if (made > EPOCH_AUCTIONS)
        made = EPOCH_AUCTIONS;
    return epoch * EPOCH_AUCTIONS + made - 1;
}

static uint64_t random_person(struct random *random, uint64_t event_id)
{
    uint64_t made = newest_person(event_id) + 1;
    uint64_t active = made < ACTIVE_PERSONS ? made : ACTIVE_PERSONS;
    return made - active + random_below(random, (uint32_t)active + ID_LEAD);
}

static uint64_t random_auction(struct random *random, uint64_t event_id)
{
    int64_t newest = newest_auction(event_id);
    int64_t oldest = newest > IN_FLIGHT_AUCTIONS ? newest - IN_FLIGHT_AUCTIONS : 0;
    return (uint64_t)oldest + random_below(random, (uint32_t)(newest - oldest) + 1 + ID_LEAD);
}

static uint64_t hot(uint64_t newest)
{
    return newest / HOT_GROUP * HOT_GROUP;
}

static struct weir_string person_name(struct text *text, struct random *random)
{
    text_begin(text);
    text_word(text, &first_names[random_below(random, sizeof(first_names) / sizeof(first_names[0]))]);
    text_char(text, ' ');
    text_word(text, &last_names[random_below(random, sizeof(last_names) / sizeof(last_names[0]))]);
    return text_finish(text);
}

static struct weir_string person_email_address(struct text *text, struct random *random)
{
    static const struct word dot_com = WORD(".com");
    text_begin(text);
    text_random(text, random, 7);
    text_char(text, '@');
    text_random(text, random, 5);
    text_word(text, &dot_com);
    return text_finish(text);
}

static struct weir_string person_credit_card(struct text *text, struct random *random)
{
    text_begin(text);
    for (unsigned group = 0; group < 4; group++) {
        if (group > 0)
            text_char(text, ' ');
        uint32_t number = random_below(random, 10000);
        for (uint32_t unit = 1000; unit > 0; unit /= 10)
            text_char(text, (char)('0' + number / unit % 10));
    }
    return text_finish(text);
}

static struct weir_string person_place(struct text *text, struct random *random, const struct word *words,
                                       uint32_t count)
{
    text_begin(text);
    text_word(text, &words[random_below(random, count)]);
    return text_finish(text);
}

static void person_fill(struct weir_nexmark_person *person, struct text *text, struct random *random, uint64_t event_id)
{
    person->id = newest_person(event_id) + FIRST_ID;
    person->name = person_name(text, random);
    person->email_address = person_email_address(text, random);
    person->credit_card = person_credit_card(text, random);
    person->city = person_place(text, random, cities, sizeof(cities) / sizeof(cities[0]));
    person->state = person_place(text, random, states, sizeof(states) / sizeof(states[0]));
    uint32_t string_bytes = (uint32_t)(text->end - text->record) - person->name.offset;
    person->extra = text_extra(text, random, PERSON_FIXED_BYTES + string_bytes, PERSON_AVERAGE_BYTES);
}

static void auction_fill(struct weir_nexmark_auction *auction, struct text *text, struct random *random,
                         uint64_t event_id)
{
    auction->id = (uint64_t)newest_auction(event_id) + FIRST_ID;
    bool is_hot = random_below(random, HOT_SELLER_RATIO) > 0;
    auction->seller = FIRST_ID + (is_hot ? hot(newest_person(event_id)) : random_person(random, event_id));
    auction->category = FIRST_CATEGORY + random_below(random, CATEGORY_COUNT);
    auction->initial_bid = random_price(random);
    auction->expires_ms = auction->date_time_ms + 1 + random_below(random, AUCTION_LENGTH_MS_MAX);
    text_begin(text);
    text_random(text, random, NAME_BYTES_MAX);
    auction->item_name = text_finish(text);
    text_begin(text);
    text_random(text, random, DESCRIPTION_BYTES_MAX);
    auction->description = text_finish(text);
    auction->reserve = auction->initial_bid + random_price(random);
    uint32_t string_bytes = auction->item_name.size_bytes + auction->description.size_bytes;
    auction->extra = text_extra(text, random, AUCTION_FIXED_BYTES + string_bytes, AUCTION_AVERAGE_BYTES);
}

static void bid_fill(struct weir_nexmark_bid *bid, struct text *text, struct random *random, uint64_t event_id)
{
    bool is_hot = random_below(random, HOT_AUCTION_RATIO) > 0;
    bid->auction = FIRST_ID + (is_hot ? hot((uint64_t)newest_auction(event_id)) : random_auction(random, event_id));
    is_hot = random_below(random, HOT_BIDDER_RATIO) > 0;
    /* The second of its group, so that the hot bidder is not the hot seller. */
    bid->bidder = FIRST_ID + (is_hot ? hot(newest_person(event_id)) + 1 : random_person(random, event_id));
    bid->price = random_price(random);
    bid->extra = text_extra(text, random, BID_FIXED_BYTES, BID_AVERAGE_BYTES);
}

enum weir_nexmark_kind nexmark_event_kind(uint64_t event_id)
{
    uint64_t offset = event_id % EPOCH_EVENTS;
    if (offset < EPOCH_PERSONS)
        return WEIR_NEXMARK_PERSON;
    return offset < EPOCH_PERSONS + EPOCH_AUCTIONS ? WEIR_NEXMARK_AUCTION : WEIR_NEXMARK_BID;
}

size_t nexmark_event_bytes_max(enum weir_nexmark_kind kind)
{
    /* The strings are longest where the extra is all of them: 1.2 times what is missing. The last write spills over. */
    switch (kind) {
    case WEIR_NEXMARK_PERSON:
        return sizeof(struct weir_nexmark_event) + PERSON_AVERAGE_BYTES * 6 / 5 + 16;
    case WEIR_NEXMARK_AUCTION:
        return sizeof(struct weir_nexmark_event) + AUCTION_AVERAGE_BYTES * 6 / 5 + 16;
    case WEIR_NEXMARK_BID:
        break;
    }
    return sizeof(struct weir_nexmark_event) + BID_AVERAGE_BYTES * 6 / 5 + 16;
}

size_t nexmark_event(uint64_t event_id, int64_t date_time_ms, void *record)
{
    struct weir_nexmark_event *event = record;
    struct random random = random_seed(event_id);
    char *strings = (char *)record + sizeof(*event);
    struct text text = {.record = record, .start = strings, .end = strings};

    *event = (struct weir_nexmark_event){.event_id = event_id, .kind = nexmark_event_kind(event_id)};
    switch (nexmark_event_kind(event_id)) {
    case WEIR_NEXMARK_PERSON:
        event->as.person.date_time_ms = date_time_ms;
        person_fill(&event->as.person, &text, &random, event_id);
        break;
    case WEIR_NEXMARK_AUCTION:
        event->as.auction.date_time_ms = date_time_ms;
        auction_fill(&event->as.auction, &text, &random, event_id);
        break;
    case WEIR_NEXMARK_BID:
        event->as.bid.date_time_ms = date_time_ms;
        bid_fill(&event->as.bid, &text, &random, event_id);
        break;
    }
    return (size_t)(text.end - (char *)record);
}
