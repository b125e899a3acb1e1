#include "snapshot/block_io.h"

#include "base/check.h"

#include <errno.h>
#include <liburing.h>
#include <sys/mman.h>

#define RETRIES_MAX 100

static int ring_fail(struct block_io *queue, int errno_value, const char *what)
{
    if (queue->error.code == WEIR_OK)
        error_set_errno(&queue->error, errno_value, "%s: io_uring: %s", queue->file, what);
    return queue->error.code;
}

/* The kernel may be short of memory for a moment, or a signal may come. */
static int submit_bounded(struct block_io *queue)
{
    const struct io *io = queue->io;
    int result;
    int retries = 0;
    do
        result = io->ring_submit(io->self, queue->ring);
    while ((result == -EINTR || result == -EAGAIN || result == 0) && retries++ < RETRIES_MAX);
    return result;
}

/* The request is taken back where it never reached the kernel: the ring is of no use any longer, and is closed next. */
static int uring_submit(struct block_io *queue, struct slot *slot)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(queue->ring);
    CHECK(sqe != NULL); /* as many entries as slots, and each slot has one request at most */
    unsigned char *data = slot->data + slot->done_bytes;
    size_t size_bytes = queue->io->ring_size(queue->io->self, slot->size_bytes - slot->done_bytes);
    uint64_t offset = slot->offset + slot->done_bytes;
    if (slot->is_write)
        io_uring_prep_write(sqe, queue->fd, data, (unsigned)size_bytes, offset);
    else
        io_uring_prep_read(sqe, queue->fd, data, (unsigned)size_bytes, offset);
    io_uring_sqe_set_data(sqe, slot);
    slot->was_direct = queue->direct;
    int result = submit_bounded(queue);
    if (result > 0)
        return WEIR_OK;
    queue->in_flight--;
    slot->state = SLOT_TAKEN;
    return ring_fail(queue, result < 0 ? -result : EIO, "submit a request");
}

static int uring_reap(struct block_io *queue)
{
    const struct io *io = queue->io;
    struct io_uring_cqe *cqe = NULL;
    int result;
    int retries = 0;
    do
        result = io->ring_wait(io->self, queue->ring, &cqe);
    while ((result == -EINTR || result == -EAGAIN) && retries++ < RETRIES_MAX);
    if (result < 0)
        return ring_fail(queue, -result, "wait for a completion");
    struct slot *slot = io_uring_cqe_get_data(cqe);
    ssize_t moved_bytes = cqe->res;
    io_uring_cqe_seen(queue->ring, cqe);
    if (block_io_complete(queue, slot, moved_bytes))
        return uring_submit(queue, slot);
    return queue->error.code;
}

static void uring_close(struct block_io *queue)
{
    queue->io->ring_exit(queue->io->self, queue->ring);
    munmap(queue->ring, sizeof *queue->ring);
    queue->ring = NULL;
}

const struct block_backend block_backend_uring = {
    .name = "io_uring", .submit = uring_submit, .reap = uring_reap, .close = uring_close};

int block_io_use_uring(struct block_io *queue, struct weir_error *err)
{
    CHECK(queue->ring == NULL && queue->in_flight == 0);
    struct io_uring *ring = mmap(NULL, sizeof *ring, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ring == MAP_FAILED)
        return error_set_errno(err, errno, "memory for an io_uring");
    int result = queue->io->ring_init(queue->io->self, ring, queue->depth);
    if (result < 0) {
        munmap(ring, sizeof *ring);
        return error_set_errno(err, -result, "make an io_uring");
    }
    queue->ring = ring;
    queue->backend = &block_backend_uring;
    return WEIR_OK;
}
