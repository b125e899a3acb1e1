/*
 * block_io.h - large reads or writes of one file, several in flight, over io_uring or pread/pwrite: the same calls, the
 * same bytes.
 *
 * A queue has `depth` slots, each with a buffer of BUFFER_BYTES. Take a slot, fill it, write it: it comes back to the
 * free ones when every byte of it is on its way through the kernel. Or take one, read into it, wait for it, use it,
 * release it.
 *   - Short results are continued, EINTR, EAGAIN and ECANCELED repeated (at most 100 times in a row), for every
 * request.
 *   - A file that was switched to O_DIRECT and refuses a request with EINVAL goes on buffered, that request first.
 *   - The first failure is kept in the queue's error, named with file and offset; every call from then on returns it.
 * One process, one thread; memory from mmap only. A queue does not survive fork: the child makes its own.
 */
#ifndef WEIR_SNAPSHOT_BLOCK_IO_H
#define WEIR_SNAPSHOT_BLOCK_IO_H

#include "snapshot/io.h"

#define BUFFER_BYTES (1u << 20)
#define IO_DEPTH_DEFAULT 16u
#define IO_DEPTH_MAX 64u

enum slot_state { SLOT_FREE, SLOT_TAKEN, SLOT_IN_FLIGHT, SLOT_READ };

struct slot {
    unsigned char *data; /* BUFFER_BYTES, aligned to 4096 */
    enum slot_state state;
    bool is_write;
    bool was_direct; /* how the request in flight was sent */
    uint32_t retries;
    size_t size_bytes;
    size_t done_bytes;
    uint64_t offset;
};

struct block_io;

/* What a backend does. Both return WEIR_OK or the queue's failure. */
struct block_backend {
    const char *name;
    /* Sends the part of the slot that is not done. May complete it at once. */
    int (*submit)(struct block_io *queue, struct slot *slot);
    /* Waits for a request to complete and accounts for it. Only called while some are in flight. */
    int (*reap)(struct block_io *queue);
    void (*close)(struct block_io *queue);
};

struct block_io {
    const struct io *io;
    const struct block_backend *backend;
    const char *file; /* for messages; owned by the caller */
    int fd;
    bool direct; /* O_DIRECT is on */
    uint32_t depth;
    uint32_t in_flight;
    uint64_t bytes_done; /* of completed slots: to compare with what was asked for */
    void *memory;
    size_t memory_bytes;
    struct io_uring *ring; /* NULL: pread and pwrite */
    struct slot slots[IO_DEPTH_MAX];
    struct weir_error error;
};

/* With the pread/pwrite backend; the file is fd, opened by the caller, and stays his. `direct`: it is switched to
 * O_DIRECT where the file system allows it. */
int block_io_open(const struct io *io, int fd, const char *file, uint32_t depth, bool direct,
                  struct block_io **ret_queue, struct weir_error *err);
/* Most of the buffers will be used: huge pages, where the system has any, save the faults on each 4 KiB of them. Advice only. */
void block_io_expect_much(struct block_io *queue);
/* Goes over to io_uring from here on. Before or between requests, none in flight. On failure (why: in err) nothing has
 * changed. */
int block_io_use_uring(struct block_io *queue, struct weir_error *err);
/* Waits for what is in flight and frees everything. NULL is allowed. */
void block_io_close(struct block_io *queue);

/* A free slot; waits for a write to complete where there is none. NULL after a failure. */
struct slot *block_io_take(struct block_io *queue);
/* Sizes and offsets are multiples of 4096 while queue->direct. The slot frees itself. */
int block_io_write(struct block_io *queue, struct slot *slot, size_t size_bytes, uint64_t offset);
/* Returns at once; block_io_wait() tells when the bytes are there. */
int block_io_read(struct block_io *queue, struct slot *slot, size_t size_bytes, uint64_t offset);
int block_io_wait(struct block_io *queue, struct slot *slot);
void block_io_release(struct block_io *queue, struct slot *slot);
/* Waits for all writes. */
int block_io_drain(struct block_io *queue);

/* For the backends: a request of this slot ended with `result` bytes or -errno. True: send the rest of the slot
 * (again). */
bool block_io_complete(struct block_io *queue, struct slot *slot, ssize_t result);
extern const struct block_backend block_backend_pwrite;
extern const struct block_backend block_backend_uring;

#endif
