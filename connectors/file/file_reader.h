/*
 * file_reader.h - one input file through a large buffer and pread(2): a file that is cut short under our hands is a
 * failure with its name and offset, where a mapping would be a SIGBUS.
 *
 * The bytes not yet consumed are buffer[cursor .. used). Belongs to one source instance; blocks only as reading a file
 * does.
 */
#ifndef WEIR_CONNECTORS_FILE_FILE_READER_H
#define WEIR_CONNECTORS_FILE_FILE_READER_H

#include "weir.h"

struct file_reader {
    int fd; /* -1: no file is open */
    const char *path;
    uint64_t end;           /* read no further than this offset */
    uint64_t size_expected; /* a file that is shorter was truncated */
    uint64_t buffer_offset; /* the file offset of buffer[0] */
    unsigned char *buffer;
    size_t capacity;
    size_t used;
    size_t cursor;
};

/* Opens `path` to read from `offset`. The path must outlive the reading. Fails where the file is missing, unreadable,
 * not a regular file, or shorter than size_expected. The buffer is the caller's. */
int file_reader_open(struct weir_ctx *ctx, struct file_reader *r, const char *path, uint64_t offset, uint64_t end,
                     uint64_t size_expected);
void file_reader_close(struct file_reader *r);
/* Keeps what is not consumed and reads more behind it. WEIR_OK: there is more; WEIR_END: `end`, or the end of a growing
 * file, is reached. The buffer must not be full of unconsumed bytes. */
int file_reader_fill(struct weir_ctx *ctx, struct file_reader *r);
/* Fails where the open file is shorter than what was read of it, or than expected. */
int file_reader_check_size(struct weir_ctx *ctx, const struct file_reader *r);
/* Fails where the file's name is gone or belongs to another file now. */
int file_reader_check_name(struct weir_ctx *ctx, const struct file_reader *r);

/* The file offset of the next byte to consume. */
static inline uint64_t file_reader_offset(const struct file_reader *r) { return r->buffer_offset + r->cursor; }

#endif
