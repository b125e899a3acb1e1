/*
 * fuzz_file_source.c - a file source opens at whatever position and list of files a checkpoint gives it. The input: a byte that chooses the
 * kind of source, a byte with the size of the position, the position, and bytes that are laid over the stored list of files by exclusive or.
 * What is refused is refused in words; what is read are lines (or records) of the files, and no more than there are.
 */
#include "fuzz_directory.h"
#include "tests/connectors/connector_ctx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

#define LINES 20u
#define LINE_BYTES 8u

static struct host_image fresh[3]; /* of each kind of source, at its start */
static struct weir_file_source_options options[3];

static void make_files(void)
{
    static char pattern[FUZZ_PATH_BYTES];
    char text[LINES * LINE_BYTES + 1];
    for (unsigned file = 0; file < 2; file++) {
        for (unsigned i = 0; i < LINES; i++)
            snprintf(text + i * LINE_BYTES, LINE_BYTES + 1, "%u-%05u\n", file, i);
        fuzz_write(file == 0 ? "in-0" : "in-1", text, LINES * LINE_BYTES);
    }
    snprintf(pattern, sizeof pattern, "%s/in-*", fuzz_directory());
    options[0] = (struct weir_file_source_options){.path = pattern};
    options[1] = (struct weir_file_source_options){.path = pattern, .format = WEIR_BINARY, .record_bytes = LINE_BYTES};
    options[2] = (struct weir_file_source_options){.path = pattern, .follow = true};
    for (unsigned i = 0; i < 3; i++) {
        struct weir_ctx *ctx = host_new_source(&weir_file_source, &options[i]);
        fuzz_must(host_start(ctx, NULL) == WEIR_OK, "open");
        if (i == 2)
            host_drain(ctx, 7); /* so that there are offsets in its state */
        fuzz_must(host_cut(ctx, 1, &fresh[i]) == WEIR_OK, "position");
        host_stop(ctx);
    }
}

/* Keys and values in an image are each a size and that many bytes; counts of entries are such bytes as well, and stay. */
static void lay_over(struct host_image *image, const uint8_t *data, size_t size_bytes)
{
    size_t at = 0;
    for (unsigned state = 0; state < HOST_STATES_MAX; state++) {
        size_t items = 0;
        uint64_t item_bytes = 0;
        memcpy(&items, image->states + at + 8, sizeof items);
        at += 8 + sizeof items;
        for (items *= 2; items > 0; items--) {
            memcpy(&item_bytes, image->states + at, 8);
            at += 8;
            for (size_t i = 0; i < item_bytes && size_bytes > 0; i++, size_bytes--)
                image->states[at + i] ^= *data++;
            at += item_bytes;
        }
    }
}

static void check_record(const struct weir_bytes *record, unsigned kind)
{
    const char *text = record->data;
    if (kind == 1 && record->size_bytes != LINE_BYTES)
        abort();
    if (record->size_bytes > LINE_BYTES)
        abort();
    for (size_t i = 0; i < record->size_bytes; i++)
        if (strchr("0123456789-\n", text[i]) == NULL)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static struct host_image image;
    if (fresh[0].checkpoint == 0)
        make_files();
    if (size_bytes < 2)
        return 0;
    const unsigned kind = data[0] % 3;
    size_t position_bytes = data[1] < size_bytes - 2 ? data[1] : size_bytes - 2;
    image = fresh[kind];
    image.position_bytes = position_bytes;
    memcpy(image.position, data + 2, position_bytes);
    lay_over(&image, data + 2 + position_bytes, size_bytes - 2 - position_bytes);
    struct weir_ctx *ctx = host_new_source(&weir_file_source, &options[kind]);
    int code = host_start(ctx, &image);
    if (code == WEIR_OK)
        code = host_drain(ctx, 7);
    if (code < 0 && ctx->error.text[0] == 0)
        abort();
    if (ctx->record_count > 2 * LINES)
        abort();
    for (size_t i = 0; i < ctx->record_count; i++) {
        struct weir_bytes record = host_record(ctx, i);
        check_record(&record, kind);
    }
    host_stop(ctx);
    return 0;
}
