#include "state/backing.h"

#include "base/bytes.h"
#include "shm/region.h"
#include "state/cut.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

/* Memory is taken in steps of an eighth of what there is: few calls, and a pause of under a millisecond or so for
 * each. */
#define STEP_BYTES_MIN (UINT64_C(256) << 10)
#define STEP_BYTES_MAX REGION_HUGE_BYTES
#define BLOCK_CHUNKS (REGION_HUGE_BYTES >> CHUNK_SHIFT)
#define HUGE_FAILURES_MAX 12u
#define FIFO_STEP 4096u /* entries */

#define POPULATE_STEP_BYTES (UINT64_C(2) << 20) /* a huge page; or 512 small ones: 0.2 ms */

/* By way of the mapping where the kernel can (5.14): it is mapped then as well. */
int backing_give(const struct chunk_region *region, uint64_t offset, uint64_t size_bytes, struct weir_error *err)
{
    uint64_t first = offset & ~(PAGE_BYTES - 1);
    uint64_t end = align_up(offset + size_bytes, PAGE_BYTES);
    int errno_value;
    do {
        if (madvise(backing_base(region) + first, end - first, MADV_POPULATE_WRITE) == 0)
            return WEIR_OK;
        errno_value = errno;
    } while (errno_value == EINTR || errno_value == EAGAIN);
    if (errno_value == EINVAL) {
        if (fallocate(region->fd, 0, (off_t)first, (off_t)(end - first)) == 0)
            return WEIR_OK;
        errno_value = errno;
    }
    if (errno_value == EFAULT)
        errno_value = ENOMEM;
    return error_set_errno(err, errno_value, "state: no memory for %llu KiB more",
                           (unsigned long long)((end - first) >> 10));
}

int backing_give_tables(struct chunk_region *region, uint64_t entries, struct weir_error *err)
{
    struct chunk_header *header = region->header;
    uint64_t per_page = PAGE_BYTES / sizeof(uint32_t);
    uint64_t end = u64_min(align_up(entries, per_page), align_up(header->chunks_max, per_page));
    if (end <= header->logical_backed)
        return WEIR_OK;
    uint64_t table_bytes = (header->sums_offset - header->frozen_offset) / CHUNK_CUTS_MAX;
    uint64_t sums_bytes = (header->fifo_offset - header->sums_offset) / CHUNK_CUTS_MAX;
    for (unsigned i = 0; i <= CHUNK_CUTS_MAX; i++) { /* the live one is followed by the frozen ones */
        uint64_t offset = header->live_offset + i * table_bytes + header->logical_backed * sizeof(uint32_t);
        int code = backing_give(region, offset, (end - header->logical_backed) * sizeof(uint32_t), err);
        if (code == WEIR_OK && i < CHUNK_CUTS_MAX)
            code = backing_give(region, header->sums_offset + i * sums_bytes, cut_sums_bytes(end), err);
        if (code != WEIR_OK)
            return code;
    }
    header->logical_backed = (uint32_t)end;
    return WEIR_OK;
}

int backing_give_fifo(struct chunk_region *region, struct weir_error *err)
{
    struct chunk_header *header = region->header;
    while (header->marks.retire_tail + 1024 > header->fifo_backed) {
        uint64_t end = u64_min(header->fifo_backed + FIFO_STEP, (uint64_t)header->fifo_mask + 1);
        int code = backing_give(region, header->fifo_offset + header->fifo_backed * sizeof(uint32_t),
                              (end - header->fifo_backed) * sizeof(uint32_t), err);
        if (code != WEIR_OK)
            return code;
        header->fifo_backed = end > header->fifo_mask ? UINT64_MAX : end; /* from then on it only wraps */
    }
    return WEIR_OK;
}

/* Where there are none now there may be some later: it is tried again, more and more rarely. */
static bool make_huge(struct chunk_region *region, uint64_t block)
{
    if (region->huge_skip > 0) {
        region->huge_skip--;
        return false;
    }
    if (region_make_huge(region->pool + block)) {
        region->huge_failures = 0;
        return true;
    }
    region->huge_failures += region->huge_failures < HUGE_FAILURES_MAX;
    region->huge_skip = 1u << region->huge_failures;
    return false;
}

/* Whether the block of REGION_HUGE_BYTES is one that may be huge: not the first, and not beyond the end of the file. */
static bool may_be_huge(const struct chunk_region *region, uint64_t block)
{
    return block > 0 && block + REGION_HUGE_BYTES <= region->header->file_bytes - region->header->pool_offset;
}

int backing_give_pool(struct chunk_region *region, uint64_t first, uint64_t end, struct weir_error *err)
{
    uint64_t at = first << CHUNK_SHIFT, end_bytes = end << CHUNK_SHIFT;
    int code = WEIR_OK;
    while (code == WEIR_OK && at < end_bytes) {
        uint64_t block = at & ~(REGION_HUGE_BYTES - 1);
        uint64_t stop = u64_min(block + REGION_HUGE_BYTES, end_bytes);
        if (!may_be_huge(region, block) || !make_huge(region, block))
            code = backing_give(region, region->header->pool_offset + at, stop - at, err);
        at = stop;
    }
    return code;
}

int backing_grow_pool(struct chunk_region *region, uint64_t chunks, struct weir_error *err)
{
    struct chunk_header *header = region->header;
    uint64_t step_bytes = ((uint64_t)header->physical_backed << CHUNK_SHIFT) / 8;
    step_bytes = u64_min(u64_max(step_bytes, STEP_BYTES_MIN), STEP_BYTES_MAX);
    uint64_t end = header->physical_backed + u64_max(chunks, step_bytes >> CHUNK_SHIFT);
    if (end > BLOCK_CHUNKS) /* whole blocks */
        end = align_up(end, BLOCK_CHUNKS);
    end = u64_min(end, header->chunks_max);
    int code = backing_give_tables(region, end, err);
    if (code == WEIR_OK)
        code = backing_give_pool(region, header->physical_backed, end, err);
    if (code == WEIR_OK)
        header->physical_backed = (uint32_t)end;
    return code;
}

bool chunk_region_populate(const struct chunk_region *region, uint64_t *done_bytes)
{
    const struct chunk_header *header = region->header;
    uint64_t table_bytes = (uint64_t)header->logical_backed * sizeof(uint32_t);
    uint32_t backed = header->image_chunks != 0 ? header->image_backed : header->physical_backed; /* what is not loaded may have no memory */
    uint64_t pool_bytes = (uint64_t)backed << CHUNK_SHIFT;
    uint64_t end = u64_min(*done_bytes + POPULATE_STEP_BYTES, pool_bytes) & ~(PAGE_BYTES - 1);
    if (end <= *done_bytes)
        return false;
    uint64_t first = (header->pool_offset + *done_bytes) & ~(PAGE_BYTES - 1);
    bool populated = madvise(backing_base(region) + first, end - *done_bytes, MADV_POPULATE_READ) == 0;
    if (populated && *done_bytes == 0)
        populated = madvise(backing_base(region) + (header->live_offset & ~(PAGE_BYTES - 1)), table_bytes, MADV_POPULATE_READ) == 0;
    *done_bytes = populated ? end : UINT64_MAX;
    return populated;
}

