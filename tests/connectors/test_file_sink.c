#include "connector_ctx.h"
#include "test_files.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static struct host_image *image;

static void set_up(void)
{
    test_directory_make();
    image = calloc(1, sizeof(*image));
}

static void tear_down(void)
{
    free(image);
    umount2(test_path("small"), MNT_DETACH); /* where a failed assertion left it */
    test_directory_remove();
}

TestSuite(file_sink, .init = set_up, .fini = tear_down, .timeout = 240);

static struct weir_ctx *opened(const struct weir_file_sink_options *options, uint64_t generation,
                               const struct host_image *from)
{
    struct weir_ctx *ctx = host_new_sink(&weir_file_sink, options);
    ctx->generation = generation;
    int result = host_start(ctx, from);
    cr_assert_eq(result, WEIR_OK, "%s", ctx->error.text);
    return ctx;
}

static void expect_refused(const struct weir_file_sink_options *options, uint64_t generation,
                           const struct host_image *from, const char *words)
{
    struct weir_ctx *ctx = host_new_sink(&weir_file_sink, options);
    ctx->generation = generation;
    cr_assert_lt(host_start(ctx, from), 0);
    cr_assert(strstr(ctx->error.text, words) != NULL, "'%s' is not in: %s", words, ctx->error.text);
    host_stop(ctx);
}

static void write_text(struct weir_ctx *ctx, const char *text)
{
    int result = host_write(ctx, text, strlen(text));
    cr_assert_eq(result, WEIR_OK, "%s", ctx->error.text);
}

static void prepare(struct weir_ctx *ctx, uint64_t checkpoint)
{
    int result = host_cut(ctx, checkpoint, image);
    cr_assert_eq(result, WEIR_OK, "%s", ctx->error.text);
}

static void commit(struct weir_ctx *ctx)
{
    int result = host_commit(ctx, image);
    cr_assert_eq(result, WEIR_OK, "%s", ctx->error.text);
}

static void checkpoint(struct weir_ctx *ctx, uint64_t number)
{
    prepare(ctx, number);
    cr_assert_eq(host_persist(ctx, image), 0);
    commit(ctx);
}

static void expect_names(const char *prefix, const char *expected)
{
    char *names = test_names(test_path("out"), prefix);
    cr_assert_str_eq(names, expected);
    free(names);
}

static void expect_file(const char *name, const char *expected)
{
    char *text = test_read(test_path(name), NULL);
    cr_assert(text != NULL, "%s is missing", name);
    cr_assert_str_eq(text, expected);
    free(text);
}

static struct weir_file_sink_options text_options(void)
{
    return (struct weir_file_sink_options){.directory = test_path("out"), .format = WEIR_TEXT_LINES};
}

Test(file_sink, rows_are_visible_only_after_the_commit)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    write_text(ctx, "one");
    write_text(ctx, "two");
    expect_names("part", "");
    prepare(ctx, 1);
    expect_names("part", "");
    expect_file("out/.part-0-0.g1", "one\ntwo\n");
    cr_assert_eq(host_persist(ctx, image), 0);
    expect_names("part", "");
    commit(ctx);
    expect_names("part", "part-0-0");
    expect_names(".part", "");
    expect_file("out/part-0-0", "one\ntwo\n");
    host_stop(ctx);
}

/* ---- taken over in place ---- */

static struct weir_ctx *resumed(const struct weir_file_sink_options *options, const struct host_image *from)
{
    struct weir_ctx *ctx = host_new_sink(&weir_file_sink, options);
    int result = host_resume(ctx, from);
    cr_assert_eq(result, WEIR_OK, "%s", ctx->error.text);
    return ctx;
}

static void end_batch(struct weir_ctx *ctx, struct host_image *batch)
{
    cr_assert_eq(host_end_batch(ctx, batch), WEIR_OK, "%s", ctx->error.text);
}

Test(file_sink, what_the_last_batch_wrote_stays_and_what_came_after_it_goes)
{
    const struct weir_file_sink_options options = text_options();
    struct host_image *batch = calloc(1, sizeof(*batch));
    struct weir_ctx *dead = opened(&options, 1, NULL);
    write_text(dead, "one");
    end_batch(dead, batch);
    write_text(dead, "undone"); /* handed to the kernel, and then its process is killed */
    prepare(dead, 1);           /* which may have been anywhere, also behind its prepare */
    struct weir_ctx *ctx = resumed(&options, batch);
    expect_file("out/.part-0-0.g1", "one\n");
    write_text(ctx, "two");
    checkpoint(ctx, 1);
    expect_file("out/part-0-0", "one\ntwo\n");
    expect_names(".part", "");
    host_stop(ctx);
    host_stop(dead);
    free(batch);
}

Test(file_sink, parts_begun_in_the_undone_batch_are_gone_and_earlier_ones_are_committed)
{
    struct weir_file_sink_options options = text_options();
    options.roll_bytes = 4;
    struct host_image *batch = calloc(1, sizeof(*batch));
    struct weir_ctx *dead = opened(&options, 1, NULL);
    write_text(dead, "aaaa");
    write_text(dead, "bbbb");
    write_text(dead, "c");
    end_batch(dead, batch);
    write_text(dead, "cccc"); /* ends the third part, and begins others */
    write_text(dead, "dddd");
    write_text(dead, "eeee");
    expect_names(".part", ".part-0-0.g1 .part-0-1.g1 .part-0-2.g1 .part-0-3.g1 .part-0-4.g1");
    struct weir_ctx *ctx = resumed(&options, batch);
    expect_names(".part", ".part-0-0.g1 .part-0-1.g1 .part-0-2.g1");
    write_text(ctx, "f");
    checkpoint(ctx, 1);
    expect_names("part", "part-0-0 part-0-1 part-0-2");
    expect_file("out/part-0-1", "bbbb\n");
    expect_file("out/part-0-2", "c\nf\n");
    host_stop(ctx);
    host_stop(dead);
    free(batch);
}

Test(file_sink, what_was_prepared_or_committed_before_the_death_is_not_written_again)
{
    const struct weir_file_sink_options options = text_options();
    struct host_image *batch = calloc(1, sizeof(*batch));
    struct weir_ctx *dead = opened(&options, 1, NULL);
    write_text(dead, "one");
    prepare(dead, 1);
    end_batch(dead, batch); /* as the engine does: the batch's record is written behind prepare */
    cr_assert_eq(host_persist(dead, image), 0);
    commit(dead); /* outside, but not noted */
    struct weir_ctx *ctx = resumed(&options, batch);
    commit(ctx);
    expect_names("part", "part-0-0");
    write_text(ctx, "two");
    checkpoint(ctx, 2);
    expect_names("part", "part-0-0 part-0-1");
    expect_file("out/part-0-1", "two\n");
    host_stop(ctx);
    host_stop(dead);
    free(batch);
}

Test(file_sink, a_part_that_is_shorter_than_what_was_written_is_refused)
{
    const struct weir_file_sink_options options = text_options();
    struct host_image *batch = calloc(1, sizeof(*batch));
    struct weir_ctx *dead = opened(&options, 1, NULL);
    write_text(dead, "one");
    end_batch(dead, batch);
    cr_assert_eq(truncate(test_path("out/.part-0-0.g1"), 2), 0);
    struct weir_ctx *ctx = host_new_sink(&weir_file_sink, &options);
    cr_assert_lt(host_resume(ctx, batch), 0);
    cr_assert(strstr(ctx->error.text, "has 2 bytes, 4 were written") != NULL, "%s", ctx->error.text);
    host_stop(ctx);
    host_stop(dead);
    free(batch);
}

Test(file_sink, an_epoch_without_rows_makes_no_file)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    prepare(ctx, 1);
    cr_assert_eq(image->committable_bytes, 0);
    write_text(ctx, "x");
    checkpoint(ctx, 2);
    prepare(ctx, 3);
    cr_assert_eq(image->committable_bytes, 0);
    expect_names("part", "part-0-0");
    host_stop(ctx);
}

Test(file_sink, parts_roll_by_size_and_carry_the_suffix)
{
    struct weir_file_sink_options options = text_options();
    options.roll_bytes = 10;
    options.suffix = ".txt";
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    for (unsigned i = 0; i < 7; i++)
        write_text(ctx, "1234"); /* two rows of 5 bytes reach the 10 */
    checkpoint(ctx, 1);
    expect_names("part", "part-0-0.txt part-0-1.txt part-0-2.txt part-0-3.txt");
    expect_file("out/part-0-2.txt", "1234\n1234\n");
    expect_file("out/part-0-3.txt", "1234\n");
    host_stop(ctx);
}

Test(file_sink, more_parts_than_are_kept_open_are_committed_too)
{
    struct weir_file_sink_options options = text_options();
    options.roll_bytes = 1;
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    for (unsigned i = 0; i < 200; i++)
        write_text(ctx, "x");
    checkpoint(ctx, 1);
    char name[32];
    for (unsigned i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "out/part-0-%u", i);
        expect_file(name, "x\n");
    }
    host_stop(ctx);
}

Test(file_sink, raw_records_have_nothing_between_them_and_large_ones_pass)
{
    struct weir_file_sink_options options = text_options();
    options.format = WEIR_RAW;
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    const size_t size = 700000;
    char *expected = malloc(size + 6);
    memcpy(expected, "ab", 2);
    for (size_t i = 0; i < size; i++)
        expected[2 + i] = (char)(i % 251);
    memcpy(expected + 2 + size, "c\0de", 4);
    cr_assert_eq(host_write(ctx, "ab", 2), WEIR_OK);
    cr_assert_eq(host_write(ctx, expected + 2, size), WEIR_OK);
    cr_assert_eq(host_write(ctx, "c\0de", 4), WEIR_OK);
    checkpoint(ctx, 1);
    size_t got = 0;
    char *text = test_read(test_path("out/part-0-0"), &got);
    cr_assert_eq(got, size + 6);
    cr_assert_eq(memcmp(text, expected, got), 0);
    free(text);
    free(expected);
    host_stop(ctx);
}

struct pair {
    uint64_t id;
    char name[8];
};
static const struct weir_field pair_fields[] = {{"id", WEIR_U64, 0, 0}, {"name", WEIR_CHARS, 8, 8}};
static const struct weir_layout pair_layout = {.name = "pair", .fields = pair_fields, .field_count = 2};

Test(file_sink, rows_are_formatted_by_the_layout_of_the_input)
{
    static const enum weir_output_format formats[] = {WEIR_TEXT_LINES, WEIR_JSON_LINES};
    static const char *const expected[] = {"7\tseven\n", "{\"id\":7,\"name\":\"seven\"}\n"};
    for (unsigned i = 0; i < 2; i++) {
        struct weir_file_sink_options options = text_options();
        options.directory = test_path(i == 0 ? "out" : "out2");
        options.format = formats[i];
        struct weir_ctx *ctx = host_new_sink(&weir_file_sink, &options);
        ctx->layout = &pair_layout;
        cr_assert_eq(host_start(ctx, NULL), WEIR_OK);
        const struct pair pair = {7, "seven"};
        cr_assert_eq(host_write(ctx, &pair, sizeof(pair)), WEIR_OK);
        checkpoint(ctx, 1);
        expect_file(i == 0 ? "out/part-0-0" : "out2/part-0-0", expected[i]);
        host_stop(ctx);
    }
}

Test(file_sink, rows_larger_than_the_buffer_are_written_whole)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    const size_t size = 900000;
    char *row = malloc(size);
    memset(row, 'r', size);
    write_text(ctx, "before");
    cr_assert_eq(host_write(ctx, row, size), WEIR_OK);
    write_text(ctx, "after");
    checkpoint(ctx, 1);
    size_t got = 0;
    char *text = test_read(test_path("out/part-0-0"), &got);
    cr_assert_eq(got, 7 + size + 1 + 6);
    cr_assert_eq(memcmp(text, "before\n", 7), 0);
    cr_assert_eq(memcmp(text + 7, row, size), 0);
    cr_assert_str_eq(text + 7 + size, "\nafter\n");
    free(text);
    free(row);
    host_stop(ctx);
}

Test(file_sink, rows_that_fill_the_buffer_to_its_last_byte_are_written_whole)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    const size_t count = 3 * (256 * 1024) / 64 + 5; /* 64 bytes with the line end divide any power of two */
    char *expected = calloc(1, count * 64 + 1);
    for (size_t i = 0; i < count; i++) {
        snprintf(expected + i * 64, 65, "%063zu\n", i);
        cr_assert_eq(host_write(ctx, expected + i * 64, 63), WEIR_OK);
    }
    checkpoint(ctx, 1);
    expect_file("out/part-0-0", expected);
    free(expected);
    host_stop(ctx);
}

Test(file_sink, a_large_row_behind_a_full_buffer_is_written_whole)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    const size_t full = 256 * 1024, large = 700000;
    char *expected = malloc(full + large + 2);
    memset(expected, 'r', full + large + 1);
    expected[full - 1] = expected[full + large] = '\n';
    expected[full + large + 1] = '\0';
    cr_assert_eq(host_write(ctx, expected, full - 1), WEIR_OK);
    cr_assert_eq(host_write(ctx, expected + full, large), WEIR_OK);
    checkpoint(ctx, 1);
    expect_file("out/part-0-0", expected);
    free(expected);
    host_stop(ctx);
}

/* ------------------------------------------------------------------------------------------------- phases -------- */

Test(file_sink, a_commit_can_be_repeated_by_another_process)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    write_text(ctx, "x");
    checkpoint(ctx, 1);
    commit(ctx);
    host_stop(ctx);
    ctx = opened(&options, 2, image); /* commits again */
    expect_names("part", "part-0-0");
    write_text(ctx, "y");
    checkpoint(ctx, 2);
    expect_names("part", "part-0-0 part-0-1");
    expect_file("out/part-0-1", "y\n");
    host_stop(ctx);
}

Test(file_sink, a_part_that_its_reader_took_away_does_not_hinder_a_repeated_commit)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    write_text(ctx, "x");
    checkpoint(ctx, 1);
    host_stop(ctx);
    cr_assert_eq(unlink(test_path("out/part-0-0")), 0);
    ctx = opened(&options, 2, image);
    write_text(ctx, "y");
    checkpoint(ctx, 2);
    expect_names("part", "part-0-1");
    host_stop(ctx);
}

Test(file_sink, what_a_failed_checkpoint_prepared_is_committed_with_the_next)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    write_text(ctx, "x");
    prepare(ctx, 1);
    write_text(ctx, "y");
    checkpoint(ctx, 2);
    expect_file("out/part-0-0", "x\n");
    expect_file("out/part-0-1", "y\n");
    host_stop(ctx);
}

Test(file_sink, a_restart_throws_away_what_was_written_after_the_checkpoint)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    write_text(ctx, "x");
    prepare(ctx, 1);
    cr_assert_eq(host_persist(ctx, image), 0);
    struct host_image *complete = malloc(sizeof(*complete));
    *complete = *image;
    write_text(ctx, "lost");
    prepare(ctx, 2);
    write_text(ctx, "lost too");
    host_stop(ctx);
    ctx = opened(&options, 2, complete);
    expect_names("part", "part-0-0");
    expect_names(".part", "");
    write_text(ctx, "y");
    checkpoint(ctx, 2);
    expect_file("out/part-0-0", "x\n");
    expect_file("out/part-0-1", "y\n");
    host_stop(ctx);
    free(complete);
}

/* Restored lazily: abort() comes before the commit, and so do the first writes and the next checkpoint. */
Test(file_sink, a_restart_keeps_what_is_committed_only_later)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    write_text(ctx, "x");
    prepare(ctx, 1);
    cr_assert_eq(host_persist(ctx, image), 0);
    struct host_image *restored = malloc(sizeof(*restored));
    *restored = *image;
    write_text(ctx, "lost");
    host_stop(ctx);
    ctx = host_new_sink(&weir_file_sink, &options);
    ctx->generation = 2;
    ctx->commits_late = true;
    cr_assert_eq(host_start(ctx, restored), WEIR_OK, "%s", ctx->error.text);
    expect_names("part", "");
    expect_names(".part", ".part-0-0.g1");
    write_text(ctx, "y");
    prepare(ctx, 2);
    cr_assert_eq(host_persist(ctx, image), 0);
    cr_assert_eq(host_commit(ctx, restored), WEIR_OK, "%s", ctx->error.text);
    expect_names("part", "part-0-0");
    cr_assert_eq(host_commit(ctx, image), WEIR_OK, "%s", ctx->error.text);
    expect_file("out/part-0-0", "x\n");
    expect_file("out/part-0-1", "y\n");
    expect_names(".part", "");
    host_stop(ctx);
    free(restored);
}

Test(file_sink, abort_touches_nothing_but_its_own_staged_files)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    static const char *const own[] = {"out/.part-0-3.g1", "out/.part-0-77.g12", "out/.part-0-4.g1.failed"};
    static const char *const foreign[] = {"out/.part-1-3.g1",     "out/.part-01-3.g1", "out/.part-0-3",
                                          "out/.part-0-3.g1.txt", "out/.part-0-x.g1",  "out/.part-0-3.h1",
                                          "out/.part-10-3.g1",    "out/other",         "out/..part-0-3.g1",
                                          "out/part-0-0.g1",      "out/.part-0--3.g1"};
    for (unsigned i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        test_write_text(test_path(own[i]), "x");
    for (unsigned i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
        test_write_text(test_path(foreign[i]), "x");
    cr_assert_eq(weir_file_sink.abort(ctx, 0), WEIR_OK);
    for (unsigned i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        cr_assert_neq(access(test_path(own[i]), F_OK), 0, "%s", own[i]);
    for (unsigned i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
        cr_assert_eq(access(test_path(foreign[i]), F_OK), 0, "%s", foreign[i]);
    host_stop(ctx);
}

Test(file_sink, a_staged_file_of_a_dead_process_is_never_appended_to)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    test_write_text(test_path("out/.part-0-0.g1"), "of a dead process");
    cr_assert_eq(link(test_path("out/.part-0-0.g1"), test_path("out/kept")), 0);
    write_text(ctx, "x");
    checkpoint(ctx, 1);
    expect_file("out/part-0-0", "x\n");
    expect_file("out/kept", "of a dead process");
    host_stop(ctx);
}

Test(file_sink, a_child_finds_what_its_task_committed_meanwhile)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    write_text(ctx, "x");
    prepare(ctx, 1);
    struct host_image *first = malloc(sizeof(*first));
    *first = *image;
    write_text(ctx, "y");
    prepare(ctx, 2); /* names part 0 as well */
    cr_assert_eq(host_commit(ctx, first), WEIR_OK);
    cr_assert_eq(host_persist(ctx, image), 0);
    commit(ctx);
    expect_names("part", "part-0-0 part-0-1");
    host_stop(ctx);
    free(first);
}

/* ------------------------------------------------------------------------------------------------- refusals ------ */

Test(file_sink, a_staged_file_that_is_gone_fails_the_checkpoint)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    write_text(ctx, "x");
    prepare(ctx, 1);
    unlink(test_path("out/.part-0-0.g1"));
    cr_assert_eq(host_persist(ctx, image), -WEIR_ENOENT);
    host_stop(ctx);
}

Test(file_sink, a_part_whose_sync_failed_once_is_never_synced_again)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    write_text(ctx, "x");
    prepare(ctx, 1);
    rename(test_path("out/.part-0-0.g1"), test_path("out/.part-0-0.g1.failed"));
    cr_assert_eq(host_persist(ctx, image), -WEIR_EIO);
    host_stop(ctx);
}

Test(file_sink, a_foreign_file_in_the_way_is_never_replaced)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    write_text(ctx, "x");
    prepare(ctx, 1);
    test_write_text(test_path("out/part-0-0"), "foreign");
    cr_assert_eq(host_commit(ctx, image), WEIR_EEXIST);
    cr_assert(strstr(ctx->error.text, "part-0-0") != NULL, "%s", ctx->error.text);
    expect_file("out/part-0-0", "foreign");
    unlink(test_path("out/part-0-0"));
    commit(ctx);
    expect_file("out/part-0-0", "x\n");
    host_stop(ctx);
}

Test(file_sink, a_kill_between_link_and_unlink_is_mended)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    write_text(ctx, "x");
    prepare(ctx, 1);
    cr_assert_eq(link(test_path("out/.part-0-0.g1"), test_path("out/part-0-0")), 0);
    commit(ctx);
    expect_names("part", "part-0-0");
    expect_names(".part", "");
    host_stop(ctx);
}

Test(file_sink, a_fresh_job_refuses_a_directory_with_finished_parts)
{
    const struct weir_file_sink_options options = text_options();
    mkdir(test_path("out"), 0755);
    test_write_text(test_path("out/part-5-0.txt"), "x");
    expect_refused(&options, 1, NULL, "part-5-0.txt");
    unlink(test_path("out/part-5-0.txt"));
    test_write_text(test_path("out/part-list"), "not of this form");
    host_stop(opened(&options, 1, NULL));
}

Test(file_sink, a_part_newer_than_the_restored_checkpoint_is_refused)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    write_text(ctx, "x");
    checkpoint(ctx, 1);
    struct host_image *older = malloc(sizeof(*older));
    *older = *image;
    write_text(ctx, "y");
    checkpoint(ctx, 2);
    host_stop(ctx);
    expect_refused(&options, 2, older, "part-0-1");
    unlink(test_path("out/part-0-1"));
    host_stop(opened(&options, 3, older));
    free(older);
}

Test(file_sink, two_operators_cannot_share_a_directory)
{
    const struct weir_file_sink_options options = text_options();
    host_stop(opened(&options, 1, NULL));
    struct weir_ctx *ctx = host_new_sink(&weir_file_sink, &options);
    ctx->operator_name = "other";
    cr_assert_eq(host_start(ctx, NULL), WEIR_EEXIST);
    cr_assert(strstr(ctx->error.text, "operator op") != NULL, "%s", ctx->error.text);
    host_stop(ctx);
    ctx = host_new_sink(&weir_file_sink, &options);
    ctx->subtask_index = 1;
    ctx->subtask_count = 2;
    cr_assert_eq(host_start(ctx, NULL), WEIR_OK, "subtasks of one operator can");
    host_stop(ctx);
}

Test(file_sink, a_damaged_or_foreign_committable_is_refused)
{
    const struct weir_file_sink_options options = text_options();
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    write_text(ctx, "x");
    prepare(ctx, 1);
    image->committable_bytes--;
    cr_assert_eq(host_commit(ctx, image), WEIR_ECORRUPT);
    image->committable_bytes++;
    image->committable[0] ^= 1;
    cr_assert_eq(host_commit(ctx, image), WEIR_ECORRUPT);
    image->committable[0] ^= 1;
    image->committable[4] ^= 1;
    cr_assert_eq(host_commit(ctx, image), WEIR_EMISMATCH);
    host_stop(ctx);
}

Test(file_sink, wrong_options_are_refused)
{
    struct weir_file_sink_options options = {.directory = ""};
    expect_refused(&options, 1, NULL, "directory");
    options = text_options();
    options.suffix = "/../../x";
    expect_refused(&options, 1, NULL, "suffix");
    options = text_options();
    options.format = (enum weir_output_format)9;
    expect_refused(&options, 1, NULL, "format");
    options = text_options();
    test_write_text(test_path("file"), "x");
    options.directory = test_path("file/out");
    expect_refused(&options, 1, NULL, "file/out");
    options.directory = test_path("file");
    expect_refused(&options, 1, NULL, "Not a directory");
}

Test(file_sink, a_directory_and_its_parents_are_made)
{
    struct weir_file_sink_options options = text_options();
    options.directory = test_path("a//b/c/");
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    write_text(ctx, "x");
    checkpoint(ctx, 1);
    expect_file("a/b/c/part-0-0", "x\n");
    host_stop(ctx);
}

Test(file_sink, a_full_disk_fails_with_file_and_offset_and_shows_no_part_of_the_epoch)
{
    const char *path = test_path("small");
    mkdir(path, 0755);
    if (mount("tmpfs", path, "tmpfs", 0, "size=1m") != 0)
        cr_skip_test("no tmpfs can be mounted here: %s", strerror(errno));
    const struct weir_file_sink_options options = {.directory = path, .format = WEIR_RAW};
    struct weir_ctx *ctx = opened(&options, 1, NULL);
    char *block = calloc(1, 100000);
    int result = WEIR_OK;
    for (unsigned i = 0; i < 30 && result == WEIR_OK; i++)
        result = host_write(ctx, block, 100000);
    cr_expect_eq(result, WEIR_ENOSPC);
    cr_expect(strstr(ctx->error.text, ".part-0-0.g1 at offset") != NULL && strstr(ctx->error.text, "No space") != NULL,
              "%s", ctx->error.text);
    char *names = test_names(path, "part");
    cr_expect_str_eq(names, "");
    free(names);
    host_stop(ctx);
    /* The next start frees the space and goes on. */
    ctx = opened(&options, 2, NULL);
    cr_expect_eq(host_write(ctx, block, 100000), WEIR_OK);
    checkpoint(ctx, 1);
    host_stop(ctx);
    free(block);
    umount(path);
}
