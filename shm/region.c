#include "shm/region.h"

#include "base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

int region_map(int fd, uint64_t offset, uint64_t size_bytes, void **ret_address, struct weir_error *err)
{
    void *address = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
    if (address == MAP_FAILED)
        return error_set_errno(err, errno, "shared memory: map %llu bytes", (unsigned long long)size_bytes);
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

bool region_huge_pages_allowed(void)
{
    char line[128] = "";
    int fd = open("/sys/kernel/mm/transparent_hugepage/shmem_enabled", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, line, sizeof line - 1) : 0;
    if (fd >= 0)
        close(fd);
    return got > 0 && strstr(line, "[never]") == NULL && strstr(line, "[deny]") == NULL;
}
