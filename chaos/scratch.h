/* scratch.h - the directories of the runs. */
#ifndef WEIR_CHAOS_SCRATCH_H
#define WEIR_CHAOS_SCRATCH_H

#include "weir.h"

#include <limits.h>

/* A new directory (0700) below `parent` (NULL: $TMPDIR, else /tmp), as an absolute path, with `runtime` in it. */
int scratch_make(const char *parent, char scratch[PATH_MAX], struct weir_error *err);
/* A directory for a run below it. */
int scratch_make_run(const char *scratch, const char *name, char directory[PATH_MAX], struct weir_error *err);
/* Deletes a directory with all that is in it. What cannot be deleted stays, and is told on standard error. */
void scratch_remove(const char *path);

#endif
