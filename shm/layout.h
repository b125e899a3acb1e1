/*
 * layout.h - every struct that lives in memory shared by live processes and belongs to the transport: rings and doorbells.
 * (The engine's own shared structs are in engine/job_shared.h, the state's in state/chunk.h.)
 *
 * Nothing here holds an address. Each field says who writes it, who reads it, and what a stale read costs.
 */
#ifndef WEIR_SHM_LAYOUT_H
#define WEIR_SHM_LAYOUT_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define CACHE_LINE_BYTES 64
#define SHM_PAGE_BYTES 4096

/* How a process asks to be woken. One per task; its owner sleeps on it, anyone rings. */
struct doorbell {
    /* Written by the owner (to sleeping) and by ringers (to awake). A stale "awake" seen by a ringer is prevented by the fences in
     * doorbell.c; a stale "sleeping" costs one needless system call. */
    _Atomic uint32_t state; /* enum doorbell_state; the futex word */
    uint32_t reserved[15];
};
static_assert(sizeof(struct doorbell) == CACHE_LINE_BYTES, "a doorbell has a cache line of its own");

#define RING_MAGIC UINT64_C(0x31474e4952524957) /* "WIRRING1" */

/* The first page of a ring; the data follows it. */
struct ring_shared {
    uint64_t magic;          /* launcher, once */
    uint64_t capacity_bytes; /* launcher, once; a power of two */
    _Atomic uint32_t poisoned; /* either side: the bytes in the ring break the rules, nobody goes on */
    uint32_t reserved0[11];

    /* Producer writes (release), consumer reads (acquire). Bytes below it are whole frames. Stale: the consumer sees less. */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t head;
    /* Producer writes, status reads, relaxed. */
    _Atomic uint64_t records;
    _Atomic uint64_t blocked_ns;

    /* Consumer writes (release), producer reads (acquire). Bytes below it may be overwritten. Stale: less room is seen. */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t tail;

    /* The wishes. Each has one writer, who sets it before it sleeps and clears it when it has found what it wanted. A ringer that
     * cleared it could do so for something that was found long ago, just before its owner sleeps, and find the doorbell still
     * awake: then the owner would sleep without a wish. Stale: a look at the doorbell for nothing. */
    /* Consumer: "ring me when you publish". */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t data_wanted;
    /* Producer: "ring me when the tail has reached this", 0: no need. */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t space_wanted;
};
static_assert(sizeof(struct ring_shared) <= SHM_PAGE_BYTES, "the control part of a ring is one page");
static_assert(offsetof(struct ring_shared, head) == 64, "producer line");
static_assert(offsetof(struct ring_shared, tail) == 128, "consumer line");
static_assert(offsetof(struct ring_shared, data_wanted) == 192, "consumer's wish");
static_assert(offsetof(struct ring_shared, space_wanted) == 256, "producer's wish");

#endif
