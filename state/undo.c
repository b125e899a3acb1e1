#include "state/undo.h"

#include "base/bytes.h"
#include "base/check.h"
#include "shm/region.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define UNDO_MAGIC UINT64_C(0x676f6c6f646e7577) /* "wundolog" */
#define PAGE_BYTES UINT64_C(4096)
#define STEP_BYTES_MIN (UINT64_C(64) << 10)

int undo_create(const char *name, uint64_t bytes_max, struct undo_log **ret_log, struct weir_error *err)
{
    const uint64_t file_bytes = align_up(sizeof(struct undo_log) + bytes_max, PAGE_BYTES);
    int fd = -1;
    void *address = NULL;
    int code = region_create(name, file_bytes, false, &fd, err);
    if (code != WEIR_OK)
        return error_context(err, "undo log");
    code = region_map(fd, 0, file_bytes, &address, err);
    close(fd); /* the mapping is inherited */
    if (code != WEIR_OK)
        return error_context(err, "undo log");
    struct undo_log *log = address;
    log->magic = UNDO_MAGIC;
    log->file_bytes = file_bytes;
    *ret_log = log;
    return WEIR_OK;
}

void undo_unmap(struct undo_log *log)
{
    if (log != NULL)
        region_unmap(log, log->file_bytes);
}

void undo_begin(struct undo_log *log, uint64_t batch)
{
    /* Empty before it is the next batch's: between the two it is void. */
    atomic_store_explicit(&log->used_bytes, 0, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&log->batch, batch, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
}

bool undo_make_room(struct undo_log *log, uint64_t size_bytes)
{
    if (size_bytes <= log->file_bytes - sizeof *log && log->lost_batch != log->batch) {
        uint64_t wanted = u64_max(size_bytes, log->backed_bytes + u64_max(log->backed_bytes / 2, STEP_BYTES_MIN));
        uint64_t end = u64_min(align_up(sizeof *log + wanted, PAGE_BYTES), log->file_bytes);
        uint64_t first = (sizeof *log + log->backed_bytes) & ~(PAGE_BYTES - 1);
        int result;
        do
            result = madvise((unsigned char *)log + first, end - first, MADV_POPULATE_WRITE);
        while (result != 0 && (errno == EINTR || errno == EAGAIN));
        /* EINVAL: a kernel before 5.14. Then a lack of memory is a signal, at the first touch, and a death of its own fault. */
        if (result == 0 || errno == EINVAL) {
            log->backed_bytes = end - sizeof *log;
            return true;
        }
    }
    log->lost_batch = log->batch;
    return false;
}

/* The entry that ends at `end`; false where there can be none. */
static bool entry_before(const struct undo_log *log, uint64_t end, uint64_t limit_bytes, uint64_t *ret_begin, uint64_t *ret_offset,
                         uint64_t *ret_size_bytes)
{
    uint64_t word;
    if (end < 2 * sizeof word)
        return false;
    memcpy(&word, log->entries + end - sizeof word, sizeof word);
    uint64_t offset = word >> UNDO_SIZE_BITS;
    uint64_t size_bytes = word & ((UINT64_C(1) << UNDO_SIZE_BITS) - 1);
    uint64_t padded_bytes = align_up(size_bytes, 8);
    if (size_bytes == 0 || padded_bytes > end - sizeof word || offset > limit_bytes || size_bytes > limit_bytes - offset)
        return false;
    *ret_begin = end - sizeof word - padded_bytes;
    *ret_offset = offset;
    *ret_size_bytes = size_bytes;
    return true;
}

static int check_entries(const struct undo_log *log, uint64_t used_bytes, uint64_t limit_bytes, struct weir_error *err)
{
    for (uint64_t end = used_bytes; end > 0;) {
        uint64_t offset, size_bytes;
        if (!entry_before(log, end, limit_bytes, &end, &offset, &size_bytes))
            return error_set(err, WEIR_ECORRUPT, "undo log of batch %llu: no entry ends at byte %llu of %llu",
                             (unsigned long long)log->batch, (unsigned long long)end, (unsigned long long)used_bytes);
    }
    return WEIR_OK;
}

int undo_apply(struct undo_log *log, void *base, uint64_t size_bytes, uint64_t committed_batch, uint64_t *ret_undone_bytes,
               struct weir_error *err)
{
    uint64_t used_bytes = atomic_load_explicit(&log->used_bytes, memory_order_relaxed);
    uint64_t batch = atomic_load_explicit(&log->batch, memory_order_relaxed);
    *ret_undone_bytes = 0;
    if (batch <= committed_batch)
        return WEIR_OK;
    if (batch != committed_batch + 1 || used_bytes > log->backed_bytes || used_bytes % 8 != 0 ||
        log->backed_bytes > log->file_bytes - sizeof *log || log->magic != UNDO_MAGIC)
        return error_set(err, WEIR_ECORRUPT, "undo log: %llu bytes of batch %llu, but batch %llu was the last that was committed",
                         (unsigned long long)used_bytes, (unsigned long long)batch, (unsigned long long)committed_batch);
    if (log->lost_batch == batch)
        return error_set(err, WEIR_ELIMIT, "undo log: batch %llu changed more than the %llu MiB that can be undone",
                         (unsigned long long)batch, (unsigned long long)(log->file_bytes >> 20));
    int code = check_entries(log, used_bytes, size_bytes, err);
    if (code != WEIR_OK)
        return code;
    for (uint64_t end = used_bytes; end > 0;) {
        uint64_t offset, entry_bytes;
        CHECK(entry_before(log, end, size_bytes, &end, &offset, &entry_bytes));
        memcpy((unsigned char *)base + offset, log->entries + end, entry_bytes);
        if (end <= used_bytes / 2)
            KILL_POINT(u2);
    }
    *ret_undone_bytes = used_bytes;
    return WEIR_OK;
}
