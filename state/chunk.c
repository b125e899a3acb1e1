#include "state/chunk.h"

#include "base/bytes.h"
#include "base/kill_point.h"
#include "shm/region.h"
#include "state/backing.h"
#include "state/cut.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_MAGIC UINT64_C(0x6b6e756863726577) /* "werchunk" */
#define CHUNK_VERSION 3
/* ------------------------------------------------------------------------------------------------ the file ------ */

static uint64_t next_power_of_two(uint64_t value)
{
    uint64_t power = 1;
    while (power < value)
        power <<= 1;
    return power;
}

static void lay_out(struct chunk_header *header, uint64_t limit_bytes, uint64_t engine_bytes)
{
    uint64_t chunks = (limit_bytes >> CHUNK_SHIFT) + 1; /* physical chunk 0 is never used */
    uint64_t table_bytes = align_up(chunks * sizeof(uint32_t), PAGE_BYTES);
    /* Twice: what a batch takes keeps its place in the FIFO until the batch is committed, and may be retired in it as well. */
    uint64_t fifo_entries = next_power_of_two(2 * chunks);
    header->magic = CHUNK_MAGIC;
    header->version = CHUNK_VERSION;
    header->chunk_shift = CHUNK_SHIFT;
    header->limit_bytes = limit_bytes;
    header->chunks_max = (uint32_t)chunks;
    header->fifo_mask = (uint32_t)(fifo_entries - 1);
    header->engine_offset = PAGE_BYTES;
    header->engine_bytes = align_up(engine_bytes, PAGE_BYTES);
    header->live_offset = header->engine_offset + header->engine_bytes;
    header->frozen_offset = header->live_offset + table_bytes;
    header->sums_offset = header->frozen_offset + CHUNK_CUTS_MAX * table_bytes;
    header->fifo_offset = header->sums_offset + CHUNK_CUTS_MAX * cut_sums_bytes(chunks);
    header->pool_offset = align_up(header->fifo_offset + fifo_entries * sizeof(uint32_t), REGION_HUGE_BYTES);
    header->file_bytes = align_up(header->pool_offset + (chunks << CHUNK_SHIFT), PAGE_BYTES);
}

static void set_addresses(struct chunk_region *region, unsigned char *base)
{
    region->header = (struct chunk_header *)(void *)base;
    region->table = (uint32_t *)(void *)(base + region->header->live_offset);
    region->fifo = (uint32_t *)(void *)(base + region->header->fifo_offset);
    region->pool = base + region->header->pool_offset;
    region->limit_bytes = region->header->limit_bytes;
    region->engine_bytes = region->header->engine_bytes;
}

static int check_limit(uint64_t limit_bytes, struct weir_error *err)
{
    if (limit_bytes >= CHUNK_LIMIT_BYTES_MIN && limit_bytes <= CHUNK_LIMIT_BYTES_MAX)
        return WEIR_OK;
    return error_set(err, WEIR_EINVAL, "--state-limit: %llu bytes is not between %llu and %llu",
                     (unsigned long long)limit_bytes,
                     (unsigned long long)CHUNK_LIMIT_BYTES_MIN, (unsigned long long)CHUNK_LIMIT_BYTES_MAX);
}

int chunk_region_create(struct chunk_region *region, const char *name, uint64_t limit_bytes, uint64_t engine_bytes,
                        struct weir_error *err)
{
    *region = (struct chunk_region){.fd = -1};
    int code = check_limit(limit_bytes, err);
    if (code != WEIR_OK)
        return code;
    struct chunk_header header = {0};
    lay_out(&header, limit_bytes, engine_bytes);
    void *base = NULL;
    int fd = -1;
    code = region_create(name, header.file_bytes, false, &fd, err);
    if (code != WEIR_OK)
        return code;
    code = region_map(fd, 0, header.file_bytes, &base, err);
    if (code != WEIR_OK) {
        close(fd);
        return code;
    }
    *region = (struct chunk_region){.header = base, .fd = fd};
    code = backing_give(region, 0, header.live_offset, err);
    if (code != WEIR_OK) {
        region_unmap(base, header.file_bytes);
        close(fd);
        *region = (struct chunk_region){.fd = -1};
        return code;
    }
    header.marks.physical_mark = 1;
    header.physical_backed = 1;
    memcpy(base, &header, sizeof header);
    set_addresses(region, base);
    return WEIR_OK;
}

static int verify_header(const struct chunk_header *header, uint64_t file_bytes, struct weir_error *err)
{
    if (header->magic != CHUNK_MAGIC)
        return error_set(err, WEIR_ECORRUPT, "state region: it does not begin with the magic number of one");
    if (header->version != CHUNK_VERSION || header->chunk_shift != CHUNK_SHIFT)
        return error_set(err, WEIR_EVERSION, "state region: version %u with chunks of 2^%u bytes, expected %u and 2^%u",
                         header->version, header->chunk_shift, CHUNK_VERSION, CHUNK_SHIFT);
    struct chunk_header expected = {0};
    if (check_limit(header->limit_bytes, NULL) == WEIR_OK && header->engine_bytes <= file_bytes)
        lay_out(&expected, header->limit_bytes, header->engine_bytes);
    if (memcmp(header, &expected, offsetof(struct chunk_header, physical_backed)) != 0 ||
        header->file_bytes != file_bytes)
        return error_set(err, WEIR_ECORRUPT, "state region: its header does not describe a file of %llu bytes",
                         (unsigned long long)file_bytes);
    return WEIR_OK;
}

int chunk_region_map(struct chunk_region *region, int fd, struct weir_error *err)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return error_set_errno(err, errno, "state region: fstat");
    if (status.st_size < (off_t)PAGE_BYTES)
        return error_set(err, WEIR_ECORRUPT, "state region: only %lld bytes", (long long)status.st_size);
    void *base = NULL;
    uint64_t file_bytes = (uint64_t)status.st_size;
    int code = region_map(fd, 0, file_bytes, &base, err);
    if (code != WEIR_OK)
        return code;
    code = verify_header(base, file_bytes, err);
    if (code != WEIR_OK) {
        region_unmap(base, file_bytes);
        return code;
    }
    *region = (struct chunk_region){.fd = fd};
    set_addresses(region, base);
    return WEIR_OK;
}

void chunk_region_unmap(struct chunk_region *region)
{
    if (region->header == NULL)
        return;
    undo_unmap(region->undo);
    region_unmap(region->header, region->header->file_bytes);
    *region = (struct chunk_region){.fd = region->fd};
}

void chunk_region_destroy(struct chunk_region *region)
{
    bool zeroed = region->header == NULL && region->fd == 0; /* never made: 0 is not its descriptor */
    chunk_region_unmap(region);
    if (region->fd >= 0 && !zeroed)
        close(region->fd);
    region->fd = -1;
}

bool chunk_header_is_sound(const struct chunk_region *region)
{
    const struct chunk_header *header = region->header;
    struct chunk_header expected = {0};
    lay_out(&expected, region->limit_bytes, region->engine_bytes);
    return memcmp(header, &expected, offsetof(struct chunk_header, physical_backed)) == 0 && header->physical_backed >= 1 &&
           header->physical_backed <= header->chunks_max &&
           header->logical_backed <= align_up(header->chunks_max, PAGE_BYTES / sizeof(uint32_t));
}

/* Whoever died may have written anywhere: what cannot be believed is made anew. */
static void mend_header(struct chunk_region *region)
{
    struct chunk_header *header = region->header;
    if (chunk_header_is_sound(region))
        return;
    lay_out(header, region->limit_bytes, region->engine_bytes);
    header->physical_backed = 1;
    header->logical_backed = 0;
    memset(region->table, 0, header->chunks_max * sizeof *region->table);
}

void chunk_region_reset(struct chunk_region *region)
{
    struct chunk_header *header = region->header;
    mend_header(region);
    memset(region->table, 0, header->logical_backed * sizeof *region->table);
    if (header->image_chunks != 0) /* what was not loaded got no memory; asking again for what has it costs none */
        header->physical_backed = 1;
    header->image_chunks = 0;
    header->marks = (struct chunk_marks){.physical_mark = 1};
    memset(header->cuts, 0, sizeof header->cuts);
    header->cutting = 0;
    header->fifo_backed = u64_min(header->fifo_backed, (uint64_t)header->fifo_mask + 1); /* positions begin again */
    header->keep_skip = header->keep_skip_left = 0;
    header->batch_tail = 0;
    atomic_store_explicit(&header->unverified, 0, memory_order_relaxed);
    if (region->undo != NULL)
        undo_begin(region->undo, 0); /* of no batch: never undone */
    atomic_store_explicit(&header->cut_gathered, 0, memory_order_relaxed);
}

void *chunk_engine_area(const struct chunk_region *region, uint64_t *ret_size_bytes)
{
    if (ret_size_bytes != NULL)
        *ret_size_bytes = region->header->engine_bytes;
    return backing_base(region) + region->header->engine_offset;
}

/* ------------------------------------------------------------------------------------------------ memory -------- */

static int limit_reached(const struct chunk_region *region, struct weir_error *err)
{
    struct chunk_usage usage;
    chunk_usage(region, &usage);
    return error_set(err, WEIR_ELIMIT,
                     "state: the limit of %llu KiB is reached (%llu KiB of state, %llu KiB held for the checkpoint in "
                     "progress): raise --state-limit",
                     (unsigned long long)(usage.limit_bytes >> 10), (unsigned long long)(usage.live_bytes >> 10),
                     (unsigned long long)(usage.frozen_bytes >> 10));
}

/* Exactly `wanted`, none to spare. */
static int reserve(struct chunk_region *region, uint64_t wanted, struct weir_error *err)
{
    struct chunk_header *header = region->header;
    int code = backing_give_fifo(region, err);
    /* State that is needed now comes before a cut that may be needed. Some room is left: what this batch has retired cannot be used. */
    uint64_t least = u64_max(wanted, header->chunks_max / 8);
    while (code == WEIR_OK && chunk_available(region) + header->chunks_max - header->physical_backed < least && cut_give_up(region))
        continue;
    uint64_t available = chunk_available(region);
    if (code != WEIR_OK || available >= wanted)
        return code;
    if (wanted - available > header->chunks_max - header->physical_backed)
        return limit_reached(region, err);
    return backing_grow_pool(region, wanted - available, err);
}

int chunk_reserve_fifo(struct chunk_region *region, struct weir_error *err) { return backing_give_fifo(region, err); }

int chunk_reserve_writes_slow(struct chunk_region *region, uint32_t count, struct weir_error *err)
{
    int code = chunk_reserve(region, count, err);
    return code != WEIR_OK && !chunk_has_cut(region) ? backing_give_fifo(region, err) : code; /* the last one was given up for it */
}

int chunk_reserve_slow(struct chunk_region *region, uint32_t count, struct weir_error *err)
{
    return reserve(region, (uint64_t)count + CHUNK_SPARE, err);
}

/* ------------------------------------------------------------------------------------------------ chunks -------- */

static uint32_t take_physical(struct chunk_region *region)
{
    struct chunk_marks *marks = &region->header->marks;
    if (marks->free_head < marks->release_pos)
        return region->fifo[marks->free_head++ & region->header->fifo_mask];
    CHECK(marks->physical_mark < region->header->physical_backed); /* somebody did not reserve */
    return marks->physical_mark++;
}

static void retire_physical(struct chunk_region *region, uint32_t physical)
{
    struct chunk_header *header = region->header;
    CHECK(header->marks.retire_tail < header->fifo_backed);
    region->fifo[header->marks.retire_tail & header->fifo_mask] = physical;
    header->marks.retire_tail++;
    if (!chunk_has_cut(region) && region->undo == NULL) /* with one: its bytes may be needed again, see chunk_batch_end() */
        header->marks.release_pos = header->marks.retire_tail;
}

/* Whether a cut still needs the bytes of a chunk that was not written since the newest one. */
static bool cut_needs(const struct chunk_region *region, uint32_t logical)
{
    if (!chunk_has_cut(region))
        return false;
    const struct chunk_cut *newest = chunk_cut_live(region);
    if (newest == NULL || newest->keep != 0 || cut_kept(region) != NULL)
        return true;
    /* Acquire: the reader's loads of this chunk happened before its release store, so they do not see what is
     * written next. */
    return logical >= atomic_load_explicit(&region->header->cut_gathered, memory_order_acquire);
}

void *chunk_first_write(struct chunk_region *region, uint32_t logical)
{
    uint32_t entry = region->table[logical];
    CHECK((entry & CHUNK_ID_MASK) != 0 && (entry & CHUNK_UNUSED) == 0);
    if ((entry & CHUNK_ON_DISK) != 0)
        entry = chunk_need(region, logical);
    if (!cut_needs(region, logical)) {
        region->header->counters.copies_spared += chunk_has_cut(region);
        region->table[logical] = entry | CHUNK_WRITTEN;
        return chunk_physical(region, entry);
    }
    uint32_t physical = take_physical(region);
    memcpy(chunk_physical(region, physical), chunk_physical(region, entry), CHUNK_BYTES);
    region->header->counters.copied++;
    KILL_POINT(t8);
    state_before_change(region, &region->table[logical], sizeof region->table[logical]);
    atomic_signal_fence(memory_order_release); /* a copy that is whole, before the switch: for whoever takes over */
    region->table[logical] = physical | CHUNK_WRITTEN;
    KILL_POINT(t9);
    retire_physical(region, entry & CHUNK_ID_MASK);
    return chunk_physical(region, physical);
}

static uint32_t take_logical(struct chunk_region *region)
{
    struct chunk_marks *marks = &region->header->marks;
    uint32_t logical = marks->logical_free;
    if (logical != 0) {
        CHECK((region->table[logical] & CHUNK_UNUSED) != 0);
        marks->logical_free = region->table[logical] & CHUNK_ID_MASK;
    } else {
        logical = marks->logical_mark;
        CHECK(logical < region->header->logical_backed);
        marks->logical_mark++;
    }
    marks->logical_count++;
    return logical;
}

uint32_t chunk_alloc(struct chunk_region *region)
{
    uint32_t physical = take_physical(region);
    memset(chunk_physical(region, physical), 0, CHUNK_BYTES);
    uint32_t logical = take_logical(region);
    state_before_change(region, &region->table[logical], sizeof region->table[logical]);
    region->table[logical] = physical | CHUNK_WRITTEN;
    return logical;
}

void chunk_free(struct chunk_region *region, uint32_t logical)
{
    struct chunk_marks *marks = &region->header->marks;
    uint32_t entry = region->table[logical];
    CHECK(logical != 0 && (entry & CHUNK_ID_MASK) != 0 && (entry & CHUNK_UNUSED) == 0);
    if ((entry & CHUNK_ON_DISK) != 0) /* so that what is on disk in a cut is so in the live table, and no undo brings it back */
        entry = chunk_need(region, logical);
    state_before_change(region, &region->table[logical], sizeof region->table[logical]);
    region->table[logical] = CHUNK_UNUSED | marks->logical_free;
    marks->logical_free = logical;
    marks->logical_count--;
    retire_physical(region, entry & CHUNK_ID_MASK);
}

/* ------------------------------------------------------------------------------------------------ batches ------- */

int chunk_undo_create(struct chunk_region *region, const char *name, uint64_t bytes_max, struct weir_error *err)
{
    return undo_create(name, bytes_max, &region->undo, err);
}

void chunk_batch_begin(struct chunk_region *region, uint64_t batch)
{
    region->header->batch_tail = region->header->marks.retire_tail;
    if (region->undo != NULL)
        undo_begin(region->undo, batch);
}

void chunk_batch_end(struct chunk_region *region)
{
    struct chunk_header *header = region->header;
    header->batch_tail = header->marks.retire_tail;
    if (!chunk_has_cut(region))
        header->marks.release_pos = header->marks.retire_tail;
    else
        cut_bound(region);
}

static bool marks_are_sound(const struct chunk_header *header, const struct chunk_marks *marks)
{
    return marks->free_head <= marks->release_pos && marks->release_pos <= marks->retire_tail &&
           marks->retire_tail - marks->free_head <= header->fifo_mask && marks->physical_mark >= 1 &&
           marks->physical_mark <= header->physical_backed && marks->logical_mark <= header->logical_backed &&
           marks->logical_free <= marks->logical_mark && marks->logical_count <= marks->logical_mark;
}

/* Some entries have lost their flag, and no cut has come of it: the flags of all say too much rather than too little. But what the
 * kept cut has as well was not written since. */
static void forget_half_a_cut(struct chunk_region *region)
{
    struct chunk_header *header = region->header;
    const struct chunk_cut *kept = cut_kept(region);
    const uint32_t *frozen = kept != NULL ? cut_table(region, kept) : NULL;
    for (uint32_t i = 0; chunk_cut_live(region) == NULL && i < header->marks.logical_mark; i++) {
        uint32_t entry = region->table[i];
        if ((entry & CHUNK_ID_MASK) == 0 || (entry & (CHUNK_UNUSED | CHUNK_ON_DISK)) != 0)
            continue;
        bool is_kept = kept != NULL && i < kept->logical_mark && (frozen[i] & ~CHUNK_WRITTEN) == (entry & ~CHUNK_WRITTEN);
        region->table[i] = is_kept ? entry & ~CHUNK_WRITTEN : entry | CHUNK_WRITTEN;
    }
    header->cutting = 0;
}

int chunk_batch_undo(struct chunk_region *region, const struct chunk_marks *marks, uint64_t committed, uint64_t *ret_undone_bytes,
                     struct weir_error *err)
{
    struct chunk_header *header = region->header;
    if (region->undo == NULL || !marks_are_sound(header, marks))
        return error_set(err, WEIR_ECORRUPT, "state: the marks of commit record %llu contradict the region",
                         (unsigned long long)committed);
    int code = undo_apply(region->undo, header, header->file_bytes, committed, ret_undone_bytes, err);
    if (code != WEIR_OK)
        return code;
    header->marks = *marks;
    cut_release_retired(region); /* as it may have been since, without a commit */
    if (header->cutting != 0)
        forget_half_a_cut(region);
    return WEIR_OK;
}

/* ------------------------------------------------------------------------------------------------ cuts ---------- */

static struct chunk_cut *cut_in(const struct chunk_region *region, enum chunk_cut_live live)
{
    struct chunk_cut *cuts = region->header->cuts;
    return cuts[0].live == live ? &cuts[0] : cuts[1].live == live ? &cuts[1] : NULL;
}

void chunk_cut(struct chunk_region *region, uint64_t number)
{
    struct chunk_header *header = region->header;
    struct chunk_cut *cut = cut_in(region, CHUNK_CUT_NONE);
    CHECK(cut != NULL && chunk_cut_live(region) == NULL);
    uint32_t *restrict frozen = cut_table(region, cut);
    uint32_t *restrict live = region->table;
    uint32_t written_count = 0;
    header->cutting = 1;
    atomic_signal_fence(memory_order_seq_cst);
    for (uint32_t i = 0; i < header->marks.logical_mark; i++) {
        uint32_t entry = live[i];
        frozen[i] = entry;
        live[i] = entry & ~CHUNK_WRITTEN;
        written_count += entry >> 31;
    }
    *cut = (struct chunk_cut){.number = number,
                              .retire_tail = header->marks.retire_tail,
                              .logical_mark = header->marks.logical_mark,
                              .chunk_count = header->marks.logical_count,
                              .written_count = written_count,
                              .physical_mark = header->marks.physical_mark,
                              /* One that has chunks on disk is not all in memory. */
                              .keep = header->image_chunks == 0 && cut_may_be_kept(region)};
    atomic_store_explicit(&header->cut_gathered, 0, memory_order_relaxed); /* no reader exists yet */
    atomic_signal_fence(memory_order_seq_cst); /* a cut that is whole, before it is live: for whoever takes over */
    cut->live = CHUNK_CUT_NEWEST;
    atomic_signal_fence(memory_order_seq_cst);
    header->cutting = 0;
    header->counters.cuts++;
}

void chunk_cut_release(struct chunk_region *region)
{
    struct chunk_cut *cut = cut_in(region, CHUNK_CUT_NEWEST);
    CHECK(cut != NULL);
    cut->live = CHUNK_CUT_NONE;
    atomic_signal_fence(memory_order_seq_cst); /* from here on chunk_batch_undo() releases as well */
    cut_release_retired(region);
}

const struct chunk_cut *chunk_cut_live(const struct chunk_region *region) { return cut_in(region, CHUNK_CUT_NEWEST); }

bool chunk_cut_next(const struct chunk_region *region, uint32_t *logical, struct chunk_frozen *ret_chunk)
{
    return cut_next(region, chunk_cut_live(region), logical, ret_chunk);
}

void chunk_cut_gathered(struct chunk_region *region, uint32_t logical)
{
    CHECK(logical >= atomic_load_explicit(&region->header->cut_gathered, memory_order_relaxed));
    /* Release: pairs with the acquire in cut_needs(). */
    atomic_store_explicit(&region->header->cut_gathered, logical, memory_order_release);
}

/* ------------------------------------------------------------------------------------------------ loading ------- */

/* Any number may stand in an image. */
static int check_image_id(const struct chunk_region *region, uint32_t logical, struct weir_error *err)
{
    const struct chunk_header *header = region->header;
    CHECK(!chunk_has_cut(region));
    if (logical > CHUNK_ID_MASK)
        return error_set(err, WEIR_ECORRUPT, "state image: chunk %u is not a possible one", logical);
    if (logical >= header->chunks_max)
        return error_set(err, WEIR_ELIMIT,
                         "state image: chunk %u is beyond the limit of %llu KiB: raise --state-limit", logical,
                         (unsigned long long)(header->limit_bytes >> 10));
    return WEIR_OK;
}

static int place_image_id(struct chunk_region *region, uint32_t logical, struct weir_error *err)
{
    int code = backing_give_tables(region, (uint64_t)logical + 1, err);
    if (code == WEIR_OK && region->table[logical] != 0)
        code = error_set(err, WEIR_ECORRUPT, "state image: chunk %u is there twice", logical);
    return code;
}

static void count_image_id(struct chunk_region *region, uint32_t logical)
{
    struct chunk_marks *marks = &region->header->marks;
    marks->logical_count++;
    if (logical >= marks->logical_mark)
        marks->logical_mark = logical + 1;
}

int chunk_restore(struct chunk_region *region, uint32_t logical, const void *bytes, struct weir_error *err)
{
    int code = check_image_id(region, logical, err);
    if (code == WEIR_OK)
        code = reserve(region, 1, err); /* what fitted once fits again: the spare ones are not asked for */
    if (code == WEIR_OK)
        code = place_image_id(region, logical, err);
    if (code != WEIR_OK)
        return code;
    uint32_t physical = take_physical(region);
    memcpy(chunk_physical(region, physical), bytes, CHUNK_BYTES);
    region->table[logical] = physical | CHUNK_WRITTEN;
    count_image_id(region, logical);
    return WEIR_OK;
}

void chunk_restore_finish(struct chunk_region *region, bool written)
{
    struct chunk_marks *marks = &region->header->marks;
    marks->logical_free = 0;
    for (uint32_t i = marks->logical_mark; i-- > 0;) {
        if (region->table[i] == 0 && i > 0) {
            region->table[i] = CHUNK_UNUSED | marks->logical_free;
            marks->logical_free = i;
        } else if (!written) {
            region->table[i] &= ~CHUNK_WRITTEN;
        }
    }
}

/* ------------------------------------------------------------------------------------------------ on disk ------- */

int chunk_promise(struct chunk_region *region, uint32_t logical, struct weir_error *err)
{
    struct chunk_header *header = region->header;
    int code = check_image_id(region, logical, err);
    if (code == WEIR_OK)
        code = backing_give_fifo(region, err);
    if (code == WEIR_OK)
        code = place_image_id(region, logical, err);
    if (code != WEIR_OK)
        return code;
    if (header->marks.physical_mark >= header->chunks_max)
        return limit_reached(region, err);
    CHECK(header->marks.physical_mark == header->image_chunks + 1); /* the region was empty: block n becomes physical chunk n + 1 */
    if (header->image_chunks == 0)
        header->image_backed = header->physical_backed;
    atomic_signal_fence(memory_order_seq_cst); /* whoever resets the region knows what had memory */
    header->image_chunks++;
    uint32_t physical = header->marks.physical_mark++;
    if (physical >= header->physical_backed)
        header->physical_backed = physical + 1;
    region->table[logical] = physical | CHUNK_ON_DISK;
    count_image_id(region, logical);
    return WEIR_OK;
}

bool chunk_next_on_disk(const struct chunk_region *region, uint32_t *logical)
{
    uint32_t end = region->header->marks.logical_mark;
    while (*logical < end && !chunk_is_on_disk(region, *logical))
        ++*logical;
    return *logical < end;
}

int chunk_load_reserve(struct chunk_region *region, uint32_t first, uint32_t count, struct weir_error *err)
{
    const struct chunk_header *header = region->header;
    CHECK((uint64_t)first + count <= header->image_chunks);
    if ((uint64_t)first + count < header->image_backed)
        return WEIR_OK;
    return backing_give_pool(region, (uint64_t)first + 1, (uint64_t)first + 1 + count, err);
}

/* In every cut that has it, then in the live table: what a cut has on disk is on disk there as well. Repeated after a death in the
 * middle, when the same bytes are written once more. */
void chunk_load(struct chunk_region *region, uint32_t logical, const void *bytes)
{
    const struct chunk_header *header = region->header;
    uint32_t entry = region->table[logical];
    CHECK((entry & CHUNK_ON_DISK) != 0 && (entry & CHUNK_ID_MASK) <= header->image_chunks);
    memcpy(chunk_physical(region, entry), bytes, CHUNK_BYTES);
    KILL_POINT(l1);
    for (unsigned i = 0; i < CHUNK_CUTS_MAX; i++) {
        uint32_t *frozen = cut_table(region, &header->cuts[i]) + logical;
        if (*frozen == entry)
            __atomic_store_n(frozen, entry & ~CHUNK_ON_DISK, __ATOMIC_RELEASE); /* pairs with cut_next() */
    }
    atomic_signal_fence(memory_order_seq_cst); /* bytes before the word that they are there: for whoever takes over */
    region->table[logical] = entry & ~CHUNK_ON_DISK;
    KILL_POINT(l2);
}

uint32_t chunk_need(const struct chunk_region *region, uint32_t logical)
{
    CHECK(region->image != NULL);
    region->image->need(region->image, logical);
    CHECK(!chunk_is_on_disk(region, logical));
    return region->table[logical];
}

void chunk_load_finish(struct chunk_region *region)
{
    region->header->image_chunks = 0;
}

void chunk_usage(const struct chunk_region *region, struct chunk_usage *ret_usage)
{
    const struct chunk_header *header = region->header;
    const struct chunk_marks *marks = &header->marks;
    *ret_usage = (struct chunk_usage){
        .live_bytes = (uint64_t)marks->logical_count << CHUNK_SHIFT,
        .frozen_bytes = (marks->retire_tail - marks->release_pos) << CHUNK_SHIFT,
        .free_bytes = (marks->release_pos - marks->free_head) << CHUNK_SHIFT,
        .backed_bytes = (uint64_t)(header->physical_backed - 1) << CHUNK_SHIFT,
        .limit_bytes = header->limit_bytes,
        .copied_chunks = header->counters.copied,
    };
}
