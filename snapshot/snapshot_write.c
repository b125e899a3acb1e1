#include "snapshot/block_io.h"
#include "snapshot/file_format.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/kill_point.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>

#define INDEX_BYTES_FIRST (64u << 10)
#define PRESIZE_BYTES_MIN (4u * BUFFER_BYTES) /* below, the call would cost more than it saves */

#define HUGE_BYTES_MIN (8u * BUFFER_BYTES)    /* below, clearing a huge page that is used in part costs more */

/*
 * The file as a stream: header, blocks, index and footer are appended to the buffer of the current slot, which goes to
 * the kernel when it is full. So a small snapshot is a single write. Every part is a multiple of PAGE_BYTES long, as
 * direct writes need it, and no block is split over two buffers: it is hashed where it was copied to, while it is in
 * the cache.
 */
struct snapshot_writer {
    const struct checkpoint_dir *dir;
    const struct io *io;
    const struct block_source *source;
    enum io_mode io_mode;
    struct snapshot_header header;
    struct snapshot_footer footer;
    uint64_t binding;
    char name[FILE_NAME_BYTES];
    int fd;
    struct block_io *queue;
    bool uring_tried;
    struct slot *slot; /* NULL: none taken yet */
    size_t slot_used_bytes;
    uint64_t offset; /* where in the file the slot goes */
    unsigned char *index;
    size_t index_capacity_bytes;
    int64_t last_id; /* -1: none yet */
    uint64_t size_given_bytes; /* 0: the file grows */
};

/* Adds to the queue's own words; the caller's err may be NULL. */
static int writer_queue_error(const struct snapshot_writer *w, struct weir_error *err)
{
    return error_set(err, w->queue->error.code, "%s", w->queue->error.text);
}

static int injected(const struct snapshot_writer *w, const char *point, struct weir_error *err)
{
    return error_set(err, WEIR_EIO, "%s: kill point %s reports an error", w->name, point);
}

static int options_check(const struct snapshot_options *options, struct weir_error *err)
{
    uint32_t block_bytes = options->block_bytes;
    if (block_bytes != 0 &&
        (block_bytes < PAGE_BYTES || block_bytes > BLOCK_BYTES_MAX || (block_bytes & (block_bytes - 1)) != 0))
        return error_set(err, WEIR_EINVAL, "blocks of %" PRIu32 " bytes: must be a power of two from %u to %u",
                         block_bytes, PAGE_BYTES, BLOCK_BYTES_MAX);
    if (options->io_depth > IO_DEPTH_MAX)
        return error_set(err, WEIR_EINVAL, "%" PRIu32 " writes in flight: at most %u", options->io_depth, IO_DEPTH_MAX);
    return WEIR_OK;
}

static int writer_create(struct snapshot_writer *w, struct weir_error *err)
{
    int fd = w->io->openat(w->io->self, w->dir->snapshots_fd, w->name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return error_set_errno(err, -fd, "%s: create", w->name);
    w->fd = fd;
    return KILL_POINT_ERROR(h2) ? injected(w, "h2", err) : WEIR_OK;
}

/* h4: half of the buffer reaches the file, then the process dies. The other half, and this one again, follow otherwise.
 */
static int write_half(struct snapshot_writer *w, struct weir_error *err)
{
#ifdef WEIR_KILL_POINTS
    size_t half_bytes = (w->slot_used_bytes / 2) & ~(size_t)(PAGE_BYTES - 1);
    if (!kill_point_armed() || half_bytes == 0)
        return WEIR_OK;
    ssize_t result = io_write_full(w->io, w->fd, w->slot->data, half_bytes, w->offset);
    if (result < 0)
        return error_set_errno(err, (int)-result, "%s: write %zu bytes at byte %" PRIu64, w->name, half_bytes,
                               w->offset);
    if (KILL_POINT_ERROR(h4))
        return injected(w, "h4", err);
#else
    (void)w;
    (void)err;
#endif
    return WEIR_OK;
}

/* Small snapshots never pay for a ring. */
static int choose_backend(struct snapshot_writer *w, bool is_last, struct weir_error *err)
{
    if (w->uring_tried || w->io_mode == IO_PWRITE || (w->io_mode == IO_AUTO && is_last))
        return WEIR_OK;
    w->uring_tried = true;
    int code = block_io_use_uring(w->queue, err);
    if (w->io_mode == IO_AUTO || code == WEIR_OK)
        return WEIR_OK;
    error_context(err, "%s", w->name);
    error_append(err, ": use --io=auto or --io=pwrite");
    return code;
}

/* Hands the current buffer to the kernel, if there is anything in it. */
static int writer_flush(struct snapshot_writer *w, bool is_last, struct weir_error *err)
{
    if (w->slot == NULL || w->slot_used_bytes == 0)
        return WEIR_OK;
    int code = choose_backend(w, is_last, err);
    if (code == WEIR_OK)
        code = write_half(w, err);
    if (code != WEIR_OK)
        return code;
    if (block_io_write(w->queue, w->slot, w->slot_used_bytes, w->offset) != WEIR_OK)
        return writer_queue_error(w, err);
    w->offset += w->slot_used_bytes;
    w->slot = NULL;
    w->slot_used_bytes = 0;
    return KILL_POINT_ERROR(h3) ? injected(w, "h3", err) : WEIR_OK;
}

/* Room for at least need_bytes in one piece. */
static int writer_room(struct snapshot_writer *w, size_t need_bytes, struct weir_error *err)
{
    if (w->slot != NULL && BUFFER_BYTES - w->slot_used_bytes >= need_bytes)
        return WEIR_OK;
    int code = writer_flush(w, false, err);
    if (code != WEIR_OK)
        return code;
    w->slot = block_io_take(w->queue);
    return w->slot != NULL ? WEIR_OK : writer_queue_error(w, err);
}

static int writer_append(struct snapshot_writer *w, const unsigned char *data, size_t size_bytes,
                         struct weir_error *err)
{
    while (size_bytes > 0) {
        int code = writer_room(w, 1, err);
        if (code != WEIR_OK)
            return code;
        size_t part_bytes = (size_t)u64_min(size_bytes, BUFFER_BYTES - w->slot_used_bytes);
        memcpy(w->slot->data + w->slot_used_bytes, data, part_bytes);
        w->slot_used_bytes += part_bytes;
        data += part_bytes;
        size_bytes -= part_bytes;
    }
    return WEIR_OK;
}

/* Doubles; the pages move, their bytes are not copied. */
static int index_reserve(struct snapshot_writer *w, size_t need_bytes, struct weir_error *err)
{
    if (need_bytes <= w->index_capacity_bytes)
        return WEIR_OK;
    size_t capacity = w->index_capacity_bytes == 0 ? INDEX_BYTES_FIRST : 2 * w->index_capacity_bytes;
    void *index = w->index == NULL ? mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                                   : mremap(w->index, w->index_capacity_bytes, capacity, MREMAP_MAYMOVE);
    if (index == MAP_FAILED)
        return error_set_errno(err, errno, "%s: %zu bytes of memory for the index", w->name, capacity);
    w->index = index;
    w->index_capacity_bytes = capacity;
    return WEIR_OK;
}

static int append_block(struct snapshot_writer *w, uint32_t id, const void *block, struct weir_error *err)
{
    size_t block_bytes = w->header.block_bytes;
    if ((int64_t)id <= w->last_id)
        return error_set(err, WEIR_EINVAL, "%s: block %" PRIu32 " comes after block %" PRId64 ": ids must ascend",
                         w->name, id, w->last_id);
    int code = writer_room(w, block_bytes, err);
    if (code == WEIR_OK)
        code = index_reserve(w, (size_t)(w->footer.block_count + 1) * INDEX_ENTRY_BYTES, err);
    if (code != WEIR_OK)
        return code;
    unsigned char *copy = w->slot->data + w->slot_used_bytes;
    memcpy(copy, block, block_bytes);
    struct index_entry entry = {.block_id = id, .offset = w->offset + w->slot_used_bytes};
    entry.checksum = block_checksum(copy, block_bytes, w->binding, id);
    index_entry_encode(&entry, w->index + w->footer.block_count * INDEX_ENTRY_BYTES);
    if (w->source->summed != NULL)
        w->source->summed(w->source->self, id, entry.checksum);
    w->slot_used_bytes += block_bytes;
    w->footer.block_count++;
    w->last_id = id;
    return WEIR_OK;
}

/* Called when the buffer is full, before it goes to the kernel: the parent's blocks are copied, it may let go of them.
 */
static void tell_gathered(struct snapshot_writer *w)
{
    if (w->source->gathered != NULL && w->last_id >= 0 && w->last_id < UINT32_MAX)
        w->source->gathered(w->source->self, (uint32_t)w->last_id + 1);
}

static int append_blocks(struct snapshot_writer *w, struct weir_error *err)
{
    for (;;) {
        uint32_t id;
        const void *block;
        int code = w->source->next(w->source->self, &id, &block);
        if (code == WEIR_END)
            break;
        if (code < 0)
            return error_set(err, code, "%s: the state ends after %" PRIu64 " blocks: %s", w->name,
                             w->footer.block_count, weir_status_text(code));
        if (w->slot != NULL && BUFFER_BYTES - w->slot_used_bytes < w->header.block_bytes)
            tell_gathered(w);
        code = append_block(w, id, block, err);
        if (code != WEIR_OK)
            return code;
    }
    tell_gathered(w);
    w->footer.data_bytes = w->footer.block_count * w->header.block_bytes;
    w->footer.index_offset = w->offset + w->slot_used_bytes;
    CHECK(w->footer.index_offset == SNAPSHOT_HEADER_BYTES + w->footer.data_bytes);
    return WEIR_OK;
}

static int append_header(struct snapshot_writer *w, struct weir_error *err)
{
    unsigned char page[PAGE_BYTES];
    header_encode(&w->header, page, &w->footer.header_checksum);
    return writer_append(w, page, sizeof page, err);
}

static int append_index(struct snapshot_writer *w, struct weir_error *err)
{
    struct snapshot_footer *footer = &w->footer;
    footer->index_bytes = footer->block_count * INDEX_ENTRY_BYTES;
    size_t padded_bytes = (size_t)align_up(footer->index_bytes, PAGE_BYTES);
    int code = index_reserve(w, padded_bytes, err); /* fresh memory is zero: so is the padding */
    if (code != WEIR_OK)
        return code;
    footer->index_checksum = bytes_checksum(w->index, padded_bytes);
    footer->total_bytes = footer->index_offset + padded_bytes + SNAPSHOT_FOOTER_BYTES;
    return writer_append(w, w->index, padded_bytes, err);
}

static int append_footer(struct snapshot_writer *w, struct weir_error *err)
{
    unsigned char page[PAGE_BYTES];
    footer_encode(&w->footer, page, &w->footer.checksum);
    return writer_append(w, page, sizeof page, err);
}

/* What was asked for, what the kernel says it took, and what the file has: all three must agree. */
static int check_sizes(const struct snapshot_writer *w, struct weir_error *err)
{
    struct stat info;
    int result = w->io->fstat(w->io->self, w->fd, &info);
    if (result < 0)
        return error_set_errno(err, -result, "%s: read its size", w->name);
    uint64_t expected = w->footer.total_bytes;
    if (w->offset != expected || w->queue->bytes_done != expected || info.st_size < 0 ||
        (uint64_t)info.st_size != expected)
        return error_set(err, WEIR_EIO,
                         "%s: %" PRIu64 " bytes were to be written, %" PRIu64 " were, and the file has %lld", w->name,
                         expected, w->queue->bytes_done, (long long)info.st_size);
    return WEIR_OK;
}

static uint64_t file_bytes(uint64_t block_count, uint32_t block_bytes)
{
    return SNAPSHOT_HEADER_BYTES + block_count * block_bytes + align_up(block_count * INDEX_ENTRY_BYTES, PAGE_BYTES) + SNAPSHOT_FOOTER_BYTES;
}

/* Direct writes that make a file grow exclude one another, each in a kernel thread of its own: a large file gets its size (and
 * its place on disk, so that a full disk is known now) before the first of them. Where that is not possible it just grows. */
static int give_size(struct snapshot_writer *w, struct weir_error *err)
{
    uint64_t size_bytes = file_bytes(w->source->block_count, w->header.block_bytes);
    if (!w->queue->direct || size_bytes < PRESIZE_BYTES_MIN)
        return WEIR_OK;
    int result = w->io->set_size(w->io->self, w->fd, size_bytes, true);
    if (result == -ENOSPC || result == -EDQUOT || result == -EIO)
        return error_set_errno(err, -result, "%s: reserve %" PRIu64 " bytes", w->name, size_bytes);
    w->size_given_bytes = result < 0 ? 0 : size_bytes;
    return WEIR_OK;
}

/* The source gave fewer blocks than it said, or more. */
static int correct_size(struct snapshot_writer *w, struct weir_error *err)
{
    if (w->size_given_bytes <= w->footer.total_bytes)
        return WEIR_OK;
    int result = w->io->set_size(w->io->self, w->fd, w->footer.total_bytes, false);
    return result < 0 ? error_set_errno(err, -result, "%s: set its size", w->name) : WEIR_OK;
}

static int write_all(struct snapshot_writer *w, struct weir_error *err)
{
    int code = give_size(w, err);
    if (code == WEIR_OK)
        code = append_header(w, err);
    if (code == WEIR_OK)
        code = append_blocks(w, err);
    if (code == WEIR_OK)
        code = append_index(w, err);
    if (code == WEIR_OK)
        code = append_footer(w, err);
    if (code == WEIR_OK)
        code = writer_flush(w, true, err);
    if (code != WEIR_OK)
        return code;
    if (block_io_drain(w->queue) != WEIR_OK)
        return writer_queue_error(w, err);
    code = correct_size(w, err);
    return code == WEIR_OK ? check_sizes(w, err) : code;
}

/* Once each: after a failed sync the kernel may have dropped the bytes and call the next one a success. */
static int sync_all(struct snapshot_writer *w, struct weir_error *err)
{
    if (KILL_POINT_ERROR(h5))
        return injected(w, "h5", err);
    int result = w->io->fdatasync(w->io->self, w->fd);
    if (result < 0)
        return error_set_errno(err, -result, "%s: fdatasync", w->name);
    result = w->io->close(w->io->self, w->fd);
    w->fd = -1;
    if (result < 0)
        return error_set_errno(err, -result, "%s: close", w->name);
    result = w->io->fsync(w->io->self, w->dir->snapshots_fd);
    if (result < 0)
        return error_set_errno(err, -result, "%s: fsync of the directory snapshots", w->name);
    return KILL_POINT_ERROR(h6) ? injected(w, "h6", err) : WEIR_OK;
}

static void fill_result(const struct snapshot_writer *w, struct snapshot_result *result)
{
    struct snapshot_file *file = &result->file;
    const struct snapshot_name *name = &w->header.identity.name;
    memcpy(file->name, w->name, sizeof file->name);
    file->size_bytes = w->footer.total_bytes;
    file->checksum = w->footer.checksum;
    file->block_bytes = w->header.block_bytes;
    file->attempt = name->attempt;
    file->block_count = w->footer.block_count;
    file->checkpoint_id = name->checkpoint_id;
    file->generation = name->generation;
    result->io_used = w->queue->ring != NULL ? IO_URING : IO_PWRITE;
    result->direct_used = w->queue->direct;
}

static int write_and_sync(struct snapshot_writer *w, bool direct, uint32_t depth, struct snapshot_result *result,
                          struct weir_error *err)
{
    int code = block_io_open(w->io, w->fd, w->name, depth, direct, &w->queue, err);
    if (code == WEIR_OK && file_bytes(w->source->block_count, w->header.block_bytes) >= HUGE_BYTES_MIN)
        block_io_expect_much(w->queue);
    if (code == WEIR_OK && w->io_mode == IO_URING)
        code = choose_backend(w, false, err);
    int64_t started_ns = clock_monotonic_ns();
    if (code == WEIR_OK)
        code = write_all(w, err);
    int64_t written_ns = clock_monotonic_ns();
    if (code == WEIR_OK)
        code = sync_all(w, err);
    if (code != WEIR_OK)
        return code;
    fill_result(w, result);
    result->write_ns = written_ns - started_ns;
    result->sync_ns = clock_monotonic_ns() - written_ns;
    return WEIR_OK;
}

/* After a failure nothing of the attempt stays behind, as far as the file system lets go of it. */
static void writer_close(struct snapshot_writer *w, bool created, int code)
{
    block_io_close(w->queue);
    if (w->fd >= 0)
        w->io->close(w->io->self, w->fd);
    if (code != WEIR_OK && created)
        w->io->unlinkat(w->io->self, w->dir->snapshots_fd, w->name);
    if (w->index != NULL)
        munmap(w->index, w->index_capacity_bytes);
}

static void say_what_to_do(const struct checkpoint_dir *dir, int code, struct weir_error *err)
{
    if (code == WEIR_ENOSPC)
        error_append(err, ": free space in %s", dir->path);
    error_context(err, "snapshot in %s", dir->path);
}

uint64_t snapshot_binding(const struct snapshot_identity *identity)
{
    struct snapshot_identity padded = *identity;
    size_t task_bytes = strlen(identity->name.task);
    memset(padded.name.task + task_bytes, 0, sizeof padded.name.task - task_bytes);
    return identity_binding(&padded);
}

uint64_t snapshot_checksum(uint64_t binding, uint32_t id, const void *block, uint32_t block_bytes)
{
    return block_checksum(block, block_bytes, binding, id);
}

int snapshot_write(const struct checkpoint_dir *dir, const struct snapshot_identity *identity,
                   const struct snapshot_options *options, const struct block_source *source,
                   struct snapshot_result *ret_result, struct weir_error *err)
{
    CHECK(name_is_valid(identity->name.task));
    int code = options_check(options, err);
    if (code != WEIR_OK)
        return code;
    struct snapshot_writer w = {
        .dir = dir, .io = dir->io, .source = source, .io_mode = options->io_mode, .fd = -1, .last_id = -1};
    w.header.block_bytes = options->block_bytes != 0 ? options->block_bytes : BLOCK_BYTES_DEFAULT;
    memcpy(w.header.identity.job_id, identity->job_id, sizeof identity->job_id);
    w.header.identity.name = identity->name;
    size_t task_bytes = strlen(identity->name.task);
    memset(w.header.identity.name.task + task_bytes, 0, sizeof identity->name.task - task_bytes);
    w.binding = identity_binding(&w.header.identity);
    snapshot_name_format(&identity->name, w.name);
    struct snapshot_result result = {0};
    uint32_t depth = options->io_depth != 0 ? options->io_depth : IO_DEPTH_DEFAULT;
    code = writer_create(&w, err);
    bool created = w.fd >= 0;
    if (code == WEIR_OK)
        code = write_and_sync(&w, !options->buffered, depth, &result, err);
    writer_close(&w, created, code);
    if (code != WEIR_OK) {
        say_what_to_do(dir, code, err);
        return code;
    }
    *ret_result = result;
    return WEIR_OK;
}
