/*
 * doorbell.h - parking and waking between processes, on a process-shared futex.
 *
 * The owner: doorbell_prepare(), look once more at everything it waits for, then doorbell_wait() (or doorbell_cancel()). A
 * ringer: make the thing true, then doorbell_ring(). The full fences in prepare and ring pair with each other: at least one
 * side sees what the other did, so no wake-up is lost (Dekker's argument; futex(2)). An owner that must also wait for file
 * descriptors prepares with DOORBELL_POLLING and polls the eventfd that ringers then write.
 *
 * A ringer that dies between the store and the wake is covered by whoever takes its place, and by the launcher whenever a process has died: both
 * doorbell_ring_for_dead(); and by the owner's bounded wait.
 */
#ifndef WEIR_SHM_DOORBELL_H
#define WEIR_SHM_DOORBELL_H

#include "shm/layout.h"

#include <stdbool.h>

enum doorbell_state { DOORBELL_AWAKE, DOORBELL_SLEEPING, DOORBELL_POLLING };

/* Any process. Makes a system call only when the owner sleeps. event_fd: written where the owner polls; -1 if it never does. */
void doorbell_ring(struct doorbell *bell, int event_fd);

/* Any process, in the place of a ringer that has died: that one may have noted the owner as awake, and not have come to wake it. Makes its system calls
 * whatever the bell says; an owner that is awake is called once more than need be. */
void doorbell_ring_for_dead(struct doorbell *bell, int event_fd);

/* Owner only. */
static inline void doorbell_prepare(struct doorbell *bell, enum doorbell_state how)
{
    atomic_store_explicit(&bell->state, (uint32_t)how, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the fence in doorbell_ring() */
}

static inline void doorbell_cancel(struct doorbell *bell)
{
    atomic_store_explicit(&bell->state, DOORBELL_AWAKE, memory_order_relaxed);
}

/* Sleeps until rung, but at most timeout_ns; awake afterwards. Returns whether it was rung. */
bool doorbell_wait(struct doorbell *bell, int64_t timeout_ns);

#endif
