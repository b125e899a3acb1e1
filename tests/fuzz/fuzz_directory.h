/* fuzz_directory.h - a fuzzer's own directory, below TMPDIR (or the current one), removed at its end. */
#ifndef WEIR_TESTS_FUZZ_DIRECTORY_H
#define WEIR_TESTS_FUZZ_DIRECTORY_H

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FUZZ_PATH_BYTES 4096

static char fuzz_directory_path[FUZZ_PATH_BYTES / 2];

static inline void fuzz_must(int condition, const char *what)
{
    if (condition)
        return;
    perror(what);
    abort();
}

static inline int fuzz_remove_entry(const char *path, const struct stat *info, int kind, struct FTW *ftw)
{
    (void)info, (void)kind, (void)ftw;
    return remove(path);
}

static inline void fuzz_directory_remove(void) { nftw(fuzz_directory_path, fuzz_remove_entry, 16, FTW_DEPTH | FTW_PHYS); }

/* The same at every call. */
static inline const char *fuzz_directory(void)
{
    const char *base = getenv("TMPDIR");
    if (fuzz_directory_path[0] != 0)
        return fuzz_directory_path;
    snprintf(fuzz_directory_path, sizeof fuzz_directory_path, "%s/weir-fuzz-XXXXXX", base != NULL ? base : ".");
    fuzz_must(mkdtemp(fuzz_directory_path) != NULL, "mkdtemp");
    atexit(fuzz_directory_remove);
    return fuzz_directory_path;
}

/* Behind what is in a file below it. */
static inline void fuzz_append(const char *name, const void *data, size_t size_bytes)
{
    char path[FUZZ_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", fuzz_directory(), name);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    fuzz_must(fd >= 0 && write(fd, data, size_bytes) == (ssize_t)size_bytes && close(fd) == 0, path);
}

/* A new file with this content, in place of any other. */
static inline void fuzz_write(const char *name, const void *data, size_t size_bytes)
{
    char path[FUZZ_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", fuzz_directory(), name);
    unlink(path); /* not there: as well */
    fuzz_append(name, data, size_bytes);
}

#endif
