#include "connector_ctx.h"
#include "test_files.h"

#include <criterion/criterion.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct host_image *image;

/* Standard output is a file from here on. */
static void set_up(void)
{
    test_directory_make();
    image = calloc(1, sizeof(*image));
    int fd = open(test_path("printed"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    cr_assert_eq(dup2(fd, STDOUT_FILENO), STDOUT_FILENO);
    close(fd);
}

static void tear_down(void)
{
    free(image);
    test_directory_remove();
}

TestSuite(stdout_sink, .init = set_up, .fini = tear_down, .timeout = 240);

static const struct weir_stdout_sink_options text = {.format = WEIR_TEXT_LINES};

static struct weir_ctx *opened(const char *job_directory, uint64_t generation, const struct host_image *from)
{
    struct weir_ctx *ctx = host_new_sink(&weir_stdout_sink, &text);
    strcpy(ctx->job_directory, job_directory);
    ctx->generation = generation;
    int result = host_start(ctx, from);
    cr_assert_eq(result, WEIR_OK, "%s", ctx->error.text);
    return ctx;
}

static void write_text(struct weir_ctx *ctx, const char *row)
{
    int result = host_write(ctx, row, strlen(row));
    cr_assert_eq(result, WEIR_OK, "%s", ctx->error.text);
}

static void expect_printed(const char *expected)
{
    char *printed = test_read(test_path("printed"), NULL);
    cr_assert_str_eq(printed, expected);
    free(printed);
}

Test(stdout_sink, rows_are_printed_at_the_commit_and_once)
{
    struct weir_ctx *ctx = opened(test_path("job"), 1, NULL);
    write_text(ctx, "one");
    write_text(ctx, "two");
    cr_assert_eq(host_cut(ctx, 1, image), WEIR_OK);
    cr_assert_eq(host_persist(ctx, image), 0);
    expect_printed("");
    cr_assert_eq(host_commit(ctx, image), WEIR_OK);
    expect_printed("one\ntwo\n");
    cr_assert_eq(host_commit(ctx, image), WEIR_OK);
    write_text(ctx, "lost");
    host_stop(ctx);
    ctx = opened(test_path("job"), 2, image); /* commits again */
    expect_printed("one\ntwo\n");
    char *names = test_names(test_path("job/connectors/op"), "");
    cr_assert_str_eq(names, "");
    free(names);
    write_text(ctx, "three");
    cr_assert_eq(host_cut(ctx, 2, image), WEIR_OK);
    cr_assert_eq(host_commit(ctx, image), WEIR_OK);
    expect_printed("one\ntwo\nthree\n");
    host_stop(ctx);
}

Test(stdout_sink, printing_goes_on_where_a_dead_process_had_noted_it)
{
    struct weir_ctx *ctx = opened(test_path("job"), 1, NULL);
    write_text(ctx, "printed already");
    write_text(ctx, "to come");
    cr_assert_eq(host_cut(ctx, 1, image), WEIR_OK);
    host_stop(ctx);
    const uint64_t printed = strlen("printed already\n");
    test_write(test_path("job/connectors/op/.rows-0-0.g1.printed"), &printed, sizeof(printed));
    ctx = opened(test_path("job"), 2, image);
    expect_printed("to come\n");
    host_stop(ctx);
}

Test(stdout_sink, many_rows_are_printed_whole_and_in_order)
{
    struct weir_ctx *ctx = opened(test_path("job"), 1, NULL);
    char *expected = calloc(1, 40000 * 8);
    size_t at = 0;
    for (unsigned i = 0; i < 40000; i++) {
        char row[16];
        snprintf(row, sizeof(row), "%u", i);
        write_text(ctx, row);
        at += (size_t)sprintf(expected + at, "%u\n", i);
    }
    cr_assert_eq(host_cut(ctx, 1, image), WEIR_OK);
    cr_assert_eq(host_persist(ctx, image), 0);
    cr_assert_eq(host_commit(ctx, image), WEIR_OK);
    expect_printed(expected);
    free(expected);
    host_stop(ctx);
}

Test(stdout_sink, without_a_job_directory_rows_are_printed_at_once)
{
    struct weir_ctx *ctx = opened("", 1, NULL);
    cr_assert_eq(ctx->log_count, 1);
    write_text(ctx, "one");
    expect_printed("one\n");
    host_stop(ctx);
}

Test(stdout_sink, a_closed_reader_is_a_failure_and_no_signal)
{
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    dup2(ends[1], STDOUT_FILENO);
    close(ends[1]);
    close(ends[0]);
    struct weir_ctx *ctx = opened(test_path("job"), 1, NULL);
    write_text(ctx, "x");
    cr_assert_eq(host_cut(ctx, 1, image), WEIR_OK);
    cr_assert_eq(host_commit(ctx, image), WEIR_EFINAL);
    cr_assert(strstr(ctx->error.text, "closed by its reader") != NULL, "%s", ctx->error.text);
    host_stop(ctx);
}
