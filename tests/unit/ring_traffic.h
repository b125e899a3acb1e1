/*
 * ring_traffic.h - the two sides of a ring at work, for test_ring.c (processes, and threads) and test_ring_threads.c (threads, under
 * the thread sanitizer, where Criterion does not run). Size and content of a frame follow from its number: the consumer needs
 * nothing of the producer's to judge them. WEIR_TEST_SEED=n repeats a random run.
 */
#ifndef WEIR_TESTS_RING_TRAFFIC_H
#define WEIR_TESTS_RING_TRAFFIC_H

#include "shm/region.h"
#include "shm/ring.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define CAPACITY RING_BYTES_MIN
#define DEADLINE_NS INT64_C(60000000000)
#define PARK_NS (DEADLINE_NS / 6) /* the bounded wait of a side that nobody wakes */

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint64_t seed(void)
{
    const char *given = getenv("WEIR_TEST_SEED");
    uint64_t value = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    fprintf(stderr, "seed: WEIR_TEST_SEED=%llu\n", (unsigned long long)value);
    return value;
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Stretches of records of one channel, and within them of one size (frame_size()), so that there are runs of many lengths. */
static uint8_t channel_of(uint64_t n) { return (uint8_t)(n / 37); }

/* The content of byte i of frame n. */
static unsigned char byte_at(uint64_t n, uint32_t i) { return (unsigned char)(n * 31 + i * 7 + (i >> 8)); }

static bool push_frame(struct ring_producer *p, uint64_t n, uint32_t size_bytes)
{
    unsigned char *payload = ring_claim(p, size_bytes);
    if (payload == NULL)
        return false;
    for (uint32_t i = 0; i < size_bytes; i++)
        payload[i] = byte_at(n, i);
    ring_push(p, size_bytes, FRAME_RECORD, channel_of(n));
    return true;
}

static bool frame_is(const struct ring_frame *frame, uint64_t n, uint32_t size_bytes)
{
    const unsigned char *payload = frame->payload;
    if (frame->size_bytes != size_bytes || frame->kind != FRAME_RECORD || frame->channel != channel_of(n) || ((uintptr_t)payload & 7) != 0)
        return false;
    for (uint32_t i = 0; i < size_bytes; i++)
        if (payload[i] != byte_at(n, i))
            return false;
    return true;
}

/* How the two sides park: a doorbell each, in memory that both share. */
struct bells {
    struct doorbell consumer, producer;
    _Atomic uint64_t parks;
};

struct traffic {
    int fd;
    uint64_t frames;
    uint64_t seed;
    uint32_t batch_max; /* frames between two publications */
    uint32_t size_max;
    uint32_t park_every; /* after so many frames the producer waits until the consumer sleeps, or is about to; 0: it never does */
    struct bells *bells;
    struct ring_shared *mapping; /* both sides use this one; NULL: each its own, as processes do */
};

static uint32_t frame_size(uint64_t seed_value, uint64_t n, uint32_t size_max)
{
    uint64_t mixed = ((n % 64 < 8 ? n : n / 64) + seed_value) * UINT64_C(0xbf58476d1ce4e5b9);
    return (uint32_t)((mixed >> 33) % (size_max + 1));
}

static void ring_and_wake(bool wanted, struct doorbell *bell)
{
    if (wanted)
        doorbell_ring(bell, -1);
}

/* As a task does it: ask, prepare, look again, sleep. */
static void wait_for_space(struct ring_producer *p, uint32_t size_bytes, struct bells *bells)
{
    atomic_store_explicit(&p->shared->space_wanted, p->head + ring_frame_bytes(size_bytes) - p->capacity_bytes, memory_order_relaxed);
    doorbell_prepare(&bells->producer, DOORBELL_SLEEPING);
    if (ring_refresh_tail(p, ring_frame_bytes(size_bytes)))
        doorbell_cancel(&bells->producer);
    else
        doorbell_wait(&bells->producer, PARK_NS);
}

static void wait_for_data(struct ring_consumer *c, struct bells *bells)
{
    atomic_store_explicit(&c->shared->data_wanted, 1, memory_order_relaxed);
    doorbell_prepare(&bells->consumer, DOORBELL_SLEEPING);
    if (ring_has_data(c))
        doorbell_cancel(&bells->consumer);
    else {
        atomic_fetch_add_explicit(&bells->parks, 1, memory_order_relaxed);
        doorbell_wait(&bells->consumer, PARK_NS);
    }
}

/* False: it never does. */
static bool await_park(const struct bells *bells, uint64_t parks_before, int64_t deadline_ns)
{
    while (atomic_load_explicit(&bells->parks, memory_order_relaxed) == parks_before) {
        if (now_ns() > deadline_ns)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 1000}, NULL);
    }
    return true;
}

/* 0, or the line that went wrong: it runs in other threads and processes, which cannot assert. */
static int produce(const struct traffic *t)
{
    struct ring_producer p;
    int64_t deadline_ns = now_ns() + DEADLINE_NS;
    uint64_t random = t->seed;
    if (ring_producer_attach(&p, t->fd, NULL) != WEIR_OK)
        return __LINE__;
    struct ring_producer attached = p;
    if (t->mapping != NULL) {
        p.shared = t->mapping;
        p.data = (unsigned char *)t->mapping + SHM_PAGE_BYTES;
    }
    uint64_t until_publication = 1;
    for (uint64_t n = 0; n < t->frames; n++) {
        uint32_t size_bytes = frame_size(t->seed, n, t->size_max);
        while (!push_frame(&p, n, size_bytes)) {
            ring_and_wake(ring_publish(&p), &t->bells->consumer);
            wait_for_space(&p, size_bytes, t->bells);
            if (now_ns() > deadline_ns)
                return __LINE__;
        }
        if (--until_publication == 0) {
            uint64_t parks = atomic_load_explicit(&t->bells->parks, memory_order_relaxed);
            ring_and_wake(ring_publish(&p), &t->bells->consumer);
            until_publication = 1 + next_random(&random) % t->batch_max;
            if (t->park_every != 0 && n % t->park_every == 0 && !await_park(t->bells, parks, deadline_ns))
                return __LINE__;
        }
    }
    ring_and_wake(ring_publish(&p), &t->bells->consumer);
    ring_producer_detach(&attached);
    return 0;
}

static int consume(const struct traffic *t)
{
    struct ring_consumer c;
    struct ring_frame frame = {0};
    int64_t deadline_ns = now_ns() + DEADLINE_NS;
    uint64_t random = t->seed * 3, until_release = 1;
    if (ring_consumer_attach(&c, t->fd, NULL) != WEIR_OK)
        return __LINE__;
    struct ring_consumer attached = c;
    if (t->mapping != NULL) {
        c.shared = t->mapping;
        c.data = (const unsigned char *)t->mapping + SHM_PAGE_BYTES;
    }
    for (uint64_t n = 0; n < t->frames;) {
        uint64_t wanted = next_random(&random) % 4 == 0 ? 1 + next_random(&random) % 50 : 1;
        int code = ring_peek_run(&c, wanted, &frame);
        if (code == WEIR_IDLE) {
            ring_and_wake(ring_release(&c), &t->bells->producer);
            wait_for_data(&c, t->bells);
            if (now_ns() > deadline_ns)
                return __LINE__;
            continue;
        }
        if (code != WEIR_OK || frame.count == 0 || frame.count > wanted)
            return __LINE__;
        struct ring_frame one = frame;
        for (uint32_t i = 0; i < frame.count; i++, n++) {
            if (!frame_is(&one, n, frame_size(t->seed, n, t->size_max)))
                return __LINE__;
            one.payload = (const char *)one.payload + ring_payload_bytes(one.size_bytes);
        }
        if (--until_release == 0) {
            ring_and_wake(ring_release(&c), &t->bells->producer);
            until_release = 1 + next_random(&random) % t->batch_max;
        }
    }
    ring_and_wake(ring_release(&c), &t->bells->producer);
    if (ring_peek(&c, &frame) != WEIR_IDLE)
        return __LINE__;
    ring_consumer_detach(&attached);
    return 0;
}

static void *produce_thread(void *arg) { return (void *)(intptr_t)produce(arg); }

static struct traffic make_traffic(uint64_t seed_value, uint64_t frames, uint32_t batch_max, uint32_t size_max)
{
    struct traffic t = {.frames = frames, .seed = seed_value, .batch_max = batch_max, .size_max = size_max};
    int fd;
    void *bells;
    CHECK(ring_create("test", CAPACITY, &t.fd, NULL) == WEIR_OK);
    CHECK(region_create("bells", SHM_PAGE_BYTES, true, &fd, NULL) == WEIR_OK);
    CHECK(region_map(fd, 0, SHM_PAGE_BYTES, &bells, NULL) == WEIR_OK);
    close(fd);
    t.bells = bells;
    return t;
}

static void free_traffic(struct traffic *t)
{
    region_unmap(t->bells, SHM_PAGE_BYTES);
    close(t->fd);
}

#endif
