/*
 * check.h - checks of our own logic.
 *
 * CHECK is always on: it guards shared and durable bytes, state moves and checkpoint order. An abort is safe: the engine
 * recovers from it. DCHECK is for the record path: on in debug builds only. Neither is for input from outside.
 */
#ifndef WEIR_BASE_CHECK_H
#define WEIR_BASE_CHECK_H

_Noreturn void check_failed(const char *file, int line, const char *expression);

#define CHECK(expression)                                                                                              \
    do {                                                                                                               \
        if (__builtin_expect(!(expression), 0))                                                                        \
            check_failed(__FILE__, __LINE__, #expression);                                                             \
    } while (0)

#ifdef NDEBUG
#define DCHECK(expression) ((void)sizeof(!(expression)))
#else
#define DCHECK(expression) CHECK(expression)
#endif

#endif
