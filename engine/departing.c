#include "engine/departing.h"

#include "engine/takeover.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of the kernel's task flags: exits; has taken a fatal signal. */
#define FLAG_EXITING 0x4u
#define FLAG_SIGNALED 0x400u

static bool is_snapshot_of(const struct task_shared *task, pid_t pid)
{
    return pid == atomic_load(&task->snapshot.child_pid) || pid == SNAPSHOT_CLAIM_PID(atomic_load(&task->snapshot.claim));
}

static bool is_snapshot(const struct job *job, pid_t pid)
{
    for (unsigned i = 0; i < job->plan->task_count; i++)
        if (is_snapshot_of(&job->shared->tasks[i], pid))
            return true;
    return false;
}

bool departing_is_powerless(const struct job *job, pid_t pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = 0;
    const char *behind_name = strrchr(text, ')');
    char state;
    unsigned flags;
    if (behind_name == NULL || sscanf(behind_name + 1, " %c %*d %*d %*d %*d %*d %u", &state, &flags) != 2)
        return false;
    return state == 'Z' || state == 'X' || (flags & (FLAG_EXITING | FLAG_SIGNALED)) != 0 || (state == 'D' && is_snapshot(job, pid));
}

static unsigned task_of(const struct job *job, pid_t pid)
{
    for (unsigned i = 0; i < job->plan->task_count; i++) {
        const struct task_shared *task = &job->shared->tasks[i];
        if (pid == takeover_owner(task) || takeover_is_followed(task, pid) || pid == atomic_load(&task->standby_pid) ||
            is_snapshot_of(task, pid))
            return i;
    }
    return job->plan->task_count;
}

static struct departing_child *find(const struct departing *list, pid_t pid)
{
    for (unsigned i = 0; i < list->count; i++)
        if (list->children[i].pid == pid)
            return &list->children[i];
    return NULL;
}

bool departing_add(const struct job *job, struct departing *list, pid_t pid)
{
    if (find(list, pid) != NULL)
        return true; /* from an earlier time: whose it was is known */
    if (list->count == list->capacity) {
        unsigned capacity = list->capacity * 2 + 16;
        struct departing_child *children = realloc(list->children, capacity * sizeof *children);
        if (children == NULL)
            return false;
        list->children = children;
        list->capacity = capacity;
    }
    list->children[list->count++] = (struct departing_child){pid, task_of(job, pid)};
    return true;
}

void departing_tell(struct job *job, const struct departing *list)
{
    for (unsigned i = 0; i < job->plan->task_count; i++) {
        uint32_t count = 0;
        for (unsigned j = 0; j < list->count; j++)
            count += list->children[j].task == i || list->children[j].task == job->plan->task_count;
        uint32_t before = atomic_exchange_explicit(&job->shared->tasks[i].departing, count, memory_order_release);
        if (before != 0 && count == 0)
            job_ring_task(job, i);
    }
    atomic_store_explicit(&job->shared->departing, list->count, memory_order_release);
    if (list->count == 0)
        job_wake(job->coordinator_fd);
}

bool departing_gone(struct job *job, struct departing *list, pid_t pid)
{
    struct departing_child *child = find(list, pid);
    if (child == NULL)
        return false;
    *child = list->children[--list->count];
    departing_tell(job, list);
    return true;
}

bool departing_has(const struct departing *list, pid_t pid) { return find(list, pid) != NULL; }

void departing_free(struct departing *list)
{
    free(list->children);
    *list = (struct departing){0};
}
