/*
 * ring_bench.c - one ring between two pinned processes, straight on shm/ring.h.
 *
 *     ring_bench stream SIZE BATCH COUNT [RING_KIB [EMPTY_PAUSES [ROOM]]]  COUNT records of SIZE bytes, BATCH a publish: M/s
 *     ring_bench sleepy SIZE BATCH COUNT [RING_KIB [EMPTY_PAUSES [ROOM]]]    the same where either side might sleep: a fence a publish
 *     ring_bench bare SIZE BATCH COUNT [RING_KIB [EMPTY_PAUSES [ROOM]]]      bare slots, one word a side: the machine's limit
 *     ring_bench trip COUNT      COUNT round trips, busy-polling; prints p50 in ns of: a bare cache line, two of them, two rings
 *     ring_bench parked COUNT    COUNT round trips over two rings, both sides asleep in between; prints p50 in ns
 *
 * The producer writes every byte of a record and the consumer reads every byte; the consumer's sum is checked at the end, so
 * nothing can be left out. Streams spin: a consumer that finds the ring empty looks again after EMPTY_PAUSES pauses (100: 1 to 2
 * us), as a task that spins and then parks leaves its neighbour alone: a consumer at the producer's heels would take the lines
 * away while they are being written. A producer that finds it full waits for a ROOM-th of the ring (4), or for one batch (0).
 * Round trips look at once. With one CPU only, both sides yield to each other and the figures say little.
 */
#include "base/clock.h"
#include "shm/region.h"
#include "shm/ring.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define RING_BYTES (UINT64_C(2) << 20) /* the default of --ring-size */
#define RING_BYTES_MOST (UINT64_C(1) << 26)
#define TRIP_BYTES 64
#define EMPTY_PAUSES 100
#define ROOM_PART 4
#define PARK_NS_MAX (10 * NS_PER_S)
#define WORDS_MAX 8192

struct line {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t word;
};

/* Shared by both processes. */
struct shared {
    struct line lines[2];
    struct line ready;
    struct line head, tail; /* of the bare slots */
    uint64_t sum;
    int64_t ended_ns;
    struct doorbell bells[2];
    _Alignas(SHM_PAGE_BYTES) unsigned char slots[RING_BYTES_MOST];
};

struct stream {
    int ring_fd;
    uint32_t size_bytes;
    uint64_t batch;
    uint64_t count;
    uint64_t ring_bytes;
    uint64_t empty_pauses;
    uint64_t room_bytes; /* that must be free before a producer that found the ring full goes on */
    bool bare;
    bool sleepy; /* the rings are told that the other side might sleep, as it may without --busy-poll */
    bool yield;
};

static void fail(const char *what)
{
    fprintf(stderr, "ring_bench: %s\n", what);
    exit(1);
}

static void check(int code, const struct weir_error *err)
{
    if (code != WEIR_OK)
        fail(err->text);
}

/* To the nth of the CPUs that the process may use. False where there is none. */
static bool pin_to_nth_cpu(const cpu_set_t *allowed, int nth)
{
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, allowed) || nth-- > 0)
            continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        return sched_setaffinity(0, sizeof one, &one) == 0;
    }
    return false;
}

static inline void wait_a_little(bool yield)
{
    if (yield)
        sched_yield();
    else
        __builtin_ia32_pause();
}

/* ------------------------------------------------------------------------------------------------ stream -------- */

static void wait_longer(const struct stream *s)
{
    for (uint64_t i = 0; i < (s->yield ? 1 : s->empty_pauses); i++)
        wait_a_little(s->yield);
}

/* As a task does: not for one frame's room but for a good part of the ring, so that the sides do not fight over lines. */
static void wait_for_room(const struct stream *s, struct ring_producer *ring)
{
    while (!ring_refresh_tail(ring, s->room_bytes))
        wait_a_little(s->yield);
}

/* Both are inlined for each size that is measured, as a compiler makes them for a known struct. */
static inline __attribute__((always_inline)) void fill_record(void *payload, uint32_t size_bytes, uint64_t number)
{
    uint64_t *words = payload;
#pragma GCC unroll 128
    for (uint32_t i = 0; i < size_bytes / 8; i++)
        words[i] = number + i;
}

static inline __attribute__((always_inline)) uint64_t sum_record(const void *payload, uint32_t size_bytes)
{
    const uint64_t *words = payload;
    uint64_t sum = 0;
#pragma GCC unroll 128
    for (uint32_t i = 0; i < size_bytes / 8; i++)
        sum += words[i];
    return sum;
}

static inline __attribute__((always_inline)) void produce_single(const struct stream *s, struct ring_producer *ring, uint32_t size_bytes)
{
    for (uint64_t sent = 0; sent < s->count; sent++) {
        void *payload;
        while ((payload = ring_claim(ring, size_bytes)) == NULL)
            wait_for_room(s, ring);
        ring_fetch_for_writing(payload, size_bytes);
        fill_record(payload, size_bytes, sent);
        ring_push(ring, size_bytes, FRAME_RECORD, 0);
        ring_publish(ring);
    }
}

static inline __attribute__((always_inline)) void produce_sized(const struct stream *s, struct ring_producer *ring, uint32_t size_bytes)
{
    if (s->batch == 1) {
        produce_single(s, ring, size_bytes);
        return;
    }
    for (uint64_t sent = 0, batch; sent < s->count; sent += batch) {
        batch = s->count - sent < s->batch ? s->count - sent : s->batch;
        unsigned char *payload;
        while ((payload = ring_claim_run(ring, size_bytes, (uint32_t)batch)) == NULL)
            wait_for_room(s, ring);
        for (uint64_t i = 0; i < batch; i++, payload += ring_payload_bytes(size_bytes)) {
            ring_fetch_for_writing(payload, size_bytes);
            fill_record(payload, size_bytes, sent + i);
        }
        ring_push_run(ring, size_bytes, (uint32_t)batch, FRAME_RECORD, 0);
        ring_publish(ring);
    }
}

static inline __attribute__((always_inline)) uint64_t sum_payload(const struct ring_frame *frame, const void *payload, uint32_t size_bytes)
{
    ring_fetch_for_reading(frame, payload, size_bytes);
    return sum_record(payload, size_bytes);
}

static inline __attribute__((always_inline)) uint64_t sum_frame(const struct ring_frame *frame, uint32_t size_bytes)
{
    const unsigned char *payload = frame->payload;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < frame->count; i++, payload += ring_payload_bytes(size_bytes))
        sum += sum_payload(frame, payload, size_bytes);
    return sum;
}

static inline __attribute__((always_inline)) uint64_t consume_up_to(const struct stream *s, struct ring_consumer *ring, uint32_t size_bytes,
                                                                    uint64_t batch)
{
    struct ring_frame frame = {0};
    uint64_t sum = 0;
    for (uint64_t seen = 0; seen < s->count;) {
        int code = ring_peek_run(ring, batch, &frame);
        if (code == WEIR_IDLE) {
            wait_longer(s);
            continue;
        }
        if (code < 0 || frame.size_bytes != size_bytes)
            fail("the ring was found damaged, or a record of another size came");
        sum += batch == 1 ? sum_payload(&frame, frame.payload, size_bytes) : sum_frame(&frame, size_bytes);
        ring_release(ring);
        seen += frame.count;
    }
    return sum;
}

static inline __attribute__((always_inline)) uint64_t consume_sized(const struct stream *s, const struct ring_consumer *given,
                                                                    uint32_t size_bytes)
{
    struct ring_consumer ring = *given; /* for the compiler, which keeps it in registers */
    return s->batch == 1 ? consume_up_to(s, &ring, size_bytes, 1) : consume_up_to(s, &ring, size_bytes, s->batch);
}

/* ------------------------------------------------------------------------------------------------ bare slots ---- */

/* No frames, no checks, no wish to be woken: what is left is moving the lines from core to core. */
static inline __attribute__((always_inline)) void produce_bare_sized(const struct stream *s, struct shared *shared, uint32_t size_bytes)
{
    uint64_t slots = s->ring_bytes / size_bytes;
    uint64_t tail = 0, slot = 0;
    for (uint64_t sent = 0; sent < s->count;) {
        uint64_t batch = s->count - sent < s->batch ? s->count - sent : s->batch;
        while (sent + batch - tail > slots) {
            wait_a_little(s->yield);
            tail = atomic_load_explicit(&shared->tail.word, memory_order_acquire);
        }
        for (uint64_t i = sent; i < sent + batch; i++, slot = slot + 1 < slots ? slot + 1 : 0) {
            unsigned char *payload = shared->slots + slot * size_bytes;
            ring_fetch_for_writing(payload, size_bytes);
            fill_record(payload, size_bytes, i);
        }
        sent += batch;
        atomic_store_explicit(&shared->head.word, sent, memory_order_release);
    }
}

static inline __attribute__((always_inline)) uint64_t consume_bare_sized(const struct stream *s, struct shared *shared, uint32_t size_bytes)
{
    uint64_t slots = s->ring_bytes / size_bytes;
    uint64_t sum = 0, slot = 0;
    for (uint64_t seen = 0, head = 0; seen < s->count;) {
        if (head == seen)
            head = atomic_load_explicit(&shared->head.word, memory_order_acquire);
        uint64_t end = head - seen < s->batch ? head : seen + s->batch;
        if (end == seen)
            wait_longer(s);
        for (uint64_t i = seen; i < end; i++, slot = slot + 1 < slots ? slot + 1 : 0) {
            const unsigned char *payload = shared->slots + slot * size_bytes;
            if ((head - i) * size_bytes > RING_AHEAD_BYTES)
                for (uint32_t line = 0; line < size_bytes; line += CACHE_LINE_BYTES)
                    __builtin_prefetch(payload + RING_AHEAD_BYTES + line);
            sum += sum_record(payload, size_bytes);
        }
        seen = end;
        atomic_store_explicit(&shared->tail.word, seen, memory_order_release);
    }
    return sum;
}

static void produce_bare(const struct stream *s, struct shared *shared)
{
    switch (s->size_bytes) {
    case 16: produce_bare_sized(s, shared, 16); return;
    case 64: produce_bare_sized(s, shared, 64); return;
    case 256: produce_bare_sized(s, shared, 256); return;
    case 1024: produce_bare_sized(s, shared, 1024); return;
    default: produce_bare_sized(s, shared, s->size_bytes);
    }
}

static uint64_t consume_bare(const struct stream *s, struct shared *shared)
{
    switch (s->size_bytes) {
    case 16: return consume_bare_sized(s, shared, 16);
    case 64: return consume_bare_sized(s, shared, 64);
    case 256: return consume_bare_sized(s, shared, 256);
    case 1024: return consume_bare_sized(s, shared, 1024);
    default: return consume_bare_sized(s, shared, s->size_bytes);
    }
}

/* ------------------------------------------------------------------------------------------------ one stream ---- */

static void produce(const struct stream *s, struct ring_producer *ring)
{
    switch (s->size_bytes) {
    case 16: produce_sized(s, ring, 16); return;
    case 64: produce_sized(s, ring, 64); return;
    case 256: produce_sized(s, ring, 256); return;
    case 1024: produce_sized(s, ring, 1024); return;
    default: produce_sized(s, ring, s->size_bytes);
    }
}

static uint64_t consume(const struct stream *s, struct ring_consumer *ring)
{
    switch (s->size_bytes) {
    case 16: return consume_sized(s, ring, 16);
    case 64: return consume_sized(s, ring, 64);
    case 256: return consume_sized(s, ring, 256);
    case 1024: return consume_sized(s, ring, 1024);
    default: return consume_sized(s, ring, s->size_bytes);
    }
}

static uint64_t expected_sum(uint32_t size_bytes, uint64_t count)
{
    uint64_t words = size_bytes / 8;
    uint64_t numbers = count % 2 == 0 ? count / 2 * (count - 1) : (count - 1) / 2 * count; /* 0 + 1 + .. modulo 2^64 */
    return numbers * words + words * (words - 1) / 2 * count;
}

static void consumer_process(const struct stream *s, struct shared *shared)
{
    struct weir_error err = {0};
    struct ring_consumer ring;
    check(ring_consumer_attach(&ring, s->ring_fd, &err), &err);
    ring.writer_polls = !s->sleepy;
    atomic_store(&shared->ready.word, 1);
    shared->sum = s->bare ? consume_bare(s, shared) : consume(s, &ring);
    shared->ended_ns = clock_monotonic_ns();
    _exit(0);
}

static void wait_for_child(pid_t child)
{
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0)
        fail("the other process failed");
}

static void run_stream(struct stream *s, struct shared *shared, const cpu_set_t *allowed)
{
    struct weir_error err = {0};
    check(ring_create("bench", s->ring_bytes, &s->ring_fd, &err), &err);
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        s->yield = !pin_to_nth_cpu(allowed, 1);
        consumer_process(s, shared);
    }
    s->yield = !pin_to_nth_cpu(allowed, 0) || CPU_COUNT(allowed) < 2;
    struct ring_producer ring;
    check(ring_producer_attach(&ring, s->ring_fd, &err), &err);
    ring.reader_polls = !s->sleepy;
    while (atomic_load(&shared->ready.word) == 0)
        sched_yield();
    int64_t begun_ns = clock_monotonic_ns();
    if (s->bare)
        produce_bare(s, shared);
    else
        produce(s, &ring);
    wait_for_child(child);
    if (shared->sum != expected_sum(s->size_bytes, s->count))
        fail("the consumer read something else than was written");
    printf("%.3f\n", (double)s->count * 1e3 / (double)(shared->ended_ns - begun_ns));
}

/* ------------------------------------------------------------------------------------------------ round trips --- */

enum way { ONE_LINE, TWO_LINES, TWO_RINGS, TWO_RINGS_PARKED };

struct trip {
    enum way way;
    struct shared *shared;
    struct ring_producer to;
    struct ring_consumer from;
    bool yield;
    unsigned side; /* whose doorbell in shared.bells */
};

/* As a task does; but its bounded wait would hide a lost wake-up, and here that is a failure. */
static void park(struct trip *t)
{
    struct doorbell *bell = &t->shared->bells[t->side];
    atomic_store_explicit(&t->from.shared->data_wanted, 1, memory_order_relaxed);
    doorbell_prepare(bell, DOORBELL_SLEEPING);
    if (ring_has_data(&t->from))
        doorbell_cancel(bell);
    else if (!doorbell_wait(bell, PARK_NS_MAX))
        fail("a wake-up was lost: not rung for 10 s");
}

static void ring_send(struct trip *t, uint64_t number)
{
    void *payload;
    while ((payload = ring_claim(&t->to, TRIP_BYTES)) == NULL)
        wait_a_little(t->yield);
    ring_fetch_for_writing(payload, TRIP_BYTES);
    fill_record(payload, TRIP_BYTES, number);
    ring_push(&t->to, TRIP_BYTES, FRAME_RECORD, 0);
    if (ring_publish(&t->to))
        doorbell_ring(&t->shared->bells[1 - t->side], -1);
}

static uint64_t ring_receive(struct trip *t)
{
    struct ring_frame frame = {0};
    int code;
    while ((code = ring_peek(&t->from, &frame)) == WEIR_IDLE) {
        if (t->way == TWO_RINGS_PARKED)
            park(t);
        else
            wait_a_little(t->yield);
    }
    if (code != WEIR_OK || frame.payload == NULL)
        fail("the ring was found damaged");
    uint64_t sum = sum_record(frame.payload, TRIP_BYTES);
    ring_release(&t->from);
    return sum;
}

/* Ping writes odd numbers, pong answers with the next even one: into the same line, or into the other. */
static void line_wait(struct trip *t, unsigned line, uint64_t number)
{
    while (atomic_load_explicit(&t->shared->lines[line].word, memory_order_acquire) != number)
        wait_a_little(t->yield);
}

static void ping(struct trip *t, uint64_t trip_index)
{
    if (t->way >= TWO_RINGS) {
        ring_send(t, trip_index);
        if (ring_receive(t) != trip_index * 8 + 28)
            fail("another record came back");
        return;
    }
    atomic_store_explicit(&t->shared->lines[0].word, 2 * trip_index + 1, memory_order_release);
    line_wait(t, t->way == ONE_LINE ? 0 : 1, 2 * trip_index + 2);
}

static void pong(struct trip *t, uint64_t trip_index)
{
    if (t->way >= TWO_RINGS) {
        ring_send(t, (ring_receive(t) - 28) / 8);
        return;
    }
    line_wait(t, 0, 2 * trip_index + 1);
    atomic_store_explicit(&t->shared->lines[t->way == ONE_LINE ? 0 : 1].word, 2 * trip_index + 2, memory_order_release);
}

static int compare_int64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Each trip's time; a clock read (about 20 ns) is in it, whatever the way. */
static int64_t p50_of_trips(struct trip *t, uint64_t count)
{
    int64_t *times_ns = malloc(count * sizeof *times_ns);
    if (times_ns == NULL)
        fail("no memory");
    for (uint64_t i = 0; i < count; i++) {
        int64_t begun_ns = clock_monotonic_ns();
        ping(t, i);
        times_ns[i] = clock_monotonic_ns() - begun_ns;
    }
    qsort(times_ns, count, sizeof *times_ns, compare_int64);
    int64_t p50_ns = times_ns[count / 2];
    free(times_ns);
    return p50_ns;
}

static void attach_both(struct trip *t, int to_fd, int from_fd)
{
    struct weir_error err = {0};
    check(ring_producer_attach(&t->to, to_fd, &err), &err);
    check(ring_consumer_attach(&t->from, from_fd, &err), &err);
    t->to.reader_polls = t->from.writer_polls = t->way == TWO_RINGS;
}

static void run_trips(enum way way, uint64_t count, struct shared *shared, const cpu_set_t *allowed)
{
    struct weir_error err = {0};
    struct trip trip = {.way = way, .shared = shared};
    int there_fd, back_fd;
    memset(shared->lines, 0, sizeof shared->lines);
    memset(shared->bells, 0, sizeof shared->bells);
    check(ring_create("there", RING_BYTES, &there_fd, &err), &err);
    check(ring_create("back", RING_BYTES, &back_fd, &err), &err);
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        trip.side = 1;
        trip.yield = !pin_to_nth_cpu(allowed, 1);
        attach_both(&trip, back_fd, there_fd);
        for (uint64_t i = 0; i < count; i++)
            pong(&trip, i);
        _exit(0);
    }
    trip.yield = !pin_to_nth_cpu(allowed, 0) || CPU_COUNT(allowed) < 2;
    attach_both(&trip, there_fd, back_fd);
    int64_t p50_ns = p50_of_trips(&trip, count);
    wait_for_child(child);
    close(there_fd);
    close(back_fd);
    printf("%lld%c", (long long)p50_ns, way >= TWO_RINGS ? '\n' : ' ');
    fflush(stdout);
}

/* ------------------------------------------------------------------------------------------------ main ---------- */

static int usage(void)
{
    fprintf(stderr, "usage: ring_bench stream|sleepy|bare SIZE BATCH COUNT [RING_KIB [EMPTY_PAUSES [ROOM]]]\n"
                    "       ring_bench trip|parked COUNT\n"
                    "  SIZE in bytes, a multiple of 8 from 8 to %d; BATCH at most %u; RING_KIB a power of two from 64 to 65536 (2048)\n",
            WORDS_MAX * 8, RING_RUN_MAX);
    return 2;
}

static uint64_t number(int argc, char **argv, int index, uint64_t fallback)
{
    return index < argc ? strtoull(argv[index], NULL, 10) : fallback;
}

static int stream_command(int argc, char **argv, struct shared *shared, const cpu_set_t *allowed)
{
    struct stream stream = {.bare = strcmp(argv[1], "bare") == 0,
                            .sleepy = strcmp(argv[1], "sleepy") == 0,
                            .size_bytes = (uint32_t)number(argc, argv, 2, 0),
                            .batch = number(argc, argv, 3, 0),
                            .count = number(argc, argv, 4, 0),
                            .ring_bytes = number(argc, argv, 5, RING_BYTES / 1024) * 1024,
                            .empty_pauses = number(argc, argv, 6, EMPTY_PAUSES)};
    uint64_t room_part = number(argc, argv, 7, ROOM_PART);
    uint64_t batch_bytes = ring_run_bytes(stream.size_bytes, stream.batch);
    stream.room_bytes = room_part == 0 || stream.ring_bytes / room_part < batch_bytes ? batch_bytes : stream.ring_bytes / room_part;
    bool sound = stream.size_bytes >= 8 && stream.size_bytes % 8 == 0 && stream.size_bytes <= WORDS_MAX * 8 && stream.batch > 0 &&
                 stream.batch <= RING_RUN_MAX && stream.count > 0 && stream.ring_bytes >= RING_BYTES_MIN && stream.ring_bytes <= RING_BYTES_MOST &&
                 batch_bytes <= stream.ring_bytes;
    if (!sound)
        return usage();
    run_stream(&stream, shared, allowed);
    return 0;
}

int main(int argc, char **argv)
{
    cpu_set_t allowed;
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        fail("set-up");
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "stream") == 0 || strcmp(command, "sleepy") == 0 || strcmp(command, "bare") == 0)
        return stream_command(argc, argv, shared, &allowed);
    uint64_t count = number(argc, argv, 2, 0);
    if (count == 0 || (strcmp(command, "trip") != 0 && strcmp(command, "parked") != 0))
        return usage();
    if (command[0] == 'p') {
        run_trips(TWO_RINGS_PARKED, count, shared, &allowed);
        return 0;
    }
    for (int way = ONE_LINE; way <= TWO_RINGS; way++)
        run_trips((enum way)way, count, shared, &allowed);
    return 0;
}
