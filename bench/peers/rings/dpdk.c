/*
 * dpdk.c - DPDK's rte_ring between two processes, single producer and single consumer. Built twice: in place
 * (rte_ring_peek_zc.h), and, with -DCOPYING, records copied in and out. The ring needs no environment of DPDK's (EAL):
 * rte_ring_init() in shared memory of ours.
 */
#include "job.h"

#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <rte_ring_peek_zc.h>

#define BATCH_MAX 32

static void *make(const struct job *job)
{
    unsigned count = (unsigned)(job->ring_bytes / job->size_bytes);
    ssize_t bytes = rte_ring_get_memsize_elem(job->size_bytes, count);
    struct rte_ring *ring = job_shared_memory(bytes > 0 ? (size_t)bytes : 1);
    if (bytes <= 0 || job->batch > BATCH_MAX || rte_ring_init(ring, "ring", count, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0)
        job_fail("rte_ring_init");
    return ring;
}

static void wait_for_room(struct rte_ring *ring, uint64_t room)
{
    while (rte_ring_free_count(ring) < room)
        __builtin_ia32_pause();
}

#ifdef COPYING

JOB_INLINE void put(struct rte_ring *ring, uint32_t size_bytes, uint64_t number, unsigned batch, uint64_t room)
{
    unsigned char records[BATCH_MAX * 1024] __attribute__((aligned(64)));
    for (unsigned i = 0; i < batch; i++)
        job_fill(records + (size_t)i * size_bytes, size_bytes, number + i);
    while (rte_ring_sp_enqueue_bulk_elem(ring, records, size_bytes, batch, NULL) == 0)
        wait_for_room(ring, room);
}

JOB_INLINE unsigned take(struct rte_ring *ring, uint32_t size_bytes, unsigned batch, uint64_t *sum)
{
    unsigned char records[BATCH_MAX * 1024] __attribute__((aligned(64)));
    unsigned got = rte_ring_sc_dequeue_burst_elem(ring, records, size_bytes, batch, NULL);
    for (unsigned i = 0; i < got; i++)
        *sum += job_sum(records + (size_t)i * size_bytes, size_bytes);
    return got;
}

#else

JOB_INLINE void put(struct rte_ring *ring, uint32_t size_bytes, uint64_t number, unsigned batch, uint64_t room)
{
    struct rte_ring_zc_data at;
    while (rte_ring_enqueue_zc_bulk_elem_start(ring, size_bytes, batch, &at, NULL) == 0)
        wait_for_room(ring, room);
    unsigned char *record = at.ptr1;
    for (unsigned i = 0; i < at.n1; i++, record += size_bytes)
        job_fill(record, size_bytes, number + i);
    record = at.ptr2;
    for (unsigned i = at.n1; i < batch; i++, record += size_bytes)
        job_fill(record, size_bytes, number + i);
    rte_ring_enqueue_zc_elem_finish(ring, batch);
}

JOB_INLINE unsigned take(struct rte_ring *ring, uint32_t size_bytes, unsigned batch, uint64_t *sum)
{
    struct rte_ring_zc_data at;
    unsigned got = rte_ring_dequeue_zc_burst_elem_start(ring, size_bytes, batch, &at, NULL);
    if (got == 0)
        return 0;
    const unsigned char *record = at.ptr1;
    for (unsigned i = 0; i < at.n1; i++, record += size_bytes)
        *sum += job_sum(record, size_bytes);
    record = at.ptr2;
    for (unsigned i = at.n1; i < got; i++, record += size_bytes)
        *sum += job_sum(record, size_bytes);
    rte_ring_dequeue_zc_elem_finish(ring, got);
    return got;
}

#endif

JOB_INLINE void produce_batches(struct rte_ring *ring, const struct job *job, uint32_t size_bytes, unsigned batch_most)
{
    uint64_t room = job_room(job, batch_most);
    for (uint64_t sent = 0; sent < job->count;) {
        unsigned batch = job->count - sent < batch_most ? (unsigned)(job->count - sent) : batch_most;
        put(ring, size_bytes, sent, batch, room);
        sent += batch;
    }
}

JOB_INLINE uint64_t consume_batches(struct rte_ring *ring, const struct job *job, uint32_t size_bytes, unsigned batch_most)
{
    uint64_t sum = 0;
    for (uint64_t seen = 0; seen < job->count;) {
        unsigned got = take(ring, size_bytes, batch_most, &sum);
        if (got == 0)
            job_idle(job);
        seen += got;
    }
    return sum;
}

/* The two batches that are measured are constants to the compiler, as they would be in a user's program. */
#define QUEUE_OF(SIZE)                                                                                                      \
    static void produce##SIZE(void *ring, const struct job *job)                                                            \
    {                                                                                                                       \
        if (job->batch == 1)                                                                                                \
            produce_batches(ring, job, SIZE, 1);                                                                            \
        else                                                                                                                \
            produce_batches(ring, job, SIZE, (unsigned)job->batch);                                                         \
    }                                                                                                                       \
    static uint64_t consume##SIZE(void *ring, const struct job *job)                                                        \
    {                                                                                                                       \
        if (job->batch == 1)                                                                                                \
            return consume_batches(ring, job, SIZE, 1);                                                                     \
        return consume_batches(ring, job, SIZE, (unsigned)job->batch);                                                      \
    }

QUEUE_OF(16)
QUEUE_OF(64)
QUEUE_OF(256)
QUEUE_OF(1024)

static void send64(void *ring, uint64_t number)
{
    put(ring, 64, number, 1, 1);
}

static uint64_t receive64(void *ring)
{
    uint64_t sum = 0;
    while (take(ring, 64, 1, &sum) == 0)
        __builtin_ia32_pause();
    return sum;
}

static const struct queue_kind kinds[] = {
    {16, make, produce16, consume16, NULL, NULL},
    {64, make, produce64, consume64, send64, receive64},
    {256, make, produce256, consume256, NULL, NULL},
    {1024, make, produce1024, consume1024, NULL, NULL},
};

int main(int argc, char **argv)
{
    return job_main(argc, argv, true, kinds, sizeof kinds / sizeof kinds[0]);
}
