/* inspect.h - a manifest for people and for programs. Pure output on standard output. */
#ifndef WEIR_CLI_INSPECT_H
#define WEIR_CLI_INSPECT_H

#include "snapshot/manifest.h"

/* `verified`: every byte was read; then `damage` says what was wrong (code WEIR_OK: nothing). */
void inspect_print_text(const struct manifest *manifest, bool verified, const struct weir_error *damage);
void inspect_print_json(const struct manifest *manifest, bool verified, const struct weir_error *damage);

#endif
