/* test_error.c - status codes and the trail of a failure. */
#include "base/error.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

Test(error, every_code_has_its_name_and_words)
{
    cr_assert_str_eq(weir_status_name(0), "WEIR_OK");
    cr_assert_str_eq(weir_status_name(-3), "WEIR_EIO");
    cr_assert_str_eq(weir_status_text(-3), "input or output failed");
    cr_assert_str_eq(weir_status_name(1), "WEIR_IDLE");
    cr_assert_str_eq(weir_status_name(-4711), "WEIR_UNKNOWN");
    for (int code = -17; code <= 2; code++)
        cr_assert(strcmp(weir_status_name(code), "WEIR_UNKNOWN") != 0 && strlen(weir_status_text(code)) > 0, "%d", code);
}

Test(error, the_trail_reads_from_the_outside_in)
{
    struct weir_error err = {0};
    cr_assert_eq(error_set(&err, WEIR_ENOSPC, "write of %d bytes", 5), WEIR_ENOSPC);
    cr_assert_eq(error_context(&err, "file '%s'", "a"), WEIR_ENOSPC, "the first code is kept");
    cr_assert_eq(error_context(&err, "checkpoint %d", 7), WEIR_ENOSPC);
    cr_assert_eq(error_append(&err, "; make %s", "room"), WEIR_ENOSPC);
    cr_assert_str_eq(err.text, "checkpoint 7: file 'a': write of 5 bytes; make room");
    cr_assert_eq(err.code, WEIR_ENOSPC);
}

Test(error, errno_gives_code_and_words)
{
    struct weir_error err = {0};
    cr_assert_eq(error_set_errno(&err, ENOENT, "open '%s'", "x"), WEIR_ENOENT);
    cr_assert_str_eq(err.text, "open 'x': No such file or directory");
    static const struct {
        int errno_value, code;
    } rows[] = {{ENOMEM, WEIR_ENOMEM}, {ENOSPC, WEIR_ENOSPC}, {EDQUOT, WEIR_ENOSPC},   {EACCES, WEIR_EPERM},      {EPERM, WEIR_EPERM},
                {EEXIST, WEIR_EEXIST}, {EMFILE, WEIR_ELIMIT}, {EINVAL, WEIR_EINVAL},   {ETIMEDOUT, WEIR_ETIMEOUT}, {EIO, WEIR_EIO},
                {ENOSYS, WEIR_EUNSUPPORTED}, {4711, WEIR_EIO}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_assert_eq(error_from_errno(rows[i].errno_value), rows[i].code, "%s", strerror(rows[i].errno_value));
}

Test(error, a_trail_that_is_too_long_is_cut_at_its_end)
{
    struct weir_error err = {0};
    char long_text[2 * WEIR_ERROR_BYTES];
    memset(long_text, 'x', sizeof long_text);
    long_text[sizeof long_text - 1] = 0;
    error_set(&err, WEIR_EIO, "%s", long_text);
    cr_assert_eq(strlen(err.text), WEIR_ERROR_BYTES - 1u);
    error_context(&err, "outermost");
    cr_assert_eq(strlen(err.text), WEIR_ERROR_BYTES - 1u);
    cr_assert_eq(strncmp(err.text, "outermost: xxx", 14), 0);
    error_append(&err, " more");
    cr_assert_eq(strlen(err.text), WEIR_ERROR_BYTES - 1u);
    error_context(&err, "%s", long_text);
    cr_assert_eq(strlen(err.text), WEIR_ERROR_BYTES - 1u);
}

Test(error, a_failure_may_quote_itself)
{
    struct weir_error err = {0};
    error_set(&err, WEIR_EIO, "inner");
    error_set(&err, WEIR_EFAILED, "again: %s", err.text);
    cr_assert_str_eq(err.text, "again: inner");
    cr_assert_eq(err.code, WEIR_EFAILED);
}

Test(error, without_a_place_for_the_words_the_code_still_comes)
{
    cr_assert_eq(error_set(NULL, WEIR_EIO, "x"), WEIR_EIO);
    cr_assert_eq(error_set_errno(NULL, ENOSPC, "x"), WEIR_ENOSPC);
    cr_assert_lt(error_context(NULL, "x"), 0);
    cr_assert_lt(error_append(NULL, "x"), 0);
}
