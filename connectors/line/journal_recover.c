/* journal_recover.c - finds the segments of a journal, and mends the last one: the only one that a dead process can
 * have left unfinished. */
#include "connectors/line/journal.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_PREFIX "journal-"

/* ------------------------------------------------------------------------------------------------- finding ------- */

static int fail_name(struct weir_ctx *ctx, const struct journal *j, uint64_t sequence, const char *what)
{
    int saved = errno;
    char name[JOURNAL_NAME_BYTES];
    journal_name(sequence, name);
    return io_fail_errno(ctx, saved, "cannot %s the journal %s/%s", what, j->directory, name);
}

static bool parse_name(const char *name, uint64_t *ret_sequence)
{
    const size_t prefix = sizeof(NAME_PREFIX) - 1;
    if (strncmp(name, NAME_PREFIX, prefix) != 0 || !isdigit((unsigned char)name[prefix]))
        return false;
    char *end;
    *ret_sequence = strtoull(name + prefix, &end, 10);
    return *end == '\0';
}

static int add_segment(struct weir_ctx *ctx, struct journal *j, uint64_t sequence)
{
    if (j->count == j->capacity) {
        size_t capacity = j->capacity == 0 ? 16 : j->capacity * 2;
        struct journal_segment *larger = realloc(j->segments, capacity * sizeof(*larger));
        if (larger == NULL)
            return io_fail(ctx, WEIR_ENOMEM, "out of memory for a journal of %zu segments", capacity);
        j->segments = larger;
        j->capacity = capacity;
    }
    j->segments[j->count++] = (struct journal_segment){.sequence = sequence};
    return WEIR_OK;
}

static int by_sequence(const void *a, const void *b)
{
    const struct journal_segment *x = a, *y = b;
    return (x->sequence > y->sequence) - (x->sequence < y->sequence);
}

static int find_segments(struct weir_ctx *ctx, struct journal *j)
{
    DIR *directory = opendir(j->directory);
    if (directory == NULL)
        return io_fail_errno(ctx, errno, "cannot read the directory %s", j->directory);
    int result = WEIR_OK;
    const char *name;
    uint64_t sequence;
    while (result == WEIR_OK && (name = io_next_name(directory)) != NULL) {
        if (parse_name(name, &sequence))
            result = add_segment(ctx, j, sequence);
    }
    if (result == WEIR_OK && errno != 0)
        result = io_fail_errno(ctx, errno, "cannot read the directory %s", j->directory);
    closedir(directory);
    if (j->count > 0)
        qsort(j->segments, j->count, sizeof(*j->segments), by_sequence);
    return result;
}

/* ------------------------------------------------------------------------------------------------- headers ------- */

static int open_segment(struct weir_ctx *ctx, const struct journal *j, uint64_t sequence, int *ret_fd)
{
    char name[JOURNAL_NAME_BYTES];
    journal_name(sequence, name);
    int fd = openat(j->directory_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return fail_name(ctx, j, sequence, "open");
    *ret_fd = fd;
    return WEIR_OK;
}

/* WEIR_END: there is no whole header. */
static int read_header(struct weir_ctx *ctx, const struct journal *j, int fd, struct journal_segment *s,
                       struct journal_segment_header *ret_header)
{
    struct stat st;
    ssize_t n = io_pread_all(fd, ret_header, sizeof(*ret_header), 0);
    if (n < 0 || fstat(fd, &st) != 0)
        return fail_name(ctx, j, s->sequence, "read");
    if ((size_t)n != sizeof(*ret_header) || memcmp(ret_header->magic, "WEIRJNL1", sizeof(ret_header->magic)) != 0 ||
        ret_header->checksum != (uint32_t)XXH3_64bits(ret_header, offsetof(struct journal_segment_header, checksum)))
        return WEIR_END;
    s->start = s->end = ret_header->start;
    s->file_bytes = (uint64_t)st.st_size;
    return WEIR_OK;
}

/* A segment that was never begun: its process died, or the power went, before anything was in it. */
static int drop_unbegun(struct weir_ctx *ctx, struct journal *j, int fd)
{
    struct stat st;
    const uint64_t sequence = j->segments[j->count - 1].sequence;
    if (fstat(fd, &st) != 0)
        return fail_name(ctx, j, sequence, "examine");
    if ((uint64_t)st.st_size > JOURNAL_HEADER_BYTES)
        return journal_fail_corrupt(ctx, j, sequence, 0, "its header is wrong");
    char name[JOURNAL_NAME_BYTES];
    journal_name(sequence, name);
    if (unlinkat(j->directory_fd, name, 0) != 0)
        return fail_name(ctx, j, sequence, "remove");
    j->count--;
    return WEIR_OK;
}

/* ------------------------------------------------------------------------------------------------- the tail ------ */

struct tail {
    struct weir_ctx *ctx;
    struct journal *j;
    struct journal_segment *segment;
    int fd;
    bool is_same_boot;
    void *payload; /* room for the longest entry */
};

static int cut_off(struct tail *t, uint64_t offset)
{
    if (ftruncate(t->fd, (off_t)offset) != 0)
        return fail_name(t->ctx, t->j, t->segment->sequence, "cut");
    weir_log(t->ctx, "journal segment %llu: cut off %llu bytes of an entry that was never whole",
             (unsigned long long)t->segment->sequence, (unsigned long long)(t->segment->file_bytes - offset));
    t->segment->file_bytes = offset;
    return WEIR_OK;
}

/* The payload that a killed process left without its header. */
static int adopt(struct tail *t, uint64_t offset)
{
    struct journal_entry_header header = {.magic = JOURNAL_ENTRY_MAGIC, .offset = t->segment->end};
    uint64_t behind = offset + sizeof(header);
    if (t->segment->file_bytes <= behind) /* nothing but a part of a header */
        return cut_off(t, offset);
    header.length = t->segment->file_bytes - behind;
    if (header.length > JOURNAL_ENTRY_BYTES_MAX)
        return journal_fail_corrupt(t->ctx, t->j, t->segment->sequence, offset, "there is no entry");
    if (io_pread_all(t->fd, t->payload, header.length, behind) != (ssize_t)header.length)
        return fail_name(t->ctx, t->j, t->segment->sequence, "read");
    header.checksum = journal_checksum(&header, t->payload);
    if (io_pwrite_all(t->fd, &header, sizeof(header), offset) != sizeof(header))
        return fail_name(t->ctx, t->j, t->segment->sequence, "write");
    t->segment->end += header.length;
    t->segment->file_bytes = journal_next_offset(offset, header.length);
    return WEIR_OK;
}

static bool is_zero(const struct journal_entry_header *header)
{
    const struct journal_entry_header zero = {0};
    return memcmp(header, &zero, sizeof(zero)) == 0;
}

/* What stands at `offset` is no whole entry. */
static int mend(struct tail *t, uint64_t offset, bool could_be_unfinished)
{
    uint64_t rest = t->segment->file_bytes - offset;
    if (t->is_same_boot && could_be_unfinished)
        return adopt(t, offset);
    if (!t->is_same_boot && rest <= journal_next_offset(0, JOURNAL_ENTRY_BYTES_MAX))
        return cut_off(t, offset);
    return journal_fail_corrupt(t->ctx, t->j, t->segment->sequence, offset, "there is no entry");
}

static bool is_last_and_torn(const struct tail *t, const struct journal_entry_header *header, uint64_t offset)
{
    if (journal_next_offset(offset, header->length) < t->segment->file_bytes)
        return false; /* the entry behind it was begun after it was synced; its checksum is looked at when it is read */
    ssize_t n = io_pread_all(t->fd, t->payload, header->length, offset + sizeof(*header));
    return n != (ssize_t)header->length || journal_checksum(header, t->payload) != header->checksum;
}

static int mend_tail(struct tail *t)
{
    struct journal_segment *s = t->segment;
    uint64_t offset = JOURNAL_HEADER_BYTES;
    while (offset < s->file_bytes) {
        struct journal_entry_header header = {0};
        ssize_t n = io_pread_all(t->fd, &header, sizeof(header), offset);
        if (n < 0)
            return fail_name(t->ctx, t->j, s->sequence, "read");
        bool is_whole = (size_t)n == sizeof(header) && header.magic == JOURNAL_ENTRY_MAGIC && header.offset == s->end &&
                        header.length <= JOURNAL_ENTRY_BYTES_MAX &&
                        header.length <= s->file_bytes - offset - sizeof(header);
        if (!is_whole || is_last_and_torn(t, &header, offset))
            return mend(t, offset, is_zero(&header));
        t->j->ended = (header.flags & JOURNAL_END) != 0;
        s->end += header.length;
        offset = journal_next_offset(offset, header.length);
    }
    s->file_bytes = offset;
    return WEIR_OK;
}

static int recover_last(struct weir_ctx *ctx, struct journal *j)
{
    struct journal_segment *s = &j->segments[j->count - 1];
    struct journal_segment_header header;
    struct tail t = {.ctx = ctx, .j = j, .segment = s, .fd = -1};
    int result = open_segment(ctx, j, s->sequence, &t.fd);
    if (result != WEIR_OK)
        return result;
    result = read_header(ctx, j, t.fd, s, &header);
    if (result == WEIR_END) {
        result = drop_unbegun(ctx, j, t.fd);
        close(t.fd);
        return result != WEIR_OK || j->count == 0 ? result : recover_last(ctx, j);
    }
    if (result == WEIR_OK) {
        t.is_same_boot = memcmp(header.boot_id, j->boot_id, sizeof(header.boot_id)) == 0 && header.boot_id[0] != '\0';
        t.payload = malloc(JOURNAL_ENTRY_BYTES_MAX);
        result = t.payload != NULL ? mend_tail(&t) : io_fail(ctx, WEIR_ENOMEM, "out of memory for a journal entry");
        j->last_identity = t.is_same_boot ? header.identity : 0;
        /* The dead process may not have come to it, and what is read from here on counts as durable. */
        if (result == WEIR_OK && fdatasync(t.fd) != 0)
            result = fail_name(ctx, j, s->sequence, "sync");
    }
    free(t.payload);
    close(t.fd);
    return result;
}

/* A segment that has successors was finished and synced before they were begun. */
static int check_finished(struct weir_ctx *ctx, struct journal *j, size_t index)
{
    struct journal_segment *s = &j->segments[index];
    struct journal_segment_header header;
    int fd = -1;
    int result = open_segment(ctx, j, s->sequence, &fd);
    if (result != WEIR_OK)
        return result;
    result = read_header(ctx, j, fd, s, &header);
    close(fd);
    if (result == WEIR_END)
        return journal_fail_corrupt(ctx, j, s->sequence, 0, "its header is wrong");
    s->end = j->segments[index + 1].start;
    if (result == WEIR_OK && (s->end < s->start || s->sequence + 1 != j->segments[index + 1].sequence))
        return journal_fail_corrupt(ctx, j, s->sequence, 0, "the next segment does not follow on it");
    return result;
}

int journal_recover(struct weir_ctx *ctx, struct journal *j)
{
    int result = find_segments(ctx, j);
    if (result == WEIR_OK && j->count > 0)
        result = recover_last(ctx, j);
    for (size_t i = j->count; result == WEIR_OK && i-- > 1;)
        result = check_finished(ctx, j, i - 1);
    if (result == WEIR_OK && j->count > 0)
        j->end = j->segments[j->count - 1].end;
    return result;
}
