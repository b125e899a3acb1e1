/*
 * kill_point.h - named places in the code where a test kills, stops, delays or fails a process.
 *
 * Armed by WEIR_KILL, a list "name:nth[:action][@process]" separated by commas. The rows fire one after another: the second
 * one starts to count when the first has fired, so that a list means "the second kill during the recovery from the first".
 *   name     a name of KILL_POINT_TABLE
 *   nth      fires at the nth time that a process reaches it, counted over all processes since the row became active
 *   action   kill (SIGKILL to itself, the default), stop (SIGSTOP), delay=MS, error (KILL_POINT_ERROR is true there)
 *   process  only in processes of this name, as in the log ("count/0", "coordinator", "snapshot:count/0") or its part before '/'
 * The counters live in shared memory, so a row fires once in the life of a job, however often its processes are replaced.
 * A row that fires says so in one line of the log (a warning), so that a test can see that it did.
 * Rows can be armed in a running job too: `weir kill --kill-point`, by the control socket's `arm`.
 * In release builds (no WEIR_KILL_POINTS) all of this is nothing.
 */
#ifndef WEIR_BASE_KILL_POINT_H
#define WEIR_BASE_KILL_POINT_H

#include "weir.h"

/* name, where. FAULTS.md's letters: s source, r ring producer, c ring consumer, b barrier, h snapshot child, k coordinator,
 * p sink, t batch, u takeover, v recovery. */
#define KILL_POINT_TABLE(X)                                                                                            \
    X(s1, "source: position read")                                                                                     \
    X(s2, "source: record emitted, batch open")                                                                        \
    X(s3, "source: checkpoint request seen, barrier not begun")                                                        \
    X(r1, "ring producer: header written")                                                                             \
    X(r2, "ring producer: half of the payload written")                                                                \
    X(r3, "ring producer: payload whole, not published")                                                               \
    X(r4, "ring producer: head published, waiter not woken")                                                           \
    X(c1, "ring consumer: record read, not processed")                                                                 \
    X(c2, "ring consumer: processed, tail not published")                                                              \
    X(c3, "ring consumer: tail published, producer not woken")                                                         \
    X(c4, "ring consumer: about to sleep")                                                                             \
    X(b1, "barrier: the first input's barrier came")                                                                   \
    X(b2, "barrier: all inputs aligned")                                                                               \
    X(b3, "barrier: cut taken, before fork")                                                                           \
    X(b4, "barrier: fork returned in the task")                                                                        \
    X(b5, "barrier: forwarded")                                                                                        \
    X(h1, "snapshot child: started")                                                                                   \
    X(h2, "snapshot child: file opened")                                                                               \
    X(h3, "snapshot child: a block written")                                                                           \
    X(h4, "snapshot child: half a block written")                                                                      \
    X(h5, "snapshot child: all written, not synced")                                                                   \
    X(h6, "snapshot child: synced, not acknowledged")                                                                  \
    X(h7, "snapshot child: acknowledged, not exited")                                                                  \
    X(k1, "coordinator: first acknowledgement")                                                                        \
    X(k2, "coordinator: all acknowledgements")                                                                         \
    X(k3, "coordinator: half of the manifest written")                                                                 \
    X(k4, "coordinator: manifest written, not synced")                                                                 \
    X(k5, "coordinator: manifest synced, not renamed")                                                                 \
    X(k6, "coordinator: manifest renamed, directory not synced")                                                       \
    X(k7, "coordinator: committed, no sink told")                                                                      \
    X(k8, "coordinator: one sink told")                                                                                \
    X(k9, "coordinator: old checkpoint half deleted")                                                                  \
    X(k10, "coordinator: a death noticed, recovery not begun")                                                         \
    X(p1, "sink: before prepare")                                                                                      \
    X(p2, "sink: prepared, not acknowledged")                                                                          \
    X(p3, "sink: commit received")                                                                                     \
    X(p4, "sink: committed outside, not noted")                                                                        \
    X(p5, "sink: commit noted")                                                                                        \
    X(t1, "batch: first undo entry written, nothing changed")                                                          \
    X(t2, "batch: state changed, output not published")                                                                \
    X(t3, "batch: commit record half written")                                                                         \
    X(t4, "batch: commit record whole, not current")                                                                   \
    X(t5, "batch: commit record current, heads not published")                                                         \
    X(t6, "batch: some heads published")                                                                               \
    X(t7, "batch: committed and published, its undo log still there")                                                  \
    X(t8, "state: chunk copied, table not switched")                                                                   \
    X(t9, "state: table switched")                                                                                     \
    X(u1, "takeover: begun, nothing undone")                                                                           \
    X(u2, "takeover: half undone")                                                                                     \
    X(u3, "takeover: heads and tails published again")                                                                 \
    X(u4, "takeover: done, no standby of its own asked for")                                                           \
    X(u5, "takeover: done, no record read yet")                                                                        \
    X(v1, "recovery: manifest chosen")                                                                                 \
    X(v2, "recovery: half of the state loaded")                                                                        \
    X(v3, "recovery: rings reset")                                                                                     \
    X(v4, "recovery: half of the sink reconciliation done")                                                            \
    X(v5, "recovery: ready, first record not read")                                                                    \
    X(l1, "lazy restore: a chunk read, not marked as loaded")                                                          \
    X(l2, "lazy restore: a chunk loaded")

enum kill_point {
#define KILL_POINT_ENUM(name, where) KILL_##name,
    KILL_POINT_TABLE(KILL_POINT_ENUM)
#undef KILL_POINT_ENUM
    KILL_POINT_COUNT
};

#ifdef WEIR_KILL_POINTS

#include <stdatomic.h>

/* Makes the shared counters and parses WEIR_KILL; before the first fork. No WEIR_KILL: nothing is armed. */
int kill_point_init(struct weir_error *err);
/* Arms a list at run time, in shared memory: for all processes that are forked later and, after kill_point_init(), for those that
 * live. One process at a time. Rows that have all fired make room for new ones. A list with a wrong row arms none of its rows. */
int kill_point_arm(const char *list, struct weir_error *err);
/* The name that `@process` is compared with; set after fork. Copied. */
void kill_point_set_process(const char *name);
/* How many rows have fired so far. */
unsigned kill_point_fired_count(void);
/* True where the action is `error`. */
bool kill_point_reached(enum kill_point point);
/* How many rows are armed, fired ones among them: shared by all processes of the job. */
extern const _Atomic uint32_t *kill_point_row_count;
/* Checked inline, so that a point costs a load while nothing is armed. Relaxed: kill_point_reached() reads it again, with
 * acquire. */
static inline bool kill_point_armed(void) { return atomic_load_explicit(kill_point_row_count, memory_order_relaxed) != 0; }

#define KILL_POINT(name) ((void)(kill_point_armed() && kill_point_reached(KILL_##name)))
#define KILL_POINT_ERROR(name) (kill_point_armed() && kill_point_reached(KILL_##name))

#else

static inline int kill_point_init(struct weir_error *err) { (void)err; return WEIR_OK; }
/* WEIR_EUNSUPPORTED, with what to do. */
int kill_point_arm(const char *list, struct weir_error *err);
static inline void kill_point_set_process(const char *name) { (void)name; }
static inline unsigned kill_point_fired_count(void) { return 0; }
#define KILL_POINT(name) ((void)0)
#define KILL_POINT_ERROR(name) false

#endif

/* Whether this build has them. */
bool kill_points_built(void);
/* "s1" and its description; NULL past the table. */
const char *kill_point_name(unsigned index);
const char *kill_point_where(unsigned index);

#endif
