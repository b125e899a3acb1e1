#include "engine/option_value.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

struct unit {
    const char *name;
    uint64_t scale;
};

static const struct unit duration_units[] = {
    {"ns", 1},
    {"us", 1000},
    {"ms", 1000000},
    {"s", 1000000000},
    {"min", UINT64_C(60) * 1000000000},
    {"h", UINT64_C(3600) * 1000000000},
    {"d", UINT64_C(86400) * 1000000000},
};
static const struct unit count_units[] = {
    {"", 1},
    {"k", 1000},
    {"M", 1000000},
    {"G", 1000000000},
    {"T", UINT64_C(1000000000000)},
    {"Ki", UINT64_C(1) << 10},
    {"Mi", UINT64_C(1) << 20},
    {"Gi", UINT64_C(1) << 30},
    {"Ti", UINT64_C(1) << 40},
};

/* The number before the unit: digits, and a fraction as numerator over a power of ten, so that no rounding comes in. */
struct decimal {
    uint64_t whole;
    uint64_t fraction;
    uint64_t fraction_scale;
};

static bool parse_decimal(const char **text, struct decimal *ret_number)
{
    struct decimal number = {0, 0, 1};
    const char *at = *text;
    if (!isdigit((unsigned char)*at))
        return false;
    for (; isdigit((unsigned char)*at); at++)
        if (__builtin_mul_overflow(number.whole, 10u, &number.whole) ||
            __builtin_add_overflow(number.whole, (uint64_t)(*at - '0'), &number.whole))
            return false;
    if (*at == '.') {
        at++;
        if (!isdigit((unsigned char)*at))
            return false;
        for (; isdigit((unsigned char)*at); at++) {
            if (number.fraction_scale >= 1000000000)
                return false;
            number.fraction = number.fraction * 10 + (uint64_t)(*at - '0');
            number.fraction_scale *= 10;
        }
    }
    *text = at;
    *ret_number = number;
    return true;
}

/* whole * scale + fraction * scale / fraction_scale, exactly or not at all. */
static bool scale_decimal(const struct decimal *number, uint64_t scale, uint64_t *ret_value)
{
    uint64_t whole, fraction;
    if (__builtin_mul_overflow(number->whole, scale, &whole) || __builtin_mul_overflow(number->fraction, scale, &fraction))
        return false;
    if (fraction % number->fraction_scale != 0)
        return false;
    return !__builtin_add_overflow(whole, fraction / number->fraction_scale, ret_value);
}

static bool scaled_number(const char *text, const struct unit *units, size_t unit_count, bool optional_b,
                          uint64_t *ret_value)
{
    struct decimal number;
    if (!parse_decimal(&text, &number))
        return false;
    char unit[8];
    size_t used = strlen(text);
    if (used >= sizeof unit)
        return false;
    memcpy(unit, text, used + 1);
    if (optional_b && used > 0 && unit[used - 1] == 'B')
        unit[used - 1] = 0;
    for (size_t i = 0; i < unit_count; i++)
        if (strcmp(unit, units[i].name) == 0)
            return scale_decimal(&number, units[i].scale, ret_value);
    return false;
}

int value_duration(const char *text, int64_t *ret_ns, struct weir_error *err)
{
    uint64_t value;
    if (strcmp(text, "0") == 0)
        value = 0;
    else if (!scaled_number(text, duration_units, COUNT_OF(duration_units), false, &value) || value > INT64_MAX)
        return error_set(err, WEIR_EINVAL, "a time with its unit (us, ms, s, min, h), such as 250ms or 1.5s");
    *ret_ns = (int64_t)value;
    return WEIR_OK;
}

int value_bytes(const char *text, uint64_t *ret_bytes, struct weir_error *err)
{
    if (!scaled_number(text, count_units, COUNT_OF(count_units), true, ret_bytes))
        return error_set(err, WEIR_EINVAL, "a size in bytes, or with k, M, G or KiB, MiB, GiB behind it, such as 64KiB");
    return WEIR_OK;
}

int value_percent(const char *text, uint64_t total_bytes, uint64_t *ret_bytes, struct weir_error *err)
{
    struct decimal number;
    const char *at = text;
    if (!parse_decimal(&at, &number) || strcmp(at, "%") != 0 || number.whole > 100 ||
        (number.whole == 100 && number.fraction > 0))
        return error_set(err, WEIR_EINVAL, "a share from 0%% to 100%%");
    double share = (double)number.whole + (double)number.fraction / (double)number.fraction_scale;
    *ret_bytes = (uint64_t)((double)total_bytes * share / 100.0);
    return WEIR_OK;
}

int value_count(const char *text, uint64_t *ret_count, struct weir_error *err)
{
    if (!scaled_number(text, count_units, COUNT_OF(count_units), false, ret_count))
        return error_set(err, WEIR_EINVAL, "a whole number, or with k, M or G behind it, such as 10k");
    return WEIR_OK;
}

static bool parse_cpu(const char **text, unsigned *ret_cpu)
{
    if (!isdigit((unsigned char)**text))
        return false;
    char *end;
    unsigned long cpu = strtoul(*text, &end, 10);
    if (cpu > 65535)
        return false;
    *text = end;
    *ret_cpu = (unsigned)cpu;
    return true;
}

static bool parse_cpu_list(const char *text, struct option_cpus *cpus)
{
    for (;;) {
        unsigned first, last;
        if (!parse_cpu(&text, &first))
            return false;
        last = first;
        if (*text == '-' && (text++, !parse_cpu(&text, &last)))
            return false;
        for (unsigned cpu = first; cpu <= last; cpu++) {
            if (cpus->count == OPTION_CPUS_MAX)
                return false;
            cpus->cpu[cpus->count++] = (uint16_t)cpu;
        }
        if (last < first || (*text != ',' && *text != 0))
            return false;
        if (*text++ == 0)
            return true;
    }
}

int value_cpus(const char *text, struct option_cpus *ret_cpus, struct weir_error *err)
{
    struct option_cpus cpus = {0};
    if (strcmp(text, "auto") == 0)
        cpus.automatic = true;
    else if (strcmp(text, "none") != 0 && !parse_cpu_list(text, &cpus))
        return error_set(err, WEIR_EINVAL, "none, auto, or a list of at most %d CPUs such as 0,1,4-7", OPTION_CPUS_MAX);
    *ret_cpus = cpus;
    return WEIR_OK;
}

/* ------------------------------------------------------------------------------------------------ formatting ---- */

const char *format_duration(int64_t ns, char *buffer, size_t capacity)
{
    size_t best = 0;
    if (ns == 0) {
        snprintf(buffer, capacity, "0");
        return buffer;
    }
    for (size_t i = 0; i < COUNT_OF(duration_units); i++)
        if ((uint64_t)ns % duration_units[i].scale == 0)
            best = i;
    snprintf(buffer, capacity, "%llu%s", (unsigned long long)((uint64_t)ns / duration_units[best].scale),
             duration_units[best].name);
    return buffer;
}

const char *format_bytes(uint64_t bytes, char *buffer, size_t capacity)
{
    static const char *const names[] = {"", "KiB", "MiB", "GiB", "TiB"};
    size_t i = 0;
    while (bytes != 0 && bytes % 1024 == 0 && i + 1 < COUNT_OF(names)) {
        bytes /= 1024;
        i++;
    }
    snprintf(buffer, capacity, "%llu%s", (unsigned long long)bytes, names[i]);
    return buffer;
}

const char *format_cpus(const struct option_cpus *cpus, char *buffer, size_t capacity)
{
    if (cpus->automatic || cpus->count == 0) {
        snprintf(buffer, capacity, "%s", cpus->automatic ? "auto" : "none");
        return buffer;
    }
    size_t used = 0;
    buffer[0] = 0;
    for (unsigned i = 0; i < cpus->count && used < capacity; i++)
        used += (size_t)snprintf(buffer + used, capacity - used, "%s%u", i == 0 ? "" : ",", cpus->cpu[i]);
    return buffer;
}

/* Three figures: 1.24, 12.4, 124. */
static int decimals_of(double value) { return value < 9.995 ? 2 : value < 99.95 ? 1 : 0; }

const char *human_bytes(uint64_t bytes, char *buffer, size_t capacity)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t i = 0;
    for (; value >= 999.5 && i + 1 < COUNT_OF(names); i++)
        value /= 1024;
    snprintf(buffer, capacity, "%.*f %s", i == 0 ? 0 : decimals_of(value), value, names[i]);
    return buffer;
}

const char *human_count(double count, char *buffer, size_t capacity)
{
    static const char *const names[] = {"", " k", " M", " G", " T"};
    size_t i = 0;
    for (; count >= 999.5 && i + 1 < COUNT_OF(names); i++)
        count /= 1000;
    int decimals = i == 0 && count == (double)(uint64_t)count ? 0 : decimals_of(count);
    snprintf(buffer, capacity, "%.*f%s", decimals, count, names[i]);
    return buffer;
}

const char *human_duration(int64_t ns, char *buffer, size_t capacity)
{
    double value = (double)ns;
    if (ns == 0) {
        snprintf(buffer, capacity, "0");
        return buffer;
    }
    if (ns >= 100 * NS_PER_S) {
        int64_t s = ns / NS_PER_S;
        if (s < 3600)
            snprintf(buffer, capacity, "%lld min %lld s", (long long)(s / 60), (long long)(s % 60));
        else if (s < 2 * 86400)
            snprintf(buffer, capacity, "%lld h %lld min", (long long)(s / 3600), (long long)(s / 60 % 60));
        else
            snprintf(buffer, capacity, "%lld d %lld h", (long long)(s / 86400), (long long)(s / 3600 % 24));
        return buffer;
    }
    static const char *const names[] = {"ns", "us", "ms", "s"};
    size_t i = 0;
    for (; value >= 999.5 && i + 1 < COUNT_OF(names); i++)
        value /= 1000;
    snprintf(buffer, capacity, "%.*f %s", i == 0 ? 0 : decimals_of(value), value, names[i]);
    return buffer;
}

/* ------------------------------------------------------------------------------------------------ suggestion ---- */

#define WORD_BYTES_MAX 64

/* Levenshtein, one row at a time. */
static unsigned edit_distance(const char *a, const char *b)
{
    unsigned row[WORD_BYTES_MAX + 1];
    size_t b_bytes = strlen(b);
    for (unsigned j = 0; j <= b_bytes; j++)
        row[j] = j;
    for (unsigned i = 1; a[i - 1] != 0; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_bytes; j++) {
            unsigned above = row[j];
            unsigned change = diagonal + (a[i - 1] != b[j - 1]);
            unsigned step = (above < row[j - 1] ? above : row[j - 1]) + 1;
            row[j] = change < step ? change : step;
            diagonal = above;
        }
    }
    return row[b_bytes];
}

const char *nearest_word(const char *text, const char *const *candidates, size_t count)
{
    size_t text_bytes = strlen(text);
    if (text_bytes == 0 || text_bytes > WORD_BYTES_MAX)
        return NULL;
    const char *best = NULL;
    unsigned best_distance = (unsigned)text_bytes / 3 + 2;
    for (size_t i = 0; i < count; i++) {
        if (strlen(candidates[i]) > WORD_BYTES_MAX)
            continue;
        bool prefix = text_bytes >= 3 && strncmp(candidates[i], text, text_bytes) == 0;
        unsigned distance = prefix ? 1 : edit_distance(text, candidates[i]);
        if (distance < best_distance && distance < strlen(candidates[i])) {
            best = candidates[i];
            best_distance = distance;
        }
    }
    return best;
}
