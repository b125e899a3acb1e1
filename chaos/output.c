#include "chaos/output.h"

#include "base/error.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* Called for each record. */
typedef int (*record_fn)(void *self, const char *data, size_t size_bytes, struct record_hash hash);

struct walk {
    uint64_t record_bytes;
    record_fn fn;
    void *self;
    struct weir_error *err;
};

static int visit_records(const struct walk *walk, const char *data, size_t size_bytes)
{
    int code = WEIR_OK;
    for (size_t at = 0; at < size_bytes && code == WEIR_OK;) {
        size_t left = size_bytes - at, record_bytes = left, step = left;
        const char *end = walk->record_bytes == 0 ? memchr(data + at, '\n', left) : NULL;
        if (end != NULL) {
            record_bytes = (size_t)(end - (data + at));
            step = record_bytes + 1;
        } else if (walk->record_bytes != 0 && left > walk->record_bytes) {
            record_bytes = step = (size_t)walk->record_bytes;
        }
        XXH128_hash_t hash = XXH3_128bits(data + at, record_bytes);
        code = walk->fn(walk->self, data + at, record_bytes, (struct record_hash){hash.high64, hash.low64});
        at += step;
    }
    return code == WEIR_OK ? code : error_set(walk->err, code, "output: out of memory");
}

static int visit_file(const struct walk *walk, int directory_fd, const char *name)
{
    struct stat status;
    int fd = openat(directory_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int code = WEIR_OK;
    if (fd < 0 || fstat(fd, &status) != 0)
        code = error_set_errno(walk->err, errno, "output '%s': cannot read it", name);
    else if (S_ISREG(status.st_mode) && status.st_size > 0) {
        void *data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
            code = error_set_errno(walk->err, errno, "output '%s': cannot map it", name);
        else {
            code = visit_records(walk, data, (size_t)status.st_size);
            munmap(data, (size_t)status.st_size);
        }
    }
    if (fd >= 0)
        close(fd);
    return code;
}

static int visit_directory(const struct walk *walk, const char *path)
{
    DIR *directory = opendir(path);
    int code = WEIR_OK;
    if (directory == NULL)
        return error_set_errno(walk->err, errno, "output '%s': cannot list it", path);
    for (struct dirent *entry; code == WEIR_OK && (entry = readdir(directory)) != NULL;)
        if (entry->d_name[0] != '.')
            code = visit_file(walk, dirfd(directory), entry->d_name);
    closedir(directory);
    return code;
}

static int visit(const char *path, const struct walk *walk)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return errno == ENOENT ? WEIR_OK : error_set_errno(walk->err, errno, "output '%s': cannot look at it", path);
    return S_ISDIR(status.st_mode) ? visit_directory(walk, path) : visit_file(walk, AT_FDCWD, path);
}

/* ---- reading ---- */

static int add_hash(void *self, const char *data, size_t size_bytes, struct record_hash hash)
{
    struct output *output = self;
    (void)data;
    (void)size_bytes;
    if (output->count == output->capacity) {
        size_t capacity = output->capacity == 0 ? 4096 : 2 * output->capacity;
        struct record_hash *hashes = realloc(output->hashes, capacity * sizeof *hashes);
        if (hashes == NULL)
            return WEIR_ENOMEM;
        output->hashes = hashes;
        output->capacity = capacity;
    }
    output->hashes[output->count++] = hash;
    return WEIR_OK;
}

static int compare_hashes(const void *a, const void *b)
{
    const struct record_hash *x = a, *y = b;
    if (x->high != y->high)
        return x->high < y->high ? -1 : 1;
    return x->low < y->low ? -1 : x->low > y->low;
}

int output_read(const char *path, uint64_t record_bytes, struct output *ret_output, struct weir_error *err)
{
    struct output output = {0};
    struct walk walk = {record_bytes, add_hash, &output, err};
    int code = visit(path, &walk);
    if (code != WEIR_OK) {
        output_free(&output);
        return code;
    }
    if (output.count > 0)
        qsort(output.hashes, output.count, sizeof *output.hashes, compare_hashes);
    *ret_output = output;
    return WEIR_OK;
}

void output_free(struct output *output)
{
    free(output->hashes);
    *output = (struct output){0};
}

/* ---- comparing ---- */

static void add_sample(struct difference *difference, const char *how, const struct record_hash *hash)
{
    unsigned of_this_kind = 0;
    for (unsigned i = 0; i < difference->sample_count; i++)
        of_this_kind += strcmp(difference->samples[i].how, how) == 0;
    if (of_this_kind == OUTPUT_SAMPLES_MAX)
        return;
    difference->samples[difference->sample_count].how = how;
    difference->samples[difference->sample_count++].hash = *hash;
}

/* How many of the hashes from `at` on are the same as the first. */
static size_t run_length(const struct output *output, size_t at)
{
    size_t end = at + 1;
    while (end < output->count && compare_hashes(&output->hashes[at], &output->hashes[end]) == 0)
        end++;
    return end - at;
}

void output_compare(const struct output *expected, const struct output *found, struct difference *ret_difference)
{
    struct difference *difference = ret_difference;
    *difference = (struct difference){.compared = expected->count};
    size_t e = 0, f = 0;
    while (e < expected->count || f < found->count) {
        int order = e == expected->count ? 1 : f == found->count ? -1 : compare_hashes(&expected->hashes[e], &found->hashes[f]);
        size_t wanted = order <= 0 ? run_length(expected, e) : 0, got = order >= 0 ? run_length(found, f) : 0;
        const struct record_hash *hash = order <= 0 ? &expected->hashes[e] : &found->hashes[f];
        if (wanted > got) {
            difference->lost += wanted - got;
            add_sample(difference, "lost", hash);
        } else if (wanted > 0 && got > wanted) {
            difference->doubled += got - wanted;
            add_sample(difference, "doubled", hash);
        } else if (wanted == 0) {
            difference->wrong += got;
            add_sample(difference, "wrong", hash);
        }
        e += wanted;
        f += got;
    }
}

/* ---- samples ---- */

static int note_sample(void *self, const char *data, size_t size_bytes, struct record_hash hash)
{
    struct difference *difference = self;
    for (unsigned i = 0; i < difference->sample_count; i++) {
        char *text = difference->samples[i].text;
        if (text[0] != 0 || compare_hashes(&hash, &difference->samples[i].hash) != 0)
            continue;
        size_t shown = size_bytes < OUTPUT_SAMPLE_BYTES - 1 ? size_bytes : OUTPUT_SAMPLE_BYTES - 1;
        for (size_t j = 0; j < shown; j++) {
            text[j] = '?';
            if (data[j] == '\t')
                text[j] = ' ';
            else if (data[j] >= ' ' && data[j] < 0x7f)
                text[j] = data[j];
        }
        text[shown] = 0;
    }
    return WEIR_OK;
}

void output_find_samples(const char *expected_path, const char *found_path, uint64_t record_bytes, struct difference *difference)
{
    struct weir_error ignored = {0}; /* both could be read a moment ago; a sample without text is shown as such */
    struct walk walk = {record_bytes, note_sample, difference, &ignored};
    if (difference->sample_count == 0)
        return;
    visit(expected_path, &walk);
    visit(found_path, &walk);
}
