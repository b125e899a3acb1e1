/* test_files.h - directories and files for tests: each test has a directory of its own, removed at its end. */
#ifndef WEIR_TESTS_CONNECTORS_TEST_FILES_H
#define WEIR_TESTS_CONNECTORS_TEST_FILES_H

#include <stddef.h>
#include <stdint.h>

/* Makes a directory; its name is good until test_directory_remove(). */
const char *test_directory_make(void);
void test_directory_remove(void);
/* "<directory>/<name>"; good for the life of the test. */
const char *test_path(const char *name);
void test_write(const char *path, const void *data, size_t size_bytes);
void test_write_text(const char *path, const char *text);
void test_append_text(const char *path, const char *text);
/* malloc'ed, with a zero byte behind it; NULL where there is no such file. */
char *test_read(const char *path, size_t *ret_size_bytes);
/* The names in a directory that begin with `prefix`, sorted, separated by blanks; malloc'ed. "." and ".." are left out.
 */
char *test_names(const char *path, const char *prefix);
/* Reproducible random numbers (splitmix64). */
uint64_t test_random(uint64_t *seed);

#endif
