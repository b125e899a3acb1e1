#!/usr/bin/env python3
"""The right output of the jobs nexmark_q0, nexmark_q1, nexmark_q2 and nexmark_bids, computed without any of their code: the
generator of Apache Beam is followed once more here, in plain steps, and held against rows of Beam's own classes.

    tests/oracle/nexmark.py QUERY EVENTS [FIRST_EVENT_ID]  | LC_ALL=C sort > expected      QUERY: q0 q1 q2 bids
    tests/oracle/nexmark.py --check tests/data/nexmark_golden.tsv

nexmark_bids of 2 million events takes about 10 s, q0 a minute.
"""
import math
import sys

BASE_TIME_MS = 1436918400000
DELAY_MS = 10
MULTIPLIER = 0x5DEECE66D
MASK = (1 << 48) - 1
PERSON, AUCTION, BID = range(3)

STATES = "AZ,CA,ID,OR,WA,WY".split(",")
CITIES = "Phoenix,Los Angeles,San Francisco,Boise,Portland,Bend,Redmond,Seattle,Kent,Cheyenne".split(",")
FIRST_NAMES = "Peter,Paul,Luke,John,Saul,Vicky,Kate,Julie,Sarah,Deiter,Walter".split(",")
LAST_NAMES = "Shultz,Abrams,Spencer,White,Bartels,Walton,Smith,Jones,Noris".split(",")


class JavaRandom:
    """java.util.Random, as its documentation defines it."""

    def __init__(self, seed):
        self.state = (seed ^ MULTIPLIER) & MASK

    def bits(self, count):
        self.state = (self.state * MULTIPLIER + 11) & MASK
        return self.state >> (48 - count)

    def below(self, bound):  # nextInt(bound)
        drawn = self.bits(31)
        if bound & (bound - 1) == 0:
            return (bound * drawn) >> 31
        while drawn - drawn % bound + bound - 1 >= 1 << 31:
            drawn = self.bits(31)
        return drawn % bound

    def signed_int(self):  # nextInt()
        drawn = self.bits(32)
        return drawn - (1 << 32) if drawn >= 1 << 31 else drawn

    def unit(self):  # nextDouble()
        high = self.bits(26)
        return ((high << 27) + self.bits(27)) * 2.0**-53


def price(random):
    return math.floor(10.0 ** (random.unit() * 6.0) * 100.0 + 0.5)


def letters(random, length_max):
    length = 3 + random.below(length_max - 3)
    text = []
    for _ in range(length):
        text.append(" " if random.below(13) == 0 else chr(ord("a") + random.below(26)))
    return "".join(text).strip(" ")


def exact_letters(random, length):
    text = []
    while len(text) < length:
        drawn = random.signed_int()
        sign = -1 if drawn < 0 else 1
        drawn = abs(drawn)
        for _ in range(6):
            text.append(chr(97 + sign * (drawn % 26)))
            drawn //= 26
    return "".join(text[:length])


def extra(random, current, average):
    if current > average:
        return ""
    missing = average - current
    delta = math.floor(missing * 0.2 + 0.5)
    return exact_letters(random, missing - delta + (random.below(2 * delta) if delta else 0))


def last_person(event_id):
    return event_id // 50


def last_auction(event_id):
    epoch, offset = divmod(event_id, 50)
    if offset < 1:
        return epoch * 3 - 1
    return epoch * 3 + min(offset - 1, 2)


def some_person(random, event_id):
    people = last_person(event_id) + 1
    active = min(people, 1000)
    return people - active + random.below(active + 10)


def some_auction(random, event_id):
    newest = last_auction(event_id)
    oldest = max(newest - 100, 0)
    return oldest + random.below(newest - oldest + 11)


def person_fields(random, event_id, time_ms):
    name = FIRST_NAMES[random.below(11)] + " " + LAST_NAMES[random.below(9)]
    email = letters(random, 7) + "@" + letters(random, 5) + ".com"
    card = " ".join("%04d" % random.below(10000) for _ in range(4))
    city = CITIES[random.below(10)]
    state = STATES[random.below(6)]
    current = 8 + sum(map(len, (name, email, card, city, state)))
    return 1000 + last_person(event_id), time_ms, name, email, card, city, state, extra(random, current, 200)


def auction_fields(random, event_id, time_ms):
    if random.below(4) > 0:
        seller = last_person(event_id) // 100 * 100
    else:
        seller = some_person(random, event_id)
    category = 10 + random.below(5)
    initial_bid = price(random)
    # Twice the time until 100 more auctions have come: 100 * 50 / 3 events.
    expires_ms = time_ms + 1 + random.below(2 * (100 * 50 // 3) * DELAY_MS)
    name = letters(random, 20)
    description = letters(random, 100)
    reserve = initial_bid + price(random)
    more = extra(random, 48 + len(name) + len(description), 500)
    return (1000 + last_auction(event_id), initial_bid, reserve, time_ms, expires_ms, 1000 + seller, category, name,
            description, more)


def bid_head(random, event_id):
    """auction, bidder, price: what comes before the strings."""
    if random.below(2) > 0:
        auction = last_auction(event_id) // 100 * 100
    else:
        auction = some_auction(random, event_id)
    if random.below(4) > 0:
        bidder = last_person(event_id) // 100 * 100 + 1
    else:
        bidder = some_person(random, event_id)
    return 1000 + auction, 1000 + bidder, price(random)


def bid_fields(random, event_id, time_ms):
    return *bid_head(random, event_id), time_ms, extra(random, 32, 100)


def kind_of(event_id):
    offset = event_id % 50
    return PERSON if offset < 1 else AUCTION if offset < 4 else BID


FIELDS = [person_fields, auction_fields, bid_fields]


def event(event_id, time_ms):
    """(kind, fields)"""
    kind = kind_of(event_id)
    return kind, FIELDS[kind](JavaRandom(event_id), event_id, time_ms)


def text_line(*fields):
    """No string of these events holds a tab or a line end."""
    return "\t".join(map(str, fields)).replace("\\", "\\\\") + "\n"


def numbered_bids(count, first):
    return ((first + number, number) for number in range(count) if kind_of(first + number) == BID)


def query_0(count, first):
    for number in range(count):
        kind, fields = event(first + number, BASE_TIME_MS + number * DELAY_MS)
        yield text_line(first + number, kind, *fields)


def query_1(count, first):
    for event_id, number in numbered_bids(count, first):
        auction, bidder, cents, time_ms, more = event(event_id, BASE_TIME_MS + number * DELAY_MS)[1]
        yield text_line(auction, bidder, cents * 89 // 100, time_ms, more)


def query_2(count, first):
    for event_id, _ in numbered_bids(count, first):
        auction, _, cents = bid_head(JavaRandom(event_id), event_id)
        if auction % 123 == 0:
            yield f"{auction}\t{cents}\n"


def query_bids(count, first):
    bid_counts = {}
    highest = {}
    for event_id, _ in numbered_bids(count, first):
        auction, _, cents = bid_head(JavaRandom(event_id), event_id)
        bid_counts[auction] = bid_counts.get(auction, 0) + 1
        highest[auction] = max(highest.get(auction, 0), cents)
        yield f"{auction}\t{bid_counts[auction]}\t{highest[auction]}\n"


QUERIES = {"q0": query_0, "q1": query_1, "q2": query_2, "bids": query_bids}


def check(golden_path):
    row_count = 0
    with open(golden_path, encoding="utf-8") as golden:
        for row_count, row in enumerate(golden, 1):
            base_ms, _, number, event_id = map(int, row.split("\t", 4)[:4])
            kind, fields = event(event_id, base_ms + number * DELAY_MS)
            made = text_line(event_id, ("person", "auction", "bid")[kind], *fields)
            if made != row.split("\t", 3)[3]:
                sys.exit(f"{golden_path}:{row_count}: expected\n{row}made\n{made}")
    print(f"{row_count} rows are as Beam made them")


def main():
    if sys.argv[1:2] == ["--check"]:
        check(sys.argv[2])
        return
    query, count = sys.argv[1], int(sys.argv[2])
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    sys.stdout.writelines(QUERIES[query](count, first))


if __name__ == "__main__":
    main()
