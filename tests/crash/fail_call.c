/*
 * fail_call.so - for LD_PRELOAD: the n-th request of a job's processes for memory, or for a descriptor, is refused, once (FAULTS.md, F31).
 *
 * WEIR_TEST_FAIL names a file of struct plan. What is counted are the calls of all processes whose name begins with the role's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
enum kind { KIND_MEMORY, KIND_DESCRIPTORS };

struct plan {
    char role[16];
    uint64_t kind;
    uint64_t n; /* from 1; 0: none, the calls are counted only */
    _Atomic uint64_t count;
};
static struct plan *plan;

__attribute__((constructor)) static void map_plan(void)
{
    const char *path = getenv("WEIR_TEST_FAIL");
    int fd = path != NULL ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    void *address = fd >= 0 ? (void *)syscall(SYS_mmap, NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (fd >= 0)
        close(fd);
    if (address == MAP_FAILED)
        abort(); /* a test without its fault would pass */
    plan = address;
}

static int hits(enum kind kind, int error)
{
    char name[16];
    if (plan == NULL || plan->kind != (uint64_t)kind || prctl(PR_GET_NAME, name) != 0 || strncmp(name, plan->role, strnlen(plan->role, 15)) != 0)
        return 0;
    if (atomic_fetch_add(&plan->count, 1) + 1 != plan->n)
        return 0;
    errno = error;
    return 1;
}

void *__libc_malloc(size_t size_bytes);
void *__libc_calloc(size_t count, size_t size_bytes);
void *__libc_realloc(void *memory, size_t size_bytes);

EXPORTED void *malloc(size_t size_bytes) { return hits(KIND_MEMORY, ENOMEM) ? NULL : __libc_malloc(size_bytes); }
EXPORTED void *calloc(size_t count, size_t size_bytes) { return hits(KIND_MEMORY, ENOMEM) ? NULL : __libc_calloc(count, size_bytes); }
EXPORTED void *realloc(void *memory, size_t size_bytes) { return hits(KIND_MEMORY, ENOMEM) ? NULL : __libc_realloc(memory, size_bytes); }

EXPORTED void *mmap(void *address, size_t size_bytes, int protection, int flags, int fd, off_t offset)
{
    if (hits(KIND_MEMORY, ENOMEM))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, size_bytes, protection, flags, fd, offset);
}

EXPORTED int fallocate(int fd, int mode, off_t offset, off_t size_bytes)
{
    return hits(KIND_MEMORY, ENOSPC) ? -1 : (int)syscall(SYS_fallocate, fd, mode, offset, size_bytes);
}

EXPORTED int memfd_create(const char *name, unsigned flags)
{
    return hits(KIND_DESCRIPTORS, EMFILE) ? -1 : (int)syscall(SYS_memfd_create, name, flags);
}

static int open_at(int directory, const char *path, int flags, va_list arguments)
{
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
    return hits(KIND_DESCRIPTORS, plan->n % 2 == 0 ? ENFILE : EMFILE) ? -1 : (int)syscall(SYS_openat, directory, path, flags, mode);
}

EXPORTED int openat(int directory, const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    int fd = open_at(directory, path, flags, arguments);
    va_end(arguments);
    return fd;
}

EXPORTED int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    int fd = open_at(AT_FDCWD, path, flags, arguments);
    va_end(arguments);
    return fd;
}

EXPORTED int socket(int domain, int type, int protocol)
{
    return hits(KIND_DESCRIPTORS, EMFILE) ? -1 : (int)syscall(SYS_socket, domain, type, protocol);
}

EXPORTED int eventfd(unsigned value, int flags)
{
    return hits(KIND_DESCRIPTORS, EMFILE) ? -1 : (int)syscall(SYS_eventfd2, value, flags);
}

EXPORTED int signalfd(int fd, const sigset_t *mask, int flags)
{
    return hits(KIND_DESCRIPTORS, EMFILE) ? -1 : (int)syscall(SYS_signalfd4, fd, mask, 8, flags);
}

EXPORTED int pidfd_open(pid_t pid, unsigned flags)
{
    return hits(KIND_DESCRIPTORS, EMFILE) ? -1 : (int)syscall(SYS_pidfd_open, pid, flags);
}

EXPORTED int fcntl(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && hits(KIND_DESCRIPTORS, EMFILE))
        return -1;
    return (int)syscall(SYS_fcntl, fd, command, argument);
}
