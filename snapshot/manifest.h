/*
 * manifest.h - what makes a checkpoint one: the file that names all its parts. It is written by the coordinator, once,
 * in one atomic step; before it the checkpoint does not exist, after it, it is complete. The bytes:
 * docs/formats/manifest.md.
 *
 * A struct manifest is plain data; all it points to comes from manifest_alloc() and goes with manifest_free().
 * Single-threaded; heap memory.
 */
#ifndef WEIR_SNAPSHOT_MANIFEST_H
#define WEIR_SNAPSHOT_MANIFEST_H

#include "snapshot/snapshot.h"

#define MANIFEST_BYTES_MAX (64u << 20)
#define MANIFEST_OPERATORS_MAX 1024u
#define MANIFEST_TASKS_MAX 4096u
#define MANIFEST_FILES_MAX 256u       /* of one task */
#define MANIFEST_COMMITTABLES_MAX 64u /* pending ones of one sink instance */
#define MANIFEST_KEY_GROUPS_MAX 65536u

enum manifest_kind { MANIFEST_CHECKPOINT = 1, MANIFEST_SAVEPOINT = 2 };
enum manifest_guarantee { MANIFEST_NONE = 0, MANIFEST_AT_LEAST_ONCE = 1, MANIFEST_EXACTLY_ONCE = 2 };
enum manifest_operator_kind { MANIFEST_SOURCE = 1, MANIFEST_OPERATOR = 2, MANIFEST_SINK = 3 };

struct manifest_state {
    char name[WEIR_NAME_BYTES_MAX + 1];
    uint32_t kind;  /* enum weir_state_kind */
    uint32_t scope; /* enum weir_state_scope */
    uint32_t size_bytes;
    uint32_t version;
};

struct manifest_operator {
    char name[WEIR_NAME_BYTES_MAX + 1];
    char type[WEIR_NAME_BYTES_MAX + 1]; /* for people: no control characters; may be empty */
    uint32_t kind;                      /* enum manifest_operator_kind */
    uint32_t parallelism;
    uint32_t key_bytes; /* 0: varying, or not keyed */
    bool keyed;
    uint32_t state_count;
    struct manifest_state *states;
};

struct manifest_position {
    uint32_t operator_index; /* into manifest.operators, of a source in this task */
    uint32_t size_bytes;
    uint8_t bytes[WEIR_POSITION_BYTES_MAX];
};

struct manifest_committable {
    uint32_t operator_index; /* of a sink in this task */
    uint32_t size_bytes;
    uint64_t checkpoint_id; /* that it was prepared for: this one, or an earlier one that failed */
    uint8_t bytes[WEIR_COMMITTABLE_BYTES_MAX];
};

struct manifest_task {
    char name[WEIR_NAME_BYTES_MAX + 1];
    uint32_t subtask;
    uint32_t key_group_first;
    uint32_t key_group_count; /* 0: no keyed operator in it */
    bool finished;            /* its bounded input has ended, and all is emitted */
    uint64_t records_in;
    uint64_t records_out;
    int64_t watermark_ms;
    uint32_t operator_count; /* the chain, in the order of the data: indices into manifest.operators */
    uint32_t file_count;
    uint32_t position_count;
    uint32_t committable_count;
    uint32_t *operators;
    struct snapshot_file *files;
    struct manifest_position *positions;
    struct manifest_committable *committables; /* oldest first */
};

struct manifest_arena;

struct manifest {
    char job_name[WEIR_NAME_BYTES_MAX + 1];
    uint8_t job_id[16];
    uint64_t checkpoint_id;
    uint64_t generation;
    int64_t created_ms;  /* wall clock */
    int64_t duration_ns; /* from the trigger */
    uint32_t kind;       /* enum manifest_kind */
    uint32_t guarantee;  /* enum manifest_guarantee */
    uint32_t key_group_count;
    uint32_t operator_count;
    uint32_t task_count;
    struct manifest_operator *operators;
    struct manifest_task *tasks;
    uint64_t total_bytes; /* of all files; set by manifest_encode() */
    struct manifest_arena *arena;
};

/* An empty one of kind MANIFEST_CHECKPOINT, or NULL when out of memory. */
struct manifest *manifest_new(void);
void manifest_free(struct manifest *m); /* NULL is allowed */
/* count * size_bytes of zeroed memory that lives as long as m; NULL when out of memory. A count of 0 gives a valid
 * address. */
void *manifest_alloc(struct manifest *m, size_t count, size_t size_bytes);

/* The file's bytes; free() them. WEIR_EINVAL, WEIR_ELIMIT, in words, for what manifest_decode() would refuse. */
int manifest_encode(struct manifest *m, void **ret_bytes, size_t *ret_size_bytes, struct weir_error *err);
/* Any bytes: WEIR_ECORRUPT or WEIR_EVERSION with the offset and what was expected; never a crash. manifest_free() it.
 */
int manifest_decode(const void *bytes, size_t size_bytes, struct manifest **ret_manifest, struct weir_error *err);

/* The commit: temporary file, fsync, rename to a name that must be new, fsync of the directory. Blocks. WEIR_OK:
 * complete and durable. On failure the checkpoint is not: temporary file and manifest are unlinked as far as possible,
 * no sink may be told. (Where even that failed, a later recovery may still find it complete: it is whole, and as good
 * as the one before it.) The snapshot files of an attempt that failed here may be deleted, by checkpoint_retain().
 * Every snapshot file must be durable before: snapshot_write() sees to that. Kill points k3 (half written), k4
 * (written), k5 (synced), k6 (renamed). */
int manifest_write(const struct checkpoint_dir *dir, struct manifest *m, uint32_t attempt, struct weir_error *err);
/* WEIR_ENOENT, or as manifest_decode(). */
int manifest_read(const struct checkpoint_dir *dir, uint64_t checkpoint_id, struct manifest **ret_manifest,
                  struct weir_error *err);

/* Can the job described by `expected` go on from `found`? Compared: job name; job id (where expected's is not all
 * zero); key group count; operators by name: kind, parallelism, keys, states; tasks: chaining, key groups. `expected`
 * needs no files, positions or counters. WEIR_OK, or WEIR_EMISMATCH with the first difference and what to do about it.
 */
int manifest_check_compatible(const struct manifest *found, const struct manifest *expected, struct weir_error *err);

/* NULL where there is none. */
const struct manifest_task *manifest_find_task(const struct manifest *m, const char *name, uint32_t subtask);
/* Where task's i-th file came from: what snapshot_open() wants. */
void manifest_identity(const struct manifest *m, const struct manifest_task *task, const struct snapshot_file *file,
                       struct snapshot_identity *ret_identity);

#endif
