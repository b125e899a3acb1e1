/* pace.c - see pace.h. */
#include "connectors/pace.h"

#include <string.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

/* The bytes of a position, in the byte order of the host. */
struct pace_position {
    uint64_t next;
    uint64_t step;
};

static int64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* value * factor / divisor without overflow in between; at most UINT64_MAX. */
static uint64_t scale(uint64_t value, uint64_t factor, uint64_t divisor)
{
    unsigned __int128 scaled = (unsigned __int128)value * factor / divisor;
    return scaled > UINT64_MAX ? UINT64_MAX : (uint64_t)scaled;
}

int pace_start(struct pace *pace, unsigned index, unsigned count, const void *position, size_t position_bytes,
               int64_t now_ns)
{
    struct pace_position from = {.next = index, .step = count};
    if (position != NULL) {
        if (position_bytes != sizeof(from))
            return WEIR_EMISMATCH;
        memcpy(&from, position, sizeof(from));
    }
    if (from.step != count || from.next % count != index)
        return WEIR_EMISMATCH;
    pace->next = from.next;
    pace->step = from.step;
    pace->start_next = from.next;
    pace->start_ns = now_ns;
    return WEIR_OK;
}

int pace_position(const struct pace *pace, void *buffer, size_t *ret_size_bytes)
{
    struct pace_position here = {.next = pace->next, .step = pace->step};
    memcpy(buffer, &here, sizeof(here));
    *ret_size_bytes = sizeof(here);
    return WEIR_OK;
}

uint64_t pace_limit(const struct pace *pace, int64_t now_ns)
{
    if (pace->per_second == 0 || pace->end <= pace->start_next)
        return pace->end;
    uint64_t elapsed_ns = (uint64_t)(now_ns - pace->start_ns);
    uint64_t due_count = scale(elapsed_ns, pace->per_second, NS_PER_S); /* beside the first, which is due at once */
    return due_count < pace->end - pace->start_next ? pace->start_next + due_count + 1 : pace->end;
}

uint32_t pace_wait_ms(const struct pace *pace, int64_t now_ns)
{
    uint64_t due_ns = scale(pace->next - pace->start_next, NS_PER_S, pace->per_second);
    uint64_t elapsed_ns = (uint64_t)(now_ns - pace->start_ns);
    uint64_t wait_ms = due_ns > elapsed_ns ? (due_ns - elapsed_ns) / NS_PER_MS + 1 : 1;
    return wait_ms < PACE_WAIT_MS_MAX ? (uint32_t)wait_ms : PACE_WAIT_MS_MAX;
}

int pace_open(struct pace *pace, struct weir_ctx *ctx, const void *position, size_t position_bytes)
{
    unsigned index = weir_subtask_index(ctx);
    unsigned count = weir_subtask_count(ctx);
    int status = pace_start(pace, index, count, position, position_bytes, monotonic_ns());
    if (status < 0)
        return weir_fail(ctx,
                         "the checkpoint's position is not one of instance %u of %u: keep the parallelism it had",
                         index, count);
    return status;
}

uint64_t pace_poll(const struct pace *pace)
{
    return pace->per_second == 0 ? pace->end : pace_limit(pace, monotonic_ns());
}

int pace_result(const struct pace *pace, struct weir_ctx *ctx, uint64_t limit)
{
    if (pace->next >= pace->end)
        return WEIR_END;
    if (pace->next < limit)
        return WEIR_OK;
    weir_wait_ms(ctx, pace_wait_ms(pace, monotonic_ns()));
    return WEIR_IDLE;
}
