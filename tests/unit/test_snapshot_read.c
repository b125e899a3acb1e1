#include "support/io_fault.h"
#include "support/snapshot_fixture.h"

#include "base/kill_point.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <xxhash.h>

static char path[SCRATCH_PATH_BYTES];
static struct io_fault fault;
static struct checkpoint_dir dir;
static struct weir_error err;
static struct snapshot_identity identity;
static struct snapshot_result written;

#define NAME "snapshots/00000000000000000007-words-1-g3-a1.snap"

static void write_file(uint32_t count)
{
    struct snapshot_options options = {.io_mode = IO_PWRITE};
    identity = fixture_identity(7, "words", 1);
    cr_assert_eq(fixture_write_with(&dir, &identity, &options, count, 42, &written, &err), WEIR_OK, "%s", err.text);
}

static int read_file(enum io_mode mode)
{
    return fixture_read_with(&dir, &written.file, &identity, fixture_mode(mode), 42, &err);
}

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

TestSuite(snapshot_read, .init = set_up, .fini = tear_down);

Test(snapshot_read, every_size_around_a_buffer_round_trips_both_ways)
{
    uint32_t counts[] = {0, 1, 2, 255, 256, 257, 511, 512, 513, 5000};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        write_file(counts[i]);
        for (enum io_mode mode = IO_AUTO; mode <= IO_PWRITE; mode++)
            cr_assert_eq(read_file(mode), WEIR_OK, "%u blocks, %s: %s", counts[i], io_mode_name(mode), err.text);
        unlinkat(dir.fd, NAME, 0);
    }
}

/* The refusal must name the file; what was handed over before it must have been right (fixture_read_with sees to it).
 */
static void expect_refusal(const char *what, size_t at)
{
    memset(&err, 0, sizeof err);
    int code = read_file(IO_PWRITE);
    cr_assert(code == WEIR_ECORRUPT || code == WEIR_EVERSION || code == WEIR_EMISMATCH,
              "%s at byte %zu is not seen: %d %s", what, at, code, err.text);
    cr_assert_not_null(strstr(err.text, "words-1"), "%s at byte %zu: %s", what, at, err.text);
}

Test(snapshot_read, a_flip_of_any_byte_is_detected)
{
    write_file(2);
    size_t size_bytes;
    unsigned char *file = fixture_slurp(path, NAME, &size_bytes);
    int fd = openat(dir.fd, NAME, O_WRONLY);
    for (size_t at = 0; at < size_bytes; at++) {
        unsigned char flipped = file[at] ^ (unsigned char)(1u << (at % 8));
        cr_assert_eq(pwrite(fd, &flipped, 1, (off_t)at), 1);
        expect_refusal("a flip", at);
        cr_assert_eq(pwrite(fd, &file[at], 1, (off_t)at), 1);
    }
    cr_expect_eq(read_file(IO_PWRITE), WEIR_OK, "%s", err.text);
    close(fd);
    free(file);
}

Test(snapshot_read, a_truncation_to_any_length_is_detected)
{
    write_file(2);
    size_t size_bytes;
    unsigned char *file = fixture_slurp(path, NAME, &size_bytes);
    for (size_t length = size_bytes; length-- > 0;) {
        cr_assert_eq(truncate(strcat(strcpy((char[SCRATCH_PATH_BYTES + 128]){0}, path), "/" NAME), (off_t)length), 0);
        expect_refusal("a truncation", length);
    }
    fixture_spit(path, NAME, file, size_bytes);
    cr_expect_eq(read_file(IO_PWRITE), WEIR_OK, "%s", err.text);
    free(file);
}

/* Also where the manifest, wrongly, agrees with the size. */
Test(snapshot_read, a_truncation_is_detected_whatever_the_manifest_says)
{
    write_file(2);
    for (size_t length = written.file.size_bytes; length-- > 0;) {
        cr_assert_eq(truncate(strcat(strcpy((char[SCRATCH_PATH_BYTES + 128]){0}, path), "/" NAME), (off_t)length), 0);
        written.file.size_bytes = length;
        expect_refusal("a truncation", length);
    }
}

Test(snapshot_read, bytes_behind_the_end_are_detected)
{
    write_file(2);
    size_t size_bytes;
    unsigned char *file = fixture_slurp(path, NAME, &size_bytes);
    char longer[65536] = {0};
    memcpy(longer, file, size_bytes);
    fixture_spit(path, NAME, longer, size_bytes + 1);
    expect_refusal("one byte more", size_bytes);
    fixture_spit(path, NAME, longer, size_bytes + 4096);
    expect_refusal("a page more", size_bytes);
    free(file);
}

Test(snapshot_read, swapped_blocks_and_blocks_of_another_checkpoint_are_detected)
{
    write_file(3);
    size_t size_bytes;
    unsigned char *file = fixture_slurp(path, NAME, &size_bytes);
    unsigned char swapped[65536];
    memcpy(swapped, file, size_bytes);
    memcpy(swapped + 4096, file + 8192, 4096);
    memcpy(swapped + 8192, file + 4096, 4096);
    fixture_spit(path, NAME, swapped, size_bytes);
    expect_refusal("a swap", 4096);
    memcpy(swapped, file, size_bytes);
    memset(swapped + 8192, 0, 4096);
    fixture_spit(path, NAME, swapped, size_bytes);
    expect_refusal("a zeroed block", 8192);

    struct snapshot_identity older = fixture_identity(6, "words", 1); /* the same bytes, an earlier checkpoint */
    struct snapshot_result result;
    cr_assert_eq(fixture_write_with(&dir, &older, &(struct snapshot_options){0}, 3, 42, &result, &err), WEIR_OK);
    size_t older_bytes;
    unsigned char *stale = fixture_slurp(path, "snapshots/00000000000000000006-words-1-g3-a1.snap", &older_bytes);
    cr_assert_eq(older_bytes, size_bytes);
    cr_expect_neq(memcmp(stale + 4 * 4096, file + 4 * 4096, 4096), 0,
                  "equal blocks of two checkpoints have different checksums");
    fixture_spit(path, NAME, stale, size_bytes);
    expect_refusal("a whole stale file", 0);
    /* The index of the older one, in a file that is consistent otherwise: only the binding tells. */
    memcpy(swapped, file, size_bytes);
    memcpy(swapped + 4 * 4096, stale + 4 * 4096, 4096);
    unsigned char *footer = swapped + 5 * 4096;
    XXH64_hash_t hash = XXH3_64bits(swapped + 4 * 4096, 4096);
    memcpy(footer + 48, &hash, 8);
    hash = XXH3_64bits(footer, 4088);
    memcpy(footer + 4088, &hash, 8);
    written.file.checksum = hash;
    fixture_spit(path, NAME, swapped, size_bytes);
    expect_refusal("a stale block", 4096);
    cr_expect_not_null(strstr(err.text, "block 0 fails its checksum"), "%s", err.text);
    free(stale);
    free(file);
}

/* Seals a changed page again, so that the field itself must be refused. */
static void reseal(unsigned char *page)
{
    XXH64_hash_t hash = XXH3_64bits(page, 4088);
    memcpy(page + 4088, &hash, 8);
}

Test(snapshot_read, another_version_is_refused_as_such)
{
    write_file(2);
    size_t size_bytes;
    unsigned char *file = fixture_slurp(path, NAME, &size_bytes);
    file[8] = 2;
    reseal(file);
    fixture_spit(path, NAME, file, size_bytes);
    cr_expect_eq(read_file(IO_AUTO), WEIR_EVERSION);
    cr_expect_not_null(strstr(err.text, "format version 2, this program reads version 1"), "%s", err.text);
    free(file);
}

/* A field with its checksums made right again, by someone who means harm. */
Test(snapshot_read, a_resealed_footer_with_any_other_field_is_refused)
{
    write_file(2);
    size_t size_bytes;
    unsigned char *file = fixture_slurp(path, NAME, &size_bytes);
    unsigned char *footer = file + size_bytes - 4096;
    for (size_t at = 8; at < 80; at++)
        for (unsigned value = 0; value < 256; value += 51) {
            unsigned char before = footer[at];
            footer[at] ^= (unsigned char)(value | 1);
            reseal(footer);
            memcpy(&written.file.checksum, footer + 4088, 8);
            fixture_spit(path, NAME, file, size_bytes);
            expect_refusal("a resealed footer", at);
            footer[at] = before;
        }
    free(file);
}

Test(snapshot_read, what_the_manifest_expects_must_be_there)
{
    write_file(2);
    struct snapshot_file right = written.file;
    written.file.checksum ^= 1;
    expect_refusal("another checksum", 0);
    written.file = right;
    written.file.block_count = 3;
    expect_refusal("another count", 0);
    written.file = right;
    written.file.block_bytes = 8192;
    expect_refusal("another block size", 0);
    written.file = right;
    identity.job_id[0] ^= 1;
    cr_expect_eq(read_file(IO_AUTO), WEIR_EMISMATCH);
    identity.job_id[0] ^= 1;
    strcpy(identity.name.task, "others");
    cr_expect_eq(read_file(IO_AUTO), WEIR_ECORRUPT);
}

Test(snapshot_read, names_that_are_not_ours_are_never_opened)
{
    write_file(2);
    const char *names[] = {"",
                           "..",
                           "../manifest-00000000000000000001",
                           "/etc/passwd",
                           "a",
                           "00000000000000000007-words-1-g3-a1.snap/",
                           "0000000000000000007-words-1-g3-a1.snap",
                           "00000000000000000007-words-01-g3-a1.snap",
                           "00000000000000000007-../x-1-g3-a1.snap"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        memset(written.file.name, 0, sizeof written.file.name);
        strcpy(written.file.name, names[i]);
        io_fault_arm(&fault, 0, 0);
        cr_expect_eq(read_file(IO_AUTO), WEIR_ECORRUPT);
        cr_expect_eq(fault.calls, 0, "'%s' was looked at", names[i]);
    }
}

Test(snapshot_read, a_missing_file_a_link_a_fifo_and_a_directory_are_refused)
{
    write_file(2);
    cr_assert_eq(renameat(dir.fd, NAME, dir.fd, "snapshots/elsewhere"), 0);
    cr_expect_eq(read_file(IO_AUTO), WEIR_ENOENT);
    cr_assert_eq(symlinkat("elsewhere", dir.fd, NAME), 0);
    cr_expect_eq(read_file(IO_AUTO), WEIR_ECORRUPT);
    cr_expect_not_null(strstr(err.text, "symbolic link"), "%s", err.text);
    unlinkat(dir.fd, NAME, 0);
    cr_assert_eq(mkfifoat(dir.fd, NAME, 0600), 0);
    cr_expect_eq(read_file(IO_AUTO), WEIR_ECORRUPT);
    unlinkat(dir.fd, NAME, 0);
    cr_assert_eq(mkdirat(dir.fd, NAME, 0700), 0);
    cr_expect_lt(read_file(IO_AUTO), 0);
}

Test(snapshot_read, a_failure_of_any_call_is_reported_and_leaks_nothing)
{
    write_file(600);
    for (enum io_mode mode = IO_AUTO; mode <= IO_PWRITE; mode++)
        for (unsigned call = 1;; call++) {
            unsigned fds = fixture_open_fds();
            io_fault_arm(&fault, call, EIO);
            int code = read_file(mode);
            bool done = !fault.failed;
            cr_assert_eq(fixture_open_fds(), fds, "call %u leaks a descriptor", call);
            /* Switching O_DIRECT on may fail, switching it off again (for the way back from a refused ring) not. */
            bool either = strcmp(fault.failed_name, "set_direct") == 0;
            bool harmless = strcmp(fault.failed_name, "close") == 0 ||
                            (strcmp(fault.failed_name, "ring_init") == 0 && mode == IO_AUTO);
            cr_assert(either || (code < 0) == (!done && !harmless), "call %u (%s): %d %s", call, fault.failed_name,
                      code, err.text);
            if (done)
                break;
        }
}

static int refuse_block(void *self, uint32_t id, const void *block, struct weir_error *e)
{
    (void)block;
    return ++*(unsigned *)self == 300 ? error_set(e, WEIR_ELIMIT, "block %u is one too many", id) : WEIR_OK;
}

Test(snapshot_read, a_refusing_callback_ends_the_reading_with_its_own_code)
{
    write_file(600);
    struct snapshot_reader *reader;
    unsigned seen = 0;
    cr_assert_eq(snapshot_open(&dir, &written.file, &identity, IO_AUTO, &reader, &err), WEIR_OK);
    cr_expect_eq(snapshot_block_count(reader), 600);
    cr_expect_eq(snapshot_block_bytes(reader), 4096);
    cr_expect_eq(snapshot_block_id(reader, 599), 599 * 3);
    cr_expect_eq(snapshot_read(reader, refuse_block, &seen, &err), WEIR_ELIMIT);
    cr_expect_eq(seen, 300);
    snapshot_close(reader);
}

static int count_block(void *self, uint32_t id, const void *block, struct weir_error *e)
{
    (void)id;
    (void)block;
    (void)e;
    ++*(volatile unsigned *)self;
    return WEIR_OK;
}

Test(snapshot_read, kill_point_v2_is_halfway_through_the_load)
{
    fixture_need_kill_points(tear_down);
    write_file(600);
    unsigned *seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct snapshot_reader *reader;
        setenv("WEIR_KILL", "v2", 1);
        if (kill_point_init(&err) == WEIR_OK &&
            snapshot_open(&dir, &written.file, &identity, IO_AUTO, &reader, &err) == WEIR_OK)
            snapshot_read(reader, count_block, seen, &err);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    cr_expect_eq(*seen, 299);
}

/* ---- block by block ---- */

/* The blocks of [first, first + count), each as it was written. */
static int read_blocks(struct snapshot_reader *reader, uint32_t first, uint32_t count)
{
    unsigned char *data = malloc((size_t)count * 4096), expected[4096];
    int code = snapshot_read_blocks(reader, first, count, data, &err);
    for (uint32_t i = 0; code == WEIR_OK && i < count; i++) {
        fixture_fill(expected, sizeof expected, snapshot_block_id(reader, first + i), 42);
        cr_assert_eq(memcmp(data + (size_t)i * 4096, expected, 4096), 0, "block %u", first + i);
    }
    free(data);
    return code;
}

Test(snapshot_read, blocks_are_read_in_any_order_and_number)
{
    struct snapshot_reader *reader;
    write_file(600);
    cr_assert_eq(snapshot_open(&dir, &written.file, &identity, IO_AUTO, &reader, &err), WEIR_OK, "%s", err.text);
    cr_expect_eq(read_blocks(reader, 599, 1), WEIR_OK, "%s", err.text);
    cr_expect_eq(read_blocks(reader, 0, 600), WEIR_OK, "%s", err.text);
    cr_expect_eq(read_blocks(reader, 300, 17), WEIR_OK, "%s", err.text);
    cr_expect_eq(read_blocks(reader, 600, 0), WEIR_OK, "%s", err.text);
    fault.part_bytes_max = 1000;
    fault.interrupt_every = 3;
    fault.interrupt_errno = EINTR;
    cr_expect_eq(read_blocks(reader, 5, 20), WEIR_OK, "short and interrupted: %s", err.text);
    snapshot_close(reader);
}

/* A lazy restore: the file is opened, and its blocks are read one by one. The block with the flip is refused by itself. */
Test(snapshot_read, a_flip_of_any_byte_is_detected_block_by_block)
{
    write_file(3);
    size_t size_bytes;
    unsigned char *file = fixture_slurp(path, NAME, &size_bytes);
    int fd = openat(dir.fd, NAME, O_WRONLY);
    for (size_t at = 0; at < size_bytes; at++) {
        struct snapshot_reader *reader = NULL;
        unsigned char flipped = file[at] ^ (unsigned char)(1u << (at % 8));
        cr_assert_eq(pwrite(fd, &flipped, 1, (off_t)at), 1);
        bool in_blocks = at >= 4096 && at < 4096 + 3 * 4096;
        memset(&err, 0, sizeof err);
        int code = snapshot_open(&dir, &written.file, &identity, IO_PWRITE, &reader, &err);
        cr_assert_eq(code == WEIR_OK, in_blocks, "byte %zu: %s", at, err.text);
        for (uint32_t i = 0; in_blocks && i < 3; i++)
            cr_assert_eq(read_blocks(reader, i, 1), i == at / 4096 - 1 ? WEIR_ECORRUPT : WEIR_OK, "byte %zu, block %u", at, i);
        cr_assert(strstr(err.text, "words-1") != NULL && strstr(err.text, "byte") != NULL, "%s", err.text);
        snapshot_close(reader);
        cr_assert_eq(pwrite(fd, &file[at], 1, (off_t)at), 1);
    }
    close(fd);
    free(file);
}

Test(snapshot_read, a_block_that_cannot_be_read_or_is_cut_off_is_reported)
{
    struct snapshot_reader *reader;
    write_file(600);
    cr_assert_eq(snapshot_open(&dir, &written.file, &identity, IO_AUTO, &reader, &err), WEIR_OK, "%s", err.text);
    io_fault_arm(&fault, 1, EIO);
    cr_expect_eq(read_blocks(reader, 100, 16), WEIR_EIO);
    cr_expect_not_null(strstr(err.text, "words-1"), "%s", err.text);
    io_fault_arm(&fault, 0, 0);
    cr_expect_eq(read_blocks(reader, 100, 16), WEIR_OK, "%s", err.text);
    cr_assert_eq(truncate(strcat(strcpy((char[SCRATCH_PATH_BYTES + 128]){0}, path), "/" NAME), 4096 + 105 * 4096 + 7), 0);
    cr_expect_eq(read_blocks(reader, 100, 16), WEIR_ECORRUPT);
    cr_expect_not_null(strstr(err.text, "the file ends here"), "%s", err.text);
    snapshot_close(reader);
}
