/*
 * signal_storm - sends SIGUSR1 to a process and all its children, RATE times a second to each, until the process has ended (FAULTS.md, F32).
 *
 *     signal_storm PID RATE     prints how many signals were sent
 *
 * By pidfd: whoever gets the number of one that has ended is not hit.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

#define TARGETS_MAX 512

#define CATCH_UP_MAX 200

struct target {
    pid_t pid; /* 0: a free row */
    int fd;
    bool listed;
};
static struct target targets[TARGETS_MAX];

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct target *find(pid_t pid)
{
    for (unsigned i = 0; i < TARGETS_MAX; i++)
        if (targets[i].pid == pid)
            return &targets[i];
    return NULL;
}

static void list(pid_t pid)
{
    struct target *row = find(pid);
    if (row == NULL && (row = find(0)) != NULL) {
        int fd = pidfd_open(pid, 0);
        if (fd < 0)
            return;
        *row = (struct target){.pid = pid, .fd = fd};
    }
    if (row != NULL)
        row->listed = true;
}

static void list_children(pid_t parent)
{
    char path[64];
    int pid;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    FILE *children = fopen(path, "re");
    while (children != NULL && fscanf(children, "%d", &pid) == 1)
        list(pid);
    if (children != NULL)
        fclose(children);
}

static void drop_unlisted(void)
{
    for (unsigned i = 0; i < TARGETS_MAX; i++) {
        if (targets[i].pid != 0 && !targets[i].listed) {
            close(targets[i].fd);
            targets[i].pid = 0;
        }
        targets[i].listed = false;
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 1;
    pid_t parent = (pid_t)atoi(argv[1]);
    double rate = atof(argv[2]), begun_s = now_s(), skipped = 0;
    int parent_fd = pidfd_open(parent, 0);
    unsigned long sent = 0;
    if (parent_fd < 0) {
        fprintf(stderr, "signal_storm: %s\n", strerror(errno));
        return 1;
    }
    for (unsigned long turn = 0; pidfd_send_signal(parent_fd, SIGUSR1, NULL, 0) == 0; turn++) {
        if (turn % 16 == 0) {
            list_children(parent);
            drop_unlisted();
        }
        for (unsigned i = 0; i < TARGETS_MAX; i++)
            sent += targets[i].pid != 0 && pidfd_send_signal(targets[i].fd, SIGUSR1, NULL, 0) == 0;
        double ahead = (double)turn + skipped - (now_s() - begun_s) * rate;
        if (ahead > 0)
            nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
        else if (ahead < -CATCH_UP_MAX) /* it did not get the processor for so long */
            skipped -= ahead + CATCH_UP_MAX;
    }
    printf("%lu\n", sent);
    return 0;
}
