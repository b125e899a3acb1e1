#include "connectors/line/journal.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEGMENT_BYTES_MAX (UINT64_C(64) << 20)
#define SEGMENTS_IN_JOURNAL 4 /* so that there is always one to free */

void journal_name(uint64_t sequence, char *ret_name)
{
    snprintf(ret_name, JOURNAL_NAME_BYTES, "journal-%012llu", (unsigned long long)sequence);
}

uint64_t journal_checksum(const struct journal_entry_header *header, const void *payload)
{
    uint64_t seed = XXH3_64bits(payload, header->length);
    return XXH3_64bits_withSeed(header, offsetof(struct journal_entry_header, checksum), seed);
}

int journal_fail_corrupt(struct weir_ctx *ctx, const struct journal *j, uint64_t sequence, uint64_t offset,
                         const char *what)
{
    char name[JOURNAL_NAME_BYTES];
    journal_name(sequence, name);
    return io_fail(ctx, WEIR_ECORRUPT, "the journal %s/%s is damaged at offset %llu: %s", j->directory, name,
                   (unsigned long long)offset, what);
}

static int fail_segment(struct weir_ctx *ctx, const struct journal *j, const struct journal_segment *s,
                        const char *what)
{
    int saved = errno;
    char name[JOURNAL_NAME_BYTES];
    journal_name(s->sequence, name);
    return io_fail_errno(ctx, saved, "cannot %s the journal %s/%s at offset %llu", what, j->directory, name,
                         (unsigned long long)s->file_bytes);
}

/* ------------------------------------------------------------------------------------------------- opening ------- */

static void read_boot_id(char *ret_boot_id)
{
    memset(ret_boot_id, 0, JOURNAL_BOOT_ID_BYTES); /* unknown: then no unfinished entry is trusted */
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (read(fd, ret_boot_id, JOURNAL_BOOT_ID_BYTES) != JOURNAL_BOOT_ID_BYTES)
        memset(ret_boot_id, 0, JOURNAL_BOOT_ID_BYTES);
    close(fd);
}

static int seek_position(struct weir_ctx *ctx, struct journal *j, uint64_t position)
{
    uint64_t first = j->count > 0 ? j->segments[0].start : 0;
    if (position < first || position > j->end)
        return io_fail(
            ctx, WEIR_ECORRUPT, "the journal in %s holds the input from byte %llu to %llu, and byte %llu is needed: %s",
            j->directory, (unsigned long long)first, (unsigned long long)j->end, (unsigned long long)position,
            position < first ? "its beginning was freed after a checkpoint; remove the journal to start from nothing"
                             : "a part of it was lost");
    while (j->read_index + 1 < j->count && j->segments[j->read_index].end <= position)
        j->read_index++;
    j->read_from = position;
    j->read_stream = j->count > 0 ? j->segments[j->read_index].start : 0;
    j->read_offset = JOURNAL_HEADER_BYTES;
    return WEIR_OK;
}

int journal_open(struct weir_ctx *ctx, struct journal *j, uint64_t bytes_max, uint64_t position)
{
    j->write_fd = j->read_fd = -1;
    j->bytes_max = bytes_max;
    j->segment_bytes =
        bytes_max / SEGMENTS_IN_JOURNAL < SEGMENT_BYTES_MAX ? bytes_max / SEGMENTS_IN_JOURNAL : SEGMENT_BYTES_MAX;
    j->entry_bytes_max =
        j->segment_bytes / 4 < JOURNAL_ENTRY_BYTES_MAX ? (size_t)j->segment_bytes / 4 : JOURNAL_ENTRY_BYTES_MAX;
    read_boot_id(j->boot_id);
    int result = io_open_job_directory(ctx, j->directory, &j->directory_fd);
    if (result == WEIR_OK && j->directory_fd < 0)
        result = io_fail(ctx, WEIR_EINVAL, "a journal needs a job directory");
    if (result == WEIR_OK)
        result = journal_recover(ctx, j);
    return result == WEIR_OK ? seek_position(ctx, j, position) : result;
}

void journal_close(struct journal *j)
{
    if (j->write_fd >= 0)
        close(j->write_fd);
    if (j->read_fd >= 0)
        close(j->read_fd);
    if (j->directory_fd >= 0)
        close(j->directory_fd);
    free(j->segments);
    j->segments = NULL;
    j->write_fd = j->read_fd = j->directory_fd = -1;
}

/* ------------------------------------------------------------------------------------------------- reading ------- */

static int open_for_reading(struct weir_ctx *ctx, struct journal *j)
{
    char name[JOURNAL_NAME_BYTES];
    journal_name(j->segments[j->read_index].sequence, name);
    j->read_fd = openat(j->directory_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (j->read_fd < 0)
        return io_fail_errno(ctx, errno, "cannot open the journal %s/%s", j->directory, name);
    return WEIR_OK;
}

/* The segment is read up: on to the next. WEIR_END: that was the last. */
static int next_segment(struct weir_ctx *ctx, struct journal *j)
{
    const struct journal_segment *s = &j->segments[j->read_index];
    if (j->read_stream != s->end)
        return journal_fail_corrupt(ctx, j, s->sequence, j->read_offset, "it ends before the next one begins");
    close(j->read_fd);
    j->read_fd = -1;
    j->read_index++;
    j->read_offset = JOURNAL_HEADER_BYTES;
    return j->read_index < j->count ? WEIR_OK : WEIR_END;
}

static int read_entry(struct weir_ctx *ctx, struct journal *j, const struct journal_entry_header *header, void *buffer)
{
    const struct journal_segment *s = &j->segments[j->read_index];
    ssize_t n = io_pread_all(j->read_fd, buffer, header->length, j->read_offset + sizeof(*header));
    if (n < 0)
        return fail_segment(ctx, j, s, "read");
    if ((uint64_t)n != header->length || journal_checksum(header, buffer) != header->checksum)
        return journal_fail_corrupt(ctx, j, s->sequence, j->read_offset, "the checksum of the entry is wrong");
    return WEIR_OK;
}

static int read_header(struct weir_ctx *ctx, struct journal *j, struct journal_entry_header *ret_header)
{
    const struct journal_segment *s = &j->segments[j->read_index];
    ssize_t n = io_pread_all(j->read_fd, ret_header, sizeof(*ret_header), j->read_offset);
    if (n < 0)
        return fail_segment(ctx, j, s, "read");
    if ((size_t)n != sizeof(*ret_header) || ret_header->magic != JOURNAL_ENTRY_MAGIC ||
        ret_header->offset != j->read_stream || ret_header->length > JOURNAL_ENTRY_BYTES_MAX)
        return journal_fail_corrupt(ctx, j, s->sequence, j->read_offset,
                                    "there is no entry that follows on the one before");
    return WEIR_OK;
}

int journal_read(struct weir_ctx *ctx, struct journal *j, void *buffer, size_t *ret_size_bytes, uint32_t *ret_flags)
{
    struct journal_entry_header header;
    int result;
    while (j->read_index < j->count) {
        if (j->read_fd < 0 && (result = open_for_reading(ctx, j)) != WEIR_OK)
            return result;
        if (j->read_offset >= j->segments[j->read_index].file_bytes) {
            if ((result = next_segment(ctx, j)) < 0)
                return result;
            continue;
        }
        result = read_header(ctx, j, &header);
        if (result != WEIR_OK)
            return result;
        const uint64_t end = header.offset + header.length;
        const bool is_wanted = end > j->read_from || header.flags != 0;
        if (is_wanted && (result = read_entry(ctx, j, &header, buffer)) != WEIR_OK)
            return result;
        j->read_offset = journal_next_offset(j->read_offset, header.length);
        j->read_stream = end;
        if (!is_wanted)
            continue;
        size_t skipped = header.length > 0 && header.offset < j->read_from ? (size_t)(j->read_from - header.offset) : 0;
        memmove(buffer, (char *)buffer + skipped, header.length - skipped);
        *ret_size_bytes = header.length - skipped;
        *ret_flags = header.flags;
        return WEIR_OK;
    }
    return WEIR_END;
}

/* ------------------------------------------------------------------------------------------------- writing ------- */

static int grow(struct weir_ctx *ctx, struct journal *j)
{
    if (j->count < j->capacity)
        return WEIR_OK;
    size_t capacity = j->capacity == 0 ? 16 : j->capacity * 2;
    struct journal_segment *larger = realloc(j->segments, capacity * sizeof(*larger));
    if (larger == NULL)
        return io_fail(ctx, WEIR_ENOMEM, "out of memory for a journal of %zu segments", capacity);
    j->segments = larger;
    j->capacity = capacity;
    return WEIR_OK;
}

static int begin_segment(struct weir_ctx *ctx, struct journal *j, const struct line_input *input)
{
    int result = grow(ctx, j);
    if (result != WEIR_OK)
        return result;
    struct journal_segment s = {.sequence = j->count > 0 ? j->segments[j->count - 1].sequence + 1 : 1,
                                .start = j->end,
                                .end = j->end,
                                .file_bytes = JOURNAL_HEADER_BYTES};
    struct journal_segment_header header = {.magic = "WEIRJNL", .start = j->end, .identity = input->identity};
    header.magic[7] = '1';
    memcpy(header.boot_id, j->boot_id, sizeof(header.boot_id));
    header.checksum = (uint32_t)XXH3_64bits(&header, offsetof(struct journal_segment_header, checksum));
    char name[JOURNAL_NAME_BYTES];
    journal_name(s.sequence, name);
    int fd = openat(j->directory_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_segment(ctx, j, &s, "make");
    if (io_pwrite_all(fd, &header, sizeof(header), 0) != sizeof(header) || fdatasync(fd) != 0 ||
        fsync(j->directory_fd) != 0) {
        result = fail_segment(ctx, j, &s, "write");
        close(fd);
        return result;
    }
    if (j->write_fd >= 0)
        close(j->write_fd);
    j->write_fd = fd;
    j->segments[j->count++] = s;
    j->read_index = j->count; /* its reader has it already */
    return WEIR_OK;
}

static int ready_segment(struct weir_ctx *ctx, struct journal *j, const struct line_input *input)
{
    if (j->write_fd >= 0 && j->segments[j->count - 1].file_bytes < j->segment_bytes)
        return WEIR_OK;
    return begin_segment(ctx, j, input);
}

/* The payload is in the file: makes the entry whole and durable. */
static int end_entry(struct weir_ctx *ctx, struct journal *j, uint32_t flags, const void *payload, size_t length)
{
    struct journal_segment *s = &j->segments[j->count - 1];
    struct journal_entry_header header = {
        .magic = JOURNAL_ENTRY_MAGIC, .flags = flags, .length = length, .offset = j->end};
    header.checksum = journal_checksum(&header, payload);
    if (io_pwrite_all(j->write_fd, &header, sizeof(header), s->file_bytes) != sizeof(header))
        return fail_segment(ctx, j, s, "write");
    if (fdatasync(j->write_fd) != 0)
        return fail_segment(ctx, j, s, "sync");
    s->file_bytes = journal_next_offset(s->file_bytes, length);
    j->end += length;
    s->end = j->end;
    j->read_stream = j->end;
    return WEIR_OK;
}

int journal_mark(struct weir_ctx *ctx, struct journal *j, const struct line_input *input, uint32_t flags)
{
    int result = ready_segment(ctx, j, input);
    if (result == WEIR_OK)
        result = end_entry(ctx, j, flags, "", 0);
    if (result == WEIR_OK && (flags & JOURNAL_END))
        j->ended = true;
    return result;
}

/* Input that the kernel cannot move by itself passes through the buffer. */
static int copy_payload(struct weir_ctx *ctx, struct journal *j, const struct line_input *input, void *buffer,
                        size_t *ret_length)
{
    const struct journal_segment *s = &j->segments[j->count - 1];
    size_t length = 0;
    int result = line_input_read(ctx, input, buffer, j->entry_bytes_max, &length);
    if (result != WEIR_OK)
        return result;
    if (io_pwrite_all(j->write_fd, buffer, length, s->file_bytes + sizeof(struct journal_entry_header)) != length)
        return fail_segment(ctx, j, s, "write");
    *ret_length = length;
    return WEIR_OK;
}

static int move_payload(struct weir_ctx *ctx, struct journal *j, const struct line_input *input, void *buffer,
                        size_t *ret_length)
{
    const struct journal_segment *s = &j->segments[j->count - 1];
    const uint64_t at = s->file_bytes + sizeof(struct journal_entry_header);
    size_t length = 0;
    int result = WEIR_OK;
    while (result == WEIR_OK && length < j->entry_bytes_max) {
        size_t moved = 0;
        result = line_input_move(ctx, input, j->write_fd, at + length, j->entry_bytes_max - length, &moved);
        length += moved;
    }
    if (result < 0 || length == 0)
        return result;
    ssize_t n = io_pread_all(j->write_fd, buffer, length, at);
    if (n != (ssize_t)length)
        return fail_segment(ctx, j, s, "read back");
    *ret_length = length;
    return WEIR_OK; /* an end will be seen again */
}

int journal_append(struct weir_ctx *ctx, struct journal *j, const struct line_input *input, void *buffer,
                   size_t *ret_size_bytes)
{
    size_t length = 0;
    int result = ready_segment(ctx, j, input);
    if (result == WEIR_OK)
        result = move_payload(ctx, j, input, buffer, &length);
    if (result == WEIR_EUNSUPPORTED)
        result = copy_payload(ctx, j, input, buffer, &length);
    if (result == WEIR_END) {
        result = journal_mark(ctx, j, input, JOURNAL_END);
        return result == WEIR_OK ? WEIR_END : result;
    }
    if (result == WEIR_OK)
        result = end_entry(ctx, j, 0, buffer, length);
    if (result == WEIR_OK)
        *ret_size_bytes = length;
    return result;
}

/* ------------------------------------------------------------------------------------------------- space --------- */

bool journal_is_full(const struct journal *j)
{
    uint64_t used = 0;
    for (size_t i = 0; i < j->count; i++)
        used += j->segments[i].file_bytes;
    return used + JOURNAL_HEADER_BYTES + journal_next_offset(0, j->entry_bytes_max) > j->bytes_max;
}

int journal_trim(struct weir_ctx *ctx, struct journal *j, uint64_t position)
{
    size_t gone = 0;
    int result = WEIR_OK;
    while (result == WEIR_OK && gone + 1 < j->count && gone < j->read_index && j->segments[gone].end <= position) {
        char name[JOURNAL_NAME_BYTES];
        journal_name(j->segments[gone].sequence, name);
        if (unlinkat(j->directory_fd, name, 0) != 0 && errno != ENOENT)
            result = io_fail_errno(ctx, errno, "cannot remove the journal %s/%s", j->directory, name);
        else
            gone++;
    }
    memmove(j->segments, j->segments + gone, (j->count - gone) * sizeof(*j->segments));
    j->count -= gone;
    j->read_index -= gone;
    return result;
}
