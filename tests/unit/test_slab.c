#include "state/slab.h"
#include "unit/state_model.h"

#include <criterion/criterion.h>

struct fixture {
    struct chunk_region region;
    struct slab slab;
};

static void set_up(struct fixture *f)
{
    cr_assert_eq(chunk_region_create(&f->region, "slab", CHUNK_LIMIT_BYTES_MIN * 64, 0, NULL), WEIR_OK);
    cr_assert_eq(chunk_reserve(&f->region, 2, NULL), WEIR_OK);
    cr_assert_eq(chunk_alloc(&f->region), 0);
    slab_init(&f->slab, &f->region, 64);
}

static uint32_t live_chunks(const struct fixture *f) { return f->region.header->marks.logical_count; }

Test(slab, objects_do_not_overlap_and_freed_ones_are_used_again)
{
    struct fixture f;
    set_up(&f);
    uint64_t random = 5;
    uint32_t refs[500] = {0};
    size_t sizes[500];
    for (int round = 0; round < 20000; round++) {
        int i = (int)(model_random(&random) % 500);
        cr_assert_eq(chunk_reserve(&f.region, 8, NULL), WEIR_OK);
        if (refs[i] != 0) {
            const unsigned char *bytes = slab_read(&f.slab, refs[i]);
            for (size_t j = 0; j < sizes[i]; j++)
                cr_assert_eq(bytes[j], (unsigned char)i);
            slab_free(&f.slab, refs[i]);
            refs[i] = 0;
        } else {
            sizes[i] = 1 + model_random(&random) % (i % 10 == 0 ? SLAB_OBJECT_BYTES_MAX : 200);
            refs[i] = slab_alloc(&f.slab, sizes[i]);
            cr_assert_geq(slab_object_bytes(&f.slab, refs[i]), sizes[i]);
            memset(slab_touch(&f.slab, refs[i], 0, sizes[i]), i, sizes[i]);
        }
    }
    for (int i = 0; i < 500; i++)
        if (refs[i] != 0)
            slab_free(&f.slab, refs[i]);
    cr_assert_eq(live_chunks(&f), 1, "empty chunks go back");
    chunk_region_destroy(&f.region);
}

Test(slab, small_objects_share_a_chunk)
{
    struct fixture f;
    set_up(&f);
    cr_assert_eq(chunk_reserve(&f.region, 8, NULL), WEIR_OK);
    for (unsigned i = 0; i < CHUNK_BYTES / 16 - 1; i++)
        (void)slab_alloc(&f.slab, 16);
    cr_assert_eq(live_chunks(&f), 2);
    (void)slab_alloc(&f.slab, 16);
    cr_assert_eq(live_chunks(&f), 3);
    chunk_region_destroy(&f.region);
}

Test(slab, no_size_wastes_more_than_a_third)
{
    struct fixture f;
    set_up(&f);
    for (size_t size_bytes = 1; size_bytes <= CHUNK_BYTES / 4; size_bytes += 13) {
        cr_assert_eq(chunk_reserve(&f.region, 8, NULL), WEIR_OK);
        cr_assert_leq(slab_object_bytes(&f.slab, slab_alloc(&f.slab, size_bytes)), size_bytes * 4 / 3 + 16);
    }
    chunk_region_destroy(&f.region);
}

/* Every size around the borders of pieces, written and read in parts. */
Test(slab, blobs_of_any_size_keep_their_bytes)
{
    struct fixture f;
    set_up(&f);
    static unsigned char bytes[70000], back[70000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * i >> 3);
    for (size_t pieces = 0; pieces <= 70000 / BLOB_PIECE_BYTES_MAX; pieces++)
        for (size_t extra = 0; extra < 3; extra++) {
            size_t size_bytes = pieces * BLOB_PIECE_BYTES_MAX + extra;
            cr_assert_eq(chunk_reserve(&f.region, slab_chunks_max(size_bytes), NULL), WEIR_OK);
            uint32_t ref = blob_alloc(&f.slab, size_bytes);
            cr_assert_eq(blob_size(&f.slab, ref), size_bytes);
            size_t half = size_bytes / 2;
            blob_write(&f.slab, ref, half, bytes + half, size_bytes - half);
            blob_write(&f.slab, ref, 0, bytes, half);
            memset(back, 0, sizeof back);
            blob_copy_out(&f.slab, ref, 0, back, size_bytes);
            cr_assert_eq(memcmp(back, bytes, size_bytes), 0);
            cr_assert(blob_equals(&f.slab, ref, half, bytes + half, size_bytes - half));
            if (size_bytes > 0) {
                back[size_bytes - 1] ^= 1;
                cr_assert_not(blob_equals(&f.slab, ref, 0, back, size_bytes));
            }
            cr_assert_eq(blob_in_one_piece(&f.slab, ref), size_bytes <= BLOB_PIECE_BYTES_MAX);
            blob_free(&f.slab, ref);
        }
    cr_assert_eq(live_chunks(&f), 1);
    chunk_region_destroy(&f.region);
}
