#include "support/io_fault.h"
#include "support/snapshot_fixture.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <xxhash.h>

static char path[SCRATCH_PATH_BYTES];
static struct io_fault fault;
static struct checkpoint_dir dir;
static struct weir_error err;

static void set_up(void)
{
    scratch_make("snapshot", path);
    io_fault_init(&fault);
    dir = fixture_open(&fault.io, path);
}

static void tear_down(void)
{
    checkpoint_dir_close(&dir);
    scratch_remove(path);
}

TestSuite(snapshot_write, .init = set_up, .fini = tear_down);

#define WORDS fixture_identity(7, "words", 1)
#define NAME "snapshots/00000000000000000007-words-1-g3-a1.snap"

static int write_blocks(enum io_mode mode, uint32_t count, struct snapshot_result *ret_result)
{
    struct snapshot_identity identity = WORDS;
    return fixture_write_with(&dir, &identity, &(struct snapshot_options){.io_mode = mode}, count, 42, ret_result,
                              &err);
}

static uint64_t le(const unsigned char *bytes, unsigned size_bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size_bytes; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static uint64_t split_mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

/* Read with nothing but the numbers of docs/formats/snapshot.md. */
Test(snapshot_write, the_file_has_the_documented_bytes)
{
    struct snapshot_result result;
    cr_assert_eq(write_blocks(IO_PWRITE, 5, &result), WEIR_OK, "%s", err.text);
    size_t size_bytes;
    unsigned char *file = fixture_slurp(path, NAME, &size_bytes);
    cr_assert_eq(size_bytes, 4096 + 5 * 4096 + 4096 + 4096);
    cr_assert_eq(result.file.size_bytes, size_bytes);

    cr_expect_eq(memcmp(file, "WEIRSNAP\1\0\0\0\0\x10\0\0\0\x10\0\0\0\0\0\0", 24), 0);
    cr_expect_eq(memcmp(file + 24, "0123456789abcdef", 16), 0);
    cr_expect_eq(le(file + 40, 8), 7);
    cr_expect_eq(le(file + 48, 8), 3);
    cr_expect_eq(le(file + 56, 4), 1);
    cr_expect_eq(le(file + 60, 4), 1);
    cr_expect_str_eq((char *)file + 64, "words");
    cr_expect_eq(le(file + 4088, 8), XXH3_64bits(file, 4088));

    unsigned char bound[92] = {0};
    memcpy(bound, file + 24, 24); /* job id, checkpoint id */
    strcpy((char *)bound + 24, "words");
    bound[88] = 1;
    uint64_t binding = XXH3_64bits(bound, sizeof bound);
    const unsigned char *index = file + 6 * 4096;
    for (uint32_t i = 0; i < 5; i++) {
        unsigned char expected[4096];
        fixture_fill(expected, 4096, 3 * i, 42);
        cr_expect_eq(memcmp(file + 4096 + i * 4096, expected, 4096), 0);
        cr_expect_eq(le(index + 24 * i, 4), 3 * i);
        cr_expect_eq(le(index + 24 * i + 4, 4), 0);
        cr_expect_eq(le(index + 24 * i + 8, 8), 4096 + i * 4096);
        cr_expect_eq(le(index + 24 * i + 16, 8), XXH3_64bits(expected, 4096) ^ split_mix(binding + 3 * i));
    }
    for (size_t i = 5 * 24; i < 4096; i++)
        cr_expect_eq(index[i], 0);

    const unsigned char *footer = file + 7 * 4096;
    cr_expect_eq(memcmp(footer, "WEIRSEND\1\0\0\0\0\x10\0\0", 16), 0);
    cr_expect_eq(le(footer + 16, 8), 5);
    cr_expect_eq(le(footer + 24, 8), 5 * 4096);
    cr_expect_eq(le(footer + 32, 8), 6 * 4096);
    cr_expect_eq(le(footer + 40, 8), 5 * 24);
    cr_expect_eq(le(footer + 48, 8), XXH3_64bits(index, 4096));
    cr_expect_eq(le(footer + 56, 8), size_bytes);
    cr_expect_eq(le(footer + 64, 8), le(file + 4088, 8));
    cr_expect_eq(le(footer + 4088, 8), XXH3_64bits(footer, 4088));
    cr_expect_eq(result.file.checksum, le(footer + 4088, 8));
    free(file);
}

/* Of version 1, for good: a file of it must be readable for ever. */
Test(snapshot_write, the_bytes_of_format_version_1_do_not_change)
{
    struct snapshot_result result;
    cr_assert_eq(write_blocks(IO_PWRITE, 2, &result), WEIR_OK, "%s", err.text);
    size_t size_bytes;
    unsigned char *file = fixture_slurp(path, NAME, &size_bytes);
    cr_expect_eq(XXH3_64bits(file, size_bytes), UINT64_C(0x3e1353926e2ea7c4), "0x%016llx",
                 (unsigned long long)XXH3_64bits(file, size_bytes));
    free(file);
}

Test(snapshot_write, uring_and_pwrite_and_buffered_make_the_same_bytes)
{
    uint32_t counts[] = {0, 1, 254, 255, 256, 900};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        unsigned char *files[3];
        size_t sizes[3];
        struct snapshot_options options[] = {{.io_mode = fixture_mode(IO_URING)},
                                             {.io_mode = IO_PWRITE, .io_depth = 1},
                                             {.io_mode = IO_AUTO, .buffered = true, .io_depth = 3}};
        for (int way = 0; way < 3; way++) {
            struct snapshot_identity identity = WORDS;
            struct snapshot_result result;
            int code = fixture_write_with(&dir, &identity, &options[way], counts[i], 42, &result, &err);
            cr_assert_eq(code, WEIR_OK, "%s", err.text);
            if (way == 0)
                cr_expect_eq(result.io_used, fixture_mode(IO_URING));
            if (way == 1)
                cr_expect_eq(result.io_used, IO_PWRITE);
            files[way] = fixture_slurp(path, NAME, &sizes[way]);
            cr_assert_eq(unlinkat(dir.fd, NAME, 0), 0);
        }
        cr_assert(sizes[0] == sizes[1] && sizes[1] == sizes[2]);
        cr_expect_eq(memcmp(files[0], files[1], sizes[0]), 0);
        cr_expect_eq(memcmp(files[1], files[2], sizes[0]), 0);
        for (int way = 0; way < 3; way++)
            free(files[way]);
    }
}

Test(snapshot_write, every_block_size_round_trips)
{
    for (uint32_t block_bytes = 4096; block_bytes <= BLOCK_BYTES_MAX; block_bytes *= 4) {
        struct snapshot_identity identity = WORDS;
        struct snapshot_options options = {.block_bytes = block_bytes};
        struct snapshot_result result;
        uint32_t count = 3 * (1u << 20) / block_bytes + 1;
        cr_assert_eq(fixture_write_with(&dir, &identity, &options, count, 9, &result, &err), WEIR_OK, "%s", err.text);
        cr_expect_eq(result.file.block_count, count);
        cr_expect_eq(fixture_read_with(&dir, &result.file, &identity, IO_AUTO, 9, &err), WEIR_OK, "%s", err.text);
        unlinkat(dir.fd, NAME, 0);
    }
}

Test(snapshot_write, a_small_snapshot_makes_no_ring_and_is_one_write)
{
    struct snapshot_result result;
    io_fault_arm(&fault, 0, 0);
    fault.only = "pwrite";
    cr_assert_eq(write_blocks(IO_AUTO, 16, &result), WEIR_OK, "%s", err.text);
    cr_expect_eq(fault.calls, 1);
    cr_expect_eq(result.io_used, IO_PWRITE);
}

Test(snapshot_write, auto_falls_back_to_pwrite_where_io_uring_is_refused)
{
    struct snapshot_result result;
    fault.refuse_uring = true;
    cr_assert_eq(write_blocks(IO_AUTO, 1000, &result), WEIR_OK, "%s", err.text);
    cr_expect_eq(result.io_used, IO_PWRITE);
    struct snapshot_identity identity = WORDS;
    cr_expect_eq(fixture_read_with(&dir, &result.file, &identity, IO_AUTO, 42, &err), WEIR_OK, "%s", err.text);
}

Test(snapshot_write, uring_on_request_fails_in_words_where_it_is_refused)
{
    struct snapshot_result result;
    fault.refuse_uring = true;
    cr_expect_eq(write_blocks(IO_URING, 1000, &result), WEIR_EPERM);
    cr_expect_not_null(strstr(err.text, "--io=auto"), "%s", err.text);
    cr_expect_eq(fixture_count_files(path, "snapshots", ""), 0);
}

Test(snapshot_write, a_file_system_that_refuses_direct_writes_gets_buffered_ones)
{
    struct snapshot_result result;
    fault.refuse_direct_writes = true;
    cr_assert_eq(write_blocks(IO_PWRITE, 1000, &result), WEIR_OK, "%s", err.text);
    cr_expect_not(result.direct_used);
    struct snapshot_identity identity = WORDS;
    cr_expect_eq(fixture_read_with(&dir, &result.file, &identity, IO_AUTO, 42, &err), WEIR_OK, "%s", err.text);
}

/* Parts of 5000 bytes end off every alignment; every fifth request is interrupted as well. */
static void short_writes_round_trip(enum io_mode mode, bool buffered, int interrupt_errno)
{
    struct snapshot_identity identity = WORDS;
    struct snapshot_result result;
    struct snapshot_options options = {.io_mode = fixture_mode(mode), .buffered = buffered};
    fault.part_bytes_max = buffered ? 5000 : 8192;
    fault.interrupt_every = 5;
    fault.interrupt_errno = interrupt_errno;
    int code = fixture_write_with(&dir, &identity, &options, 700, 42, &result, &err);
    cr_assert_eq(code, WEIR_OK, "%s", err.text);
    fault.interrupt_errno = EINTR; /* pread knows no ECANCELED */
    code = fixture_read_with(&dir, &result.file, &identity, fixture_mode(mode), 42, &err);
    cr_expect_eq(code, WEIR_OK, "%s", err.text);
    fault.part_bytes_max = 0;
    fault.interrupt_every = 0;
    cr_expect_eq(fixture_read_with(&dir, &result.file, &identity, IO_PWRITE, 42, &err), WEIR_OK, "%s", err.text);
    unlinkat(dir.fd, NAME, 0);
}

Test(snapshot_write, short_and_interrupted_writes_are_continued)
{
    short_writes_round_trip(IO_PWRITE, false, EINTR);
    short_writes_round_trip(IO_PWRITE, true, EINTR);
    short_writes_round_trip(IO_URING, false, EINTR);
    short_writes_round_trip(IO_URING, true, EAGAIN);
    short_writes_round_trip(IO_URING, true, ECANCELED);
}

Test(snapshot_write, what_is_interrupted_for_ever_fails)
{
    struct snapshot_result result;
    fault.interrupt_every = 1;
    cr_expect_lt(write_blocks(IO_PWRITE, 10, &result), 0);
    cr_expect_lt(write_blocks(fixture_mode(IO_URING), 1000, &result), 0);
    cr_expect_eq(fixture_count_files(path, "snapshots", ""), 0);
}

static void every_failing_call_leaves_nothing(enum io_mode mode, uint32_t count, int errno_value)
{
    unsigned failures = 0;
    for (unsigned call = 1;; call++) {
        struct snapshot_result result;
        unsigned fds = fixture_open_fds();
        io_fault_arm(&fault, call, errno_value);
        int code = write_blocks(mode, count, &result);
        bool done = !fault.failed;
        io_fault_arm(&fault, 0, 0);
        cr_assert_eq(fixture_open_fds(), fds, "call %u leaks a descriptor", call);
        if (code == WEIR_OK) {
            struct snapshot_identity identity = WORDS;
            cr_assert_eq(fixture_read_with(&dir, &result.file, &identity, IO_PWRITE, 42, &err), WEIR_OK, "call %u: %s",
                         call, err.text);
            cr_assert_eq(unlinkat(dir.fd, NAME, 0), 0);
        } else {
            failures++;
            cr_assert_not_null(strstr(err.text, "words-1"), "call %u: the file is not named: %s", call, err.text);
            cr_assert_eq(fixture_count_files(path, "snapshots", ""), 0, "call %u leaves a file", call);
        }
        if (done)
            break;
    }
    cr_assert_gt(failures, 5);
}

Test(snapshot_write, a_failure_of_any_call_leaves_no_file_and_no_descriptor)
{
    every_failing_call_leaves_nothing(IO_PWRITE, 3, EIO);
    every_failing_call_leaves_nothing(IO_PWRITE, 600, ENOSPC);
    every_failing_call_leaves_nothing(fixture_mode(IO_URING), 600, EIO);
    every_failing_call_leaves_nothing(IO_AUTO, 600, ENOSPC);
}

Test(snapshot_write, a_failed_sync_is_never_repeated)
{
    struct snapshot_result result;
    fault.only = "fdatasync";
    io_fault_arm(&fault, 1, EIO);
    fault.syncs = 0;
    cr_expect_eq(write_blocks(IO_AUTO, 10, &result), WEIR_EIO);
    cr_expect_eq(fault.syncs, 1);
    cr_expect_eq(fixture_count_files(path, "snapshots", ""), 0);
}

Test(snapshot_write, data_is_synced_before_the_directory_and_both_are)
{
    struct snapshot_result result;
    fault.syncs = 0;
    cr_assert_eq(write_blocks(IO_AUTO, 10, &result), WEIR_OK);
    cr_expect_eq(fault.syncs, 2);
}

Test(snapshot_write, a_name_is_never_used_again)
{
    struct snapshot_result result;
    cr_assert_eq(write_blocks(IO_AUTO, 10, &result), WEIR_OK);
    cr_expect_eq(write_blocks(IO_AUTO, 10, &result), WEIR_EEXIST);
    cr_expect_eq(fixture_count_files(path, "snapshots", ""), 1, "the earlier file is not touched");
}

Test(snapshot_write, the_source_learns_what_is_gathered_after_each_buffer)
{
    struct fixture_source s = {.count = 600, .stride = 3, .block_bytes = 4096, .block = malloc(4096)};
    struct block_source source = {fixture_next, fixture_gathered, &s, 0, NULL};
    struct snapshot_identity identity = WORDS;
    struct snapshot_result result;
    cr_assert_eq(snapshot_write(&dir, &identity, &(struct snapshot_options){0}, &source, &result, &err), WEIR_OK, "%s",
                 err.text);
    cr_expect_eq(s.gathered_calls, 3); /* 255 blocks beside the header, 256, 89 */
    cr_expect_eq(s.gathered_below, 599 * 3 + 1);
    free(s.block);
}

#define LARGE_COUNT 2000u

/* `said` blocks were announced; LARGE_COUNT come. */
static int write_announced(uint64_t said, struct snapshot_result *ret_result)
{
    struct fixture_source s = {.count = LARGE_COUNT, .stride = 3, .block_bytes = 4096, .block = malloc(4096), .seed = 42};
    struct block_source source = {fixture_next, fixture_gathered, &s, said, NULL};
    struct snapshot_identity identity = WORDS;
    int code = snapshot_write(&dir, &identity, &(struct snapshot_options){0}, &source, ret_result, &err);
    free(s.block);
    return code;
}

static void reads_back(const struct snapshot_result *result)
{
    struct snapshot_identity identity = WORDS;
    struct stat info;
    cr_assert_eq(fixture_read_with(&dir, &result->file, &identity, IO_PWRITE, 42, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(fstatat(dir.fd, NAME, &info, 0), 0);
    cr_expect_eq((uint64_t)info.st_size, result->file.size_bytes);
    cr_assert_eq(unlinkat(dir.fd, NAME, 0), 0);
}

Test(snapshot_write, a_large_file_is_given_its_size_before_it_is_written)
{
    struct snapshot_result result;
    cr_assert_eq(write_announced(LARGE_COUNT, &result), WEIR_OK, "%s", err.text);
    cr_expect_eq(fault.sizes_set, 1);
    reads_back(&result);
}

Test(snapshot_write, another_number_of_blocks_than_announced_gives_the_same_file)
{
    static const uint64_t said[] = {0, 1, LARGE_COUNT / 2, LARGE_COUNT - 1, LARGE_COUNT + 1, 2 * LARGE_COUNT};
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        struct snapshot_result result;
        cr_assert_eq(write_announced(said[i], &result), WEIR_OK, "%s", err.text);
        reads_back(&result);
    }
}

Test(snapshot_write, a_file_system_that_gives_no_size_beforehand_lets_the_file_grow)
{
    struct snapshot_result result;
    fault.only = "set_size";
    io_fault_arm(&fault, 1, EOPNOTSUPP);
    cr_assert_eq(write_announced(LARGE_COUNT, &result), WEIR_OK, "%s", err.text);
    cr_expect(fault.failed);
    reads_back(&result);
}

Test(snapshot_write, a_full_disk_is_known_before_the_first_block)
{
    struct snapshot_result result;
    fault.only = "set_size";
    io_fault_arm(&fault, 1, ENOSPC);
    cr_expect_eq(write_announced(LARGE_COUNT, &result), WEIR_ENOSPC);
    cr_expect_not_null(strstr(err.text, "reserve"), "%s", err.text);
    cr_expect_eq(fixture_count_files(path, "snapshots", ""), 0);
}

Test(snapshot_write, a_failing_source_fails_the_snapshot)
{
    struct fixture_source s = {
        .count = 300, .stride = 3, .block_bytes = 4096, .block = malloc(4096), .fail_code = WEIR_ECANCELLED};
    struct block_source source = {fixture_next, NULL, &s, 0, NULL};
    struct snapshot_identity identity = WORDS;
    struct snapshot_result result;
    cr_expect_eq(snapshot_write(&dir, &identity, &(struct snapshot_options){0}, &source, &result, &err),
                 WEIR_ECANCELLED);
    cr_expect_eq(fixture_count_files(path, "snapshots", ""), 0);
    free(s.block);
}

Test(snapshot_write, ids_must_ascend)
{
    struct fixture_source s = {.count = 2, .stride = 0, .block_bytes = 4096, .block = malloc(4096)};
    struct block_source source = {fixture_next, NULL, &s, 0, NULL};
    struct snapshot_identity identity = WORDS;
    struct snapshot_result result;
    cr_expect_eq(snapshot_write(&dir, &identity, &(struct snapshot_options){0}, &source, &result, &err), WEIR_EINVAL);
    free(s.block);
}

Test(snapshot_write, wrong_options_are_refused)
{
    struct snapshot_identity identity = WORDS;
    struct snapshot_result result;
    struct snapshot_options wrong[] = {
        {.block_bytes = 512}, {.block_bytes = 5000}, {.block_bytes = 2u << 20}, {.io_depth = 65}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct block_source source = {0};
        cr_expect_eq(snapshot_write(&dir, &identity, &wrong[i], &source, &result, &err), WEIR_EINVAL);
    }
}

/* F13: a real full disk, and room again. */
Test(snapshot_write, a_full_disk_fails_the_attempt_and_the_next_one_succeeds)
{
    char disk[SCRATCH_PATH_BYTES + 128];
    snprintf(disk, sizeof disk, "%s/disk", path);
    cr_assert_eq(mkdir(disk, 0700), 0);
    if (mount("none", disk, "tmpfs", 0, "size=2m") != 0) {
        int errno_value = errno;
        tear_down();
        cr_skip_test("no tmpfs can be mounted here: %s", strerror(errno_value));
    }
    struct checkpoint_dir small = fixture_open(io_system(), disk);
    struct snapshot_identity identity = WORDS;
    struct snapshot_result result;
    int wrong = 0;
    for (enum io_mode mode = IO_AUTO; mode <= IO_PWRITE; mode++) {
        struct snapshot_options options = {.io_mode = fixture_mode(mode)};
        memset(&err, 0, sizeof err);
        wrong += fixture_write_with(&small, &identity, &options, 1000, 42, &result, &err) != WEIR_ENOSPC;
        wrong += strstr(err.text, "free space") == NULL;
        wrong += fixture_count_files(disk, "snapshots", "") != 0;
        identity.name.attempt++; /* space is freed */
        wrong += fixture_write_with(&small, &identity, &options, 100, 42, &result, &err) != WEIR_OK;
        unlinkat(small.snapshots_fd, result.file.name, 0);
    }
    checkpoint_dir_close(&small);
    cr_expect_eq(umount(disk), 0);
    cr_expect_eq(wrong, 0, "%s", err.text);
}

/* RLIMIT_FSIZE: the kernel itself makes the last write short, then fails. */
Test(snapshot_write, a_file_size_limit_fails_the_attempt)
{
    struct rlimit limit = {300 * 4096, 300 * 4096};
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    struct snapshot_result result;
    cr_expect_eq(write_blocks(IO_PWRITE, 600, &result), WEIR_ENOSPC, "%s", err.text);
    cr_expect_eq(write_blocks(fixture_mode(IO_URING), 600, &result), WEIR_ENOSPC, "%s", err.text);
    cr_expect_eq(fixture_count_files(path, "snapshots", ""), 0);
}

/* F3, F5: what a killed writer leaves is garbage under a name of its own; the next attempt is whole. */
Test(snapshot_write, a_killed_writer_harms_no_later_attempt)
{
    for (unsigned round = 0; round < 8; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            struct snapshot_result result;
            write_blocks(fixture_mode(IO_URING), 4000, &result);
            _exit(0);
        }
        while (fixture_count_files(path, "snapshots", "a1.snap") == 0)
            continue;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        struct snapshot_identity identity = WORDS;
        identity.name.attempt = 2;
        struct snapshot_result result;
        int code = fixture_write_with(&dir, &identity, &(struct snapshot_options){0}, 500, 42, &result, &err);
        cr_assert_eq(code, WEIR_OK, "%s", err.text);
        cr_assert_eq(fixture_read_with(&dir, &result.file, &identity, IO_AUTO, 42, &err), WEIR_OK, "%s", err.text);
        unlinkat(dir.fd, NAME, 0);
        unlinkat(dir.snapshots_fd, result.file.name, 0);
    }
}
