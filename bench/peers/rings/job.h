/*
 * job.h - the work that every ring peer written in C or C++ does, and how it is timed; for C11 and C++17. The peers in Rust and
 * Java do the same, line by line (rust/src/job.rs, aeron/Rings.java), and so does bench/ring_bench.c for Weir.
 *
 *     PEER stream SIZE BATCH COUNT RING_BYTES EMPTY_PAUSES ROOM     M records/s
 *     PEER trip COUNT EMPTY_PAUSES                                  p50 of a round trip of 64 bytes, in ns
 *
 * COUNT records of SIZE bytes, BATCH at a time. The producer writes every word of a record (its number, its number + 1, ...), the
 * consumer reads and adds every word, and the sum is compared with the one computed: nothing can be left out. The first record
 * written to the last one read is what is timed. A consumer that finds the queue empty looks again after EMPTY_PAUSES pauses; a
 * producer that finds it full goes on when a batch has room (ROOM 0), or a ROOM-th of the queue.
 */
#ifndef RINGS_JOB_H
#define RINGS_JOB_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOB_INLINE static inline __attribute__((always_inline))
#define TRIP_BYTES 64
#define TRIP_RING_BYTES (2u << 20)

struct job {
    uint32_t size_bytes;
    uint64_t batch;
    uint64_t count;
    uint64_t ring_bytes;
    uint32_t empty_pauses;
    uint32_t room; /* 0: a batch; else this part of the ring */
};

/* A queue for records of one size. make() runs before there is a second process or thread; what it returns is good in both. */
struct queue_kind {
    uint32_t size_bytes;
    void *(*make)(const struct job *job);
    void (*produce)(void *queue, const struct job *job);
    uint64_t (*consume)(void *queue, const struct job *job); /* the sum */
    void (*send)(void *queue, uint64_t number);              /* one record, at once; of 64 bytes only */
    uint64_t (*receive)(void *queue);                        /* waits for one record, busily; its sum */
};

struct job_shared {
    uint64_t sum __attribute__((aligned(64)));
    int64_t ended_ns;
    uint32_t ready;
};

struct job_side {
    const struct queue_kind *kind;
    const struct job *job;
    struct job_shared *shared;
    void *queue; /* there; and back, of a trip */
    void *back;
};

static inline void job_fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static inline void *job_shared_memory(size_t size_bytes)
{
    void *memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        job_fail("no shared memory");
    return memory;
}

JOB_INLINE void job_idle(const struct job *job)
{
    for (uint32_t i = 0; i < job->empty_pauses; i++)
        __builtin_ia32_pause();
}

/* Records that must fit before a producer that found the queue full goes on. */
static inline uint64_t job_room(const struct job *job, uint64_t batch)
{
    uint64_t part = job->room == 0 ? 0 : job->ring_bytes / job->size_bytes / job->room;
    return part > batch ? part : batch;
}

JOB_INLINE uint64_t job_next_batch(const struct job *job, uint64_t done)
{
    return job->count - done < job->batch ? job->count - done : job->batch;
}

/* Inlined for each size, as a compiler makes them for a known struct. */
JOB_INLINE void job_fill(void *record, uint32_t size_bytes, uint64_t number)
{
    uint64_t *words = (uint64_t *)record;
#pragma GCC unroll 128
    for (uint32_t i = 0; i < size_bytes / 8; i++)
        words[i] = number + i;
}

JOB_INLINE uint64_t job_sum(const void *record, uint32_t size_bytes)
{
    const uint64_t *words = (const uint64_t *)record;
    uint64_t sum = 0;
#pragma GCC unroll 128
    for (uint32_t i = 0; i < size_bytes / 8; i++)
        sum += words[i];
    return sum;
}

static inline uint64_t job_expected_sum(uint32_t size_bytes, uint64_t count)
{
    uint64_t words = size_bytes / 8;
    uint64_t numbers = count % 2 == 0 ? count / 2 * (count - 1) : (count - 1) / 2 * count; /* 0 + 1 + .. modulo 2^64 */
    return numbers * words + words * (words - 1) / 2 * count;
}

static inline int64_t job_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The calling thread, to the nth of the CPUs that the process may use. */
static inline void job_pin(const cpu_set_t *allowed, int nth)
{
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, allowed) || nth-- > 0)
            continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (sched_setaffinity(0, sizeof one, &one) != 0)
            break;
        return;
    }
    job_fail("two CPUs are needed, each side on its own");
}

/* The side that did not begin: the consumer of a stream, the pong of a trip. */
static inline void job_other_side(struct job_side *side)
{
    __atomic_store_n(&side->shared->ready, 1, __ATOMIC_SEQ_CST);
    if (side->back == NULL) {
        side->shared->sum = side->kind->consume(side->queue, side->job);
    } else {
        for (uint64_t i = 0; i < side->job->count; i++)
            side->kind->send(side->back, (side->kind->receive(side->queue) - 28) / 8);
    }
    side->shared->ended_ns = job_now_ns();
}

static inline void *job_other_thread(void *side)
{
    cpu_set_t allowed;
    if (sched_getaffinity(getpid(), sizeof allowed, &allowed) != 0)
        job_fail("sched_getaffinity");
    job_pin(&allowed, 1);
    job_other_side((struct job_side *)side);
    return NULL;
}

static int job_compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Each trip's time; a clock read (about 20 ns) is in it. */
static inline int64_t job_trips_p50_ns(const struct job_side *side)
{
    uint64_t count = side->job->count;
    int64_t *times_ns = (int64_t *)malloc(count * sizeof *times_ns);
    if (times_ns == NULL)
        job_fail("no memory");
    for (uint64_t i = 0; i < count; i++) {
        int64_t begun_ns = job_now_ns();
        side->kind->send(side->queue, i);
        if (side->kind->receive(side->back) != i * 8 + 28)
            job_fail("another record came back");
        times_ns[i] = job_now_ns() - begun_ns;
    }
    qsort(times_ns, count, sizeof *times_ns, job_compare);
    int64_t p50_ns = times_ns[count / 2];
    free(times_ns);
    return p50_ns;
}

/* Starts the other side, does this one, waits for the other; prints. */
static inline void job_run(struct job_side *side, bool processes)
{
    cpu_set_t allowed;
    pthread_t thread;
    pid_t child = -1;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        job_fail("sched_getaffinity");
    if (processes) {
        child = fork();
        if (child < 0)
            job_fail("fork");
        if (child == 0) {
            job_pin(&allowed, 1);
            job_other_side(side);
            _exit(0);
        }
    } else if (pthread_create(&thread, NULL, job_other_thread, side) != 0) {
        job_fail("pthread_create");
    }
    while (__atomic_load_n(&side->shared->ready, __ATOMIC_SEQ_CST) == 0)
        sched_yield();
    job_pin(&allowed, 0);
    int64_t begun_ns = job_now_ns(), p50_ns = 0;
    if (side->back == NULL)
        side->kind->produce(side->queue, side->job);
    else
        p50_ns = job_trips_p50_ns(side);
    int status = 0;
    if (processes ? waitpid(child, &status, 0) != child || status != 0 : pthread_join(thread, NULL) != 0)
        job_fail("the other side failed");
    if (side->back != NULL) {
        printf("%lld\n", (long long)p50_ns);
        return;
    }
    if (side->shared->sum != job_expected_sum(side->job->size_bytes, side->job->count))
        job_fail("the consumer read something else than was written");
    printf("%.3f\n", (double)side->job->count * 1e3 / (double)(side->shared->ended_ns - begun_ns));
}

static inline uint64_t job_number(const char *text)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0')
        job_fail("usage: stream SIZE BATCH COUNT RING_BYTES EMPTY_PAUSES ROOM | trip COUNT EMPTY_PAUSES");
    return value;
}

static inline int job_main(int argc, char **argv, bool processes, const struct queue_kind *kinds, size_t kind_count)
{
    struct job job = {TRIP_BYTES, 1, 0, TRIP_RING_BYTES, 1, 0};
    bool stream = argc == 8 && strcmp(argv[1], "stream") == 0;
    if (!stream && !(argc == 4 && strcmp(argv[1], "trip") == 0))
        job_number("");
    if (stream)
        job.size_bytes = (uint32_t)job_number(argv[2]);
    job.batch = stream ? job_number(argv[3]) : 1;
    job.count = job_number(argv[stream ? 4 : 2]);
    if (stream)
        job.ring_bytes = job_number(argv[5]);
    job.empty_pauses = (uint32_t)job_number(argv[stream ? 6 : 3]);
    job.room = stream ? (uint32_t)job_number(argv[7]) : 0;
    for (size_t i = 0; i < kind_count; i++) {
        if (kinds[i].size_bytes != job.size_bytes)
            continue;
        struct job_shared *shared = (struct job_shared *)job_shared_memory(sizeof *shared);
        struct job_side side = {&kinds[i], &job, shared, kinds[i].make(&job), NULL};
        if (!stream)
            side.back = kinds[i].make(&job);
        job_run(&side, processes);
        return 0;
    }
    job_fail("no queue for records of this size");
    return 1;
}

#endif
