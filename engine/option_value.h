/*
 * option_value.h - numbers with units, as users type and read them: durations, sizes, counts, CPU lists. Pure functions.
 *
 * The parsers fail with WEIR_EINVAL and a text that says what is accepted; they know neither the option's name nor its
 * range. Nothing may stand before or behind the number and its unit.
 */
#ifndef WEIR_ENGINE_OPTION_VALUE_H
#define WEIR_ENGINE_OPTION_VALUE_H

#include "engine/options.h"

/* "250ms" -> 250000000. Units us, ms, s, min, h, d; a number without one only when it is 0; fractions ("1.5s") are allowed. */
int value_duration(const char *text, int64_t *ret_ns, struct weir_error *err);
/* "64KiB", "1M", "4096", "1.5GiB". Units k, M, G, T (1000) and Ki, Mi, Gi, Ti (1024), each with or without a B behind it. */
int value_bytes(const char *text, uint64_t *ret_bytes, struct weir_error *err);
/* "50%" of total_bytes. */
int value_percent(const char *text, uint64_t total_bytes, uint64_t *ret_bytes, struct weir_error *err);
/* "1000", "10k", "2M", "1G", "64Ki". */
int value_count(const char *text, uint64_t *ret_count, struct weir_error *err);
/* "none", "auto", "0,1,4-7". */
int value_cpus(const char *text, struct option_cpus *ret_cpus, struct weir_error *err);

/* The shortest exact text that the parser takes back: "250ms", "1min", "64KiB". Return buffer. */
const char *format_duration(int64_t ns, char *buffer, size_t capacity);
const char *format_bytes(uint64_t bytes, char *buffer, size_t capacity);
const char *format_cpus(const struct option_cpus *cpus, char *buffer, size_t capacity);

/* For people, rounded to three figures: "1.24 MiB", "38.1 M", "250 ms". Return buffer. */
const char *human_bytes(uint64_t bytes, char *buffer, size_t capacity);
const char *human_count(double count, char *buffer, size_t capacity);
const char *human_duration(int64_t ns, char *buffer, size_t capacity);

/* The entry of candidates (count of them) nearest to text by edit distance; NULL where none is near enough to suggest. */
const char *nearest_word(const char *text, const char *const *candidates, size_t count);

#endif
