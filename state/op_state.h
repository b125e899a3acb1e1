/*
 * op_state.h - the declared states of one operator instance, behind names, in a task's chunk region.
 *
 * What weir_value(), weir_map_put(), weir_timer_set(), ... do, without the context around it. A region can hold the
 * states of up to OP_STATE_SLOTS operators (a task may chain several). Per-key states live in rows of a hash table,
 * one row a key: fixed-size values in the row itself, varying ones, lists and maps behind 16-byte handles in it;
 * per-operator states in one such row without a key; timers in a table and a heap of their own. All of it is in
 * chunks, so a cut of the region is the whole.
 *
 * struct op_state is a handle in private memory: it holds no state, and is cheap to make again over a region that
 * another process left behind. One process, one thread. Nothing blocks; memory is taken from the system only when
 * the region grows (see chunk_reserve) or when a scratch buffer of the handle does.
 *
 * Rules that hold for every function:
 *   - An address given out is good until the next call of a function of this header on any operator of the region,
 *     or the next cut.
 *   - Reading makes nothing and copies no chunk.
 *   - A call that fails (WEIR_ELIMIT, WEIR_ENOMEM; WEIR_EINVAL for a state of another kind or for no current key)
 *     leaves the state
 *     valid; but for op_state_clear() and op_state_clear_key() of something large it leaves it as it was.
 *   - Fixed-size values are aligned to 8 bytes, given addresses of varying ones to 8 as well where they lie in one
 *     piece.
 *   - err may be NULL.
 */
#ifndef WEIR_STATE_OP_STATE_H
#define WEIR_STATE_OP_STATE_H

#include "state/chunk.h"
#include "state/key.h"

#define OP_STATE_SLOTS 64
#define OP_STATE_INLINE_KEY_BYTES 64 /* longer keys of a fixed size are kept like varying ones */

struct op_state;

struct op_state_config {
    const char *operator_name; /* for error texts; copied */
    unsigned slot;             /* 0 .. OP_STATE_SLOTS - 1, each once in a region; the same after a restore */
    const struct weir_state *states; /* must outlive the handle */
    uint32_t state_count;
    bool keyed;
    uint32_t key_bytes;      /* of every key; 0: they vary */
    struct key_range range;  /* positions that the keys of this instance have; {0, 0} means all */
};

/* Makes the operator's root in an empty (or not yet used) slot, or takes over what is there: then the declarations
 * stored in it must equal those given, else WEIR_EMISMATCH with the difference. WEIR_EINVAL: wrong declarations, or
 * rows that do not fit a chunk; WEIR_ECORRUPT: the root is not one. */
int op_state_open(struct op_state **ret_op, struct chunk_region *region, const struct op_state_config *config,
                  struct weir_error *err);
void op_state_close(struct op_state *op); /* frees the handle; the state stays. NULL is fine */

/* ------------------------------------------------------------------------------------------------ keys ---------- */

/* Makes a key current. hash is key_hash(key, size_bytes). The bytes are not copied: they must stay until another key
 * is set. Looks nothing up yet. size_bytes: config.key_bytes, or 1 .. WEIR_KEY_BYTES_MAX. */
void op_state_set_key(struct op_state *op, const void *key, size_t size_bytes, uint64_t hash);
/* No key is current from now on. */
void op_state_unset_key(struct op_state *op);
/* The current key, or NULL. */
const void *op_state_key(const struct op_state *op, size_t *ret_size_bytes);
/* Brings what the next calls for these keys will touch nearer to the processor; any number, best 16 to 64. Changes
 * nothing. */
void op_state_prefetch(const struct op_state *op, const uint64_t *hashes, size_t count);

/* ------------------------------------------------------------------------------------------------ states -------- */
/* As the functions of weir.h with the same names. Results: WEIR_OK, WEIR_END, or a negative code; NULL with
 * *ret_code set (not NULL) to WEIR_OK where there is none, to a negative code on failure. */

void *op_state_value(struct op_state *op, unsigned state, struct weir_error *err); /* NULL: failed */
/* op_state_value() for many keys at once, up to WEIR_BATCH_RECORDS_MAX; all addresses are good together, that of a key that comes
 * twice is the same. hashes[i] belongs to keys[i]. No key is current after it. WEIR_OK or a negative code; what was made before a
 * failure stays, as zeroed values. */
int op_state_values(struct op_state *op, unsigned state, const struct weir_bytes *keys, const uint64_t *hashes,
                    size_t count, void **ret_values, struct weir_error *err);
const void *op_state_value_get(struct op_state *op, unsigned state, size_t *ret_size_bytes, int *ret_code,
                               struct weir_error *err);
int op_state_value_set(struct op_state *op, unsigned state, const void *data, size_t size_bytes,
                       struct weir_error *err);

int op_state_list_append(struct op_state *op, unsigned state, const void *data, size_t size_bytes,
                         struct weir_error *err);
int op_state_list_next(struct op_state *op, unsigned state, struct weir_iterator *iterator,
                       struct weir_bytes *ret_element,
                       struct weir_error *err);

int op_state_map_put(struct op_state *op, unsigned state, const void *key, size_t key_bytes, const void *value,
                     size_t value_bytes, struct weir_error *err);
const void *op_state_map_get(struct op_state *op, unsigned state, const void *key, size_t key_bytes,
                             size_t *ret_value_bytes,
                             int *ret_code, struct weir_error *err);
void *op_state_map_value(struct op_state *op, unsigned state, const void *key, size_t key_bytes, size_t value_bytes,
                         struct weir_error *err); /* NULL: failed */
int op_state_map_remove(struct op_state *op, unsigned state, const void *key, size_t key_bytes, struct weir_error *err);
int op_state_map_next(struct op_state *op, unsigned state, struct weir_iterator *iterator, struct weir_bytes *ret_key,
                      struct weir_bytes *ret_value, struct weir_error *err);

/* Elements or entries; WEIR_OK or a negative code. */
int op_state_count(struct op_state *op, unsigned state, uint64_t *ret_count, struct weir_error *err);
int op_state_clear(struct op_state *op, unsigned state, struct weir_error *err);
/* All per-key states of the current key. */
int op_state_clear_key(struct op_state *op, struct weir_error *err);

/* ------------------------------------------------------------------------------------------------ timers -------- */

/* Timers are named by the current key (keyed operators) and id. Setting one again moves it. */
int op_state_timer_set(struct op_state *op, uint64_t id, int64_t at_ms, struct weir_error *err);
/* WEIR_OK, or WEIR_END: there was none */
int op_state_timer_cancel(struct op_state *op, uint64_t id, struct weir_error *err);
/* True: no timer is due before *ret_at_ms (one that was cancelled or moved may make it earlier than the first real
 * one). False: there is no timer. */
bool op_state_timer_next(const struct op_state *op, int64_t *ret_at_ms);
/* Takes the earliest timer with at_ms <= now_ms out, and makes its key current (its bytes stay until another key is
 * set). WEIR_OK, or WEIR_END where none is due. */
int op_state_timer_pop(struct op_state *op, int64_t now_ms, uint64_t *ret_id, int64_t *ret_at_ms,
                       struct weir_error *err);

/* ------------------------------------------------------------------------------------------------ all of it ----- */

/* One piece of state. Lists: one call an element, index counting up. Maps: one call an entry. Timers: state is
 * OP_STATE_TIMER, index the id, data the at_ms (8 bytes). */
#define OP_STATE_TIMER UINT32_MAX
struct op_state_item {
    const void *key; /* NULL for per-operator states and timers of operators without keys */
    size_t key_bytes;
    uint64_t key_hash;
    uint32_t state;
    uint64_t index;
    struct weir_bytes map_key;
    struct weir_bytes data;
};
typedef int (*op_state_visit_fn)(void *arg, const struct op_state_item *item);
/* Calls fn for every piece of state, in no particular order; it must not change any. A result other than WEIR_OK
 * ends it and is returned. Changes the current key: set it anew afterwards. */
int op_state_visit(struct op_state *op, op_state_visit_fn fn, void *arg, struct weir_error *err);
/* A number that depends on the content alone: not on order of arrival, layout, chunk size or removed keys. */
int op_state_digest(struct op_state *op, uint64_t *ret_digest, struct weir_error *err);
/* Keys that have state. */
uint64_t op_state_key_count(const struct op_state *op);

#endif
