/*
 * undo.h - the undo log of a batch: before bytes of shared memory change, the old ones are noted here, so that whoever
 * takes a dead task's place can put them back (undo_apply). In a shared memory file of its own, which the launcher makes and
 * all inherit.
 *
 *     entry:  the old bytes, padded to 8 | offset of their place << 17 | how many
 *
 * The word that describes an entry stands behind its bytes, so that the log is walked from its end. An entry counts once
 * `used_bytes` has passed it. The log carries the number of its batch: once the commit record of that number is current, the
 * log is void, whatever is in it. (Forebear: Satyanarayanan et al., "Lightweight Recoverable Virtual Memory", SOSP 1993.)
 *
 * Ordering: entry before used_bytes, used_bytes before the change. Against the death of the process the order of the compiler is
 * enough: the processor retires stores in order, and what was retired before the kill is seen by whoever maps the
 * memory afterwards.
 *
 * The log is bounded. An entry that finds no room marks the batch: it goes on and commits as always, but
 * cannot be undone (undo_apply: WEIR_ELIMIT), so that a death within it sends the job back to its last checkpoint. The engine
 * ends batches early (undo_is_long), so that only a single operation of that size comes to it.
 *
 * One writer, the task. Whoever takes over reads it once the task is dead.
 */
#ifndef WEIR_STATE_UNDO_H
#define WEIR_STATE_UNDO_H

#include "base/error.h"
#include "base/kill_point.h"

#include <stdatomic.h>
#include <string.h>

#define UNDO_BYTES_MAX (UINT64_C(256) << 20) /* a task's; sparse: memory is taken as it is needed, and kept */
#define UNDO_LONG_BYTES (UINT64_C(1) << 20)  /* a batch that has so much to undo should end */
#define UNDO_SIZE_BITS 17                    /* of an entry: a whole chunk, whatever its size */

/* The file. Written by the task only. */
struct undo_log {
    uint64_t magic;
    uint64_t file_bytes;
    uint64_t reserved[6];
    _Alignas(64) _Atomic uint64_t used_bytes; /* of entries */
    _Atomic uint64_t batch;                   /* whose changes they are */
    uint64_t backed_bytes;                    /* of entries: these have memory */
    uint64_t lost_batch;                      /* an entry of this batch is missing; 0: none */
    _Alignas(64) unsigned char entries[];
};
_Static_assert(sizeof(struct undo_log) == 128, "undo_log is shared");

/* Makes and maps a log, empty, with room for bytes_max of entries. `name` is for /proc only. WEIR_ENOMEM, WEIR_ELIMIT
 * (descriptors). */
int undo_create(const char *name, uint64_t bytes_max, struct undo_log **ret_log, struct weir_error *err);
/* NULL is fine. */
void undo_unmap(struct undo_log *log);

/* From here on changes belong to this batch. */
void undo_begin(struct undo_log *log, uint64_t batch);

/* Makes room for an entry; false: there is none, and the batch is marked. */
bool undo_make_room(struct undo_log *log, uint64_t size_bytes);

/* Few bytes mostly: a word or two without a call. */
static inline void undo_copy(unsigned char *to, const void *from, size_t size_bytes)
{
    if (__builtin_expect(size_bytes % 8 != 0 || size_bytes > 64, 0)) {
        memcpy(to, from, size_bytes);
        return;
    }
    for (size_t i = 0; i < size_bytes; i += 8)
        memcpy(to + i, (const unsigned char *)from + i, 8);
}

/* Notes the bytes at `address`, which is `offset` bytes behind the base that undo_apply() will be given. At most 2^17 - 1. */
static inline void undo_note(struct undo_log *log, uint64_t offset, const void *address, size_t size_bytes)
{
    uint64_t padded_bytes = (size_bytes + 7) & ~UINT64_C(7);
    uint64_t used_bytes = atomic_load_explicit(&log->used_bytes, memory_order_relaxed);
    uint64_t end = used_bytes + padded_bytes + sizeof(uint64_t);
    if (__builtin_expect(end > log->backed_bytes, 0) && !undo_make_room(log, end))
        return;
    unsigned char *to = log->entries + used_bytes;
    undo_copy(to, address, size_bytes);
    uint64_t word = offset << UNDO_SIZE_BITS | size_bytes;
    memcpy(to + padded_bytes, &word, sizeof word);
    atomic_signal_fence(memory_order_seq_cst); /* the entry before it counts */
    atomic_store_explicit(&log->used_bytes, end, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst); /* and that before the change */
    if (used_bytes == 0)
        KILL_POINT(t1);
}

/* The entries of several places of one size, from `to` on. Inlined once for each size that is a constant. */
static inline __attribute__((always_inline)) void undo_write_entries(unsigned char *to, const void *base, void *const *addresses, size_t count,
                                                                     size_t size_bytes)
{
    size_t padded_bytes = (size_bytes + 7) & ~(size_t)7;
    for (size_t i = 0; i < count; i++) {
        uint64_t offset = (uint64_t)((const unsigned char *)addresses[i] - (const unsigned char *)base);
        uint64_t word = offset << UNDO_SIZE_BITS | size_bytes;
        undo_copy(to, addresses[i], size_bytes);
        memcpy(to + padded_bytes, &word, sizeof word);
        to += padded_bytes + sizeof word;
    }
}

/* The same for several places of one size, all before the first of them changes: they count together. */
static inline void undo_note_all(struct undo_log *log, const void *base, void *const *addresses, size_t count, size_t size_bytes)
{
    uint64_t padded_bytes = (size_bytes + 7) & ~UINT64_C(7);
    uint64_t used_bytes = atomic_load_explicit(&log->used_bytes, memory_order_relaxed);
    uint64_t end = used_bytes + count * (padded_bytes + sizeof(uint64_t));
    if (__builtin_expect(end > log->backed_bytes, 0) && !undo_make_room(log, end))
        return;
    unsigned char *to = log->entries + used_bytes;
    switch (size_bytes) {
    case 8: undo_write_entries(to, base, addresses, count, 8); break;
    case 16: undo_write_entries(to, base, addresses, count, 16); break;
    default: undo_write_entries(to, base, addresses, count, size_bytes);
    }
    atomic_signal_fence(memory_order_seq_cst); /* as in undo_note() */
    atomic_store_explicit(&log->used_bytes, end, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    if (used_bytes == 0)
        KILL_POINT(t1);
}

static inline bool undo_is_long(const struct undo_log *log)
{
    return log != NULL && atomic_load_explicit(&log->used_bytes, memory_order_relaxed) > UNDO_LONG_BYTES;
}

/* Puts the old bytes back into [base, base + size_bytes), the latest entry first, where the log is that of the batch behind
 * `committed_batch`; a void one is left alone. All entries are checked before the first byte changes. May be repeated after a
 * death in the middle. *ret_undone_bytes: of the log. WEIR_ELIMIT: the batch has lost an entry; WEIR_ECORRUPT: the log is not one. */
int undo_apply(struct undo_log *log, void *base, uint64_t size_bytes, uint64_t committed_batch, uint64_t *ret_undone_bytes,
               struct weir_error *err);

#endif
