#include "shm/doorbell.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void write_event(int event_fd)
{
    uint64_t one = 1;
    ssize_t written = event_fd >= 0 ? write(event_fd, &one, sizeof one) : 0;
    (void)written; /* fails only when the counter is full, and then the owner is awake anyway */
}

void doorbell_ring(struct doorbell *bell, int event_fd)
{
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the fence in doorbell_prepare() */
    if (atomic_load_explicit(&bell->state, memory_order_relaxed) == DOORBELL_AWAKE)
        return;
    uint32_t was = atomic_exchange_explicit(&bell->state, DOORBELL_AWAKE, memory_order_seq_cst);
    if (was == DOORBELL_SLEEPING)
        syscall(SYS_futex, &bell->state, FUTEX_WAKE, 1, NULL, NULL, 0);
    else if (was == DOORBELL_POLLING)
        write_event(event_fd);
}

void doorbell_ring_for_dead(struct doorbell *bell, int event_fd)
{
    atomic_exchange_explicit(&bell->state, DOORBELL_AWAKE, memory_order_seq_cst);
    syscall(SYS_futex, &bell->state, FUTEX_WAKE, 1, NULL, NULL, 0);
    write_event(event_fd);
}

bool doorbell_wait(struct doorbell *bell, int64_t timeout_ns)
{
    struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    while (atomic_load_explicit(&bell->state, memory_order_acquire) == DOORBELL_SLEEPING) {
        if (syscall(SYS_futex, &bell->state, FUTEX_WAIT, DOORBELL_SLEEPING, &timeout, NULL, 0) == 0)
            continue;
        if (errno == ETIMEDOUT || errno == EINTR)
            break;
    }
    return atomic_exchange_explicit(&bell->state, DOORBELL_AWAKE, memory_order_acquire) == DOORBELL_AWAKE;
}
