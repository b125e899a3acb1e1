#include "snapshot/block_io.h"
#include "snapshot/file_format.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/kill_point.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

struct snapshot_reader {
    const struct io *io;
    char name[FILE_NAME_BYTES];
    int fd;
    enum io_mode io_mode;
    uint64_t size_bytes;
    uint64_t binding;
    struct snapshot_header header;
    struct snapshot_footer footer;
    unsigned char *index;
    size_t index_padded_bytes;
};

/* Exactly size_bytes, or the reason why not. */
static int read_part(struct snapshot_reader *r, void *data, size_t size_bytes, uint64_t offset, const char *part,
                     struct weir_error *err)
{
    ssize_t result = io_read_full(r->io, r->fd, data, size_bytes, offset);
    if (result < 0)
        return error_set_errno(err, (int)-result, "%s: read the %s, %zu bytes at byte %" PRIu64, r->name, part,
                               size_bytes, offset);
    if ((size_t)result != size_bytes)
        return error_set(err, WEIR_ECORRUPT,
                         "%s: byte %" PRIu64 ": the file ends here, expected %zu bytes more of the %s", r->name,
                         offset + (uint64_t)result, size_bytes - (size_t)result, part);
    return WEIR_OK;
}

static int differs(const struct snapshot_reader *r, uint64_t offset, const char *what, uint64_t expected,
                   uint64_t found, struct weir_error *err)
{
    return error_set(err, WEIR_ECORRUPT, "%s: byte %" PRIu64 ": %s: expected %" PRIu64 ", found %" PRIu64, r->name,
                     offset, what, expected, found);
}

/* The name is the manifest's, and may be anything. */
static int check_name(const struct snapshot_file *file, const struct snapshot_identity *identity,
                      struct weir_error *err)
{
    struct snapshot_name name;
    if (!snapshot_name_parse(file->name, &name))
        return error_set(err, WEIR_ECORRUPT, "the manifest names a snapshot file that cannot be one of ours");
    if (strcmp(name.task, identity->name.task) != 0 || name.subtask != identity->name.subtask)
        return error_set(err, WEIR_ECORRUPT, "%s: belongs to task %s/%" PRIu32 ", expected one of %s/%" PRIu32,
                         file->name, name.task, name.subtask, identity->name.task, identity->name.subtask);
    if (name.checkpoint_id != file->checkpoint_id || name.generation != file->generation ||
        name.attempt != file->attempt)
        return error_set(err, WEIR_ECORRUPT, "%s: the manifest names it for checkpoint %" PRIu64, file->name,
                         file->checkpoint_id);
    return WEIR_OK;
}

/* Anything but exactly what the writer makes is refused before a byte of it is used. */
static int check_size(const struct snapshot_reader *r, const struct snapshot_file *file, struct weir_error *err)
{
    if (r->size_bytes != file->size_bytes)
        return error_set(err, WEIR_ECORRUPT, "%s: expected %" PRIu64 " bytes, found %" PRIu64, r->name,
                         file->size_bytes, r->size_bytes);
    if (r->size_bytes < SNAPSHOT_HEADER_BYTES + SNAPSHOT_FOOTER_BYTES || r->size_bytes % PAGE_BYTES != 0)
        return error_set(err, WEIR_ECORRUPT, "%s: %" PRIu64 " bytes are no size of a snapshot", r->name, r->size_bytes);
    return WEIR_OK;
}

static int read_header(struct snapshot_reader *r, const struct snapshot_file *file,
                       const struct snapshot_identity *identity, struct weir_error *err)
{
    unsigned char page[PAGE_BYTES];
    int code = read_part(r, page, sizeof page, 0, "header", err);
    if (code == WEIR_OK)
        code = header_decode(page, r->name, &r->header, err);
    if (code != WEIR_OK)
        return code;
    const struct snapshot_name *name = &r->header.identity.name;
    if (memcmp(r->header.identity.job_id, identity->job_id, sizeof identity->job_id) != 0)
        return error_set(err, WEIR_EMISMATCH, "%s: byte 24: belongs to another job", r->name);
    if (strcmp(name->task, identity->name.task) != 0 || name->subtask != identity->name.subtask)
        return error_set(err, WEIR_ECORRUPT, "%s: byte 60: expected task %s/%" PRIu32 ", found %s/%" PRIu32, r->name,
                         identity->name.task, identity->name.subtask, name->task, name->subtask);
    if (name->checkpoint_id != file->checkpoint_id)
        return differs(r, 40, "checkpoint", file->checkpoint_id, name->checkpoint_id, err);
    if (name->generation != file->generation)
        return differs(r, 48, "generation", file->generation, name->generation, err);
    if (name->attempt != file->attempt)
        return differs(r, 56, "attempt", file->attempt, name->attempt, err);
    if (r->header.block_bytes != file->block_bytes)
        return differs(r, 16, "block size", file->block_bytes, r->header.block_bytes, err);
    r->binding = identity_binding(&r->header.identity);
    return WEIR_OK;
}

/* All sizes follow from the number of blocks: whatever the footer says must be that. */
static int check_footer(const struct snapshot_reader *r, const struct snapshot_file *file, uint64_t at,
                        struct weir_error *err)
{
    const struct snapshot_footer *footer = &r->footer;
    if (footer->checksum != file->checksum)
        return error_set(err, WEIR_ECORRUPT,
                         "%s: byte %" PRIu64 ": the manifest expects checksum %016" PRIx64 ", found %016" PRIx64,
                         r->name, at + SNAPSHOT_SEALED_BYTES, file->checksum, footer->checksum);
    if (footer->header_checksum != r->header.checksum)
        return differs(r, at + 64, "checksum of the header", r->header.checksum, footer->header_checksum, err);
    if (footer->block_count != file->block_count || footer->block_count > SNAPSHOT_BLOCKS_MAX)
        return differs(r, at + 16, "number of blocks", file->block_count, footer->block_count, err);
    uint64_t data_bytes = footer->block_count * r->header.block_bytes;
    uint64_t index_bytes = footer->block_count * INDEX_ENTRY_BYTES;
    uint64_t total_bytes =
        SNAPSHOT_HEADER_BYTES + data_bytes + align_up(index_bytes, PAGE_BYTES) + SNAPSHOT_FOOTER_BYTES;
    if (footer->data_bytes != data_bytes)
        return differs(r, at + 24, "bytes of blocks", data_bytes, footer->data_bytes, err);
    if (footer->index_offset != SNAPSHOT_HEADER_BYTES + data_bytes)
        return differs(r, at + 32, "offset of the index", SNAPSHOT_HEADER_BYTES + data_bytes, footer->index_offset,
                       err);
    if (footer->index_bytes != index_bytes)
        return differs(r, at + 40, "bytes of the index", index_bytes, footer->index_bytes, err);
    if (footer->total_bytes != total_bytes || r->size_bytes != total_bytes)
        return differs(r, at + 56, "size of the file", total_bytes, footer->total_bytes, err);
    return WEIR_OK;
}

static int read_footer(struct snapshot_reader *r, const struct snapshot_file *file, struct weir_error *err)
{
    unsigned char page[PAGE_BYTES];
    uint64_t at = r->size_bytes - SNAPSHOT_FOOTER_BYTES;
    int code = read_part(r, page, sizeof page, at, "footer", err);
    if (code == WEIR_OK)
        code = footer_decode(page, r->name, at, &r->footer, err);
    return code == WEIR_OK ? check_footer(r, file, at, err) : code;
}

static int check_index(const struct snapshot_reader *r, struct weir_error *err)
{
    uint64_t found = bytes_checksum(r->index, r->index_padded_bytes);
    if (found != r->footer.index_checksum)
        return error_set(err, WEIR_ECORRUPT,
                         "%s: byte %" PRIu64 ": the index fails its checksum: expected %016" PRIx64
                         ", found %016" PRIx64,
                         r->name, r->footer.index_offset, r->footer.index_checksum, found);
    int64_t last_id = -1;
    for (uint64_t i = 0; i < r->footer.block_count; i++) {
        struct index_entry entry;
        index_entry_decode(r->index + i * INDEX_ENTRY_BYTES, &entry);
        uint64_t at = r->footer.index_offset + i * INDEX_ENTRY_BYTES;
        if (entry.file_no != 0)
            return error_set(err, WEIR_EVERSION,
                             "%s: byte %" PRIu64 ": a block of another file: this program reads whole snapshots only",
                             r->name, at + 4);
        if ((int64_t)entry.block_id <= last_id)
            return differs(r, at, "block id, at least", (uint64_t)(last_id + 1), entry.block_id, err);
        if (entry.offset != SNAPSHOT_HEADER_BYTES + i * r->header.block_bytes)
            return differs(r, at + 8, "offset of a block", SNAPSHOT_HEADER_BYTES + i * r->header.block_bytes,
                           entry.offset, err);
        last_id = entry.block_id;
    }
    return WEIR_OK;
}

/* Its size was checked against that of the file: nothing is allocated that the file does not have. */
static int read_index(struct snapshot_reader *r, struct weir_error *err)
{
    r->index_padded_bytes = (size_t)align_up(r->footer.index_bytes, PAGE_BYTES);
    if (r->index_padded_bytes == 0)
        return r->footer.index_checksum == bytes_checksum(NULL, 0) ? WEIR_OK : check_index(r, err);
    void *index = mmap(NULL, r->index_padded_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (index == MAP_FAILED)
        return error_set_errno(err, errno, "%s: %zu bytes of memory for the index", r->name, r->index_padded_bytes);
    r->index = index;
    int code = read_part(r, r->index, r->index_padded_bytes, r->footer.index_offset, "index", err);
    return code == WEIR_OK ? check_index(r, err) : code;
}

static int open_and_check(struct snapshot_reader *r, const struct checkpoint_dir *dir, const struct snapshot_file *file,
                          const struct snapshot_identity *identity, struct weir_error *err)
{
    int code = check_name(file, identity, err);
    if (code != WEIR_OK)
        return code;
    memcpy(r->name, file->name, sizeof r->name);
    code = checkpoint_dir_open_file(dir, dir->snapshots_fd, r->name, &r->fd, &r->size_bytes, err);
    if (code == WEIR_OK)
        code = check_size(r, file, err);
    if (code == WEIR_OK)
        code = read_header(r, file, identity, err);
    if (code == WEIR_OK)
        code = read_footer(r, file, err);
    if (code == WEIR_OK)
        code = read_index(r, err);
    return code;
}

int snapshot_open(const struct checkpoint_dir *dir, const struct snapshot_file *file,
                  const struct snapshot_identity *identity, enum io_mode io_mode, struct snapshot_reader **ret_reader,
                  struct weir_error *err)
{
    struct snapshot_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return error_set(err, WEIR_ENOMEM, "%s: out of memory", file->name);
    r->io = dir->io;
    r->io_mode = io_mode;
    r->fd = -1;
    int code = open_and_check(r, dir, file, identity, err);
    if (code != WEIR_OK) {
        error_context(err, "%s/snapshots", dir->path);
        snapshot_close(r);
        return code;
    }
    *ret_reader = r;
    return WEIR_OK;
}

void snapshot_close(struct snapshot_reader *r)
{
    if (r == NULL)
        return;
    if (r->index != NULL)
        munmap(r->index, r->index_padded_bytes);
    if (r->fd >= 0)
        r->io->close(r->io->self, r->fd);
    free(r);
}

uint64_t snapshot_block_count(const struct snapshot_reader *r) { return r->footer.block_count; }

uint32_t snapshot_block_bytes(const struct snapshot_reader *r) { return r->header.block_bytes; }

uint32_t snapshot_block_id(const struct snapshot_reader *r, uint64_t index)
{
    CHECK(index < r->footer.block_count);
    struct index_entry entry;
    index_entry_decode(r->index + index * INDEX_ENTRY_BYTES, &entry);
    return entry.block_id;
}

/* The blocks are read in parts of one buffer each, `depth` of them ahead, and handed over in order. */
struct load {
    struct snapshot_reader *reader;
    struct block_io *queue;
    block_fn block;
    void *self;
    uint64_t part_bytes;
    uint64_t requested_bytes;
    uint64_t handed_blocks;
    uint64_t parts_requested;
    uint64_t parts_done;
    struct slot *parts[IO_DEPTH_MAX]; /* the part of number n is at n % IO_DEPTH_MAX */
};

static int verify_block(const struct snapshot_reader *r, uint64_t index, const unsigned char *data, struct index_entry *ret_entry,
                        struct weir_error *err)
{
    struct index_entry entry;
    index_entry_decode(r->index + index * INDEX_ENTRY_BYTES, &entry);
    uint64_t found = block_checksum(data, r->header.block_bytes, r->binding, entry.block_id);
    if (found != entry.checksum)
        return error_set(err, WEIR_ECORRUPT,
                         "%s: byte %" PRIu64 ": block %" PRIu32 " fails its checksum: expected %016" PRIx64
                         ", found %016" PRIx64,
                         r->name, entry.offset, entry.block_id, entry.checksum, found);
    *ret_entry = entry;
    return WEIR_OK;
}

static int load_block(struct load *load, const unsigned char *data, struct weir_error *err)
{
    struct snapshot_reader *r = load->reader;
    struct index_entry entry = {0};
    int code = verify_block(r, load->handed_blocks, data, &entry, err);
    if (code != WEIR_OK)
        return code;
    load->handed_blocks++;
    if (load->handed_blocks == (r->footer.block_count + 1) / 2)
        KILL_POINT(v2);
    return load->block(load->self, entry.block_id, data, err);
}

static int load_part(struct load *load, struct weir_error *err)
{
    struct slot *slot = load->parts[load->parts_done % IO_DEPTH_MAX];
    if (block_io_wait(load->queue, slot) != WEIR_OK)
        return error_set(err, load->queue->error.code, "%s", load->queue->error.text);
    for (size_t used = 0; used < slot->size_bytes; used += load->reader->header.block_bytes) {
        int code = load_block(load, slot->data + used, err);
        if (code != WEIR_OK)
            return code;
    }
    load->parts_done++;
    block_io_release(load->queue, slot);
    return WEIR_OK;
}

static int load_request(struct load *load, struct weir_error *err)
{
    uint64_t left_bytes = load->reader->footer.data_bytes - load->requested_bytes;
    uint64_t size_bytes = u64_min(left_bytes, load->part_bytes);
    struct slot *slot = block_io_take(load->queue);
    if (slot == NULL ||
        block_io_read(load->queue, slot, (size_t)size_bytes, SNAPSHOT_HEADER_BYTES + load->requested_bytes) != WEIR_OK)
        return error_set(err, load->queue->error.code, "%s", load->queue->error.text);
    load->parts[load->parts_requested++ % IO_DEPTH_MAX] = slot;
    load->requested_bytes += size_bytes;
    return WEIR_OK;
}

static int load_all(struct load *load, struct weir_error *err)
{
    int code = WEIR_OK;
    while (code == WEIR_OK && load->handed_blocks < load->reader->footer.block_count) {
        bool more = load->requested_bytes < load->reader->footer.data_bytes;
        if (more && load->parts_requested - load->parts_done < load->queue->depth)
            code = load_request(load, err);
        else
            code = load_part(load, err);
    }
    return code;
}

static int load_fall_back(struct load *load, struct weir_error *err)
{
    struct block_io *queue = load->queue;
    queue->depth = 1;
    int result = queue->direct ? queue->io->set_direct(queue->io->self, queue->fd, false) : 0;
    if (result < 0)
        return error_set_errno(err, -result, "%s: switch O_DIRECT off", queue->file);
    queue->direct = false;
    return WEIR_OK;
}

/* Direct and many ahead with io_uring; one by one through the page cache, whose readahead works meanwhile, without. */
static int load_open(struct load *load, struct weir_error *err)
{
    struct snapshot_reader *r = load->reader;
    load->part_bytes = BUFFER_BYTES; /* block sizes are powers of two up to this */
    uint64_t parts = (r->footer.data_bytes + BUFFER_BYTES - 1) / BUFFER_BYTES;
    bool try_uring = r->io_mode == IO_URING || (r->io_mode == IO_AUTO && parts > 1);
    uint32_t depth = try_uring ? (uint32_t)u64_min(u64_max(parts, 1), IO_DEPTH_DEFAULT) : 1;
    int code = block_io_open(r->io, r->fd, r->name, depth, try_uring, &load->queue, err);
    if (code != WEIR_OK || !try_uring)
        return code;
    code = block_io_use_uring(load->queue, err);
    if (code == WEIR_OK)
        return WEIR_OK;
    if (r->io_mode == IO_AUTO)
        return load_fall_back(load, err);
    error_context(err, "%s", r->name);
    error_append(err, ": use --io=auto or --io=pwrite");
    return code;
}

int snapshot_read(struct snapshot_reader *reader, block_fn block, void *self, struct weir_error *err)
{
    struct load load = {.reader = reader, .block = block, .self = self};
    int code = load_open(&load, err);
    if (code == WEIR_OK)
        code = load_all(&load, err);
    block_io_close(load.queue);
    return code;
}

int snapshot_read_blocks(struct snapshot_reader *reader, uint64_t first, uint64_t count, void *data, struct weir_error *err)
{
    uint32_t block_bytes = reader->header.block_bytes;
    CHECK(first <= reader->footer.block_count && count <= reader->footer.block_count - first);
    int code = read_part(reader, data, (size_t)(count * block_bytes), SNAPSHOT_HEADER_BYTES + first * block_bytes, "blocks", err);
    for (uint64_t i = 0; code == WEIR_OK && i < count; i++) {
        struct index_entry entry;
        code = verify_block(reader, first + i, (const unsigned char *)data + i * block_bytes, &entry, err);
    }
    return code;
}
