/*
 * fork_cow.c - the alternative to chunks: private memory frozen by fork, copied by the kernel on the first write to a page. `fork_cow MIB`
 * prints: pause of fork in ms, ns a first write to a page, while the child lives; and ns to copy one 4 KiB chunk in user space from and to
 * random places of memory of the same size, as the chunk table does it.
 *
 * 4 KiB pages (MADV_NOHUGEPAGE): what huge pages become once writes have split them.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES 4096u
#define WRITES_MAX 16384u

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* CPU time, not wall time: what other programs take meanwhile is not counted. */
static int64_t processor_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Page i of a walk over all pages in a scattered order: the stride is odd, and the golden section of 2^32. */
static size_t scattered(size_t i, size_t page_count) { return i * 2654435761u % page_count; }

static unsigned char *map_pages(size_t size_bytes)
{
    unsigned char *memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || madvise(memory, size_bytes, MADV_NOHUGEPAGE) != 0)
        fail("mmap");
    memset(memory, 1, size_bytes);
    return memory;
}

static pid_t fork_sleeper(double *ret_pause_ms)
{
    int64_t begun_ns = processor_ns();
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        pause();
        _exit(0);
    }
    *ret_pause_ms = (double)(processor_ns() - begun_ns) / 1e6;
    return child;
}

static double first_write_ns(unsigned char *memory, size_t page_count)
{
    size_t writes = page_count < WRITES_MAX ? page_count : WRITES_MAX;
    int64_t begun_ns = processor_ns();
    for (size_t i = 0; i < writes; i++)
        *(volatile unsigned char *)(memory + scattered(i, page_count) * PAGE_BYTES) = 2;
    return (double)(processor_ns() - begun_ns) / (double)writes;
}

/* The second half of the memory serves as the free chunks. */
static double chunk_copy_ns(unsigned char *memory, size_t page_count)
{
    size_t half = page_count / 2;
    size_t copies = half < WRITES_MAX ? half : WRITES_MAX;
    int64_t begun_ns = processor_ns();
    for (size_t i = 0; i < copies; i++)
        memcpy(memory + (half + i) * PAGE_BYTES, memory + scattered(i, half) * PAGE_BYTES, PAGE_BYTES);
    return (double)(processor_ns() - begun_ns) / (double)copies;
}

int main(int argc, char **argv)
{
    size_t mib = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    if (mib == 0 || mib > 65536) {
        fprintf(stderr, "usage: fork_cow MIB (1..65536)\n");
        return 2;
    }
    size_t size_bytes = mib << 20;
    size_t page_count = size_bytes / PAGE_BYTES;
    unsigned char *memory = map_pages(size_bytes);
    double copy_ns = chunk_copy_ns(memory, page_count);
    double pause_ms = 0;
    pid_t child = fork_sleeper(&pause_ms);
    double write_ns = first_write_ns(memory, page_count);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    printf("%.3f %.0f %.0f\n", pause_ms, write_ns, copy_ns);
    return 0;
}
