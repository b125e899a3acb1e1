/*
 * checkpoint.h - the complete checkpoints in a directory: list, choose, verify, delete the old ones. Used by the
 * coordinator and the command line; one process at a time changes the directory (whoever holds DIR/LOCK).
 */
#ifndef WEIR_SNAPSHOT_CHECKPOINT_H
#define WEIR_SNAPSHOT_CHECKPOINT_H

#include "snapshot/manifest.h"

struct checkpoint_info {
    uint64_t id;
    bool complete; /* the manifest is whole, and every file it names is there with the right size */
    uint32_t kind; /* enum manifest_kind; 0 where the manifest is unreadable */
    int64_t created_ms;
    int64_t duration_ns;
    uint64_t total_bytes;
    struct weir_error reason; /* why it is not complete: file, offset, expected, found; WEIR_EVERSION: no damage, but of a newer version */
};

struct checkpoint_list {
    struct checkpoint_info *checkpoints; /* by id, oldest first */
    size_t count;
};

/* Everything named manifest-<id>. Reads the manifests, not the snapshots. */
int checkpoint_list(const struct checkpoint_dir *dir, struct checkpoint_list *ret_list, struct weir_error *err);
void checkpoint_list_free(struct checkpoint_list *list);
/* The same with the ids only: no file is opened. */
int checkpoint_list_ids(const struct checkpoint_dir *dir, struct checkpoint_list *ret_list, struct weir_error *err);
/* Every file that m names is there with the right size. */
int checkpoint_check_files(const struct checkpoint_dir *dir, const struct manifest *m, struct weir_error *err);

/* Called for each checkpoint that is newer than the one chosen and not usable. May be NULL. */
typedef void (*checkpoint_skipped_fn)(void *self, uint64_t checkpoint_id, const struct weir_error *reason);

/* The newest complete one with an id below below_id (UINT64_MAX: of all), made durable (the directory is synced: its
 * writer may have died before that). When a file of it turns out to be damaged while loading, go on below its id.
 * WEIR_OK; WEIR_END: there are none at all (below below_id); WEIR_ECORRUPT: there are, but none is complete. WEIR_EVERSION:
 * the newest that is not damaged is of a newer version of the format, and is not passed over. Out of memory, descriptors or
 * rights is no damage: then it fails as well instead of going back to an older one. */
int checkpoint_find_newest(const struct checkpoint_dir *dir, uint64_t below_id, checkpoint_skipped_fn skipped,
                           void *self, struct manifest **ret_manifest, struct weir_error *err);

/* The same, but as if those with ids up to above_id were not there: of another run, and not to be read. */
int checkpoint_find_between(const struct checkpoint_dir *dir, uint64_t above_id, uint64_t below_id, checkpoint_skipped_fn skipped,
                            void *self, struct manifest **ret_manifest, struct weir_error *err);

/* The largest checkpoint id that any file here carries, complete or not, and 0 where there is none: new ids start above
 * it. */
int checkpoint_id_max(const struct checkpoint_dir *dir, uint64_t *ret_checkpoint_id, struct weir_error *err);

/* Reads and checks every byte of one checkpoint. */
int checkpoint_verify(const struct checkpoint_dir *dir, uint64_t checkpoint_id, enum io_mode io_mode,
                      struct weir_error *err);

struct retain_result {
    uint32_t checkpoints_deleted;
    uint32_t files_deleted; /* snapshots and temporary manifests */
    uint32_t manifests_unreadable;
    uint32_t
        files_kept_in_doubt; /* not referenced, but not newer than an unreadable manifest, which may refer to them */
    struct weir_error doubt; /* about the last unreadable manifest */
};

/* Keeps the newest keep_count (>= 1) checkpoints and deletes the older ones: their manifests first, the directory
 * synced, then every snapshot that no remaining manifest refers to and whose id is below lowest_live_id (that of the
 * oldest checkpoint in progress; the next id where none is); temporary manifests likewise. Savepoints, unreadable
 * manifests and names that are not ours stay. Serves as the clean-up after an aborted checkpoint and at start. What a
 * crash leaves is garbage for the next call. ret_result may be NULL. Kill point k9: manifests gone, snapshots there. A
 * failure is worth a warning, no more. */
int checkpoint_retain(const struct checkpoint_dir *dir, uint32_t keep_count, uint64_t lowest_live_id,
                      struct retain_result *ret_result, struct weir_error *err);

#endif
