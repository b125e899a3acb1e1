/* coordinator_poison.c - which record a task died of, and whether it has killed often enough to be a poison record. */
#include "base/check.h"
#include "base/log.h"
#include "engine/coordinator.h"
#include "engine/task.h"
#include "shm/region.h"

#include <stdio.h>
#include <string.h>

#define SHOWN_BYTES_MAX IN_PROGRESS_BYTES_MAX

/* The record that a task was processing by itself when it died. */
struct suspect {
    uint64_t pos;
    uint64_t hash;
    size_t size_bytes;
    const unsigned char *bytes; /* SHOWN_BYTES_MAX of them, if it has so many */
    bool emitted; /* by the task's own source */
};

/* The payload at a position of a dead task's ring, copied out; what it says of it is not trusted. */
static bool copy_payload(const struct job *job, uint32_t ring_index, uint64_t pos, uint32_t size_bytes, void *buffer, size_t capacity)
{
    void *address;
    const struct ring_shared *ring = job->ring_controls[ring_index];
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire), head = atomic_load_explicit(&ring->head, memory_order_acquire);
    bool sound = ring->capacity_bytes == job->ring_bytes && size_bytes <= capacity && head - tail <= job->ring_bytes && pos >= tail &&
                 pos <= head && ring_frame_bytes(size_bytes) <= head - pos;
    if (!sound || region_map_twice(job->ring_fds[ring_index], SHM_PAGE_BYTES, job->ring_bytes, &address, NULL) != WEIR_OK)
        return false;
    memcpy(buffer, (const unsigned char *)address + SHM_PAGE_BYTES + (pos & (job->ring_bytes - 1)) + RING_FRAME_HEADER_BYTES, size_bytes);
    region_unmap(address, SHM_PAGE_BYTES + 2 * job->ring_bytes);
    return true;
}

static struct poison_row *find_row(struct job_shared *shared, unsigned node, uint64_t hash)
{
    uint32_t count = atomic_load_explicit(&shared->poison_row_count, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++)
        if (shared->poison_rows[i].hash == hash && shared->poison_rows[i].node == node)
            return &shared->poison_rows[i];
    if (count == POISON_ROWS_MAX)
        return NULL;
    shared->poison_rows[count] = (struct poison_row){.hash = hash, .node = node};
    atomic_store_explicit(&shared->poison_row_count, count + 1, memory_order_release);
    return &shared->poison_rows[count];
}

static void show_bytes(const unsigned char *bytes, size_t size_bytes, char *text, size_t capacity)
{
    size_t shown = size_bytes < SHOWN_BYTES_MAX ? size_bytes : SHOWN_BYTES_MAX;
    for (size_t i = 0; i < shown && 2 * i + 3 < capacity; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    if (shown == 0)
        text[0] = 0;
}

static int report(struct coordinator *c, unsigned task, const struct poison_row *row, const struct suspect *suspect, struct weir_error *err)
{
    bool divert = c->job->options->on_poison == OPTION_POISON_DEAD_LETTER;
    const char *place = suspect->emitted ? "number from its source" : "ring position";
    char hex[2 * SHOWN_BYTES_MAX + 4];
    show_bytes(suspect->bytes, suspect->size_bytes, hex, sizeof hex);
    uint64_t in = counter_get(&c->shared->tasks[task].counters.records_in);
    json_t *fields = json_pack("{s:s, s:s, s:I, s:I, s:i, s:I, s:s, s:s}", "task", c->job->plan->tasks[task].name, "operator",
                               c->job->graph->nodes[row->node].name, "position", (json_int_t)suspect->pos, "records_before", (json_int_t)in,
                               "attempts", (int)row->failures, "size_bytes", (json_int_t)suspect->size_bytes, "bytes", hex, "action",
                               divert ? "dead-letter" : "fail");
    event_log_append(&c->job->events, EVENT_POISON_RECORD, fields);
    log_line(LOG_ERROR, "task '%s': a record that came to '%s' has made it fail %u times: %s %llu, %zu bytes: %s: %s",
             c->job->plan->tasks[task].name, c->job->graph->nodes[row->node].name, row->failures, place, (unsigned long long)suspect->pos,
             suspect->size_bytes, hex, divert ? "goes to the dead-letter file" : "the job fails (--on-poison)");
    if (divert)
        return WEIR_OK;
    error_append(err, "; the same record has made it fail %u times: %s %llu, %zu bytes, hex %s; --on-poison dead-letter "
                 "puts such records aside", row->failures, place, (unsigned long long)suspect->pos, suspect->size_bytes, hex);
    return WEIR_EFAILED;
}

/* False: it was not processing one record by itself, or that cannot be read any more. */
static bool find_suspect(const struct job *job, unsigned task, struct suspect *ret_suspect)
{
    static unsigned char buffer[WEIR_RECORD_BYTES_MAX + 64]; /* too large for the stack; one coordinator, one thread */
    const struct in_progress *note = &job->shared->tasks[task].in_progress;
    uint32_t ring = atomic_load_explicit(&note->ring, memory_order_relaxed);
    if (ring == 0 || atomic_load_explicit(&note->count, memory_order_relaxed) != 1)
        return false; /* of several: from now on this task takes them one at a time */
    *ret_suspect = (struct suspect){.pos = atomic_load_explicit(&note->pos, memory_order_relaxed), .emitted = ring == IN_PROGRESS_SOURCE};
    if (ret_suspect->emitted) {
        ret_suspect->hash = note->hash;
        ret_suspect->size_bytes = note->size_bytes;
        ret_suspect->bytes = note->bytes;
        return true;
    }
    size_t prefix = graph_node_keyed(job->graph, job->plan->chains[job->plan->tasks[task].chain].nodes[0]) ? sizeof(uint64_t) : 0;
    ret_suspect->size_bytes = note->size_bytes;
    if (ring > job->plan->ring_count || note->size_bytes > WEIR_RECORD_BYTES_MAX ||
        !copy_payload(job, ring - 1, ret_suspect->pos, note->size_bytes + (uint32_t)prefix, buffer, sizeof buffer))
        return false;
    ret_suspect->bytes = buffer + prefix;
    ret_suspect->hash = poison_hash(ret_suspect->bytes, ret_suspect->size_bytes);
    return true;
}

int poison_examine(struct coordinator *c, unsigned task, struct weir_error *err)
{
    const struct job *job = c->job;
    struct suspect suspect;
    if (!find_suspect(job, task, &suspect))
        return WEIR_OK;
    struct poison_row *row = find_row(c->shared, job->plan->chains[job->plan->tasks[task].chain].nodes[0], suspect.hash);
    if (row == NULL)
        return error_append(err, "; more than %d different records make the job fail", POISON_ROWS_MAX);
    row->failures++;
    if (row->failures < job->options->poison_attempts)
        return WEIR_OK;
    row->diverted = job->options->on_poison == OPTION_POISON_DEAD_LETTER;
    return report(c, task, row, &suspect, err);
}
