/*
 * fault.h - which random fault comes next: a pure function of the seed, its number, and what there is to choose from. So a
 * seed makes the same choices again, however long the runs take; when a fault meets its process is the machine's affair.
 */
#ifndef WEIR_CHAOS_FAULT_H
#define WEIR_CHAOS_FAULT_H

#include "chaos/options.h"
#include "chaos/process.h"

/* name, the signal */
#define FAULT_KIND_TABLE(X)                                                                                            \
    X(KILL, "kill", SIGKILL)                                                                                           \
    X(SEGV, "segv", SIGSEGV)                                                                                           \
    X(ABORT, "abort", SIGABRT)                                                                                         \
    X(STOP, "stop", SIGSTOP)

enum fault_kind {
#define FAULT_KIND_ENUM(id, name, number) FAULT_##id,
    FAULT_KIND_TABLE(FAULT_KIND_ENUM)
#undef FAULT_KIND_ENUM
    FAULT_KIND_COUNT
};

const char *fault_kind_name(unsigned kind);
int fault_kind_signal(unsigned kind);
/* WEIR_EINVAL, in words. */
int fault_kind_parse(const char *text, enum fault_kind *ret_kind, struct weir_error *err);

/* A process: a task by its name ("count/0"), "coordinator", "launcher"; "snapshot" or "standby": any of them. */
struct fault_place {
    char name[PROCESS_NAME_BYTES];
    unsigned weight;
};

struct fault_places {
    struct fault_place *items;
    size_t count;
    uint64_t weight; /* of all */
};

/* Adds a place, or its weight to that of the same name. WEIR_ENOMEM. */
int fault_places_add(struct fault_places *places, unsigned weight, const char *name, struct weir_error *err);
void fault_places_free(struct fault_places *places);

struct fault {
    enum fault_kind kind;
    const char *place;
    int64_t wait_ns; /* after the one before */
    int64_t hold_ns; /* FAULT_STOP: until SIGCONT */
};

/* The fault of this number; places is not empty. */
struct fault fault_choose(const struct chaos_options *options, const struct fault_places *places, uint64_t number);

#endif
