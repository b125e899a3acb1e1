/* memory.c - the heap and the shared memory of a seed: two arenas at addresses that stay, so that a seed costs no system call and
 * leaves nothing. All simulated processes share one heap: what a process has in private memory and its forked child changes, both see.
 * The engine's children do so in one place only, which is left out (chunk_region_unmap). */
#include "sim/sim.h"

#include "base/bytes.h"
#include "base/check.h"
#include "shm/layout.h"
#include "shm/region.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void *__real_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *memory);
int __real_region_create(const char *name, uint64_t size_bytes, bool backed, int *ret_fd, struct weir_error *err);
int __real_region_map_twice(int fd, uint64_t control_bytes, uint64_t data_bytes, void **ret_address, struct weir_error *err);

#define HEAP_BYTES (UINT64_C(2) << 30)
#define PAGES_BYTES (UINT64_C(64) << 30)
#define CLEARED_BYTES 65536u /* of a mapping; what lies behind is what an earlier one left there */

struct arena {
    unsigned char *base;
    size_t used, size;
};
static struct arena heap, pages;

static void *reserve(size_t size)
{
    void *base = __real_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(base != MAP_FAILED);
    return base;
}

static void *take(struct arena *arena, size_t size)
{
    if (arena->used + size > arena->size) {
        fprintf(stderr, "sim: seed %llu: out of simulated memory\n", (unsigned long long)sim.seed);
        exit(2);
    }
    void *memory = arena->base + arena->used;
    arena->used += size;
    return memory;
}

/* ---- the heap ---- */

static bool is_ours(const void *memory)
{
    return heap.base != NULL && (const unsigned char *)memory >= heap.base && (const unsigned char *)memory < heap.base + heap.size;
}

static bool simulating;

void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    if (!simulating)
        return __real_malloc(size);
    size_t *head = take(&heap, 16 + ((size + 15) & ~(size_t)15));
    head[0] = size;
    return head + 2;
}

void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
    if (!simulating)
        return __real_calloc(count, size);
    void *memory = __wrap_malloc(count * size);
    memset(memory, 0, count * size);
    return memory;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    (void)alignment, (void)size;
    abort(); /* the engine's harness alone asks for it */
}

void *__wrap_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size)
{
    if (old != NULL && !is_ours(old))
        return __real_realloc(old, size);
    void *memory = __wrap_malloc(size);
    if (old != NULL)
        memcpy(memory, old, u64_min(size, ((size_t *)old)[-2]));
    return memory;
}

void *__wrap_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size) { return __wrap_realloc(old, count * size); }

char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(__wrap_malloc(size), text, size);
}

/* All of the heap goes at the end of the seed; jansson frees what it has made itself. */
void __wrap_free(void *memory);
void __wrap_free(void *memory)
{
    if (!is_ours(memory))
        __real_free(memory);
}

/* ---- private mappings: buffers of snapshot writers and readers ---- */

#define SPARE_MAX 16
static struct {
    void *address;
    size_t size;
} spares[SPARE_MAX];
static unsigned spare_count;

static void *take_pages(size_t size)
{
    size = align_up(size, 4096);
    for (unsigned i = 0; i < spare_count; i++)
        if (spares[i].size == size) {
            void *address = spares[i].address;
            spares[i] = spares[--spare_count];
            return address;
        }
    return take(&pages, size);
}

void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (!simulating)
        return __real_mmap(address, size, protection, flags, fd, offset);
    CHECK(fd == -1 && address == NULL);
    void *memory = take_pages(size);
    memset(memory, 0, u64_min(size, CLEARED_BYTES));
    return memory;
}

int __wrap_munmap(void *address, size_t size);
int __wrap_munmap(void *address, size_t size)
{
    if (spare_count < SPARE_MAX) {
        spares[spare_count].address = address;
        spares[spare_count++].size = align_up(size, 4096);
    }
    return 0;
}

void *__wrap_mremap(void *old, size_t old_size, size_t size, int flags, ...);
void *__wrap_mremap(void *old, size_t old_size, size_t size, int flags, ...)
{
    (void)flags;
    void *memory = __wrap_mmap(NULL, size, 0, 0, -1, 0);
    memcpy(memory, old, old_size);
    return memory;
}

int __wrap_madvise(void *address, size_t size, int advice);
int __wrap_madvise(void *address, size_t size, int advice)
{
    (void)address, (void)size, (void)advice;
    return 0;
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t size);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t size)
{
    (void)fd, (void)mode, (void)offset, (void)size;
    return 0;
}

/* ---- shared memory: mapped once, at one address for all ---- */

#define REGIONS_MAX 96
#define REGION_FD_FIRST 500
static struct {
    unsigned char *address;
    size_t size;
} regions[REGIONS_MAX];
static unsigned region_count;

/* Rings are mapped twice in a row: real memory, made once and used by all seeds. */
#define RINGS_MAX 16
static unsigned char *rings[RINGS_MAX];
static unsigned ring_count;
#define RING_BYTES 65536u

static unsigned char *make_ring(void)
{
    struct weir_error err = {0};
    void *address = NULL;
    int fd = memfd_create("sim-ring", 0);
    CHECK(fd >= 0 && ftruncate(fd, SHM_PAGE_BYTES + RING_BYTES) == 0);
    CHECK(__real_region_map_twice(fd, SHM_PAGE_BYTES, RING_BYTES, &address, &err) == WEIR_OK);
    close(fd);
    return address;
}

static unsigned char *next_ring(void)
{
    CHECK(ring_count < RINGS_MAX);
    return rings[ring_count++];
}

int __wrap_region_create(const char *name, uint64_t size_bytes, bool backed, int *ret_fd, struct weir_error *err);
int __wrap_region_create(const char *name, uint64_t size_bytes, bool backed, int *ret_fd, struct weir_error *err)
{
    (void)backed, (void)err;
    CHECK(region_count < REGIONS_MAX);
    bool is_ring = strncmp(name, "weir-ring:", 10) == 0;
    regions[region_count].address = is_ring ? next_ring() : take(&pages, align_up(size_bytes, 4096));
    regions[region_count].size = size_bytes;
    bool all = strcmp(name, "weir-job") == 0;
    memset(regions[region_count].address, 0, is_ring ? SHM_PAGE_BYTES : all ? size_bytes : u64_min(size_bytes, 2 * CLEARED_BYTES));
    if (all)
        sim.shared = (struct job_shared *)(void *)regions[region_count].address;
    *ret_fd = REGION_FD_FIRST + (int)region_count++;
    return WEIR_OK;
}

static unsigned index_of(int fd)
{
    CHECK(fd >= REGION_FD_FIRST && fd < REGION_FD_FIRST + (int)region_count);
    return (unsigned)(fd - REGION_FD_FIRST);
}

int __wrap_region_map(int fd, uint64_t offset, uint64_t size_bytes, void **ret_address, struct weir_error *err);
int __wrap_region_map(int fd, uint64_t offset, uint64_t size_bytes, void **ret_address, struct weir_error *err)
{
    (void)size_bytes, (void)err;
    *ret_address = regions[index_of(fd)].address + offset;
    return WEIR_OK;
}

bool __wrap_region_huge_pages_work(void);
bool __wrap_region_huge_pages_work(void) { return true; }

int __wrap_region_map_twice(int fd, uint64_t control_bytes, uint64_t data_bytes, void **ret_address, struct weir_error *err);
int __wrap_region_map_twice(int fd, uint64_t control_bytes, uint64_t data_bytes, void **ret_address, struct weir_error *err)
{
    (void)err;
    CHECK(control_bytes == SHM_PAGE_BYTES && data_bytes == RING_BYTES);
    *ret_address = regions[index_of(fd)].address;
    return WEIR_OK;
}

void __wrap_region_unmap(void *address, uint64_t size_bytes);
void __wrap_region_unmap(void *address, uint64_t size_bytes) { (void)address, (void)size_bytes; }

/* A task unmaps the regions of the others, in its own copy of the table. Here there is one table for all. */
void __wrap_chunk_region_unmap(struct chunk_region *region);
void __wrap_chunk_region_unmap(struct chunk_region *region) { (void)region; }

size_t memory_region_bytes(int fd)
{
    return fd >= REGION_FD_FIRST && fd < REGION_FD_FIRST + (int)region_count ? regions[fd - REGION_FD_FIRST].size : 0;
}

/* ---- */

void memory_begin_seed(void)
{
    if (heap.base == NULL) {
        heap = (struct arena){reserve(HEAP_BYTES), 0, HEAP_BYTES};
        pages = (struct arena){reserve(PAGES_BYTES), 0, PAGES_BYTES};
        for (unsigned i = 0; i < RINGS_MAX; i++)
            rings[i] = make_ring();
    }
    heap.used = 0;
    pages.used = 0;
    spare_count = 0;
    simulating = true;
    memory_begin_run();
}

void memory_begin_run(void)
{
    sim.shared = NULL;
    region_count = 0;
    ring_count = 0;
}
