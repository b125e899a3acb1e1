/*
 * text_output.h - numbers and strings appended to a buffer, or only measured. Pure.
 */
#ifndef WEIR_CONNECTORS_TEXT_OUTPUT_H
#define WEIR_CONNECTORS_TEXT_OUTPUT_H

#include "weir.h"

/* The caller sees to it that the buffer has room. NULL: nothing is written, size_bytes says what would be. */
struct text_output {
    char *buffer;
    size_t size_bytes;
};

void text_output_bytes(struct text_output *out, const char *bytes, size_t size_bytes);
void text_output_char(struct text_output *out, char character);
void text_output_u64(struct text_output *out, uint64_t value);
void text_output_i64(struct text_output *out, int64_t value);

/* Tab, line ends and backslash as \t \n \r \\, every other byte as it is: at most twice the bytes. */
void text_output_escaped(struct text_output *out, const char *bytes, size_t size_bytes);

/* A JSON string with its quotes: at most six times the bytes, and two. Each longest part of the bytes that begins a
 * UTF-8 sequence without being one (Unicode Standard, 3.9, U+FFFD substitution of maximal subparts) becomes U+FFFD. */
void text_output_json(struct text_output *out, const char *bytes, size_t size_bytes);

#endif
