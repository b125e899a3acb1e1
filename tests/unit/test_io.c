#include "support/io_fault.h"
#include "support/scratch.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static struct weir_error err;

Test(io, the_probe_says_why_io_uring_is_refused)
{
    struct io_fault fault;
    io_fault_init(&fault);
    int refusals[] = {EPERM, ENOSYS, ENOMEM};
    for (int i = 0; i < 3; i++) {
        io_fault_arm(&fault, 1, refusals[i]);
        fault.only = "ring_init";
        cr_expect_lt(io_probe_uring(&fault.io, &err), 0);
        cr_expect_not_null(strstr(err.text, strerror(refusals[i])), "%s", err.text);
    }
    fault.only = "completion";
    io_fault_arm(&fault, 1, EACCES);
    if (io_probe_uring(io_system(), NULL) == WEIR_OK)
        cr_expect_eq(io_probe_uring(&fault.io, &err), WEIR_EPERM);
}

Test(io, mode_names_come_back)
{
    for (enum io_mode mode = IO_AUTO; mode <= IO_PWRITE; mode++) {
        enum io_mode back;
        cr_expect_eq(io_mode_parse(io_mode_name(mode), &back, &err), WEIR_OK);
        cr_expect_eq(back, mode);
    }
    enum io_mode none;
    cr_expect_eq(io_mode_parse("aio", &none, &err), WEIR_EINVAL);
    cr_expect_not_null(strstr(err.text, "'aio'"), "%s", err.text);
}

Test(io, full_reads_and_writes_continue_short_ones_and_end_with_the_file)
{
    struct io_fault fault;
    io_fault_init(&fault);
    fault.part_bytes_max = 7;
    fault.interrupt_every = 3;
    int fd = scratch_file();
    char data[100];
    char back[200] = {0};
    for (int i = 0; i < 100; i++)
        data[i] = (char)i;
    cr_expect_eq(io_write_full(&fault.io, fd, data, 100, 5), 100);
    cr_expect_eq(io_read_full(&fault.io, fd, back, 200, 5), 100);
    cr_expect_eq(memcmp(data, back, 100), 0);
    fault.interrupt_every = 1;
    cr_expect_eq(io_write_full(&fault.io, fd, data, 100, 0), -EINTR);
    cr_expect_eq(io_read_full(&fault.io, fd, back, 100, 0), -EINTR);
    close(fd);
}

Test(io, a_rename_never_replaces_and_an_open_follows_no_link)
{
    char path[SCRATCH_PATH_BYTES];
    scratch_make("io", path);
    const struct io *io = io_system();
    int dir_fd = open(path, O_DIRECTORY);
    close(io->openat(NULL, dir_fd, "a", O_CREAT | O_WRONLY, 0600));
    close(io->openat(NULL, dir_fd, "b", O_CREAT | O_WRONLY, 0600));
    cr_expect_eq(io->rename_new(NULL, dir_fd, "a", "b"), -EEXIST);
    cr_expect_eq(io->unlinkat(NULL, dir_fd, "b"), 0);
    cr_expect_eq(io->rename_new(NULL, dir_fd, "a", "b"), 0);
    cr_expect_eq(symlinkat("b", dir_fd, "link"), 0);
    cr_expect_eq(io->openat(NULL, dir_fd, "link", O_RDONLY, 0), -ELOOP);
    struct stat info;
    cr_expect_eq(io->fstatat(NULL, dir_fd, "link", &info), 0);
    cr_expect(S_ISLNK(info.st_mode));
    unlinkat(dir_fd, "link", 0);
    unlinkat(dir_fd, "b", 0);
    close(dir_fd);
    rmdir(path);
}
