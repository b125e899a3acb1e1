#include "snapshot/block_io.h"

#include "base/check.h"

/* All of the slot, done when this returns. */
static int pwrite_submit(struct block_io *queue, struct slot *slot)
{
    const struct io *io = queue->io;
    ssize_t result;
    do {
        slot->was_direct = queue->direct;
        unsigned char *data = slot->data + slot->done_bytes;
        size_t size_bytes = slot->size_bytes - slot->done_bytes;
        uint64_t offset = slot->offset + slot->done_bytes;
        result = slot->is_write ? io->pwrite(io->self, queue->fd, data, size_bytes, offset)
                                : io->pread(io->self, queue->fd, data, size_bytes, offset);
    } while (block_io_complete(queue, slot, result));
    return queue->error.code;
}

static int pwrite_reap(struct block_io *queue)
{
    CHECK(queue->in_flight == 0); /* nothing ever is, once submit has returned */
    return queue->error.code;
}

static void pwrite_close(struct block_io *queue) { (void)queue; }

const struct block_backend block_backend_pwrite = {
    .name = "pwrite", .submit = pwrite_submit, .reap = pwrite_reap, .close = pwrite_close};
