#include "cli/generate.h"

#include <errno.h>
#include <sys/stat.h>

static int make_directory(const char *path, struct weir_error *err)
{
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        return error_set_errno(err, errno, "cannot make '%s'", path);
    return WEIR_OK;
}

static int close_file(FILE *file, const char *path, struct weir_error *err)
{
    bool failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed)
        return error_set(err, WEIR_EIO, "cannot write '%s'", path);
    return WEIR_OK;
}

/* command NULL: the program's own page. */
static int write_page(const struct cli *cli, const struct command *command, const char *directory, struct weir_error *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/man1/weir%s%s.1", directory, command != NULL ? "-" : "", command != NULL ? command->name : "");
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return error_set_errno(err, errno, "cannot make '%s'", path);
    if (command != NULL)
        man_command(cli, command, file);
    else
        man_program(cli, file);
    return close_file(file, path, err);
}

static int write_completion(const struct cli *cli, const char *directory, struct weir_error *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/completions/weir", directory);
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return error_set_errno(err, errno, "cannot make '%s'", path);
    completion_bash(cli, file);
    return close_file(file, path, err);
}

int generate_files(const struct cli *cli, const char *directory, struct weir_error *err)
{
    static const char *const below[] = {"", "/man1", "/completions"};
    int code = WEIR_OK;
    for (size_t i = 0; i < sizeof below / sizeof below[0] && code == WEIR_OK; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s%s", directory, below[i]);
        code = make_directory(path, err);
    }
    if (code == WEIR_OK)
        code = write_page(cli, NULL, directory, err);
    for (size_t i = 0; command_at(i) != NULL && code == WEIR_OK; i++)
        code = write_page(cli, command_at(i), directory, err);
    return code == WEIR_OK ? write_completion(cli, directory, err) : code;
}
