/*
 * memory_hog - fills the memory of a cgroup until the kernel kills somebody in it (FAULTS.md, F12).
 *
 *     memory_hog CGROUP COUNTER MIB     the cgroup's directory, its file with a line "oom_kill N", and what is taken from the beginning
 *
 * For each byte of standard input it takes memory until somebody was killed, gives that back, and writes "N\n", how many were. What it takes is
 * not mapped, so that it is the smallest process of the cgroup, and needs no rights to be none of those who are killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char page[4096];

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "memory_hog: %s: %s\n", what, strerror(errno));
    exit(1);
}

static unsigned long kills(int counter)
{
    char text[4096];
    ssize_t got = pread(counter, text, sizeof text - 1, 0);
    text[got > 0 ? got : 0] = 0;
    const char *at = strncmp(text, "oom_kill ", 9) == 0 ? text : strstr(text, "\noom_kill ");
    return at != NULL ? strtoul(at + (*at == '\n') + 9, NULL, 10) : 0;
}

static void enter(const char *cgroup)
{
    char path[4096], text[16];
    snprintf(path, sizeof path, "%s/cgroup.procs", cgroup);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int size_bytes = snprintf(text, sizeof text, "%d", (int)getpid());
    if (fd < 0 || write(fd, text, (size_t)size_bytes) != size_bytes)
        fail(path);
    close(fd);
}

static void take(int memory, off_t at)
{
    if (pwrite(memory, page, sizeof page, at) < 0 && errno != ENOMEM && errno != EINTR)
        fail("take memory");
}

int main(int argc, char **argv)
{
    char byte;
    if (argc != 4)
        return 1;
    off_t begin = (off_t)strtoul(argv[3], NULL, 10) << 20;
    int counter = open(argv[2], O_RDONLY | O_CLOEXEC), memory = memfd_create("hog", MFD_CLOEXEC);
    if (counter < 0 || memory < 0)
        fail(argv[2]);
    enter(argv[1]);
    memset(page, 1, sizeof page);
    for (off_t at = 0; at < begin; at += (off_t)sizeof page)
        take(memory, at);
    while (read(STDIN_FILENO, &byte, 1) == 1) {
        unsigned long before = kills(counter);
        off_t at = begin;
        for (unsigned i = 1; i % 8 != 0 || kills(counter) == before; i++, at += (off_t)sizeof page)
            take(memory, at);
        if (ftruncate(memory, begin) != 0)
            fail("give back");
        printf("%lu\n", kills(counter) - before);
        fflush(stdout);
    }
    return 0;
}
