/*
 * error.h - status codes and the message trail.
 *
 * Every function that can fail takes a `struct weir_error *` last (NULL is allowed) and returns a code. The innermost one
 * sets it; each layer on the way up may put its own context before the text, so that the user reads what failed, on
 * what, why, and what to do.
 */
#ifndef WEIR_BASE_ERROR_H
#define WEIR_BASE_ERROR_H

#include "weir.h"

#include <stdarg.h>

/* Replaces err's content. Returns code. */
int error_set(struct weir_error *err, int code, const char *format, ...) WEIR_PRINTF(3, 4);
int error_set_va(struct weir_error *err, int code, const char *format, va_list args);
/* The same from an errno value: the code is error_from_errno(), the text ends in ": " and strerror(), and
 * in what to do about it where that is known (a limit of the process, say). Returns the code. */
int error_set_errno(struct weir_error *err, int errno_value, const char *format, ...) WEIR_PRINTF(3, 4);
/* Puts "context: " before the text. Returns err's code, or WEIR_EFAILED for a NULL err. */
int error_context(struct weir_error *err, const char *format, ...) WEIR_PRINTF(2, 3);
/* Puts ": what to do" (or any other remark) behind the text. Returns err's code. */
int error_append(struct weir_error *err, const char *format, ...) WEIR_PRINTF(2, 3);
int error_from_errno(int errno_value);

/* So that static analysis (tools/lint) follows a failure to its caller: error_set() returns the code that it is given. */
#ifdef __clang_analyzer__
#define error_set(err, code, ...) (error_set(err, code, __VA_ARGS__), (code))
#endif

#endif
