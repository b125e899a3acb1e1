#include "snapshot/io_fault.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define VARIABLE "WEIR_IO_FAULT"

static const char *const names[IO_OP_COUNT] = {
#define IO_FAULT_NAME(name, text) #name,
    IO_FAULT_TABLE(IO_FAULT_NAME)
#undef IO_FAULT_NAME
};

const char *io_fault_operation(unsigned index) { return index < IO_OP_COUNT ? names[index] : NULL; }

#ifndef WEIR_KILL_POINTS

int io_fault_check(const char *list, struct weir_error *err)
{
    return error_set(err, WEIR_EUNSUPPORTED, "'%s': this build of Weir has no faults: build it with -DWEIR_KILL_POINTS=ON", list);
}

int io_for_job(const struct io **ret_io, struct weir_error *err)
{
    if (getenv(VARIABLE) != NULL)
        return error_set(err, WEIR_EUNSUPPORTED, VARIABLE ": this build of Weir has no faults: build it with "
                                                          "-DWEIR_KILL_POINTS=ON");
    *ret_io = io_system();
    return WEIR_OK;
}

#else

#define ROWS_MAX 16

struct fault_row {
    enum io_operation operation;
    uint32_t nth;
    uint32_t times;
    int errno_value; /* 0: a delay */
    uint32_t delay_ms;
    _Atomic uint32_t calls; /* of all processes */
};

/* In shared memory: written by the launcher before the first fork, but for the counts. */
struct fault_rows {
    struct fault_row rows[ROWS_MAX];
    unsigned count;
};

static struct fault_rows *armed;

static void wait_ms(uint32_t delay_ms)
{
    struct timespec delay = {delay_ms / 1000, (long)(delay_ms % 1000) * 1000000L};
    while (nanosleep(&delay, &delay) != 0 && errno == EINTR)
        continue;
}

/* Counts a call; waits where it is to be slow. The errno with which it is to fail, or 0. */
static int hit(enum io_operation operation)
{
    int errno_value = 0;
    for (unsigned i = 0; i < armed->count; i++) {
        struct fault_row *row = &armed->rows[i];
        if (row->operation != operation)
            continue;
        uint32_t call = atomic_fetch_add_explicit(&row->calls, 1, memory_order_relaxed) + 1;
        if (call < row->nth || call - row->nth >= row->times)
            continue;
        if (call == row->nth)
            log_line(LOG_WARNING, "io fault %s reached for the %uth time: takes effect", names[operation], row->nth);
        if (row->errno_value != 0)
            errno_value = row->errno_value;
        else
            wait_ms(row->delay_ms);
    }
    return errno_value;
}

/* The functions that return a result or -errno, and nothing else to take care of. */
#define FAULTY(result, name, parameters, arguments)                                                                    \
    static result fault_##name parameters                                                                              \
    {                                                                                                                  \
        int errno_value = hit(IO_OP_##name);                                                                           \
        return errno_value != 0 ? -errno_value : io_system()->name arguments;                                          \
    }
FAULTY(int, openat, (void *self, int dir_fd, const char *name, int flags, mode_t mode), (self, dir_fd, name, flags, mode))
FAULTY(ssize_t, pread, (void *self, int fd, void *data, size_t size_bytes, uint64_t offset), (self, fd, data, size_bytes, offset))
FAULTY(ssize_t, pwrite, (void *self, int fd, const void *data, size_t size_bytes, uint64_t offset),
       (self, fd, data, size_bytes, offset))
FAULTY(int, set_size, (void *self, int fd, uint64_t size_bytes, bool allocate), (self, fd, size_bytes, allocate))
FAULTY(int, fdatasync, (void *self, int fd), (self, fd))
FAULTY(int, fsync, (void *self, int fd), (self, fd))
FAULTY(int, rename_new, (void *self, int dir_fd, const char *from, const char *to), (self, dir_fd, from, to))
FAULTY(int, unlinkat, (void *self, int dir_fd, const char *name), (self, dir_fd, name))
FAULTY(int, mkdirat, (void *self, int dir_fd, const char *name, mode_t mode), (self, dir_fd, name, mode))
FAULTY(int, fstat, (void *self, int fd, struct stat *ret_stat), (self, fd, ret_stat))
FAULTY(int, fstatat, (void *self, int dir_fd, const char *name, struct stat *ret_stat), (self, dir_fd, name, ret_stat))
FAULTY(ssize_t, getdents, (void *self, int fd, void *data, size_t size_bytes), (self, fd, data, size_bytes))
FAULTY(int, ring_init, (void *self, struct io_uring *ring, unsigned depth), (self, ring, depth))
FAULTY(int, ring_submit, (void *self, struct io_uring *ring), (self, ring))

/* The request has been carried out by then: what fails is the word about it. */
static int fault_ring_wait(void *self, struct io_uring *ring, struct io_uring_cqe **ret_cqe)
{
    int result = io_system()->ring_wait(self, ring, ret_cqe);
    int errno_value = hit(IO_OP_ring_wait);
    if (result >= 0 && errno_value != 0)
        (*ret_cqe)->res = -errno_value;
    return result;
}

static struct io fault_table;

static void make_table(void)
{
    fault_table = *io_system();
#define FAULT_FUNCTION(name, text) fault_table.name = fault_##name;
    IO_FAULT_TABLE(FAULT_FUNCTION)
#undef FAULT_FUNCTION
}

/* ---- the list ---- */

static int parse_error_name(const char *text, int *ret_errno)
{
    for (int i = 1; i < 134; i++) {
        const char *name = strerrorname_np(i);
        if (name != NULL && strcmp(name, text) == 0) {
            *ret_errno = i;
            return WEIR_OK;
        }
    }
    return WEIR_EINVAL;
}

static bool parse_number(const char *text, char **ret_end, uint32_t *ret_number)
{
    unsigned long number = strtoul(text, ret_end, 10);
    *ret_number = (uint32_t)number;
    return *ret_end != text && number > 0 && number <= UINT32_MAX;
}

/* "2*3:error=EIO", behind the operation. */
static bool parse_rest(char *text, struct fault_row *row)
{
    char *at = text;
    row->times = 1;
    if (!parse_number(at, &at, &row->nth) || (*at == '*' && !parse_number(at + 1, &at, &row->times)) || *at != ':')
        return false;
    if (strncmp(at, ":delay=", 7) == 0)
        return parse_number(at + 7, &at, &row->delay_ms) && *at == 0;
    return strncmp(at, ":error=", 7) == 0 && parse_error_name(at + 7, &row->errno_value) == WEIR_OK;
}

static int parse_row(char *text, struct fault_row *row, struct weir_error *err)
{
    char *rest = strchr(text, ':');
    unsigned operation = 0;
    size_t name_bytes = strcspn(text, ":");
    while (operation < IO_OP_COUNT && (strlen(names[operation]) != name_bytes || memcmp(names[operation], text, name_bytes) != 0))
        operation++;
    if (operation == IO_OP_COUNT)
        return error_set(err, WEIR_EINVAL, VARIABLE ": there is no operation '%.*s'", (int)name_bytes, text);
    row->operation = (enum io_operation)operation;
    if (rest == NULL || !parse_rest(rest + 1, row))
        return error_set(err, WEIR_EINVAL, VARIABLE ": '%s': it takes OPERATION:NTH[*TIMES]:error=NAME or :delay=MS, as in "
                                                    "fdatasync:2:error=EIO", text);
    return WEIR_OK;
}

static int parse_list(const char *list, struct fault_rows *rows, struct weir_error *err)
{
    char *copy = strdup(list), *rest = NULL;
    int code = copy != NULL ? WEIR_OK : error_set(err, WEIR_ENOMEM, VARIABLE ": out of memory");
    char *row = copy != NULL ? strtok_r(copy, ",", &rest) : NULL;
    for (; row != NULL && code == WEIR_OK; row = strtok_r(NULL, ",", &rest)) {
        if (rows->count == ROWS_MAX)
            code = error_set(err, WEIR_ELIMIT, VARIABLE ": more than %d rows", ROWS_MAX);
        else
            code = parse_row(row, &rows->rows[rows->count++], err);
    }
    free(copy);
    return code;
}

int io_fault_check(const char *list, struct weir_error *err)
{
    struct fault_rows rows = {.count = 0};
    return parse_list(list, &rows, err);
}

int io_for_job(const struct io **ret_io, struct weir_error *err)
{
    const char *list = getenv(VARIABLE);
    if (list == NULL || *list == 0) {
        *ret_io = io_system();
        return WEIR_OK;
    }
    if (armed == NULL) {
        void *memory = mmap(NULL, sizeof *armed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        armed = memory != MAP_FAILED ? memory : NULL;
    }
    if (armed == NULL)
        return error_set(err, WEIR_ENOMEM, VARIABLE ": out of memory");
    memset(armed, 0, sizeof *armed);
    int code = parse_list(list, armed, err);
    make_table();
    if (code == WEIR_OK)
        *ret_io = &fault_table;
    return code;
}

#endif
