/*
 * fuzz_journal.c - a source of lines opens whatever lies in its journal. The first byte: 1 two segments instead of one (cut at the second
 * byte's part of the rest), 2 checksums made right, 4 written by this boot. What it refuses it refuses in words; what it
 * accepts gives the same lines at every start.
 */
#include "connectors/line/journal.h"
#include "fuzz_directory.h"
#include "tests/connectors/connector_ctx.h"

#include <errno.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

enum { TWO_SEGMENTS = 1, RESEAL = 2, SAME_BOOT = 4 };

/* Nothing here is about the disk, and there are many thousand calls. */
int fdatasync(int fd) { return (void)fd, 0; }
int fsync(int fd) { return (void)fd, 0; }

static const struct weir_line_source_options options = {.address = "-", .journal = true, .line_bytes_max = 4096};

static uint64_t own_boot(void)
{
    char text[64];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text) : 0;
    if (fd >= 0)
        close(fd);
    return n > 0 ? XXH3_64bits(text, (size_t)n) : 0;
}

/* Entries where their lengths say that they are. */
static void reseal(unsigned char *bytes, size_t size_bytes, unsigned flags)
{
    struct journal_segment_header header;
    struct journal_entry_header entry;
    if (size_bytes < sizeof header)
        return;
    memcpy(&header, bytes, sizeof header);
    if (flags & SAME_BOOT)
        header.boot = own_boot();
    header.checksum = journal_header_checksum(&header);
    memcpy(bytes, &header, sizeof header);
    for (uint64_t at = sizeof header; at + sizeof entry <= size_bytes; at = journal_next_offset(at, entry.length)) {
        memcpy(&entry, bytes + at, sizeof entry);
        if (entry.magic != JOURNAL_ENTRY_MAGIC || entry.length > size_bytes - at - sizeof entry)
            return;
        entry.checksum = journal_checksum(&entry, bytes + at + sizeof entry);
        memcpy(bytes + at, &entry, sizeof entry);
    }
}

static void write_segment(unsigned sequence, const uint8_t *data, size_t size_bytes, unsigned flags)
{
    char name[64], path[128];
    unsigned char *copy = malloc(size_bytes + 1);
    fuzz_must(copy != NULL, "malloc");
    memcpy(copy, data, size_bytes);
    if (flags & RESEAL)
        reseal(copy, size_bytes, flags);
    journal_name(sequence, name);
    snprintf(path, sizeof path, "connectors/op/%s", name);
    fuzz_write(path, copy, size_bytes);
    free(copy);
}

static void make_journal(const uint8_t *data, size_t size_bytes)
{
    static const char *const below[] = {"connectors", "connectors/op"};
    const size_t first_bytes = data[0] & TWO_SEGMENTS ? data[1] * (size_bytes - 2) / 255 : size_bytes - 2;
    fuzz_directory_remove(); /* of the last input */
    fuzz_must(mkdir(fuzz_directory(), 0700) == 0 || errno == EEXIST, "mkdir");
    for (unsigned i = 0; i < 2; i++) {
        char path[FUZZ_PATH_BYTES];
        snprintf(path, sizeof path, "%s/%s", fuzz_directory(), below[i]);
        fuzz_must(mkdir(path, 0700) == 0, path);
    }
    write_segment(1, data + 2, first_bytes, data[0]);
    if (data[0] & TWO_SEGMENTS)
        write_segment(2, data + 2 + first_bytes, size_bytes - 2 - first_bytes, data[0]);
}

/* All lines, and the end of the input behind them; NULL where it was refused. */
static struct weir_ctx *read_lines(void)
{
    struct weir_ctx *ctx = host_new_source(&weir_line_source, &options);
    snprintf(ctx->job_directory, sizeof ctx->job_directory, "%s", fuzz_directory());
    int code = host_start(ctx, NULL);
    if (code == WEIR_OK)
        code = host_drain(ctx, 100);
    if (code == WEIR_END)
        return ctx;
    if (code >= 0 || ctx->error.text[0] == 0 || (code != WEIR_ECORRUPT && code != WEIR_EVERSION && code != WEIR_ELIMIT))
        abort();
    host_stop(ctx);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static int null_fd = -1;
    if (null_fd < 0) {
        null_fd = open("/dev/null", O_RDONLY);
        fuzz_must(null_fd >= 0 && dup2(null_fd, STDIN_FILENO) == STDIN_FILENO, "/dev/null");
    }
    if (size_bytes < 2)
        return 0;
    make_journal(data, size_bytes);
    struct weir_ctx *first = read_lines();
    if (first == NULL)
        return 0;
    for (unsigned i = 0; i < 2; i++) {
        struct weir_ctx *again = read_lines();
        if (again == NULL || again->record_count != first->record_count || again->output_bytes != first->output_bytes ||
            (first->output_bytes > 0 && memcmp(again->output, first->output, first->output_bytes) != 0))
            abort();
        host_stop(again);
    }
    host_stop(first);
    return 0;
}
