/*
 * ck.c - Concurrency Kit's ck_ring between two processes: records inline (CK_RING_PROTOTYPE), written in place (reserve, commit),
 * copied out (it has no read in place). It has no batches: a batch is so many single operations.
 */
#include "job.h"

#include <ck_ring.h>

#define RECORD(SIZE)            \
    struct record##SIZE {       \
        uint64_t words[SIZE / 8]; \
    };                          \
    CK_RING_PROTOTYPE(r##SIZE, record##SIZE)

RECORD(16)
RECORD(64)
RECORD(256)
RECORD(1024)

/* ck_ring keeps the two sides' positions on lines of their own; the records follow on a line of theirs. */
struct queue {
    ck_ring_t ring __attribute__((aligned(64)));
    unsigned char records[] __attribute__((aligned(64)));
};

static void *make(const struct job *job)
{
    struct queue *queue = job_shared_memory(sizeof *queue + job->ring_bytes);
    ck_ring_init(&queue->ring, (unsigned)(job->ring_bytes / job->size_bytes));
    return queue;
}

static void wait_for_room(struct queue *queue, const struct job *job)
{
    uint64_t room = job_room(job, 1);
    while (ck_ring_capacity(&queue->ring) - 1 - ck_ring_size(&queue->ring) < room)
        __builtin_ia32_pause();
}

#define QUEUE_OF(SIZE)                                                                                                        \
    static void produce##SIZE(void *at, const struct job *job)                                                              \
    {                                                                                                                       \
        struct queue *queue = at;                                                                                           \
        for (uint64_t i = 0; i < job->count; i++) {                                                                         \
            struct record##SIZE *record;                                                                                    \
            while ((record = ck_ring_enqueue_reserve_spsc_r##SIZE(&queue->ring, (void *)queue->records)) == NULL)           \
                wait_for_room(queue, job);                                                                                  \
            job_fill(record, SIZE, i);                                                                                      \
            ck_ring_enqueue_commit_spsc(&queue->ring);                                                                     \
        }                                                                                                                   \
    }                                                                                                                       \
    static uint64_t consume##SIZE(void *at, const struct job *job)                                                          \
    {                                                                                                                       \
        struct queue *queue = at;                                                                                           \
        uint64_t sum = 0;                                                                                                   \
        for (uint64_t i = 0; i < job->count; i++) {                                                                         \
            struct record##SIZE record;                                                                                     \
            while (!ck_ring_dequeue_spsc_r##SIZE(&queue->ring, (void *)queue->records, &record))                            \
                job_idle(job);                                                                                              \
            sum += job_sum(&record, SIZE);                                                                                  \
        }                                                                                                                   \
        return sum;                                                                                                         \
    }

QUEUE_OF(16)
QUEUE_OF(64)
QUEUE_OF(256)
QUEUE_OF(1024)

static void send64(void *at, uint64_t number)
{
    struct queue *queue = at;
    struct record64 *record;
    while ((record = ck_ring_enqueue_reserve_spsc_r64(&queue->ring, (void *)queue->records)) == NULL)
        __builtin_ia32_pause();
    job_fill(record, 64, number);
    ck_ring_enqueue_commit_spsc(&queue->ring);
}

static uint64_t receive64(void *at)
{
    struct queue *queue = at;
    struct record64 record;
    while (!ck_ring_dequeue_spsc_r64(&queue->ring, (void *)queue->records, &record))
        __builtin_ia32_pause();
    return job_sum(&record, 64);
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
