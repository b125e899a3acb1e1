#include "snapshot/file_format.h"

#include <criterion/criterion.h>
#include <string.h>

static struct weir_error err;

static struct snapshot_header some_header(void)
{
    struct snapshot_header header = {.block_bytes = 8192};
    memcpy(header.identity.job_id, "fedcba9876543210", 16);
    header.identity.name = (struct snapshot_name){
        .checkpoint_id = UINT64_MAX, .task = "t", .subtask = 5, .generation = 1ull << 40, .attempt = 9};
    return header;
}

Test(file_format, a_header_comes_back)
{
    unsigned char page[PAGE_BYTES];
    struct snapshot_header header = some_header();
    struct snapshot_header back;
    uint64_t checksum;
    memset(page, 0xee, sizeof page); /* nothing of what was there may stay */
    header_encode(&header, page, &checksum);
    cr_assert_eq(header_decode(page, "f", &back, &err), WEIR_OK, "%s", err.text);
    cr_expect_eq(back.checksum, checksum);
    cr_expect_eq(back.block_bytes, 8192);
    cr_expect_eq(memcmp(&back.identity, &header.identity, sizeof header.identity), 0);
}

Test(file_format, a_footer_comes_back)
{
    unsigned char page[PAGE_BYTES];
    struct snapshot_footer footer = {.block_count = 1,
                                     .data_bytes = 2,
                                     .index_offset = 3,
                                     .index_bytes = 4,
                                     .index_checksum = 5,
                                     .total_bytes = 6,
                                     .header_checksum = 7};
    struct snapshot_footer back;
    footer_encode(&footer, page, &footer.checksum);
    cr_assert_eq(footer_decode(page, "f", 0, &back, &err), WEIR_OK, "%s", err.text);
    cr_expect_eq(memcmp(&back, &footer, sizeof footer), 0);
}

/* The checksum is right, the field is not. */
Test(file_format, a_sealed_header_with_a_field_out_of_range_is_refused)
{
    uint32_t sizes[] = {0, 1, 2048, 4097, 12288, 2u << 20, UINT32_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char page[PAGE_BYTES];
        struct snapshot_header header = some_header();
        struct snapshot_header back;
        uint64_t checksum;
        header.block_bytes = sizes[i];
        header_encode(&header, page, &checksum);
        cr_expect_eq(header_decode(page, "f", &back, &err), WEIR_ECORRUPT, "blocks of %u", sizes[i]);
    }
    for (int i = 0; i < 3; i++) {
        unsigned char page[PAGE_BYTES];
        struct snapshot_header header = some_header();
        struct snapshot_header back;
        uint64_t checksum;
        memset(header.identity.name.task, i == 0 ? 0 : i == 1 ? '.' : 'a', 64);
        header_encode(&header, page, &checksum);
        cr_expect_eq(header_decode(page, "f", &back, &err), WEIR_ECORRUPT);
    }
}

Test(file_format, equal_blocks_have_checksums_of_their_own_in_each_place)
{
    unsigned char block[4096] = {0};
    struct snapshot_identity identity = some_header().identity;
    uint64_t here = block_checksum(block, sizeof block, identity_binding(&identity), 1);
    cr_expect_neq(here, block_checksum(block, sizeof block, identity_binding(&identity), 2));
    struct snapshot_identity other = identity;
    other.name.checkpoint_id--;
    cr_expect_neq(here, block_checksum(block, sizeof block, identity_binding(&other), 1));
    other = identity;
    other.name.subtask++;
    cr_expect_neq(here, block_checksum(block, sizeof block, identity_binding(&other), 1));
    other = identity;
    other.name.task[1] = 't';
    cr_expect_neq(here, block_checksum(block, sizeof block, identity_binding(&other), 1));
    other = identity;
    other.job_id[15]++;
    cr_expect_neq(here, block_checksum(block, sizeof block, identity_binding(&other), 1));
    other = identity;
    other.name.attempt++;
    cr_expect_eq(here, block_checksum(block, sizeof block, identity_binding(&other), 1),
                 "attempts have files of their own");
}
