/* test_bytes.c - what is durable, byte by byte. */
#include "base/bytes.h"

#include <criterion/criterion.h>
#include <string.h>

Test(bytes, numbers_are_little_endian_whatever_the_machine)
{
    unsigned char buffer[32] = {0};
    static const unsigned char expected[] = {0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f, 0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08};
    struct writer w = {.data = buffer, .capacity = sizeof buffer};
    writer_u8(&w, 0x01);
    writer_u16(&w, 0x0203);
    writer_u32(&w, 0x04050607);
    writer_u64(&w, UINT64_C(0x08090a0b0c0d0e0f));
    cr_assert_eq(w.used, sizeof expected);
    cr_assert_eq(memcmp(buffer, expected, sizeof expected), 0);
    struct reader r = {.data = buffer, .size_bytes = w.used};
    cr_assert_eq(reader_u8(&r), 0x01);
    cr_assert_eq(reader_u16(&r), 0x0203);
    cr_assert_eq(reader_u32(&r), 0x04050607u);
    cr_assert_eq(reader_u64(&r), UINT64_C(0x08090a0b0c0d0e0f));
    cr_assert_not(r.failed);
    cr_assert_eq(r.used, r.size_bytes);
}

Test(bytes, text_and_blobs_carry_their_length)
{
    unsigned char buffer[32], blob[4];
    static const unsigned char expected[] = {3, 0, 'a', 'b', 'c', 2, 0, 0, 0, 9, 8};
    char text[8];
    struct writer w = {.data = buffer, .capacity = sizeof buffer};
    writer_text(&w, "abc");
    writer_blob(&w, "\x09\x08", 2);
    cr_assert_eq(w.used, sizeof expected);
    cr_assert_eq(memcmp(buffer, expected, sizeof expected), 0);
    struct reader r = {.data = buffer, .size_bytes = w.used};
    reader_text(&r, text, sizeof text);
    cr_assert_str_eq(text, "abc");
    cr_assert_eq(reader_blob(&r, blob, sizeof blob), 2u);
    cr_assert(blob[0] == 9 && blob[1] == 8 && !r.failed);
}

Test(bytes, a_writer_never_passes_its_end_and_remembers)
{
    unsigned char buffer[8];
    memset(buffer, 0xee, sizeof buffer);
    struct writer w = {.data = buffer, .capacity = 5};
    writer_u32(&w, 1);
    writer_u32(&w, 2);
    cr_assert(w.failed);
    cr_assert_eq(w.used, 4u, "nothing of what did not fit was written");
    writer_u8(&w, 3);
    cr_assert_eq(w.used, 4u, "nor anything after it");
    cr_assert(buffer[4] == 0xee && buffer[5] == 0xee);
}

Test(bytes, a_reader_never_passes_its_end_and_remembers)
{
    static const unsigned char data[] = {1, 2, 3};
    struct reader r = {.data = data, .size_bytes = sizeof data};
    cr_assert_eq(reader_u32(&r), 0u);
    cr_assert(r.failed);
    cr_assert_eq(reader_u8(&r), 0, "what follows a failure is zero");
    cr_assert_null(reader_take(&r, 0));
}

Test(bytes, lengths_that_lie_are_refused)
{
    static const unsigned char longer[] = {200, 0, 'a', 'b'}, with_zero[] = {3, 0, 'a', 0, 'b'}, fits_not[] = {4, 0, 'a', 'b', 'c', 'd'};
    static const unsigned char huge[] = {0xff, 0xff, 0xff, 0xff, 1};
    static const struct {
        const unsigned char *data;
        size_t size_bytes;
    } texts[] = {{longer, sizeof longer}, {with_zero, sizeof with_zero}, {fits_not, sizeof fits_not}, {longer, 1}};
    char text[4];
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct reader r = {.data = texts[i].data, .size_bytes = texts[i].size_bytes};
        memset(text, 'z', sizeof text);
        reader_text(&r, text, sizeof text);
        cr_assert(r.failed, "text %zu", i);
        cr_assert_eq(text[0], 0, "and the text is empty");
    }
    struct reader r = {.data = huge, .size_bytes = sizeof huge};
    cr_assert_eq(reader_blob(&r, text, sizeof text), 0u);
    cr_assert(r.failed);
    r = (struct reader){.data = fits_not, .size_bytes = sizeof fits_not};
    cr_assert_null(reader_take(&r, SIZE_MAX));
    cr_assert(r.failed);
}

Test(bytes, alignment_rounds_up_to_the_next_multiple)
{
    cr_assert_eq(align_up(0, 8), 0u);
    cr_assert_eq(align_up(1, 8), 8u);
    cr_assert_eq(align_up(8, 8), 8u);
    cr_assert_eq(align_up(4097, 4096), 8192u);
    cr_assert_eq(u64_min(3, 5), 3u);
    cr_assert_eq(u64_max(3, 5), 5u);
}
