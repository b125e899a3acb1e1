#include "support/io_fault.h"
#include "support/snapshot_fixture.h"

static struct weir_error err;

Test(checkpoint_dir, snapshot_names_come_back)
{
    struct snapshot_name names[] = {{0, "a", 0, 0, 0},
                                    {UINT64_MAX, "with-dashes-7-g1-a2", UINT32_MAX, UINT64_MAX, UINT32_MAX},
                                    {7, "words", 63, 12, 1},
                                    {1, "012345678901234567890123456789012345678901234567890123456789012", 1, 1, 1}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char text[FILE_NAME_BYTES];
        struct snapshot_name back;
        snapshot_name_format(&names[i], text);
        cr_assert(snapshot_name_parse(text, &back), "%s", text);
        cr_expect_str_eq(back.task, names[i].task);
        cr_expect(back.checkpoint_id == names[i].checkpoint_id && back.subtask == names[i].subtask &&
                  back.generation == names[i].generation && back.attempt == names[i].attempt);
    }
    char text[FILE_NAME_BYTES];
    snapshot_name_format(&names[2], text);
    cr_expect_str_eq(text, "00000000000000000007-words-63-g12-a1.snap");
}

Test(checkpoint_dir, names_that_are_not_exactly_ours_are_not_parsed)
{
    const char *wrong[] = {
        "",
        ".",
        "x.snap",
        "7-words-63-g12-a1.snap",
        "00000000000000000007-words-63-g12-a1.snap ",
        "00000000000000000007-words-063-g12-a1.snap",
        "00000000000000000007-words-63-g012-a1.snap",
        "00000000000000000007-words-63-g12-a+1.snap",
        "00000000000000000007--63-g12-a1.snap",
        "00000000000000000007-words-63-g12-a1.SNAP",
        "00000000000000000007-words-63-g12-a4294967296.snap",
        "99999999999999999999-words-63-g12-a1.snap",
        "00000000000000000007-wo/ds-63-g12-a1.snap",
        "00000000000000000007-wo.ds-63-g12-a1.snap",
        "00000000000000000007-_words-63-g12-a1.snap",
        "0000000000000000000x-words-63-g12-a1.snap",
        "00000000000000000007-words-63-g12-a1.snap.tmp",
        "-words-63-g12-a1.snap",
        "-63-g12-a1.snap",
        "-g12-a1.snap",
        "-a1.snap",
        ".snap",
        "00000000000000000007-0123456789012345678901234567890123456789012345678901234567890123-1-g1-a1.snap"};
    struct snapshot_name name;
    uint64_t id;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_expect_not(snapshot_name_parse(wrong[i], &name), "%s", wrong[i]);
    char longest[1000];
    memset(longest, 'a', sizeof longest);
    longest[999] = 0;
    cr_expect_not(snapshot_name_parse(longest, &name));
    cr_expect_not(manifest_name_parse(longest, &id));
    cr_expect_not(manifest_temp_name_parse(longest, &id));
    const char *manifests[] = {"manifest",
                               "manifest-",
                               "manifest-7",
                               "manifest-0000000000000000000x",
                               "manifest-99999999999999999999",
                               "manifest-000000000000000000070",
                               " manifest-00000000000000000007",
                               ".manifest-00000000000000000007"};
    for (size_t i = 0; i < sizeof manifests / sizeof manifests[0]; i++)
        cr_expect_not(manifest_name_parse(manifests[i], &id), "%s", manifests[i]);
    const char *temps[] = {".manifest-7-g1-a1.tmp", ".manifest-00000000000000000007-g01-a1.tmp",
                           "manifest-00000000000000000007-g1-a1.tmp", ".manifest-00000000000000000007-g1-a1.tm",
                           ".manifest-00000000000000000007-g1.tmp"};
    for (size_t i = 0; i < sizeof temps / sizeof temps[0]; i++)
        cr_expect_not(manifest_temp_name_parse(temps[i], &id), "%s", temps[i]);
}

Test(checkpoint_dir, manifest_names_come_back)
{
    char text[FILE_NAME_BYTES];
    uint64_t id = 0;
    manifest_name_format(7, text);
    cr_expect_str_eq(text, "manifest-00000000000000000007");
    cr_expect(manifest_name_parse(text, &id) && id == 7);
    manifest_temp_name_format(UINT64_MAX, 3, 4, text);
    cr_expect_str_eq(text, ".manifest-18446744073709551615-g3-a4.tmp");
    cr_expect(manifest_temp_name_parse(text, &id) && id == UINT64_MAX);
}

Test(checkpoint_dir, the_alphabet_of_names_is_strict)
{
    cr_expect(name_is_valid("a") && name_is_valid("9-_Z"));
    const char *wrong[] = {"",
                           "-a",
                           "_a",
                           "a.b",
                           "a/b",
                           "..",
                           "a b",
                           "a\n",
                           "\xc3\xa4",
                           "a:b",
                           "0123456789012345678901234567890123456789012345678901234567890123"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_expect_not(name_is_valid(wrong[i]), "%s", wrong[i]);
}

Test(checkpoint_dir, a_directory_is_made_once_and_private)
{
    char path[SCRATCH_PATH_BYTES];
    scratch_make("snapshot", path);
    char inner[SCRATCH_PATH_BYTES + 128];
    snprintf(inner, sizeof inner, "%s/job", path);
    struct checkpoint_dir dir;
    cr_expect_eq(checkpoint_dir_open(io_system(), inner, false, &dir, &err), WEIR_ENOENT);
    cr_expect_not_null(strstr(err.text, inner), "%s", err.text);
    dir = fixture_open(io_system(), inner);
    struct stat info;
    cr_expect_eq(fstat(dir.snapshots_fd, &info), 0);
    cr_expect_eq(info.st_mode & 0777, 0700);
    cr_expect_eq(fcntl(dir.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    checkpoint_dir_close(&dir);
    cr_expect_eq(checkpoint_dir_open(io_system(), inner, false, &dir, &err), WEIR_OK, "%s", err.text);
    checkpoint_dir_close(&dir);
    scratch_remove(path);
}

Test(checkpoint_dir, a_failure_of_any_call_of_open_leaks_nothing)
{
    char path[SCRATCH_PATH_BYTES];
    scratch_make("snapshot", path);
    struct io_fault fault;
    io_fault_init(&fault);
    for (unsigned call = 1;; call++) {
        unsigned fds = fixture_open_fds();
        struct checkpoint_dir dir;
        io_fault_arm(&fault, call, EIO);
        int code = checkpoint_dir_open(&fault.io, path, true, &dir, &err);
        if (code == WEIR_OK)
            checkpoint_dir_close(&dir);
        cr_assert_eq(fixture_open_fds(), fds);
        cr_assert_eq(code < 0, fault.failed && strcmp(fault.failed_name, "close") != 0, "call %u", call);
        if (!fault.failed)
            break;
    }
    scratch_remove(path);
}

Test(checkpoint_dir, snapshots_that_is_a_link_is_refused)
{
    char path[SCRATCH_PATH_BYTES];
    scratch_make("snapshot", path);
    int fd = open(path, O_DIRECTORY);
    cr_assert_eq(symlinkat("/tmp", fd, "snapshots"), 0);
    close(fd);
    struct checkpoint_dir dir;
    cr_expect_lt(checkpoint_dir_open(io_system(), path, true, &dir, &err), 0);
    scratch_remove(path);
}

static int count_entry(void *self, const char *name, struct weir_error *e)
{
    (void)name;
    (void)e;
    ++*(unsigned *)self;
    return WEIR_OK;
}

Test(checkpoint_dir, a_scan_sees_every_entry_once_each_time)
{
    char path[SCRATCH_PATH_BYTES];
    scratch_make("snapshot", path);
    struct checkpoint_dir dir = fixture_open(io_system(), path);
    for (int i = 0; i < 1000; i++) {
        char name[64];
        snprintf(name, sizeof name, "a-file-with-a-rather-long-name-%d", i);
        close(openat(dir.snapshots_fd, name, O_CREAT | O_WRONLY, 0600));
    }
    for (int i = 0; i < 2; i++) {
        unsigned count = 0;
        cr_expect_eq(checkpoint_dir_scan(&dir, dir.snapshots_fd, count_entry, &count, &err), WEIR_OK);
        cr_expect_eq(count, 1000);
    }
    checkpoint_dir_close(&dir);
    scratch_remove(path);
}
