/*
 * scratch.h - a directory for one test, below the build folder (WEIR_BINARY_DIR): tests write nowhere else. Header only, for programs that
 * use Criterion.
 */
#ifndef WEIR_TESTS_SCRATCH_H
#define WEIR_TESTS_SCRATCH_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCRATCH_PATH_BYTES 384

/* Makes a new empty directory, mode 0700, and gives its absolute path. */
static inline void scratch_make(const char *name, char ret_path[SCRATCH_PATH_BYTES])
{
    mkdir(WEIR_BINARY_DIR "/scratch", 0755); /* there is one already: as well */
    int length = snprintf(ret_path, SCRATCH_PATH_BYTES, "%s/scratch/%s-XXXXXX", WEIR_BINARY_DIR, name);
    cr_assert(length > 0 && length < SCRATCH_PATH_BYTES, "the build folder has too long a name");
    cr_assert_not_null(mkdtemp(ret_path), "%s: %m", ret_path);
}

static inline int scratch_remove_entry(const char *path, const struct stat *info, int kind, struct FTW *ftw)
{
    (void)info;
    (void)kind;
    (void)ftw;
    return remove(path);
}

/* The directory and all that is in it. */
static inline void scratch_remove(const char *path) { nftw(path, scratch_remove_entry, 16, FTW_DEPTH | FTW_PHYS); }

/* A new file without a name. */
static inline int scratch_file(void)
{
    char path[SCRATCH_PATH_BYTES];
    scratch_make("file", path);
    int directory_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = openat(directory_fd, "file", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0, "%s: %m", path);
    close(directory_fd);
    scratch_remove(path);
    return fd;
}

#endif
