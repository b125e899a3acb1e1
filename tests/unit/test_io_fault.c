/* test_io_fault.c - what WEIR_IO_FAULT means: which call fails or waits, counted over all processes. */
#include "snapshot/io_fault.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

TestSuite(io_fault, .timeout = 240);

Test(io_fault, without_the_variable_it_is_the_systems_table)
{
    const struct io *io = NULL;
    unsetenv("WEIR_IO_FAULT");
    cr_assert_eq(io_for_job(&io, NULL), WEIR_OK);
    cr_assert_eq(io, io_system());
}

#ifdef WEIR_KILL_POINTS

static const struct io *init(const char *list)
{
    const struct io *io = NULL;
    struct weir_error err = {0};
    setenv("WEIR_IO_FAULT", list, 1);
    cr_assert_eq(io_for_job(&io, &err), WEIR_OK, "%s", err.text);
    return io;
}

static int open_null(const struct io *io)
{
    int fd = io->openat(io->self, AT_FDCWD, "/dev/null", O_RDONLY, 0);
    if (fd >= 0)
        close(fd);
    return fd < 0 ? fd : 0;
}

Test(io_fault, the_nth_call_fails_and_no_other)
{
    const struct io *io = init("openat:2:error=ENOSPC,openat:4*2:error=EIO");
    static const int expected[] = {0, -ENOSPC, 0, -EIO, -EIO, 0};
    struct stat status;
    for (size_t i = 0; i < 6; i++) {
        cr_assert_eq(open_null(io), expected[i], "call %zu", i + 1);
        cr_assert_eq(io->fstatat(io->self, AT_FDCWD, "/", &status), 0, "another operation does not count");
    }
}

Test(io_fault, calls_are_counted_over_all_processes)
{
    const struct io *io = init("openat:3:error=EIO");
    for (unsigned i = 0; i < 2; i++) {
        int status;
        pid_t child = fork();
        if (child == 0)
            _exit(open_null(io) == 0 ? 0 : 1);
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert_eq(status, 0);
    }
    cr_assert_eq(open_null(io), -EIO);
}

Test(io_fault, a_slow_call_is_made_all_the_same)
{
    const struct io *io = init("openat:1:delay=20");
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    cr_assert_eq(open_null(io), 0);
    clock_gettime(CLOCK_MONOTONIC, &after);
    double waited_ms = (double)(after.tv_sec - before.tv_sec) * 1e3 + (double)(after.tv_nsec - before.tv_nsec) / 1e6;
    cr_assert_geq(waited_ms, 20.0);
}

Test(io_fault, a_list_that_makes_no_sense_is_refused)
{
    static const char *const wrong[] = {"floppy:1:error=EIO", "openat", "openat:0:error=EIO", "openat:1", "openat:1:error=EFOO",
                                        "openat:1:delay=", "openat:x:delay=1", "openat:1*0:delay=1", "openat:1:panic"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const struct io *io = NULL;
        struct weir_error err = {0};
        setenv("WEIR_IO_FAULT", wrong[i], 1);
        cr_assert_eq(io_for_job(&io, &err), WEIR_EINVAL, "'%s'", wrong[i]);
        cr_assert_not_null(strstr(err.text, "WEIR_IO_FAULT"), "%s", err.text);
    }
}

#else

Test(io_fault, a_build_without_faults_refuses_the_variable)
{
    const struct io *io = NULL;
    setenv("WEIR_IO_FAULT", "openat:1:error=EIO", 1);
    cr_assert_eq(io_for_job(&io, NULL), WEIR_EUNSUPPORTED);
}

#endif
