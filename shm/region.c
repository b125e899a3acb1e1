#include "shm/region.h"

#include "base/check.h"
#include "shm/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

int region_create(const char *name, uint64_t size_bytes, bool backed, int *ret_fd, struct weir_error *err)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return error_set_errno(err, errno, "shared memory '%s': memfd_create", name);
    int code = WEIR_OK;
    if (ftruncate(fd, (off_t)size_bytes) != 0)
        code = error_set_errno(err, errno, "shared memory '%s': resize to %llu bytes", name, (unsigned long long)size_bytes);
    else if (backed && fallocate(fd, 0, 0, (off_t)size_bytes) != 0)
        code = error_set_errno(err, errno, "shared memory '%s': allocate %llu bytes", name, (unsigned long long)size_bytes);
    else if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        code = error_set_errno(err, errno, "shared memory '%s': seal", name);
    if (code != WEIR_OK) {
        close(fd);
        return code;
    }
    *ret_fd = fd;
    return WEIR_OK;
}

/* size_bytes of addresses, the first a multiple of REGION_HUGE_BYTES, that nothing is mapped to. NULL with errno. */
static unsigned char *reserve_aligned(uint64_t size_bytes)
{
    unsigned char *base = mmap(NULL, size_bytes + REGION_HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    uint64_t before = -(uint64_t)(uintptr_t)base & (REGION_HUGE_BYTES - 1);
    region_unmap(before > 0 ? base : NULL, before);
    region_unmap(before < REGION_HUGE_BYTES ? base + before + size_bytes : NULL, REGION_HUGE_BYTES - before);
    return base + before;
}

int region_map(int fd, uint64_t offset, uint64_t size_bytes, void **ret_address, struct weir_error *err)
{
    bool aligned = size_bytes >= REGION_HUGE_BYTES && size_bytes % SHM_PAGE_BYTES == 0;
    unsigned char *place = aligned ? reserve_aligned(size_bytes) : NULL;
    void *address = MAP_FAILED;
    if (!aligned || place != NULL)
        address = mmap(place, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | (aligned ? MAP_FIXED : 0), fd, (off_t)offset);
    if (address == MAP_FAILED) {
        int code = error_set_errno(err, errno, "shared memory: map %llu bytes", (unsigned long long)size_bytes);
        region_unmap(place, size_bytes);
        return code;
    }
    *ret_address = address;
    return WEIR_OK;
}

int region_map_twice(int fd, uint64_t control_bytes, uint64_t data_bytes, void **ret_address, struct weir_error *err)
{
    uint64_t total_bytes = control_bytes + 2 * data_bytes;
    char *base = mmap(NULL, total_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return error_set_errno(err, errno, "shared memory: reserve %llu bytes", (unsigned long long)total_bytes);
    const int flags = MAP_SHARED | MAP_FIXED;
    if (mmap(base, control_bytes + data_bytes, PROT_READ | PROT_WRITE, flags, fd, 0) == MAP_FAILED ||
        mmap(base + control_bytes + data_bytes, data_bytes, PROT_READ | PROT_WRITE, flags, fd, (off_t)control_bytes) ==
            MAP_FAILED) {
        int code = error_set_errno(err, errno, "shared memory: map %llu bytes twice", (unsigned long long)data_bytes);
        munmap(base, total_bytes);
        return code;
    }
    *ret_address = base;
    return WEIR_OK;
}

void region_unmap(void *address, uint64_t size_bytes)
{
    if (address != NULL)
        CHECK(munmap(address, size_bytes) == 0);
}

/* Only a page that is there can be made a part of a huge one: the first is taken by itself. EAGAIN: a page is in use for a moment. */
bool region_make_huge(void *address)
{
    if (madvise(address, SHM_PAGE_BYTES, MADV_POPULATE_WRITE) != 0)
        return false;
    for (int i = 0; i < 3; i++) {
        if (madvise(address, REGION_HUGE_BYTES, MADV_COLLAPSE) == 0)
            return true;
        if (errno != EAGAIN && errno != EINTR)
            return false;
    }
    return false;
}

bool region_huge_pages_work(void)
{
    void *address = NULL;
    int fd = -1;
    if (region_create("weir-huge-page", REGION_HUGE_BYTES, false, &fd, NULL) != WEIR_OK)
        return false;
    bool work = false;
    if (region_map(fd, 0, REGION_HUGE_BYTES, &address, NULL) == WEIR_OK) {
        work = region_make_huge(address);
        region_unmap(address, REGION_HUGE_BYTES);
    }
    close(fd);
    return work;
}
