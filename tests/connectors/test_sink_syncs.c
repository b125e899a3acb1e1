/* test_sink_syncs.c - in which order a file sink syncs and renames: this program has the calls itself, and notes them. */
#include "connector_ctx.h"
#include "test_files.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct host_image *image;
static char calls[64]; /* f: a file synced, d: a directory synced, r: renamed */

static void note(char what)
{
    size_t length = strlen(calls);
    if (length + 1 < sizeof(calls))
        calls[length] = what;
}

static char kind_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? 'd' : 'f';
}

int fdatasync(int fd)
{
    note(kind_of(fd));
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    note(kind_of(fd));
    return (int)syscall(SYS_fsync, fd);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags)
{
    note('r');
    return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

static void set_up(void)
{
    test_directory_make();
    image = calloc(1, sizeof(*image));
}

static void tear_down(void)
{
    free(image);
    test_directory_remove();
}

TestSuite(sink_syncs, .init = set_up, .fini = tear_down, .timeout = 240);

/* persist() runs in a child, and what it noted would be gone with it: so it is called here. */
static int persist(struct weir_ctx *ctx)
{
    ctx->state_forbidden = true;
    int result = ctx->sink->persist(ctx, image->checkpoint, image->committable, image->committable_bytes);
    ctx->state_forbidden = false;
    return result;
}

Test(sink_syncs, parts_are_synced_then_their_directory_and_only_then_renamed_and_the_directory_synced_again)
{
    const struct weir_file_sink_options options = {.directory = test_path("out"), .format = WEIR_TEXT_LINES, .roll_bytes = 4};
    struct weir_ctx *ctx = host_new_sink(&weir_file_sink, &options);
    ctx->generation = 1;
    cr_assert_eq(host_start(ctx, NULL), WEIR_OK, "%s", ctx->error.text);
    cr_assert_eq(host_write(ctx, "first", 5), WEIR_OK); /* a part of its own, each */
    cr_assert_eq(host_write(ctx, "second", 6), WEIR_OK);
    cr_assert_eq(host_cut(ctx, 1, image), WEIR_OK);
    memset(calls, 0, sizeof(calls));
    cr_assert_eq(persist(ctx), WEIR_OK, "%s", ctx->error.text);
    cr_expect_str_eq(calls, "ffd");
    memset(calls, 0, sizeof(calls));
    cr_assert_eq(host_commit(ctx, image), WEIR_OK, "%s", ctx->error.text);
    cr_expect_str_eq(calls, "rrd");
    host_stop(ctx);
}
