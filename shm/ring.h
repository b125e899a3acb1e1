/*
 * ring.h - a byte ring of variable-length frames: one producer process, one consumer process, no locks.
 *
 * A frame is an 8-byte header and a payload, padded to 8 bytes. Positions are 64-bit byte counts that only grow; the index is
 * the position masked. The data is mapped twice in a row, so that no frame is split. A frame exists when the producer's
 * published head has passed it: a process killed between any two instructions leaves a valid ring, without holes.
 *
 * Producer: ring_claim(), fill in, ring_push(), ... then ring_publish(). Consumer: ring_peek(), ... then ring_release(). What
 * is claimed, pushed or peeked is private until published or released, and is forgotten by attaching again.
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
#include "shm/doorbell.h"
#include "shm/layout.h"

#include <string.h>

#define RING_BYTES_MIN (UINT64_C(64) << 10)
#define RING_BYTES_MAX (UINT64_C(1) << 30)
#define RING_FRAME_HEADER_BYTES 8u

enum frame_kind { FRAME_RECORD, FRAME_WATERMARK, FRAME_BARRIER, FRAME_END, FRAME_KIND_COUNT };

/* A frame as the consumer sees it: a private copy of the header, and the payload in the ring. */
struct ring_frame {
    const void *payload; /* aligned to 8 bytes; good until ring_release() */
    uint32_t size_bytes;
    uint8_t kind;    /* enum frame_kind */
    uint8_t channel; /* the engine's */
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
    bool reader_polls;       /* set after attaching, where the other side never sleeps: ring_publish() spares the fence */
};

struct ring_consumer {
    const unsigned char *data;
    struct ring_shared *shared;
    uint64_t capacity_bytes;
    uint64_t index_mask;
    uint64_t tail;          /* behind the last frame peeked */
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
 * beyond what it had published; publish or release then does so. WEIR_ECORRUPT where that contradicts the control page. */
int ring_producer_adopt(struct ring_producer *p, uint64_t head, uint64_t record_count, struct weir_error *err);
int ring_consumer_adopt(struct ring_consumer *c, uint64_t tail, struct weir_error *err);
void ring_producer_detach(struct ring_producer *p);
void ring_consumer_detach(struct ring_consumer *c);

static inline uint64_t ring_frame_bytes(uint32_t size_bytes)
{
    return (RING_FRAME_HEADER_BYTES + (uint64_t)size_bytes + 7) & ~UINT64_C(7);
}

/* The header in one word: size, kind, channel, and 16 bits of the frame's own position as a guard. */
static inline uint64_t ring_header(uint64_t pos, uint32_t size_bytes, uint8_t kind, uint8_t channel)
{
    uint64_t guard = (pos >> 3) & 0xffff;
    return (uint64_t)size_bytes | (uint64_t)kind << 32 | (uint64_t)channel << 40 | guard << 48;
}

/* Slow paths. */
bool ring_refresh_tail(struct ring_producer *p, uint64_t frame_bytes);
int ring_poison(struct ring_shared *shared);

static inline uint64_t ring_free_bytes(const struct ring_producer *p)
{
    return p->capacity_bytes - (p->head - p->tail_cached);
}

/* Whether frames of so many bytes (ring_frame_bytes() of each) fit. */
static inline bool ring_has_room(struct ring_producer *p, uint64_t bytes)
{
    return __builtin_expect(ring_free_bytes(p) >= bytes, 1) || ring_refresh_tail(p, bytes);
}

/* Where the next payload goes, for a caller that has made sure of room for it. */
static inline void *ring_next_payload(const struct ring_producer *p)
{
    return p->data + (p->head & p->index_mask) + RING_FRAME_HEADER_BYTES;
}

/* Room for a payload of size_bytes, or NULL while there is none. Nothing is visible yet. */
static inline void *ring_claim(struct ring_producer *p, uint32_t size_bytes)
{
    return ring_has_room(p, ring_frame_bytes(size_bytes)) ? ring_next_payload(p) : NULL;
}

/* Ends the frame of the last claim, with the size used (at most that claimed). Not visible before ring_publish(). */
static inline void ring_push(struct ring_producer *p, uint32_t size_bytes, enum frame_kind kind, uint8_t channel)
{
    DCHECK(ring_free_bytes(p) >= ring_frame_bytes(size_bytes));
    uint64_t header = ring_header(p->head, size_bytes, (uint8_t)kind, channel);
    memcpy(p->data + (p->head & p->index_mask), &header, sizeof header);
    KILL_POINT(r1);
    p->head += ring_frame_bytes(size_bytes);
    p->record_count += kind == FRAME_RECORD;
}

/* Makes all pushed frames visible. Returns whether the consumer asks to be rung (then ring its doorbell). The wish stays: only
 * its owner knows when it is met (see layout.h). */
static inline bool ring_publish(struct ring_producer *p)
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

/* WEIR_OK and the next frame; WEIR_IDLE while there is none; WEIR_ECORRUPT. */
static inline int ring_peek(struct ring_consumer *c, struct ring_frame *ret_frame)
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
    uint32_t size_bytes = (uint32_t)header;
    uint8_t kind = (uint8_t)(header >> 32);
    uint64_t frame_bytes = ring_frame_bytes(size_bytes);
    if (__builtin_expect(frame_bytes > c->head_cached - c->tail || kind >= FRAME_KIND_COUNT ||
                             (header >> 48) != ((c->tail >> 3) & 0xffff),
                         0))
        return ring_poison(c->shared);
    ret_frame->payload = at + RING_FRAME_HEADER_BYTES;
    ret_frame->size_bytes = size_bytes;
    ret_frame->kind = kind;
    ret_frame->channel = (uint8_t)(header >> 40);
    c->tail += frame_bytes;
    return WEIR_OK;
}

/* Gives the bytes of all peeked frames back. Returns whether the producer asks to be rung, now that there is so much room. */
static inline bool ring_release(struct ring_consumer *c)
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
