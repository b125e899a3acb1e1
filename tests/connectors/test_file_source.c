#include "connector_ctx.h"
#include "test_files.h"

#include <criterion/criterion.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void set_up(void) { test_directory_make(); }
static void tear_down(void) { test_directory_remove(); }

TestSuite(file_source, .init = set_up, .fini = tear_down, .timeout = 240);

/* The emitted records, each with "|" behind it. */
static char *joined(const struct weir_ctx *ctx)
{
    char *text = calloc(1, ctx->output_bytes + ctx->record_count + 1);
    size_t at = 0;
    for (size_t i = 0; i < ctx->record_count; i++) {
        struct weir_bytes r = host_record(ctx, i);
        memcpy(text + at, r.data, r.size_bytes);
        at += r.size_bytes;
        text[at++] = '|';
    }
    return text;
}

static void expect_joined(const struct weir_ctx *ctx, const char *expected)
{
    char *text = joined(ctx);
    cr_assert_str_eq(text, expected);
    free(text);
}

static struct weir_ctx *started(const struct weir_file_source_options *options)
{
    struct weir_ctx *ctx = host_new_source(&weir_file_source, options);
    int result = host_start(ctx, NULL);
    cr_assert_eq(result, WEIR_OK, "%s", ctx->error.text);
    return ctx;
}

static void expect_lines(const char *path, const char *expected)
{
    const struct weir_file_source_options options = {.path = path};
    struct weir_ctx *ctx = started(&options);
    cr_assert_eq(host_drain(ctx, 3), WEIR_END);
    expect_joined(ctx, expected);
    host_stop(ctx);
}

/* open() fails, and says every one of these words. */
static void expect_refused(const struct weir_file_source_options *options, const char *const *words)
{
    struct weir_ctx *ctx = host_new_source(&weir_file_source, options);
    cr_assert_lt(host_start(ctx, NULL), 0);
    for (; *words != NULL; words++)
        cr_assert(strstr(ctx->error.text, *words) != NULL, "'%s' is not in: %s", *words, ctx->error.text);
    host_stop(ctx);
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

Test(file_source, a_line_is_emitted_without_its_end_and_the_last_needs_none)
{
    test_write_text(test_path("a"), "one\ntwo\r\n\n\r\nthr\ree\nlast\r");
    expect_lines(test_path("a"), "one|two|||thr\ree|last\r|");
}

Test(file_source, an_empty_file_gives_no_record)
{
    test_write_text(test_path("a"), "");
    expect_lines(test_path("a"), "");
}

Test(file_source, a_directory_is_read_by_name_without_hidden_files_and_directories)
{
    test_write_text(test_path("b"), "2\n");
    test_write_text(test_path("a"), "1");
    test_write_text(test_path("c"), "");
    test_write_text(test_path("d"), "3\n");
    test_write_text(test_path(".hidden"), "no\n");
    mkdir(test_path("aa"), 0755);
    mkfifo(test_path("pipe"), 0644);
    expect_lines(test_path(""), "1|2|3|");
}

Test(file_source, a_glob_gives_its_matches_and_a_name_that_exists_is_no_glob)
{
    test_write_text(test_path("x1.log"), "1\n");
    test_write_text(test_path("x2.log"), "2\n");
    test_write_text(test_path("y.txt"), "no\n");
    expect_lines(test_path("x*.log"), "1|2|");
    test_write_text(test_path("x[12].log"), "itself\n");
    expect_lines(test_path("x[12].log"), "itself|");
}

Test(file_source, binary_records_are_emitted_whole_and_in_order)
{
    unsigned char data[7 * 1000];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)(i * 31 >> 3);
    test_write(test_path("a"), data, sizeof(data));
    const char *path = test_path("a");
    const struct weir_file_source_options options = {.path = path, .format = WEIR_BINARY, .record_bytes = 7};
    struct weir_ctx *ctx = started(&options);
    cr_assert_eq(host_drain(ctx, 64), WEIR_END);
    cr_assert_eq(ctx->record_count, 1000);
    cr_assert_eq(ctx->ends[0], 7);
    cr_assert_arr_eq(ctx->output, data, sizeof(data));
    host_stop(ctx);
}

Test(file_source, poll_emits_no_more_than_it_was_asked_for)
{
    test_write_text(test_path("a"), "1\n2\n3\n4\n5\n");
    const char *path = test_path("a");
    const struct weir_file_source_options options = {.path = path};
    struct weir_ctx *ctx = started(&options);
    cr_assert_eq(weir_file_source.poll(ctx, 2), WEIR_OK);
    expect_joined(ctx, "1|2|");
    host_stop(ctx);
}

/* ------------------------------------------------------------------------------------------------- ranges -------- */

/* Bytes of lines of random lengths, some empty, the last perhaps without its end. */
static size_t random_text(uint64_t *seed, char *text, size_t size_max)
{
    size_t size = (size_t)(test_random(seed) % (size_max + 1));
    unsigned newline_every = (unsigned)(1 + test_random(seed) % 40);
    for (size_t i = 0; i < size; i++)
        text[i] = test_random(seed) % newline_every == 0 ? '\n' : (char)('a' + test_random(seed) % 26);
    return size;
}

/* The oracle: every line with "|" behind it. */
static char *split(const char *text, size_t size)
{
    char *expected = calloc(1, size + 2);
    memcpy(expected, text, size);
    for (size_t i = 0; i < size; i++)
        expected[i] = text[i] == '\n' ? '|' : text[i];
    if (size > 0 && text[size - 1] != '\n')
        expected[size] = '|';
    return expected;
}

Test(file_source, every_line_belongs_to_exactly_one_subtask_by_its_first_byte)
{
    uint64_t seed = 11;
    const char *path = test_path("a");
    char text[600];
    for (unsigned round = 0; round < 400; round++) {
        size_t size = random_text(&seed, text, sizeof(text));
        unsigned count = (unsigned)(1 + test_random(&seed) % 9);
        test_write(path, text, size);
        char *expected = split(text, size);
        const char *rest = expected;
        const struct weir_file_source_options options = {.path = path};
        for (unsigned i = 0; i < count; i++) {
            struct weir_ctx *ctx = host_new_source(&weir_file_source, &options);
            ctx->subtask_index = i;
            ctx->subtask_count = count;
            cr_assert_eq(host_start(ctx, NULL), WEIR_OK);
            cr_assert_eq(host_drain(ctx, 5), WEIR_END);
            char *part = joined(ctx);
            /* the first byte of each line lies in [size * i / count, size * (i + 1) / count) */
            size_t begin = size / count * i + size % count * i / count;
            if (part[0] != '\0')
                cr_assert_geq((size_t)(rest - expected), begin, "round %u", round);
            cr_assert(strncmp(rest, part, strlen(part)) == 0, "round %u subtask %u of %u: %s, not %s", round, i, count,
                      part, rest);
            rest += strlen(part);
            free(part);
            host_stop(ctx);
        }
        cr_assert_str_eq(rest, "", "round %u: lines are missing", round);
        free(expected);
    }
}

Test(file_source, binary_ranges_begin_at_whole_records)
{
    const char *path = test_path("a");
    uint64_t numbers[1001];
    for (uint64_t i = 0; i < 1001; i++)
        numbers[i] = i * 3;
    test_write(path, numbers, sizeof(numbers));
    const struct weir_file_source_options options = {.path = path, .format = WEIR_BINARY, .record_bytes = 8};
    uint64_t next = 0;
    for (unsigned i = 0; i < 7; i++) {
        struct weir_ctx *ctx = host_new_source(&weir_file_source, &options);
        ctx->subtask_index = i;
        ctx->subtask_count = 7;
        cr_assert_eq(host_start(ctx, NULL), WEIR_OK);
        cr_assert_eq(host_drain(ctx, 50), WEIR_END);
        cr_assert_eq(ctx->record_count, 143);
        for (size_t r = 0; r < ctx->record_count; r++, next++)
            cr_assert_eq(memcmp(host_record(ctx, r).data, &numbers[next], 8), 0);
        host_stop(ctx);
    }
    cr_assert_eq(next, 1001);
}

Test(file_source, whole_files_are_dealt_by_turns)
{
    test_write_text(test_path("a"), "a\n");
    test_write_text(test_path("b"), "b\n");
    test_write_text(test_path("c"), "c\n");
    const struct weir_file_source_options options = {.path = test_path(""), .whole_files = true};
    static const char *const expected[] = {"a|c|", "b|"};
    for (unsigned i = 0; i < 2; i++) {
        struct weir_ctx *ctx = host_new_source(&weir_file_source, &options);
        ctx->subtask_index = i;
        ctx->subtask_count = 2;
        cr_assert_eq(host_start(ctx, NULL), WEIR_OK);
        cr_assert_eq(host_drain(ctx, 5), WEIR_END);
        expect_joined(ctx, expected[i]);
        host_stop(ctx);
    }
}

/* ------------------------------------------------------------------------------------------------- restore ------- */

Test(file_source, a_restore_at_any_position_loses_and_doubles_nothing)
{
    uint64_t seed = 12;
    struct host_image *image = calloc(1, sizeof(*image));
    for (unsigned round = 0; round < 60; round++) {
        char text[3][400];
        char *expected[3];
        char all[1300] = "";
        for (unsigned f = 0; f < 3; f++) {
            size_t size = random_text(&seed, text[f], sizeof(text[f]));
            char name[2] = {(char)('a' + f), '\0'};
            test_write(test_path(name), text[f], size);
            expected[f] = split(text[f], size);
            strcat(all, expected[f]);
            free(expected[f]);
        }
        const struct weir_file_source_options options = {.path = test_path("")};
        char got[2000] = "";
        memset(image, 0, sizeof(*image));
        int result = WEIR_OK;
        for (uint64_t checkpoint = 1; result == WEIR_OK; checkpoint++) {
            struct weir_ctx *ctx = host_new_source(&weir_file_source, &options);
            result = host_start(ctx, image);
            cr_assert_eq(result, WEIR_OK, "%s", ctx->error.text);
            for (unsigned polls = (unsigned)(test_random(&seed) % 4); polls > 0 && result == WEIR_OK; polls--)
                result = weir_file_source.poll(ctx, (uint32_t)(1 + test_random(&seed) % 6));
            cr_assert_geq(result, 0, "%s", ctx->error.text);
            cr_assert_eq(host_cut(ctx, checkpoint, image), WEIR_OK);
            char *part = joined(ctx);
            strcat(got, part);
            free(part);
            weir_file_source.poll(ctx, 2); /* not in the checkpoint: to be done again */
            host_stop(ctx);
        }
        cr_assert_str_eq(got, all, "round %u", round);
    }
    free(image);
}

Test(file_source, a_restore_reads_the_files_of_the_first_start)
{
    test_write_text(test_path("b.log"), "b1\nb2\n");
    test_write_text(test_path("c.log"), "c1\n");
    const struct weir_file_source_options options = {.path = test_path("*.log")};
    struct host_image *image = calloc(1, sizeof(*image));
    struct weir_ctx *ctx = started(&options);
    cr_assert_eq(weir_file_source.poll(ctx, 1), WEIR_OK);
    cr_assert_eq(host_cut(ctx, 1, image), WEIR_OK);
    host_stop(ctx);
    test_write_text(test_path("a.log"), "new\n");
    test_append_text(test_path("c.log"), "c2, behind the size that it had\n");
    ctx = host_new_source(&weir_file_source, &options);
    cr_assert_eq(host_start(ctx, image), WEIR_OK);
    cr_assert_eq(host_drain(ctx, 10), WEIR_END);
    expect_joined(ctx, "b2|c1|");
    host_stop(ctx);
    free(image);
}

Test(file_source, a_checkpoint_from_before_the_first_record_keeps_the_list_too)
{
    test_write_text(test_path("b.log"), "b1\n");
    const struct weir_file_source_options options = {.path = test_path("*.log")};
    struct host_image *image = calloc(1, sizeof(*image));
    struct weir_ctx *ctx = started(&options);
    cr_assert_eq(host_cut(ctx, 1, image), WEIR_OK);
    image->position_bytes = 0;
    host_stop(ctx);
    test_write_text(test_path("a.log"), "new\n");
    ctx = host_new_source(&weir_file_source, &options);
    cr_assert_eq(host_start(ctx, image), WEIR_OK);
    cr_assert_eq(host_drain(ctx, 10), WEIR_END);
    expect_joined(ctx, "b1|");
    host_stop(ctx);
    free(image);
}

Test(file_source, subtasks_that_start_at_different_moments_agree_on_the_files)
{
    test_write_text(test_path("x.log"), "x1\nx2\nx3\n");
    test_write_text(test_path("y.log"), "y1\ny2\ny3\n");
    const struct weir_file_source_options options = {.path = test_path("*.log")};
    struct weir_ctx *ctx[2];
    for (unsigned i = 0; i < 2; i++) {
        ctx[i] = host_new_source(&weir_file_source, &options);
        ctx[i]->subtask_index = i;
        ctx[i]->subtask_count = 2;
        strcpy(ctx[i]->job_directory, test_path("job"));
        cr_assert_eq(host_start(ctx[i], NULL), WEIR_OK, "%s", ctx[i]->error.text);
        test_write_text(test_path("w.log"), "half of it would be lost\n");
        test_append_text(test_path("x.log"), "and the ranges would differ\n");
    }
    host_drain(ctx[0], 10);
    host_drain(ctx[1], 10);
    cr_assert_eq(ctx[0]->record_count + ctx[1]->record_count, 6);
    char *names = test_names(test_path("job/connectors/op"), "");
    cr_assert_str_eq(names, "files-1");
    free(names);
    struct host_image *image = calloc(1, sizeof(*image));
    host_cut(ctx[0], 1, image);
    cr_assert_eq(host_commit(ctx[0], image), WEIR_OK);
    names = test_names(test_path("job/connectors/op"), "");
    cr_assert_str_eq(names, "", "the list is not needed any more");
    free(names);
    free(image);
    host_stop(ctx[0]);
    host_stop(ctx[1]);
}

/* What a subtask had removed, a power cut may bring back: nobody had synced the directory. */
Test(file_source, a_source_that_has_its_share_removes_lists_of_earlier_starts)
{
    test_write_text(test_path("x.log"), "x1\nx2\nx3\n");
    const struct weir_file_source_options options = {.path = test_path("*.log")};
    struct host_image *image = calloc(1, sizeof(*image));
    for (int start = 0; start < 2; start++) {
        struct weir_ctx *ctx = host_new_source(&weir_file_source, &options);
        ctx->subtask_count = 2;
        strcpy(ctx->job_directory, test_path("job"));
        cr_assert_eq(host_start(ctx, start > 0 ? image : NULL), WEIR_OK, "%s", ctx->error.text);
        host_drain(ctx, 10);
        cr_assert_eq(host_cut(ctx, 1, image), WEIR_OK);
        host_stop(ctx);
        char *names = test_names(test_path("job/connectors/op"), "");
        cr_assert_str_eq(names, start > 0 ? "files-1 other" : "files-1", "start %d", start);
        free(names);
        test_write_text(test_path("job/connectors/op/files-7"), "of another start");
        test_write_text(test_path("job/connectors/op/.new-files-3.1"), "half of one");
        test_write_text(test_path("job/connectors/op/other"), "no list");
    }
    free(image);
}

/* ------------------------------------------------------------------------------------------------- bad input ----- */

Test(file_source, a_missing_file_is_named)
{
    const struct weir_file_source_options options = {.path = test_path("nothing")};
    expect_refused(&options, WORDS("nothing", "No such file"));
    const struct weir_file_source_options glob = {.path = test_path("no*thing")};
    expect_refused(&glob, WORDS("no*thing", "no input file matches"));
}

Test(file_source, a_directory_without_files_is_refused)
{
    mkdir(test_path("d"), 0755);
    test_write_text(test_path("d/.hidden"), "x\n");
    const struct weir_file_source_options options = {.path = test_path("d")};
    expect_refused(&options, WORDS("/d", "no regular file"));
}

Test(file_source, what_is_not_a_regular_file_is_refused_and_never_waited_for)
{
    mkfifo(test_path("pipe"), 0644);
    const struct weir_file_source_options options = {.path = test_path("pipe")};
    expect_refused(&options, WORDS("pipe", "not a regular file"));
    const struct weir_file_source_options device = {.path = "/dev/null"};
    expect_refused(&device, WORDS("/dev/null", "not a regular file"));
}

Test(file_source, an_unreadable_file_is_named)
{
    test_write_text(test_path("a"), "x\n");
    chmod(test_path("a"), 0);
    chmod(test_path(""), 0755);
    const struct weir_file_source_options options = {.path = test_path("a")};
    uid_t before = geteuid();
    if (before == 0)
        cr_assert_eq(seteuid(65534), 0);
    expect_refused(&options, WORDS("/a", "Permission denied"));
    if (before == 0)
        cr_assert_eq(seteuid(before), 0);
}

Test(file_source, an_incomplete_binary_record_is_refused_with_its_offset)
{
    test_write_text(test_path("a"), "12345678abcdefgh123");
    const struct weir_file_source_options options = {.path = test_path("a"), .format = WEIR_BINARY, .record_bytes = 8};
    expect_refused(&options, WORDS("/a", "incomplete", "offset 16"));
}

Test(file_source, wrong_options_are_refused)
{
    const struct weir_file_source_options none = {.path = NULL};
    expect_refused(&none, WORDS("path"));
    const struct weir_file_source_options zero = {.path = "x", .format = WEIR_BINARY};
    expect_refused(&zero, WORDS("record_bytes"));
    const struct weir_file_source_options large = {.path = "x", .line_bytes_max = WEIR_RECORD_BYTES_MAX + 1};
    expect_refused(&large, WORDS("line_bytes_max"));
    const struct weir_file_source_options format = {.path = "x", .format = (enum weir_file_format)7};
    expect_refused(&format, WORDS("format"));
}

Test(file_source, a_line_of_exactly_the_limit_is_read_and_a_longer_one_fails_with_its_offset)
{
    const char *ends[] = {"\n", "\r\n", ""};
    for (unsigned i = 0; i < 3; i++) {
        char text[64];
        snprintf(text, sizeof(text), "abc\n12345678%s", ends[i]);
        test_write_text(test_path("a"), text);
        const struct weir_file_source_options options = {.path = test_path("a"), .line_bytes_max = 8};
        struct weir_ctx *ctx = started(&options);
        cr_assert_eq(host_drain(ctx, 10), WEIR_END);
        expect_joined(ctx, "abc|12345678|");
        host_stop(ctx);
        snprintf(text, sizeof(text), "abc\n123456789%s", ends[i]);
        test_write_text(test_path("a"), text);
        ctx = started(&options);
        cr_assert_eq(host_drain(ctx, 10), WEIR_EFINAL);
        expect_joined(ctx, "abc|");
        cr_assert(strstr(ctx->error.text, "offset 4") != NULL && strstr(ctx->error.text, "/a") != NULL, "%s",
                  ctx->error.text);
        host_stop(ctx);
    }
}

Test(file_source, a_line_longer_than_the_buffer_is_read_where_the_limit_allows_it)
{
    const size_t size = WEIR_RECORD_BYTES_MAX;
    char *text = malloc(2 * size + 2);
    memset(text, 'x', 2 * size + 2);
    text[size] = '\n';
    text[2 * size + 1] = '\n';
    test_write(test_path("a"), text, 2 * size + 2);
    const struct weir_file_source_options options = {.path = test_path("a"), .line_bytes_max = WEIR_RECORD_BYTES_MAX};
    struct weir_ctx *ctx = started(&options);
    cr_assert_eq(host_drain(ctx, 10), WEIR_END);
    cr_assert_eq(ctx->record_count, 2);
    cr_assert_eq(ctx->ends[0], size);
    cr_assert_eq(ctx->ends[1], 2 * size);
    host_stop(ctx);
    free(text);
}

Test(file_source, a_file_truncated_while_it_is_read_fails_with_its_name_and_offset)
{
    const size_t size = 4 << 20;
    char *data = calloc(1, size);
    for (unsigned binary = 0; binary < 2; binary++) {
        memset(data, binary ? 0 : '\n', size);
        test_write(test_path("a"), data, size);
        const struct weir_file_source_options options = {
            .path = test_path("a"), .format = binary ? WEIR_BINARY : WEIR_LINES, .record_bytes = 32};
        struct weir_ctx *ctx = started(&options);
        cr_assert_eq(weir_file_source.poll(ctx, 10), WEIR_OK);
        cr_assert_eq(truncate(test_path("a"), 1 << 20), 0);
        int result = host_drain(ctx, 100000);
        cr_assert_lt(result, 0);
        cr_assert(strstr(ctx->error.text, "/a was truncated") != NULL &&
                      strstr(ctx->error.text, "1048576 bytes where 4194304") != NULL,
                  "%s", ctx->error.text);
        host_stop(ctx);
    }
    free(data);
}

Test(file_source, a_file_truncated_to_what_is_in_the_buffer_already_fails_too)
{
    test_write_text(test_path("a"), "1\n2\n3\n");
    const struct weir_file_source_options options = {.path = test_path("a")};
    struct weir_ctx *ctx = started(&options);
    cr_assert_eq(weir_file_source.poll(ctx, 1), WEIR_OK);
    cr_assert_eq(truncate(test_path("a"), 3), 0);
    cr_assert_lt(host_drain(ctx, 10), 0);
    cr_assert(strstr(ctx->error.text, "truncated") != NULL, "%s", ctx->error.text);
    host_stop(ctx);
}

Test(file_source, a_restore_refuses_a_file_that_is_shorter_than_it_was)
{
    test_write_text(test_path("a"), "1\n2\n3\n");
    const struct weir_file_source_options options = {.path = test_path("a")};
    struct host_image *image = calloc(1, sizeof(*image));
    struct weir_ctx *ctx = started(&options);
    cr_assert_eq(weir_file_source.poll(ctx, 2), WEIR_OK);
    cr_assert_eq(host_cut(ctx, 1, image), WEIR_OK);
    host_stop(ctx);
    cr_assert_eq(truncate(test_path("a"), 5), 0);
    ctx = host_new_source(&weir_file_source, &options);
    cr_assert_lt(host_start(ctx, image), 0);
    cr_assert(strstr(ctx->error.text, "5 bytes where 6") != NULL, "%s", ctx->error.text);
    host_stop(ctx);
    free(image);
}

Test(file_source, a_damaged_position_or_list_is_refused)
{
    test_write_text(test_path("a"), "1\n2\n3\n");
    const struct weir_file_source_options options = {.path = test_path("a")};
    struct host_image *good = calloc(1, sizeof(*good)), *bad = calloc(1, sizeof(*bad));
    struct weir_ctx *ctx = started(&options);
    cr_assert_eq(host_cut(ctx, 1, good), WEIR_OK);
    host_stop(ctx);
    for (unsigned i = 0; i < 3; i++) {
        *bad = *good;
        if (i == 0)
            bad->position_bytes = 15;
        else if (i == 1)
            bad->position[0] = 2; /* index 2 of 1 */
        else
            bad->position[9] = 1; /* offset 256 of 6 */
        ctx = host_new_source(&weir_file_source, &options);
        cr_assert_lt(host_start(ctx, bad), 0, "%u", i);
        host_stop(ctx);
    }
    free(good);
    free(bad);
}

/* The second half of the file is the other subtask's: going on there would leave out what lies between. */
Test(file_source, a_position_behind_the_own_range_is_refused)
{
    test_write_text(test_path("a"), "11112222333344445555666677778888");
    const struct weir_file_source_options options = {
        .path = test_path("a"), .format = WEIR_BINARY, .record_bytes = 4};
    struct host_image *image = calloc(1, sizeof(*image));
    struct weir_ctx *ctx = host_new_source(&weir_file_source, &options);
    ctx->subtask_count = 2;
    cr_assert_eq(host_start(ctx, NULL), WEIR_OK, "%s", ctx->error.text);
    cr_assert_eq(host_cut(ctx, 1, image), WEIR_OK);
    host_stop(ctx);
    image->position[8] = 20;
    ctx = host_new_source(&weir_file_source, &options);
    ctx->subtask_count = 2;
    cr_assert_eq(host_start(ctx, image), WEIR_ECORRUPT);
    cr_assert(strstr(ctx->error.text, "offset 20") != NULL, "%s", ctx->error.text);
    host_stop(ctx);
    free(image);
}

/* ------------------------------------------------------------------------------------------------- follow -------- */

Test(file_source, following_emits_what_is_appended_once_its_line_is_whole)
{
    const char *path = test_path("a");
    test_write_text(path, "1\n2");
    const struct weir_file_source_options options = {.path = path, .follow = true};
    struct weir_ctx *ctx = started(&options);
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    cr_assert(ctx->wait_fd >= 0 || ctx->wait_ms > 0);
    expect_joined(ctx, "1|");
    test_append_text(path, "2\r\n");
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    expect_joined(ctx, "1|22|");
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    expect_joined(ctx, "1|22|");
    host_stop(ctx);
}

Test(file_source, following_several_files_survives_a_restore)
{
    test_write_text(test_path("a"), "a1\n");
    test_write_text(test_path("b"), "b1\nb2");
    const struct weir_file_source_options options = {.path = test_path(""), .follow = true};
    struct host_image *image = calloc(1, sizeof(*image));
    struct weir_ctx *ctx = started(&options);
    cr_assert_eq(host_drain(ctx, 1), WEIR_IDLE);
    expect_joined(ctx, "a1|b1|");
    cr_assert_eq(host_cut(ctx, 1, image), WEIR_OK);
    host_stop(ctx);
    test_append_text(test_path("a"), "a2\n");
    test_append_text(test_path("b"), "\n");
    ctx = host_new_source(&weir_file_source, &options);
    cr_assert_eq(host_start(ctx, image), WEIR_OK);
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    char *text = joined(ctx);
    cr_assert(strcmp(text, "a2|b2|") == 0 || strcmp(text, "b2|a2|") == 0, "%s", text);
    free(text);
    host_stop(ctx);
    free(image);
}

Test(file_source, following_fails_where_the_file_is_truncated_replaced_or_removed)
{
    static const char *const words[] = {"truncated", "replaced", "removed"};
    for (unsigned i = 0; i < 3; i++) {
        const char *path = test_path("a");
        test_write_text(path, "1\n2\n");
        const struct weir_file_source_options options = {.path = path, .follow = true};
        struct weir_ctx *ctx = started(&options);
        cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
        if (i == 0)
            test_write_text(path, "x\n");
        else if (i == 1)
            cr_assert_eq(rename(path, test_path("old")), 0);
        else
            unlink(path);
        if (i == 1)
            test_write_text(path, "another\n");
        cr_assert_lt(host_drain(ctx, 10), 0);
        cr_assert(strstr(ctx->error.text, words[i]) != NULL && strstr(ctx->error.text, "/a") != NULL, "%s",
                  ctx->error.text);
        host_stop(ctx);
    }
}
