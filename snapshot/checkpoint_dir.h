/*
 * checkpoint_dir.h - a job's checkpoint directory, opened once; everything in this folder works below it.
 *
 *   DIR/manifest-<id>                                  a complete checkpoint; <id> has 20 digits
 *   DIR/.manifest-<id>-g<generation>-a<attempt>.tmp    a manifest that is being written, or garbage
 *   DIR/snapshots/<id>-<task>-<subtask>-g<generation>-a<attempt>.snap
 *
 * Names are made and parsed here only. A name that is not exactly what the formatter makes for the values parsed from
 * it is not ours: it is never opened, never deleted.
 */
#ifndef WEIR_SNAPSHOT_CHECKPOINT_DIR_H
#define WEIR_SNAPSHOT_CHECKPOINT_DIR_H

#include "snapshot/io.h"

#define FILE_NAME_BYTES 192 /* of any file made here, with its ending zero */

struct checkpoint_dir {
    const struct io *io;
    int fd;
    int snapshots_fd;
    char path[256]; /* for messages only; cut when longer */
};

/* Opens path, with `make` making it (mode 0700, its parent must exist) and snapshots/ below it, durably. Without `make`
 * a missing one is WEIR_ENOENT. Blocks. The descriptors are O_CLOEXEC, stay good in forked children, and are shared
 * with them. */
int checkpoint_dir_open(const struct io *io, const char *path, bool make, struct checkpoint_dir *ret_dir,
                        struct weir_error *err);
void checkpoint_dir_close(struct checkpoint_dir *dir);

/* [A-Za-z0-9_-], first a letter or digit, 1 .. WEIR_NAME_BYTES_MAX bytes. */
bool name_is_valid(const char *name);

struct snapshot_name {
    uint64_t checkpoint_id;
    char task[WEIR_NAME_BYTES_MAX + 1];
    uint32_t subtask;
    uint64_t generation;
    uint32_t attempt;
};
void snapshot_name_format(const struct snapshot_name *name, char text[FILE_NAME_BYTES]);
bool snapshot_name_parse(const char *text, struct snapshot_name *ret_name);

void manifest_name_format(uint64_t checkpoint_id, char text[FILE_NAME_BYTES]);
bool manifest_name_parse(const char *text, uint64_t *ret_checkpoint_id);
void manifest_temp_name_format(uint64_t checkpoint_id, uint64_t generation, uint32_t attempt,
                               char text[FILE_NAME_BYTES]);
bool manifest_temp_name_parse(const char *text, uint64_t *ret_checkpoint_id);

/* Opens a regular file for reading, whatever else may have its name: no symbolic link is followed, a FIFO does not
 * block. */
int checkpoint_dir_open_file(const struct checkpoint_dir *dir, int dir_fd, const char *name, int *ret_fd,
                             uint64_t *ret_size_bytes, struct weir_error *err);

/* Calls entry() for each name in DIR or DIR/snapshots but "." and ".."; stops at a result other than WEIR_OK and
 * returns it. The directory must not be changed by entry(). */
typedef int (*dir_entry_fn)(void *self, const char *name, struct weir_error *err);
int checkpoint_dir_scan(const struct checkpoint_dir *dir, int dir_fd, dir_entry_fn entry, void *self,
                        struct weir_error *err);

#endif
