#include "cli/cli.h"

#include "engine/control.h"
#include "engine/registry.h"

#include "engine/options.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static bool is_directory(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static int copy_path(const char *path, char directory[PATH_MAX], struct weir_error *err)
{
    if (snprintf(directory, PATH_MAX, "%s", path) >= PATH_MAX)
        return error_set(err, WEIR_EINVAL, "'%s': the path is too long", path);
    if (!is_directory(directory))
        return error_set(err, WEIR_ENOENT, "'%s' is no checkpoint directory: no job has run there", path);
    return WEIR_OK;
}

/* By the job's name: where it runs; else, if asked for, where it ran last, unless it was told another directory then. */
static int find_by_name(const char *name, bool stopped_too, char directory[PATH_MAX], struct weir_error *err)
{
    struct registry_entry entry;
    char usual[PATH_MAX];
    int code = registry_find(name, &entry, err);
    if (code == WEIR_OK) {
        memcpy(directory, entry.directory, PATH_MAX);
        return WEIR_OK;
    }
    if (code != WEIR_ENOENT || !stopped_too || strchr(name, '/') != NULL ||
        job_options_directory(name, usual, NULL) != WEIR_OK || !is_directory(usual))
        return code;
    memcpy(directory, usual, PATH_MAX);
    return WEIR_OK;
}

int target_find(const struct cli *cli, const struct arguments *arguments, bool stopped_too, char directory[PATH_MAX],
                struct weir_error *err)
{
    const char *path = arguments_value(arguments, "directory");
    if (path != NULL)
        return copy_path(path, directory, err);
    if (cli->own)
        return find_by_name(cli->jobs[0].name, stopped_too, directory, err);
    if (strchr(arguments->job, '/') != NULL || strcmp(arguments->job, ".") == 0 || strcmp(arguments->job, "..") == 0)
        return copy_path(arguments->job, directory, err);
    int code = find_by_name(arguments->job, stopped_too, directory, err);
    if (code == WEIR_ENOENT && is_directory(arguments->job))
        return copy_path(arguments->job, directory, err);
    return code;
}
