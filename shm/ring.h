/*
 * ring.h - a byte ring of variable-length frames: one producer process, one consumer process, no locks.
 *
 * A frame is an 8-byte header and a run of 1 to RING_RUN_MAX payloads of the same size, each padded to 8 bytes. Only records come in
 * runs: those of one size and channel that are pushed one after another between two publications. Positions are 64-bit byte counts that
 * only grow; the index is the position masked. A payload's position is 8 below its first byte: the first one's is that of the header.
 * The data is mapped twice in a row, so that no frame is split. A frame exists when the producer's published head has passed it: a process
 * killed between any two instructions leaves a valid ring, without holes.
 *
 * Producer: ring_claim(), fill in, ring_push(), ... then ring_publish(). Consumer: ring_peek(), ... then ring_release(). Or
 * several payloads at a time: ring_claim_run(), ring_push_run(), ring_peek_run(). What is claimed, pushed or peeked is private until
 * published or released, and is forgotten by attaching again.
 *
 * A consumer may release its tail within a run. What is left of the run then is known to it alone (ring_consumer.run): whoever takes its
 * place is told both by its commit record, ring_consumer_adopt().
 *
 * Ordering: the release store of head pairs with the consumer's acquire load of it (payloads before head); the release store of tail
 * pairs with the producer's acquire load (reads of a payload before its bytes are overwritten).
 *
 * Everything that is read from shared memory is checked: a ring whose bytes break the rules is poisoned and gives
 * WEIR_ECORRUPT, for ever, to both sides.
 *
 * Sources: single-writer positions and cached peer positions as in L. Lamport, "Proving the Correctness of Multiprocess
 * Programs" (1977) and J. Giacomoni et al., "FastForward for Efficient Pipeline Parallelism" (PPoPP 2008).
 */
#ifndef WEIR_SHM_RING_H
#define WEIR_SHM_RING_H

#include "base/check.h"
#include "base/error.h"
#include "base/kill_point.h"
#include "base/prefetch.h"
#include "shm/doorbell.h"
#include "shm/layout.h"

#include <string.h>

#define RING_BYTES_MIN (UINT64_C(64) << 10)
#define RING_BYTES_MAX (UINT64_C(1) << 30)
#define RING_FRAME_HEADER_BYTES 8u
#define RING_PAYLOAD_BYTES_MAX ((1u << 24) - 1)
#define RING_RUN_MAX 4095u

enum frame_kind { FRAME_RECORD, FRAME_WATERMARK, FRAME_BARRIER, FRAME_END, FRAME_KIND_COUNT };

/* What the consumer is given: a private copy of the header's fields, and payloads in the ring, ring_payload_bytes(size_bytes) apart. */
struct ring_frame {
    const void *payload; /* aligned to 8 bytes; good until ring_release() */
    const void *end;     /* of what is known to be published behind it, this frame and others */
    uint32_t size_bytes; /* of each payload */
    uint32_t count;      /* 1 .. RING_RUN_MAX */
    uint8_t kind;        /* enum frame_kind */
    uint8_t channel;     /* the engine's */
};

/* One side's private view. Made again by attaching, after a fork or a takeover. */
struct ring_producer {
    unsigned char *data;
    struct ring_shared *shared;
    uint64_t capacity_bytes;
    uint64_t index_mask;
    uint64_t head;           /* behind the last frame pushed */
    uint64_t head_published; /* what the consumer has been told */
    uint64_t tail_cached;    /* a lower bound of the consumer's tail */
    uint64_t record_count;   /* since attach */
    uint64_t run;            /* the header of the last frame of records; it may grow while it is not published */
    uint64_t run_pos;        /* where that header is */
    bool claimed_in_run;     /* the last claim is for payloads of that run, without a header of their own */
    bool reader_polls;       /* set after attaching, where the other side never sleeps: ring_publish() spares the fence */
};

struct ring_consumer {
    const unsigned char *data;
    struct ring_shared *shared;
    uint64_t capacity_bytes;
    uint64_t index_mask;
    uint64_t tail;          /* behind the last payload peeked: the position of the next one */
    uint64_t run;           /* the header of the run that it is in, counting what is left of it; 0: the next frame begins at tail */
    uint64_t shape;         /* the last header that was found sound, without its guard: most frames are as the one before */
    uint64_t shape_bytes;   /* such a frame's bytes */
    uint64_t tail_released; /* what the producer has been told */
    uint64_t head_cached;   /* a lower bound of the producer's head */
    bool writer_polls;      /* the same for ring_release() */
};

/* The launcher's part: a memfd with an initialised control page. capacity_bytes: a power of two, RING_BYTES_MIN .. RING_BYTES_MAX. */
int ring_create(const char *name, uint64_t capacity_bytes, int *ret_fd, struct weir_error *err);
/* Empties a ring; only while neither side lives. fd as from ring_create(). */
int ring_reset(int fd, struct weir_error *err);
/* The control page alone, for status. region_unmap(SHM_PAGE_BYTES). */
int ring_map_control(int fd, struct ring_shared **ret_shared, struct weir_error *err);

/* Map and begin at the published positions. The mapping is not inherited by later forks (MADV_DONTFORK). WEIR_ECORRUPT where
 * the control page contradicts itself. */
int ring_producer_attach(struct ring_producer *p, int fd, struct weir_error *err);
int ring_consumer_attach(struct ring_consumer *c, int fd, struct weir_error *err);
/* In a process that takes the place of one that died, after attaching: this side is where that one's commit record says, which may be
 * beyond what it had published; publish or release then does so. The head of a producer that was about to publish: nothing was pushed
 * between the record and its death but what is undone, so no run goes beyond it. WEIR_ECORRUPT where that contradicts the control page, or the rest
 * of a run is none. */
int ring_producer_adopt(struct ring_producer *p, uint64_t head, uint64_t record_count, struct weir_error *err);
int ring_consumer_adopt(struct ring_consumer *c, uint64_t tail, uint64_t run, struct weir_error *err);
void ring_producer_detach(struct ring_producer *p);
void ring_consumer_detach(struct ring_consumer *c);

/* From one payload of a run to the next. */
static inline uint64_t ring_payload_bytes(uint32_t size_bytes) { return ((uint64_t)size_bytes + 7) & ~UINT64_C(7); }

static inline uint64_t ring_run_bytes(uint32_t size_bytes, uint64_t count)
{
    return RING_FRAME_HEADER_BYTES + ring_payload_bytes(size_bytes) * count;
}

/* Of a frame of one payload; what a payload costs at most. */
static inline uint64_t ring_frame_bytes(uint32_t size_bytes) { return ring_run_bytes(size_bytes, 1); }

/* The header in one word: 24 bits of size, 12 of count, 4 of kind, 8 of channel, and 16 of the frame's own position as a guard. */
#define RING_SIZE_MASK UINT64_C(0xffffff)
#define RING_COUNT_SHIFT 24
#define RING_COUNT_MASK (UINT64_C(0xfff) << RING_COUNT_SHIFT)
#define RING_SHAPE_MASK (UINT64_C(0xffffffffffff) & ~RING_COUNT_MASK)

static inline uint64_t ring_guard(uint64_t pos) { return (pos >> 3) << 48; }

static inline uint64_t ring_header(uint64_t pos, uint32_t size_bytes, uint32_t count, uint8_t kind, uint8_t channel)
{
    return (uint64_t)size_bytes | (uint64_t)count << RING_COUNT_SHIFT | (uint64_t)kind << 36 | (uint64_t)channel << 40 | ring_guard(pos);
}

static inline uint32_t ring_header_size(uint64_t header) { return (uint32_t)(header & RING_SIZE_MASK); }
static inline uint32_t ring_header_count(uint64_t header) { return (uint32_t)(header >> RING_COUNT_SHIFT) & RING_RUN_MAX; }
static inline uint8_t ring_header_kind(uint64_t header) { return (header >> 36) & 15; }

static inline uint64_t ring_header_bytes(uint64_t header) { return ring_run_bytes(ring_header_size(header), ring_header_count(header)); }

/* Slow paths. ring_header_is_sound(): whether a frame may have such a header, its guard aside. */
bool ring_header_is_sound(uint64_t header);
bool ring_refresh_tail(struct ring_producer *p, uint64_t frame_bytes);
int ring_poison(struct ring_shared *shared);

static inline uint64_t ring_free_bytes(const struct ring_producer *p)
{
    return p->capacity_bytes - (p->head - p->tail_cached);
}

/* Whether frames of so many bytes (ring_run_bytes() of each) fit. */
static inline bool ring_has_room(struct ring_producer *p, uint64_t bytes)
{
    return __builtin_expect(ring_free_bytes(p) >= bytes, 1) || ring_refresh_tail(p, bytes);
}

/* How far both sides fetch lines ahead of the payload that they write, or read: decision 0019. */
#define RING_AHEAD_BYTES 4096u

/* For the loop that fills in payloads, before each: takes lines away from the consumer's cache before they are needed. */
static inline void ring_fetch_for_writing(const void *payload, uint64_t payload_bytes)
{
    for (uint64_t i = 0; i < payload_bytes; i += CACHE_LINE_BYTES)
        prefetch_for_writing((const char *)payload + RING_AHEAD_BYTES + i);
}

/* For the loop that reads payloads: what is not published is the producer's, who is about to write it. */
static inline void ring_fetch_for_reading(const struct ring_frame *frame, const void *payload, uint64_t payload_bytes)
{
    const char *ahead = (const char *)payload + RING_AHEAD_BYTES;
    if ((uintptr_t)ahead < (uintptr_t)frame->end)
        for (uint64_t i = 0; i < payload_bytes; i += CACHE_LINE_BYTES)
            __builtin_prefetch(ahead + i);
}

/* Room for `count` payloads of size_bytes each (at most RING_RUN_MAX, RING_PAYLOAD_BYTES_MAX; of empty ones, one), ring_payload_bytes() apart;
 * NULL while there is none. Nothing is visible yet. */
static inline __attribute__((always_inline)) void *ring_claim_run(struct ring_producer *p, uint32_t size_bytes, uint32_t count)
{
    if (!ring_has_room(p, ring_run_bytes(size_bytes, count)))
        return NULL;
    p->claimed_in_run = size_bytes > 0 && ring_header_size(p->run) == size_bytes && p->run_pos >= p->head_published &&
                        ring_header_count(p->run) + count <= RING_RUN_MAX;
    return p->data + (p->head & p->index_mask) + (p->claimed_in_run ? 0 : RING_FRAME_HEADER_BYTES);
}

static inline __attribute__((always_inline)) void *ring_claim(struct ring_producer *p, uint32_t size_bytes)
{
    return ring_claim_run(p, size_bytes, 1);
}

/* Ends the claim, with the size and count used (at most those claimed). Not visible before ring_publish(). */
static inline __attribute__((always_inline)) void ring_push_run(struct ring_producer *p, uint32_t size_bytes, uint32_t count,
                                                                enum frame_kind kind, uint8_t channel)
{
    uint64_t payload_bytes = ring_payload_bytes(size_bytes) * count;
    DCHECK(count > 0 && (count == 1 || size_bytes > 0) && ring_free_bytes(p) >= payload_bytes + RING_FRAME_HEADER_BYTES);
    unsigned char *at = p->data + (p->head & p->index_mask);
    uint64_t header = ring_header(p->head, size_bytes, count, (uint8_t)kind, channel);
    p->record_count += kind == FRAME_RECORD ? count : 0;
    if (p->claimed_in_run && ((header ^ p->run) & RING_SHAPE_MASK) == 0 && p->run_pos >= p->head_published) {
        p->run += (uint64_t)count << RING_COUNT_SHIFT;
        memcpy(p->data + (p->run_pos & p->index_mask), &p->run, sizeof p->run);
        KILL_POINT(r1);
        p->head += payload_bytes;
        return;
    }
    if (__builtin_expect(p->claimed_in_run, 0)) /* it was to go on with the run, but it is of another size or channel */
        memmove(at + RING_FRAME_HEADER_BYTES, at, payload_bytes);
    memcpy(at, &header, sizeof header);
    KILL_POINT(r1);
    p->run = kind == FRAME_RECORD ? header : 0;
    p->run_pos = p->head;
    p->head += payload_bytes + RING_FRAME_HEADER_BYTES;
}

static inline __attribute__((always_inline)) void ring_push(struct ring_producer *p, uint32_t size_bytes, enum frame_kind kind, uint8_t channel)
{
    ring_push_run(p, size_bytes, 1, kind, channel);
}

/* Makes all pushed frames visible. Returns whether the consumer asks to be rung (then ring its doorbell). The wish stays: only
 * its owner knows when it is met (see layout.h). */
static inline __attribute__((always_inline)) bool ring_publish(struct ring_producer *p)
{
    if (p->head == p->head_published)
        return false;
    p->head_published = p->head;
    atomic_store_explicit(&p->shared->head, p->head, memory_order_release);
    atomic_store_explicit(&p->shared->records, p->record_count, memory_order_relaxed);
    if (p->reader_polls)
        return false;
    atomic_thread_fence(memory_order_seq_cst); /* head before data_wanted; pairs with doorbell_prepare() */
    return __builtin_expect(atomic_load_explicit(&p->shared->data_wanted, memory_order_relaxed) != 0, 0);
}

/* Reads the header of the frame at the tail into c->shape, and checks it. WEIR_IDLE while there is none; WEIR_ECORRUPT. */
static inline __attribute__((always_inline)) int ring_next_frame(struct ring_consumer *c)
{
    if (c->tail == c->head_cached) {
        c->head_cached = atomic_load_explicit(&c->shared->head, memory_order_acquire);
        if (c->tail == c->head_cached)
            return WEIR_IDLE;
        if (__builtin_expect(c->head_cached - c->tail_released > c->capacity_bytes || (c->head_cached & 7) != 0, 0))
            return ring_poison(c->shared);
        if (__builtin_expect(atomic_load_explicit(&c->shared->data_wanted, memory_order_relaxed) != 0, 0))
            atomic_store_explicit(&c->shared->data_wanted, 0, memory_order_relaxed); /* met */
    }
    const unsigned char *at = c->data + (c->tail & c->index_mask);
    /* Atomic, so that no compiler reads it twice: what was checked is what is used. */
    uint64_t header = atomic_load_explicit((const _Atomic uint64_t *)(const void *)at, memory_order_relaxed);
    uint64_t shape = header ^ ring_guard(c->tail);
    if (__builtin_expect(shape != c->shape, 0)) {
        if ((shape >> 48) != 0 || !ring_header_is_sound(shape))
            return ring_poison(c->shared);
        c->shape = shape;
        c->shape_bytes = ring_header_bytes(shape);
    }
    return __builtin_expect(c->shape_bytes > c->head_cached - c->tail, 0) ? ring_poison(c->shared) : WEIR_OK;
}

/* WEIR_OK and the next payloads, up to count_max (at least 1) of one frame; WEIR_IDLE while there is none; WEIR_ECORRUPT. */
static inline __attribute__((always_inline)) int ring_peek_run(struct ring_consumer *c, uint64_t count_max, struct ring_frame *ret_frame)
{
    uint64_t header = c->run;
    if (header == 0) {
        int code = ring_next_frame(c);
        if (code != WEIR_OK)
            return code;
        header = c->shape;
    }
    uint32_t left = ring_header_count(header);
    ret_frame->size_bytes = ring_header_size(header);
    ret_frame->kind = ring_header_kind(header);
    ret_frame->channel = (uint8_t)(header >> 40);
    ret_frame->payload = c->data + (c->tail & c->index_mask) + RING_FRAME_HEADER_BYTES;
    ret_frame->end = (const char *)ret_frame->payload + (c->head_cached - c->tail - RING_FRAME_HEADER_BYTES);
    if (__builtin_expect(left <= count_max, 1)) {
        ret_frame->count = left;
        c->tail += c->run == 0 ? c->shape_bytes : ring_header_bytes(header);
        c->run = 0;
    } else {
        ret_frame->count = (uint32_t)count_max;
        c->tail += ring_payload_bytes(ret_frame->size_bytes) * count_max;
        c->run = header - (count_max << RING_COUNT_SHIFT);
    }
    return WEIR_OK;
}

/* The same for one payload. */
static inline __attribute__((always_inline)) int ring_peek(struct ring_consumer *c, struct ring_frame *ret_frame)
{
    return ring_peek_run(c, 1, ret_frame);
}

/* Gives the bytes of all peeked payloads back. Returns whether the producer asks to be rung, now that there is so much room. */
static inline __attribute__((always_inline)) bool ring_release(struct ring_consumer *c)
{
    if (c->tail == c->tail_released)
        return false;
    c->tail_released = c->tail;
    atomic_store_explicit(&c->shared->tail, c->tail, memory_order_release);
    if (c->writer_polls)
        return false;
    atomic_thread_fence(memory_order_seq_cst); /* tail before space_wanted; pairs with doorbell_prepare() */
    uint64_t wanted = atomic_load_explicit(&c->shared->space_wanted, memory_order_relaxed);
    return __builtin_expect(wanted != 0 && c->tail >= wanted, 0);
}

/* Whether ring_peek() would find something, without taking it. */
static inline bool ring_has_data(const struct ring_consumer *c)
{
    return c->tail != c->head_cached || atomic_load_explicit(&c->shared->head, memory_order_acquire) != c->tail;
}

#endif
