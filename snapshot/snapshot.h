/*
 * snapshot.h - one task's part of a checkpoint as one file: written by a snapshot child, read by a recovering task.
 * The bytes: file_format.h and docs/formats/snapshot.md.
 */
#ifndef WEIR_SNAPSHOT_SNAPSHOT_H
#define WEIR_SNAPSHOT_SNAPSHOT_H

#include "snapshot/checkpoint_dir.h"

#define BLOCK_BYTES_DEFAULT 4096u
#define BLOCK_BYTES_MAX (1u << 20)

/* Whose bytes these are. Every block's checksum is bound to job, checkpoint, task and subtask. */
struct snapshot_identity {
    uint8_t job_id[16];
    struct snapshot_name name;
};

/* A finished file, as a manifest lists it. */
struct snapshot_file {
    char name[FILE_NAME_BYTES]; /* below snapshots/ */
    uint64_t size_bytes;        /* exact */
    uint64_t checksum;          /* of header, index and footer, and so of every block */
    uint32_t block_bytes;
    uint32_t attempt;
    uint64_t block_count;
    uint64_t checkpoint_id; /* that it was written for */
    uint64_t generation;
};

/* Where the writer takes blocks from. */
struct block_source {
    /* The next block's id and its block_bytes bytes, good until the next call: WEIR_OK, or WEIR_END after the last one,
     * or a negative code: the snapshot fails with it. Ids ascend. */
    int (*next)(void *self, uint32_t *ret_id, const void **ret_block);
    /* Every block with a smaller id has been copied: whoever preserved them need not any longer. May be NULL. */
    void (*gathered)(void *self, uint32_t id_below);
    void *self;
    uint64_t block_count; /* how many there will be, if that is known; 0: not */
    /* Each block's checksum, as the index has it: snapshot_checksum(). May be NULL. */
    void (*summed)(void *self, uint32_t id, uint64_t checksum);
};

struct snapshot_options {
    uint32_t block_bytes; /* a power of two, 4096 .. BLOCK_BYTES_MAX; 0: BLOCK_BYTES_DEFAULT */
    enum io_mode io_mode;
    uint32_t io_depth; /* writes in flight, of 1 MiB each, 1 .. 64; 0: 16 */
    bool buffered;     /* never O_DIRECT */
};

/* Every field is set by snapshot_write(); plain data, may be copied into shared memory. */
struct snapshot_result {
    struct snapshot_file file;
    int64_t write_ns; /* from the first block asked for to the last write completed */
    int64_t sync_ns;  /* fdatasync and the directory's fsync */
    enum io_mode io_used;
    bool direct_used;
};

/*
 * Writes a new file (O_EXCL) and makes it durable: data, then its name in snapshots/. In a forked child: no stdio, no
 * locks, memory from mmap only, an io_uring of its own. Blocks. On failure the file is unlinked, err says what failed
 * at which offset, and *ret_result is untouched; a failed sync is never repeated: try again under another attempt
 * number. IO_AUTO makes a ring only when there is more than one buffer (1 MiB) to write. IO_URING fails where it is
 * refused. Kill points h2 (opened), h3 (each buffer handed to the kernel), h4 (half a buffer), h5 (written), h6
 * (synced).
 */
int snapshot_write(const struct checkpoint_dir *dir, const struct snapshot_identity *identity,
                   const struct snapshot_options *options, const struct block_source *source,
                   struct snapshot_result *ret_result, struct weir_error *err);

/* What a block's checksum is bound to, and the checksum: for bytes that are to be those of the file. */
uint64_t snapshot_binding(const struct snapshot_identity *identity);
uint64_t snapshot_checksum(uint64_t binding, uint32_t id, const void *block, uint32_t block_bytes);

struct snapshot_reader;

/* Opens a file and verifies header, index and footer against what the manifest says of it (`file`) and whose it must
 * be. job_id and identity->name.{task, subtask} are the caller's; checkpoint, generation and attempt are taken from
 * `file`. WEIR_ENOENT where it is missing, WEIR_EVERSION for a format of another version, WEIR_ECORRUPT naming file,
 * offset, expected and found. */
int snapshot_open(const struct checkpoint_dir *dir, const struct snapshot_file *file,
                  const struct snapshot_identity *identity, enum io_mode io_mode, struct snapshot_reader **ret_reader,
                  struct weir_error *err);
uint64_t snapshot_block_count(const struct snapshot_reader *reader);
uint32_t snapshot_block_bytes(const struct snapshot_reader *reader);
/* The id of the index-th block of the file; index < snapshot_block_count(). */
uint32_t snapshot_block_id(const struct snapshot_reader *reader, uint64_t index);

/* A verified block; `block` is good until block_fn returns. The id is as the index says: check its range. A code other
 * than WEIR_OK ends the reading with it. */
typedef int (*block_fn)(void *self, uint32_t id, const void *block, struct weir_error *err);
/* Every block, in the order of the file, each verified before it is handed over. After a failure nothing handed over
 * before is to be trusted as a whole. Kill point v2 halfway. */
int snapshot_read(struct snapshot_reader *reader, block_fn block, void *self, struct weir_error *err);
/* Blocks [first, first + count) of the file, each verified, into `data`: for whoever does not want all at once. By pread, through the page
 * cache. May be called in a forked child. */
int snapshot_read_blocks(struct snapshot_reader *reader, uint64_t first, uint64_t count, void *data, struct weir_error *err);
void snapshot_close(struct snapshot_reader *reader); /* NULL is allowed */

#endif
