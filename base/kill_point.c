#include "base/kill_point.h"

#include "base/bytes.h"

static const struct {
    const char *name;
    const char *where;
} point_table[] = {
#define KILL_POINT_ROW(name, where) {#name, where},
    KILL_POINT_TABLE(KILL_POINT_ROW)
#undef KILL_POINT_ROW
};

const char *kill_point_name(unsigned index) { return index < COUNT_OF(point_table) ? point_table[index].name : NULL; }

const char *kill_point_where(unsigned index) { return index < COUNT_OF(point_table) ? point_table[index].where : NULL; }

#include "base/error.h"

#ifndef WEIR_KILL_POINTS

bool kill_points_built(void) { return false; }

int kill_point_arm(const char *list, struct weir_error *err)
{
    return error_set(err, WEIR_EUNSUPPORTED, "'%s': this build of Weir has no kill points: build it with -DWEIR_KILL_POINTS=ON",
                     list);
}

#else

#include "base/check.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define ROWS_MAX 32

enum action { ACTION_KILL, ACTION_STOP, ACTION_DELAY, ACTION_ERROR };

struct row {
    uint32_t point;
    uint32_t nth;
    uint32_t action;
    uint32_t delay_ms;
    char process[64];
};

/* In shared memory, written by whoever arms (row_count last, with release), read by all. */
struct armed {
    struct row rows[ROWS_MAX];
    _Atomic uint32_t row_count;
    _Atomic uint32_t active; /* the row that counts now; advanced once, by the process in which it fires */
    _Atomic uint32_t reached[ROWS_MAX];
    _Atomic uint32_t dropped; /* fired rows that made room for others */
};

static const _Atomic uint32_t no_rows;
const _Atomic uint32_t *kill_point_row_count = &no_rows;
static struct armed *armed;
static char process_name[64];

bool kill_points_built(void) { return true; }

static int parse_action(const char *text, struct row *row, struct weir_error *err)
{
    if (strcmp(text, "kill") == 0)
        row->action = ACTION_KILL;
    else if (strcmp(text, "stop") == 0)
        row->action = ACTION_STOP;
    else if (strcmp(text, "error") == 0)
        row->action = ACTION_ERROR;
    else if (strncmp(text, "delay=", 6) == 0) {
        row->action = ACTION_DELAY;
        row->delay_ms = (uint32_t)strtoul(text + 6, NULL, 10);
    } else
        return error_set(err, WEIR_EINVAL, "WEIR_KILL: '%s' is no action: kill, stop, delay=MS or error", text);
    return WEIR_OK;
}

/* Cuts *text at the first `separator` and returns what follows, or NULL. */
static char *cut_at(char *text, char separator)
{
    char *at = strchr(text, separator);
    if (at == NULL)
        return NULL;
    *at = 0;
    return at + 1;
}

static int parse_row(char *text, struct row *row, struct weir_error *err)
{
    memset(row, 0, sizeof *row);
    char *process = cut_at(text, '@');
    char *nth = cut_at(text, ':');
    char *action = nth != NULL ? cut_at(nth, ':') : NULL;
    while (row->point < KILL_POINT_COUNT && strcmp(kill_point_name(row->point), text) != 0)
        row->point++;
    if (row->point == KILL_POINT_COUNT)
        return error_set(err, WEIR_EINVAL, "WEIR_KILL: there is no kill point '%s'", text);
    row->nth = nth != NULL ? (uint32_t)strtoul(nth, NULL, 10) : 1;
    if (row->nth == 0)
        return error_set(err, WEIR_EINVAL, "WEIR_KILL: '%s' needs a count from 1 up, as in %s:1", text, text);
    if (process != NULL)
        snprintf(row->process, sizeof row->process, "%s", process);
    return action != NULL ? parse_action(action, row, err) : WEIR_OK;
}

static int map_rows(struct weir_error *err)
{
    void *memory = mmap(NULL, sizeof *armed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return error_set_errno(err, errno, "kill points: map %zu bytes", sizeof *armed);
    armed = memory;
    kill_point_row_count = &armed->row_count;
    return WEIR_OK;
}

/* Rows that have all fired are done with. In this order, as a process that reads while it is changed must see no row at all. */
static void drop_fired_rows(void)
{
    uint32_t count = atomic_load_explicit(&armed->row_count, memory_order_relaxed);
    if (atomic_load_explicit(&armed->active, memory_order_relaxed) < count)
        return;
    atomic_fetch_add_explicit(&armed->dropped, count, memory_order_relaxed);
    atomic_store_explicit(&armed->row_count, 0, memory_order_seq_cst);
    for (unsigned i = 0; i < ROWS_MAX; i++)
        atomic_store_explicit(&armed->reached[i], 0, memory_order_relaxed);
    atomic_store_explicit(&armed->active, 0, memory_order_seq_cst);
}

int kill_point_arm(const char *list, struct weir_error *err)
{
    if (armed == NULL && map_rows(err) != WEIR_OK)
        return WEIR_ENOMEM;
    char *copy = strdup(list);
    if (copy == NULL)
        return error_set(err, WEIR_ENOMEM, "WEIR_KILL: out of memory");
    drop_fired_rows();
    uint32_t count = atomic_load_explicit(&armed->row_count, memory_order_relaxed);
    int code = WEIR_OK;
    char *text = copy;
    while (code == WEIR_OK && text != NULL && *text != 0) {
        char *next = cut_at(text, ',');
        if (count == ROWS_MAX)
            code = error_set(err, WEIR_ELIMIT, "WEIR_KILL: more than %d rows", ROWS_MAX);
        else
            code = parse_row(text, &armed->rows[count], err);
        if (code == WEIR_OK)
            count++;
        text = next;
    }
    free(copy);
    /* Pairs with the acquire in kill_point_reached(): the rows are whole before they count. */
    if (code == WEIR_OK)
        atomic_store_explicit(&armed->row_count, count, memory_order_release);
    return code;
}

int kill_point_init(struct weir_error *err)
{
    const char *list = getenv("WEIR_KILL");
    if (armed == NULL && map_rows(err) != WEIR_OK)
        return WEIR_ENOMEM;
    if (list == NULL || *list == 0)
        return WEIR_OK;
    return kill_point_arm(list, err);
}

void kill_point_set_process(const char *name) { snprintf(process_name, sizeof process_name, "%s", name); }

unsigned kill_point_fired_count(void)
{
    if (armed == NULL)
        return 0;
    uint32_t dropped = atomic_load_explicit(&armed->dropped, memory_order_relaxed);
    return dropped + atomic_load_explicit(&armed->active, memory_order_relaxed);
}

static bool process_matches(const char *wanted)
{
    size_t size_bytes = strlen(wanted);
    return size_bytes == 0 || (strncmp(process_name, wanted, size_bytes) == 0 &&
                               (process_name[size_bytes] == 0 || process_name[size_bytes] == '/'));
}

bool kill_point_reached(enum kill_point point)
{
    uint32_t active = atomic_load_explicit(&armed->active, memory_order_acquire);
    if (active >= atomic_load_explicit(&armed->row_count, memory_order_acquire))
        return false;
    const struct row *row = &armed->rows[active];
    if (row->point != (uint32_t)point || !process_matches(row->process))
        return false;
    if (atomic_fetch_add_explicit(&armed->reached[active], 1, memory_order_relaxed) + 1 != row->nth)
        return false;
    log_line(LOG_WARNING, "kill point %s reached for the %uth time: fires", kill_point_name(point), row->nth);
    atomic_store_explicit(&armed->active, active + 1, memory_order_release);
    switch ((enum action)row->action) {
    case ACTION_KILL:
        kill(getpid(), SIGKILL);
        break;
    case ACTION_STOP:
        kill(getpid(), SIGSTOP);
        break;
    case ACTION_DELAY: {
        struct timespec delay = {row->delay_ms / 1000, (long)(row->delay_ms % 1000) * 1000000L};
        while (nanosleep(&delay, &delay) != 0 && errno == EINTR)
            continue;
        break;
    }
    case ACTION_ERROR:
        return true;
    }
    return false;
}

#endif
