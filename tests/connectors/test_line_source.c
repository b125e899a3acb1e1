#include "connector_ctx.h"
#include "test_files.h"

#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* The source's own fdatasync(): some calls fail as on a bad disk, and a file whose sync failed must not be synced again. */
#define FAILED_MAX 256
static struct {
    unsigned failures; /* of the next calls */
    unsigned percent;  /* of all calls, at random */
    uint64_t seed;
    unsigned failed;
    int files[FAILED_MAX]; /* those whose sync failed, kept open so that no other gets their number */
    unsigned again;        /* calls for such a file */
} disk;

static bool has_failed(const struct stat *file)
{
    struct stat st;
    bool found = false;
    for (unsigned i = 0; i < disk.failed; i++)
        found = found || (fstat(disk.files[i], &st) == 0 && st.st_dev == file->st_dev && st.st_ino == file->st_ino);
    return found;
}

int fdatasync(int fd)
{
    struct stat file;
    cr_assert_eq(fstat(fd, &file), 0);
    disk.again += has_failed(&file);
    if (disk.failures == 0 && (disk.percent == 0 || test_random(&disk.seed) % 100 >= disk.percent))
        return (int)syscall(SYS_fdatasync, fd);
    disk.failures -= disk.failures > 0;
    cr_assert_lt(disk.failed, FAILED_MAX);
    disk.files[disk.failed++] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    errno = EIO;
    return -1;
}

static void repair_disk(void)
{
    for (unsigned i = 0; i < disk.failed; i++)
        close(disk.files[i]);
    memset(&disk, 0, sizeof(disk));
}

static struct host_image *image;
static int input_end; /* the writing end of standard input */

static void set_up(void)
{
    test_directory_make();
    image = calloc(1, sizeof(*image));
    input_end = -1;
}

static void tear_down(void)
{
    free(image);
    repair_disk();
    test_directory_remove();
}

TestSuite(line_source, .init = set_up, .fini = tear_down, .timeout = 240);

static void pipe_to_stdin(void)
{
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    cr_assert_eq(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    close(ends[0]);
    input_end = ends[1];
}

static void send_text(int fd, const char *text) { cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text)); }

static void expect_joined(const struct weir_ctx *ctx, const char *expected)
{
    char *text = calloc(1, ctx->output_bytes + ctx->record_count + 1);
    size_t at = 0;
    for (size_t i = 0; i < ctx->record_count; i++) {
        struct weir_bytes r = host_record(ctx, i);
        memcpy(text + at, r.data, r.size_bytes);
        at += r.size_bytes;
        text[at++] = '|';
    }
    cr_assert_str_eq(text, expected);
    free(text);
}

static struct weir_ctx *new_host(const struct weir_line_source_options *options)
{
    struct weir_ctx *ctx = host_new_source(&weir_line_source, options);
    strcpy(ctx->job_directory, test_path("job"));
    return ctx;
}

static struct weir_ctx *opened(const struct weir_line_source_options *options, const struct host_image *from)
{
    struct weir_ctx *ctx = new_host(options);
    int result = host_start(ctx, from);
    cr_assert_eq(result, WEIR_OK, "%s", ctx->error.text);
    return ctx;
}

static void expect_refused(const struct weir_line_source_options *options, const struct host_image *from,
                           const char *words)
{
    struct weir_ctx *ctx = new_host(options);
    cr_assert_lt(host_start(ctx, from), 0);
    cr_assert(strstr(ctx->error.text, words) != NULL, "'%s' is not in: %s", words, ctx->error.text);
    host_stop(ctx);
}

static const struct weir_line_source_options plain = {.address = "-"};
static const struct weir_line_source_options journaled = {.address = "-", .journal = true};

/* ------------------------------------------------------------------------------------------------- inputs -------- */

Test(line_source, lines_of_a_pipe_arrive_and_its_end_ends_the_source)
{
    pipe_to_stdin();
    struct weir_ctx *ctx = opened(&plain, NULL);
    cr_assert_eq(ctx->log_count, 1, "it says that lines in flight can be lost");
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    cr_assert_eq(ctx->wait_fd, STDIN_FILENO);
    send_text(input_end, "one\ntwo\r\nthr");
    cr_assert_eq(host_drain(ctx, 1), WEIR_IDLE);
    expect_joined(ctx, "one|two|");
    send_text(input_end, "ee\n\nlast");
    close(input_end);
    cr_assert_eq(host_drain(ctx, 2), WEIR_END);
    expect_joined(ctx, "one|two|three||last|");
    cr_assert_eq(host_drain(ctx, 2), WEIR_END);
    host_stop(ctx);
}

/* In the test's directory, which becomes the current one: the path of a socket has room for 107 bytes only. */
static int listen_unix(const char *path)
{
    cr_assert_eq(chdir(test_path("")), 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(address.sun_path, path);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(listen(fd, 5), 0);
    return fd;
}

Test(line_source, lines_of_a_unix_connection_arrive)
{
    int server = listen_unix("s");
    const char *address = "unix:s";
    const struct weir_line_source_options options = {.address = address};
    struct weir_ctx *ctx = opened(&options, NULL);
    int peer = accept(server, NULL, NULL);
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    send_text(peer, "a\nb");
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    close(peer);
    cr_assert_eq(host_drain(ctx, 10), WEIR_END);
    expect_joined(ctx, "a|b|");
    cr_assert_eq(host_cut(ctx, 1, image), WEIR_OK);
    host_stop(ctx);
    ctx = opened(&options, image);
    cr_assert_eq(host_drain(ctx, 10), WEIR_END, "an input that has ended is not connected to again");
    host_stop(ctx);
    close(server);
}

Test(line_source, lines_of_a_tcp_connection_arrive)
{
    struct sockaddr_in bound = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(bound);
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(server, (struct sockaddr *)&bound, sizeof(bound)), 0);
    cr_assert_eq(listen(server, 5), 0);
    cr_assert_eq(getsockname(server, (struct sockaddr *)&bound, &length), 0);
    char address[64];
    snprintf(address, sizeof(address), "tcp:127.0.0.1:%u", ntohs(bound.sin_port));
    const struct weir_line_source_options options = {.address = address};
    struct weir_ctx *ctx = opened(&options, NULL);
    int peer = accept(server, NULL, NULL);
    send_text(peer, "a\n");
    close(peer);
    int result;
    while ((result = host_drain(ctx, 10)) == WEIR_IDLE)
        continue; /* on its way; bounded by the test's time */
    cr_assert_eq(result, WEIR_END);
    expect_joined(ctx, "a|");
    host_stop(ctx);
    close(server);
    expect_refused(&options, NULL, "cannot connect");
}

Test(line_source, wrong_options_are_refused)
{
    static const char *const bad[] = {
        "", "file:x", "unix:", "tcp:", "tcp:host", "tcp::80", "tcp:host:", "unix:/nowhere/at/all"};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const struct weir_line_source_options options = {.address = bad[i]};
        expect_refused(&options, NULL, bad[i]);
    }
    struct weir_ctx *ctx = new_host(&plain);
    ctx->subtask_count = 2;
    cr_assert_eq(host_start(ctx, NULL), WEIR_EINVAL);
    cr_assert(strstr(ctx->error.text, "parallelism") != NULL, "%s", ctx->error.text);
    host_stop(ctx);
    const struct weir_line_source_options small = {.address = "-", .journal = true, .journal_bytes_max = 1000};
    expect_refused(&small, NULL, "journal_bytes_max");
}

Test(line_source, a_line_that_is_too_long_fails_with_its_number)
{
    for (unsigned journal = 0; journal < 2; journal++) {
        pipe_to_stdin();
        const struct weir_line_source_options options = {.address = "-", .line_bytes_max = 8, .journal = journal == 1};
        struct weir_ctx *ctx = opened(&options, NULL);
        send_text(input_end, "12345678\r\n123456789\n");
        cr_assert_eq(host_drain(ctx, 10), WEIR_ELIMIT);
        expect_joined(ctx, "12345678|");
        cr_assert(strstr(ctx->error.text, "line 2 ") != NULL, "%s", ctx->error.text);
        host_stop(ctx);
        close(input_end);
    }
}

/* ------------------------------------------------------------------------------------------------- journal ------- */

Test(line_source, a_restart_goes_on_from_the_journal_and_then_live)
{
    pipe_to_stdin();
    struct weir_ctx *ctx = opened(&journaled, NULL);
    send_text(input_end, "1\n2\n3\nfo");
    cr_assert_eq(weir_line_source.poll(ctx, 1), WEIR_OK);
    cr_assert_eq(host_cut(ctx, 1, image), WEIR_OK);
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    expect_joined(ctx, "1|2|3|");
    host_stop(ctx);
    ctx = opened(&journaled, image);
    send_text(input_end, "ur\n5\n");
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    expect_joined(ctx, "2|3|four|5|");
    host_stop(ctx);
    /* Without a checkpoint all of it comes again. */
    ctx = opened(&journaled, NULL);
    close(input_end);
    cr_assert_eq(host_drain(ctx, 10), WEIR_END);
    expect_joined(ctx, "1|2|3|four|5|");
    host_stop(ctx);
}

Test(line_source, the_end_of_the_input_is_durable)
{
    pipe_to_stdin();
    struct weir_ctx *ctx = opened(&journaled, NULL);
    send_text(input_end, "1\nlast");
    close(input_end);
    cr_assert_eq(host_drain(ctx, 10), WEIR_END);
    expect_joined(ctx, "1|last|");
    cr_assert_eq(host_cut(ctx, 1, image), WEIR_OK);
    cr_assert_eq(host_commit(ctx, image), WEIR_OK);
    host_stop(ctx);
    pipe_to_stdin(); /* another one, that stays open */
    ctx = opened(&journaled, image);
    cr_assert_eq(host_drain(ctx, 10), WEIR_END);
    expect_joined(ctx, "");
    host_stop(ctx);
    ctx = opened(&journaled, NULL);
    cr_assert_eq(host_drain(ctx, 10), WEIR_END);
    expect_joined(ctx, "1|last|");
    host_stop(ctx);
    close(input_end);
}

Test(line_source, standard_input_can_be_a_regular_file)
{
    test_write_text(test_path("in"), "1\n2\n3");
    int fd = open(test_path("in"), O_RDONLY | O_CLOEXEC);
    dup2(fd, STDIN_FILENO);
    for (unsigned journal = 0; journal < 2; journal++) {
        lseek(STDIN_FILENO, 0, SEEK_SET);
        struct weir_ctx *ctx = opened(journal ? &journaled : &plain, NULL);
        cr_assert_eq(host_drain(ctx, 2), WEIR_END);
        expect_joined(ctx, "1|2|3|");
        host_stop(ctx);
    }
    close(fd);
}

Test(line_source, a_new_connection_does_not_go_on_with_an_unfinished_line)
{
    int server = listen_unix("s");
    const char *address = "unix:s";
    const struct weir_line_source_options options = {.address = address, .journal = true};
    struct weir_ctx *ctx = opened(&options, NULL);
    int peer = accept(server, NULL, NULL);
    send_text(peer, "1\nunfini");
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    cr_assert_eq(host_cut(ctx, 1, image), WEIR_OK);
    host_stop(ctx);
    for (unsigned round = 0; round < 2; round++) { /* the same again from the journal */
        ctx = opened(&options, image);
        int next = accept(server, NULL, NULL);
        if (round == 0)
            send_text(next, "2\n");
        cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
        expect_joined(ctx, "2|");
        host_stop(ctx);
        close(next);
    }
    close(peer);
    close(server);
}

static char *only_segment(void)
{
    static char path[8192];
    char *names = test_names(test_path("job/connectors/op"), "journal-");
    cr_assert(names[0] != '\0' && strchr(names, ' ') == NULL, "segments: %s", names);
    snprintf(path, sizeof(path), "%s/%s", test_path("job/connectors/op"), names);
    free(names);
    return path;
}

/* "1\n2\n" in one entry and "3\n4\n" in a second one, and the image of a checkpoint behind line 1. */
static void make_journal(void)
{
    pipe_to_stdin();
    struct weir_ctx *ctx = opened(&journaled, NULL);
    send_text(input_end, "1\n2\n");
    cr_assert_eq(weir_line_source.poll(ctx, 1), WEIR_OK);
    cr_assert_eq(host_cut(ctx, 1, image), WEIR_OK);
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    send_text(input_end, "3\n4\n");
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    host_stop(ctx);
}

#define ENTRY_1                                                                                                      \
    64u /* by the format: the segment's header, then 32 bytes of header and 4 of payload, to the next multiple of 32 \
         */
#define ENTRY_2 128u

static void patch(const char *path, size_t offset, const void *data, size_t size_bytes)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    cr_assert_eq(pwrite(fd, data, size_bytes, (off_t)offset), (ssize_t)size_bytes);
    close(fd);
}

Test(line_source, an_entry_without_its_header_is_kept_on_the_same_boot)
{
    make_journal();
    const char zero[32] = {0};
    patch(only_segment(), ENTRY_2, zero, sizeof(zero));
    struct weir_ctx *ctx = opened(&journaled, image);
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    expect_joined(ctx, "2|3|4|");
    host_stop(ctx);
    ctx = opened(&journaled, image);
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    expect_joined(ctx, "2|3|4|");
    host_stop(ctx);
}

/* The segment's header as another boot would have written it: its checksum is that of the format, found by trying it
 * out on the header that is there. */
#define XXH_INLINE_ALL
#include <xxhash.h>
static void pretend_reboot(const char *path)
{
    size_t size;
    char *data = test_read(path, &size);
    uint64_t sum;
    memcpy(&sum, data + 56, 8);
    cr_assert_eq(sum, XXH3_64bits(data, 56));
    memset(data + 24, 'b', 8);
    sum = XXH3_64bits(data, 56);
    memcpy(data + 56, &sum, 8);
    patch(path, 0, data, 64);
    free(data);
}

Test(line_source, a_torn_tail_does_not_count_after_a_power_cut)
{
    for (unsigned i = 0; i < 4; i++) {
        tear_down();
        set_up();
        make_journal();
        char *path = only_segment();
        pretend_reboot(path);
        const char zero[32] = {0};
        if (i == 0)
            patch(path, ENTRY_2, zero, 32); /* no header */
        else if (i == 1)
            patch(path, ENTRY_2 + 32, "x", 1); /* another payload */
        else
            cr_assert_eq(truncate(path, i == 2 ? ENTRY_2 + 34 : ENTRY_2 + 5), 0);
        struct weir_ctx *ctx = opened(&journaled, image);
        send_text(input_end, "5\n");
        cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
        expect_joined(ctx, "2|5|");
        host_stop(ctx);
        close(input_end);
    }
}

Test(line_source, damage_that_is_no_torn_tail_is_refused_with_file_and_offset)
{
    for (unsigned i = 0; i < 3; i++) {
        tear_down();
        set_up();
        make_journal();
        char *path = only_segment();
        if (i == 0)
            patch(path, 3, "?", 1); /* the segment's header */
        else
            patch(path, i == 1 ? ENTRY_1 + 8 : ENTRY_1 + 33, "?", 1); /* the length; the payload */
        struct weir_ctx *ctx = new_host(&journaled);
        int result = host_start(ctx, image);
        if (result == WEIR_OK)
            result = host_drain(ctx, 10);
        cr_assert_eq(result, WEIR_ECORRUPT, "%u", i);
        cr_assert(strstr(ctx->error.text, "journal-000000000001") != NULL, "%s", ctx->error.text);
        /* a wrong length is noticed where the next entry should be */
        static const char *const offsets[] = {"offset 0:", "offset 160:", "offset 64:"};
        cr_assert(strstr(ctx->error.text, offsets[i]) != NULL, "%s", ctx->error.text);
        host_stop(ctx);
        close(input_end);
    }
}

/* Only the last entry can be torn or unfinished: one with a whole entry behind it was synced, so this is damage. */
Test(line_source, a_damaged_entry_with_a_whole_one_behind_it_is_refused)
{
    for (unsigned rebooted = 0; rebooted < 2; rebooted++) {
        tear_down();
        set_up();
        make_journal();
        char *path = only_segment();
        const char zero[32] = {0};
        if (rebooted)
            pretend_reboot(path);
        patch(path, ENTRY_1, zero, sizeof(zero));
        expect_refused(&journaled, NULL, "journal-000000000001 is damaged at offset 64");
        close(input_end);
    }
}

Test(line_source, a_segment_of_another_version_is_refused)
{
    make_journal();
    patch(only_segment(), 7, "1", 1);
    expect_refused(&journaled, image, "WEIRJNL1");
}

Test(line_source, a_journal_that_does_not_reach_the_position_is_refused)
{
    make_journal();
    unlink(only_segment());
    expect_refused(&journaled, image, "a part of it was lost");
}

Test(line_source, a_checkpoint_with_a_journal_is_refused_without_one)
{
    make_journal();
    expect_refused(&plain, image, "journal");
}

Test(line_source, a_segment_that_was_never_begun_is_removed)
{
    make_journal();
    test_write_text(test_path("job/connectors/op/journal-000000000002"), "WEIR");
    struct weir_ctx *ctx = opened(&journaled, image);
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    expect_joined(ctx, "2|3|4|");
    host_stop(ctx);
}

/* Killed behind the first write to a new segment, with all before it freed. */
Test(line_source, an_empty_segment_remembers_how_far_the_input_had_come)
{
    make_journal();
    struct weir_ctx *ctx = opened(&journaled, image);
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    send_text(input_end, "5\n");
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    cr_assert_eq(host_cut(ctx, 2, image), WEIR_OK);
    cr_assert_eq(host_commit(ctx, image), WEIR_OK);
    host_stop(ctx);
    cr_assert_eq(truncate(only_segment(), 64), 0); /* behind it there is what was committed: 10 bytes */
    uint64_t start = 10;
    patch(only_segment(), 8, &start, 8);
    char *header = test_read(only_segment(), NULL);
    uint64_t sum = XXH3_64bits(header, 56);
    patch(only_segment(), 56, &sum, 8);
    free(header);
    for (unsigned round = 0; round < 2; round++) {
        ctx = opened(&journaled, image);
        cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
        expect_joined(ctx, "");
        host_stop(ctx);
    }
    ctx = opened(&journaled, image);
    send_text(input_end, "6\n");
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    expect_joined(ctx, "6|");
    host_stop(ctx);
}

/* ------------------------------------------------------------------------------------------------- a bad disk ---- */

/* The journal's files, as a power cut would leave them: of those whose sync failed only what had been durable before.
 * `durable_bytes`: of the first one. */
static void cut_power(size_t durable_bytes)
{
    char *names = test_names(test_path("job/connectors/op"), "journal-");
    char *save = NULL;
    for (char *name = strtok_r(names, " ", &save); name != NULL; name = strtok_r(NULL, " ", &save)) {
        char path[8192];
        struct stat file;
        snprintf(path, sizeof(path), "%s/%s", test_path("job/connectors/op"), name);
        cr_assert_eq(stat(path, &file), 0);
        if (has_failed(&file))
            cr_assert_eq(truncate(path, (off_t)durable_bytes), 0);
        pretend_reboot(path);
    }
    free(names);
}

static void expect_all_again(const char *expected)
{
    struct weir_ctx *ctx = opened(&journaled, NULL);
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE, "%s", ctx->error.text);
    expect_joined(ctx, expected);
    host_stop(ctx);
}

Test(line_source, a_segment_whose_sync_failed_is_given_up_and_the_entry_goes_to_a_new_one)
{
    for (unsigned failures = 1; failures < 3; failures++) {
        tear_down();
        set_up();
        pipe_to_stdin();
        struct weir_ctx *ctx = opened(&journaled, NULL);
        send_text(input_end, "1\n");
        cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
        disk.failures = failures;
        send_text(input_end, "2\n");
        cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE, "%s", ctx->error.text);
        send_text(input_end, "3\n");
        cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE, "%s", ctx->error.text);
        expect_joined(ctx, "1|2|3|");
        cr_assert_eq(disk.failed, failures);
        cr_assert_eq(disk.again, 0, "a file was synced again after its sync had failed");
        cr_assert(strstr(ctx->log_text, "given up") != NULL, "%s", ctx->log_text);
        host_stop(ctx);
        cut_power(ENTRY_2); /* the first entry is durable */
        expect_all_again("1|2|3|");
        expect_all_again("1|2|3|");
        close(input_end);
    }
}

Test(line_source, three_failed_syncs_in_a_row_stop_the_source_and_lose_nothing)
{
    for (unsigned entries = 0; entries < 2; entries++) {
        tear_down();
        set_up();
        pipe_to_stdin();
        struct weir_ctx *ctx = opened(&journaled, NULL);
        if (entries > 0) {
            send_text(input_end, "1\n");
            cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
        }
        cr_assert_eq(host_cut(ctx, 1, image), WEIR_OK);
        cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE); /* begins a segment where there is none */
        disk.failures = 3;
        send_text(input_end, "2\n");
        cr_assert_eq(host_drain(ctx, 10), WEIR_EIO);
        cr_assert(strstr(ctx->error.text, "3 files in a row") != NULL, "%s", ctx->error.text);
        expect_joined(ctx, entries > 0 ? "1|" : "");
        host_stop(ctx);
        /* The disk is still bad at the next start, good at the one after. */
        disk.failures = 3;
        expect_refused(&journaled, image, "3 files in a row");
        ctx = opened(&journaled, image);
        send_text(input_end, "3\n");
        cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
        expect_joined(ctx, "2|3|");
        cr_assert_eq(disk.again, 0, "a file was synced again after its sync had failed");
        host_stop(ctx);
        cut_power(entries > 0 ? ENTRY_2 : ENTRY_1);
        expect_all_again(entries > 0 ? "1|2|3|" : "2|3|");
        close(input_end);
    }
}

Test(line_source, an_entry_of_which_a_dead_process_may_have_missed_the_failed_sync_is_written_anew)
{
    make_journal();
    disk.files[disk.failed++] = open(only_segment(), O_RDONLY | O_CLOEXEC);
    struct weir_ctx *ctx = opened(&journaled, image);
    cr_assert_eq(host_drain(ctx, 10), WEIR_IDLE);
    expect_joined(ctx, "2|3|4|");
    cr_assert_eq(disk.again, 0);
    host_stop(ctx);
    cut_power(ENTRY_2);
    expect_all_again("1|2|3|4|");
}

Test(line_source, restarts_do_not_pile_up_segments)
{
    make_journal();
    for (unsigned i = 0; i < 10; i++)
        expect_all_again("1|2|3|4|");
    char *names = test_names(test_path("job/connectors/op"), "");
    cr_assert_leq(strlen(names), 3 * strlen("journal-000000000001 "), "%s", names);
    free(names);
}

/* Lines "0\n" .. until the source stops taking them; the pipe never blocks. */
static unsigned feed(struct weir_ctx *ctx, unsigned next, unsigned count)
{
    char line[200];
    for (unsigned i = 0; i < count; i++, next++) {
        snprintf(line, sizeof(line), "%0150u\n", next);
        send_text(input_end, line);
        if (i % 100 == 99)
            host_drain(ctx, 1000);
    }
    return next;
}

Test(line_source, a_full_journal_waits_for_a_checkpoint_to_free_it)
{
    pipe_to_stdin();
    fcntl(input_end, F_SETPIPE_SZ, 1 << 20);
    const struct weir_line_source_options options = {
        .address = "-", .journal = true, .line_bytes_max = 200, .journal_bytes_max = 100000};
    struct weir_ctx *ctx = opened(&options, NULL);
    unsigned next = feed(ctx, 0, 1500);
    cr_assert_lt(ctx->record_count, 700, "100,000 bytes are less than 700 lines");
    cr_assert_gt(ctx->record_count, 100);
    cr_assert_eq(ctx->wait_ms, 10);
    unsigned rounds = 0;
    for (; ctx->record_count < next && rounds < 100; rounds++) {
        cr_assert_eq(host_cut(ctx, rounds + 1, image), WEIR_OK);
        cr_assert_eq(host_commit(ctx, image), WEIR_OK, "%s", ctx->error.text);
        cr_assert_eq(host_drain(ctx, 1000), WEIR_IDLE);
    }
    cr_assert_eq(ctx->record_count, next);
    for (unsigned i = 0; i < next; i++) {
        char line[200];
        snprintf(line, sizeof(line), "%0150u", i);
        cr_assert_eq(memcmp(host_record(ctx, i).data, line, 150), 0);
    }
    host_stop(ctx);
    /* What was freed cannot be read from the start any more. */
    expect_refused(&options, NULL, "freed");
    ctx = opened(&options, image);
    host_stop(ctx);
}

/* Restarts at any moment, with checkpoints that fail at times, and syncs of which `bad_percent` fail. */
static void run_restarts(uint64_t seed, unsigned rounds, unsigned bad_percent)
{
    for (unsigned round = 0; round < rounds; round++) {
        tear_down();
        set_up();
        disk.percent = bad_percent;
        disk.seed = seed;
        pipe_to_stdin();
        const struct weir_line_source_options options = {
            .address = "-", .journal = true, .line_bytes_max = 200, .journal_bytes_max = 100000};
        unsigned sent = 0, got = 0;
        bool ended = false;
        for (uint64_t checkpoint = 1; !ended; checkpoint++) {
            struct weir_ctx *ctx = new_host(&options);
            int result = host_start(ctx, image);
            cr_assert(result == WEIR_OK || (result == WEIR_EIO && bad_percent > 0), "%s", ctx->error.text);
            unsigned sure = got; /* lines before the checkpoint */
            for (unsigned steps = (unsigned)(test_random(&seed) % 8); steps > 0 && !ended && result >= 0; steps--) {
                char line[100];
                for (unsigned n = (unsigned)(test_random(&seed) % 20); n > 0 && sent < 1000; n--, sent++) {
                    snprintf(line, sizeof(line), "line %u%s\n", sent, sent % 3 == 0 ? "\r" : "");
                    send_text(input_end, line);
                }
                if (sent == 1000 && input_end >= 0) {
                    close(input_end);
                    input_end = -1;
                }
                result = weir_line_source.poll(ctx, (uint32_t)(1 + test_random(&seed) % 30));
                cr_assert(result >= 0 || (result == WEIR_EIO && bad_percent > 0), "%s", ctx->error.text);
                ended = result == WEIR_END;
                if (result < 0)
                    break;
                if (test_random(&seed) % 3 == 0 || ended) {
                    cr_assert_eq(host_cut(ctx, checkpoint, image), WEIR_OK);
                    got = sure + (unsigned)ctx->record_count;
                    if (test_random(&seed) % 2 == 0)
                        cr_assert_eq(host_commit(ctx, image), WEIR_OK);
                }
            }
            for (size_t i = 0; i < ctx->record_count; i++) {
                char line[100];
                snprintf(line, sizeof(line), "line %u", sure + (unsigned)i);
                struct weir_bytes r = host_record(ctx, i);
                cr_assert_eq(r.size_bytes, strlen(line), "round %u, line %zu", round, sure + i);
                cr_assert_eq(memcmp(r.data, line, r.size_bytes), 0, "round %u, line %zu", round, sure + i);
            }
            host_stop(ctx);
        }
        cr_assert_eq(got, 1000);
        cr_assert_eq(disk.again, 0, "a file was synced again after its sync had failed");
    }
}

Test(line_source, a_restart_at_any_moment_loses_and_doubles_nothing) { run_restarts(13, 20, 0); }

Test(line_source, restarts_on_a_bad_disk_lose_and_double_nothing) { run_restarts(14, 10, 40); }
