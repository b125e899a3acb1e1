/*
 * wordcount.c - lines of text to counts per word.
 *
 *     weir run wordcount --set input=README.md
 *     weir run wordcount --set input=/var/log --set output=/tmp/words --set parallelism=2
 *     sort /tmp/words/part-*          # to look at the result
 *     journalctl -f | weir run wordcount --set input=- --set journal=yes
 *
 *     input (lines) -> split (words) -> by word: count -> output
 *
 * A word is a longest run of ASCII letters, ASCII digits and bytes above 127 (which UTF-8 makes all other letters of);
 * capital ASCII letters become small ones. Only its first 255 bytes count.
 *
 * Each word of the input puts out one line, `word<TAB>count`, with its count so far: a word that comes n times gives
 * the lines 1 to n, whatever order the lines were read in, and the largest is the result.
 */
#include "examples.h"

#include <string.h>

#define WORD_BYTES_MAX 255

/* What the counter puts out; the word goes on to the end of the record. */
struct word_count {
    uint64_t count;
    char word[];
};

static const struct weir_field word_count_fields[] = {
    {.name = "word", .type = WEIR_TAIL, .offset = offsetof(struct word_count, word)},
    {.name = "count", .type = WEIR_U64, .offset = offsetof(struct word_count, count)},
};
static const struct weir_layout word_count_layout = {
    .name = "word_count", .fields = word_count_fields, .field_count = 2};

static bool is_word_byte(unsigned char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || byte > 127;
}

static int emit_word(struct weir_ctx *ctx, const unsigned char *bytes, size_t size_bytes)
{
    char word[WORD_BYTES_MAX];
    size_t word_bytes = size_bytes < WORD_BYTES_MAX ? size_bytes : WORD_BYTES_MAX;
    for (size_t i = 0; i < word_bytes; i++)
        word[i] = (char)(bytes[i] >= 'A' && bytes[i] <= 'Z' ? bytes[i] - 'A' + 'a' : bytes[i]);
    return weir_emit(ctx, 0, word, word_bytes);
}

static int split_line(struct weir_ctx *ctx, const struct weir_record *line)
{
    const unsigned char *at = line->data;
    const unsigned char *end = at + line->size_bytes;
    while (at < end) {
        const unsigned char *start = at;
        while (at < end && is_word_byte(*at))
            at++;
        if (at > start) {
            int status = emit_word(ctx, start, (size_t)(at - start));
            if (status < 0)
                return status;
        } else {
            at++;
        }
    }
    return WEIR_OK;
}

/* The key is the whole record: the word. */
static int word_key(const struct weir_record *record, void *scratch, struct weir_bytes *ret_key)
{
    (void)scratch;
    *ret_key = (struct weir_bytes){.data = record->data, .size_bytes = record->size_bytes};
    return WEIR_OK;
}

enum { COUNT }; /* the operator's states, by index */
static const struct weir_state count_states[] = {
    [COUNT] = {.name = "count", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = sizeof(uint64_t)},
};

static int count_word(struct weir_ctx *ctx, const struct weir_record *word)
{
    uint64_t *count = weir_value(ctx, COUNT);
    if (count == NULL)
        return weir_ctx_error(ctx)->code;
    uint64_t count_now = ++*count; /* the address is good only until the next call */

    struct word_count *update = weir_reserve(ctx, 0, sizeof(*update) + word->size_bytes);
    if (update == NULL)
        return weir_ctx_error(ctx)->code;
    update->count = count_now;
    memcpy(update->word, word->data, word->size_bytes);
    return weir_emit_reserved(ctx, sizeof(*update) + word->size_bytes);
}

static const struct weir_operator count_operator = {
    .type = "count",
    .states = count_states,
    .state_count = 1,
    .output_layout = &word_count_layout,
    .on_record = count_word,
};

int wordcount_build(struct weir_job *job)
{
    struct weir_stream *text = example_add_lines(job, "input");
    const char *output = weir_param(job, "output", "-", "directory for the counts; - is standard output");
    unsigned parallelism = example_parallelism(job);

    struct weir_stream *words = weir_flat_map(text, "split", split_line, NULL);
    struct weir_stream *counts = weir_process(weir_key_by_fn(words, word_key), "count", &count_operator, NULL);
    weir_parallelism(counts, parallelism);
    weir_parallelism(example_add_sink(job, counts, "output", output), parallelism);
    return WEIR_OK;
}
