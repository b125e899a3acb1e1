/*
 * set_clock.so - for LD_PRELOAD: the process and its children see clocks that are set from outside (FAULTS.md, F27).
 *
 * WEIR_TEST_CLOCK names a file of two 64-bit numbers, nanoseconds that are added to the wall clock, and to those that count from the
 * machine's start (monotonic, boot time). The first may be changed while the process runs.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offsets;

__attribute__((constructor)) static void map_offsets(void)
{
    const char *path = getenv("WEIR_TEST_CLOCK");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *address = fd >= 0 ? mmap(NULL, 2 * sizeof *offsets, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (fd >= 0)
        close(fd);
    if (address == MAP_FAILED)
        abort(); /* a test without its fault would pass */
    offsets = address;
}

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    int code = (int)syscall(SYS_clock_gettime, clock, ret_now);
    if (code != 0 || offsets == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC && clock != CLOCK_BOOTTIME))
        return code;
    int64_t now_ns = (int64_t)ret_now->tv_sec * 1000000000 + ret_now->tv_nsec + offsets[clock != CLOCK_REALTIME];
    ret_now->tv_sec = (time_t)(now_ns / 1000000000);
    ret_now->tv_nsec = (long)(now_ns % 1000000000);
    return 0;
}
