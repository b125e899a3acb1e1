/*
 * file_sink.c - rows into part files that appear, whole, when their checkpoint commits.
 *
 * In the directory: part-<subtask>-<number><suffix> (finished: never touched again),
 * .part-<subtask>-<number>.g<generation> (staged, see io/staging.h) and .weir-owner (which operator of which job writes
 * here: two would take each other's numbers).
 */
#include "connectors/io/io.h"
#include "connectors/io/staging.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROLL_BYTES_DEFAULT (UINT64_C(128) << 20)
#define SUFFIX_BYTES_MAX 64
#define OWNER_NAME ".weir-owner"
#define OWNER_BYTES 512

struct file_sink {
    struct staging staging; /* first */
    const char *suffix;
};

static int check_options(struct weir_ctx *ctx, const struct weir_file_sink_options *options)
{
    if (options == NULL || options->directory == NULL || options->directory[0] == '\0')
        return io_fail(ctx, WEIR_EINVAL, "the file sink has no directory: set weir_file_sink_options.directory");
    if (options->format > WEIR_RAW)
        return io_fail(ctx, WEIR_EINVAL, "the file sink has no format %d", (int)options->format);
    if (options->suffix != NULL && (strchr(options->suffix, '/') != NULL || strlen(options->suffix) > SUFFIX_BYTES_MAX))
        return io_fail(ctx, WEIR_EINVAL, "the suffix \"%s\" cannot end a file name: at most %d bytes, no slash",
                       options->suffix, SUFFIX_BYTES_MAX);
    return WEIR_OK;
}

static int check_owner(struct weir_ctx *ctx, const struct staging *s, const char *owner, char *found)
{
    if (strcmp(found, owner) == 0)
        return WEIR_OK;
    for (char *p = found; *p != '\0'; p++)
        if (*p == '\n')
            *p = ' ';
    return io_fail(ctx, WEIR_EEXIST,
                   "the directory %s is the output of another sink (%.150s): give each sink a directory of its own, or "
                   "remove %s/" OWNER_NAME " where that one is done with",
                   s->directory, found, s->directory);
}

/* Looks first: a restart on a full disk has to get as far as abort(), which frees space. */
static int claim_directory(struct weir_ctx *ctx, const struct staging *s)
{
    char owner[OWNER_BYTES];
    size_t size = 0;
    int length = snprintf(owner, sizeof(owner), "job %s\noperator %s\n", weir_job_name(ctx), weir_operator_name(ctx));
    char *found = io_read_file(s->directory_fd, OWNER_NAME, OWNER_BYTES, &size);
    if (found != NULL)
        io_create_clean(s->directory_fd, OWNER_NAME, weir_subtask_index(ctx));
    if (found == NULL && errno == ENOENT) {
        int made = io_create_once(s->directory_fd, OWNER_NAME, weir_subtask_index(ctx), owner, (size_t)length);
        if (made == WEIR_OK)
            return WEIR_OK;
        if (made < 0)
            return io_fail_errno(ctx, errno, "cannot make %s/" OWNER_NAME, s->directory);
        found = io_read_file(s->directory_fd, OWNER_NAME, OWNER_BYTES, &size); /* another subtask was faster */
    }
    if (found == NULL)
        return io_fail_errno(ctx, errno, "cannot read %s/" OWNER_NAME, s->directory);
    int result = check_owner(ctx, s, owner, found);
    free(found);
    return result;
}

/* "part-<subtask>-<number>", whatever follows. */
static bool parse_finished(const char *name, unsigned long *ret_subtask, unsigned long long *ret_number)
{
    if (strncmp(name, "part-", 5) != 0 || !isdigit((unsigned char)name[5]))
        return false;
    char *end;
    *ret_subtask = strtoul(name + 5, &end, 10);
    if (end[0] != '-' || !isdigit((unsigned char)end[1]))
        return false;
    *ret_number = strtoull(end + 1, &end, 10);
    return true;
}

/* What is there already must be older than the restored checkpoint: else records would be written twice, or a name
 * would be taken. */
static int check_finished_name(struct weir_ctx *ctx, const struct staging *s, const char *name)
{
    unsigned long subtask;
    unsigned long long number;
    if (!parse_finished(name, &subtask, &number))
        return WEIR_OK;
    if (weir_restored_checkpoint(ctx) == 0)
        return io_fail(ctx, WEIR_EEXIST,
                       "the directory %s has finished part files already (%s), but the job starts from nothing: "
                       "its output would be mixed with theirs; give an empty directory or move them away",
                       s->directory, name);
    if (subtask == s->subtask && number >= s->next_number)
        return io_fail(ctx, WEIR_EEXIST,
                       "the finished part file %s/%s is newer than the restored checkpoint %llu: its records would be "
                       "written twice; to go back to that checkpoint, move part-%u-%llu and later ones away first",
                       s->directory, name, (unsigned long long)weir_restored_checkpoint(ctx), s->subtask,
                       (unsigned long long)s->next_number);
    return WEIR_OK;
}

static int check_finished(struct weir_ctx *ctx, const struct staging *s)
{
    DIR *directory = opendir(s->directory);
    if (directory == NULL)
        return io_fail_errno(ctx, errno, "cannot read the directory %s", s->directory);
    int result = WEIR_OK;
    const char *name;
    while (result == WEIR_OK && (name = io_next_name(directory)) != NULL)
        result = check_finished_name(ctx, s, name);
    if (result == WEIR_OK && errno != 0)
        result = io_fail_errno(ctx, errno, "cannot read the directory %s", s->directory);
    closedir(directory);
    return result;
}

/* `staging` is the first member of its sink. */
static void finished_name(const struct staging *s, uint64_t number, char *ret_name)
{
    const struct file_sink *self = (const struct file_sink *)s;
    snprintf(ret_name, STAGING_NAME_BYTES, "%s-%u-%llu%s", s->prefix, s->subtask, (unsigned long long)number,
             self->suffix);
}

static bool is_finished(const struct staging *s, uint64_t number)
{
    char name[STAGING_NAME_BYTES];
    finished_name(s, number, name);
    return faccessat(s->directory_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool is_same_file(int directory_fd, const char *a, const char *b)
{
    struct stat st_a, st_b;
    return fstatat(directory_fd, a, &st_a, AT_SYMLINK_NOFOLLOW) == 0 &&
           fstatat(directory_fd, b, &st_b, AT_SYMLINK_NOFOLLOW) == 0 && st_a.st_dev == st_b.st_dev &&
           st_a.st_ino == st_b.st_ino;
}

/* Never replaces a file. Where the file system cannot rename like that, a link and an unlink do it in two steps, and a
 * kill between them leaves both names to one inode. 0, or -1 with errno. */
static int rename_exclusive(int directory_fd, const char *from, const char *to)
{
    if (renameat2(directory_fd, from, directory_fd, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EINVAL || errno == ENOSYS || errno == ENOTSUP) {
        if (linkat(directory_fd, from, directory_fd, to, 0) == 0)
            return unlinkat(directory_fd, from, 0);
    }
    if (errno == EEXIST && is_same_file(directory_fd, from, to))
        return unlinkat(directory_fd, from, 0);
    return -1;
}

static int finish_part(struct weir_ctx *ctx, struct staging *s, uint64_t number, const char *staged)
{
    char name[STAGING_NAME_BYTES];
    finished_name(s, number, name);
    if (rename_exclusive(s->directory_fd, staged, name) == 0)
        return WEIR_OK;
    if (errno == ENOENT) {
        /* Committed before, and perhaps taken away by its reader since. */
        if (!is_finished(s, number))
            weir_log(ctx, "part file %s/%s was committed earlier and is not there any more", s->directory, name);
        return WEIR_OK;
    }
    if (errno == EEXIST)
        return io_fail(ctx, WEIR_EEXIST,
                       "cannot commit %s/%s: a file that is not this job's has its final name %s: move it away",
                       s->directory, staged, name);
    return io_fail_errno(ctx, errno, "cannot rename %s/%s to %s", s->directory, staged, name);
}

static int open_directory(struct weir_ctx *ctx)
{
    struct file_sink *self = weir_self(ctx);
    const struct weir_file_sink_options *options = weir_arg(ctx);
    struct staging *s = &self->staging;
    s->directory_fd = s->fd = -1;
    int result = check_options(ctx, options);
    if (result != WEIR_OK)
        return result;
    self->suffix = options->suffix != NULL ? options->suffix : "";
    s->finish = finish_part;
    s->is_finished = is_finished;
    s->directory = options->directory;
    s->prefix = "part";
    s->roll_bytes = options->roll_bytes != 0 ? options->roll_bytes : ROLL_BYTES_DEFAULT;
    s->format = options->format;
    if (io_make_directories(options->directory) != 0)
        return io_fail_errno(ctx, errno, "cannot make the output directory %s", options->directory);
    s->directory_fd = io_open_directory(options->directory);
    if (s->directory_fd < 0)
        return io_fail_errno(ctx, errno, "cannot open the output directory %s", options->directory);
    return staging_open(ctx, s);
}

static int open_sink(struct weir_ctx *ctx)
{
    const struct file_sink *self = weir_self(ctx);
    int result = open_directory(ctx);
    if (result == WEIR_OK)
        result = claim_directory(ctx, &self->staging);
    return result == WEIR_OK ? check_finished(ctx, &self->staging) : result;
}

/* The directory was claimed, and what was there looked at, when the job was started. */
static int resume_sink(struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    int result = open_directory(ctx);
    return result == WEIR_OK ? staging_resume(ctx, position, position_bytes) : result;
}

static int write_batch(struct weir_ctx *ctx, const struct weir_record *records, size_t count)
{
    struct file_sink *self = weir_self(ctx);
    return staging_write(ctx, &self->staging, records, count);
}

static int commit(struct weir_ctx *ctx, uint64_t checkpoint, const void *committable, size_t size_bytes)
{
    const struct file_sink *self = weir_self(ctx);
    int result = staging_commit(ctx, checkpoint, committable, size_bytes);
    if (result == WEIR_OK && fsync(self->staging.directory_fd) != 0)
        result = io_fail_errno(ctx, errno, "cannot sync the directory %s", self->staging.directory);
    return result;
}

const struct weir_sink weir_file_sink = {
    .type = "file",
    .states = staging_states,
    .state_count = STAGING_STATE_COUNT,
    .self_bytes = sizeof(struct file_sink),
    .open = open_sink,
    .write_batch = write_batch,
    .flush = staging_flush,
    .prepare = staging_prepare,
    .persist = staging_persist,
    .commit = commit,
    .abort = staging_abort,
    .close = staging_close,
    .position = staging_position,
    .resume = resume_sink,
    .commits_late = true,
};
