#include "chaos/scratch.h"

#include "base/error.h"
#include "base/log.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_MAX_WALK 32

static int join(const char *directory, const char *name, char path[PATH_MAX], struct weir_error *err)
{
    if (snprintf(path, PATH_MAX, "%s/%s", directory, name) < PATH_MAX - 256) /* room for what a run makes in it */
        return WEIR_OK;
    return error_set(err, WEIR_EINVAL, "chaos: '%s': the path is too long", directory);
}

int scratch_make_run(const char *scratch, const char *name, char directory[PATH_MAX], struct weir_error *err)
{
    int code = join(scratch, name, directory, err);
    if (code == WEIR_OK && mkdir(directory, 0700) != 0)
        return error_set_errno(err, errno, "chaos: cannot make '%s'", directory);
    return code;
}

int scratch_make(const char *parent, char scratch[PATH_MAX], struct weir_error *err)
{
    char template[PATH_MAX], runtime[PATH_MAX], real[PATH_MAX];
    const char *given = parent != NULL ? parent : getenv("TMPDIR");
    if (given == NULL || given[0] == 0)
        given = "/tmp";
    if (realpath(given, real) == NULL)
        return error_set_errno(err, errno, "chaos: the scratch directory '%s'", given);
    int code = join(real, "weir-chaos-XXXXXX", template, err);
    if (code != WEIR_OK)
        return code;
    if (mkdtemp(template) == NULL)
        return error_set_errno(err, errno, "chaos: cannot make a directory in '%s'", real);
    code = scratch_make_run(template, "runtime", runtime, err);
    if (code != WEIR_OK)
        scratch_remove(template);
    else
        memcpy(scratch, template, PATH_MAX);
    return code;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)where;
    if ((type == FTW_DP ? rmdir(path) : unlink(path)) != 0)
        log_line(LOG_WARNING, "chaos: cannot delete '%s': %s", path, strerror(errno));
    return 0;
}

void scratch_remove(const char *path) { nftw(path, remove_entry, OPEN_MAX_WALK, FTW_DEPTH | FTW_PHYS); }
