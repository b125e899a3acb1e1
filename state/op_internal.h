/*
 * op_internal.h - what the files behind op_state.h share: the root of an operator in the state image, its rows, the
 * handle.
 *
 *     op_state.c  open, attach, keys           op_schema.c  declarations, their stored form, the layout of rows
 *     op_row.c    finding and making rows      op_visit.c   all of it
 *     op_value.c op_list.c op_map.c op_timer.c the kinds
 */
#ifndef WEIR_STATE_OP_INTERNAL_H
#define WEIR_STATE_OP_INTERNAL_H

#include "state/op_state.h"
#include "state/slab.h"
#include "state/table.h"

/* ------------------------------------------------------------------------------------------------ state image --- */

/* Logical chunk 0 of a region. */
struct state_root {
    uint64_t magic;
    uint32_t version;
    uint32_t reserved;
    uint32_t op_chunk[OP_STATE_SLOTS]; /* of struct op_root, 0: none */
    struct slab_root slab;
};
_Static_assert(sizeof(struct state_root) == 16 + 4 * OP_STATE_SLOTS + sizeof(struct slab_root),
               "state_root is in the state image");
_Static_assert(sizeof(struct state_root) <= CHUNK_BYTES, "the root fits a chunk");

struct op_root {
    uint32_t magic;
    uint32_t schema;       /* blob: see op_schema.c */
    uint32_t operator_row; /* slab object: the per-operator states, 0: none yet */
    uint32_t timers;       /* chunk of struct timer_root, 0: none yet */
    uint64_t map_id_last;  /* ids of indexed maps count up */
    struct table_root keys;
    struct table_root maps; /* (map id, user key) to entry, of maps that are indexed */
};
_Static_assert(sizeof(struct op_root) <= CHUNK_BYTES, "an operator's root fits a chunk");

/* What a row holds for a state that is not a fixed value in place. All zero: never made. */
struct value_handle {
    uint32_t made; /* 1: there is a value */
    uint32_t size_bytes;
    union {
        unsigned char here[8]; /* size_bytes <= 8 */
        uint32_t ref;          /* blob */
    } data;
};
struct list_handle {
    uint32_t head, tail; /* list nodes */
    uint32_t count;
    uint32_t version; /* changes with every change of the list */
};
struct map_handle {
    uint64_t id_version; /* 40 bits of id (0: not indexed), 24 of version */
    uint32_t head;       /* blob of an entry */
    uint32_t count;
};
_Static_assert(sizeof(struct value_handle) == 16 && sizeof(struct list_handle) == 16 && sizeof(struct map_handle) == 16,
               "handles are in the state image");

/* Where a varying key's row goes on behind its hash. */
struct row_key {
    uint64_t hash;
    uint32_t key_ref; /* blob */
    uint32_t reserved;
};

/* ------------------------------------------------------------------------------------------------ handle -------- */

struct op_field {
    enum weir_state_kind kind;
    enum weir_state_scope scope;
    uint32_t size_bytes; /* fixed values; 0: varying */
    uint32_t offset;     /* in the row */
    uint32_t made_bit;   /* in the row's mask; 0: the row's being there says it */
    bool out_of_line;    /* fixed value: the row holds a reference to it */
    bool plain;          /* per key, fixed, in the row of an inline key, and the row's being there says that it is */
};

struct row_layout {
    uint32_t row_bytes;
    uint32_t field_count;
    bool has_mask;
    uint32_t mask_offset; /* uint32_t: which fixed values were made */
};

enum row_known { ROW_UNKNOWN, ROW_ABSENT, ROW_PRESENT };

#define REMOVALS 4 /* per state: entries removed lately, for iterators; see op_map.c */
struct map_removal {
    uint64_t version_before, version_after;
    uint32_t entry;
};

struct op_buffer {
    unsigned char *bytes;
    size_t capacity;
};

struct op_state {
    struct chunk_region *region;
    const struct weir_state *states;
    uint32_t state_count;
    bool keyed;
    uint32_t key_bytes;        /* inline in the row; 0: keys vary, or are too long for that */
    uint32_t key_bytes_fixed;  /* as configured */
    uint64_t root_pos;         /* of struct op_root */
    struct slab slab;
    struct op_field fields[WEIR_STATES_MAX];
    struct row_layout layouts[2]; /* by scope */
    struct table keys, maps, timers;
    bool timers_open;

    const unsigned char *key; /* the current one; NULL: none */
    uint32_t current_key_bytes;
    uint64_t key_hash;
    enum row_known known;     /* of the current key's row */
    uint64_t row_pos;
    uint64_t row_changes;     /* keys.changes when it was found */

    uint64_t changes;         /* versions of lists and maps come from it */
    struct map_removal removals[WEIR_STATES_MAX][REMOVALS];
    struct op_buffer scratch; /* for what does not lie in one piece; addresses in it are given out */
    struct op_buffer args;    /* for arguments that lie in state themselves */
    unsigned char key_copy[WEIR_KEY_BYTES_MAX]; /* of a timer that fired, or of a key being visited */
    char name[WEIR_NAME_BYTES_MAX + 1];
};

#define OP_TIMER_STATE_NAME "timers"

/* What any step behind making a row touches, but for blobs: the row's bucket, two neighbours, the index's bucket and
 * root. */
#define OP_STEP_CHUNKS 8u

static inline const struct op_root *op_root(const struct op_state *op) { return state_read(op->region, op->root_pos); }
static inline struct op_root *op_root_touch(struct op_state *op, size_t offset, size_t size_bytes)
{
    unsigned char *bytes = state_touch(op->region, op->root_pos + offset, size_bytes);
    return (struct op_root *)(void *)(bytes - offset);
}

/* op_schema.c */
int op_schema_check(const struct op_state_config *config, struct weir_error *err);
int op_schema_lay_out(struct op_state *op, const struct op_state_config *config, struct weir_error *err);
int op_schema_store(struct op_state *op, const struct op_state_config *config, struct weir_error *err);
int op_schema_compare(struct op_state *op, const struct op_state_config *config, struct weir_error *err);

/* op_row.c */
/* The field of a state of this kind, or NULL with the error set to WEIR_EINVAL. */
const struct op_field *op_field_of(struct op_state *op, unsigned state, enum weir_state_kind kind,
                                   struct weir_error *err);
/* The row that holds a field, by position. WEIR_OK, WEIR_END where there is none, WEIR_EINVAL where no key is
 * current. */
int op_row_find(struct op_state *op, const struct op_field *field, uint64_t *ret_pos, struct weir_error *err);
/* The same, made where there is none. Leaves CHUNK_SPARE chunks reserved. */
int op_row_make(struct op_state *op, const struct op_field *field, uint64_t *ret_pos, struct weir_error *err);
/* A row for a key that has none, zeroed but for the key itself (or its hash). */
int op_row_insert(struct op_state *op, uint64_t hash, const void *key, uint64_t *ret_pos, struct weir_error *err);
/* Removes the row that held a field where nothing is left in it. */
void op_row_drop_if_empty(struct op_state *op, const struct op_field *field);
/* The current key's row, whatever is in it; its states must be cleared. */
void op_row_remove(struct op_state *op, uint64_t pos);
static inline const void *op_field_read(const struct op_state *op, const struct op_field *field, uint64_t row_pos)
{
    return state_read(op->region, row_pos + field->offset);
}
static inline void *op_field_touch(struct op_state *op, const struct op_field *field, uint64_t row_pos,
                                   size_t size_bytes)
{
    return state_touch(op->region, row_pos + field->offset, size_bytes);
}
/* Makes a private buffer at least so large. */
int op_buffer_grow(struct op_buffer *buffer, size_t size_bytes, struct weir_error *err);
/* Arguments that lie in the region (or in the scratch) may move while the operation makes room: such are copied
 * first, and made to point to the copy. second may be NULL. */
int op_keep_args(struct op_state *op, struct weir_bytes *first, struct weir_bytes *second, struct weir_error *err);
/* [offset, offset + size_bytes) of a blob: in place where it lies in one piece, else in the scratch. NULL: failed. */
const void *op_blob_view(struct op_state *op, uint32_t ref, size_t offset, size_t size_bytes, struct weir_error *err);
int op_entry_too_large(const struct op_state *op, unsigned state, size_t size_bytes, struct weir_error *err);
/* A number that no list or map of this handle's has as its version now; never 0 in its low 24 bits. */
uint32_t op_next_version(struct op_state *op);

/* Empties a field of a row. Of something large, step by step: a failure leaves a part. */
int op_value_clear(struct op_state *op, const struct op_field *field, uint64_t row_pos, struct weir_error *err);
int op_list_clear(struct op_state *op, const struct op_field *field, uint64_t row_pos, struct weir_error *err);
int op_map_clear(struct op_state *op, const struct op_field *field, uint64_t row_pos, struct weir_error *err);
/* Whether a field of a row holds anything. */
bool op_field_made(const struct op_state *op, const struct op_field *field, uint64_t row_pos);

/* op_timer.c */
int op_timers_attach(struct op_state *op, struct weir_error *err);
int op_timers_visit(struct op_state *op, op_state_visit_fn fn, void *arg, struct weir_error *err);

#endif
