/*
 * batch.h - the transaction: a task processes so many records, and then writes down, in one commit record, everything that it
 * must remember. Two records, used in turn; one store says which is current. Publishing the ring positions follows from the
 * record and may be repeated. What is neither in the record nor in the state is listed in README.md (lost on purpose, or computed
 * anew).
 *
 * In the front part of the task's chunk region: T writes; whoever takes the task over reads.
 */
#ifndef WEIR_ENGINE_BATCH_H
#define WEIR_ENGINE_BATCH_H

#include "engine/job_shared.h"
#include "state/chunk.h"
#include "weir.h"

#include <stdatomic.h>
#include <stdint.h>

struct commit_input {
    uint64_t tail;
    uint64_t run; /* as in struct ring_consumer */
    uint64_t barrier_id;
    uint32_t blocked;
    uint32_t ended;
};

struct commit_output {
    uint64_t head;
    uint64_t record_count;
};

/* A sink's position, padded to 8 bytes. */
struct commit_sink {
    uint32_t node; /* index in the graph */
    uint32_t size_bytes;
    uint8_t bytes[];
};

struct commit_record {
    uint64_t checksum;   /* XXH3 of what follows, up to size_bytes */
    uint64_t batch;
    uint64_t records_in;
    uint64_t records_out;
    uint64_t records_since_barrier;
    struct chunk_marks marks;
    uint64_t overflow_read_pos;
    uint64_t overflow_write_pos;
    uint64_t committed_seen;   /* of task_shared */
    uint64_t barrier_id;       /* the last barrier taken, or the one being aligned */
    uint64_t barrier_due;      /* 0, or the barrier behind this batch: its snapshot may not be begun, and it is not forwarded */
    uint32_t barrier_stop;
    uint32_t barrier_snapshot; /* a snapshot belongs to it */
    uint32_t aligning;
    uint32_t aligned_count;
    uint32_t ended;
    uint32_t end_forwarded;
    uint32_t stopping;
    uint32_t size_bytes;       /* of the record with what follows it */
    uint16_t input_count;
    uint16_t output_count;
    uint16_t sink_count;
    uint16_t position_bytes;   /* of the source */
    /* inputs, outputs, the source's position padded to 8 bytes, sinks */
    unsigned char rest[];
};
_Static_assert(sizeof(struct commit_record) == 160, "commit_record is shared");
_Static_assert(sizeof(struct commit_record) % 8 == 0, "what follows it is aligned");

/* What was prepared in this task's sinks and not committed yet, oldest first. Changes are noted in the undo log: it belongs to the
 * transaction. */
struct pending_list {
    uint64_t count;
    struct pending_committable item[PENDING_COMMITTABLES_MAX];
};

struct commit_area {
    _Atomic uint32_t current; /* 0 or 1: the record that holds */
    uint32_t slot_bytes;
    uint64_t reserved[7];
    struct pending_list pending;
    /* two slots of slot_bytes follow */
};
_Static_assert(sizeof(struct commit_area) % 8 == 0, "the slots are aligned");
_Static_assert(sizeof(struct commit_area) == 64 + 8 + PENDING_COMMITTABLES_MAX * 272, "tests/crash/takeovers.py knows where they begin");

#endif
