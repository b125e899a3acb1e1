#include "shm/doorbell.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

bool doorbell_can_fence_for_ringers(void)
{
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

void doorbell_prepare(struct doorbell *bell, enum doorbell_state how)
{
    atomic_store_explicit(&bell->state, (uint32_t)how, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the fence in doorbell_ring() */
    /* Pairs with the compiler's barrier in ring_fence(). Where it is refused, rings were made to fence by themselves. */
    long result = syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
    (void)result;
}

void doorbell_ring(struct doorbell *bell, int event_fd)
{
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the fence in doorbell_prepare() */
    if (atomic_load_explicit(&bell->state, memory_order_relaxed) == DOORBELL_AWAKE)
        return;
    uint32_t was = atomic_exchange_explicit(&bell->state, DOORBELL_AWAKE, memory_order_seq_cst);
    if (was == DOORBELL_SLEEPING)
        syscall(SYS_futex, &bell->state, FUTEX_WAKE, 1, NULL, NULL, 0);
    else if (was == DOORBELL_POLLING && event_fd >= 0) {
        uint64_t one = 1;
        ssize_t written = write(event_fd, &one, sizeof one);
        (void)written; /* fails only when the counter is full, and then the owner is awake anyway */
    }
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
