/* corpus_journal.c - writes the first inputs of fuzz_journal: `corpus_journal DIRECTORY` makes a few valid journals there, each as it is, with
 * checksums made right, and as one of this boot. */
#include "fuzz_directory.h"
#include "tests/connectors/connector_ctx.h"

static const struct weir_line_source_options options = {.address = "-", .journal = true, .line_bytes_max = 4096};

/* Lines of a pipe, an entry each; with its end, or not. */
static void make_journal(const char *const *pieces, bool ends)
{
    int ends_of[2];
    fuzz_must(pipe2(ends_of, O_CLOEXEC) == 0 && dup2(ends_of[0], STDIN_FILENO) == STDIN_FILENO, "pipe");
    struct weir_ctx *ctx = host_new_source(&weir_line_source, &options);
    snprintf(ctx->job_directory, sizeof ctx->job_directory, "%s", fuzz_directory());
    fuzz_must(host_start(ctx, NULL) == WEIR_OK && host_drain(ctx, 100) == WEIR_IDLE, "open");
    for (; *pieces != NULL; pieces++) {
        fuzz_must(write(ends_of[1], *pieces, strlen(*pieces)) == (ssize_t)strlen(*pieces), "write");
        host_drain(ctx, 100);
    }
    close(ends_of[1]);
    if (ends)
        fuzz_must(host_drain(ctx, 100) == WEIR_END, "end");
    host_stop(ctx);
    close(ends_of[0]);
}

/* Behind two bytes that say how it is to be taken. */
static void write_input(const char *directory, const char *name, unsigned number, unsigned flags, unsigned cut)
{
    char path[FUZZ_PATH_BYTES];
    unsigned char bytes[65536] = {(unsigned char)flags, (unsigned char)cut};
    snprintf(path, sizeof path, "%s/connectors/op/journal-000000000001", fuzz_directory());
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    fuzz_must(fd >= 0, path);
    ssize_t got = read(fd, bytes + 2, sizeof bytes - 2);
    close(fd);
    snprintf(path, sizeof path, "%s/%s-%u-%u", directory, name, number, flags);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_must(fd >= 0 && got > 0 && write(fd, bytes, (size_t)got + 2) == got + 2 && close(fd) == 0, path);
}

int main(int argc, char **argv)
{
    static const char *const few[] = {"1\n2\n", "3\nfo", "ur\n", NULL};
    static const char *const one[] = {"a line\n", NULL};
    static const char *const none[] = {NULL};
    static const char *const *const all[] = {few, one, none};
    static const unsigned flags[] = {0, 3, 6, 7}; /* of fuzz_journal.c */
    if (argc != 2)
        return 2;
    mkdir(argv[1], 0700);
    for (unsigned i = 0; i < 6; i++) {
        make_journal(all[i % 3], i < 3);
        for (unsigned j = 0; j < sizeof flags / sizeof flags[0]; j++)
            write_input(argv[1], "journal", i, flags[j], 128);
        fuzz_directory_remove();
        fuzz_must(mkdir(fuzz_directory(), 0700) == 0, "mkdir");
    }
    return 0;
}
