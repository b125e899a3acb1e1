#include "chaos/process.h"

#include "base/clock.h"
#include "base/error.h"
#include "engine/control.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Fields of /proc/PID/stat. False where it has ended, also as a zombie. */
static bool read_stat(pid_t pid, char comm[PROCESS_COMM_BYTES + 1], pid_t *ret_parent)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t size_bytes = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size_bytes] = 0;
    char *open = strchr(text, '('), *close = strrchr(text, ')'); /* a name may hold any byte, brackets too */
    char state;
    int parent;
    if (open == NULL || close == NULL || sscanf(close + 1, " %c %d", &state, &parent) != 2 || state == 'Z' || state == 'X')
        return false;
    *close = 0;
    snprintf(comm, PROCESS_COMM_BYTES + 1, "%s", open + 1);
    *ret_parent = parent;
    return true;
}

size_t process_children(pid_t parent, struct process_entry *ret_entries, size_t capacity)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    FILE *file = fopen(path, "re");
    size_t count = 0;
    int pid;
    while (file != NULL && count < capacity && fscanf(file, "%d", &pid) == 1) {
        struct process_entry *entry = &ret_entries[count];
        pid_t its_parent;
        entry->pid = pid;
        count += read_stat(pid, entry->comm, &its_parent) && its_parent == parent;
    }
    if (file != NULL)
        fclose(file);
    return count;
}

bool process_may_be(const char *comm, const char *name) { return strncmp(comm, name, PROCESS_COMM_BYTES) == 0; }

static int open_pid(pid_t pid, struct process *ret_process, struct weir_error *err)
{
    int fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (fd < 0 && (pid <= 0 || errno == ESRCH || errno == EINVAL))
        return error_set(err, WEIR_ENOENT, "process %d has ended", (int)pid);
    if (fd < 0)
        return error_set_errno(err, errno, "process %d: cannot open it", (int)pid);
    *ret_process = (struct process){pid, fd};
    return WEIR_OK;
}

int process_open_child(pid_t pid, pid_t parent, const char *name, struct process *ret_process, struct weir_error *err)
{
    struct process process = {.fd = -1};
    char comm[PROCESS_COMM_BYTES + 1];
    pid_t its_parent;
    int code = open_pid(pid, &process, err);
    if (code != WEIR_OK)
        return code;
    if (read_stat(pid, comm, &its_parent) && its_parent == parent && process_may_be(comm, name)) {
        *ret_process = process; /* it lived when it was looked at, so the pidfd, opened before, is that very process */
        return WEIR_OK;
    }
    process_close(&process);
    return error_set(err, WEIR_ENOENT, "'%s' (pid %d) has ended", name, (int)pid);
}

static bool has_coordinator(pid_t launcher)
{
    static const char name[] = "coordinator";
    struct process_entry entries[PROCESS_CHILDREN_MAX];
    size_t count = process_children(launcher, entries, PROCESS_CHILDREN_MAX);
    for (size_t i = 0; i < count; i++)
        if (strcmp(entries[i].comm, name) == 0)
            return true;
    return false;
}

/* The socket names the process that listens; that it is still the one is seen by its child: a coordinator dies with its
 * launcher. */
int process_open_launcher(const char *directory, unsigned timeout_ms, struct process *ret_process, struct weir_error *err)
{
    int64_t end_ns = clock_monotonic_ns() + timeout_ms * NS_PER_MS;
    for (;;) {
        pid_t pid = 0;
        int code = control_launcher(directory, timeout_ms, &pid, err);
        if (code == WEIR_OK)
            code = open_pid(pid, ret_process, err);
        if (code != WEIR_OK)
            return code;
        if (has_coordinator(pid))
            return WEIR_OK;
        process_close(ret_process);
        if (clock_monotonic_ns() >= end_ns)
            return error_set(err, WEIR_ETIMEOUT, "job on '%s': its launcher (pid %d) has no coordinator", directory, (int)pid);
        poll(NULL, 0, 1); /* it is being replaced */
    }
}

int process_signal(const struct process *process, int signal, struct weir_error *err)
{
    if (syscall(SYS_pidfd_send_signal, process->fd, signal, NULL, 0) == 0)
        return WEIR_OK;
    if (errno == ESRCH)
        return error_set(err, WEIR_ENOENT, "process %d has ended", (int)process->pid);
    return error_set_errno(err, errno, "signal %d to process %d", signal, (int)process->pid);
}

void process_close(struct process *process)
{
    if (process->fd >= 0)
        close(process->fd);
    process->fd = -1;
}
