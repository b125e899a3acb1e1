/*
 * cut.h - the cuts of a chunk region that are kept for a rollback, and the rollback itself.
 *
 * At most two cuts are live: the newest one, which a snapshot child writes to disk, and the kept one, whose checkpoint is the last
 * complete one. When the newest is complete it takes the other's place (cut_keep). What a kept cut names is copied on its first
 * write, as long as it is kept; so the frozen chunks are the whole state of that checkpoint, in memory, for cut_roll_back().
 *
 *     chunk_cut() -> NEWEST -- cut_keep() --> KEPT -- the next cut_keep(), too much memory --> NONE
 *                       `---- chunk_cut_release(): its checkpoint was given up -----------------^
 *
 * Memory: frozen chunks beyond cut_set_memory() make the kept cut go (cut_bound, at the end of a batch), or the newest one one that is
 * not to be kept. State that finds no room any more takes it at once (cut_give_up). After that so many cuts are not kept: 1, 3, 7, up to
 * 63, so that a state whose chunks are nearly all written between two cuts does not pay for copies that come to nothing.
 *
 * Trust: the task that died may have written anywhere. The snapshot child seals the cut that it writes: a checksum over its numbers and
 * its table, checked before a rollback switches to it, and one sum for CHUNK_SUM_CHUNKS chunks of the checksums that the file's index
 * has. Chunks that were rolled back to are read and compared by the next snapshot child, before it acknowledges (cut_verify): until
 * then nothing is committed on top of them. Nothing of the allocator is taken over: its marks and the FIFO follow from the table.
 *
 * The task calls all of it, between two batches where nothing else is said; its snapshot child cut_seal_begin(), cut_sum(), cut_seal(),
 * cut_verify().
 */
#ifndef WEIR_STATE_CUT_H
#define WEIR_STATE_CUT_H

#include "state/chunk.h"

/* How much frozen chunks may hold for kept cuts; 0: none is kept. */
void cut_set_memory(struct chunk_region *region, uint64_t size_bytes);
/* The newest cut's checkpoint is complete. It becomes the kept one, and the other is released; one that is not to be kept is released. */
void cut_keep(struct chunk_region *region);
/* NULL: none is. */
const struct chunk_cut *cut_kept(const struct chunk_region *region);

/* ---- for chunk.c ---- */

uint64_t cut_sums_bytes(uint64_t chunks);
uint32_t *cut_table(const struct chunk_region *region, const struct chunk_cut *cut);
/* As chunk_cut_next(), of any cut. */
bool cut_next(const struct chunk_region *region, const struct chunk_cut *cut, uint32_t *logical, struct chunk_frozen *ret_chunk);
/* Whether the next cut is to be kept. Counts those that are not. */
bool cut_may_be_kept(struct chunk_region *region);
/* Retired chunks that no cut needs are free; at the end of a batch, or after its undoing. */
void cut_release_retired(struct chunk_region *region);
/* At the end of a batch: gives up what is beyond the bound. */
void cut_bound(struct chunk_region *region);
/* In a batch: a kept cut is given up for its chunks. False: there is none. */
bool cut_give_up(struct chunk_region *region);
/* The header is what it was made, as far as that can be told. */
bool chunk_header_is_sound(const struct chunk_region *region);

/* ---- the snapshot child ---- */

void cut_seal_begin(struct chunk_region *region);
/* The checksum of a chunk of the newest cut: bound to its place (snapshot.h). Each chunk once. */
void cut_sum(struct chunk_region *region, uint32_t logical, uint64_t checksum);
void cut_seal(struct chunk_region *region);
/* The same checksum again. */
typedef uint64_t (*cut_checksum_fn)(void *self, uint32_t logical, const void *bytes);
/* The number of the cut that cut_verify() has to read; 0: none. */
uint64_t cut_unverified(const struct chunk_region *region);
/* Compares the chunks that the region was rolled back to. WEIR_ECORRUPT: they are not what they were, or are gone. */
int cut_verify(struct chunk_region *region, cut_checksum_fn checksum, void *self, struct weir_error *err);

/* ---- rollback ---- */

/* Whether cut_roll_back() may find what it needs; anybody may ask. */
bool cut_is_there(const struct chunk_region *region, uint64_t number);
/*
 * The state becomes that of cut `number`, which is the kept one from then on. Instead of chunk_region_reset() and loading, in a
 * process that starts. May be repeated after a death in the middle (kill point v2). WEIR_ENOENT: there is no such cut;
 * WEIR_ECORRUPT: its numbers or its table fail their checksum; WEIR_ENOMEM: then the region is good for chunk_region_reset() only.
 */
int cut_roll_back(struct chunk_region *region, uint64_t number, struct weir_error *err);

#endif
