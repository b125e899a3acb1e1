/*
 * chunk.h - the chunk region: everything that a task must remember, in one shared memory file, in chunks of
 * CHUNK_BYTES that are found through a table and copied on their first write after a cut.
 *
 *     file:  header | engine area | live table | frozen tables (2) | sums of frozen chunks (2) | retire FIFO | physical chunks
 *
 * A *logical* chunk id is what state refers to; it never changes while the chunk is allocated. The live table gives
 * the *physical* chunk that holds its bytes now. A cut copies the table; from then on the first write to a chunk
 * takes a free physical chunk, copies the bytes and switches the live entry, so that the frozen table goes on naming
 * the old bytes. A reader of the cut (snapshot child) says by chunk_cut_gathered() how far it has got; what it has
 * copied out is no longer copied, unless the cut is to be kept for a rollback (cut.h, cut.c): then all of it is, until
 * a newer one takes its place.
 *
 * Retired physical chunks go through one FIFO: [free_head, release_pos) may be taken again, [release_pos,
 * retire_tail) may still be needed by a cut: release_pos is where the oldest cut began. Forebears of the idea: shadow
 * paging (Lorie 1977), HyPer's snapshots without its page faults.
 *
 * An image may also be promised first and loaded later: then entries say CHUNK_ON_DISK until whoever has the image (struct
 * chunk_image) has copied their bytes in. Loading is no change of state: it is not undone with a batch, and may be repeated.
 *
 * Who may call: the task that owns the region, on its one thread, calls everything; a snapshot child (which inherits
 * handle and mapping by fork) calls only chunk_cut_next(), chunk_cut_gathered() and what cut.h says. Nothing
 * here blocks; chunk_reserve() makes a system call when the region grows. The handle is private memory and holds no
 * state.
 *
 * Failure: the only thing that can fail is getting memory, and only chunk_reserve() does that. An operation first
 * reserves as many chunks as it can need at most, and then cannot fail half-way.
 */
#ifndef WEIR_STATE_CHUNK_H
#define WEIR_STATE_CHUNK_H

#include "base/check.h"
#include "base/error.h"
#include "state/undo.h"

#include <stdatomic.h>

#ifndef CHUNK_SHIFT
#define CHUNK_SHIFT 12 /* 10..16 compile; see docs/decisions for the choice */
#endif
#define CHUNK_BYTES (1u << CHUNK_SHIFT)
#define CHUNK_CUTS_MAX 2               /* the newest one, in progress, and the one kept for a rollback */
#define CHUNK_SUM_CHUNKS 256u          /* so many logical chunks of a cut have one sum */
#define CHUNK_LIMIT_BYTES_MAX (UINT64_C(1) << 36) /* references to blobs are 32 bits of 16 bytes */
#define CHUNK_LIMIT_BYTES_MIN (UINT64_C(1) << (CHUNK_SHIFT + 8))
/* After chunk_reserve(region, n) succeeded, n + CHUNK_SPARE chunks can be taken: steps that follow one another
 * within one operation (a bucket splits, then the row gets its blob) each reserve their own and lean on the spare
 * ones for the rest. */
#define CHUNK_SPARE (48u + ((1u << 17) >> CHUNK_SHIFT)) /* the second part: the largest entry, twice */

/* A table entry: 0 where the id was never used. */
#define CHUNK_WRITTEN (UINT32_C(1) << 31) /* written since the last cut: the live bytes belong to no cut */
#define CHUNK_UNUSED (UINT32_C(1) << 30)  /* not allocated: the id bits are the next free logical id, 0 ends the list */
#define CHUNK_ON_DISK (UINT32_C(1) << 29) /* allocated, never together with the other two: its bytes are still in the image */
#define CHUNK_ID_MASK (CHUNK_ON_DISK - 1)

/* What the task changes when chunks come and go; a commit record carries it whole. Positions are monotonic. */
struct chunk_marks {
    uint64_t free_head;      /* next position of the FIFO to take a free physical chunk from */
    uint64_t release_pos;    /* FIFO entries before it are free */
    uint64_t retire_tail;    /* next position to push a retired physical chunk to */
    uint32_t physical_mark;  /* physical ids at and above it were never used */
    uint32_t logical_mark;   /* logical ids at and above it were never used */
    uint32_t logical_free;   /* head of the list of free logical ids, through the live table; 0: none */
    uint32_t logical_count;  /* allocated logical chunks */
};
_Static_assert(sizeof(struct chunk_marks) == 40, "chunk_marks is shared, and part of the commit record");

enum chunk_cut_live {
    CHUNK_CUT_NONE,
    CHUNK_CUT_NEWEST, /* from chunk_cut() to chunk_cut_release() or chunk_cut_keep() */
    CHUNK_CUT_KEPT    /* its checkpoint is complete: a rollback goes to it */
};

/* One cut. Written by the task, but the checksums: by its snapshot child. */
struct chunk_cut {
    uint64_t number;        /* the caller's: the checkpoint's id */
    uint64_t retire_tail;   /* of the FIFO when the cut was taken: what is behind it may belong to the cut */
    uint32_t logical_mark;  /* size of the frozen table */
    uint32_t chunk_count;   /* allocated chunks in it */
    uint32_t written_count; /* of these, written since the previous cut */
    uint32_t live;          /* enum chunk_cut_live */
    uint32_t physical_mark; /* the table's physical ids are below it */
    uint32_t keep;          /* its chunks stay as they are while it is live; 0: until they are gathered */
    uint64_t table_checksum;
    uint64_t sums_checksum;
    uint64_t checksum;      /* of number, marks, counts and the two above: cut_seal(); 0: not sealed */
};
_Static_assert(sizeof(struct chunk_cut) == 64, "chunk_cut is shared");

/* Counts since the region was created; written by the task, read by anyone (a stale or torn count misleads only a
 * chart). */
struct chunk_counters {
    uint64_t copied;        /* chunks copied on first write */
    uint64_t copies_spared; /* first writes that found their chunk gathered already */
    uint64_t cuts;
    uint64_t given_up;      /* cuts that were to be kept and were not: too much memory */
};

/* The head of the file. All of it is written by the task only, but `cut_gathered`, and `unverified` by the snapshot child. */
struct chunk_header {
    uint64_t magic;
    uint32_t version;
    uint32_t chunk_shift;
    uint64_t limit_bytes;      /* as asked for */
    uint64_t file_bytes;
    uint64_t engine_offset, engine_bytes;
    uint64_t live_offset, frozen_offset, sums_offset, fifo_offset, pool_offset;
    uint32_t chunks_max;       /* physical and logical ids are below it; physical 0 is never used */
    uint32_t fifo_mask;        /* FIFO entries - 1 */
    uint32_t physical_backed;  /* physical ids below it have memory */
    uint32_t logical_backed;   /* entries of the tables below it have memory */
    uint64_t fifo_backed;      /* FIFO entries below it have memory */
    uint32_t cutting;          /* 1 while chunk_cut() changes the live table */
    uint32_t keep_chunks_max;  /* frozen chunks that kept cuts may hold; 0: none is kept */
    uint32_t keep_skip;        /* cuts that are not to be kept after one was given up: doubles */
    uint32_t keep_skip_left;
    uint64_t batch_tail;       /* retire_tail when the open batch began: what lies behind it may be undone */
    _Atomic uint64_t unverified; /* the cut that the region was rolled back to, while nobody has read its chunks since; 0: none */
    uint32_t image_chunks;     /* physical ids 1 .. image_chunks were promised to an image that is not all loaded; 0: none were */
    uint32_t image_backed;     /* of these, ids below it had memory before; the others get it when they are loaded */
    _Alignas(64) struct chunk_marks marks;
    _Alignas(64) struct chunk_cut cuts[CHUNK_CUTS_MAX];
    _Alignas(64) struct chunk_counters counters;
    /* All logical ids below it are copied out of the live cut. Stored by the reader of the cut with release, after
     * its last read of those chunks; loaded by the task with acquire, before it changes one in place. A stale (low)
     * value costs a copy. */
    _Alignas(64) _Atomic uint32_t cut_gathered;
};
_Static_assert(sizeof(struct chunk_header) == 512, "chunk_header is shared");
_Static_assert(sizeof(struct chunk_header) <= 1024, "the header fits the smallest chunk");

/* What an image is to be loaded from, chunk by chunk, when it is needed. */
struct chunk_image {
    /* Loads the chunk (chunk_load()), and others if it likes. Returns only when that is done: where it cannot be, the process ends. */
    void (*need)(struct chunk_image *image, uint32_t logical);
};

/* A process's view of a region. Private memory; the caller's. Copied by fork with the mapping. */
struct chunk_region {
    uint32_t *table;             /* the live table */
    unsigned char *pool;         /* physical chunk 0 */
    struct chunk_header *header; /* also the start of the mapping */
    struct undo_log *undo;       /* NULL: batches are not undone (a harness, --takeover=off) */
    uint32_t *fifo;
    uint64_t limit_bytes, engine_bytes; /* as it was made: the header may have been scribbled over */
    int fd;
    unsigned huge_failures, huge_skip; /* so often in a row there was no huge page; so many blocks until it is tried again */
    struct chunk_image *image;   /* where chunks on disk come from; NULL: there may be none */
};

/* Makes a region, empty, and maps it. limit_bytes bounds the physical chunks, live and frozen ones together (the
 * tables come on top: about 0.5 %); it is rounded down to whole chunks. Memory is taken as it is needed. Fails with
 * WEIR_EINVAL (limit outside CHUNK_LIMIT_BYTES_MIN .. _MAX), WEIR_ENOMEM, WEIR_ELIMIT (descriptors). `name` is for
 * /proc only. */
int chunk_region_create(struct chunk_region *region, const char *name, uint64_t limit_bytes, uint64_t engine_bytes,
                        struct weir_error *err);
/* Maps a region that exists, by its descriptor (kept, and closed by destroy). Its header is verified. */
int chunk_region_map(struct chunk_region *region, int fd, struct weir_error *err);
/* Unmaps; the descriptor stays open. */
void chunk_region_unmap(struct chunk_region *region);
/* Unmaps and closes. A zeroed or unmapped region is fine. */
void chunk_region_destroy(struct chunk_region *region);
/* Back to empty: no chunk, no cut. Keeps memory and the engine area as they are. Handles above this layer are void
 * after it. */
void chunk_region_reset(struct chunk_region *region);

/* Lets this process touch what there is memory for without a page fault each time: the live table and the chunks, a piece of some
 * megabytes a call (page tables of shared memory are not inherited by fork). *done_bytes is the caller's, 0 at first, and
 * where the last call came to. Takes no memory but for page tables: 0.2 % of it. Returns false when all is done; a region that has grown since
 * has more to do. Advice: an error of the kernel's (before 5.14 it has no such call) ends it. */
bool chunk_region_populate(const struct chunk_region *region, uint64_t *done_bytes);

/* The engine's own bytes (commit records, cut records), aligned to a page; zero at first. */
void *chunk_engine_area(const struct chunk_region *region, uint64_t *ret_size_bytes);

/* ------------------------------------------------------------------------------------------------ changes ------- */

/*
 * THE place where the undo log is written: called before `size_bytes` (up to 2^17 - 1) at `address` (anywhere in the region's
 * mapping) change. Contents of chunks get here by state_touch(), table entries by chunk_alloc(), chunk_free() and the first
 * write of a chunk (whose new physical chunk is free again once the marks are back).
 * Exempt: chunk_marks (the commit record carries them), cuts (they come between two batches), the flag of a first write in
 * place, slots of the FIFO behind retire_tail, the bytes of a chunk that was free when the batch began.
 */
static inline void state_before_change(struct chunk_region *region, const void *address, size_t size_bytes)
{
    if (region->undo != NULL)
        undo_note(region->undo, (uint64_t)((const unsigned char *)address - (const unsigned char *)region->header), address,
                  size_bytes);
}

/* state_before_change() for several places of one size. */
static inline void state_before_changes(struct chunk_region *region, void *const *addresses, size_t count, size_t size_bytes)
{
    if (region->undo != NULL)
        undo_note_all(region->undo, region->header, addresses, count, size_bytes);
}

/* A position in logical space: logical chunk * CHUNK_BYTES + offset. 0 is never a thing of its own (the root chunk's
 * header). */
static inline uint64_t state_pos(uint32_t logical, uint32_t offset)
{
    return ((uint64_t)logical << CHUNK_SHIFT) + offset;
}
static inline uint32_t state_pos_chunk(uint64_t pos) { return (uint32_t)(pos >> CHUNK_SHIFT); }
static inline uint32_t state_pos_offset(uint64_t pos) { return (uint32_t)(pos & (CHUNK_BYTES - 1)); }

static inline unsigned char *chunk_physical(const struct chunk_region *region, uint32_t entry)
{
    return region->pool + ((size_t)(entry & CHUNK_ID_MASK) << CHUNK_SHIFT);
}

/* True where chunk_write() needs no free chunk. */
static inline bool chunk_is_written(const struct chunk_region *region, uint32_t logical)
{
    return (region->table[logical] & CHUNK_WRITTEN) != 0;
}

void *chunk_first_write(struct chunk_region *region, uint32_t logical);

/* The chunk's bytes, to be changed. Takes up to one reserved chunk (see chunk_reserve). An address is good until the
 * next cut or the next first write of the same chunk: ask again rather than keep it. State code uses state_touch(). */
static inline void *chunk_write(struct chunk_region *region, uint32_t logical)
{
    uint32_t entry = region->table[logical];
    if (__builtin_expect((entry & CHUNK_WRITTEN) != 0, 1))
        return chunk_physical(region, entry);
    return chunk_first_write(region, logical);
}

/* Loads a chunk that is on disk. Returns its entry, as it is then. */
uint32_t chunk_need(const struct chunk_region *region, uint32_t logical);

static inline const void *chunk_read(const struct chunk_region *region, uint32_t logical)
{
    uint32_t entry = region->table[logical];
    DCHECK((entry & CHUNK_ID_MASK) != 0 && (entry & CHUNK_UNUSED) == 0);
    if (__builtin_expect((entry & CHUNK_ON_DISK) != 0, 0))
        entry = chunk_need(region, logical);
    return chunk_physical(region, entry);
}

/* The same of a chunk that is known not to be on disk: it was read or changed before, since the process began. Once loaded it stays so. */
static inline const void *chunk_read_again(const struct chunk_region *region, uint32_t logical)
{
    DCHECK((region->table[logical] & (CHUNK_UNUSED | CHUNK_ON_DISK)) == 0 && (region->table[logical] & CHUNK_ID_MASK) != 0);
    return chunk_physical(region, region->table[logical]);
}

/* The bytes at a position, for reading: up to the end of the chunk. Never copies. */
static inline const void *state_read(const struct chunk_region *region, uint64_t pos)
{
    return (const unsigned char *)chunk_read(region, state_pos_chunk(pos)) + state_pos_offset(pos);
}

static inline const void *state_read_again(const struct chunk_region *region, uint64_t pos)
{
    return (const unsigned char *)chunk_read_again(region, state_pos_chunk(pos)) + state_pos_offset(pos);
}

/* The bytes at a position, of which the next size_bytes (within the chunk) will be changed. A chunk must be
 * reserved. */
static inline void *state_touch(struct chunk_region *region, uint64_t pos, size_t size_bytes)
{
    DCHECK(state_pos_offset(pos) + size_bytes <= CHUNK_BYTES);
    unsigned char *bytes = (unsigned char *)chunk_write(region, state_pos_chunk(pos)) + state_pos_offset(pos);
    state_before_change(region, bytes, size_bytes);
    return bytes;
}

int chunk_reserve_slow(struct chunk_region *region, uint32_t count, struct weir_error *err);
int chunk_reserve_fifo(struct chunk_region *region, struct weir_error *err);
int chunk_reserve_writes_slow(struct chunk_region *region, uint32_t count, struct weir_error *err);

static inline bool chunk_has_cut(const struct chunk_region *region)
{
    return (region->header->cuts[0].live | region->header->cuts[1].live) != CHUNK_CUT_NONE;
}

/* Physical chunks that can be taken without a system call. */
static inline uint64_t chunk_available(const struct chunk_region *region)
{
    const struct chunk_marks *marks = &region->header->marks;
    return marks->release_pos - marks->free_head + region->header->physical_backed - marks->physical_mark;
}

/* Makes sure that `count` chunks, and CHUNK_SPARE more, can be taken by first writes and chunk_alloc(). Fails with
 * WEIR_ELIMIT (the text names --state-limit) or WEIR_ENOMEM, and then nothing has changed. Good until the next cut. */
static inline int chunk_reserve(struct chunk_region *region, uint32_t count, struct weir_error *err)
{
    if (__builtin_expect(chunk_available(region) >= (uint64_t)count + CHUNK_SPARE, 1) &&
        region->header->marks.retire_tail + 1024 <= region->header->fifo_backed)
        return WEIR_OK;
    return chunk_reserve_slow(region, count, err);
}

/* The same for an operation that changes chunks and may free some, but makes none: without a live cut that takes no
 * chunk at all, so it also works when the limit is reached. */
static inline int chunk_reserve_writes(struct chunk_region *region, uint32_t count, struct weir_error *err)
{
    if (chunk_has_cut(region))
        return chunk_reserve_writes_slow(region, count, err);
    if (region->header->marks.retire_tail + 1024 <= region->header->fifo_backed)
        return WEIR_OK;
    return chunk_reserve_fifo(region, err);
}

/* A new logical chunk, all zero, from the reserved ones. The first one of an empty region is 0. */
uint32_t chunk_alloc(struct chunk_region *region);
/* Its id may be used again at once; its bytes too, but for a cut and (with an undo log) before the batch has ended. */
void chunk_free(struct chunk_region *region, uint32_t logical);

/* ------------------------------------------------------------------------------------------------ batches ------- */

/*
 * What changes between chunk_batch_begin() and chunk_batch_end() can be undone, where the region has an undo log. The order of
 * a commit: chunk_batch_end(); the commit record, with header->marks in it, becomes current; chunk_batch_begin() of the next.
 * Without an undo log the calls may be left out: then what is freed may be used again at once.
 */
/* Gives the region an undo log (see undo.h); chunk_region_unmap() unmaps it as well. `name` is for /proc only. */
int chunk_undo_create(struct chunk_region *region, const char *name, uint64_t bytes_max, struct weir_error *err);
void chunk_batch_begin(struct chunk_region *region, uint64_t batch);
/* What the batch freed may be used by the next one. */
void chunk_batch_end(struct chunk_region *region);
/* In a process that takes over: state and marks become again what they were when batch `committed` was committed with these
 * marks. The cut, if one is live, stays as it is; one that was half taken is gone, and all chunks count as written. May be
 * repeated after a death in the middle. WEIR_ECORRUPT, WEIR_ELIMIT as undo_apply(), and then nothing has changed. */
int chunk_batch_undo(struct chunk_region *region, const struct chunk_marks *marks, uint64_t committed, uint64_t *ret_undone_bytes,
                     struct weir_error *err);

/* ------------------------------------------------------------------------------------------------ cuts ---------- */

/* Freezes the state as it is now, as cut `number`, the newest. No other may be the newest; one may be kept. Cannot fail;
 * copies the table (4 bytes a chunk). */
void chunk_cut(struct chunk_region *region, uint64_t number);
/* The newest cut is needed no more: what it alone held is free. */
void chunk_cut_release(struct chunk_region *region);
/* The newest cut, which the snapshot child may read, or NULL. */
const struct chunk_cut *chunk_cut_live(const struct chunk_region *region);

struct chunk_frozen {
    uint32_t logical;
    bool written;         /* since the previous cut (or since the region was empty or loaded) */
    const void *bytes;    /* NULL: still on disk */
    uint32_t image_index; /* then: the number of its block in the image */
};

/* The next allocated chunk of the newest cut at or above *logical, which is set to the id behind it. Start with 0.
 * False at the end. */
bool chunk_cut_next(const struct chunk_region *region, uint32_t *logical, struct chunk_frozen *ret_chunk);
/* The reader's word that it needs no logical chunk below `logical` of the newest cut any more. Only ever grows. */
void chunk_cut_gathered(struct chunk_region *region, uint32_t logical);

/* ------------------------------------------------------------------------------------------------ loading ------- */

/* Loads one chunk (CHUNK_BYTES) of an image into a region that was empty before the first call; ids in any order,
 * each once. Reserves by itself. Fails with WEIR_ELIMIT, WEIR_ENOMEM, WEIR_ECORRUPT (an id twice, or one that no
 * region can have). */
int chunk_restore(struct chunk_region *region, uint32_t logical, const void *bytes, struct weir_error *err);
/* After the last one: the ids in between become free, and all chunks count as not written since the last cut
 * (`written` false: the image is the previous checkpoint) or as written (true). */
void chunk_restore_finish(struct chunk_region *region, bool written);

/* The same in two steps. First all ids are promised, in the order of the image's blocks, and chunk_restore_finish(false) is called: from
 * then on the chunks may be read and changed, where region->image can load them. Fails as chunk_restore() does. */
int chunk_promise(struct chunk_region *region, uint32_t logical, struct weir_error *err);
static inline bool chunk_is_on_disk(const struct chunk_region *region, uint32_t logical)
{
    return (region->table[logical] & CHUNK_ON_DISK) != 0;
}
/* The number of its block in the image, for a chunk that is on disk. */
static inline uint32_t chunk_image_index(const struct chunk_region *region, uint32_t logical)
{
    return (region->table[logical] & CHUNK_ID_MASK) - 1;
}
/* The next chunk on disk at or above *logical, which is set to its id. False: there is none. */
bool chunk_next_on_disk(const struct chunk_region *region, uint32_t *logical);
/* Memory for the chunks of blocks [first, first + count) of the image. WEIR_ENOMEM. */
int chunk_load_reserve(struct chunk_region *region, uint32_t first, uint32_t count, struct weir_error *err);
/* The bytes (CHUNK_BYTES) of a chunk on disk, for which memory was reserved. A reader of a cut may go on meanwhile. */
void chunk_load(struct chunk_region *region, uint32_t logical, const void *bytes);
/* None is on disk any more. */
void chunk_load_finish(struct chunk_region *region);

/* ------------------------------------------------------------------------------------------------ counters ------ */

struct chunk_usage {
    uint64_t live_bytes;    /* allocated logical chunks */
    uint64_t frozen_bytes;  /* held for cuts only */
    uint64_t free_bytes;    /* taken before and free now */
    uint64_t backed_bytes;  /* memory taken from the system for chunks */
    uint64_t limit_bytes;
    uint64_t copied_chunks; /* since the region was created */
};
void chunk_usage(const struct chunk_region *region, struct chunk_usage *ret_usage);

#endif
