#include "state/cut.h"

#include "base/bytes.h"
#include "base/kill_point.h"
#include "state/key.h" /* XXH3 */

#include <stdlib.h>

#define PAGE_BYTES UINT64_C(4096)
#define KEEP_SKIP_MAX 63u

/* What cut_seal() is computed over, in this order. */
struct cut_sealed {
    uint64_t number;
    uint64_t table_checksum;
    uint64_t sums_checksum;
    uint32_t logical_mark;
    uint32_t chunk_count;
    uint32_t physical_mark;
    uint32_t reserved;
};

static struct chunk_cut *cut_at(const struct chunk_region *region, enum chunk_cut_live live)
{
    struct chunk_cut *cuts = region->header->cuts;
    return cuts[0].live == live ? &cuts[0] : cuts[1].live == live ? &cuts[1] : NULL;
}

const struct chunk_cut *cut_kept(const struct chunk_region *region) { return cut_at(region, CHUNK_CUT_KEPT); }

static size_t index_of(const struct chunk_region *region, const struct chunk_cut *cut) { return (size_t)(cut - region->header->cuts); }

uint64_t cut_sums_bytes(uint64_t chunks) { return align_up((chunks / CHUNK_SUM_CHUNKS + 1) * sizeof(uint64_t), PAGE_BYTES); }

uint32_t *cut_table(const struct chunk_region *region, const struct chunk_cut *cut)
{
    const struct chunk_header *header = region->header;
    uint64_t table_bytes = (header->sums_offset - header->frozen_offset) / CHUNK_CUTS_MAX;
    unsigned char *first = (unsigned char *)region->header + header->frozen_offset;
    return (uint32_t *)(void *)(first + index_of(region, cut) * table_bytes);
}

static uint64_t *cut_sums(const struct chunk_region *region, const struct chunk_cut *cut)
{
    const struct chunk_header *header = region->header;
    uint64_t sums_bytes = (header->fifo_offset - header->sums_offset) / CHUNK_CUTS_MAX;
    unsigned char *first = (unsigned char *)region->header + header->sums_offset;
    return (uint64_t *)(void *)(first + index_of(region, cut) * sums_bytes);
}

static size_t sum_count(const struct chunk_cut *cut) { return cut->logical_mark / CHUNK_SUM_CHUNKS + 1; }

bool cut_next(const struct chunk_region *region, const struct chunk_cut *cut, uint32_t *logical, struct chunk_frozen *ret_chunk)
{
    const uint32_t *frozen = cut_table(region, cut);
    for (uint32_t i = *logical; i < cut->logical_mark; i++) {
        uint32_t entry = __atomic_load_n(&frozen[i], __ATOMIC_ACQUIRE); /* pairs with chunk_load(): its bytes, or none of them */
        if ((entry & CHUNK_UNUSED) != 0 || (entry & CHUNK_ID_MASK) == 0)
            continue;
        bool on_disk = (entry & CHUNK_ON_DISK) != 0; /* never in a kept cut */
        *ret_chunk = (struct chunk_frozen){.logical = i,
                                           .written = (entry & CHUNK_WRITTEN) != 0,
                                           .bytes = on_disk ? NULL : chunk_physical(region, entry),
                                           .image_index = on_disk ? (entry & CHUNK_ID_MASK) - 1 : 0};
        *logical = i + 1;
        return true;
    }
    *logical = cut->logical_mark;
    return false;
}

/* ------------------------------------------------------------------------------------------------ keeping ------- */

void cut_set_memory(struct chunk_region *region, uint64_t size_bytes)
{
    region->header->keep_chunks_max = (uint32_t)u64_min(size_bytes >> CHUNK_SHIFT, region->header->chunks_max);
}

bool cut_may_be_kept(struct chunk_region *region)
{
    struct chunk_header *header = region->header;
    if (header->keep_chunks_max == 0)
        return false;
    if (header->keep_skip_left == 0)
        return true;
    header->keep_skip_left--;
    return false;
}

/* Where the oldest cut began: retired chunks behind it may be its own. */
static uint64_t retired_for_cuts(const struct chunk_region *region, uint64_t none)
{
    const struct chunk_cut *kept = cut_kept(region), *newest = chunk_cut_live(region);
    return kept != NULL ? kept->retire_tail : newest != NULL ? newest->retire_tail : none;
}

static void release_up_to(struct chunk_region *region, uint64_t pos)
{
    struct chunk_marks *marks = &region->header->marks;
    marks->release_pos = u64_max(marks->release_pos, u64_min(retired_for_cuts(region, pos), pos));
}

void cut_release_retired(struct chunk_region *region) { release_up_to(region, region->header->marks.retire_tail); }

void cut_keep(struct chunk_region *region)
{
    struct chunk_cut *newest = cut_at(region, CHUNK_CUT_NEWEST), *kept = cut_at(region, CHUNK_CUT_KEPT);
    CHECK(newest != NULL);
    if (newest->keep == 0) {
        chunk_cut_release(region);
        return;
    }
    if (kept != NULL) {
        kept->live = CHUNK_CUT_NONE;
        region->header->keep_skip = 0; /* one has lasted from cut to cut: so will others */
        atomic_signal_fence(memory_order_seq_cst); /* never two of them: for whoever takes over */
    }
    newest->live = CHUNK_CUT_KEPT;
    atomic_signal_fence(memory_order_seq_cst);
    cut_release_retired(region);
}

/* What was retired before `pos` may be used again. */
static bool give_up(struct chunk_region *region, uint64_t pos)
{
    struct chunk_header *header = region->header;
    struct chunk_cut *kept = cut_at(region, CHUNK_CUT_KEPT), *newest = cut_at(region, CHUNK_CUT_NEWEST);
    if (kept == NULL && (newest == NULL || newest->keep == 0))
        return false;
    if (kept != NULL)
        kept->live = CHUNK_CUT_NONE;
    else
        newest->keep = 0;
    atomic_signal_fence(memory_order_seq_cst); /* nobody's before it is used again */
    release_up_to(region, pos);
    header->counters.given_up++;
    header->keep_skip = (uint32_t)u64_min(2 * header->keep_skip + 1, KEEP_SKIP_MAX);
    header->keep_skip_left = header->keep_skip;
    return true;
}

bool cut_give_up(struct chunk_region *region)
{
    const struct chunk_header *header = region->header;
    return give_up(region, region->undo != NULL ? header->batch_tail : header->marks.retire_tail);
}

/* Also where little of the limit is left: a cut is not worth a job that fails. */
void cut_bound(struct chunk_region *region)
{
    const struct chunk_header *header = region->header;
    const struct chunk_marks *marks = &header->marks;
    uint64_t frozen = marks->retire_tail - marks->release_pos;
    uint64_t used = marks->physical_mark - (marks->release_pos - marks->free_head);
    if (frozen <= header->keep_chunks_max && used <= header->chunks_max - header->chunks_max / 8)
        return;
    if (frozen == 0 || cut_unverified(region) != 0) /* it holds nothing; or it is all that tells whether the state is good */
        return;
    (void)give_up(region, marks->retire_tail);
}

/* ------------------------------------------------------------------------------------------------ checksums ----- */

static uint64_t table_checksum(const struct chunk_region *region, const struct chunk_cut *cut)
{
    return XXH3_64bits(cut_table(region, cut), cut->logical_mark * sizeof(uint32_t));
}

static uint64_t seal_of(const struct chunk_cut *cut)
{
    struct cut_sealed sealed = {cut->number,       cut->table_checksum, cut->sums_checksum, cut->logical_mark,
                                cut->chunk_count,  cut->physical_mark,  0};
    return XXH3_64bits(&sealed, sizeof sealed);
}

void cut_seal_begin(struct chunk_region *region)
{
    struct chunk_cut *cut = cut_at(region, CHUNK_CUT_NEWEST);
    CHECK(cut != NULL);
    cut->table_checksum = table_checksum(region, cut);
    memset(cut_sums(region, cut), 0, sum_count(cut) * sizeof(uint64_t));
}

void cut_sum(struct chunk_region *region, uint32_t logical, uint64_t checksum)
{
    cut_sums(region, cut_at(region, CHUNK_CUT_NEWEST))[logical / CHUNK_SUM_CHUNKS] += checksum;
}

void cut_seal(struct chunk_region *region)
{
    struct chunk_cut *cut = cut_at(region, CHUNK_CUT_NEWEST);
    cut->sums_checksum = XXH3_64bits(cut_sums(region, cut), sum_count(cut) * sizeof(uint64_t));
    cut->checksum = seal_of(cut);
}

uint64_t cut_unverified(const struct chunk_region *region)
{
    return atomic_load_explicit(&region->header->unverified, memory_order_relaxed);
}

static int compare_sums(const struct chunk_region *region, const struct chunk_cut *cut, cut_checksum_fn checksum, void *self,
                        struct weir_error *err)
{
    const uint64_t *sums = cut_sums(region, cut);
    uint32_t logical = 0;
    struct chunk_frozen chunk;
    bool more = cut_next(region, cut, &logical, &chunk);
    for (size_t i = 0; i < sum_count(cut); i++) {
        uint64_t sum = 0;
        for (; more && chunk.logical / CHUNK_SUM_CHUNKS == i; more = cut_next(region, cut, &logical, &chunk))
            sum += checksum(self, chunk.logical, chunk.bytes);
        if (sum != sums[i])
            return error_set(err, WEIR_ECORRUPT, "frozen chunks %zu to %zu of cut %llu: their checksums give %016llx, the snapshot's gave %016llx",
                             i * CHUNK_SUM_CHUNKS, (i + 1) * CHUNK_SUM_CHUNKS - 1, (unsigned long long)cut->number,
                             (unsigned long long)sum, (unsigned long long)sums[i]);
    }
    return WEIR_OK;
}

int cut_verify(struct chunk_region *region, cut_checksum_fn checksum, void *self, struct weir_error *err)
{
    uint64_t number = cut_unverified(region);
    if (number == 0)
        return WEIR_OK;
    const struct chunk_cut *kept = cut_kept(region);
    if (kept == NULL || kept->number != number)
        return error_set(err, WEIR_ECORRUPT, "cut %llu was given up for its memory before it was verified", (unsigned long long)number);
    int code = compare_sums(region, kept, checksum, self, err);
    if (code == WEIR_OK)
        atomic_store_explicit(&region->header->unverified, 0, memory_order_relaxed);
    return code;
}

/* ------------------------------------------------------------------------------------------------ rollback ------ */

static struct chunk_cut *cut_numbered(const struct chunk_region *region, uint64_t number)
{
    struct chunk_cut *cuts = region->header->cuts;
    for (unsigned i = 0; i < CHUNK_CUTS_MAX; i++)
        if (cuts[i].live != CHUNK_CUT_NONE && cuts[i].keep != 0 && cuts[i].number == number)
            return &cuts[i];
    return NULL;
}

bool cut_is_there(const struct chunk_region *region, uint64_t number) { return cut_numbered(region, number) != NULL; }

static int check_cut(const struct chunk_region *region, const struct chunk_cut *cut, struct weir_error *err)
{
    const struct chunk_header *header = region->header;
    if (cut->checksum != seal_of(cut) || cut->logical_mark > header->chunks_max || cut->physical_mark > header->chunks_max ||
        cut->chunk_count >= u64_max(cut->physical_mark, 1))
        return error_set(err, WEIR_ECORRUPT, "cut %llu: its numbers fail their checksum", (unsigned long long)cut->number);
    if (cut->table_checksum != table_checksum(region, cut))
        return error_set(err, WEIR_ECORRUPT, "cut %llu: its chunk table fails its checksum", (unsigned long long)cut->number);
    if (cut->sums_checksum != XXH3_64bits(cut_sums(region, cut), sum_count(cut) * sizeof(uint64_t)))
        return error_set(err, WEIR_ECORRUPT, "cut %llu: the sums of its chunks fail their checksum", (unsigned long long)cut->number);
    return WEIR_OK;
}

/* The live table is the frozen one, with the list of free ids made anew. used: a bit for each physical chunk. */
static int switch_table(struct chunk_region *region, const struct chunk_cut *cut, unsigned char *used, struct weir_error *err)
{
    const uint32_t *frozen = cut_table(region, cut);
    uint32_t free_list = 0, count = 0;
    for (uint32_t i = cut->logical_mark; i-- > 0;) {
        uint32_t id = frozen[i] & CHUNK_ID_MASK;
        if (i == cut->logical_mark / 2)
            KILL_POINT(v2);
        if ((frozen[i] & CHUNK_UNUSED) != 0 || id == 0) {
            region->table[i] = CHUNK_UNUSED | free_list;
            free_list = i;
            continue;
        }
        if (id >= cut->physical_mark || (used[id / 8] >> id % 8 & 1) != 0)
            return error_set(err, WEIR_ECORRUPT, "cut %llu: chunk %u is in a place that cannot be", (unsigned long long)cut->number, i);
        used[id / 8] |= (unsigned char)(1u << id % 8);
        region->table[i] = id;
        count++;
    }
    if (count != cut->chunk_count)
        return error_set(err, WEIR_ECORRUPT, "cut %llu: %u chunks in its table, %u were counted", (unsigned long long)cut->number, count,
                         cut->chunk_count);
    region->header->marks.logical_free = free_list;
    return WEIR_OK;
}

/* Every physical chunk below the mark that the table does not name is free. */
static void free_the_rest(struct chunk_region *region, uint32_t physical_mark, const unsigned char *used)
{
    uint64_t tail = 0;
    for (uint32_t id = 1; id < physical_mark; id++)
        if ((used[id / 8] >> id % 8 & 1) == 0)
            region->fifo[tail++] = id;
    CHECK(tail == region->header->marks.retire_tail);
}

static int switch_to(struct chunk_region *region, struct chunk_cut *cut, unsigned char *used, struct weir_error *err)
{
    struct chunk_header *header = region->header;
    uint64_t number = cut->number;
    uint32_t logical_backed = header->logical_backed;
    atomic_store_explicit(&header->unverified, number, memory_order_relaxed);
    header->cuts[1 - index_of(region, cut)].live = CHUNK_CUT_NONE;
    header->cutting = 0;
    header->image_chunks = 0;
    header->keep_skip = header->keep_skip_left = 0;
    if (logical_backed > cut->logical_mark) /* ids beyond it were never used */
        memset(&region->table[cut->logical_mark], 0, (logical_backed - cut->logical_mark) * sizeof *region->table);
    int code = switch_table(region, cut, used, err);
    if (code != WEIR_OK)
        return code;
    uint64_t free_count = cut->physical_mark - 1 - cut->chunk_count;
    header->marks = (struct chunk_marks){.release_pos = free_count,
                                         .retire_tail = free_count,
                                         .physical_mark = cut->physical_mark,
                                         .logical_mark = cut->logical_mark,
                                         .logical_free = header->marks.logical_free,
                                         .logical_count = cut->chunk_count};
    header->physical_backed = cut->physical_mark; /* at least: what has memory already costs nothing */
    header->fifo_backed = 0;
    code = chunk_reserve_fifo(region, err);
    if (code != WEIR_OK)
        return code;
    free_the_rest(region, cut->physical_mark, used);
    cut->retire_tail = free_count;
    cut->live = CHUNK_CUT_KEPT;
    header->batch_tail = free_count;
    atomic_store_explicit(&header->cut_gathered, 0, memory_order_relaxed);
    if (region->undo != NULL)
        undo_begin(region->undo, 0); /* of no batch: never undone */
    return WEIR_OK;
}

int cut_roll_back(struct chunk_region *region, uint64_t number, struct weir_error *err)
{
    if (!chunk_header_is_sound(region))
        return error_set(err, WEIR_ECORRUPT, "the head of the region is not what it was");
    struct chunk_cut *cut = cut_numbered(region, number);
    if (cut == NULL)
        return error_set(err, WEIR_ENOENT, "cut %llu is not in memory", (unsigned long long)number);
    int code = check_cut(region, cut, err);
    if (code != WEIR_OK)
        return code;
    unsigned char *used = calloc(cut->physical_mark / 8 + 1, 1);
    if (used == NULL)
        return error_set(err, WEIR_ENOMEM, "no memory for a map of %u chunks", cut->physical_mark);
    code = switch_to(region, cut, used, err);
    free(used);
    return code;
}
