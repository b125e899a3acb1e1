/*
 * batch.h - the transaction: a task processes so many records, and then writes down, in one commit record, everything that it
 * must remember. Two records, used in turn; one store says which is current. Publishing the ring positions follows from the
 * record and may be repeated.
 *
 * In the front part of the task's chunk region: T writes; whoever takes the task over (later) reads.
 */
#ifndef WEIR_ENGINE_BATCH_H
#define WEIR_ENGINE_BATCH_H

#include "state/chunk.h"
#include "weir.h"

#include <stdatomic.h>
#include <stdint.h>

struct commit_record {
    uint64_t batch;
    uint64_t records_in;
    uint64_t records_out;
    struct chunk_marks marks;
    uint64_t overflow_read_pos;
    uint64_t overflow_write_pos;
    uint64_t barrier_id;       /* the last barrier taken, or the one being aligned */
    uint32_t aligning;
    uint32_t ended;
    uint32_t position_bytes;   /* of the source */
    uint32_t ring_count;
    uint8_t position[WEIR_POSITION_BYTES_MAX];
    uint64_t ring_pos[];       /* tails of the inputs, then heads of the outputs */
};

struct commit_area {
    _Atomic uint32_t current; /* 0 or 1: the record that holds */
    uint32_t slot_bytes;
    uint64_t reserved[7];
    /* two slots of slot_bytes follow */
};

#endif
