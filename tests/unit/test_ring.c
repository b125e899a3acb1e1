/*
 * test_ring.c - the byte ring: one side after the other, hostile bytes, and both sides at once, as two threads and as two
 * processes.
 */
#include "unit/ring_traffic.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <sys/wait.h>

TestSuite(ring, .timeout = 480);

struct pair {
    int fd;
    struct ring_producer p;
    struct ring_consumer c;
};

static struct pair make_pair(uint64_t capacity_bytes)
{
    struct pair pair;
    struct weir_error err = {0};
    cr_assert_eq(ring_create("test", capacity_bytes, &pair.fd, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(ring_producer_attach(&pair.p, pair.fd, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(ring_consumer_attach(&pair.c, pair.fd, &err), WEIR_OK, "%s", err.text);
    return pair;
}

static void free_pair(struct pair *pair)
{
    ring_producer_detach(&pair->p);
    ring_consumer_detach(&pair->c);
    close(pair->fd);
}

/* ---- one side after the other ---- */

Test(ring, an_empty_ring_gives_nothing)
{
    struct pair ring = make_pair(CAPACITY);
    struct ring_frame frame;
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_IDLE);
    cr_assert_not(ring_has_data(&ring.c));
    cr_assert_not(ring_release(&ring.c));
    cr_assert_not(ring_publish(&ring.p));
    free_pair(&ring);
}

Test(ring, what_is_pushed_is_seen_when_it_is_published_and_not_before)
{
    struct pair ring = make_pair(CAPACITY);
    struct ring_frame frame;
    cr_assert(push_frame(&ring.p, 0, 24));
    cr_assert(push_frame(&ring.p, 1, 0));
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_IDLE);
    ring_publish(&ring.p);
    cr_assert(ring_has_data(&ring.c));
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK);
    cr_assert(frame_is(&frame, 0, 24));
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK);
    cr_assert(frame_is(&frame, 1, 0));
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_IDLE);
    free_pair(&ring);
}

/* Positions as a commit record has them: the process died before it had published, or released. */
Test(ring, a_side_that_takes_over_publishes_and_releases_what_the_dead_one_had_committed)
{
    struct pair ring = make_pair(CAPACITY);
    struct ring_producer p;
    struct ring_consumer c;
    struct ring_frame frame;
    cr_assert_eq(ring_producer_attach(&p, ring.fd, NULL), WEIR_OK); /* standbys: before anything has happened */
    cr_assert_eq(ring_consumer_attach(&c, ring.fd, NULL), WEIR_OK);
    cr_assert(push_frame(&ring.p, 0, 24));
    ring_publish(&ring.p);
    cr_assert(push_frame(&ring.p, 1, 24));
    uint64_t head = ring.p.head;
    ring.p.head_published = head; /* killed on its way into ring_publish(), or just behind it */
    cr_assert(push_frame(&ring.p, 2, 24)); /* of the batch that is undone */
    cr_assert_eq(ring_producer_adopt(&p, head, 2, NULL), WEIR_OK);
    ring_publish(&p);
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK);
    uint64_t tail = ring.c.tail;
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK); /* undone as well */
    cr_assert_eq(ring_consumer_adopt(&c, tail, 0, NULL), WEIR_OK);
    ring_release(&c);
    cr_assert_eq(ring_peek(&c, &frame), WEIR_OK);
    cr_assert(frame_is(&frame, 1, 24));
    cr_assert_eq(ring_peek(&c, &frame), WEIR_IDLE, "the undone frame never was");
    cr_assert_eq(atomic_load(&c.shared->tail), tail);
    ring_producer_detach(&p);
    ring_consumer_detach(&c);
    free_pair(&ring);
}

Test(ring, positions_that_contradict_the_ring_are_not_adopted)
{
    struct pair ring = make_pair(CAPACITY);
    struct weir_error err = {0};
    struct ring_frame frame;
    for (uint32_t n = 0; n < 4; n++)
        cr_assert(push_frame(&ring.p, n, 24));
    ring_publish(&ring.p);
    uint64_t head = ring.p.head;
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK);
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK);
    ring_release(&ring.c);
    uint64_t tail = ring.c.tail;
    cr_assert_eq(ring_producer_adopt(&ring.p, head - 8, 4, &err), WEIR_ECORRUPT, "below what is published");
    cr_assert_eq(ring_producer_adopt(&ring.p, tail + CAPACITY + 8, 4, &err), WEIR_ECORRUPT, "more than the ring holds");
    cr_assert_eq(ring_producer_adopt(&ring.p, head + 4, 4, &err), WEIR_ECORRUPT, "between two places");
    cr_assert_eq(ring_consumer_adopt(&ring.c, tail - 8, 0, &err), WEIR_ECORRUPT, "below what is released");
    cr_assert_eq(ring_consumer_adopt(&ring.c, head + 8, 0, &err), WEIR_ECORRUPT, "beyond what is published");
    cr_assert_eq(ring_consumer_adopt(&ring.c, head, 0, &err), WEIR_OK);
    free_pair(&ring);
}

/* ---- runs ---- */

static void push_record(struct pair *ring, uint64_t n, uint32_t size_bytes, uint8_t channel)
{
    unsigned char *payload = ring_claim(&ring->p, size_bytes);
    cr_assert_not_null(payload);
    for (uint32_t i = 0; i < size_bytes; i++)
        payload[i] = byte_at(n, i);
    ring_push(&ring->p, size_bytes, FRAME_RECORD, channel);
}

static void expect_record(struct pair *ring, uint64_t n, uint32_t size_bytes, uint8_t channel)
{
    struct ring_frame frame = {0};
    cr_assert_eq(ring_peek(&ring->c, &frame), WEIR_OK, "record %llu", (unsigned long long)n);
    cr_assert(frame.size_bytes == size_bytes && frame.channel == channel && frame.count == 1 && frame.kind == FRAME_RECORD);
    for (uint32_t i = 0; i < size_bytes; i++)
        cr_assert_eq(((const unsigned char *)frame.payload)[i], byte_at(n, i), "record %llu, byte %u", (unsigned long long)n, i);
}

Test(ring, records_of_one_size_and_channel_share_a_header_until_they_are_published)
{
    struct pair ring = make_pair(CAPACITY);
    push_record(&ring, 0, 20, 3);
    push_record(&ring, 1, 20, 3);
    push_record(&ring, 2, 20, 3);
    cr_expect_eq(ring.p.head, 8u + 3 * 24);
    push_record(&ring, 3, 21, 3); /* another size: 24 bytes in the ring as well */
    cr_expect_eq(ring.p.head, 80u + 8 + 24);
    push_record(&ring, 4, 21, 4); /* another channel: its payload is moved behind a header */
    cr_expect_eq(ring.p.head, 112u + 8 + 24);
    ring_publish(&ring.p);
    push_record(&ring, 5, 21, 4);
    cr_expect_eq(ring.p.head, 144u + 8 + 24, "what is published is not touched again");
    cr_assert_not_null(ring_claim(&ring.p, 0));
    ring_push(&ring.p, 0, FRAME_END, 0);
    push_record(&ring, 6, 21, 4);
    cr_expect_eq(ring.p.head, 176u + 8 + 8 + 24, "nothing joins a run across a control frame");
    push_record(&ring, 7, 0, 4);
    push_record(&ring, 8, 0, 4);
    cr_expect_eq(ring.p.head, 216u + 8 + 8, "empty records have a header each: a position of their own");
    cr_expect_eq(ring.p.record_count, 9u);
    ring_publish(&ring.p);
    for (unsigned n = 0; n < 3; n++)
        expect_record(&ring, n, 20, 3);
    expect_record(&ring, 3, 21, 3);
    expect_record(&ring, 4, 21, 4);
    expect_record(&ring, 5, 21, 4);
    struct ring_frame frame;
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK);
    cr_expect_eq(frame.kind, FRAME_END);
    expect_record(&ring, 6, 21, 4);
    expect_record(&ring, 7, 0, 4);
    expect_record(&ring, 8, 0, 4);
    cr_expect_eq(ring_peek(&ring.c, &frame), WEIR_IDLE);
    cr_expect_eq(ring.c.tail, ring.p.head);
    free_pair(&ring);
}

Test(ring, a_record_that_turns_out_smaller_than_claimed_is_whole)
{
    struct pair ring = make_pair(CAPACITY);
    push_record(&ring, 0, 40, 1);
    for (uint32_t size_bytes = 0; size_bytes <= 40; size_bytes++) { /* claimed as one more of the run */
        unsigned char *payload = ring_claim(&ring.p, 40);
        for (uint32_t i = 0; i < size_bytes; i++)
            payload[i] = byte_at(size_bytes, i);
        ring_push(&ring.p, size_bytes, FRAME_RECORD, 1);
        push_record(&ring, 100, 40, 1);
    }
    ring_publish(&ring.p);
    expect_record(&ring, 0, 40, 1);
    for (uint32_t size_bytes = 0; size_bytes <= 40; size_bytes++) {
        expect_record(&ring, size_bytes, size_bytes, 1);
        expect_record(&ring, 100, 40, 1);
    }
    free_pair(&ring);
}

Test(ring, a_control_frame_claimed_as_one_more_of_a_run_is_whole)
{
    struct pair ring = make_pair(CAPACITY);
    struct ring_frame frame;
    push_record(&ring, 0, 16, 0);
    memset(ring_claim(&ring.p, 16), 7, 16);
    ring_push(&ring.p, 16, FRAME_BARRIER, 0);
    push_record(&ring, 1, 16, 0);
    ring_publish(&ring.p);
    expect_record(&ring, 0, 16, 0);
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK);
    cr_expect(frame.kind == FRAME_BARRIER && frame.size_bytes == 16 && frame.count == 1);
    cr_expect(((const unsigned char *)frame.payload)[0] == 7 && ((const unsigned char *)frame.payload)[15] == 7);
    expect_record(&ring, 1, 16, 0);
    cr_expect_eq(ring.p.record_count, 2u);
    free_pair(&ring);
}

Test(ring, a_run_ends_at_its_longest)
{
    struct pair ring = make_pair(4 * CAPACITY);
    for (unsigned n = 0; n < RING_RUN_MAX + 2; n++)
        push_record(&ring, n, 8, 0);
    cr_expect_eq(ring.p.head, 2 * 8u + (RING_RUN_MAX + 2) * 8);
    cr_assert_not_null(ring_claim_run(&ring.p, 8, RING_RUN_MAX)); /* two are in the run: these do not fit */
    ring_push_run(&ring.p, 8, RING_RUN_MAX, FRAME_RECORD, 0);
    cr_expect_eq(ring.p.head, 3 * 8u + (2 * RING_RUN_MAX + 2) * 8);
    ring_publish(&ring.p);
    struct ring_frame frame;
    cr_assert_eq(ring_peek_run(&ring.c, UINT64_MAX, &frame), WEIR_OK);
    cr_expect_eq(frame.count, RING_RUN_MAX);
    cr_assert_eq(ring_peek_run(&ring.c, UINT64_MAX, &frame), WEIR_OK);
    cr_expect_eq(frame.count, 2u);
    cr_assert_eq(ring_peek_run(&ring.c, UINT64_MAX, &frame), WEIR_OK);
    cr_expect_eq(frame.count, RING_RUN_MAX);
    cr_expect_eq(ring_peek(&ring.c, &frame), WEIR_IDLE);
    free_pair(&ring);
}

Test(ring, a_run_is_read_and_given_back_in_parts_at_every_position_of_the_wrap)
{
    struct pair ring = make_pair(CAPACITY);
    uint64_t random = seed(), pushed = 0, seen = 0;
    while (ring.p.head < 20 * CAPACITY) {
        uint32_t count = 1 + (uint32_t)(next_random(&random) % 200);
        unsigned char *payload = ring_claim_run(&ring.p, 33, count);
        if (payload != NULL) {
            for (uint32_t i = 0; i < count * ring_payload_bytes(33); i++)
                payload[i] = byte_at(pushed + i / 40, i % 40);
            ring_push_run(&ring.p, 33, count, FRAME_RECORD, 0);
            ring_publish(&ring.p);
            pushed += count;
        }
        struct ring_frame frame = {0};
        uint64_t wanted = 1 + next_random(&random) % 150;
        if (ring_peek_run(&ring.c, wanted, &frame) != WEIR_OK)
            continue;
        cr_assert(frame.count > 0 && frame.count <= wanted && frame.size_bytes == 33);
        for (uint32_t i = 0; i < frame.count * ring_payload_bytes(33); i++)
            cr_assert_eq(((const unsigned char *)frame.payload)[i], byte_at(seen + i / 40, i % 40));
        seen += frame.count;
        ring_release(&ring.c);
    }
    cr_expect_gt(seen, 1000u);
    free_pair(&ring);
}

/* As a commit record has it: tail and rest of the run. */
Test(ring, a_consumer_that_takes_over_within_a_run_goes_on_there)
{
    for (uint32_t taken = 0; taken <= 6; taken++) {
        struct pair ring = make_pair(CAPACITY);
        struct ring_frame frame;
        for (unsigned n = 0; n < 5; n++)
            push_record(&ring, n, 13, 2);
        push_record(&ring, 5, 30, 2);
        ring_publish(&ring.p);
        for (uint32_t n = 0; n < taken; n++)
            cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK);
        ring_release(&ring.c);
        uint64_t tail = ring.c.tail, run = ring.c.run;
        cr_expect_eq(run != 0, taken > 0 && taken < 5);
        ring_peek_run(&ring.c, 2, &frame); /* of the batch that is undone */
        ring_consumer_detach(&ring.c);
        cr_assert_eq(ring_consumer_attach(&ring.c, ring.fd, NULL), WEIR_OK);
        cr_assert_eq(ring_consumer_adopt(&ring.c, tail, run, NULL), WEIR_OK);
        for (uint32_t n = taken; n < 6; n++)
            expect_record(&ring, n, n == 5 ? 30 : 13, 2);
        cr_expect_eq(ring_peek(&ring.c, &frame), WEIR_IDLE);
        free_pair(&ring);
    }
}

Test(ring, a_rest_of_a_run_that_contradicts_the_ring_is_not_adopted)
{
    struct pair ring = make_pair(CAPACITY);
    struct weir_error err = {0};
    struct ring_frame frame;
    for (unsigned n = 0; n < 4; n++)
        push_record(&ring, n, 16, 0);
    ring_publish(&ring.p);
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK);
    uint64_t tail = ring.c.tail, run = ring.c.run;
    const uint64_t wrong[] = {ring_header(0, 16, 4, FRAME_RECORD, 0), ring_header(0, 32, 2, FRAME_RECORD, 0),
                              ring_header(0, 16, 0, FRAME_RECORD, 0), ring_header(0, 0, 2, FRAME_RECORD, 0),
                              ring_header(0, 16, 1, FRAME_BARRIER, 0), ring_header(0, 16, 1, 9, 0),
                              ring_header(0, RING_PAYLOAD_BYTES_MAX, RING_RUN_MAX, FRAME_RECORD, 0), UINT64_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_expect_eq(ring_consumer_adopt(&ring.c, tail, wrong[i], &err), WEIR_ECORRUPT, "rest %zu", i);
    cr_expect_eq(ring_consumer_adopt(&ring.c, tail, run, &err), WEIR_OK);
    for (unsigned n = 1; n < 4; n++)
        expect_record(&ring, n, 16, 0);
    free_pair(&ring);
}

/* The producer died after its commit, before it had published: what it wrote is whole, and nothing is added to it. */
Test(ring, a_run_that_was_committed_and_not_published_is_published_as_it_was)
{
    struct pair ring = make_pair(CAPACITY);
    push_record(&ring, 0, 16, 0);
    push_record(&ring, 1, 16, 0);
    uint64_t head = ring.p.head;
    ring_producer_detach(&ring.p);
    cr_assert_eq(ring_producer_attach(&ring.p, ring.fd, NULL), WEIR_OK);
    cr_assert_eq(ring_producer_adopt(&ring.p, head, 2, NULL), WEIR_OK);
    ring_publish(&ring.p);
    push_record(&ring, 2, 16, 0);
    ring_publish(&ring.p);
    for (unsigned n = 0; n < 3; n++)
        expect_record(&ring, n, 16, 0);
    free_pair(&ring);
}

/* ---- sizes and room ---- */

Test(ring, frames_of_every_size_come_through_every_position_of_the_wrap)
{
    struct pair ring = make_pair(CAPACITY);
    struct ring_frame frame;
    for (uint32_t n = 0; n < 20000; n++) {
        uint32_t size_bytes = n % 1200 == 0 ? (uint32_t)(CAPACITY - RING_FRAME_HEADER_BYTES) : n % 1200;
        cr_assert(push_frame(&ring.p, n, size_bytes), "frame %u of %u bytes", n, size_bytes);
        ring_publish(&ring.p);
        cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK);
        cr_assert(frame_is(&frame, n, size_bytes), "frame %u of %u bytes", n, size_bytes);
        ring_release(&ring.c);
    }
    cr_assert_gt(ring.p.head, 10 * CAPACITY, "it went round many times");
    free_pair(&ring);
}

Test(ring, a_full_ring_refuses_a_claim_until_bytes_are_released)
{
    struct pair ring = make_pair(CAPACITY);
    struct ring_frame frame;
    uint64_t count = 0;
    for (; push_frame(&ring.p, count, 56); count++)
        ring_publish(&ring.p); /* each with a header of its own */
    cr_assert_eq(count, CAPACITY / 64);
    cr_assert_null(ring_claim(&ring.p, 0), "not even an empty frame");
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK);
    cr_assert_null(ring_claim(&ring.p, 56), "peeking does not release");
    ring_release(&ring.c);
    cr_assert_not_null(ring_claim(&ring.p, 56));
    cr_assert_null(ring_claim(&ring.p, 57), "only one frame's room");
    free_pair(&ring);
}

Test(ring, a_payload_as_large_as_the_ring_is_refused_without_harm)
{
    struct pair ring = make_pair(CAPACITY);
    cr_assert_null(ring_claim(&ring.p, (uint32_t)CAPACITY));
    cr_assert_null(ring_claim(&ring.p, UINT32_MAX));
    cr_assert_not_null(ring_claim(&ring.p, (uint32_t)CAPACITY - RING_FRAME_HEADER_BYTES));
    cr_assert_eq(atomic_load(&ring.p.shared->poisoned), 0u);
    free_pair(&ring);
}

Test(ring, attaching_again_forgets_what_was_not_published_or_released)
{
    struct pair ring = make_pair(CAPACITY);
    struct ring_frame frame;
    push_frame(&ring.p, 0, 100);
    push_frame(&ring.p, 1, 200);
    ring_publish(&ring.p);
    push_frame(&ring.p, 9, 300); /* lost with its producer */
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK);
    ring_release(&ring.c);
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK); /* peeked, not released: comes again */
    ring_producer_detach(&ring.p);
    ring_consumer_detach(&ring.c);
    cr_assert_eq(ring_producer_attach(&ring.p, ring.fd, NULL), WEIR_OK);
    cr_assert_eq(ring_consumer_attach(&ring.c, ring.fd, NULL), WEIR_OK);
    cr_assert(push_frame(&ring.p, 2, 400));
    ring_publish(&ring.p);
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK);
    cr_assert(frame_is(&frame, 1, 200));
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK);
    cr_assert(frame_is(&frame, 2, 400));
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_IDLE);
    free_pair(&ring);
}

Test(ring, a_reset_ring_is_as_new)
{
    struct pair ring = make_pair(CAPACITY);
    struct ring_frame frame;
    push_frame(&ring.p, 0, 100);
    ring_publish(&ring.p);
    ring_poison(ring.p.shared);
    ring_producer_detach(&ring.p);
    ring_consumer_detach(&ring.c);
    cr_assert_eq(ring_reset(ring.fd, NULL), WEIR_OK);
    cr_assert_eq(ring_producer_attach(&ring.p, ring.fd, NULL), WEIR_OK);
    cr_assert_eq(ring_consumer_attach(&ring.c, ring.fd, NULL), WEIR_OK);
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_IDLE);
    cr_assert_eq(atomic_load(&ring.p.shared->poisoned), 0u);
    cr_assert(push_frame(&ring.p, 7, (uint32_t)CAPACITY - RING_FRAME_HEADER_BYTES), "all of it is free");
    free_pair(&ring);
}

Test(ring, a_reset_mends_a_damaged_control_page)
{
    struct pair ring = make_pair(CAPACITY);
    unsigned char *page = (unsigned char *)ring.p.shared;
    for (size_t i = 0; i < sizeof(struct ring_shared); i++)
        page[i] = (unsigned char)('a' + i % 26);
    ring_producer_detach(&ring.p);
    ring_consumer_detach(&ring.c);
    cr_assert_eq(ring_reset(ring.fd, NULL), WEIR_OK);
    cr_assert_eq(ring_producer_attach(&ring.p, ring.fd, NULL), WEIR_OK);
    cr_assert_eq(ring_consumer_attach(&ring.c, ring.fd, NULL), WEIR_OK);
    cr_assert(push_frame(&ring.p, 0, (uint32_t)CAPACITY - RING_FRAME_HEADER_BYTES));
    free_pair(&ring);
}

Test(ring, only_powers_of_two_within_bounds_are_made)
{
    static const uint64_t wrong[] = {0, 1, 4096, RING_BYTES_MIN - 1, RING_BYTES_MIN / 2, RING_BYTES_MIN + 1, 3 * RING_BYTES_MIN,
                                     2 * RING_BYTES_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct weir_error err = {0};
        int fd = -7;
        cr_assert_eq(ring_create("test", wrong[i], &fd, &err), WEIR_EINVAL, "%llu", (unsigned long long)wrong[i]);
        cr_assert_eq(fd, -7, "results are untouched on failure");
        cr_assert_not_null(strstr(err.text, "power of two"));
    }
}

/* ---- hostile bytes ---- */

Test(ring, a_control_page_that_contradicts_itself_is_not_attached_to)
{
    for (unsigned damage = 0; damage < 9; damage++) {
        struct pair ring = make_pair(CAPACITY);
        struct ring_shared *shared = ring.p.shared;
        switch (damage) {
        case 0: shared->magic++; break;
        case 1: shared->capacity_bytes = 0; break;
        case 2: shared->capacity_bytes = 3 * RING_BYTES_MIN; break;
        case 3: shared->capacity_bytes = UINT64_C(1) << 40; break;
        case 4: atomic_store(&shared->tail, 8); break;                  /* beyond the head */
        case 5: atomic_store(&shared->head, CAPACITY + 8); break;       /* more than the ring holds */
        case 6: atomic_store(&shared->head, 4); break;                  /* not on a frame's boundary */
        case 7: atomic_store(&shared->head, UINT64_MAX - 7); break;
        case 8: shared->capacity_bytes = RING_BYTES_MIN * 2; break;     /* sound, but larger than the memory behind it */
        }
        struct ring_consumer c;
        struct ring_producer p;
        struct weir_error err = {0};
        cr_expect_eq(ring_consumer_attach(&c, ring.fd, &err), WEIR_ECORRUPT, "damage %u", damage);
        cr_expect_eq(ring_producer_attach(&p, ring.fd, &err), WEIR_ECORRUPT, "damage %u", damage);
        free_pair(&ring);
    }
}

/* One published frame of 64 bytes, then its header replaced. */
static int peek_with_header(uint64_t header)
{
    struct pair ring = make_pair(CAPACITY);
    struct ring_frame frame;
    push_frame(&ring.p, 0, 64);
    ring_publish(&ring.p);
    memcpy(ring.p.data, &header, sizeof header);
    int code = ring_peek(&ring.c, &frame);
    cr_assert_eq(atomic_load(&ring.c.shared->poisoned), code == WEIR_ECORRUPT ? 1u : 0u);
    if (code == WEIR_OK)
        cr_assert_leq(frame.size_bytes, 64u, "never more than was published");
    free_pair(&ring);
    return code;
}

Test(ring, a_damaged_header_is_found_before_it_is_used)
{
    uint64_t sound = ring_header(0, 64, 1, FRAME_RECORD, 0);
    cr_assert_eq(peek_with_header(sound), WEIR_OK);
    cr_assert_eq(peek_with_header(ring_header(0, 65, 1, FRAME_RECORD, 0)), WEIR_ECORRUPT, "a size beyond the head");
    cr_assert_eq(peek_with_header(ring_header(0, RING_PAYLOAD_BYTES_MAX, 1, FRAME_RECORD, 0)), WEIR_ECORRUPT, "the largest size");
    cr_assert_eq(peek_with_header(ring_header(0, (uint32_t)CAPACITY, 1, FRAME_RECORD, 0)), WEIR_ECORRUPT);
    cr_assert_eq(peek_with_header(ring_header(0, 32, 2, FRAME_RECORD, 0)), WEIR_OK);
    cr_assert_eq(peek_with_header(ring_header(0, 32, 3, FRAME_RECORD, 0)), WEIR_ECORRUPT, "a run beyond the head");
    cr_assert_eq(peek_with_header(ring_header(0, RING_PAYLOAD_BYTES_MAX, RING_RUN_MAX, FRAME_RECORD, 0)), WEIR_ECORRUPT, "the longest run");
    cr_assert_eq(peek_with_header(ring_header(0, 64, 0, FRAME_RECORD, 0)), WEIR_ECORRUPT, "a run of none");
    cr_assert_eq(peek_with_header(ring_header(0, 0, 2, FRAME_RECORD, 0)), WEIR_ECORRUPT, "a run of empty records");
    cr_assert_eq(peek_with_header(ring_header(0, 32, 2, FRAME_BARRIER, 0)), WEIR_ECORRUPT, "a run of barriers");
    cr_assert_eq(peek_with_header(ring_header(0, 64, 1, FRAME_KIND_COUNT, 0)), WEIR_ECORRUPT, "no such kind");
    cr_assert_eq(peek_with_header(ring_header(0, 64, 1, 15, 0)), WEIR_ECORRUPT);
    cr_assert_eq(peek_with_header(0), WEIR_ECORRUPT, "zeros");
    cr_assert_eq(peek_with_header(UINT64_MAX), WEIR_ECORRUPT, "ones");
    cr_assert_eq(peek_with_header(ring_header(8, 64, 1, FRAME_RECORD, 0)), WEIR_ECORRUPT, "the frame of another position");
    for (unsigned bit = 48; bit < 64; bit++)
        cr_assert_eq(peek_with_header(sound ^ UINT64_C(1) << bit), WEIR_ECORRUPT, "guard bit %u", bit);
    for (unsigned bit = 0; bit < 48; bit++) /* smaller sizes are believed, larger ones are not */
        peek_with_header(sound ^ UINT64_C(1) << bit);
}

Test(ring, a_head_that_lies_is_found)
{
    static const uint64_t lies[] = {4, 12, CAPACITY + 8, 2 * CAPACITY, UINT64_MAX, UINT64_MAX - 7, UINT64_C(1) << 63};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct pair ring = make_pair(CAPACITY);
        struct ring_frame frame;
        push_frame(&ring.p, 0, 64); /* what there is at the tail looks like a frame, and is not published */
        atomic_store(&ring.p.shared->head, lies[i]);
        cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_ECORRUPT, "head %llx", (unsigned long long)lies[i]);
        free_pair(&ring);
    }
}

Test(ring, a_head_that_goes_back_is_found)
{
    struct pair ring = make_pair(CAPACITY);
    struct ring_frame frame;
    for (unsigned i = 0; i < 2; i++)
        push_frame(&ring.p, i, 64);
    ring_publish(&ring.p);
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK);
    ring_release(&ring.c);
    atomic_store(&ring.p.shared->head, 72);
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_ECORRUPT);
    free_pair(&ring);
}

Test(ring, a_tail_that_lies_gives_the_producer_no_room)
{
    static const uint64_t lies[] = {CAPACITY + 64, UINT64_MAX, UINT64_C(1) << 63};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct pair ring = make_pair(CAPACITY);
        uint64_t count = 0;
        atomic_store(&ring.p.shared->tail, lies[i]);
        for (; count < 2 * CAPACITY && push_frame(&ring.p, count, 56); count++)
            ring_publish(&ring.p);
        cr_assert_eq(count, CAPACITY / 64, "not a byte beyond what was free");
        cr_assert_eq(atomic_load(&ring.p.shared->poisoned), 1u, "tail %llx", (unsigned long long)lies[i]);
        free_pair(&ring);
    }
}

/* Between what is published and what is pushed: the reader cannot have read it. */
Test(ring, a_tail_beyond_the_published_head_gives_the_producer_no_room)
{
    struct pair ring = make_pair(CAPACITY);
    uint64_t count = 0;
    while (push_frame(&ring.p, count, 56))
        count++;
    atomic_store(&ring.p.shared->tail, 640);
    cr_assert_not(push_frame(&ring.p, count, 56));
    cr_assert_eq(atomic_load(&ring.p.shared->poisoned), 1u);
    free_pair(&ring);
}

/* Another mapping of the same memory scribbles while the consumer reads: any result is right but a read out of bounds (which a
 * sanitizer or a fault would show), a frame that reaches beyond the ring, or a loop without end. */
struct vandal {
    int fd;
    uint64_t random;
    _Atomic bool stop;
};

static void *scribble(void *arg)
{
    struct vandal *vandal = arg;
    void *address;
    if (region_map(vandal->fd, 0, SHM_PAGE_BYTES + CAPACITY, &address, NULL) != WEIR_OK)
        return NULL;
    unsigned char *bytes = address;
    struct ring_shared *shared = address;
    while (!atomic_load_explicit(&vandal->stop, memory_order_relaxed)) {
        uint64_t random = next_random(&vandal->random);
        uint64_t where = SHM_PAGE_BYTES + (random >> 8) % (CAPACITY - 8);
        switch (random & 7) {
        case 0: atomic_store_explicit(&shared->head, (random >> 40) & ~UINT64_C(7), memory_order_relaxed); break;
        case 1: atomic_fetch_add_explicit(&shared->head, 64, memory_order_relaxed); break;
        case 2: atomic_store_explicit(&shared->tail, random >> 44, memory_order_relaxed); break;
        case 3: atomic_store_explicit((_Atomic uint8_t *)(bytes + where), (uint8_t)random, memory_order_relaxed); break;
        default: atomic_store_explicit((_Atomic uint64_t *)(void *)(bytes + (where & ~UINT64_C(7))), random, memory_order_relaxed);
        }
    }
    region_unmap(address, SHM_PAGE_BYTES + CAPACITY);
    return NULL;
}

/* Reads on until the ring is found corrupt or nothing is left. Returns how many frames were given. */
static uint64_t read_hostile(struct ring_consumer *c)
{
    struct ring_frame frame = {0};
    uint64_t count = 0;
    unsigned sum = 0;
    while (count < 100000) {
        int code = ring_peek(c, &frame);
        if (code != WEIR_OK)
            break;
        count++;
        const unsigned char *payload = frame.payload;
        uint64_t offset = (uint64_t)(payload - c->data);
        cr_assert(offset < 2 * c->capacity_bytes && frame.size_bytes <= c->capacity_bytes &&
                  offset + frame.size_bytes <= 2 * c->capacity_bytes, "a frame beyond the ring");
        if (frame.size_bytes > 0)
            sum += __atomic_load_n(&payload[0], __ATOMIC_RELAXED) + __atomic_load_n(&payload[frame.size_bytes - 1], __ATOMIC_RELAXED);
        ring_release(c);
    }
    cr_assert_geq(sum, 0u);
    return count;
}

Test(ring, random_damage_by_another_process_never_leads_a_reader_out_of_bounds)
{
    struct pair ring = make_pair(CAPACITY);
    struct vandal vandal = {.fd = ring.fd, .random = seed()};
    pthread_t thread;
    uint64_t random = vandal.random ^ 0x5555;
    unsigned corrupt = 0;
    cr_assert_eq(pthread_create(&thread, NULL, scribble, &vandal), 0);
    for (unsigned turn = 0; turn < 20000; turn++) {
        struct ring_consumer c = ring.c;
        c.tail = c.tail_released = c.head_cached = (next_random(&random) >> 45) & ~UINT64_C(7);
        read_hostile(&c);
        corrupt += atomic_exchange(&ring.c.shared->poisoned, 0) != 0;
        struct ring_producer p = ring.p;
        p.head = p.head_published = p.tail_cached = (next_random(&random) >> 45) & ~UINT64_C(7);
        for (unsigned i = 0; i < 4; i++) {
            unsigned char *payload = ring_claim(&p, (uint32_t)(next_random(&random) % CAPACITY));
            cr_assert(payload == NULL || (payload >= p.data && payload < p.data + 2 * CAPACITY));
            if (payload == NULL)
                break;
            p.head += 64;
        }
    }
    atomic_store(&vandal.stop, true);
    pthread_join(thread, NULL);
    cr_assert_gt(corrupt, 0u, "the damage was noticed now and then");
    free_pair(&ring);
}

/* ---- hostile peers (F23, F24) ---- */

/* Both sides of a ring, a producer that was replaced and does not know it, and whoever edits their memory. */
struct hostile {
    struct pair ring;
    struct ring_producer stale;
    uint64_t random;
    uint64_t frames, poisonings;
};

static uint64_t pick(struct hostile *h, uint64_t count) { return (next_random(&h->random) >> 16) % count; }

/* A value that is likely to matter, given what is there and where the other position is. */
static uint64_t edge_value(struct hostile *h, uint64_t now, uint64_t other)
{
    const uint64_t values[] = {0, 8, now + 8, now - 8, now + 4, now + CAPACITY, now + CAPACITY + 8, now - CAPACITY,
                               other, other + 8, other - 8, other + CAPACITY, other + CAPACITY + 8, other - CAPACITY - 8,
                               UINT64_MAX, UINT64_MAX - 7,
                               UINT64_C(1) << 63, next_random(&h->random), next_random(&h->random) & ~UINT64_C(7)};
    return values[pick(h, sizeof values / sizeof values[0])];
}

/* The header of the frame that the consumer reads next: sizes just within and just beyond what is published or the ring holds. */
static void edit_header(struct hostile *h)
{
    struct ring_consumer *c = &h->ring.c;
    uint64_t left = atomic_load(&c->shared->head) - c->tail;
    const uint64_t sizes[] = {0, 1, left - 9, left - 8, left - 7, left, left + 8, CAPACITY - 8, CAPACITY, 2 * CAPACITY,
                              RING_PAYLOAD_BYTES_MAX, RING_PAYLOAD_BYTES_MAX - 7, left / 2 - 8, left / 2 - 4, left / 3};
    const uint32_t counts[] = {1, 1, 1, 0, 2, 3, RING_RUN_MAX};
    uint64_t size_bytes = sizes[pick(h, sizeof sizes / sizeof sizes[0])] & RING_SIZE_MASK;
    uint32_t count = counts[pick(h, sizeof counts / sizeof counts[0])];
    uint64_t pos = pick(h, 4) == 0 ? next_random(&h->random) : c->tail;
    uint64_t header = ring_header(pos, (uint32_t)size_bytes, count, (uint8_t)pick(h, FRAME_KIND_COUNT + 1), (uint8_t)pick(h, 256));
    memcpy((void *)(uintptr_t)(c->data + (c->tail & c->index_mask)), &header, sizeof header);
}

static void edit(struct hostile *h)
{
    struct ring_shared *shared = h->ring.p.shared;
    uint64_t head = atomic_load(&shared->head), tail = atomic_load(&shared->tail);
    switch (pick(h, 6)) {
    case 0: atomic_store(&shared->head, edge_value(h, head, tail)); break;
    case 1: atomic_store(&shared->tail, edge_value(h, tail, head)); break;
    case 2: atomic_store(&shared->space_wanted, edge_value(h, tail, head)); break;
    case 3: atomic_store(&shared->data_wanted, (uint32_t)next_random(&h->random)); break;
    case 4: edit_header(h); break;
    default: /* any byte of the control page or the data */
        ((unsigned char *)shared)[pick(h, SHM_PAGE_BYTES + CAPACITY)] = (unsigned char)next_random(&h->random);
    }
}

static void produce_some(struct hostile *h, struct ring_producer *p)
{
    uint32_t size_bytes = (uint32_t)(pick(h, 2) == 0 ? 40 : pick(h, pick(h, 8) == 0 ? CAPACITY : 600));
    uint32_t count = 1 + (uint32_t)(pick(h, 4) == 0 ? pick(h, 40) : 0);
    unsigned char *payload = ring_claim_run(p, size_bytes, count);
    if (payload != NULL) {
        uint64_t bytes = ring_payload_bytes(size_bytes) * count;
        cr_assert(payload >= p->data && payload + bytes <= p->data + 2 * CAPACITY, "a claim beyond the ring");
        memset(payload, 7, bytes);
        ring_push_run(p, size_bytes, count, FRAME_RECORD, (uint8_t)pick(h, 2));
    }
    if (pick(h, 2) == 0)
        ring_publish(p);
}

/* Attaching is refused where the page contradicts itself, so the launcher's reset goes before. */
static void start_again(struct hostile *h)
{
    h->poisonings++;
    ring_producer_detach(&h->ring.p);
    ring_consumer_detach(&h->ring.c);
    ring_producer_detach(&h->stale);
    cr_assert_eq(ring_reset(h->ring.fd, NULL), WEIR_OK);
    cr_assert_eq(ring_producer_attach(&h->ring.p, h->ring.fd, NULL), WEIR_OK);
    cr_assert_eq(ring_producer_attach(&h->stale, h->ring.fd, NULL), WEIR_OK);
    cr_assert_eq(ring_consumer_attach(&h->ring.c, h->ring.fd, NULL), WEIR_OK);
}

static void consume_some(struct hostile *h)
{
    struct ring_consumer *c = &h->ring.c;
    struct ring_frame frame = {0};
    unsigned sum = 0;
    int code = WEIR_OK;
    for (unsigned i = 0; i < 8 && code == WEIR_OK; i++) {
        uint64_t count_max = 1 + (pick(h, 2) == 0 ? pick(h, 50) : 0);
        code = ring_peek_run(c, count_max, &frame);
        if (code != WEIR_OK)
            break;
        uint64_t offset = (uint64_t)((const unsigned char *)frame.payload - c->data);
        uint64_t bytes = ring_payload_bytes(frame.size_bytes) * frame.count;
        cr_assert(offset + bytes <= 2 * CAPACITY && bytes <= CAPACITY && frame.kind < FRAME_KIND_COUNT && frame.count > 0 &&
                      frame.count <= count_max, "a frame beyond the ring");
        for (uint64_t j = 0; j < bytes; j += 64)
            sum += ((const unsigned char *)frame.payload)[j];
        h->frames++;
    }
    cr_assert(code == WEIR_OK || code == WEIR_IDLE || (code == WEIR_ECORRUPT && atomic_load(&c->shared->poisoned) == 1),
              "code %d, sum %u", code, sum);
    ring_release(c);
}

#define HOSTILE_STEPS 400000u

/* F23, F24: positions that go back, that lie by a frame or by a ring, sizes at every edge, a stale producer that goes on
 * publishing: any outcome is right but a byte outside the ring, a code that does not exist, or a ring that cannot be used again
 * after a reset. */
Test(ring, F23_F24_structured_edits_between_any_two_steps_never_lead_out_of_the_ring)
{
    struct hostile h = {.ring = make_pair(CAPACITY), .random = seed()};
    cr_assert_eq(ring_producer_attach(&h.stale, h.ring.fd, NULL), WEIR_OK);
    for (unsigned step = 0; step < HOSTILE_STEPS; step++) {
        uint64_t what = pick(&h, 64);
        if (what == 0)
            edit(&h);
        else if (what == 1)
            produce_some(&h, &h.stale);
        else if (what < 34)
            produce_some(&h, &h.ring.p);
        else
            consume_some(&h);
        if (atomic_load(&h.ring.p.shared->poisoned) != 0 || step % 4096 == 4095)
            start_again(&h);
    }
    fprintf(stderr, "%u steps, %llu frames, started again %llu times\n", HOSTILE_STEPS, (unsigned long long)h.frames,
            (unsigned long long)h.poisonings);
    cr_expect_gt(h.frames, HOSTILE_STEPS / 10, "frames did pass");
    cr_expect_gt(h.poisonings, HOSTILE_STEPS / 2000, "and the damage was noticed");
    ring_producer_detach(&h.stale);
    free_pair(&h.ring);
}

/* F23: the header is one of a frame that is there, or of one that reaches far beyond the ring, in quick turns. */
static void *flip_header(void *arg)
{
    struct vandal *vandal = arg;
    void *address;
    if (region_map(vandal->fd, 0, SHM_PAGE_BYTES + CAPACITY, &address, NULL) != WEIR_OK)
        return NULL;
    _Atomic uint64_t *header = (void *)((char *)address + SHM_PAGE_BYTES);
    while (!atomic_load_explicit(&vandal->stop, memory_order_relaxed)) {
        atomic_store_explicit(header, ring_header(0, 64, 1, FRAME_RECORD, 0), memory_order_relaxed);
        atomic_store_explicit(header, ring_header(0, RING_PAYLOAD_BYTES_MAX - 64, 1, FRAME_RECORD, 0), memory_order_relaxed);
    }
    region_unmap(address, SHM_PAGE_BYTES + CAPACITY);
    return NULL;
}

Test(ring, F23_a_header_that_changes_while_it_is_read_is_read_once)
{
    struct pair ring = make_pair(CAPACITY);
    struct vandal vandal = {.fd = ring.fd};
    pthread_t thread;
    unsigned sound = 0, corrupt = 0;
    push_frame(&ring.p, 0, 64);
    ring_publish(&ring.p);
    cr_assert_eq(pthread_create(&thread, NULL, flip_header, &vandal), 0);
    int64_t deadline_ns = now_ns() + DEADLINE_NS;
    while ((sound + corrupt < 200000 || sound == 0 || corrupt == 0) && now_ns() < deadline_ns) {
        struct ring_consumer c = ring.c;
        struct ring_frame frame = {0};
        int code = ring_peek(&c, &frame);
        cr_assert(code == WEIR_ECORRUPT || (code == WEIR_OK && frame.size_bytes == 64 && c.tail == 72), "size %u",
                  frame.size_bytes);
        sound += code == WEIR_OK;
        corrupt += code != WEIR_OK;
    }
    atomic_store(&vandal.stop, true);
    pthread_join(thread, NULL);
    cr_expect(sound > 0 && corrupt > 0, "both were seen: %u, %u", sound, corrupt);
    free_pair(&ring);
}

Test(ring, F24_a_tail_that_goes_back_gives_no_room_twice)
{
    struct pair ring = make_pair(CAPACITY);
    struct ring_frame frame;
    for (unsigned i = 0; i < 2 * CAPACITY / 64; i++) { /* once round, and released */
        cr_assert(push_frame(&ring.p, i, 56));
        ring_publish(&ring.p);
        cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK);
        ring_release(&ring.c);
    }
    uint64_t tail = atomic_load(&ring.p.shared->tail), count = 0;
    atomic_store(&ring.p.shared->tail, tail - CAPACITY / 2);
    while (count < CAPACITY && push_frame(&ring.p, count, 56))
        count++;
    cr_expect_leq(count, CAPACITY / 64, "not a byte beyond what was free");
    free_pair(&ring);
}

/* Neither side can be made to wait without an end, nor to believe that something is there. */
Test(ring, F24_a_peer_that_never_advances_costs_bounded_waits_only)
{
    struct traffic t = make_traffic(seed(), 1, 1, 8);
    struct ring_producer p;
    struct ring_consumer c;
    struct ring_frame frame;
    cr_assert_eq(ring_producer_attach(&p, t.fd, NULL), WEIR_OK);
    cr_assert_eq(ring_consumer_attach(&c, t.fd, NULL), WEIR_OK);
    for (unsigned i = 0; i < 20; i++) {
        cr_assert_eq(ring_peek(&c, &frame), WEIR_IDLE);
        atomic_store(&c.shared->data_wanted, 1);
        doorbell_prepare(&t.bells->consumer, DOORBELL_SLEEPING);
        cr_assert_not(ring_has_data(&c));
        cr_assert_not(doorbell_wait(&t.bells->consumer, 1000000));
    }
    while (push_frame(&p, 0, 56))
        continue;
    ring_and_wake(ring_publish(&p), &t.bells->consumer);
    for (unsigned i = 0; i < 20; i++) {
        cr_assert_null(ring_claim(&p, 56));
        atomic_store(&p.shared->space_wanted, p.head + 64 - p.capacity_bytes);
        doorbell_prepare(&t.bells->producer, DOORBELL_SLEEPING);
        cr_assert_not(ring_refresh_tail(&p, 64));
        cr_assert_not(doorbell_wait(&t.bells->producer, 1000000));
    }
    cr_expect_eq(atomic_load(&p.shared->poisoned), 0u, "slow is not wrong");
    ring_producer_detach(&p);
    ring_consumer_detach(&c);
    free_traffic(&t);
}

/* F26: what the model tests/model/ring.pml has for states: a wish stays until its owner has found what it wanted. */
Test(ring, F26_a_wish_is_cleared_by_its_owner_alone)
{
    struct pair ring = make_pair(CAPACITY);
    struct ring_frame frame;
    atomic_store(&ring.c.shared->data_wanted, 1);
    push_frame(&ring.p, 0, 56);
    cr_expect(ring_publish(&ring.p));
    push_frame(&ring.p, 1, 56);
    cr_expect(ring_publish(&ring.p), "still wanted: nobody has looked");
    cr_expect_eq(ring_peek(&ring.c, &frame), WEIR_OK);
    cr_expect_eq(atomic_load(&ring.c.shared->data_wanted), 0u);
    push_frame(&ring.p, 2, 56);
    cr_expect_not(ring_publish(&ring.p));
    atomic_store(&ring.p.shared->space_wanted, 64);
    cr_expect(ring_release(&ring.c));
    cr_expect_eq(ring_peek(&ring.c, &frame), WEIR_OK);
    cr_expect(ring_release(&ring.c), "still wanted");
    cr_expect(ring_refresh_tail(&ring.p, 64));
    cr_expect_eq(atomic_load(&ring.p.shared->space_wanted), 0u);
    free_pair(&ring);
}

/* Where it is known that the other side never sleeps, nobody asks to be rung; positions are published all the same. */
Test(ring, a_side_that_polls_is_never_rung)
{
    struct pair ring = make_pair(CAPACITY);
    struct ring_frame frame;
    ring.p.reader_polls = ring.c.writer_polls = true;
    atomic_store(&ring.c.shared->data_wanted, 1);
    atomic_store(&ring.p.shared->space_wanted, 64);
    push_frame(&ring.p, 0, 56);
    cr_expect_not(ring_publish(&ring.p));
    cr_expect_eq(ring_peek(&ring.c, &frame), WEIR_OK);
    cr_expect_not(ring_release(&ring.c));
    cr_expect(ring_refresh_tail(&ring.p, CAPACITY), "what was read is free");
    free_pair(&ring);
}

/* ---- both sides at once ---- */

static void run_threads(struct traffic t)
{
    pthread_t thread;
    void *result;
    cr_assert_eq(pthread_create(&thread, NULL, produce_thread, &t), 0);
    int consumed = consume(&t);
    cr_assert_eq(consumed, 0, "the consumer failed at line %d", consumed);
    cr_assert_eq(pthread_join(thread, &result), 0);
    cr_assert_eq((intptr_t)result, 0, "the producer failed at line %d", (int)(intptr_t)result);
    free_traffic(&t);
}

static void run_processes(struct traffic t)
{
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0)
        _exit(produce(&t) == 0 ? 0 : 1);
    int consumed = consume(&t), status;
    if (consumed != 0)
        kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    cr_assert_eq(consumed, 0, "the consumer failed at line %d", consumed);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the producer failed");
    free_traffic(&t);
}

Test(ring, a_million_frames_pass_between_two_threads_in_order) { run_threads(make_traffic(seed(), 1000000, 64, 200)); }
Test(ring, a_million_frames_pass_between_two_processes_in_order) { run_processes(make_traffic(seed(), 1000000, 64, 200)); }
Test(ring, large_frames_pass_between_two_processes) { run_processes(make_traffic(seed(), 20000, 2, 30000)); }

Test(ring, no_wake_up_is_lost_over_many_parks)
{
    struct traffic t = make_traffic(seed(), 200000, 1, 8);
    t.park_every = 100;
    struct bells *bells = t.bells;
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0)
        _exit(produce(&t) == 0 ? 0 : 1);
    int64_t begun_ns = now_ns();
    int consumed = consume(&t), status;
    if (consumed != 0)
        kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    cr_assert_eq(consumed, 0, "the consumer failed at line %d", consumed);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cr_assert_lt(now_ns() - begun_ns, PARK_NS, "a lost wake-up costs the whole bounded wait");
    cr_assert_geq(atomic_load(&bells->parks), 2000u, "it did park: %llu times", (unsigned long long)atomic_load(&bells->parks));
    free_traffic(&t);
}

/* A producer that is killed anywhere leaves a ring from which whole frames can be read to its published end. */
Test(ring, a_killed_producer_leaves_only_whole_frames)
{
    uint64_t random = seed();
    for (unsigned round = 0; round < 100; round++) {
        struct traffic t = make_traffic(next_random(&random), UINT64_MAX, 16, 100);
        struct ring_consumer c;
        struct ring_frame frame;
        cr_assert_eq(ring_consumer_attach(&c, t.fd, NULL), WEIR_OK);
        pid_t pid = fork();
        cr_assert_geq(pid, 0);
        if (pid == 0)
            _exit(produce(&t) == 0 ? 0 : 1);
        uint64_t n = 0, kill_at = next_random(&random) % 3000;
        int code = WEIR_IDLE;
        bool killed = false;
        while (!killed || code == WEIR_OK) {
            code = ring_peek(&c, &frame);
            if (code == WEIR_OK) {
                cr_assert(frame_is(&frame, n, frame_size(t.seed, n, t.size_max)), "frame %llu", (unsigned long long)n);
                n++;
                ring_and_wake(ring_release(&c), &t.bells->producer);
            }
            cr_assert_neq(code, WEIR_ECORRUPT);
            if (n >= kill_at && !killed) {
                kill(pid, SIGKILL);
                waitpid(pid, NULL, 0);
                killed = true;
                code = WEIR_OK; /* what it published is still to come */
            }
        }
        struct ring_producer p; /* and a successor goes on at once */
        cr_assert_eq(ring_producer_attach(&p, t.fd, NULL), WEIR_OK);
        cr_assert(push_frame(&p, 5, 50));
        ring_publish(&p);
        cr_assert_eq(ring_peek(&c, &frame), WEIR_OK);
        cr_assert(frame_is(&frame, 5, 50));
        ring_producer_detach(&p);
        ring_consumer_detach(&c);
        free_traffic(&t);
    }
}
