/*
 * visible.c - what a reader of committed output sees: waits for finished part files of due_count's file sink, reads each as it
 * appears, removes it, and adds the time from due to visible of each record to a histogram.
 *
 *     visible PROBE DIRECTORY
 *
 * prints "ready", then, once a record due after the probe's until_ns has been seen: number of files, count, p50, p99, p99.9,
 * p99.99 and max in ns. A file is visible when inotify says that it has its final name; the reader sleeps in between, so its
 * own wake-up is in the figure.
 */
#include "due.h"

#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct reader {
    struct due_probe *probe;
    int directory_fd;
    uint64_t file_count;
    bool done;
};

static int64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void take_records(struct reader *reader, const struct due_update *updates, size_t count, int64_t now_ns)
{
    struct due_probe *probe = reader->probe;
    int64_t from_ns = atomic_load(&probe->from_ns), until_ns = atomic_load(&probe->until_ns);
    for (size_t i = 0; i < count; i++) {
        int64_t due_ns = updates[i].due_ns;
        if (due_ns >= from_ns && due_ns < until_ns)
            histogram_add(&probe->latency, (uint64_t)(now_ns - due_ns));
        reader->done |= until_ns != 0 && due_ns >= until_ns;
    }
    if (count > 0)
        atomic_store(&probe->due_ns, updates[count - 1].due_ns);
}

/* 0, or -1 with errno. */
static int take_file(struct reader *reader, const char *name)
{
    static struct due_update block[4096];
    int64_t now_ns = monotonic_ns();
    int fd = openat(reader->directory_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t size;
    while ((size = read(fd, block, sizeof block)) > 0)
        take_records(reader, block, (size_t)size / sizeof block[0], now_ns);
    close(fd);
    reader->file_count++;
    return size < 0 ? -1 : unlinkat(reader->directory_fd, name, 0);
}

static int take_events(struct reader *reader, int inotify_fd)
{
    _Alignas(struct inotify_event) char events[65536];
    ssize_t size = read(inotify_fd, events, sizeof events);
    if (size < 0)
        return -1;
    for (const char *at = events; at < events + size;) {
        const struct inotify_event *event = (const void *)at;
        if (event->len > 0 && strncmp(event->name, "part-", 5) == 0 && take_file(reader, event->name) != 0)
            return -1;
        at += sizeof *event + event->len;
    }
    return 0;
}

static struct due_probe *map_probe(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    void *address = mmap(NULL, DUE_PROBE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return address == MAP_FAILED ? NULL : address;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: visible PROBE DIRECTORY\n");
        return 2;
    }
    struct reader reader = {.probe = map_probe(argv[1]), .directory_fd = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    int inotify_fd = inotify_init1(IN_CLOEXEC);
    if (reader.probe == NULL || reader.directory_fd < 0 || inotify_add_watch(inotify_fd, argv[2], IN_MOVED_TO) < 0) {
        perror(argv[2]);
        return 1;
    }
    puts("ready");
    fflush(stdout);
    while (!reader.done)
        if (take_events(&reader, inotify_fd) != 0) {
            perror("visible");
            return 1;
        }
    printf("%llu ", (unsigned long long)reader.file_count);
    histogram_print(&reader.probe->latency, stdout);
    return 0;
}
