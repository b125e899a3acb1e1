/*
 * weblog.c - a web server's log, in the combined log format, to hits, bytes and errors per path and status.
 *
 *     weir run weblog --set input=/var/log/apache2/access.log
 *     weir run weblog --set input=access.log --set output=/tmp/hits --set rejected=/tmp/rejected --set format=json
 *     weir run weblog --set input=access.log --set follow=yes --set output=/tmp/hits
 *
 *     input (lines) -> parse -> by path and status: tally -> output
 *                         \-> lines that are not in the format -> rejected
 *
 * A line of the format is
 *     HOST IDENT USER [TIME] "METHOD TARGET PROTOCOL" STATUS BYTES "REFERER" "AGENT"
 * with single spaces; a backslash in quotes takes the next character with it; STATUS has three digits, BYTES is a
 * number or `-` for none; PROTOCOL may be missing. The path is TARGET up to the first `?` or `#`, and only its first
 * 1,000 bytes count.
 *
 * Each hit puts out one line, `path<TAB>status<TAB>hits<TAB>bytes<TAB>errors`, with the sums so far for that path and
 * status. Errors are hits whose status is 400 or more.
 */
#include "examples.h"

#include <string.h>

#define PATH_BYTES_MAX 1000
#define BYTES_DIGITS_MAX 18

/* From the parser to the tally. The key is all from `status` to the end. */
struct hit {
    uint64_t bytes;
    uint64_t status;
    char path[];
};

struct tally {
    uint64_t hits;
    uint64_t bytes;
    uint64_t errors;
};

/* What the tally puts out. */
struct update {
    struct tally tally;
    uint64_t status;
    char path[];
};

static const struct weir_field update_fields[] = {
    {.name = "path", .type = WEIR_TAIL, .offset = offsetof(struct update, path)},
    {.name = "status", .type = WEIR_U64, .offset = offsetof(struct update, status)},
    {.name = "hits", .type = WEIR_U64, .offset = offsetof(struct update, tally.hits)},
    {.name = "bytes", .type = WEIR_U64, .offset = offsetof(struct update, tally.bytes)},
    {.name = "errors", .type = WEIR_U64, .offset = offsetof(struct update, tally.errors)},
};
static const struct weir_layout update_layout = {.name = "update", .fields = update_fields, .field_count = 5};

/* ---- parsing: each function takes something off the front of `rest`, and says whether it was there ---- */

struct span {
    const char *at;
    const char *end;
};

static size_t span_size(struct span span)
{
    return (size_t)(span.end - span.at);
}

static bool take_char(struct span *rest, char expected)
{
    if (rest->at == rest->end || *rest->at != expected)
        return false;
    rest->at++;
    return true;
}

/* One or more bytes up to `stop` (which stays) or the end. */
static bool take_until(struct span *rest, char stop, struct span *ret_taken)
{
    const char *found = memchr(rest->at, stop, span_size(*rest));
    struct span taken = {.at = rest->at, .end = found != NULL ? found : rest->end};
    if (span_size(taken) == 0)
        return false;
    rest->at = taken.end;
    *ret_taken = taken;
    return true;
}

static bool take_quoted(struct span *rest, struct span *ret_inside)
{
    if (!take_char(rest, '"'))
        return false;
    for (const char *at = rest->at; at < rest->end; at++) {
        if (*at == '\\') {
            at++;
        } else if (*at == '"') {
            *ret_inside = (struct span){.at = rest->at, .end = at};
            rest->at = at + 1;
            return true;
        }
    }
    return false;
}

static bool take_number(struct span *rest, unsigned digits_max, uint64_t *ret_value)
{
    const char *start = rest->at;
    uint64_t value = 0;
    while (rest->at < rest->end && *rest->at >= '0' && *rest->at <= '9' && rest->at - start < (ptrdiff_t)digits_max)
        value = value * 10 + (uint64_t)(*rest->at++ - '0');
    if (rest->at == start)
        return false;
    *ret_value = value;
    return true;
}

static bool take_status(struct span *rest, uint64_t *ret_status)
{
    const char *start = rest->at;
    return take_number(rest, 3, ret_status) && rest->at - start == 3;
}

static bool take_bytes(struct span *rest, uint64_t *ret_bytes)
{
    if (!take_char(rest, '-'))
        return take_number(rest, BYTES_DIGITS_MAX, ret_bytes);
    *ret_bytes = 0;
    return true;
}

/* HOST IDENT USER [TIME] and the space behind. */
static bool take_head(struct span *rest)
{
    struct span ignored;
    for (unsigned word = 0; word < 3; word++)
        if (!take_until(rest, ' ', &ignored) || !take_char(rest, ' '))
            return false;
    return take_char(rest, '[') && take_until(rest, ']', &ignored) && take_char(rest, ']') && take_char(rest, ' ');
}

static bool request_path(struct span request, struct span *ret_path)
{
    struct span method;
    struct span target;
    struct span before_query;
    if (!take_until(&request, ' ', &method) || !take_char(&request, ' ') || !take_until(&request, ' ', &target))
        return false;
    return take_until(&target, '?', &before_query) && take_until(&before_query, '#', ret_path);
}

struct parsed {
    struct span path;
    uint64_t status;
    uint64_t bytes;
};

static bool parse(struct span line, struct parsed *ret_parsed)
{
    struct span request;
    struct span ignored;
    return take_head(&line) && take_quoted(&line, &request) && request_path(request, &ret_parsed->path) &&
           take_char(&line, ' ') && take_status(&line, &ret_parsed->status) && take_char(&line, ' ') &&
           take_bytes(&line, &ret_parsed->bytes) && take_char(&line, ' ') && take_quoted(&line, &ignored) &&
           take_char(&line, ' ') && take_quoted(&line, &ignored) && line.at == line.end;
}

/* ---- the operators ---- */

enum { HITS, REJECTED }; /* the parser's outputs */

static int parse_line(struct weir_ctx *ctx, const struct weir_record *line)
{
    const char *text = line->data;
    struct parsed parsed;
    if (!parse((struct span){.at = text, .end = text + line->size_bytes}, &parsed))
        return weir_emit(ctx, REJECTED, line->data, line->size_bytes);

    size_t path_bytes = span_size(parsed.path) < PATH_BYTES_MAX ? span_size(parsed.path) : PATH_BYTES_MAX;
    struct hit *hit = weir_reserve(ctx, HITS, sizeof(*hit) + path_bytes);
    if (hit == NULL)
        return weir_ctx_error(ctx)->code;
    hit->bytes = parsed.bytes;
    hit->status = parsed.status;
    memcpy(hit->path, parsed.path.at, path_bytes);
    return weir_emit_reserved(ctx, sizeof(*hit) + path_bytes);
}

static const struct weir_operator parse_operator = {.type = "parse", .output_count = 2, .on_record = parse_line};

static int path_and_status_key(const struct weir_record *record, void *scratch, struct weir_bytes *ret_key)
{
    const struct hit *hit = record->data;
    (void)scratch;
    ret_key->data = &hit->status;
    ret_key->size_bytes = record->size_bytes - offsetof(struct hit, status);
    return WEIR_OK;
}

enum { TALLY }; /* the operator's states, by index */
static const struct weir_state tally_states[] = {
    [TALLY] = {.name = "tally", .kind = WEIR_VALUE, .scope = WEIR_PER_KEY, .size_bytes = sizeof(struct tally)},
};

static int tally_hit(struct weir_ctx *ctx, const struct weir_record *record)
{
    const struct hit *hit = record->data;
    struct tally *tally = weir_value(ctx, TALLY);
    if (tally == NULL)
        return weir_ctx_error(ctx)->code;
    tally->hits++;
    tally->bytes += hit->bytes;
    tally->errors += hit->status >= 400;
    struct tally tally_now = *tally; /* the address is good only until the next call */

    size_t path_bytes = record->size_bytes - sizeof(*hit);
    struct update *update = weir_reserve(ctx, 0, sizeof(*update) + path_bytes);
    if (update == NULL)
        return weir_ctx_error(ctx)->code;
    update->tally = tally_now;
    update->status = hit->status;
    memcpy(update->path, hit->path, path_bytes);
    return weir_emit_reserved(ctx, sizeof(*update) + path_bytes);
}

static const struct weir_operator tally_operator = {
    .type = "tally",
    .states = tally_states,
    .state_count = 1,
    .output_layout = &update_layout,
    .on_record = tally_hit,
};

int weblog_build(struct weir_job *job)
{
    struct weir_stream *text = example_add_lines(job, "input");
    const char *output = weir_param(job, "output", "-", "directory for the sums; - is standard output");
    const char *rejected = weir_param(job, "rejected", "", "directory for other lines; without it they are counted");
    unsigned parallelism = example_parallelism(job);
    struct weir_stream *hits = weir_process(text, "parse", &parse_operator, NULL);
    struct weir_stream *sums = weir_process(weir_key_by_fn(hits, path_and_status_key), "tally", &tally_operator, NULL);
    weir_parallelism(sums, parallelism);
    weir_parallelism(example_add_sink(job, sums, "output", output), parallelism);
    example_add_sink(job, weir_side_output(hits, REJECTED), "rejected", rejected);
    return WEIR_OK;
}
