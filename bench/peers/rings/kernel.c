/*
 * kernel.c - a pipe, or with -DSOCKET a Unix stream socket, between two processes. A batch is one write(); read() takes up to a
 * batch, whole records or not, and no more. With EMPTY_PAUSES 0 the descriptors block; else they do not, and both sides look
 * again.
 */
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#define BATCH_MAX 32

struct queue {
    int write_fd;
    int read_fd;
    bool blocks;
};

#define PIPE_BYTES_MAX (1 << 20) /* fs.pipe-max-size where nobody has changed it */

/* With a buffer of so many bytes, in which a socket counts its own overhead as well. */
static void open_pair(int fds[2], uint64_t ring_bytes)
{
#ifdef SOCKET
    int bytes = (int)ring_bytes;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
        job_fail("socketpair");
    if (setsockopt(fds[1], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0 &&
        setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) != 0)
        job_fail("SO_SNDBUF");
#else
    int bytes = ring_bytes < PIPE_BYTES_MAX ? (int)ring_bytes : PIPE_BYTES_MAX;
    if (pipe2(fds, O_CLOEXEC) != 0 || fcntl(fds[1], F_SETPIPE_SZ, bytes) < bytes)
        job_fail("pipe, of the size wanted");
#endif
}

static void *make(const struct job *job)
{
    int fds[2];
    if (job->batch > BATCH_MAX)
        job_fail("a batch of at most 32");
    open_pair(fds, job->ring_bytes);
    struct queue *queue = malloc(sizeof *queue);
    if (queue == NULL)
        job_fail("no memory");
    *queue = (struct queue){fds[1], fds[0], job->empty_pauses == 0};
    if (!queue->blocks && (fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0 || fcntl(fds[1], F_SETFL, O_NONBLOCK) != 0))
        job_fail("O_NONBLOCK");
    return queue;
}

static void write_all(const struct queue *queue, const unsigned char *bytes, size_t size_bytes)
{
    for (size_t done = 0; done < size_bytes;) {
        ssize_t wrote = write(queue->write_fd, bytes + done, size_bytes - done);
        if (wrote < 0 && errno != EAGAIN && errno != EINTR)
            job_fail("write");
        if (wrote < 0)
            __builtin_ia32_pause();
        else
            done += (size_t)wrote;
    }
}

/* What is there, up to so many bytes; 0: nothing. */
static size_t read_some(const struct queue *queue, unsigned char *bytes, size_t size_bytes)
{
    ssize_t got = read(queue->read_fd, bytes, size_bytes);
    if (got < 0 && errno != EAGAIN && errno != EINTR)
        job_fail("read");
    return got < 0 ? 0 : (size_t)got;
}

#define QUEUE_OF(SIZE)                                                                                                      \
    static void produce##SIZE(void *at, const struct job *job)                                                              \
    {                                                                                                                       \
        unsigned char records[BATCH_MAX * SIZE] __attribute__((aligned(64)));                                               \
        for (uint64_t sent = 0; sent < job->count;) {                                                                       \
            uint64_t batch = job_next_batch(job, sent);                                                                     \
            for (uint64_t i = 0; i < batch; i++)                                                                            \
                job_fill(records + i * SIZE, SIZE, sent + i);                                                               \
            write_all(at, records, batch * SIZE);                                                                           \
            sent += batch;                                                                                                  \
        }                                                                                                                   \
    }                                                                                                                       \
    static uint64_t consume##SIZE(void *at, const struct job *job)                                                          \
    {                                                                                                                       \
        unsigned char records[BATCH_MAX * SIZE] __attribute__((aligned(64)));                                               \
        uint64_t sum = 0, seen = 0;                                                                                         \
        for (size_t held = 0; seen < job->count;) {                                                                         \
            size_t got = read_some(at, records + held, job->batch * SIZE - held);                                           \
            if (got == 0)                                                                                                   \
                job_idle(job);                                                                                              \
            size_t whole = (held + got) / SIZE;                                                                             \
            for (size_t i = 0; i < whole; i++)                                                                              \
                sum += job_sum(records + i * SIZE, SIZE);                                                                   \
            seen += whole;                                                                                                  \
            held = held + got - whole * SIZE;                                                                               \
            if (whole > 0 && held > 0)                                                                                      \
                memmove(records, records + whole * SIZE, held);                                                             \
        }                                                                                                                   \
        return sum;                                                                                                         \
    }

QUEUE_OF(16)
QUEUE_OF(64)
QUEUE_OF(256)
QUEUE_OF(1024)

static void send64(void *at, uint64_t number)
{
    unsigned char record[64] __attribute__((aligned(64)));
    job_fill(record, 64, number);
    write_all(at, record, 64);
}

static uint64_t receive64(void *at)
{
    unsigned char record[64] __attribute__((aligned(64)));
    for (size_t held = 0; held < sizeof record;)
        held += read_some(at, record + held, sizeof record - held);
    return job_sum(record, 64);
}

static const struct queue_kind kinds[] = {
    {16, make, produce16, consume16, NULL, NULL},
    {64, make, produce64, consume64, send64, receive64},
    {256, make, produce256, consume256, NULL, NULL},
    {1024, make, produce1024, consume1024, NULL, NULL},
};

int main(int argc, char **argv)
{
    return job_main(argc, argv, true, kinds, sizeof kinds / sizeof kinds[0]);
}
