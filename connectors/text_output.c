/* text_output.c - see text_output.h. Runs of bytes that need no escape are copied as one. */
#include "connectors/text_output.h"

#include <string.h>

#define DECIMAL_DIGITS_MAX 20 /* of a uint64_t */

void text_output_bytes(struct text_output *out, const char *bytes, size_t size_bytes)
{
    if (out->buffer != NULL && size_bytes > 0)
        memcpy(out->buffer + out->size_bytes, bytes, size_bytes);
    out->size_bytes += size_bytes;
}

void text_output_char(struct text_output *out, char character)
{
    if (out->buffer != NULL)
        out->buffer[out->size_bytes] = character;
    out->size_bytes++;
}

void text_output_u64(struct text_output *out, uint64_t value)
{
    char digits[DECIMAL_DIGITS_MAX];
    size_t first = DECIMAL_DIGITS_MAX;
    do {
        digits[--first] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    text_output_bytes(out, digits + first, DECIMAL_DIGITS_MAX - first);
}

void text_output_i64(struct text_output *out, int64_t value)
{
    if (value < 0)
        text_output_char(out, '-');
    text_output_u64(out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

/* Eight bytes at a time: S. E. Anderson, "Bit Twiddling Hacks", hasless() and hasvalue(). May say yes of eight bytes
 * among which none is in question (a byte above 7F), never no of eight bytes with one. */
#define EACH_BYTE UINT64_C(0x0101010101010101)

static uint64_t load_eight(const char *bytes)
{
    uint64_t eight;
    memcpy(&eight, bytes, sizeof(eight));
    return eight;
}

static bool may_have_less(uint64_t eight, unsigned char bound)
{
    return ((eight - EACH_BYTE * bound) & (EACH_BYTE << 7)) != 0;
}

static bool may_have(uint64_t eight, char character)
{
    return may_have_less(eight ^ EACH_BYTE * (unsigned char)character, 1);
}

static bool text_is_plain(uint64_t eight)
{
    return !may_have_less(eight, '\r' + 1) && !may_have(eight, '\\');
}

static bool json_is_plain(uint64_t eight)
{
    bool is_ascii = (eight & EACH_BYTE << 7) == 0;
    return is_ascii && !may_have_less(eight, ' ') && !may_have(eight, '"') && !may_have(eight, '\\');
}

static char text_escape(char character)
{
    switch (character) {
    case '\t': return 't';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\\': return '\\';
    default: return 0;
    }
}

void text_output_escaped(struct text_output *out, const char *bytes, size_t size_bytes)
{
    size_t copied = 0;
    size_t i = 0;
    while (i < size_bytes) {
        if (size_bytes - i >= 8 && text_is_plain(load_eight(bytes + i))) {
            i += 8;
            continue;
        }
        char escape = text_escape(bytes[i++]);
        if (escape == 0)
            continue;
        text_output_bytes(out, bytes + copied, i - 1 - copied);
        text_output_char(out, '\\');
        text_output_char(out, escape);
        copied = i;
    }
    text_output_bytes(out, bytes + copied, size_bytes - copied);
}

static void json_escape(struct text_output *out, unsigned char character)
{
    static const char hex[] = "0123456789abcdef";
    static const char short_escapes[0x20] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    text_output_char(out, '\\');
    if (character >= 0x20) { /* a quote or a backslash */
        text_output_char(out, (char)character);
    } else if (short_escapes[character] != 0) {
        text_output_char(out, short_escapes[character]);
    } else {
        text_output_bytes(out, "u00", 3);
        text_output_char(out, hex[character >> 4]);
        text_output_char(out, hex[character & 15]);
    }
}

/* What may follow a first byte of a UTF-8 sequence (Unicode Standard, table 3-7): so many bytes, and the second of them
 * within these bounds (the others are 80 .. BF). A count of 0: not a first byte. */
struct utf8_head {
    unsigned char following_count;
    unsigned char second_min;
    unsigned char second_max;
};

static struct utf8_head utf8_head(unsigned char first)
{
    if (first >= 0xC2 && first <= 0xDF)
        return (struct utf8_head){1, 0x80, 0xBF};
    if (first >= 0xE0 && first <= 0xEF)
        return (struct utf8_head){2, first == 0xE0 ? 0xA0 : 0x80, first == 0xED ? 0x9F : 0xBF};
    if (first >= 0xF0 && first <= 0xF4)
        return (struct utf8_head){3, first == 0xF0 ? 0x90 : 0x80, first == 0xF4 ? 0x8F : 0xBF};
    return (struct utf8_head){0, 0, 0};
}

/* The bytes of the sequence that begins here with a byte above 7F, and whether it is whole. size_bytes: at least 1. */
static size_t utf8_sequence(const unsigned char *bytes, size_t size_bytes, bool *ret_is_whole)
{
    struct utf8_head head = utf8_head(bytes[0]);
    size_t taken = 1;
    while (taken <= head.following_count && taken < size_bytes) {
        unsigned char min = taken == 1 ? head.second_min : 0x80;
        unsigned char max = taken == 1 ? head.second_max : 0xBF;
        if (bytes[taken] < min || bytes[taken] > max)
            break;
        taken++;
    }
    *ret_is_whole = head.following_count > 0 && taken == (size_t)head.following_count + 1;
    return taken;
}

static bool json_needs_escape(unsigned char character)
{
    return character < 0x20 || character == '"' || character == '\\';
}

void text_output_json(struct text_output *out, const char *bytes, size_t size_bytes)
{
    const unsigned char *data = (const unsigned char *)bytes;
    size_t copied = 0; /* all before is in the output; all from here to i goes there as it is */
    size_t i = 0;
    text_output_char(out, '"');
    while (i < size_bytes) {
        if (size_bytes - i >= 8 && json_is_plain(load_eight(bytes + i))) {
            i += 8;
            continue;
        }
        bool is_whole = true;
        size_t taken = data[i] < 0x80 ? 1 : utf8_sequence(data + i, size_bytes - i, &is_whole);
        if (!is_whole || json_needs_escape(data[i])) {
            text_output_bytes(out, bytes + copied, i - copied);
            if (is_whole)
                json_escape(out, data[i]);
            else
                text_output_bytes(out, "\xEF\xBF\xBD", 3);
            copied = i + taken;
        }
        i += taken;
    }
    text_output_bytes(out, bytes + copied, size_bytes - copied);
    text_output_char(out, '"');
}
