#include "engine/option_value.h"

#include <criterion/criterion.h>
#include <string.h>

static const char *bytes_text(uint64_t bytes)
{
    static char text[32];
    return format_bytes(bytes, text, sizeof text);
}

static const char *human(const char *(*format)(uint64_t, char *, size_t), uint64_t value)
{
    static char text[32];
    return format(value, text, sizeof text);
}

static const char *human_time(int64_t ns)
{
    static char text[32];
    return human_duration(ns, text, sizeof text);
}

static const char *human_number(double count)
{
    static char text[32];
    return human_count(count, text, sizeof text);
}

Test(option_value, decimal_and_binary_units_differ)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } rows[] = {{"0", 0},           {"1", 1},          {"1B", 1},         {"1k", 1000},        {"1kB", 1000},  {"1Ki", 1024},
                {"1KiB", 1024},     {"1.5KiB", 1536},  {"0.5k", 500},     {"2M", 2000000},     {"2MiB", 2097152},
                {"3G", 3000000000}, {"1T", 1000000000000}, {"18446744073709551615", UINT64_MAX}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t bytes = 77;
        cr_assert_eq(value_bytes(rows[i].text, &bytes, NULL), WEIR_OK, "%s", rows[i].text);
        cr_assert_eq(bytes, rows[i].bytes, "%s gave %llu", rows[i].text, (unsigned long long)bytes);
    }
}

Test(option_value, what_does_not_fit_is_refused_and_leaves_the_result)
{
    uint64_t bytes = 77;
    static const char *const wrong[] = {"18446744073709551616", "18446744073709551615k", "1.5", "0.1Ki", "1KIB", "1K", "B", "1BB"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_assert_eq(value_bytes(wrong[i], &bytes, NULL), WEIR_EINVAL, "%s", wrong[i]);
    cr_assert_eq(bytes, 77);
}

Test(option_value, formatted_values_are_parsed_back)
{
    static const int64_t times[] = {0, 1, 999, 1000, 2000000, 1500000000, 60000000000, 3600000000000, 86400000000000, INT64_MAX};
    static const uint64_t sizes[] = {0, 1, 1023, 1024, 1536, 1 << 20, UINT64_C(5) << 40, UINT64_MAX};
    char text[64];
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        int64_t ns = -1;
        cr_assert_eq(value_duration(format_duration(times[i], text, sizeof text), &ns, NULL), WEIR_OK, "%s", text);
        cr_assert_eq(ns, times[i], "%s", text);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t bytes = 77;
        cr_assert_eq(value_bytes(format_bytes(sizes[i], text, sizeof text), &bytes, NULL), WEIR_OK, "%s", text);
        cr_assert_eq(bytes, sizes[i], "%s", text);
    }
    cr_assert_str_eq(bytes_text(65536), "64KiB");
}

Test(option_value, people_read_three_figures)
{
    cr_assert_str_eq(human(human_bytes, 0), "0 B");
    cr_assert_str_eq(human(human_bytes, 999), "999 B");
    cr_assert_str_eq(human(human_bytes, 1000), "0.98 KiB");
    cr_assert_str_eq(human(human_bytes, 1300000), "1.24 MiB");
    cr_assert_str_eq(human_number(0), "0");
    cr_assert_str_eq(human_number(999), "999");
    cr_assert_str_eq(human_number(38123456), "38.1 M");
    cr_assert_str_eq(human_number(2.5), "2.50");
    cr_assert_str_eq(human_time(0), "0");
    cr_assert_str_eq(human_time(1234567), "1.23 ms");
    cr_assert_str_eq(human_time(99900000000), "99.9 s");
    cr_assert_str_eq(human_time(INT64_C(125) * 1000000000), "2 min 5 s");
    cr_assert_str_eq(human_time(INT64_C(7300) * 1000000000), "2 h 1 min");
}

Test(option_value, the_nearest_word_is_one_that_a_typing_error_explains)
{
    static const char *const words[] = {"status", "stop", "checkpoint", "checkpoints", "run"};
    cr_assert_str_eq(nearest_word("statsu", words, 5), "status");
    cr_assert_str_eq(nearest_word("rnu", words, 5), "run");
    cr_assert_str_eq(nearest_word("check", words, 5), "checkpoint");
    cr_assert_null(nearest_word("zzzzzz", words, 5));
    cr_assert_null(nearest_word("", words, 5));
    cr_assert_null(nearest_word("x", NULL, 0));
}
