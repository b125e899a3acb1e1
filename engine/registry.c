#include "engine/registry.h"

#include "base/bytes.h"
#include "base/error.h"
#include "engine/control.h"
#include "engine/option_value.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAME_NAME_MAX 64 /* running jobs of one name */

static void runtime_path(char *path, size_t capacity)
{
    const char *own = getenv("WEIR_RUNTIME_DIR");
    const char *base = getenv("XDG_RUNTIME_DIR");
    if (own != NULL && own[0] == '/')
        snprintf(path, capacity, "%s", own);
    else
        snprintf(path, capacity, "%s/weir-%u", base != NULL && base[0] == '/' ? base : "/tmp", (unsigned)geteuid());
}

/* In /tmp anybody may have made a directory of that name first. */
static int check_owner(int fd, const char *path, struct weir_error *err)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return error_set_errno(err, errno, "registry '%s'", path);
    if (status.st_uid != geteuid() || (status.st_mode & 022) != 0)
        return error_set(err, WEIR_EPERM, "registry '%s': it is not ours alone (user %u, mode %04o): set WEIR_RUNTIME_DIR", path,
                         (unsigned)status.st_uid, (unsigned)status.st_mode & 07777u);
    return WEIR_OK;
}

/* WEIR_ENOENT where there is none and `make` is false. */
static int open_registry(bool make, int *ret_fd, struct weir_error *err)
{
    char path[PATH_MAX];
    runtime_path(path, sizeof path);
    if (make && mkdir(path, 0700) != 0 && errno != EEXIST)
        return error_set_errno(err, errno, "registry '%s': cannot make the directory", path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_set_errno(err, errno, "registry '%s': cannot open it", path);
    int code = check_owner(fd, path, err);
    if (code != WEIR_OK) {
        close(fd);
        return code;
    }
    *ret_fd = fd;
    return WEIR_OK;
}

/* Reads one link. False where there is none, or none of ours. */
static bool read_entry(int fd, const char *name, struct registry_entry *entry)
{
    if (strlen(name) >= sizeof entry->name)
        return false;
    ssize_t size_bytes = readlinkat(fd, name, entry->directory, sizeof entry->directory - 1);
    if (size_bytes <= 0 || entry->directory[0] != '/')
        return false;
    entry->directory[size_bytes] = 0;
    memcpy(entry->name, name, strlen(name) + 1);
    return true;
}

/* The same, but of a job that runs; another is removed. */
static bool read_live_entry(int fd, const char *name, struct registry_entry *entry)
{
    if (!read_entry(fd, name, entry))
        return false;
    if (control_is_served(entry->directory))
        return true;
    unlinkat(fd, name, 0);
    return false;
}

/* Enters the job as NAME, or NAME-<attempt>. 0, or an errno: EEXIST where another running job has that name. */
static int enter(int fd, const char *name, unsigned attempt, const char *directory, struct registry_entry *ret_entry)
{
    struct registry_entry entry = {0}, there;
    snprintf(entry.directory, sizeof entry.directory, "%s", directory);
    if (attempt == 1)
        snprintf(entry.name, sizeof entry.name, "%s", name);
    else
        snprintf(entry.name, sizeof entry.name, "%s-%u", name, attempt);
    if (read_entry(fd, entry.name, &there) && strcmp(there.directory, directory) == 0)
        unlinkat(fd, entry.name, 0); /* of an earlier run here */
    else if (read_live_entry(fd, entry.name, &there))
        return EEXIST;
    if (symlinkat(directory, fd, entry.name) != 0)
        return errno;
    if (ret_entry != NULL)
        *ret_entry = entry;
    return 0;
}

int registry_add(const char *name, const char *directory, struct registry_entry *ret_entry, struct weir_error *err)
{
    int fd = -1;
    int code = open_registry(true, &fd, err);
    if (code != WEIR_OK)
        return code;
    int result = EEXIST;
    for (unsigned attempt = 1; attempt <= SAME_NAME_MAX && result == EEXIST; attempt++)
        result = enter(fd, name, attempt, directory, ret_entry);
    close(fd);
    if (result == EEXIST)
        return error_set(err, WEIR_ELIMIT, "registry: %d jobs of the name '%s' run already", SAME_NAME_MAX, name);
    return result == 0 ? WEIR_OK : error_set_errno(err, result, "registry: cannot enter job '%s'", name);
}

void registry_remove(const struct registry_entry *entry)
{
    int fd = -1;
    struct registry_entry there;
    struct weir_error err = {0};
    if (open_registry(false, &fd, &err) != WEIR_OK)
        return;
    if (read_entry(fd, entry->name, &there) && strcmp(there.directory, entry->directory) == 0)
        unlinkat(fd, entry->name, 0);
    close(fd);
}

static int compare_entries(const void *a, const void *b)
{
    const struct registry_entry *left = a, *right = b;
    return strcmp(left->name, right->name);
}

/* Steals fd. */
static int collect(int fd, struct registry_entry **ret_entries, size_t *ret_count, struct weir_error *err)
{
    struct registry_entry *entries = NULL;
    size_t count = 0;
    int code = WEIR_OK;
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        code = error_set_errno(err, errno, "registry: cannot read it");
        close(fd);
        return code;
    }
    const struct dirent *found;
    while ((found = readdir(directory)) != NULL) {
        struct registry_entry entry;
        if (found->d_name[0] == '.' || !read_live_entry(fd, found->d_name, &entry))
            continue;
        struct registry_entry *grown = realloc(entries, (count + 1) * sizeof *grown);
        if (grown == NULL) {
            code = error_set(err, WEIR_ENOMEM, "registry: out of memory");
            break;
        }
        entries = grown;
        entries[count++] = entry;
    }
    closedir(directory);
    if (code != WEIR_OK) {
        free(entries);
        return code;
    }
    if (count > 0)
        qsort(entries, count, sizeof *entries, compare_entries);
    *ret_entries = entries;
    *ret_count = count;
    return WEIR_OK;
}

int registry_list(struct registry_entry **ret_entries, size_t *ret_count, struct weir_error *err)
{
    int fd = -1;
    struct weir_error none = {0};
    int code = open_registry(false, &fd, &none);
    if (code == WEIR_OK)
        return collect(fd, ret_entries, ret_count, err);
    if (code != WEIR_ENOENT)
        return error_set(err, code, "%s", none.text);
    *ret_entries = NULL;
    *ret_count = 0;
    return WEIR_OK;
}

static int no_such_job(const char *name, struct weir_error *err)
{
    struct registry_entry *entries = NULL;
    const char **names = NULL;
    size_t count = 0;
    const char *nearest = NULL;
    if (registry_list(&entries, &count, NULL) == WEIR_OK && count > 0 && (names = calloc(count, sizeof *names)) != NULL) {
        for (size_t i = 0; i < count; i++)
            names[i] = entries[i].name;
        nearest = nearest_word(name, names, count);
    }
    error_set(err, WEIR_ENOENT, "no job '%s' runs", name);
    if (nearest != NULL)
        error_append(err, ": did you mean '%s'?", nearest);
    else
        error_append(err, ": 'weir list' shows those that do; a job is also found by its checkpoint directory");
    free(names);
    free(entries);
    return WEIR_ENOENT;
}

int registry_find(const char *name, struct registry_entry *ret_entry, struct weir_error *err)
{
    int fd = -1;
    bool found = false;
    struct weir_error none = {0};
    int code = open_registry(false, &fd, &none);
    if (code != WEIR_OK && code != WEIR_ENOENT)
        return error_set(err, code, "%s", none.text);
    if (code == WEIR_OK) {
        found = strchr(name, '/') == NULL && name[0] != '.' && read_live_entry(fd, name, ret_entry);
        close(fd);
    }
    return found ? WEIR_OK : no_such_job(name, err);
}
