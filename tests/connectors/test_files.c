#include "test_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[PATH_MAX];
static char paths[64][PATH_MAX + 256];
static unsigned path_count;

static void must(int condition, const char *what)
{
    if (condition)
        return;
    perror(what);
    abort();
}

const char *test_directory_make(void)
{
    mkdir(WEIR_BINARY_DIR "/scratch", 0755); /* there is one already: as well */
    snprintf(directory, sizeof(directory), "%s/scratch/connectors-XXXXXX", WEIR_BINARY_DIR);
    must(mkdtemp(directory) != NULL, directory);
    return directory;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

void test_directory_remove(void) { nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

const char *test_path(const char *name)
{
    char *path = paths[path_count++ % 64];
    snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
    return path;
}

static void write_with(const char *path, int flags, const void *data, size_t size_bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
    must(fd >= 0, path);
    for (size_t done = 0; done < size_bytes;) {
        ssize_t n = write(fd, (const char *)data + done, size_bytes - done);
        must(n > 0, path);
        done += (size_t)n;
    }
    close(fd);
}

void test_write(const char *path, const void *data, size_t size_bytes) { write_with(path, O_TRUNC, data, size_bytes); }
void test_write_text(const char *path, const char *text) { write_with(path, O_TRUNC, text, strlen(text)); }
void test_append_text(const char *path, const char *text) { write_with(path, O_APPEND, text, strlen(text)); }

char *test_read(const char *path, size_t *ret_size_bytes)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return NULL;
    struct stat st;
    must(fstat(fileno(file), &st) == 0, path);
    char *data = malloc((size_t)st.st_size + 1);
    must(data != NULL, "malloc");
    size_t n = fread(data, 1, (size_t)st.st_size, file);
    fclose(file);
    data[n] = '\0';
    if (ret_size_bytes != NULL)
        *ret_size_bytes = n;
    return data;
}

char *test_names(const char *path, const char *prefix)
{
    struct dirent **found;
    int count = scandir(path, &found, NULL, alphasort);
    must(count >= 0, path);
    char *names = calloc(1, (size_t)count * 256 + 1);
    must(names != NULL, "calloc");
    for (int i = 0; i < count; i++) {
        const char *name = found[i]->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strncmp(name, prefix, strlen(prefix)) == 0) {
            strcat(names, names[0] != '\0' ? " " : "");
            strcat(names, name);
        }
        free(found[i]);
    }
    free(found);
    return names;
}

uint64_t test_random(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
