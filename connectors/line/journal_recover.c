/* journal_recover.c - finds the segments of a journal. The last one with anything in it is the only one that a dead
 * process can have left unfinished: its last entry is written to a new segment where nobody knows whether it is
 * durable. No old file is changed. */
#include "connectors/line/journal.h"

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
    struct journal_segment s = {0};
    while (result == WEIR_OK && (name = io_next_name(directory)) != NULL) {
        if (strncmp(name, JOURNAL_UNFINISHED_PREFIX, sizeof(JOURNAL_UNFINISHED_PREFIX) - 1) == 0)
            unlinkat(j->directory_fd, name, 0); /* its process died before it was durable */
        else if (parse_name(name, &s.sequence))
            result = journal_add_segment(ctx, j, &s);
    }
    if (result == WEIR_OK && errno != 0)
        result = io_fail_errno(ctx, errno, "cannot read the directory %s", j->directory);
    closedir(directory);
    if (j->count > 0)
        qsort(j->segments, j->count, sizeof(*j->segments), by_sequence);
    j->next_sequence = j->count > 0 ? j->segments[j->count - 1].sequence + 1 : 1;
    return result;
}

/* ------------------------------------------------------------------------------------------------- headers ------- */

static int open_segment(struct weir_ctx *ctx, const struct journal *j, uint64_t sequence, int *ret_fd)
{
    char name[JOURNAL_NAME_BYTES];
    journal_name(sequence, name);
    int fd = openat(j->directory_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
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
    const size_t version = sizeof(ret_header->magic) - 1;
    ssize_t n = io_pread_all(fd, ret_header, sizeof(*ret_header), 0);
    if (n < 0 || fstat(fd, &st) != 0)
        return fail_name(ctx, j, s->sequence, "read");
    s->file_bytes = (uint64_t)st.st_size;
    if ((size_t)n != sizeof(*ret_header) || memcmp(ret_header->magic, JOURNAL_MAGIC, version) != 0)
        return WEIR_END;
    if (ret_header->magic[version] != JOURNAL_MAGIC[version])
        return io_fail(ctx, WEIR_EVERSION, "the journal in %s has format %.8s, and this version of Weir knows " JOURNAL_MAGIC,
                       j->directory, ret_header->magic);
    if (ret_header->checksum != journal_header_checksum(ret_header))
        return WEIR_END;
    s->start = s->end = ret_header->start;
    return WEIR_OK;
}

/* ------------------------------------------------------------------------------------------------- the tail ------ */

enum tail_boot { BOOT_UNKNOWN, BOOT_SAME, BOOT_EARLIER };

/* The last segment with anything in it, and its last entry. */
struct tail {
    struct weir_ctx *ctx;
    struct journal *j;
    struct journal_segment *segment;
    int fd;
    struct journal_segment_header header;
    enum tail_boot boot;
    unsigned char *payload; /* room for the longest entry, and what surrounds it */
    /* The last entry; segment->end and file_bytes do not count it while it is in doubt. */
    bool has_entry;
    bool in_doubt;
    struct journal_entry_header entry;
    uint64_t entry_offset;
};

#define TAIL_BYTES (JOURNAL_ENTRY_BYTES_MAX + 2 * sizeof(struct journal_entry_header))

/* Whether a whole entry stands somewhere behind the damaged one at `offset`: entries are begun when the one before is synced,
 * so that one was whole once. */
static int find_later_entry(struct tail *t, uint64_t offset, bool *ret_found)
{
    size_t rest = (size_t)(t->segment->file_bytes - offset);
    ssize_t n = io_pread_all(t->fd, t->payload, rest < TAIL_BYTES ? rest : TAIL_BYTES, offset);
    if (n < 0)
        return fail_name(t->ctx, t->j, t->segment->sequence, "read");
    struct journal_entry_header h;
    for (size_t at = JOURNAL_ALIGNMENT; !*ret_found && at + sizeof(h) <= (size_t)n; at += JOURNAL_ALIGNMENT) {
        memcpy(&h, t->payload + at, sizeof(h));
        *ret_found = h.magic == JOURNAL_ENTRY_MAGIC && h.offset >= t->segment->end && h.offset - t->segment->end <= at &&
                     h.length <= (size_t)n - at - sizeof(h) &&
                     journal_checksum(&h, t->payload + at + sizeof(h)) == h.checksum;
    }
    return WEIR_OK;
}

/* Of a power cut. */
static void leave_out(struct tail *t, uint64_t offset)
{
    weir_log(t->ctx, "journal segment %llu: its last %llu bytes are of an entry that was never whole, and do not count",
             (unsigned long long)t->segment->sequence, (unsigned long long)(t->segment->file_bytes - offset));
    t->segment->file_bytes = offset;
}

/* The payload that a killed process left without its header. */
static int adopt(struct tail *t, uint64_t offset)
{
    const uint64_t behind = offset + sizeof(t->entry);
    if (t->segment->file_bytes <= behind) { /* nothing but a part of a header */
        leave_out(t, offset);
        return WEIR_OK;
    }
    t->entry = (struct journal_entry_header){.offset = t->segment->end, .length = t->segment->file_bytes - behind};
    if (t->entry.length > JOURNAL_ENTRY_BYTES_MAX)
        return journal_fail_corrupt(t->ctx, t->j, t->segment->sequence, offset, "there is no entry");
    if (io_pread_all(t->fd, t->payload, t->entry.length, behind) != (ssize_t)t->entry.length)
        return fail_name(t->ctx, t->j, t->segment->sequence, "read");
    t->has_entry = t->in_doubt = true;
    t->segment->file_bytes = t->entry_offset = offset;
    return WEIR_OK;
}

static bool is_zero(const struct journal_entry_header *header)
{
    const struct journal_entry_header zero = {0};
    return memcmp(header, &zero, sizeof(zero)) == 0;
}

/* What stands at `offset` is no whole entry. */
static int judge_unfinished(struct tail *t, uint64_t offset, bool has_zero_header)
{
    bool is_followed = false;
    int result = find_later_entry(t, offset, &is_followed);
    if (result != WEIR_OK)
        return result;
    if (!is_followed && t->boot == BOOT_SAME && has_zero_header)
        return adopt(t, offset);
    if (!is_followed && t->boot != BOOT_SAME &&
        t->segment->file_bytes - offset <= journal_next_offset(0, JOURNAL_ENTRY_BYTES_MAX)) {
        leave_out(t, offset);
        return WEIR_OK;
    }
    return journal_fail_corrupt(t->ctx, t->j, t->segment->sequence, offset, "there is no entry");
}

static bool is_last(const struct tail *t, const struct journal_entry_header *header, uint64_t offset)
{
    return journal_next_offset(offset, header->length) >= t->segment->file_bytes;
}

/* An entry with another behind it was synced: its checksum is looked at when it is read. */
static bool is_torn(const struct tail *t, const struct journal_entry_header *header, uint64_t offset)
{
    ssize_t n = io_pread_all(t->fd, t->payload, header->length, offset + sizeof(*header));
    return n != (ssize_t)header->length || journal_checksum(header, t->payload) != header->checksum;
}

/* Walks over the entries. A whole last one of this boot, or of nobody knows which, is in doubt. */
static int walk_entries(struct tail *t)
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
        bool ends_file = is_whole && is_last(t, &header, offset);
        if (!is_whole || (ends_file && is_torn(t, &header, offset)))
            return judge_unfinished(t, offset, is_zero(&header));
        t->has_entry = true;
        t->in_doubt = ends_file && t->boot != BOOT_EARLIER;
        t->entry = header;
        t->entry_offset = offset;
        if (t->in_doubt)
            break;
        s->end += header.length;
        offset = journal_next_offset(offset, header.length);
    }
    s->file_bytes = offset;
    return WEIR_OK;
}

static int read_tail(struct tail *t)
{
    struct journal_segment *s = t->segment;
    int result = open_segment(t->ctx, t->j, s->sequence, &t->fd);
    if (result != WEIR_OK)
        return result;
    result = read_header(t->ctx, t->j, t->fd, s, &t->header);
    if (result == WEIR_END && s->file_bytes > JOURNAL_HEADER_BYTES)
        result = journal_fail_corrupt(t->ctx, t->j, s->sequence, 0, "its header is wrong");
    if (result == WEIR_OK) {
        const bool is_known = t->header.boot != 0 && t->j->boot != 0;
        t->boot = !is_known ? BOOT_UNKNOWN : t->header.boot == t->j->boot ? BOOT_SAME : BOOT_EARLIER;
        result = walk_entries(t);
    }
    close(t->fd);
    return result;
}

/* Segments at the end that were never begun are removed, and those with nothing in them but where no other is left to say how far
 * the stream had come. */
static int find_tail(struct tail *t)
{
    struct journal *j = t->j;
    while (j->count > 0 && !t->has_entry) {
        t->segment = &j->segments[j->count - 1];
        int result = read_tail(t);
        if (result < 0)
            return result;
        if (result == WEIR_OK && j->count == 1)
            return WEIR_OK;
        if (!t->has_entry) {
            journal_remove(j, t->segment->sequence);
            j->count--;
        }
    }
    return WEIR_OK;
}

/* ------------------------------------------------------------------------------------------------- the chain ----- */

/* Removes the segments from `from` up to but not `to`: each was given up, and its successor has what was in it. */
static void remove_void(struct journal *j, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        journal_remove(j, j->segments[i].sequence);
    memmove(&j->segments[from], &j->segments[to], (j->count - to) * sizeof(*j->segments));
    j->count -= to - from;
}

/* The segment that `index` says it follows: *ret_index below it, or `index` itself where there is none any more. */
static int find_previous(struct weir_ctx *ctx, struct journal *j, size_t index, uint64_t previous, size_t *ret_index)
{
    const uint64_t sequence = j->segments[index].sequence;
    size_t at = index;
    while (at > 0 && j->segments[at - 1].sequence > previous)
        at--;
    if (previous >= sequence || (at > 0 && j->segments[at - 1].sequence != previous))
        return journal_fail_corrupt(ctx, j, sequence, 0, "the segment that it follows is missing");
    remove_void(j, at, index);
    *ret_index = at > 0 ? at - 1 : at;
    return WEIR_OK;
}

/* A segment that has a successor was synced before that was begun, as far as the successor says. */
static int check_followed(struct weir_ctx *ctx, struct journal *j, size_t index, struct journal_segment_header *header)
{
    struct journal_segment *s = &j->segments[index];
    const uint64_t next_start = header->start, counts_bytes = header->previous_bytes;
    int fd = -1;
    int result = open_segment(ctx, j, s->sequence, &fd);
    if (result != WEIR_OK)
        return result;
    result = read_header(ctx, j, fd, s, header);
    close(fd);
    if (result == WEIR_END)
        return journal_fail_corrupt(ctx, j, s->sequence, 0, "its header is wrong");
    if (result != WEIR_OK)
        return result;
    /* The last entry of a file is not padded. */
    const uint64_t whole_bytes = (s->file_bytes + JOURNAL_ALIGNMENT - 1) & ~(uint64_t)(JOURNAL_ALIGNMENT - 1);
    if (counts_bytes > whole_bytes)
        return journal_fail_corrupt(ctx, j, s->sequence, s->file_bytes,
                                    "it ends there, and was longer when the next one was begun");
    if (next_start < s->start || counts_bytes < JOURNAL_HEADER_BYTES)
        return journal_fail_corrupt(ctx, j, s->sequence, 0, "the next segment does not follow on it");
    s->end = next_start;
    s->file_bytes = counts_bytes;
    return WEIR_OK;
}

/* Backwards from the last one: each names the one before. */
static int follow_chain(struct weir_ctx *ctx, struct journal *j, struct journal_segment_header header)
{
    size_t index = j->count - 1;
    while (index > 0) {
        size_t previous = index;
        const size_t above = j->count - index;
        int result = find_previous(ctx, j, index, header.previous, &previous);
        index = j->count - above; /* those between were removed */
        if (result != WEIR_OK || index == 0)
            return result;
        index = previous;
        result = check_followed(ctx, j, index, &header);
        if (result != WEIR_OK)
            return result;
    }
    return WEIR_OK;
}

static int settle_doubt(struct tail *t)
{
    int fd = -1;
    int result = journal_write_segment(t->ctx, t->j, t->j->last_identity, t->entry.flags, t->payload, t->entry.length, &fd);
    if (result == WEIR_OK)
        close(fd); /* what comes from the input begins its own */
    return result;
}

int journal_recover(struct weir_ctx *ctx, struct journal *j)
{
    struct tail t = {.ctx = ctx, .j = j, .fd = -1, .payload = malloc(TAIL_BYTES)};
    int result = t.payload != NULL ? find_segments(ctx, j) : io_fail(ctx, WEIR_ENOMEM, "out of memory for a journal entry");
    if (result == WEIR_OK)
        result = find_tail(&t);
    if (result == WEIR_OK && j->count > 0) {
        result = follow_chain(ctx, j, t.header);
        t.segment = &j->segments[j->count - 1]; /* the list has moved */
        j->ended = (t.entry.flags & JOURNAL_END) != 0;
        j->last_identity = t.boot == BOOT_SAME ? t.header.identity : 0;
        j->end = t.segment->end;
    }
    if (result == WEIR_OK && t.in_doubt)
        result = settle_doubt(&t);
    free(t.payload);
    return result;
}
