/*
 * registry.h - which jobs of this user run: one symbolic link a job, NAME -> absolute checkpoint directory, in
 * $WEIR_RUNTIME_DIR, else $XDG_RUNTIME_DIR/weir-<uid>, else /tmp/weir-<uid> (mode 0700, refused when it is not ours).
 *
 * It is for finding only: nothing depends on it, a job that could not be registered runs all the same, and is found by its
 * directory. An entry whose job does not run (nothing listens on its control socket) is stale and is removed by whoever comes
 * across it. Launcher and command only; does not block but on the file system.
 */
#ifndef WEIR_ENGINE_REGISTRY_H
#define WEIR_ENGINE_REGISTRY_H

#include "weir.h"

#include <limits.h>

#define REGISTRY_NAME_BYTES (WEIR_NAME_BYTES_MAX + 8)

struct registry_entry {
    char name[REGISTRY_NAME_BYTES];
    char directory[PATH_MAX];
};

/* Launcher, after control_listen(). Another job of this name that runs in another directory: this one is entered as NAME-2, -3...
 * ret_entry (NULL allowed) is what registry_remove() takes. */
int registry_add(const char *name, const char *directory, struct registry_entry *ret_entry, struct weir_error *err);
/* Removes the entry if it is still this job's. */
void registry_remove(const struct registry_entry *entry);

/* WEIR_ENOENT with a suggestion where no job of this name runs. */
int registry_find(const char *name, struct registry_entry *ret_entry, struct weir_error *err);
/* All running jobs, by name; free() the array. None: WEIR_OK and 0. */
int registry_list(struct registry_entry **ret_entries, size_t *ret_count, struct weir_error *err);

#endif
