/*
 * backing.h - memory for a chunk region, whose file is sparse: given ahead of use, so that a lack of it is an error here (WEIR_ENOMEM), not
 * a SIGBUS later. Called by the task that owns the region, which is to give what it counts in the header
 * (physical_backed, logical_backed, fifo_backed). Never undone with a batch.
 *
 * The pool gets huge pages where the system can make some (region_make_huge()): but for its first 2 MiB, of which a small state
 * takes a part. A huge page is faster to get than 512 small ones (0.15 against 1.7 ms), and mapped at one touch by whoever
 * takes over, rolls back or writes a snapshot.
 */
#ifndef WEIR_STATE_BACKING_H
#define WEIR_STATE_BACKING_H

#include "state/chunk.h"

#define PAGE_BYTES UINT64_C(4096)

static inline unsigned char *backing_base(const struct chunk_region *region) { return (unsigned char *)region->header; }

/* Bytes [offset, offset + size_bytes) of the file, in small pages. */
int backing_give(const struct chunk_region *region, uint64_t offset, uint64_t size_bytes, struct weir_error *err);
/* Physical chunks [first, end). */
int backing_give_pool(struct chunk_region *region, uint64_t first, uint64_t end, struct weir_error *err);
/* Entries of all tables up to `entries`, and what goes with them. */
int backing_give_tables(struct chunk_region *region, uint64_t entries, struct weir_error *err);
/* Room in the FIFO for what one batch may retire. */
int backing_give_fifo(struct chunk_region *region, struct weir_error *err);
/* At least so many more physical chunks, or all that the limit allows. */
int backing_grow_pool(struct chunk_region *region, uint64_t chunks, struct weir_error *err);

#endif
