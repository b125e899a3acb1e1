/*
 * fuzz_manifest.c - manifest_decode() takes any bytes. Each input is tried as it is, and with its size and checksum
 * made right, so that the parser behind them is reached. What it accepts must encode to the very same bytes: one
 * manifest, one form.
 */
#include "snapshot/file_format.h"
#include "snapshot/manifest.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void try_bytes(const unsigned char *bytes, size_t size_bytes)
{
    struct manifest *m = NULL;
    struct weir_error err = {0};
    int code = manifest_decode(bytes, size_bytes, &m, &err);
    if (code != WEIR_OK) {
        if ((code != WEIR_ECORRUPT && code != WEIR_EVERSION) || err.text[0] == 0)
            abort();
        return;
    }
    void *again = NULL;
    size_t again_bytes = 0;
    if (manifest_encode(m, &again, &again_bytes, &err) != WEIR_OK || again_bytes != size_bytes ||
        memcmp(again, bytes, size_bytes) != 0)
        abort();
    if (manifest_check_compatible(m, m, &err) != WEIR_OK)
        abort();
    free(again);
    manifest_free(m);
}

static void put_u64(unsigned char *bytes, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    unsigned char *bytes = calloc(1, size_bytes + 1);
    if (bytes == NULL)
        return 0;
    if (size_bytes > 0)
        memcpy(bytes, data, size_bytes);
    try_bytes(bytes, size_bytes);
    if (size_bytes >= 32) {
        put_u64(bytes + 16, size_bytes);
        put_u64(bytes + size_bytes - 8, bytes_checksum(bytes, size_bytes - 8));
        try_bytes(bytes, size_bytes);
    }
    free(bytes);
    return 0;
}
