/* hooks.c - what the compiler calls at every access to memory of the engine's code (the thread sanitizer's instrumentation, without its
 * library): the places where a process may be preempted or killed. And the named kill points. */
#include "sim/sim.h"

#include "base/kill_point.h"

int64_t sim_budget = INT64_MAX;

static inline void access_memory(void)
{
    if (__builtin_expect(--sim_budget <= 0, 0))
        proc_yield();
}

void __tsan_init(void);
void __tsan_init(void) {}
void __tsan_func_entry(void *pc);
void __tsan_func_entry(void *pc) { (void)pc; }
void __tsan_func_exit(void);
void __tsan_func_exit(void) {}

#define PLAIN(name)                                                                                                    \
    void name(void *address);                                                                                          \
    void name(void *address) { (void)address; access_memory(); }
PLAIN(__tsan_read1) PLAIN(__tsan_read2) PLAIN(__tsan_read4) PLAIN(__tsan_read8) PLAIN(__tsan_read16)
PLAIN(__tsan_write1) PLAIN(__tsan_write2) PLAIN(__tsan_write4) PLAIN(__tsan_write8) PLAIN(__tsan_write16)
PLAIN(__tsan_unaligned_read2) PLAIN(__tsan_unaligned_read4) PLAIN(__tsan_unaligned_read8) PLAIN(__tsan_unaligned_read16)
PLAIN(__tsan_unaligned_write2) PLAIN(__tsan_unaligned_write4) PLAIN(__tsan_unaligned_write8) PLAIN(__tsan_unaligned_write16)

void __tsan_read_range(void *address, unsigned long size);
void __tsan_read_range(void *address, unsigned long size) { (void)address; (void)size; access_memory(); }
void __tsan_write_range(void *address, unsigned long size);
void __tsan_write_range(void *address, unsigned long size) { (void)address; (void)size; access_memory(); }

/* One processor, and nobody is preempted within one of these: plain accesses are as good. */
#define ATOMIC(bits)                                                                                                   \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile void *at, int order);                                    \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile void *at, int order)                                     \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        access_memory();                                                                                               \
        return *(const volatile uint##bits##_t *)at;                                                                   \
    }                                                                                                                  \
    void __tsan_atomic##bits##_store(volatile void *at, uint##bits##_t value, int order);                             \
    void __tsan_atomic##bits##_store(volatile void *at, uint##bits##_t value, int order)                              \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        access_memory();                                                                                               \
        *(volatile uint##bits##_t *)at = value;                                                                        \
    }                                                                                                                  \
    FETCH(bits, exchange, value) FETCH(bits, fetch_add, (uint##bits##_t)(was + value))                                 \
    FETCH(bits, fetch_sub, (uint##bits##_t)(was - value)) FETCH(bits, fetch_and, (uint##bits##_t)(was & value))        \
    FETCH(bits, fetch_or, (uint##bits##_t)(was | value)) FETCH(bits, fetch_xor, (uint##bits##_t)(was ^ value))         \
    COMPARE(bits, strong) COMPARE(bits, weak)
#define FETCH(bits, name, result)                                                                                      \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile void *at, uint##bits##_t value, int order);                  \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile void *at, uint##bits##_t value, int order)                   \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        access_memory();                                                                                               \
        uint##bits##_t was = *(volatile uint##bits##_t *)at;                                                           \
        *(volatile uint##bits##_t *)at = result;                                                                       \
        return was;                                                                                                    \
    }
#define COMPARE(bits, name)                                                                                            \
    int __tsan_atomic##bits##_compare_exchange_##name(volatile void *at, void *expected, uint##bits##_t value, int order, int fail);   \
    int __tsan_atomic##bits##_compare_exchange_##name(volatile void *at, void *expected, uint##bits##_t value, int order, int fail)    \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        (void)fail;                                                                                                    \
        access_memory();                                                                                               \
        uint##bits##_t was = *(volatile uint##bits##_t *)at;                                                           \
        bool same = was == *(uint##bits##_t *)expected;                                                                \
        if (same)                                                                                                      \
            *(volatile uint##bits##_t *)at = value;                                                                    \
        else                                                                                                           \
            *(uint##bits##_t *)expected = was;                                                                         \
        return same;                                                                                                   \
    }
ATOMIC(8) ATOMIC(16) ATOMIC(32) ATOMIC(64)

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order) { (void)order; access_memory(); }
void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order) { (void)order; access_memory(); }

/* ---- kill points ---- */

/* So that every point calls, from the first seed on. */
static const _Atomic uint32_t armed = 1;
__attribute__((constructor)) static void arm_all(void) { kill_point_row_count = &armed; }

int __wrap_kill_point_init(struct weir_error *err);
int __wrap_kill_point_init(struct weir_error *err)
{
    (void)err;
    return WEIR_OK;
}

bool __wrap_kill_point_reached(enum kill_point point);
bool __wrap_kill_point_reached(enum kill_point point)
{
    if (sim.current == NULL)
        return false;
    if (point == KILL_t5)
        judge_batch_committed();
    bool error = faults_at_point(kill_point_name(point));
    if (sim_one_in(8))
        proc_yield();
    return error;
}

void __wrap_kill_point_set_process(const char *name);
void __wrap_kill_point_set_process(const char *name)
{
    if (sim.current == NULL)
        return;
    snprintf(sim.current->name, sizeof sim.current->name, "%s", name);
    sim_note("is %s", name);
}
