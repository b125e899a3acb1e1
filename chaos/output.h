/*
 * output.h - what a run put out, as a multiset of records, and how two of them differ. A record is a line, or so many bytes;
 * which file of the directory it is in, and where, does not matter. Files whose name begins with a dot are not finished and
 * do not count.
 *
 * A record is kept as its 128-bit XXH3: 16 bytes of memory each. Launcher-side only; blocks on the disk.
 */
#ifndef WEIR_CHAOS_OUTPUT_H
#define WEIR_CHAOS_OUTPUT_H

#include "weir.h"

#define OUTPUT_SAMPLES_MAX 3 /* records that are shown of each kind of difference */
#define OUTPUT_SAMPLE_BYTES 160

struct record_hash {
    uint64_t high, low;
};

struct output {
    struct record_hash *hashes; /* sorted */
    size_t count, capacity;
};

struct difference {
    uint64_t compared; /* records that were expected */
    uint64_t lost;     /* expected, and not there */
    uint64_t doubled;  /* there more often than expected */
    uint64_t wrong;    /* there, and not expected at all */
    struct {
        const char *how; /* "lost", "doubled", "wrong" */
        struct record_hash hash;
        char text[OUTPUT_SAMPLE_BYTES];
    } samples[3 * OUTPUT_SAMPLES_MAX];
    unsigned sample_count;
};

/* Reads a file, or the files of a directory. record_bytes 0: lines. A directory that is not there is empty. */
int output_read(const char *path, uint64_t record_bytes, struct output *ret_output, struct weir_error *err);
void output_free(struct output *output);
void output_compare(const struct output *expected, const struct output *found, struct difference *ret_difference);
/* Finds the text of the samples; what is in neither path stays empty. */
void output_find_samples(const char *expected_path, const char *found_path, uint64_t record_bytes, struct difference *difference);

#endif
