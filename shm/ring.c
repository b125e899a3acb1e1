#include "shm/ring.h"

#include "shm/region.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int ring_create(const char *name, uint64_t capacity_bytes, int *ret_fd, struct weir_error *err)
{
    if (capacity_bytes < RING_BYTES_MIN || capacity_bytes > RING_BYTES_MAX || (capacity_bytes & (capacity_bytes - 1)) != 0)
        return error_set(err, WEIR_EINVAL, "ring '%s': %llu bytes: it takes a power of two from 64 KiB to 1 GiB", name,
                         (unsigned long long)capacity_bytes);
    int fd = -1;
    int code = region_create(name, SHM_PAGE_BYTES + capacity_bytes, true, &fd, err);
    if (code != WEIR_OK)
        return code;
    struct ring_shared *shared = NULL;
    code = ring_map_control(fd, &shared, err);
    if (code != WEIR_OK) {
        close(fd);
        return code;
    }
    shared->capacity_bytes = capacity_bytes;
    shared->magic = RING_MAGIC;
    region_unmap(shared, SHM_PAGE_BYTES);
    *ret_fd = fd;
    return WEIR_OK;
}

int ring_map_control(int fd, struct ring_shared **ret_shared, struct weir_error *err)
{
    void *address;
    int code = region_map(fd, 0, SHM_PAGE_BYTES, &address, err);
    if (code == WEIR_OK)
        *ret_shared = address;
    return code;
}

/* From the size of the memory, which is sealed: the control page may have been damaged by either side. */
static int capacity_of(int fd, uint64_t *ret_capacity_bytes, struct weir_error *err)
{
    struct stat stat;
    if (fstat(fd, &stat) != 0)
        return error_set_errno(err, errno, "ring: size of its memory");
    *ret_capacity_bytes = (uint64_t)stat.st_size - SHM_PAGE_BYTES;
    return WEIR_OK;
}

int ring_reset(int fd, struct weir_error *err)
{
    struct ring_shared *shared = NULL;
    uint64_t capacity_bytes = 0;
    int code = capacity_of(fd, &capacity_bytes, err);
    if (code == WEIR_OK)
        code = ring_map_control(fd, &shared, err);
    if (code != WEIR_OK)
        return code;
    memset(shared, 0, sizeof *shared);
    shared->capacity_bytes = capacity_bytes;
    shared->magic = RING_MAGIC;
    region_unmap(shared, SHM_PAGE_BYTES);
    return WEIR_OK;
}

bool ring_header_is_sound(uint64_t header)
{
    uint32_t count = ring_header_count(header);
    bool is_run = count > 1 && ring_header_size(header) > 0 && ring_header_kind(header) == FRAME_RECORD;
    return ring_header_kind(header) < FRAME_KIND_COUNT && (count == 1 || is_run);
}

int ring_poison(struct ring_shared *shared)
{
    atomic_store_explicit(&shared->poisoned, 1, memory_order_relaxed);
    return WEIR_ECORRUPT;
}

bool ring_refresh_tail(struct ring_producer *p, uint64_t frame_bytes)
{
    uint64_t tail = atomic_load_explicit(&p->shared->tail, memory_order_acquire);
    if (tail > p->head_published || p->head - tail > p->capacity_bytes) {
        ring_poison(p->shared); /* a tail beyond the head: the consumer is not to be trusted; no room, for ever */
        return false;
    }
    p->tail_cached = tail;
    if (ring_free_bytes(p) < frame_bytes)
        return false;
    if (atomic_load_explicit(&p->shared->space_wanted, memory_order_relaxed) != 0)
        atomic_store_explicit(&p->shared->space_wanted, 0, memory_order_relaxed); /* met */
    return true;
}

/* Both as they were at one moment, also while others move them: a standby attaches to rings that are in use. */
static void read_positions(const struct ring_shared *shared, uint64_t *ret_head, uint64_t *ret_tail)
{
    uint64_t before, tail = atomic_load_explicit(&shared->tail, memory_order_acquire);
    unsigned tries = 0;
    do {
        before = tail;
        *ret_head = atomic_load_explicit(&shared->head, memory_order_acquire);
        tail = atomic_load_explicit(&shared->tail, memory_order_acquire);
    } while (tail != before && ++tries < 100000);
    *ret_tail = tail;
}

/* Reads the control page once, checks it, and maps the ring. */
static int attach(int fd, struct ring_shared **ret_shared, uint64_t *ret_capacity_bytes, struct weir_error *err)
{
    struct ring_shared *shared = NULL;
    uint64_t capacity_bytes = 0;
    int code = capacity_of(fd, &capacity_bytes, err);
    if (code == WEIR_OK)
        code = ring_map_control(fd, &shared, err);
    if (code != WEIR_OK)
        return code;
    uint64_t head, tail;
    read_positions(shared, &head, &tail);
    bool sound = shared->magic == RING_MAGIC && shared->capacity_bytes == capacity_bytes && tail <= head &&
                 head - tail <= capacity_bytes && ((head | tail) & 7) == 0;
    region_unmap(shared, SHM_PAGE_BYTES);
    if (!sound)
        return error_set(err, WEIR_ECORRUPT, "ring: its control page contradicts itself");
    void *address;
    code = region_map_twice(fd, SHM_PAGE_BYTES, capacity_bytes, &address, err);
    if (code != WEIR_OK)
        return code;
    if (madvise(address, SHM_PAGE_BYTES + 2 * capacity_bytes, MADV_DONTFORK) != 0) {
        code = error_set_errno(err, errno, "ring: MADV_DONTFORK");
        region_unmap(address, SHM_PAGE_BYTES + 2 * capacity_bytes);
        return code;
    }
    *ret_shared = address;
    *ret_capacity_bytes = capacity_bytes;
    return WEIR_OK;
}

int ring_producer_attach(struct ring_producer *p, int fd, struct weir_error *err)
{
    struct ring_shared *shared = NULL;
    uint64_t capacity_bytes = 0;
    int code = attach(fd, &shared, &capacity_bytes, err);
    if (code != WEIR_OK)
        return code;
    uint64_t head = atomic_load_explicit(&shared->head, memory_order_acquire);
    *p = (struct ring_producer){
        .data = (unsigned char *)shared + SHM_PAGE_BYTES,
        .shared = shared,
        .capacity_bytes = capacity_bytes,
        .index_mask = capacity_bytes - 1,
        .head = head,
        .head_published = head,
        .tail_cached = atomic_load_explicit(&shared->tail, memory_order_acquire),
        .record_count = atomic_load_explicit(&shared->records, memory_order_relaxed),
    };
    return WEIR_OK;
}

int ring_consumer_attach(struct ring_consumer *c, int fd, struct weir_error *err)
{
    struct ring_shared *shared = NULL;
    uint64_t capacity_bytes = 0;
    int code = attach(fd, &shared, &capacity_bytes, err);
    if (code != WEIR_OK)
        return code;
    uint64_t tail = atomic_load_explicit(&shared->tail, memory_order_acquire);
    *c = (struct ring_consumer){
        .data = (const unsigned char *)shared + SHM_PAGE_BYTES,
        .shared = shared,
        .capacity_bytes = capacity_bytes,
        .index_mask = capacity_bytes - 1,
        .tail = tail,
        .tail_released = tail,
        .head_cached = tail,
        .shape = UINT64_MAX, /* no frame's: it would be too long for any ring */
        .shape_bytes = UINT64_MAX,
    };
    return WEIR_OK;
}

int ring_producer_adopt(struct ring_producer *p, uint64_t head, uint64_t record_count, struct weir_error *err)
{
    p->head_published = atomic_load_explicit(&p->shared->head, memory_order_acquire); /* a standby attached long ago */
    p->tail_cached = atomic_load_explicit(&p->shared->tail, memory_order_acquire);
    if (head < p->head_published || p->tail_cached > p->head_published || head - p->tail_cached > p->capacity_bytes || (head & 7) != 0)
        return error_set(err, WEIR_ECORRUPT, "ring: a head of %llu, but %llu is published", (unsigned long long)head,
                         (unsigned long long)p->head_published);
    p->head = head;
    p->run = 0;
    p->record_count = record_count;
    return WEIR_OK;
}

int ring_consumer_adopt(struct ring_consumer *c, uint64_t tail, uint64_t run, struct weir_error *err)
{
    uint64_t head = atomic_load_explicit(&c->shared->head, memory_order_acquire);
    c->tail_released = atomic_load_explicit(&c->shared->tail, memory_order_acquire);
    if (tail < c->tail_released || tail > head || (tail & 7) != 0)
        return error_set(err, WEIR_ECORRUPT, "ring: a tail of %llu, but %llu is released and %llu published",
                         (unsigned long long)tail, (unsigned long long)c->tail_released, (unsigned long long)head);
    if (run != 0 && (!ring_header_is_sound(run) || ring_header_kind(run) != FRAME_RECORD || ring_header_bytes(run) > head - tail))
        return error_set(err, WEIR_ECORRUPT, "ring: %u records of %u bytes are left of a run at %llu, but %llu is published",
                         ring_header_count(run), ring_header_size(run), (unsigned long long)tail, (unsigned long long)head);
    c->tail = tail;
    c->run = run;
    c->head_cached = run != 0 ? head : tail;
    return WEIR_OK;
}

void ring_producer_detach(struct ring_producer *p)
{
    if (p->shared != NULL)
        region_unmap(p->shared, SHM_PAGE_BYTES + 2 * p->capacity_bytes);
    *p = (struct ring_producer){0};
}

void ring_consumer_detach(struct ring_consumer *c)
{
    if (c->shared != NULL)
        region_unmap(c->shared, SHM_PAGE_BYTES + 2 * c->capacity_bytes);
    *c = (struct ring_consumer){0};
}
