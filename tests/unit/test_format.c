#include "weir.h"

#include <criterion/criterion.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUTPUT_BYTES 4096

typedef size_t (*format_fn)(const struct weir_layout *, const void *, size_t, char *, size_t);

/* Formats three times: with plenty of room (one pass), with room for exactly the result, and with one byte less, which
 * must leave the buffer as it was. */
static void expect_by(format_fn format, const struct weir_layout *layout, const void *data, size_t size,
                      const char *expected)
{
    static char wide[1 << 20];
    char exact[OUTPUT_BYTES];
    size_t length = strlen(expected);
    cr_assert_lt(length, OUTPUT_BYTES);

    memset(wide, '#', OUTPUT_BYTES);
    cr_expect_eq(format(layout, data, size, wide, sizeof(wide)), length);
    wide[OUTPUT_BYTES - 1] = 0;
    cr_expect_eq(wide[length], '#', "wrote beyond the result");
    wide[length] = 0;
    cr_expect_str_eq(wide, expected);

    memset(exact, '#', sizeof(exact));
    cr_expect_eq(format(layout, data, size, exact, length), length);
    cr_expect_eq(memcmp(exact, expected, length), 0);
    cr_expect_eq(exact[length], '#');

    memset(exact, '#', sizeof(exact));
    cr_expect_eq(format(layout, data, size, exact, length - 1), length);
    for (size_t i = 0; i <= length; i++)
        cr_assert_eq(exact[i], '#', "byte %zu was written without room", i);
}

static void expect_both(const struct weir_layout *layout, const void *data, size_t size, const char *json,
                        const char *text)
{
    expect_by(weir_format_json, layout, data, size, json);
    expect_by(weir_format_text, layout, data, size, text);
}

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define LAYOUT(field_array) {.name = "test", .fields = (field_array), .field_count = COUNT_OF(field_array)}

struct numbers {
    uint8_t u8;
    int8_t i8;
    uint16_t u16;
    int16_t i16;
    uint32_t u32;
    int32_t i32;
    uint64_t u64;
    int64_t i64;
    int64_t time_ms;
    bool yes, no;
};

static const struct weir_field number_fields[] = {
    {"u8", WEIR_U8, offsetof(struct numbers, u8), 0},    {"i8", WEIR_I8, offsetof(struct numbers, i8), 0},
    {"u16", WEIR_U16, offsetof(struct numbers, u16), 0}, {"i16", WEIR_I16, offsetof(struct numbers, i16), 0},
    {"u32", WEIR_U32, offsetof(struct numbers, u32), 0}, {"i32", WEIR_I32, offsetof(struct numbers, i32), 0},
    {"u64", WEIR_U64, offsetof(struct numbers, u64), 0}, {"i64", WEIR_I64, offsetof(struct numbers, i64), 0},
    {"t", WEIR_TIME_MS, offsetof(struct numbers, time_ms), 0},
    {"yes", WEIR_BOOL, offsetof(struct numbers, yes), 0}, {"no", WEIR_BOOL, offsetof(struct numbers, no), 0},
};
static const struct weir_layout number_layout = LAYOUT(number_fields);

Test(format, integers_print_to_their_extremes)
{
    struct numbers high = {UINT8_MAX, INT8_MAX,   UINT16_MAX, INT16_MAX,     UINT32_MAX, INT32_MAX,
                           UINT64_MAX, INT64_MAX, 1436918400000, true, false};
    expect_both(&number_layout, &high, sizeof(high),
                "{\"u8\":255,\"i8\":127,\"u16\":65535,\"i16\":32767,\"u32\":4294967295,\"i32\":2147483647,"
                "\"u64\":18446744073709551615,\"i64\":9223372036854775807,\"t\":1436918400000,\"yes\":true,"
                "\"no\":false}",
                "255\t127\t65535\t32767\t4294967295\t2147483647\t18446744073709551615\t9223372036854775807\t"
                "1436918400000\ttrue\tfalse");
    struct numbers low = {0, INT8_MIN, 0, INT16_MIN, 0, INT32_MIN, 0, INT64_MIN, -1, true, false};
    expect_both(&number_layout, &low, sizeof(low),
                "{\"u8\":0,\"i8\":-128,\"u16\":0,\"i16\":-32768,\"u32\":0,\"i32\":-2147483648,"
                "\"u64\":0,\"i64\":-9223372036854775808,\"t\":-1,\"yes\":true,\"no\":false}",
                "0\t-128\t0\t-32768\t0\t-2147483648\t0\t-9223372036854775808\t-1\ttrue\tfalse");
}

Test(format, a_field_that_is_not_within_the_record_prints_as_missing)
{
    struct numbers numbers = {1, 2, 3, 4, 5, 6, 7, 8, 9, true, false};
    expect_both(&number_layout, &numbers, offsetof(struct numbers, i64) + 7,
                "{\"u8\":1,\"i8\":2,\"u16\":3,\"i16\":4,\"u32\":5,\"i32\":6,\"u64\":7,\"i64\":null,"
                "\"t\":null,\"yes\":null,\"no\":null}",
                "1\t2\t3\t4\t5\t6\t7\t\\N\t\\N\t\\N\t\\N");
    expect_both(&number_layout, &numbers, 0,
                "{\"u8\":null,\"i8\":null,\"u16\":null,\"i16\":null,\"u32\":null,\"i32\":null,\"u64\":null,"
                "\"i64\":null,"
                "\"t\":null,\"yes\":null,\"no\":null}",
                "\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N");
}

Test(format, a_field_of_an_unknown_type_or_at_a_huge_offset_prints_as_missing)
{
    static const struct weir_field fields[] = {
        {"a", (enum weir_type)99, 0, 0}, {"b", WEIR_U8, UINT32_MAX, 0}, {"c", WEIR_TAIL, 3, 0}};
    static const struct weir_layout layout = LAYOUT(fields);
    expect_both(&layout, "xy", 2, "{\"a\":null,\"b\":null,\"c\":null}", "\\N\t\\N\t\\N");
}

static const struct weir_field double_fields[] = {{"x", WEIR_F64, 0, 0}};
static const struct weir_layout double_layout = LAYOUT(double_fields);

static void expect_double(double value, const char *json, const char *text)
{
    char expected[64];
    snprintf(expected, sizeof(expected), "{\"x\":%s}", json);
    expect_both(&double_layout, &value, sizeof(value), expected, text);
}

Test(format, doubles_print_as_few_of_15_to_17_digits_as_read_back)
{
    expect_double(0.1, "0.1", "0.1");
    expect_double(0.1 + 0.2, "0.30000000000000004", "0.30000000000000004");
    expect_double(-0.0, "-0", "-0");
    expect_double(5, "5", "5");
    expect_double(1e300, "1e+300", "1e+300");
    expect_double(5e-324, "4.94065645841247e-324", "4.94065645841247e-324");
    expect_double(NAN, "null", "nan");
    expect_double(INFINITY, "null", "inf");
    expect_double(-INFINITY, "null", "-inf");
}

Test(format, doubles_and_floats_read_back_as_the_same_bits)
{
    static const struct weir_field float_fields[] = {{"x", WEIR_F32, 0, 0}};
    static const struct weir_layout float_layout = LAYOUT(float_fields);
    uint64_t bits = 0x9E3779B97F4A7C15u;
    char text[64];
    for (unsigned i = 0; i < 20000; i++) {
        double value;
        float small;
        bits = bits * 6364136223846793005u + 1442695040888963407u;
        memcpy(&value, &bits, sizeof(value));
        memcpy(&small, (char *)&bits + 4, sizeof(small));
        if (isfinite(value)) {
            text[weir_format_text(&double_layout, &value, sizeof(value), text, sizeof(text))] = 0;
            double back = strtod(text, NULL);
            cr_assert_arr_eq(&back, &value, sizeof(value), "%s", text);
        }
        if (isfinite(small)) {
            text[weir_format_text(&float_layout, &small, sizeof(small), text, sizeof(text))] = 0;
            float back = strtof(text, NULL);
            cr_assert_arr_eq(&back, &small, sizeof(small), "%s", text);
        }
    }
}

Test(format, numbers_have_a_point_in_every_locale)
{
    if (setlocale(LC_NUMERIC, "de_DE.UTF-8") == NULL)
        cr_skip_test("no locale with a decimal comma is installed");
    expect_double(1.5, "1.5", "1.5");
}

/* One string by each of the three ways in which a record can hold one. */
struct strings {
    char chars[6];
    struct weir_string string;
    char bytes[4];
};
static const struct weir_field string_fields[] = {
    {"chars", WEIR_CHARS, offsetof(struct strings, chars), 6},
    {"string", WEIR_STRING, offsetof(struct strings, string), 0},
    {"tail", WEIR_TAIL, offsetof(struct strings, bytes), 0},
};
static const struct weir_layout string_layout = LAYOUT(string_fields);

Test(format, strings_of_all_three_kinds_print)
{
    struct strings record = {"ab\0cd", {offsetof(struct strings, bytes) + 1, 2}, "wxyz"};
    expect_both(&string_layout, &record, sizeof(record), "{\"chars\":\"ab\",\"string\":\"xy\",\"tail\":\"wxyz\"}",
                "ab\txy\twxyz");
    memcpy(record.chars, "abcdef", 6);
    record.string.size_bytes = 0;
    expect_both(&string_layout, &record, offsetof(struct strings, bytes),
                "{\"chars\":\"abcdef\",\"string\":null,\"tail\":\"\"}", "abcdef\t\\N\t");
}

Test(format, a_string_that_points_outside_the_record_prints_as_missing)
{
    struct strings record = {"", {offsetof(struct strings, bytes), 5}, "wxyz"};
    const char *json = "{\"chars\":\"\",\"string\":null,\"tail\":\"wxyz\"}";
    expect_both(&string_layout, &record, sizeof(record), json, "\t\\N\twxyz");
    record.string = (struct weir_string){UINT32_MAX, UINT32_MAX};
    expect_both(&string_layout, &record, sizeof(record), json, "\t\\N\twxyz");
    record.string = (struct weir_string){sizeof(record) + 1, 0};
    expect_both(&string_layout, &record, sizeof(record), json, "\t\\N\twxyz");
}

static const struct weir_field tail_fields[] = {{"t", WEIR_TAIL, 0, 0}};
static const struct weir_layout tail_layout = LAYOUT(tail_fields);

static void expect_json_string(const char *bytes, size_t size, const char *expected_inside)
{
    char expected[OUTPUT_BYTES];
    snprintf(expected, sizeof(expected), "\"%s\"", expected_inside);
    expect_by(weir_format_json, NULL, bytes, size, expected);
    snprintf(expected, sizeof(expected), "{\"t\":\"%s\"}", expected_inside);
    expect_by(weir_format_json, &tail_layout, bytes, size, expected);
}
#define EXPECT_JSON_STRING(literal, expected_inside) expect_json_string(literal, sizeof(literal) - 1, expected_inside)

Test(format, json_escapes_what_it_must)
{
    EXPECT_JSON_STRING("a\"b\\c/d", "a\\\"b\\\\c/d");
    EXPECT_JSON_STRING("\b\t\n\f\r", "\\b\\t\\n\\f\\r");
    EXPECT_JSON_STRING("\x00\x01\x1f\x7f", "\\u0000\\u0001\\u001f\x7f");
}

Test(format, json_keeps_utf8)
{
    EXPECT_JSON_STRING("\xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80 \xED\x9F\xBF \xEE\x80\x80 \xF4\x8F\xBF\xBF \xC2\x80",
                       "\xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80 \xED\x9F\xBF \xEE\x80\x80 \xF4\x8F\xBF\xBF \xC2\x80");
}

/* U+FFFD for each maximal subpart: the examples of the Unicode Standard, tables 3-8 to 3-11. */
#define R "\xEF\xBF\xBD"
Test(format, json_replaces_what_is_not_utf8)
{
    EXPECT_JSON_STRING("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", R R R R R R R R "A");
    EXPECT_JSON_STRING("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", R R R R R R R R "A");
    EXPECT_JSON_STRING("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", R R R R R "A" R R "B");
    EXPECT_JSON_STRING("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", R R R R "A");
    EXPECT_JSON_STRING("\xE2\x82", R);
    EXPECT_JSON_STRING("x\xC3", "x" R);
    EXPECT_JSON_STRING("\xC3\"", R "\\\"");
}

Test(format, text_escapes_its_own_separators_and_nothing_else)
{
    const char bytes[] = "a\tb\nc\rd\\e\"f\xFFg\x01";
    expect_by(weir_format_text, &tail_layout, bytes, sizeof(bytes) - 1, "a\\tb\\nc\\rd\\\\e\"f\xFFg\x01");
    expect_by(weir_format_text, &tail_layout, "\\N", 2, "\\\\N");
}

/* Strings are scanned in steps of eight bytes: every special byte at every place of a step must be seen. */
Test(format, a_special_byte_is_seen_wherever_it_stands)
{
    for (unsigned byte = 0; byte < 128; byte++) {
        for (size_t at = 0; at < 20; at++) {
            char bytes[20], json[64], text[64];
            memset(bytes, 'x', sizeof(bytes));
            bytes[at] = (char)byte;
            size_t json_bytes = weir_format_json(NULL, bytes, sizeof(bytes), json, sizeof(json));
            size_t text_bytes = weir_format_text(&tail_layout, bytes, sizeof(bytes), text, sizeof(text));
            bool is_short = byte == '"' || byte == '\\' || (byte != 0 && strchr("\b\t\n\f\r", (int)byte) != NULL);
            bool is_escaped = byte != 0 && strchr("\t\n\r\\", (int)byte) != NULL;
            cr_assert_eq(json_bytes, is_short ? 23 : byte < 0x20 ? 27 : 22, "byte %u at %zu", byte, at);
            cr_assert_eq(text_bytes, is_escaped ? 21 : 20, "byte %u at %zu", byte, at);
            cr_assert(byte >= 0x20 || memchr(json, (int)byte, json_bytes) == NULL, "byte %u at %zu", byte, at);
        }
    }
}

Test(format, a_record_without_a_layout_prints_its_bytes)
{
    expect_by(weir_format_text, NULL, "a\tb\\", 4, "a\tb\\");
    expect_by(weir_format_json, NULL, "a\tb\\", 4, "\"a\\tb\\\\\"");
}

Test(format, nothing_is_written_into_no_room)
{
    cr_expect_eq(weir_format_text(NULL, "abc", 3, NULL, 0), 3);
    cr_expect_eq(weir_format_json(NULL, "abc", 3, NULL, 0), 5);
    cr_expect_eq(weir_format_json(&number_layout, "", 0, NULL, 0), strlen(
        "{\"u8\":null,\"i8\":null,\"u16\":null,\"i16\":null,\"u32\":null,\"i32\":null,\"u64\":null,\"i64\":null,"
        "\"t\":null,\"yes\":null,\"no\":null}"));
}

Test(format, fields_at_odd_addresses_are_read)
{
    static const struct weir_field fields[] = {{"a", WEIR_U64, 1, 0}, {"b", WEIR_F64, 9, 0}};
    static const struct weir_layout layout = LAYOUT(fields);
    char record[17] = {0};
    double half = 0.5;
    record[1] = 7;
    memcpy(record + 9, &half, sizeof(half));
    expect_both(&layout, record, sizeof(record), "{\"a\":7,\"b\":0.5}", "7\t0.5");
}

Test(format, a_record_of_several_kinds_prints_the_fields_of_its_own)
{
    static const struct weir_field common[] = {{"kind", WEIR_U32, 0, 0}};
    static const struct weir_field first[] = {{"a", WEIR_U8, 4, 0}};
    static const struct weir_field second[] = {{"b", WEIR_CHARS, 4, 2}, {"c", WEIR_U8, 6, 0}};
    static const struct weir_layout kinds[] = {LAYOUT(first), LAYOUT(second)};
    static const struct weir_layout layout = {
        .name = "test", .fields = common, .field_count = 1, .kinds = kinds, .kind_count = 2, .kind_offset = 0};
    expect_both(&layout, "\0\0\0\0A", 5, "{\"kind\":0,\"a\":65}", "0\t65");
    expect_both(&layout, "\1\0\0\0xyB", 7, "{\"kind\":1,\"b\":\"xy\",\"c\":66}", "1\txy\t66");
    expect_both(&layout, "\2\0\0\0xyB", 7, "{\"kind\":2}", "2");
    expect_both(&layout, "\1\0\0", 3, "{\"kind\":null}", "\\N");
}
