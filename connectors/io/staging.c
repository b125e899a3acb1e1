#include "connectors/io/staging.h"

#include "connectors/io/io.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMMITTABLE_MAGIC 0x31545257u /* "WRT1" */
#define FAILED_SUFFIX ".failed"
#define PRINTED_SUFFIX ".printed"

const struct weir_state staging_states[STAGING_STATE_COUNT] = {
    {.name = "next_part", .kind = WEIR_VALUE, .scope = WEIR_PER_OPERATOR, .size_bytes = sizeof(uint64_t), .version = 1},
};

/* On disk, in the manifest: little-endian, as the hosts that Weir runs on. */
struct committable {
    uint32_t magic;
    uint32_t subtask;
    uint64_t generation;
    uint64_t first;
    uint64_t last;
};
_Static_assert(sizeof(struct committable) == 32, "durable");

/* What staging_position() gives. */
struct staging_position {
    uint64_t next_number;
    uint64_t first_uncommitted;
    uint64_t file_bytes; /* of the part being written, which is next_number - 1 */
    uint32_t is_open;    /* there is one */
    uint32_t reserved;
};
_Static_assert(sizeof(struct staging_position) == 32, "shared");

static void staged_name(const struct staging *s, uint64_t generation, uint64_t number, char *ret_name)
{
    snprintf(ret_name, STAGING_NAME_BYTES, ".%s-%u-%llu.g%llu", s->prefix, s->subtask, (unsigned long long)number,
             (unsigned long long)generation);
}

int staging_open(struct weir_ctx *ctx, struct staging *s)
{
    s->fd = -1;
    s->subtask = weir_subtask_index(ctx);
    s->generation = weir_generation(ctx);
    s->layout = weir_input_layout(ctx, 0);
    s->capacity = STAGING_BUFFER_BYTES;
    s->buffer = malloc(s->capacity);
    if (s->buffer == NULL)
        return io_fail(ctx, WEIR_ENOMEM, "out of memory for a buffer of %zu bytes", s->capacity);
    const uint64_t *next = weir_value(ctx, 0);
    if (next == NULL)
        return weir_ctx_error(ctx)->code;
    s->next_number = *next;
    s->first_uncommitted = *next;
    return WEIR_OK;
}

static void unpin_through(struct staging *s, uint64_t last)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < s->pin_count; i++) {
        if (s->pins[i].number <= last)
            close(s->pins[i].fd); /* synced, or named again: nothing depends on what close says */
        else
            s->pins[kept++] = s->pins[i];
    }
    s->pin_count = kept;
}

void staging_close(struct weir_ctx *ctx)
{
    struct staging *s = weir_self(ctx);
    unpin_through(s, UINT64_MAX);
    if (s->fd >= 0)
        close(s->fd);
    if (s->directory_fd >= 0)
        close(s->directory_fd);
    free(s->buffer);
    s->fd = s->directory_fd = -1;
    s->buffer = NULL;
}

/* ------------------------------------------------------------------------------------------------- writing ------- */

static int begin_part(struct weir_ctx *ctx, struct staging *s)
{
    char name[STAGING_NAME_BYTES];
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    staged_name(s, s->generation, s->next_number, name);
    int fd = openat(s->directory_fd, name, flags, 0666);
    if (fd < 0 && errno == EEXIST && unlinkat(s->directory_fd, name, 0) == 0)
        fd = openat(s->directory_fd, name, flags, 0666);
    if (fd < 0)
        return io_fail_errno(ctx, errno, "cannot make the part file %s/%s", s->directory, name);
    uint64_t *next = weir_value(ctx, 0);
    if (next == NULL) {
        close(fd);
        return weir_ctx_error(ctx)->code;
    }
    s->fd = fd;
    s->file_bytes = 0;
    *next = ++s->next_number;
    return WEIR_OK;
}

static int write_failed(struct weir_ctx *ctx, const struct staging *s, int errno_value, uint64_t offset)
{
    char name[STAGING_NAME_BYTES];
    staged_name(s, s->generation, s->next_number - 1, name);
    return io_fail_errno(ctx, errno_value, "cannot write the part file %s/%s at offset %llu", s->directory, name,
                         (unsigned long long)offset);
}

static int hand_over(struct weir_ctx *ctx, struct staging *s, const void *data, size_t size_bytes)
{
    size_t done = io_write_all(s->fd, data, size_bytes);
    s->file_bytes += done;
    return done == size_bytes ? WEIR_OK : write_failed(ctx, s, errno, s->file_bytes);
}

static int hand_over_buffer(struct weir_ctx *ctx, struct staging *s)
{
    size_t used = s->used;
    s->used = 0;
    return used > 0 ? hand_over(ctx, s, s->buffer, used) : WEIR_OK;
}

/* Where there are too many parts to keep open, the oldest is synced here. */
static int pin(struct weir_ctx *ctx, struct staging *s)
{
    if (s->pin_count == STAGING_PINNED_MAX) {
        if (fdatasync(s->pins[0].fd) != 0)
            return io_fail_errno(ctx, errno, "cannot sync part %llu in %s", (unsigned long long)s->pins[0].number,
                                 s->directory);
        unpin_through(s, s->pins[0].number);
    }
    s->pins[s->pin_count++] = (struct staging_pin){.number = s->next_number - 1, .fd = s->fd};
    s->fd = -1;
    return WEIR_OK;
}

static int end_part(struct weir_ctx *ctx, struct staging *s)
{
    int result = hand_over_buffer(ctx, s);
    return result == WEIR_OK ? pin(ctx, s) : result;
}

size_t staging_format_row(const struct staging *s, const struct weir_record *record, char *buffer, size_t capacity)
{
    if (s->format == WEIR_JSON_LINES)
        return weir_format_json(s->layout, record->data, record->size_bytes, buffer, capacity);
    return weir_format_text(s->layout, record->data, record->size_bytes, buffer, capacity);
}

static int append_line(struct weir_ctx *ctx, struct staging *s, const struct weir_record *record)
{
    size_t free_bytes = s->capacity - s->used;
    size_t size = staging_format_row(s, record, (char *)s->buffer + s->used, free_bytes > 0 ? free_bytes - 1 : 0);
    if (size >= free_bytes) { /* the row and its line end do not fit */
        int result = hand_over_buffer(ctx, s);
        if (result != WEIR_OK)
            return result;
        if (size >= s->capacity) {
            unsigned char *larger = realloc(s->buffer, size + 1);
            if (larger == NULL)
                return io_fail(ctx, WEIR_ENOMEM, "out of memory for a row of %zu bytes", size);
            s->buffer = larger;
            s->capacity = size + 1;
        }
        size = staging_format_row(s, record, (char *)s->buffer, s->capacity - 1);
    }
    s->used += size;
    s->buffer[s->used++] = '\n';
    return WEIR_OK;
}

static int append_raw(struct weir_ctx *ctx, struct staging *s, const struct weir_record *record)
{
    if (record->size_bytes > s->capacity - s->used) {
        int result = hand_over_buffer(ctx, s);
        if (result != WEIR_OK || record->size_bytes > s->capacity)
            return result != WEIR_OK ? result : hand_over(ctx, s, record->data, record->size_bytes);
    }
    memcpy(s->buffer + s->used, record->data, record->size_bytes);
    s->used += record->size_bytes;
    return WEIR_OK;
}

int staging_write(struct weir_ctx *ctx, struct staging *s, const struct weir_record *records, size_t count)
{
    int result = WEIR_OK;
    for (size_t i = 0; i < count && result == WEIR_OK; i++) {
        if (s->fd < 0)
            result = begin_part(ctx, s);
        if (result == WEIR_OK)
            result = s->format == WEIR_RAW ? append_raw(ctx, s, &records[i]) : append_line(ctx, s, &records[i]);
        if (result == WEIR_OK && s->file_bytes + s->used >= s->roll_bytes)
            result = end_part(ctx, s);
    }
    return result;
}

/* ------------------------------------------------------------------------------------------------- taking over --- */

int staging_flush(struct weir_ctx *ctx)
{
    struct staging *s = weir_self(ctx);
    return s->fd >= 0 ? hand_over_buffer(ctx, s) : WEIR_OK;
}

int staging_position(struct weir_ctx *ctx, void *buffer, size_t *ret_size_bytes)
{
    const struct staging *s = weir_self(ctx);
    struct staging_position p = {.next_number = s->next_number, .first_uncommitted = s->first_uncommitted, .is_open = s->fd >= 0};
    p.file_bytes = s->fd >= 0 ? s->file_bytes : 0;
    memcpy(buffer, &p, sizeof(p));
    *ret_size_bytes = sizeof(p);
    return WEIR_OK;
}

/* Parts that were begun in the batch that is undone. */
static int remove_later_parts(struct weir_ctx *ctx, const struct staging *s)
{
    for (uint64_t number = s->next_number;; number++) {
        char name[STAGING_NAME_BYTES];
        staged_name(s, s->generation, number, name);
        if (unlinkat(s->directory_fd, name, 0) == 0)
            continue;
        return errno == ENOENT ? WEIR_OK : io_fail_errno(ctx, errno, "cannot remove %s/%s", s->directory, name);
    }
}

/* The part that was being written, without what came after the position. */
static int reopen_part(struct weir_ctx *ctx, struct staging *s, uint64_t file_bytes)
{
    char name[STAGING_NAME_BYTES];
    struct stat st;
    staged_name(s, s->generation, s->next_number - 1, name);
    s->fd = openat(s->directory_fd, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    if (s->fd < 0 || fstat(s->fd, &st) != 0)
        return io_fail_errno(ctx, errno, "cannot open the part file %s/%s again", s->directory, name);
    if ((uint64_t)st.st_size < file_bytes)
        return io_fail(ctx, WEIR_ECORRUPT, "the part file %s/%s has %lld bytes, %llu were written", s->directory, name,
                       (long long)st.st_size, (unsigned long long)file_bytes);
    if (ftruncate(s->fd, (off_t)file_bytes) != 0 || lseek(s->fd, (off_t)file_bytes, SEEK_SET) < 0)
        return io_fail_errno(ctx, errno, "cannot cut the part file %s/%s to %llu bytes", s->directory, name,
                             (unsigned long long)file_bytes);
    s->file_bytes = file_bytes;
    return WEIR_OK;
}

/* Closed parts that are not committed. One that is not there was committed, or its sync failed: persist will tell. */
static int pin_parts(struct weir_ctx *ctx, struct staging *s, uint64_t end)
{
    uint64_t first = s->first_uncommitted;
    if (end > first && end - first > STAGING_PINNED_MAX)
        first = end - STAGING_PINNED_MAX; /* older ones were synced when they were unpinned */
    for (uint64_t number = first; number < end; number++) {
        char name[STAGING_NAME_BYTES];
        staged_name(s, s->generation, number, name);
        int fd = openat(s->directory_fd, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0)
            s->pins[s->pin_count++] = (struct staging_pin){.number = number, .fd = fd};
        else if (errno != ENOENT)
            return io_fail_errno(ctx, errno, "cannot open the part file %s/%s again", s->directory, name);
    }
    return WEIR_OK;
}

int staging_resume(struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    struct staging *s = weir_self(ctx);
    struct staging_position p;
    if (position == NULL || position_bytes != sizeof(p))
        return io_fail(ctx, WEIR_ECORRUPT, "the position in %s takes %zu bytes, not %zu", s->directory, sizeof(p), position_bytes);
    memcpy(&p, position, sizeof(p));
    if (p.next_number != s->next_number || p.first_uncommitted > p.next_number || p.is_open > p.next_number)
        return io_fail(ctx, WEIR_ECORRUPT, "the position in %s contradicts its state: part %llu, not %llu", s->directory,
                       (unsigned long long)p.next_number, (unsigned long long)s->next_number);
    s->first_uncommitted = p.first_uncommitted;
    int result = remove_later_parts(ctx, s);
    if (result == WEIR_OK)
        result = pin_parts(ctx, s, p.next_number - p.is_open);
    if (result == WEIR_OK && p.is_open != 0)
        result = reopen_part(ctx, s, p.file_bytes);
    return result;
}

/* ------------------------------------------------------------------------------------------------- phases -------- */

int staging_prepare(struct weir_ctx *ctx, uint64_t checkpoint, void *committable, size_t *ret_size_bytes)
{
    (void)checkpoint;
    struct staging *s = weir_self(ctx);
    if (s->fd >= 0) {
        int result = end_part(ctx, s);
        if (result != WEIR_OK)
            return result;
    }
    if (s->first_uncommitted == s->next_number) {
        *ret_size_bytes = 0;
        return WEIR_OK;
    }
    struct committable c = {.magic = COMMITTABLE_MAGIC,
                            .subtask = s->subtask,
                            .generation = s->generation,
                            .first = s->first_uncommitted,
                            .last = s->next_number - 1};
    memcpy(committable, &c, sizeof(c));
    *ret_size_bytes = sizeof(c);
    return WEIR_OK;
}

static int decode(struct weir_ctx *ctx, const struct staging *s, const void *bytes, size_t size_bytes,
                  struct committable *ret_committable)
{
    if (size_bytes != sizeof(*ret_committable))
        return io_fail(ctx, WEIR_ECORRUPT, "what was prepared for %s takes %zu bytes, not %zu", s->directory,
                       sizeof(*ret_committable), size_bytes);
    memcpy(ret_committable, bytes, size_bytes);
    if (ret_committable->magic != COMMITTABLE_MAGIC || ret_committable->first > ret_committable->last)
        return io_fail(ctx, WEIR_ECORRUPT, "what was prepared for %s is damaged", s->directory);
    if (ret_committable->subtask != s->subtask)
        return io_fail(ctx, WEIR_EMISMATCH, "subtask %u was given what subtask %u prepared for %s", s->subtask,
                       ret_committable->subtask, s->directory);
    return WEIR_OK;
}

static int sync_part(struct weir_ctx *ctx, const struct staging *s, const char *name)
{
    int fd = openat(s->directory_fd, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return io_fail_errno(ctx, errno, "cannot open the part file %s/%s", s->directory, name);
    int result = fdatasync(fd);
    int saved = errno;
    close(fd);
    if (result == 0)
        return WEIR_OK;
    char failed[STAGING_NAME_BYTES + sizeof(FAILED_SUFFIX)];
    snprintf(failed, sizeof(failed), "%s" FAILED_SUFFIX, name);
    renameat(s->directory_fd, name, s->directory_fd, failed);
    return io_fail_errno(ctx, saved, "cannot sync the part file %s/%s", s->directory, name);
}

/* The staged file is not there: fine where the task committed it meanwhile. */
static int check_missing(struct weir_ctx *ctx, const struct staging *s, uint64_t number, const char *name)
{
    char failed[STAGING_NAME_BYTES + sizeof(FAILED_SUFFIX)];
    snprintf(failed, sizeof(failed), "%s" FAILED_SUFFIX, name);
    if (faccessat(s->directory_fd, failed, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return io_fail(ctx, WEIR_EIO,
                       "the part file %s/%s could not be synced earlier, so its bytes cannot be relied on: "
                       "they are made again after a restart from the last checkpoint",
                       s->directory, name);
    if (s->is_finished(s, number))
        return WEIR_OK;
    return io_fail(ctx, WEIR_ENOENT, "the part file %s/%s is gone before its commit: it was removed by somebody else",
                   s->directory, name);
}

int staging_persist(struct weir_ctx *ctx, uint64_t checkpoint, const void *committable, size_t size_bytes)
{
    (void)checkpoint;
    const struct staging *s = weir_self(ctx);
    struct committable c = {0};
    int result = decode(ctx, s, committable, size_bytes, &c);
    for (uint64_t number = c.first; result == WEIR_OK && number <= c.last; number++) {
        char name[STAGING_NAME_BYTES];
        staged_name(s, c.generation, number, name);
        if (faccessat(s->directory_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)
            result = check_missing(ctx, s, number, name);
        else
            result = sync_part(ctx, s, name);
    }
    if (result == WEIR_OK && fsync(s->directory_fd) != 0)
        result = io_fail_errno(ctx, errno, "cannot sync the directory %s", s->directory);
    return result;
}

int staging_commit(struct weir_ctx *ctx, uint64_t checkpoint, const void *committable, size_t size_bytes)
{
    (void)checkpoint;
    struct staging *s = weir_self(ctx);
    struct committable c = {0};
    int result = decode(ctx, s, committable, size_bytes, &c);
    for (uint64_t number = c.first; result == WEIR_OK && number <= c.last; number++) {
        char name[STAGING_NAME_BYTES];
        staged_name(s, c.generation, number, name);
        result = s->finish(ctx, s, number, name);
    }
    if (result != WEIR_OK)
        return result;
    unpin_through(s, c.last);
    if (s->first_uncommitted <= c.last)
        s->first_uncommitted = c.last + 1;
    return WEIR_OK;
}

/* ------------------------------------------------------------------------------------------------- abort --------- */

static const char *skip_number(const char *text)
{
    if (!isdigit((unsigned char)*text))
        return NULL;
    while (isdigit((unsigned char)*text))
        text++;
    return text;
}

/* .<prefix>-<subtask>-<number>.g<generation>, and what belongs to it: the same with .failed or .printed behind it, which is
 * *ret_suffix. */
static bool is_own_staged(const struct staging *s, const char *name, uint64_t *ret_number, const char **ret_suffix)
{
    char start[STAGING_NAME_BYTES];
    int length = snprintf(start, sizeof(start), ".%s-%u-", s->prefix, s->subtask);
    if (strncmp(name, start, (size_t)length) != 0)
        return false;
    *ret_number = strtoull(name + length, NULL, 10);
    const char *rest = skip_number(name + length);
    if (rest == NULL || rest[0] != '.' || rest[1] != 'g')
        return false;
    rest = skip_number(rest + 2);
    *ret_suffix = rest;
    return rest != NULL && (*rest == '\0' || strcmp(rest, FAILED_SUFFIX) == 0 || strcmp(rest, PRINTED_SUFFIX) == 0);
}

/* A note of how far a file is printed, whose file is gone: printed to its end. */
static bool is_left_over(const struct staging *s, const char *name, const char *suffix)
{
    char staged[STAGING_NAME_BYTES];
    if (strcmp(suffix, PRINTED_SUFFIX) != 0)
        return false;
    snprintf(staged, sizeof(staged), "%.*s", (int)(suffix - name), name);
    return faccessat(s->directory_fd, staged, F_OK, AT_SYMLINK_NOFOLLOW) != 0;
}

static bool is_to_go(const struct staging *s, const char *name)
{
    uint64_t number;
    const char *suffix;
    return is_own_staged(s, name, &number, &suffix) && (number >= s->next_number || is_left_over(s, name, suffix));
}

int staging_abort(struct weir_ctx *ctx, uint64_t restored_checkpoint)
{
    (void)restored_checkpoint;
    const struct staging *s = weir_self(ctx);
    if (s->directory_fd < 0)
        return WEIR_OK;
    int fd = openat(s->directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (directory == NULL) {
        int saved = errno;
        if (fd >= 0)
            close(fd);
        return io_fail_errno(ctx, saved, "cannot read the directory %s", s->directory);
    }
    int result = WEIR_OK;
    const char *name;
    while (result == WEIR_OK && (name = io_next_name(directory)) != NULL) {
        if (is_to_go(s, name) && unlinkat(s->directory_fd, name, 0) != 0 && errno != ENOENT)
            result = io_fail_errno(ctx, errno, "cannot remove %s/%s", s->directory, name);
    }
    if (result == WEIR_OK && errno != 0)
        result = io_fail_errno(ctx, errno, "cannot read the directory %s", s->directory);
    closedir(directory);
    return result;
}
