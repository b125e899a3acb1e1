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
#define SYNC_FAILURES_MAX 3   /* in a row */

void journal_name(uint64_t sequence, char *ret_name)
{
    snprintf(ret_name, JOURNAL_NAME_BYTES, "journal-%012llu", (unsigned long long)sequence);
}

uint64_t journal_checksum(const struct journal_entry_header *header, const void *payload)
{
    uint64_t seed = XXH3_64bits(payload, header->length);
    return XXH3_64bits_withSeed(header, offsetof(struct journal_entry_header, checksum), seed);
}

uint64_t journal_header_checksum(const struct journal_segment_header *header)
{
    return XXH3_64bits(header, offsetof(struct journal_segment_header, checksum));
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

/* 0: unknown; then the last entry of a dead process is in doubt, and no unfinished one is kept. */
static uint64_t read_boot(void)
{
    char text[64];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = io_pread_all(fd, text, sizeof(text), 0);
    close(fd);
    return n > 0 ? XXH3_64bits(text, (size_t)n) : 0;
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
    j->boot = read_boot();
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

int journal_add_segment(struct weir_ctx *ctx, struct journal *j, const struct journal_segment *segment)
{
    if (j->count == j->capacity) {
        size_t capacity = j->capacity == 0 ? 16 : j->capacity * 2;
        struct journal_segment *larger = realloc(j->segments, capacity * sizeof(*larger));
        if (larger == NULL)
            return io_fail(ctx, WEIR_ENOMEM, "out of memory for a journal of %zu segments", capacity);
        j->segments = larger;
        j->capacity = capacity;
    }
    j->segments[j->count++] = *segment;
    return WEIR_OK;
}

void journal_remove(const struct journal *j, uint64_t sequence)
{
    char name[JOURNAL_NAME_BYTES];
    journal_name(sequence, name);
    unlinkat(j->directory_fd, name, 0); /* left over, it is found to be void again, or is unbegun */
}

/* A sync failed, with errno: to be tried again with a new file (WEIR_OK), or not. */
static int note_failed_sync(struct weir_ctx *ctx, struct journal *j, uint64_t sequence)
{
    int saved = errno;
    char name[JOURNAL_NAME_BYTES];
    journal_name(sequence, name);
    if (++j->failed_syncs >= SYNC_FAILURES_MAX)
        return io_fail_errno(ctx, saved,
                             "cannot sync the journal %s/%s, and %u files in a row now: nothing can be made durable there",
                             j->directory, name, j->failed_syncs);
    weir_log(ctx, "the journal %s/%s is given up, because its sync failed (%s); what it may have lost goes to a new file",
             j->directory, name, strerror(saved));
    return WEIR_OK;
}

/* The last segment with anything in it. */
static const struct journal_segment *find_previous(const struct journal *j)
{
    size_t count = j->count;
    while (count > 0 && j->segments[count - 1].file_bytes == JOURNAL_HEADER_BYTES)
        count--;
    return count > 0 ? &j->segments[count - 1] : NULL;
}

/* Behind a new segment: the one before it, where nothing is in that. */
static void remove_void(struct journal *j)
{
    if (j->count < 2 || j->segments[j->count - 2].file_bytes > JOURNAL_HEADER_BYTES)
        return;
    journal_remove(j, j->segments[j->count - 2].sequence);
    j->segments[j->count - 2] = j->segments[j->count - 1];
    j->count--;
}

/* A new file with the header of the segment that follows on the last one. */
static int make_file(struct weir_ctx *ctx, struct journal *j, uint64_t identity, const char *prefix,
                     struct journal_segment *ret_segment, int *ret_fd)
{
    const struct journal_segment *previous = find_previous(j);
    struct journal_segment s = {
        .sequence = j->next_sequence++, .start = j->end, .end = j->end, .file_bytes = JOURNAL_HEADER_BYTES};
    struct journal_segment_header header = {.start = j->end, .identity = identity, .boot = j->boot};
    memcpy(header.magic, JOURNAL_MAGIC, sizeof(header.magic));
    if (previous != NULL) {
        header.previous = previous->sequence;
        header.previous_bytes = previous->file_bytes;
    }
    header.checksum = journal_header_checksum(&header);
    char name[JOURNAL_NAME_BYTES], path[2 * JOURNAL_NAME_BYTES];
    journal_name(s.sequence, name);
    snprintf(path, sizeof(path), "%s%s", prefix, name);
    int fd = openat(j->directory_fd, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_segment(ctx, j, &s, "make");
    if (io_pwrite_all(fd, &header, sizeof(header), 0) != sizeof(header)) {
        int result = fail_segment(ctx, j, &s, "write");
        close(fd);
        unlinkat(j->directory_fd, path, 0);
        return result;
    }
    *ret_segment = s;
    *ret_fd = fd;
    return WEIR_OK;
}

/* An empty segment for what comes from the input. */
static int begin_segment(struct weir_ctx *ctx, struct journal *j, const struct line_input *input)
{
    struct journal_segment s = {0};
    int fd = -1;
    int result = WEIR_OK;
    for (bool synced = false; !synced;) {
        result = make_file(ctx, j, input->identity, "", &s, &fd);
        if (result != WEIR_OK)
            return result;
        synced = fdatasync(fd) == 0;
        if (!synced) {
            result = note_failed_sync(ctx, j, s.sequence);
            close(fd);
            journal_remove(j, s.sequence);
        }
        if (result != WEIR_OK)
            return result;
    }
    if (fsync(j->directory_fd) != 0)
        result = io_fail_errno(ctx, errno, "cannot sync the directory %s", j->directory);
    if (result == WEIR_OK)
        result = journal_add_segment(ctx, j, &s);
    if (result != WEIR_OK) {
        close(fd);
        journal_remove(j, s.sequence);
        return result;
    }
    if (j->write_fd >= 0)
        close(j->write_fd);
    j->write_fd = fd;
    remove_void(j);
    j->read_index = j->count; /* its reader has it already */
    return WEIR_OK;
}

static int ready_segment(struct weir_ctx *ctx, struct journal *j, const struct line_input *input)
{
    if (j->write_fd >= 0 && j->segments[j->count - 1].file_bytes < j->segment_bytes)
        return WEIR_OK;
    return begin_segment(ctx, j, input);
}

static void count_entry(struct journal *j, struct journal_segment *s, size_t length)
{
    s->file_bytes = journal_next_offset(s->file_bytes, length);
    j->end += length;
    s->end = j->end;
    j->failed_syncs = 0;
}

static struct journal_entry_header make_entry_header(const struct journal *j, uint32_t flags, const void *payload, size_t length)
{
    struct journal_entry_header header = {
        .magic = JOURNAL_ENTRY_MAGIC, .flags = flags, .length = length, .offset = j->end};
    header.checksum = journal_checksum(&header, payload);
    return header;
}

/* One file of journal_write_segment(). *ret_synced: whether it is durable, but for its name. */
static int write_file(struct weir_ctx *ctx, struct journal *j, uint64_t identity, const struct journal_entry_header *header,
                      const void *payload, struct journal_segment *ret_segment, int *ret_fd, bool *ret_synced)
{
    int result = make_file(ctx, j, identity, ".", ret_segment, ret_fd);
    if (result != WEIR_OK)
        return result;
    const uint64_t at = ret_segment->file_bytes;
    if (io_pwrite_all(*ret_fd, header, sizeof(*header), at) != sizeof(*header) ||
        io_pwrite_all(*ret_fd, payload, header->length, at + sizeof(*header)) != header->length)
        result = fail_segment(ctx, j, ret_segment, "write");
    else if (fdatasync(*ret_fd) != 0)
        result = note_failed_sync(ctx, j, ret_segment->sequence);
    else
        *ret_synced = true;
    return result;
}

int journal_write_segment(struct weir_ctx *ctx, struct journal *j, uint64_t identity, uint32_t flags, const void *payload,
                          size_t length, int *ret_fd)
{
    const struct journal_entry_header header = make_entry_header(j, flags, payload, length);
    struct journal_segment s = {0};
    char name[JOURNAL_NAME_BYTES], unfinished[2 * JOURNAL_NAME_BYTES];
    int result = WEIR_OK;
    int fd = -1;
    for (bool synced = false; !synced && result == WEIR_OK;) {
        result = write_file(ctx, j, identity, &header, payload, &s, &fd, &synced);
        journal_name(s.sequence, name);
        snprintf(unfinished, sizeof(unfinished), ".%s", name);
        if (!synced && fd >= 0) {
            close(fd);
            fd = -1;
            unlinkat(j->directory_fd, unfinished, 0);
        }
    }
    if (result == WEIR_OK && (renameat(j->directory_fd, unfinished, j->directory_fd, name) != 0 || fsync(j->directory_fd) != 0))
        result = fail_segment(ctx, j, &s, "name");
    if (result == WEIR_OK)
        result = journal_add_segment(ctx, j, &s);
    if (result != WEIR_OK) {
        if (fd >= 0)
            close(fd);
        return result;
    }
    count_entry(j, &j->segments[j->count - 1], length);
    remove_void(j);
    *ret_fd = fd;
    return WEIR_OK;
}

/* The sync of the segment being written failed. Its file, with the entry in the page cache, stays until the entry is durable
 * elsewhere: should this process not come so far, its successor writes it. */
static int write_anew(struct weir_ctx *ctx, struct journal *j, uint64_t identity, uint32_t flags, const void *payload,
                      size_t length)
{
    int result = note_failed_sync(ctx, j, j->segments[j->count - 1].sequence);
    if (result != WEIR_OK)
        return result;
    close(j->write_fd);
    j->write_fd = -1;
    result = journal_write_segment(ctx, j, identity, flags, payload, length, &j->write_fd);
    j->read_index = j->count;
    return result;
}

/* The payload is in the file: makes the entry whole and durable. */
static int end_entry(struct weir_ctx *ctx, struct journal *j, uint64_t identity, uint32_t flags, const void *payload,
                     size_t length)
{
    struct journal_segment *s = &j->segments[j->count - 1];
    const struct journal_entry_header header = make_entry_header(j, flags, payload, length);
    int result = WEIR_OK;
    if (io_pwrite_all(j->write_fd, &header, sizeof(header), s->file_bytes) != sizeof(header))
        return fail_segment(ctx, j, s, "write");
    if (fdatasync(j->write_fd) == 0)
        count_entry(j, s, length);
    else
        result = write_anew(ctx, j, identity, flags, payload, length);
    j->read_stream = j->end;
    return result;
}

int journal_mark(struct weir_ctx *ctx, struct journal *j, const struct line_input *input, uint32_t flags)
{
    int result = ready_segment(ctx, j, input);
    if (result == WEIR_OK)
        result = end_entry(ctx, j, input->identity, flags, "", 0);
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
        result = end_entry(ctx, j, input->identity, 0, buffer, length);
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
