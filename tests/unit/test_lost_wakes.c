/*
 * test_lost_wakes.c - the instant in which a wake-up can be lost: one side says that it will sleep and looks once more, the other
 * makes the thing true and looks whether somebody sleeps. Each must see the other at least once. Two threads meet right before
 * it, again and again, on two processors: without a full fence on either side both look too early now and then (store buffering).
 */
#include "shm/ring.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#define ROUNDS 400000u
#define FRAME_BYTES 56u

TestSuite(lost_wakes, .timeout = 1200);

struct litmus {
    _Atomic uint64_t sleeper_round, waker_round; /* how far each has come; three a round */
    bool (*look)(struct litmus *, uint64_t n); /* the sleeper's part: whether it saw that it need not sleep */
    bool (*begin)(struct litmus *);            /* the waker, before they meet */
    bool (*wake)(struct litmus *, uint64_t n); /* its part: whether it saw that somebody sleeps */
    bool (*rung)(const struct litmus *);       /* or whether it was woken, when both are done */
    void (*settle)(struct litmus *);
    const volatile void *sleeper_looks_at, *waker_looks_at; /* in their caches when they meet, so that neither waits for it */
    unsigned processors[2];
    bool begun, told;
    _Alignas(64) struct doorbell bell;
    _Alignas(64) _Atomic uint64_t flag;
    struct ring_producer p;
    struct ring_consumer c;
};

/* On a processor of its own; else they take turns, and never look at the same time. */
static bool choose_processors(struct litmus *l)
{
    cpu_set_t allowed;
    unsigned count = 0;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return false;
    for (unsigned i = 0; i < CPU_SETSIZE && count < 2; i++)
        if (CPU_ISSET(i, &allowed))
            l->processors[count++] = i;
    return count == 2;
}

static void pin(unsigned processor)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void meet(_Atomic uint64_t *mine, const _Atomic uint64_t *other, uint64_t n)
{
    atomic_store_explicit(mine, n, memory_order_release);
    for (unsigned spins = 0; atomic_load_explicit(other, memory_order_acquire) < n; spins++)
        if (spins % 1024 == 1023)
            sched_yield();
}

/* A few instructions more or less, so that every order of the two comes up. */
static void wait_a_little(uint64_t n)
{
    for (volatile uint64_t i = 0; i < n; i++)
        continue;
}

static void *wake_thread(void *arg)
{
    struct litmus *l = arg;
    pin(l->processors[1]);
    for (uint64_t n = 1; n <= ROUNDS; n++) {
        meet(&l->waker_round, &l->sleeper_round, 3 * n - 2);
        l->begun = l->begin(l);
        (void)*(const volatile unsigned char *)l->waker_looks_at;
        meet(&l->waker_round, &l->sleeper_round, 3 * n - 1);
        wait_a_little(n / 16 % 16);
        l->told = l->wake(l, n);
        meet(&l->waker_round, &l->sleeper_round, 3 * n);
    }
    return NULL;
}

static void run(struct litmus *l)
{
    pthread_t thread;
    uint64_t lost = 0;
    if (!choose_processors(l))
        cr_skip_test("one processor only: two threads never look at the same time");
    cr_assert_eq(pthread_create(&thread, NULL, wake_thread, l), 0);
    pin(l->processors[0]);
    for (uint64_t n = 1; n <= ROUNDS; n++) {
        meet(&l->sleeper_round, &l->waker_round, 3 * n - 2);
        (void)*(const volatile unsigned char *)l->sleeper_looks_at;
        meet(&l->sleeper_round, &l->waker_round, 3 * n - 1);
        wait_a_little(n % 16);
        bool saw = l->look(l, n);
        meet(&l->sleeper_round, &l->waker_round, 3 * n);
        cr_assert(l->begun);
        lost += !saw && !l->told && !l->rung(l);
        l->settle(l);
    }
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(lost, 0u, "%llu of %u wake-ups lost", (unsigned long long)lost, ROUNDS);
}

/* ---- a doorbell ---- */

static bool nothing_to_begin(struct litmus *l)
{
    (void)l;
    return true;
}

static bool bell_look(struct litmus *l, uint64_t n)
{
    doorbell_prepare(&l->bell, DOORBELL_SLEEPING);
    return atomic_load_explicit(&l->flag, memory_order_acquire) == n;
}

static bool bell_wake(struct litmus *l, uint64_t n)
{
    atomic_store_explicit(&l->flag, n, memory_order_release);
    doorbell_ring(&l->bell, -1);
    return false; /* the bell's state tells, when both are done */
}

static bool bell_rung(const struct litmus *l) { return atomic_load(&l->bell.state) == DOORBELL_AWAKE; }

static void bell_settle(struct litmus *l) { doorbell_cancel(&l->bell); }

static bool never_rung(const struct litmus *l)
{
    (void)l;
    return false;
}

/* ---- a ring: new frames, and room for them ---- */

static bool push_frame(struct litmus *l)
{
    if (ring_claim(&l->p, FRAME_BYTES) == NULL)
        return false;
    ring_push(&l->p, FRAME_BYTES, FRAME_RECORD, 0);
    return true;
}

static bool data_look(struct litmus *l, uint64_t n)
{
    (void)n;
    atomic_store_explicit(&l->c.shared->data_wanted, 1, memory_order_relaxed);
    doorbell_prepare(&l->bell, DOORBELL_SLEEPING);
    return ring_has_data(&l->c);
}

static bool data_wake(struct litmus *l, uint64_t n)
{
    (void)n;
    return ring_publish(&l->p);
}

static void data_settle(struct litmus *l)
{
    struct ring_frame frame;
    cr_assert_eq(ring_peek(&l->c, &frame), WEIR_OK);
    (void)ring_release(&l->c);
    atomic_store(&l->c.shared->data_wanted, 0);
}

static bool room_look(struct litmus *l, uint64_t n)
{
    (void)n;
    uint64_t frame_bytes = ring_frame_bytes(FRAME_BYTES);
    atomic_store_explicit(&l->p.shared->space_wanted, l->p.head + frame_bytes - l->p.capacity_bytes, memory_order_relaxed);
    doorbell_prepare(&l->bell, DOORBELL_SLEEPING);
    return ring_refresh_tail(&l->p, frame_bytes);
}

static bool room_begin(struct litmus *l)
{
    struct ring_frame frame;
    return ring_peek(&l->c, &frame) == WEIR_OK;
}

static bool room_wake(struct litmus *l, uint64_t n)
{
    (void)n;
    return ring_release(&l->c);
}

static void room_settle(struct litmus *l)
{
    cr_assert(push_frame(l));
    (void)ring_publish(&l->p);
    atomic_store(&l->p.shared->space_wanted, 0);
}

static void attach(struct litmus *l)
{
    int fd;
    cr_assert_eq(ring_create("test", RING_BYTES_MIN, &fd, NULL), WEIR_OK);
    cr_assert_eq(ring_producer_attach(&l->p, fd, NULL), WEIR_OK);
    cr_assert_eq(ring_consumer_attach(&l->c, fd, NULL), WEIR_OK);
    close(fd);
}

Test(lost_wakes, an_owner_that_goes_to_sleep_is_rung_or_sees_what_it_waits_for)
{
    static struct litmus l = {
        .look = bell_look, .begin = nothing_to_begin, .wake = bell_wake, .rung = bell_rung, .settle = bell_settle};
    l.sleeper_looks_at = &l.flag;
    l.waker_looks_at = &l.bell.state;
    run(&l);
}

Test(lost_wakes, a_reader_that_goes_to_sleep_is_seen_or_sees_the_frame)
{
    static struct litmus l = {
        .look = data_look, .begin = push_frame, .wake = data_wake, .rung = never_rung, .settle = data_settle};
    attach(&l);
    l.sleeper_looks_at = &l.c.shared->head;
    l.waker_looks_at = &l.p.shared->data_wanted;
    run(&l);
}

Test(lost_wakes, a_writer_that_goes_to_sleep_is_seen_or_sees_the_room)
{
    static struct litmus l = {
        .look = room_look, .begin = room_begin, .wake = room_wake, .rung = never_rung, .settle = room_settle};
    attach(&l);
    while (push_frame(&l))
        (void)ring_publish(&l.p); /* each with a header of its own */
    l.sleeper_looks_at = &l.p.shared->tail;
    l.waker_looks_at = &l.c.shared->space_wanted;
    run(&l);
}
