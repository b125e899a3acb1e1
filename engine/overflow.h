/*
 * overflow.h - what one record emits beyond the room of the rings: a queue of frames in shared memory, per task. While it
 * holds anything, everything that is emitted goes through it (order!), and no further input is read. So a record may emit
 * any amount, up to the limit, without a deadlock and without half of its output being published for ever.
 *
 * One writer and reader, the task. The positions are part of the commit record. Backed in steps as it grows.
 */
#ifndef WEIR_ENGINE_OVERFLOW_H
#define WEIR_ENGINE_OVERFLOW_H

#include "base/error.h"

#include <assert.h>

struct overflow {
    unsigned char *base; /* NULL: not mapped */
    uint64_t limit_bytes;
    uint64_t backed_bytes;
    uint64_t read_pos;
    uint64_t write_pos;
    int fd;
};

struct overflow_frame {
    const void *payload;
    uint32_t size_bytes;
    uint16_t out; /* index into task.outs */
    uint8_t kind;
    uint8_t channel;
};

/* Maps the region that the launcher made (overflow_create) and empties it. */
int overflow_create(const char *name, uint64_t limit_bytes, int *ret_fd, struct weir_error *err);
int overflow_attach(struct overflow *queue, int fd, uint64_t limit_bytes, struct weir_error *err);
void overflow_detach(struct overflow *queue);

static inline bool overflow_is_empty(const struct overflow *queue) { return queue->read_pos == queue->write_pos; }

/* Room for a payload at the end of the queue, filled in by the caller. WEIR_ELIMIT, WEIR_ENOSPC. */
int overflow_push(struct overflow *queue, const struct overflow_frame *frame, void **ret_payload, struct weir_error *err);
/* The oldest frame, or false; overflow_pop() removes it: its bytes stay, for whoever takes over from the last commit record. */
bool overflow_front(const struct overflow *queue, struct overflow_frame *ret_frame);
void overflow_pop(struct overflow *queue);
/* At the end of a batch, before its commit record: an empty queue begins at its start again. */
void overflow_settle(struct overflow *queue);

#endif
