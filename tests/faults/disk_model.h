/*
 * disk_model.h - a disk in memory behind `struct io`, which writes down every write, change of size, sync, creation, rename and
 * unlink; and every disk that a power cut may leave of it, as far as POSIX promises: FAULTS F21, F22.
 *
 * What a cut may leave
 *   - A write that no later sync of its file covers: any subset of its sectors (or larger blocks), each with the content that
 *     the file had after this write; what was never written reads as zeros, or, on request, as junk.
 *   - A change of size: it happened or it did not, independently of the bytes.
 *   - A creation, rename or unlink that no later sync of its directory covers: it happened or it did not, each for itself. A
 *     rename is one step. A sync of a file says nothing about its name.
 *   - After a sync of a file that failed, nothing written before it is ever promised, whatever later syncs say.
 * That is more than ext4 or XFS do. Not modelled: damage to what was synced, sectors that are torn themselves, several names
 * of one file.
 *
 * One thread; a disk and all it gave out belong together. io_uring and (but on request) O_DIRECT are refused, so the
 * engine takes its other path, which writes the same bytes.
 */
#ifndef WEIR_TESTS_DISK_MODEL_H
#define WEIR_TESTS_DISK_MODEL_H

#include "snapshot/checkpoint_dir.h"

#define DISK_SECTOR_BYTES 512u
#define DISK_FDS_MAX 64

enum disk_op_kind { OP_WRITE, OP_SIZE, OP_ENTRY, OP_SYNC };

/* A sync that is answered with success and does nothing: what happens if the engine had forgotten it. */
enum disk_lie {
    LIE_NONE,
    LIE_FDATASYNC,       /* of any file */
    LIE_FSYNC_FILE,      /* of a file, not of a directory */
    LIE_FSYNC_SNAPSHOTS, /* of the directory of this name */
    LIE_FSYNC_TOP,       /* of the directory in which that one is */
    LIE_FSYNC_PARENT,    /* of the directory in which that one is */
};

struct disk_entry {
    int dir;
    int inode; /* -1: there is nothing of this name */
    char name[FILE_NAME_BYTES];
};

struct disk_op {
    enum disk_op_kind kind;
    int inode; /* of a file; of the directory for OP_ENTRY */
    bool failed; /* OP_SYNC: and said so */
    uint64_t offset; /* OP_WRITE: aligned to sectors, and so is size_bytes; OP_SIZE: the new size is size_bytes */
    uint64_t size_bytes;
    unsigned char *bytes; /* OP_WRITE: what these sectors hold after it */
    struct disk_entry entries[2]; /* OP_ENTRY */
    size_t entry_count;
};

struct disk_inode {
    bool is_dir;
    int parent;
    size_t size_bytes;
    size_t capacity_bytes;
    unsigned char *bytes;
};

struct disk_view {
    struct disk_entry *entries;
    size_t entry_count;
    struct disk_inode *inodes;
    size_t inode_count;
};

struct disk_fd {
    bool used;
    int inode;
    size_t next_entry;
};

struct disk {
    struct io io; /* what to hand to the code under test */
    struct disk_view base; /* durable, at the beginning of the log */
    struct disk_view now;  /* what processes see */
    struct disk_op *log;
    size_t op_count;
    struct disk_fd fds[DISK_FDS_MAX];
    int open_fds;
    bool allow_direct;
    enum disk_lie lie;
    unsigned calls;   /* since disk_arm() */
    unsigned fail_at; /* this call fails, 0: none */
    int errno_value;
    bool failed;
};

/* Empty. */
struct disk *disk_new(void);
void disk_free(struct disk *disk);
/* Starts to count calls anew; the call-th one fails. */
void disk_arm(struct disk *disk, unsigned call, int errno_value);

/* What is not promised after the first op_count entries of the log: bit by bit, whether it happened. */
struct disk_pending {
    size_t op_count;
    unsigned unit_bytes; /* a write has a bit for each unit of its file that it touches */
    size_t *ops;         /* indices into the log, ascending */
    size_t *first_bits;
    size_t count;
    size_t bit_count;
};
struct disk_pending disk_pending(const struct disk *disk, size_t op_count, unsigned unit_bytes);
void disk_pending_free(struct disk_pending *pending);

/* A new disk as the cut leaves it, nothing pending on it. bits: pending->bit_count of them. junk: what lies in a file and
 * was never written is not zero. */
struct disk *disk_cut(const struct disk *disk, const struct disk_pending *pending, const bool *bits, bool junk);
/* A new disk on which the first op_count entries have happened and nothing else: the processes died, the power stayed. */
struct disk *disk_after(const struct disk *disk, size_t op_count);

#endif
