/*
 * journal.h - the bytes of an input that cannot be replayed, durable before any record is made of them.
 *
 * Files journal-<sequence> in connectors/<operator>/ of the job's directory. Little-endian. A segment is a header of 64
 * bytes and entries, each at a multiple of 32 bytes: 32 bytes of header, then `length` bytes of input as they came (not
 * lines: an entry may end in the middle of one). Stream offsets count input bytes from the first one ever; gaps in them
 * do not exist. A segment names the one that it follows, and how much of that one's file counts.
 *
 * Order: payload into the file, entry header, fdatasync, only then may a record be emitted. So:
 *   killed while the payload is written - the entry's header is zero. The payload is in the page cache, taken from a
 *       pipe by splice(2) and nowhere else: the next process keeps it.
 *   power cut before fdatasync - the last entry may be torn. The segment's header has another boot, so the entry does
 *       not count if its checksum does not hold; nothing was emitted of it.
 *   anything else that fails its check - WEIR_ECORRUPT with the file and the offset.
 *
 * A file whose sync failed is never synced or written again: the kernel reports a lost write once, and calls the pages
 * clean afterwards, so that a second sync succeeds without the data. What had been synced before stays where it is; the
 * entry is written to a new file. Three files in a row: the source fails. Nobody can know how the last sync of a dead
 * process ended: its last entry is in doubt while the machine has not been booted since, and is written to a new file by
 * its successor. Such a file gets its name when it is durable.
 *
 * Every process begins a segment of its own; what its predecessors wrote is only read.
 */
#ifndef WEIR_CONNECTORS_LINE_JOURNAL_H
#define WEIR_CONNECTORS_LINE_JOURNAL_H

#include "connectors/io/io.h"
#include "connectors/line/line_input.h"

#include <stddef.h>
#include <stdint.h>

#define JOURNAL_ENTRY_BYTES_MAX \
    ((size_t)256 * 1024) /* payload of one entry; what a caller's buffer must have room for */

enum journal_flags {
    JOURNAL_END = 1,  /* the input ended here, for good */
    JOURNAL_RESET = 2 /* another connection goes on here: an unfinished line before it will never be finished */
};

struct journal_segment_header {
    char magic[8];     /* "WEIRJNL2" */
    uint64_t start;    /* stream offset of the first byte */
    uint64_t identity; /* line_input.identity */
    uint64_t boot;     /* XXH3 of the machine's boot id; 0: unknown */
    uint64_t previous; /* sequence of the segment that this one follows; 0: none */
    uint64_t previous_bytes; /* how much of that file counts: what lies behind was given up, and is in this one */
    uint64_t reserved;       /* 0 */
    uint64_t checksum;       /* XXH3 of what precedes */
};
_Static_assert(sizeof(struct journal_segment_header) == 64, "durable");

struct journal_entry_header {
    uint32_t magic;
    uint32_t flags; /* enum journal_flags; an entry with flags has no payload */
    uint64_t length;
    uint64_t offset;   /* stream offset of its first byte */
    uint64_t checksum; /* XXH3 of the payload, and of the 24 bytes above seeded with that */
};
_Static_assert(sizeof(struct journal_entry_header) == 32, "durable");

struct journal_segment {
    uint64_t sequence;
    uint64_t start;
    uint64_t end;        /* stream offset behind its last byte */
    uint64_t file_bytes; /* how much of the file counts; of the one being written: where its next entry goes */
};

struct journal {
    int directory_fd;
    char directory[IO_PATH_BYTES];
    uint64_t boot;
    uint64_t next_sequence;
    unsigned failed_syncs; /* in a row */
    uint64_t bytes_max;
    uint64_t segment_bytes;
    size_t entry_bytes_max; /* of new entries */
    struct journal_segment *segments;
    size_t count, capacity;
    uint64_t end; /* stream offset */
    bool ended;
    uint64_t last_identity; /* of the input of the last segment, 0 after a reboot */
    int write_fd;           /* of segments[count - 1]; -1: this process has written nothing yet */
    size_t read_index;
    int read_fd;
    uint64_t read_offset; /* in the file */
    uint64_t read_stream;
    uint64_t read_from; /* what lies before is skipped */
};

/* Opens or makes the journal, mends its tail, and gets ready to read from `position`. Fails with WEIR_ECORRUPT where
 * the journal does not reach from `position` on. Blocks. */
int journal_open(struct weir_ctx *ctx, struct journal *j, uint64_t bytes_max, uint64_t position);
void journal_close(struct journal *j);

/* The next entry that was there at journal_open(): its bytes from `position` on, checked, and its flags. WEIR_END
 * behind the last. */
int journal_read(struct weir_ctx *ctx, struct journal *j, void *buffer, size_t *ret_size_bytes, uint32_t *ret_flags);
/* Takes what the input has, makes it durable and gives it. WEIR_IDLE: it has nothing; WEIR_END: it ended, and that is
 * durable. Only behind the last entry. Blocks while the disk syncs. */
int journal_append(struct weir_ctx *ctx, struct journal *j, const struct line_input *input, void *buffer,
                   size_t *ret_size_bytes);
/* An entry of flags alone. */
int journal_mark(struct weir_ctx *ctx, struct journal *j, const struct line_input *input, uint32_t flags);
/* Whether journal_append() would go beyond bytes_max: wait for journal_trim(). */
bool journal_is_full(const struct journal *j);
/* Removes whole segments that lie before `position`, but the last. */
int journal_trim(struct weir_ctx *ctx, struct journal *j, uint64_t position);

/* ---- between journal.c and journal_recover.c ---- */

/* Reads the directory into j->segments; what is in doubt is durable afterwards. */
int journal_recover(struct weir_ctx *ctx, struct journal *j);
/* Adds to j->segments. */
int journal_add_segment(struct weir_ctx *ctx, struct journal *j, const struct journal_segment *segment);
/* A new segment with this one entry, behind the last one of j->segments, in a file that has its name once it is durable. The
 * descriptor of the file, for more entries. */
int journal_write_segment(struct weir_ctx *ctx, struct journal *j, uint64_t identity, uint32_t flags, const void *payload,
                          size_t length, int *ret_fd);
void journal_remove(const struct journal *j, uint64_t sequence);
uint64_t journal_header_checksum(const struct journal_segment_header *header);
void journal_name(uint64_t sequence, char *ret_name); /* JOURNAL_NAME_BYTES */
#define JOURNAL_NAME_BYTES 40
#define JOURNAL_UNFINISHED_PREFIX ".journal-" /* of a file that has no name yet */
#define JOURNAL_MAGIC "WEIRJNL2"
#define JOURNAL_HEADER_BYTES sizeof(struct journal_segment_header)
#define JOURNAL_ALIGNMENT 32u
#define JOURNAL_ENTRY_MAGIC 0x314a4e4cu
uint64_t journal_checksum(const struct journal_entry_header *header, const void *payload);
int journal_fail_corrupt(struct weir_ctx *ctx, const struct journal *j, uint64_t sequence, uint64_t offset,
                         const char *what);
/* Behind the entry at `offset`: where the next one goes. */
static inline uint64_t journal_next_offset(uint64_t offset, uint64_t length)
{
    uint64_t end = offset + sizeof(struct journal_entry_header) + length;
    return (end + JOURNAL_ALIGNMENT - 1) & ~(uint64_t)(JOURNAL_ALIGNMENT - 1);
}

#endif
