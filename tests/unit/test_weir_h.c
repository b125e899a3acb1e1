/* test_weir_h.c - the header alone: with pedantic compilers of two languages; and what the library exports. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(weir_h, .timeout = 240);

static bool has(const char *program)
{
    char command[256];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", program);
    return system(command) == 0;
}

/* A program that uses something of each part, compiled with these flags. */
static void assert_compiles(const char *compiler, const char *flags, const char *suffix)
{
    char path[512], command[2048];
    if (!has(compiler))
        cr_skip("there is no %s here\n", compiler);
    snprintf(path, sizeof path, "%s/weir_h_%d%s", WEIR_BINARY_DIR, (int)getpid(), suffix);
    FILE *file = fopen(path, "we");
    cr_assert_not_null(file, "%s: %s", path, strerror(errno));
    fputs("#include <weir_chaos.h>\n#include <weir.h>\n#include <weir_chaos.h>\n#include <weir.h>\n"
          "static int each(struct weir_ctx *ctx, const struct weir_record *record) { return weir_emit(ctx, 0, record->data, "
          "record->size_bytes); }\n"
          "int build(struct weir_job *job);\n"
          "int build(struct weir_job *job)\n{\n"
          "    struct weir_iterator iterator = {{0}};\n    struct weir_error error = {0, {0}};\n    (void)each; (void)iterator; (void)error;\n"
          "    struct weir_stream *in = weir_add_source(job, \"in\", &weir_sequence_source, NULL);\n"
          "    weir_add_sink(weir_key_by(in, 0, 8), \"out\", &weir_null_sink, NULL);\n    return WEIR_OK;\n}\n", file);
    fclose(file);
    snprintf(command, sizeof command, "%s -pedantic-errors -Wall -Wextra -Werror -Wshadow -Wconversion %s -fsyntax-only -I%s/include %s 2>&1",
             compiler, flags, WEIR_SOURCE_DIR, path);
    int status = system(command);
    unlink(path);
    cr_assert_eq(status, 0, "%s", command);
}

Test(weir_h, is_c11) { assert_compiles("cc", "-std=c11 -x c", ".c"); }
Test(weir_h, is_c17_for_clang) { assert_compiles("clang", "-std=c17 -x c", ".c"); }
Test(weir_h, is_cpp17) { assert_compiles("c++", "-std=c++17 -x c++", ".cc"); }
Test(weir_h, is_cpp17_for_clang) { assert_compiles("clang++", "-std=c++17 -x c++", ".cc"); }

/* The names that a header marks as exported: behind WEIR_API, the word before the first '(' or before ';'. They follow the `count`
 * that are there. */
static unsigned declared_names(const char *header, char names[][64], unsigned count, unsigned capacity)
{
    char line[1024];
    FILE *file = fopen(header, "re");
    cr_assert_not_null(file);
    while (fgets(line, sizeof line, file) != NULL && count < capacity) {
        if (strncmp(line, "WEIR_API ", 9) != 0)
            continue;
        char *end = line + strcspn(line, "(;");
        while (end > line && end[-1] == ' ')
            end--;
        char *begin = end;
        while (begin > line && begin[-1] != ' ' && begin[-1] != '*')
            begin--;
        snprintf(names[count++], 64, "%.*s", (int)(end - begin), begin);
    }
    fclose(file);
    return count;
}

Test(weir_h, the_library_exports_what_it_declares_and_nothing_else)
{
    static char names[512][64];
    static bool seen[512];
    unsigned count = declared_names(WEIR_SOURCE_DIR "/include/weir.h", names, 0, 512);
    count = declared_names(WEIR_SOURCE_DIR "/include/weir_chaos.h", names, count, 512);
    char line[512];
    struct stat stat_of;
    if (stat(WEIR_BINARY_DIR "/libweir.so", &stat_of) != 0 || !has("nm"))
        cr_skip("there is no shared library, or no nm, here\n");
    cr_assert_gt(count, 60u, "the header was understood");
    FILE *symbols = popen("nm -D --defined-only --format=posix " WEIR_BINARY_DIR "/libweir.so", "re");
    cr_assert_not_null(symbols);
    while (fgets(line, sizeof line, symbols) != NULL) {
        line[strcspn(line, " @")] = 0;
        if (strcmp(line, "weir_command") == 0) /* the entry of the `weir` command, which links the library: see cli/command.h */
            continue;
        if (strncmp(line, "__odr_asan.", 11) == 0 || strncmp(line, "__asan_", 7) == 0) /* a sanitizer's own */
            continue;
        unsigned i = 0;
        while (i < count && strcmp(names[i], line) != 0)
            i++;
        cr_expect_lt(i, count, "libweir.so exports '%s', which no header declares", line);
        if (i < count)
            seen[i] = true;
    }
    pclose(symbols);
    for (unsigned i = 0; i < count; i++)
        cr_expect(seen[i], "a header declares '%s', which libweir.so does not export", names[i]);
}
