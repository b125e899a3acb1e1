/*
 * fuzz_event_log.c - event_reader_next() takes any file. The first byte says where the file ends at first: the reader then goes on with
 * what has come since, as --follow does. Whole lines are either events or counted as skipped, none is lost or given twice, and
 * it does not matter in how many pieces they came.
 */
#include "engine/event_log.h"
#include "fuzz_directory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

#define LINE_BYTES_MAX (2u * EVENT_LOG_LINE_BYTES_MAX) /* of the reader; longer lines are skipped */

/* All that is there now; how many events. */
static uint64_t read_all(struct event_reader *reader)
{
    struct weir_error err = {0};
    uint64_t count = 0;
    json_t *event = NULL;
    int code;
    while ((code = event_reader_next(reader, &event, &err)) == WEIR_OK) {
        if (json_string_value(json_object_get(event, "time")) == NULL || json_string_value(json_object_get(event, "event")) == NULL)
            abort();
        json_decref(event);
        count++;
    }
    if (code != WEIR_END)
        abort();
    return count;
}

/* Lines with something in them: the reader must account for each. */
static uint64_t count_lines(const uint8_t *data, size_t size_bytes)
{
    uint64_t count = 0;
    for (const uint8_t *at = data, *end; size_bytes > 0 && (end = memchr(at, '\n', size_bytes)) != NULL; at = end + 1) {
        count += end > at;
        size_bytes -= (size_t)(end - at) + 1;
    }
    return count;
}

static void read_in_pieces(const uint8_t *data, size_t size_bytes, size_t first_bytes, const struct event_filter *filter, uint64_t ret_counts[2])
{
    struct event_reader *reader = NULL;
    struct weir_error err = {0};
    fuzz_write("events.jsonl", data, first_bytes);
    if (event_reader_open(fuzz_directory(), filter, &reader, &err) != WEIR_OK)
        abort();
    ret_counts[0] = read_all(reader);
    fuzz_append("events.jsonl", data + first_bytes, size_bytes - first_bytes);
    ret_counts[0] += read_all(reader);
    ret_counts[1] = event_reader_skipped(reader);
    event_reader_close(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    if (size_bytes < 1 || size_bytes > LINE_BYTES_MAX)
        return 0;
    const size_t first_bytes = data[0] * (size_bytes - 1) / 255;
    uint64_t whole[2], pieces[2], some[2];
    data++;
    size_bytes--;
    read_in_pieces(data, size_bytes, size_bytes, NULL, whole);
    read_in_pieces(data, size_bytes, first_bytes, NULL, pieces);
    if (whole[0] != pieces[0] || whole[1] != pieces[1] || whole[0] + whole[1] != count_lines(data, size_bytes))
        abort();
    const struct event_filter filter = {.event = "job_started", .since_ms = INT64_C(1769860800000)};
    read_in_pieces(data, size_bytes, first_bytes, &filter, some);
    if (some[0] > whole[0] || some[1] != whole[1])
        abort();
    return 0;
}
