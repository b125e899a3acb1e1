/*
 * test_ring.c - the byte ring: one side after the other, hostile bytes, and both sides at once, as two threads and as two
 * processes.
 */
#include "unit/ring_traffic.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <sys/wait.h>

TestSuite(ring, .timeout = 120);

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
    cr_assert(push_frame(&ring.p, 2, 24)); /* of the batch that is undone */
    cr_assert_eq(ring_producer_adopt(&p, head, 2, NULL), WEIR_OK);
    ring_publish(&p);
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK);
    uint64_t tail = ring.c.tail;
    cr_assert_eq(ring_peek(&ring.c, &frame), WEIR_OK); /* undone as well */
    cr_assert_eq(ring_consumer_adopt(&c, tail, NULL), WEIR_OK);
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
    cr_assert_eq(ring_consumer_adopt(&ring.c, tail - 8, &err), WEIR_ECORRUPT, "below what is released");
    cr_assert_eq(ring_consumer_adopt(&ring.c, head + 8, &err), WEIR_ECORRUPT, "beyond what is published");
    cr_assert_eq(ring_consumer_adopt(&ring.c, head, &err), WEIR_OK);
    free_pair(&ring);
}

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
    while (push_frame(&ring.p, count, 56))
        count++;
    cr_assert_eq(count, CAPACITY / 64);
    ring_publish(&ring.p);
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
    uint64_t sound = ring_header(0, 64, FRAME_RECORD, 0);
    cr_assert_eq(peek_with_header(sound), WEIR_OK);
    cr_assert_eq(peek_with_header(ring_header(0, 65, FRAME_RECORD, 0)), WEIR_ECORRUPT, "a size beyond the head");
    cr_assert_eq(peek_with_header(ring_header(0, UINT32_MAX, FRAME_RECORD, 0)), WEIR_ECORRUPT, "a size that wraps");
    cr_assert_eq(peek_with_header(ring_header(0, (uint32_t)CAPACITY, FRAME_RECORD, 0)), WEIR_ECORRUPT);
    cr_assert_eq(peek_with_header(ring_header(0, 64, FRAME_KIND_COUNT, 0)), WEIR_ECORRUPT, "no such kind");
    cr_assert_eq(peek_with_header(ring_header(0, 64, 255, 0)), WEIR_ECORRUPT);
    cr_assert_eq(peek_with_header(ring_header(8, 64, FRAME_RECORD, 0)), WEIR_ECORRUPT, "the frame of another position");
    for (unsigned bit = 48; bit < 64; bit++)
        cr_assert_eq(peek_with_header(sound ^ UINT64_C(1) << bit), WEIR_ECORRUPT, "guard bit %u", bit);
    for (unsigned bit = 0; bit < 32; bit++) /* smaller sizes are believed, larger ones are not */
        peek_with_header(sound ^ UINT64_C(1) << bit);
}

Test(ring, a_head_that_lies_is_found)
{
    static const uint64_t lies[] = {4, 12, CAPACITY + 8, 2 * CAPACITY, UINT64_MAX, UINT64_MAX - 7, UINT64_C(1) << 63};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct pair ring = make_pair(CAPACITY);
        struct ring_frame frame;
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
        while (count < 2 * CAPACITY && push_frame(&ring.p, count, 56))
            count++;
        cr_assert_eq(count, CAPACITY / 64, "not a byte beyond what was free");
        cr_assert_eq(atomic_load(&ring.p.shared->poisoned), 1u, "tail %llx", (unsigned long long)lies[i]);
        free_pair(&ring);
    }
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
    struct traffic t = make_traffic(seed(), 200000, 1, 8); /* published one by one: the consumer parks again and again */
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
    /* A lost wake-up costs the whole bounded wait: the deadline of both sides is the judge. */
    cr_assert_lt(now_ns() - begun_ns, DEADLINE_NS);
    cr_assert_gt(atomic_load(&bells->parks), 10u, "it did park: %llu times", (unsigned long long)atomic_load(&bells->parks));
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
