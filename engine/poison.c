/* poison.c - records that killed their task too often are known by operator and content, and passed by. */
#include "base/bytes.h"
#include "base/clock.h"
#include "engine/task.h"
#include "state/key.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

uint64_t poison_hash(const void *data, size_t size_bytes) { return XXH3_64bits(data, size_bytes); }

bool poison_is_diverted(const struct job *job, unsigned node, const struct weir_record *record)
{
    const struct job_shared *shared = job->shared;
    uint32_t count = atomic_load_explicit(&shared->poison_row_count, memory_order_acquire);
    if (count == 0)
        return false;
    uint64_t hash = poison_hash(record->data, record->size_bytes);
    for (uint32_t i = 0; i < count && i < POISON_ROWS_MAX; i++) {
        const struct poison_row *row = &shared->poison_rows[i];
        if (row->hash == hash && row->node == node && row->diverted != 0)
            return true;
    }
    return false;
}

bool poison_is_suspected(const struct task *task)
{
    return atomic_load_explicit(&task->job->shared->poison_row_count, memory_order_relaxed) > 0 ||
           atomic_load_explicit(&task->shared->careful, memory_order_relaxed) != 0;
}

void poison_note_emitted(struct task *task, const struct weir_record *record)
{
    struct in_progress *note = &task->shared->in_progress;
    poison_forget(task);
    atomic_signal_fence(memory_order_seq_cst);
    note->hash = poison_hash(record->data, record->size_bytes);
    note->size_bytes = record->size_bytes;
    if (record->size_bytes > 0)
        memcpy(note->bytes, record->data, u64_min(record->size_bytes, sizeof note->bytes));
    atomic_store_explicit(&note->pos, task->records_in + task->source_emitted, memory_order_relaxed);
    atomic_store_explicit(&note->count, 1, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&note->ring, IN_PROGRESS_SOURCE, memory_order_relaxed);
}

int poison_check_file(const struct job_options *options, struct weir_error *err)
{
    if (options->on_poison != OPTION_POISON_DEAD_LETTER)
        return WEIR_OK;
    struct stat status;
    bool is_new = stat(options->dead_letter, &status) != 0;
    if (!is_new && S_ISFIFO(status.st_mode)) /* to open it would wait for a reader */
        return error_set(err, WEIR_EINVAL, "dead-letter file '%s' (--dead-letter): it is a FIFO: give a file", options->dead_letter);
    int fd = open(options->dead_letter, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set_errno(err, errno, "dead-letter file '%s' (--dead-letter): open", options->dead_letter);
    close(fd);
    if (is_new && unlink(options->dead_letter) != 0) /* it is made when there is something to write */
        return error_set_errno(err, errno, "dead-letter file '%s': unlink", options->dead_letter);
    return WEIR_OK;
}

static char *hex_of(const void *data, size_t size_bytes)
{
    char *text = malloc(2 * size_bytes + 1);
    for (size_t i = 0; text != NULL && i < size_bytes; i++)
        snprintf(text + 2 * i, 3, "%02x", ((const unsigned char *)data)[i]);
    return text;
}

static int open_dead_letters(struct task *task)
{
    if (task->dead_letter_fd >= 0)
        return WEIR_OK;
    const char *path = task->job->options->dead_letter;
    task->dead_letter_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (task->dead_letter_fd < 0)
        return error_set_errno(&task->ops[0].error, errno, "dead-letter file '%s': open", path);
    return WEIR_OK;
}

/* One JSON line a record, at least once: a record that is diverted, and processed again after a recovery, is there twice. */
int poison_divert(struct task *task, const struct weir_record *record)
{
    struct weir_ctx *head = &task->ops[0];
    int code = open_dead_letters(task);
    if (code != WEIR_OK)
        return code;
    char *hex = hex_of(record->data, record->size_bytes);
    json_t *line = json_pack("{s:s, s:I, s:s, s:s, s:i, s:i, s:s}", "time_ms", "", "generation",
                             (json_int_t)atomic_load(&task->job->shared->generation), "task", task->plan->name, "operator", head->node->name, "input",
                             (int)record->input, "size_bytes", (int)record->size_bytes, "bytes_hex", hex != NULL ? hex : "");
    free(hex);
    if (line == NULL)
        return error_set(&head->error, WEIR_ENOMEM, "dead-letter file: no memory for a record of %u bytes", record->size_bytes);
    json_object_set_new(line, "time_ms", json_integer((json_int_t)clock_wall_ms()));
    char *text = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    if (text == NULL)
        return error_set(&head->error, WEIR_ENOMEM, "dead-letter file: no memory for a record of %u bytes", record->size_bytes);
    size_t size_bytes = strlen(text);
    text[size_bytes] = '\n'; /* in place of the ending zero: one write for the whole line */
    ssize_t written = write(task->dead_letter_fd, text, size_bytes + 1);
    free(text);
    if (written != (ssize_t)(size_bytes + 1))
        return error_set_errno(&head->error, written < 0 ? errno : ENOSPC, "dead-letter file '%s': write of %zu bytes",
                               task->job->options->dead_letter, size_bytes + 1);
    counter_add(&task->shared->counters.poison_diverted, 1);
    return WEIR_OK;
}
