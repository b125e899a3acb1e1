/*
 * manifest_check.h - what a manifest must be, whether it comes from the engine or from disk: one set of rules for the
 * encoder and the decoder, so that nothing is written that would be refused when it is needed.
 */
#ifndef WEIR_SNAPSHOT_MANIFEST_CHECK_H
#define WEIR_SNAPSHOT_MANIFEST_CHECK_H

#include "snapshot/manifest.h"

/* Every name, number, reference and count is within its bounds. `code` is what a violation is called: WEIR_EINVAL or
 * WEIR_ECORRUPT. */
int manifest_check(const struct manifest *m, int code, struct weir_error *err);

#endif
