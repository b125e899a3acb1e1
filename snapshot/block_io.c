#include "snapshot/block_io.h"

#include "base/bytes.h"
#include "base/check.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>

#define RETRIES_MAX 100u

/* The queue itself, then the buffers: one mapping, touched only as far as it is used. */
int block_io_open(const struct io *io, int fd, const char *file, uint32_t depth, bool direct,
                  struct block_io **ret_queue, struct weir_error *err)
{
    CHECK(depth >= 1 && depth <= IO_DEPTH_MAX);
    size_t head_bytes = align_up(sizeof(struct block_io), 4096);
    size_t memory_bytes = head_bytes + (size_t)depth * BUFFER_BYTES;
    unsigned char *memory = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return error_set_errno(err, errno, "%s: %zu bytes of memory for buffers", file, memory_bytes);
    struct block_io *queue = (void *)memory;
    queue->io = io;
    queue->backend = &block_backend_pwrite;
    queue->file = file;
    queue->fd = fd;
    queue->direct = direct && io->set_direct(io->self, fd, true) >= 0;
    queue->depth = depth;
    queue->memory = memory;
    queue->memory_bytes = memory_bytes;
    for (uint32_t i = 0; i < depth; i++)
        queue->slots[i].data = memory + head_bytes + (size_t)i * BUFFER_BYTES;
    *ret_queue = queue;
    return WEIR_OK;
}

void block_io_expect_much(struct block_io *queue) { (void)madvise(queue->memory, queue->memory_bytes, MADV_HUGEPAGE); }

/* The kernel writes into the buffers until a request completes: they must not be unmapped before. */
void block_io_close(struct block_io *queue)
{
    if (queue == NULL)
        return;
    while (queue->in_flight > 0) {
        uint32_t before = queue->in_flight;
        int code = queue->backend->reap(queue);
        if (code != WEIR_OK && queue->in_flight == before)
            break; /* the ring itself fails: closing it cancels or waits */
    }
    queue->backend->close(queue);
    munmap(queue->memory, queue->memory_bytes);
}

struct slot *block_io_take(struct block_io *queue)
{
    while (queue->error.code == WEIR_OK) {
        for (uint32_t i = 0; i < queue->depth; i++)
            if (queue->slots[i].state == SLOT_FREE) {
                queue->slots[i].state = SLOT_TAKEN;
                return &queue->slots[i];
            }
        CHECK(queue->in_flight > 0);
        if (queue->backend->reap(queue) != WEIR_OK)
            break;
    }
    return NULL;
}

static int slot_start(struct block_io *queue, struct slot *slot, bool is_write, size_t size_bytes, uint64_t offset)
{
    CHECK(slot->state == SLOT_TAKEN && size_bytes > 0 && size_bytes <= BUFFER_BYTES);
    if (queue->error.code != WEIR_OK)
        return queue->error.code;
    slot->is_write = is_write;
    slot->size_bytes = size_bytes;
    slot->done_bytes = 0;
    slot->offset = offset;
    slot->retries = 0;
    slot->state = SLOT_IN_FLIGHT;
    queue->in_flight++;
    return queue->backend->submit(queue, slot);
}

int block_io_write(struct block_io *queue, struct slot *slot, size_t size_bytes, uint64_t offset)
{
    return slot_start(queue, slot, true, size_bytes, offset);
}

int block_io_read(struct block_io *queue, struct slot *slot, size_t size_bytes, uint64_t offset)
{
    return slot_start(queue, slot, false, size_bytes, offset);
}

int block_io_wait(struct block_io *queue, struct slot *slot)
{
    while (queue->error.code == WEIR_OK && slot->state == SLOT_IN_FLIGHT)
        queue->backend->reap(queue);
    return queue->error.code;
}

void block_io_release(struct block_io *queue, struct slot *slot)
{
    (void)queue;
    CHECK(slot->state == SLOT_READ || slot->state == SLOT_TAKEN);
    slot->state = SLOT_FREE;
}

int block_io_drain(struct block_io *queue)
{
    while (queue->error.code == WEIR_OK && queue->in_flight > 0)
        queue->backend->reap(queue);
    return queue->error.code;
}

/* The slot's request is over: nothing of it is in flight any longer. */
static bool slot_end(struct block_io *queue, struct slot *slot)
{
    queue->in_flight--;
    slot->state = slot->is_write ? SLOT_FREE : SLOT_READ;
    return false;
}

static bool slot_fail(struct block_io *queue, struct slot *slot, int errno_value)
{
    if (queue->error.code == WEIR_OK)
        error_set_errno(&queue->error, errno_value, "%s: %s %zu bytes at byte %" PRIu64, queue->file,
                        slot->is_write ? "write" : "read", slot->size_bytes - slot->done_bytes,
                        slot->offset + slot->done_bytes);
    return slot_end(queue, slot);
}

static bool slot_fail_at_end_of_file(struct block_io *queue, struct slot *slot)
{
    if (queue->error.code == WEIR_OK)
        error_set(&queue->error, WEIR_ECORRUPT, "%s: byte %" PRIu64 ": the file ends here, expected %zu bytes more",
                  queue->file, slot->offset + slot->done_bytes, slot->size_bytes - slot->done_bytes);
    return slot_end(queue, slot);
}

/* Nothing more is sent after a failure. */
static bool slot_again(struct block_io *queue, struct slot *slot)
{
    return queue->error.code == WEIR_OK ? true : slot_end(queue, slot);
}

static bool slot_retry(struct block_io *queue, struct slot *slot, int errno_value)
{
    slot->retries++;
    return slot->retries > RETRIES_MAX ? slot_fail(queue, slot, errno_value) : slot_again(queue, slot);
}

static bool slot_failed_request(struct block_io *queue, struct slot *slot, int errno_value)
{
    if (errno_value == EINVAL && slot->was_direct) {
        int result = queue->direct ? queue->io->set_direct(queue->io->self, queue->fd, false) : 0;
        if (result < 0)
            return slot_fail(queue, slot, -result);
        queue->direct = false;
        return slot_again(queue, slot);
    }
    bool transient = errno_value == EINTR || errno_value == EAGAIN || errno_value == ECANCELED;
    return transient ? slot_retry(queue, slot, errno_value) : slot_fail(queue, slot, errno_value);
}

/* A short direct request may end at a place from which no direct one can go on: the rest goes again from the last
 * aligned byte. Writing bytes once more does no harm. */
static size_t aligned_progress(const struct block_io *queue, const struct slot *slot, size_t done_bytes)
{
    return queue->direct && done_bytes < slot->size_bytes ? done_bytes & ~(size_t)4095 : done_bytes;
}

bool block_io_complete(struct block_io *queue, struct slot *slot, ssize_t result)
{
    CHECK(slot->state == SLOT_IN_FLIGHT);
    if (result < 0)
        return slot_failed_request(queue, slot, (int)-result);
    if ((size_t)result > slot->size_bytes - slot->done_bytes)
        return slot_fail(queue, slot, EIO);
    if (result == 0 && !slot->is_write)
        return slot_fail_at_end_of_file(queue, slot);
    size_t before = slot->done_bytes;
    slot->done_bytes = aligned_progress(queue, slot, before + (size_t)result);
    if (slot->done_bytes == before)
        return slot_retry(queue, slot, EIO);
    slot->retries = 0;
    if (slot->done_bytes < slot->size_bytes)
        return slot_again(queue, slot);
    queue->bytes_done += slot->size_bytes;
    return slot_end(queue, slot);
}
