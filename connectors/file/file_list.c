#include "connectors/file/file_list.h"

#include "connectors/io/io.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PUBLISHED_BYTES_MAX ((size_t)1 << 30)
#define PUBLISHED_PREFIX "files-"
#define PUBLISHED_MAGIC UINT64_C(0x3153454c49465257) /* "WRFILES1" */

/* ------------------------------------------------------------------------------------------------- finding ------- */

static int add(struct weir_ctx *ctx, struct file_list *list, const char *path, uint64_t size_bytes)
{
    if ((list->count & (list->count - 1)) == 0) { /* full at each power of two */
        size_t capacity = list->count == 0 ? 1 : list->count * 2;
        struct file_entry *larger = realloc(list->entries, capacity * sizeof(*larger));
        if (larger == NULL)
            return io_fail(ctx, WEIR_ENOMEM, "out of memory for a list of %zu files", list->count);
        list->entries = larger;
    }
    char *copy = strdup(path);
    if (copy == NULL)
        return io_fail(ctx, WEIR_ENOMEM, "out of memory for a list of %zu files", list->count);
    list->entries[list->count++] = (struct file_entry){.end = size_bytes, .size_bytes = size_bytes, .path = copy};
    return WEIR_OK;
}

/* Opens each file once, so that one that cannot be read fails the job before the first record. */
static int add_file(struct weir_ctx *ctx, struct file_list *list, const char *path, bool must_be_regular)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return io_fail_errno(ctx, errno, "cannot open the input file %s", path);
    struct stat st;
    int result = WEIR_OK;
    if (fstat(fd, &st) != 0)
        result = io_fail_errno(ctx, errno, "cannot examine the input file %s", path);
    else if (S_ISREG(st.st_mode))
        result = add(ctx, list, path, (uint64_t)st.st_size);
    else if (must_be_regular)
        result = io_fail(ctx, WEIR_EINVAL,
                         "the input %s is not a regular file: a file source reads nothing else; a pipe or a terminal "
                         "can be read by the line source",
                         path);
    close(fd);
    return result;
}

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* Whether a directory's entry is one to read, without opening what is not (a FIFO, a device). */
static bool is_regular(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static int add_directory(struct weir_ctx *ctx, struct file_list *list, const char *path)
{
    struct dirent **names;
    int count = scandir(path, &names, is_visible, by_name);
    if (count < 0)
        return io_fail_errno(ctx, errno, "cannot read the input directory %s", path);
    int result = WEIR_OK;
    for (int i = 0; i < count; i++) {
        char file[IO_PATH_BYTES];
        int length =
            snprintf(file, sizeof(file), "%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/", names[i]->d_name);
        if (result == WEIR_OK && length >= (int)sizeof(file))
            result = io_fail(ctx, WEIR_ELIMIT, "the input file %s has too long a name", names[i]->d_name);
        else if (result == WEIR_OK && is_regular(file))
            result = add_file(ctx, list, file, true);
        free(names[i]);
    }
    free(names);
    if (result == WEIR_OK && list->count == 0)
        return io_fail(ctx, WEIR_ENOENT, "the input directory %s has no regular file that is not hidden", path);
    return result;
}

static int add_glob(struct weir_ctx *ctx, struct file_list *list, const char *pattern)
{
    glob_t found;
    int status = glob(pattern, GLOB_ERR, NULL, &found);
    if (status == GLOB_NOMATCH)
        return io_fail(ctx, WEIR_ENOENT, "no input file matches %s", pattern);
    if (status != 0)
        return io_fail_errno(ctx, status == GLOB_NOSPACE ? ENOMEM : errno, "cannot look for input files %s", pattern);
    int result = WEIR_OK;
    for (size_t i = 0; i < found.gl_pathc && result == WEIR_OK; i++) {
        if (is_regular(found.gl_pathv[i]))
            result = add_file(ctx, list, found.gl_pathv[i], true);
    }
    globfree(&found);
    if (result == WEIR_OK && list->count == 0)
        return io_fail(ctx, WEIR_ENOENT, "no regular file matches %s", pattern);
    return result;
}

static int scan(struct weir_ctx *ctx, const char *path, struct file_list *list)
{
    struct stat st;
    if (stat(path, &st) == 0) /* a file whose name has a '[' is a file first */
        return S_ISDIR(st.st_mode) ? add_directory(ctx, list, path) : add_file(ctx, list, path, true);
    if (errno != ENOENT || strpbrk(path, "*?[") == NULL)
        return io_fail_errno(ctx, errno, "cannot find the input file %s", path);
    return add_glob(ctx, list, path);
}

/* ------------------------------------------------------------------------------------------------- publishing ---- */

struct published_header {
    uint64_t magic;
    uint64_t count;
    uint64_t checksum; /* XXH3 of what follows: for each file u64 size, u64 length of the path, the path */
};

static void *encode(const struct file_list *list, size_t *ret_size_bytes)
{
    size_t size = sizeof(struct published_header);
    for (size_t i = 0; i < list->count; i++)
        size += 16 + strlen(list->entries[i].path);
    char *data = malloc(size);
    if (data == NULL)
        return NULL;
    char *p = data + sizeof(struct published_header);
    for (size_t i = 0; i < list->count; i++) {
        uint64_t length = strlen(list->entries[i].path);
        memcpy(p, &list->entries[i].size_bytes, 8);
        memcpy(p + 8, &length, 8);
        memcpy(p + 16, list->entries[i].path, length);
        p += 16 + length;
    }
    struct published_header header = {.magic = PUBLISHED_MAGIC, .count = list->count};
    header.checksum = XXH3_64bits(data + sizeof(header), size - sizeof(header));
    memcpy(data, &header, sizeof(header));
    *ret_size_bytes = size;
    return data;
}

static bool is_intact(const char *data, size_t size_bytes, struct published_header *ret_header)
{
    if (size_bytes < sizeof(*ret_header))
        return false;
    memcpy(ret_header, data, sizeof(*ret_header));
    return ret_header->magic == PUBLISHED_MAGIC &&
           ret_header->checksum == XXH3_64bits(data + sizeof(*ret_header), size_bytes - sizeof(*ret_header));
}

static int decode(struct weir_ctx *ctx, const char *data, size_t size_bytes, const char *name, struct file_list *list)
{
    struct published_header header;
    bool good = is_intact(data, size_bytes, &header);
    int result = WEIR_OK;
    for (size_t at = sizeof(header); good && result == WEIR_OK && list->count < header.count;) {
        uint64_t size, length;
        char path[IO_PATH_BYTES];
        good = size_bytes - at >= 16;
        if (!good)
            break;
        memcpy(&size, data + at, 8);
        memcpy(&length, data + at + 8, 8);
        good = length < sizeof(path) && size_bytes - at - 16 >= length;
        if (!good)
            break;
        memcpy(path, data + at + 16, length);
        path[length] = '\0';
        result = add(ctx, list, path, size);
        at += 16 + length;
    }
    if (!good)
        return io_fail(ctx, WEIR_ECORRUPT, "the list of input files %s in the job's directory is damaged", name);
    return result;
}

static int read_published(struct weir_ctx *ctx, int directory_fd, const char *name, struct file_list *list)
{
    size_t size = 0;
    char *data = io_read_file(directory_fd, name, PUBLISHED_BYTES_MAX, &size);
    if (data == NULL && errno == ENOENT)
        return WEIR_IDLE;
    if (data == NULL)
        return io_fail_errno(ctx, errno, "cannot read the list of input files %s in the job's directory", name);
    int result = decode(ctx, data, size, name, list);
    free(data);
    return result;
}

/* WEIR_END where another subtask was faster. */
static int publish(struct weir_ctx *ctx, int directory_fd, const char *name, const struct file_list *list)
{
    size_t size = 0;
    void *data = encode(list, &size);
    if (data == NULL)
        return io_fail(ctx, WEIR_ENOMEM, "out of memory for a list of %zu files", list->count);
    int made = io_create_once(directory_fd, name, weir_subtask_index(ctx), data, size);
    free(data);
    return made >= 0 ? made : io_fail_errno(ctx, errno, "cannot write the list of input files %s", name);
}

/* What earlier starts published, or died in publishing: their processes are gone. */
static void remove_older(int directory_fd, const char *name)
{
    int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (directory == NULL) {
        if (fd >= 0)
            close(fd);
        return; /* they cost a little space, no more */
    }
    const char *found;
    size_t name_bytes = strlen(name);
    while ((found = io_next_name(directory)) != NULL) {
        const char *published = strncmp(found, ".new-", 5) == 0 ? found + 5 : found;
        bool ours = strncmp(published, name, name_bytes) == 0 && (published[name_bytes] == 0 || published[name_bytes] == '.');
        if (strncmp(published, PUBLISHED_PREFIX, sizeof(PUBLISHED_PREFIX) - 1) == 0 && !ours)
            unlinkat(directory_fd, found, 0);
    }
    closedir(directory);
}

static void published_name(const struct weir_ctx *ctx, char ret_name[static 64])
{
    snprintf(ret_name, 64, PUBLISHED_PREFIX "%llu", (unsigned long long)weir_generation(ctx));
}

static int find_together(struct weir_ctx *ctx, const char *path, int directory_fd, struct file_list *list)
{
    char name[64];
    published_name(ctx, name);
    int result = read_published(ctx, directory_fd, name, list);
    if (result != WEIR_IDLE)
        return result;
    result = scan(ctx, path, list);
    if (result == WEIR_OK)
        result = publish(ctx, directory_fd, name, list);
    if (result == WEIR_OK)
        remove_older(directory_fd, name);
    if (result != WEIR_END)
        return result;
    file_list_free(list);
    return read_published(ctx, directory_fd, name, list);
}

int file_list_find(struct weir_ctx *ctx, const struct weir_file_source_options *options, struct file_list *ret_list)
{
    char directory[IO_PATH_BYTES];
    int directory_fd = -1;
    *ret_list = (struct file_list){0};
    int result = weir_subtask_count(ctx) > 1 ? io_open_job_directory(ctx, directory, &directory_fd) : WEIR_OK;
    if (result != WEIR_OK)
        return result;
    if (directory_fd < 0)
        return scan(ctx, options->path, ret_list);
    result = find_together(ctx, options->path, directory_fd, ret_list);
    close(directory_fd);
    return result;
}

void file_list_remove_older(struct weir_ctx *ctx)
{
    char directory[IO_PATH_BYTES], name[64];
    if (weir_subtask_count(ctx) == 1 || weir_job_directory(ctx)[0] == '\0')
        return;
    snprintf(directory, sizeof(directory), "%s/connectors/%s", weir_job_directory(ctx), weir_operator_name(ctx));
    int directory_fd = io_open_directory(directory);
    if (directory_fd < 0)
        return; /* there is none: nothing is left */
    published_name(ctx, name);
    remove_older(directory_fd, name);
    close(directory_fd);
}

void file_list_unpublish(struct weir_ctx *ctx)
{
    if (weir_subtask_count(ctx) == 1 || weir_job_directory(ctx)[0] == '\0')
        return;
    char path[IO_PATH_BYTES];
    int length = snprintf(path, sizeof(path), "%s/connectors/%s/" PUBLISHED_PREFIX "%llu", weir_job_directory(ctx),
                          weir_operator_name(ctx), (unsigned long long)weir_generation(ctx));
    if (length > 0 && length < (int)sizeof(path))
        unlink(path); /* missing: another subtask was faster. Left over, the next start that publishes removes it */
}

/* ------------------------------------------------------------------------------------------------- sharing ------- */

static int check_whole_records(struct weir_ctx *ctx, const struct file_entry *e, uint32_t record_bytes)
{
    uint64_t rest = e->size_bytes % record_bytes;
    if (rest == 0)
        return WEIR_OK;
    return io_fail(ctx, WEIR_ECORRUPT,
                   "the last record of the input file %s is incomplete: %llu of %u bytes at offset %llu", e->path,
                   (unsigned long long)rest, record_bytes, (unsigned long long)(e->size_bytes - rest));
}

/* a * b / c without overflow for b <= c. */
static uint64_t scale(uint64_t a, uint64_t b, uint64_t c) { return a / c * b + a % c * b / c; }

static void cut_range(struct file_entry *e, uint64_t unit_bytes, unsigned index, unsigned count)
{
    uint64_t units = e->size_bytes / unit_bytes;
    e->begin = scale(units, index, count) * unit_bytes;
    e->end = scale(units, index + 1, count) * unit_bytes;
}

int file_list_take_share(struct weir_ctx *ctx, const struct weir_file_source_options *options, struct file_list *list)
{
    const unsigned index = weir_subtask_index(ctx);
    const unsigned count = weir_subtask_count(ctx);
    const bool whole = options->whole_files || options->follow; /* what grows has no fixed ranges */
    const bool binary = options->format == WEIR_BINARY;
    size_t kept = 0;
    int result = WEIR_OK;
    for (size_t i = 0; i < list->count; i++) {
        struct file_entry *e = &list->entries[i];
        if (binary && !options->follow && result == WEIR_OK)
            result = check_whole_records(ctx, e, options->record_bytes);
        if (!whole)
            cut_range(e, binary ? options->record_bytes : 1, index, count);
        if (whole ? i % count == index : e->begin < e->end)
            list->entries[kept++] = *e;
        else
            free(e->path);
    }
    list->count = kept;
    return result;
}

/* ------------------------------------------------------------------------------------------------- state --------- */

#define ENTRY_HEAD_BYTES 24

int file_list_store(struct weir_ctx *ctx, unsigned state, const struct file_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct file_entry *e = &list->entries[i];
        unsigned char bytes[ENTRY_HEAD_BYTES + IO_PATH_BYTES];
        size_t length = strlen(e->path);
        if (length >= IO_PATH_BYTES)
            return io_fail(ctx, WEIR_ELIMIT, "the input file %.200s... has too long a name", e->path);
        memcpy(bytes, &e->begin, 8);
        memcpy(bytes + 8, &e->end, 8);
        memcpy(bytes + 16, &e->size_bytes, 8);
        memcpy(bytes + ENTRY_HEAD_BYTES, e->path, length);
        int result = weir_list_append(ctx, state, bytes, ENTRY_HEAD_BYTES + length);
        if (result != WEIR_OK)
            return result;
    }
    return WEIR_OK;
}

static int load_entry(struct weir_ctx *ctx, const struct weir_bytes *element, struct file_list *list)
{
    char path[IO_PATH_BYTES];
    if (element->size_bytes <= ENTRY_HEAD_BYTES || element->size_bytes - ENTRY_HEAD_BYTES >= sizeof(path))
        return io_fail(ctx, WEIR_ECORRUPT, "the list of input files in the state is damaged at entry %zu", list->count);
    size_t length = element->size_bytes - ENTRY_HEAD_BYTES;
    memcpy(path, (const char *)element->data + ENTRY_HEAD_BYTES, length);
    path[length] = '\0';
    struct file_entry e;
    memcpy(&e.begin, element->data, 8);
    memcpy(&e.end, (const char *)element->data + 8, 8);
    memcpy(&e.size_bytes, (const char *)element->data + 16, 8);
    if (e.begin > e.end || e.end > e.size_bytes)
        return io_fail(ctx, WEIR_ECORRUPT, "the list of input files in the state is damaged at %s", path);
    int result = add(ctx, list, path, e.size_bytes);
    if (result == WEIR_OK) {
        list->entries[list->count - 1].begin = e.begin;
        list->entries[list->count - 1].end = e.end;
    }
    return result;
}

int file_list_load(struct weir_ctx *ctx, unsigned state, struct file_list *ret_list)
{
    struct weir_iterator iterator = {{0}};
    struct weir_bytes element;
    *ret_list = (struct file_list){0};
    int result;
    while ((result = weir_list_next(ctx, state, &iterator, &element)) == WEIR_OK) {
        result = load_entry(ctx, &element, ret_list);
        if (result != WEIR_OK)
            return result;
    }
    return result == WEIR_END ? WEIR_OK : result;
}

void file_list_free(struct file_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->entries[i].path);
    free(list->entries);
    *list = (struct file_list){0};
}
