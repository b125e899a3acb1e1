/* chunk_places.h - every physical chunk of a region is in one place: named by the live table, by a frozen one, in the FIFO, or above the
 * mark. */
#ifndef WEIR_TESTS_CHUNK_PLACES_H
#define WEIR_TESTS_CHUNK_PLACES_H

#include "state/cut.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { PLACE_LIVE = 1, PLACE_FROZEN = 2, PLACE_FREE = 4, PLACE_RETIRED = 8 };

static inline void note_frozen(const struct chunk_region *region, const struct chunk_cut *cut, unsigned char *places)
{
    const uint32_t *frozen = cut->live != CHUNK_CUT_NONE ? cut_table(region, cut) : NULL;
    for (uint32_t i = 0; frozen != NULL && i < cut->logical_mark; i++)
        if ((frozen[i] & CHUNK_UNUSED) == 0)
            places[frozen[i] & CHUNK_ID_MASK] |= PLACE_FROZEN;
}

static inline void check_physical(const struct chunk_region *region)
{
    const struct chunk_header *header = region->header;
    const struct chunk_marks *marks = &header->marks;
    unsigned char *places = calloc(marks->physical_mark, 1);
    for (uint32_t i = 0; i < marks->logical_mark; i++) {
        if ((region->table[i] & CHUNK_UNUSED) != 0)
            continue;
        uint32_t id = region->table[i] & CHUNK_ID_MASK;
        cr_assert(id > 0 && id < marks->physical_mark && places[id] == 0, "chunk %u is live twice, or is none", id);
        places[id] |= PLACE_LIVE;
    }
    for (unsigned i = 0; i < CHUNK_CUTS_MAX; i++)
        note_frozen(region, &header->cuts[i], places);
    for (uint64_t pos = marks->free_head; pos < marks->retire_tail; pos++) {
        uint32_t id = region->fifo[pos & header->fifo_mask];
        unsigned char place = pos < marks->release_pos ? PLACE_FREE : PLACE_RETIRED;
        unsigned char others = PLACE_LIVE | PLACE_FREE | PLACE_RETIRED | (place == PLACE_FREE ? PLACE_FROZEN : 0);
        cr_assert(id > 0 && id < marks->physical_mark);
        cr_assert_eq(places[id] & others, 0, "chunk %u is in the FIFO and elsewhere: %u", id, places[id]);
        places[id] |= place;
    }
    for (uint32_t id = 1; id < marks->physical_mark; id++)
        cr_assert_neq(places[id], 0, "chunk %u is lost", id);
    free(places);
}

#endif
