#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#undef error_set /* what it is for static analysis */

static const struct {
    int code;
    const char *name;
    const char *text;
} status_table[] = {
#define STATUS_ROW(name, value, text) {value, #name, text},
    WEIR_STATUS_TABLE(STATUS_ROW)
#undef STATUS_ROW
};

static const struct {
    int errno_value;
    int code;
} errno_table[] = {
    {ENOENT, WEIR_ENOENT},    {ENOTDIR, WEIR_ENOENT},  {EEXIST, WEIR_EEXIST},       {ENOMEM, WEIR_ENOMEM},
    {ENOSPC, WEIR_ENOSPC},    {EDQUOT, WEIR_ENOSPC},   {EFBIG, WEIR_ENOSPC},        {EACCES, WEIR_EPERM},
    {EPERM, WEIR_EPERM},      {EROFS, WEIR_EPERM},     {EBUSY, WEIR_EBUSY},         {EINVAL, WEIR_EINVAL},
    {ENAMETOOLONG, WEIR_EINVAL}, {EMFILE, WEIR_ELIMIT}, {ENFILE, WEIR_ELIMIT},      {EAGAIN, WEIR_ELIMIT},
    {ETIMEDOUT, WEIR_ETIMEOUT}, {ENOSYS, WEIR_EUNSUPPORTED}, {EOPNOTSUPP, WEIR_EUNSUPPORTED},
};

/* What to do about it, where that is the same whatever was asked for. */
static const struct {
    int errno_value;
    const char *text;
} remedies[] = {
    {EMFILE, "raise the limit on open files (ulimit -n)"},
    {ENFILE, "the limit of the whole system on open files (fs.file-max) is reached"},
    {EFBIG, "raise the limit on the size of files (ulimit -f)"},
    {ENOMEM, "memory is short, or limited (ulimit -v, a cgroup)"},
    {EDQUOT, "the user's disk quota is used up"},
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

const char *weir_status_name(int status)
{
    for (size_t i = 0; i < COUNT_OF(status_table); i++)
        if (status_table[i].code == status)
            return status_table[i].name;
    return "WEIR_UNKNOWN";
}

const char *weir_status_text(int status)
{
    for (size_t i = 0; i < COUNT_OF(status_table); i++)
        if (status_table[i].code == status)
            return status_table[i].text;
    return "an unknown status";
}

int error_from_errno(int errno_value)
{
    for (size_t i = 0; i < COUNT_OF(errno_table); i++)
        if (errno_table[i].errno_value == errno_value)
            return errno_table[i].code;
    return WEIR_EIO;
}

int error_set_va(struct weir_error *err, int code, const char *format, va_list args)
{
    if (err == NULL)
        return code;
    char text[WEIR_ERROR_BYTES]; /* the arguments may point into err->text */
    vsnprintf(text, sizeof text, format, args);
    memcpy(err->text, text, sizeof text);
    err->code = code;
    return code;
}

int error_set(struct weir_error *err, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error_set_va(err, code, format, args);
    va_end(args);
    return code;
}

int error_set_errno(struct weir_error *err, int errno_value, const char *format, ...)
{
    int code = error_from_errno(errno_value);
    va_list args;
    va_start(args, format);
    error_set_va(err, code, format, args);
    va_end(args);
    error_append(err, ": %s", strerror(errno_value));
    for (size_t i = 0; i < COUNT_OF(remedies); i++)
        if (remedies[i].errno_value == errno_value)
            error_append(err, ": %s", remedies[i].text);
    return code;
}

int error_context(struct weir_error *err, const char *format, ...)
{
    if (err == NULL)
        return WEIR_EFAILED;
    char context[WEIR_ERROR_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(context, sizeof context, format, args);
    va_end(args);
    char text[WEIR_ERROR_BYTES];
    size_t used = strnlen(context, sizeof text - 1);
    memcpy(text, context, used);
    snprintf(text + used, sizeof text - used, ": %s", err->text);
    memcpy(err->text, text, sizeof text);
    return err->code;
}

int error_append(struct weir_error *err, const char *format, ...)
{
    if (err == NULL)
        return WEIR_EFAILED;
    char remark[WEIR_ERROR_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(remark, sizeof remark, format, args);
    va_end(args);
    size_t used = strnlen(err->text, sizeof err->text - 1);
    snprintf(err->text + used, sizeof err->text - used, "%s", remark);
    return err->code;
}
