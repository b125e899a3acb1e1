#include "engine/overflow.h"

#include "base/bytes.h"
#include "base/check.h"
#include "shm/region.h"

#include <errno.h>
#include <fcntl.h>

#define GROW_BYTES (UINT64_C(1) << 20)

/* In the queue: this, then the payload, padded to 8 bytes. */
struct entry {
    uint32_t size_bytes;
    uint16_t out;
    uint8_t kind;
    uint8_t channel;
};
static_assert(sizeof(struct entry) == 8, "payloads stay aligned to 8 bytes");

static uint64_t entry_bytes(uint32_t size_bytes) { return align_up(sizeof(struct entry) + (uint64_t)size_bytes, 8); }

int overflow_create(const char *name, uint64_t limit_bytes, int *ret_fd, struct weir_error *err)
{
    return region_create(name, align_up(limit_bytes, GROW_BYTES), false, ret_fd, err);
}

int overflow_attach(struct overflow *queue, int fd, uint64_t limit_bytes, struct weir_error *err)
{
    void *base;
    uint64_t mapped_bytes = align_up(limit_bytes, GROW_BYTES);
    int code = region_map(fd, 0, mapped_bytes, &base, err);
    if (code == WEIR_OK)
        *queue = (struct overflow){.base = base, .limit_bytes = mapped_bytes, .fd = fd};
    return code;
}

void overflow_detach(struct overflow *queue)
{
    region_unmap(queue->base, queue->limit_bytes);
    *queue = (struct overflow){0};
}

/* Backs the region up to end_pos, so that a full memory is an error here and not a signal later. */
static int back(struct overflow *queue, uint64_t end_pos, struct weir_error *err)
{
    uint64_t wanted = align_up(end_pos, GROW_BYTES);
    if (fallocate(queue->fd, 0, (off_t)queue->backed_bytes, (off_t)(wanted - queue->backed_bytes)) != 0)
        return error_set_errno(err, errno, "overflow queue: allocate %llu bytes", (unsigned long long)wanted);
    queue->backed_bytes = wanted;
    return WEIR_OK;
}

int overflow_push(struct overflow *queue, const struct overflow_frame *frame, void **ret_payload, struct weir_error *err)
{
    uint64_t end_pos = queue->write_pos + entry_bytes(frame->size_bytes);
    if (end_pos > queue->limit_bytes)
        return error_set(err, WEIR_ELIMIT, "the output of one record exceeds the rings and the overflow queue of %llu bytes: raise "
                         "--overflow-limit or --ring-size", (unsigned long long)queue->limit_bytes);
    if (end_pos > queue->backed_bytes) {
        int code = back(queue, end_pos, err);
        if (code != WEIR_OK)
            return code;
    }
    struct entry *entry = (struct entry *)(void *)(queue->base + queue->write_pos);
    *entry = (struct entry){frame->size_bytes, frame->out, frame->kind, frame->channel};
    *ret_payload = entry + 1;
    queue->write_pos = end_pos;
    return WEIR_OK;
}

bool overflow_front(const struct overflow *queue, struct overflow_frame *ret_frame)
{
    if (overflow_is_empty(queue))
        return false;
    const struct entry *entry = (const struct entry *)(const void *)(queue->base + queue->read_pos);
    *ret_frame = (struct overflow_frame){entry + 1, entry->size_bytes, entry->out, entry->kind, entry->channel};
    return true;
}

void overflow_pop(struct overflow *queue)
{
    struct overflow_frame frame;
    CHECK(overflow_front(queue, &frame));
    queue->read_pos += entry_bytes(frame.size_bytes);
}

void overflow_settle(struct overflow *queue)
{
    if (overflow_is_empty(queue))
        queue->read_pos = queue->write_pos = 0;
}
