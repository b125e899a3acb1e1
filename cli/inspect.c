#include "cli/inspect.h"

#include "cli/cli.h"
#include "cli/table.h"
#include "engine/event_log.h"
#include "engine/option_value.h"

#include <stdio.h>

#define TEXT_BYTES 64
#define SHOWN_BYTES_MAX 24 /* of a position, in text */

static const char *operator_kind_name(uint32_t kind)
{
    return kind == MANIFEST_SOURCE ? "source" : kind == MANIFEST_SINK ? "sink" : "operator";
}

static const char *state_kind_name(uint32_t kind)
{
    return kind == WEIR_VALUE ? "value" : kind == WEIR_LIST ? "list" : kind == WEIR_MAP ? "map" : "?";
}

static const char *scope_name(uint32_t scope) { return scope == WEIR_PER_KEY ? "per key" : "per operator"; }

static const char *guarantee_name(uint32_t guarantee)
{
    return guarantee == MANIFEST_EXACTLY_ONCE ? "exactly-once" : guarantee == MANIFEST_AT_LEAST_ONCE ? "at-least-once" : "none";
}

static const char *format_hex(const uint8_t *bytes, size_t count, char *text)
{
    text[0] = 0;
    for (size_t i = 0; i < count; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return text;
}

static const char *format_checksum(uint64_t checksum, char text[TEXT_BYTES])
{
    snprintf(text, TEXT_BYTES, "%016llx", (unsigned long long)checksum);
    return text;
}

/* ------------------------------------------------------------------------------------------------ text ----------- */

static void print_head(const struct manifest *m)
{
    char id[2 * sizeof m->job_id + 1], created[EVENT_TIME_BYTES], duration[TEXT_BYTES], bytes[TEXT_BYTES];
    printf("%-12s %llu (%s)\n", "checkpoint", (unsigned long long)m->checkpoint_id,
           m->kind == MANIFEST_SAVEPOINT ? "savepoint" : "checkpoint");
    printf("%-12s %s (id %s)\n", "job", m->job_name, format_hex(m->job_id, sizeof m->job_id, id));
    printf("%-12s %s, took %s\n", "created", event_time_format(m->created_ms, created, sizeof created),
           human_duration(m->duration_ns, duration, sizeof duration));
    printf("%-12s %s\n", "guarantee", guarantee_name(m->guarantee));
    printf("%-12s %llu\n", "generation", (unsigned long long)m->generation);
    printf("%-12s %u\n", "key groups", m->key_group_count);
    printf("%-12s %s\n", "size", human_bytes(m->total_bytes, bytes, sizeof bytes));
}

static void print_operators(const struct manifest *m)
{
    static const char *const headers[] = {"OPERATOR", "TYPE", "KIND", ">INSTANCES", "KEYED"};
    struct table table;
    table_begin(&table, headers, 5);
    for (uint32_t i = 0; i < m->operator_count; i++) {
        const struct manifest_operator *op = &m->operators[i];
        table_cell(&table, "%s", op->name);
        table_cell(&table, "%s", op->type);
        table_cell(&table, "%s", operator_kind_name(op->kind));
        table_cell(&table, "%u", op->parallelism);
        table_cell(&table, "%s", op->keyed ? "yes" : "no");
    }
    putchar('\n');
    table_end(&table);
}

static void print_states(const struct manifest *m)
{
    static const char *const headers[] = {"STATE", "OF", "KIND", "SCOPE", ">BYTES", ">VERSION"};
    struct table table;
    table_begin(&table, headers, 6);
    for (uint32_t i = 0; i < m->operator_count; i++)
        for (uint32_t j = 0; j < m->operators[i].state_count; j++) {
            const struct manifest_state *state = &m->operators[i].states[j];
            table_cell(&table, "%s", state->name);
            table_cell(&table, "%s", m->operators[i].name);
            table_cell(&table, "%s", state_kind_name(state->kind));
            table_cell(&table, "%s", scope_name(state->scope));
            if (state->size_bytes != 0)
                table_cell(&table, "%u", state->size_bytes);
            else
                table_cell(&table, "varying");
            table_cell(&table, "%u", state->version);
        }
    if (table.cell_count > 0)
        putchar('\n');
    table_end(&table);
}

static void add_position(struct table *table, const struct manifest_task *task)
{
    char text[2 * SHOWN_BYTES_MAX + 1];
    if (task->position_count == 0) {
        table_cell(table, "-");
        return;
    }
    const struct manifest_position *position = &task->positions[0];
    size_t shown = position->size_bytes < SHOWN_BYTES_MAX ? position->size_bytes : SHOWN_BYTES_MAX;
    table_cell(table, "%s%s", format_hex(position->bytes, shown, text), shown < position->size_bytes ? "..." : "");
}

static void print_tasks(const struct manifest *m)
{
    static const char *const headers[] = {"TASK", "KEY GROUPS", ">IN", ">OUT", ">TO COMMIT", "INPUT", "POSITION"};
    struct table table;
    char number[TEXT_BYTES];
    table_begin(&table, headers, 7);
    for (uint32_t i = 0; i < m->task_count; i++) {
        const struct manifest_task *task = &m->tasks[i];
        table_cell(&table, "%s/%u", task->name, task->subtask);
        if (task->key_group_count == 0)
            table_cell(&table, "-");
        else
            table_cell(&table, "%u-%u", task->key_group_first, task->key_group_first + task->key_group_count - 1);
        table_cell(&table, "%s", human_count((double)task->records_in, number, sizeof number));
        table_cell(&table, "%s", human_count((double)task->records_out, number, sizeof number));
        table_cell(&table, "%u", task->committable_count);
        table_cell(&table, "%s", task->finished ? "ended" : "open");
        add_position(&table, task);
    }
    putchar('\n');
    table_end(&table);
}

static void print_files(const struct manifest *m)
{
    static const char *const headers[] = {"FILE", "TASK", ">SIZE", ">BLOCKS", "CHECKSUM"};
    struct table table;
    char text[TEXT_BYTES];
    table_begin(&table, headers, 5);
    for (uint32_t i = 0; i < m->task_count; i++)
        for (uint32_t j = 0; j < m->tasks[i].file_count; j++) {
            const struct snapshot_file *file = &m->tasks[i].files[j];
            table_cell(&table, "snapshots/%s", file->name);
            table_cell(&table, "%s/%u", m->tasks[i].name, m->tasks[i].subtask);
            table_cell(&table, "%s", human_bytes(file->size_bytes, text, sizeof text));
            table_cell(&table, "%llu", (unsigned long long)file->block_count);
            table_cell(&table, "%s", format_checksum(file->checksum, text));
        }
    if (table.cell_count > 0)
        putchar('\n');
    table_end(&table);
}

void inspect_print_text(const struct manifest *manifest, bool verified, const struct weir_error *damage)
{
    print_head(manifest);
    print_operators(manifest);
    print_states(manifest);
    print_tasks(manifest);
    print_files(manifest);
    if (verified && damage->code == WEIR_OK)
        printf("\nVerified: every byte is as it was written.\n");
    else if (verified)
        printf("\n%s: %s\n", damage->code == WEIR_EVERSION ? "Of a newer version" : "Damaged", damage->text);
}

/* ------------------------------------------------------------------------------------------------ JSON ----------- */

static json_t *describe_operator(const struct manifest_operator *op)
{
    json_t *states = json_array();
    for (uint32_t i = 0; i < op->state_count; i++) {
        const struct manifest_state *state = &op->states[i];
        json_array_append_new(states, json_pack("{s:s, s:s, s:s, s:I, s:I}", "name", state->name, "kind", state_kind_name(state->kind), "scope",
                                                scope_name(state->scope), "size_bytes", (json_int_t)state->size_bytes, "version",
                                                (json_int_t)state->version));
    }
    return json_pack("{s:s, s:s, s:s, s:I, s:b, s:o}", "name", op->name, "type", op->type, "kind", operator_kind_name(op->kind),
                     "parallelism", (json_int_t)op->parallelism, "keyed", (int)op->keyed, "states", states);
}

static json_t *describe_files(const struct manifest_task *task)
{
    char checksum[TEXT_BYTES];
    json_t *files = json_array();
    for (uint32_t i = 0; i < task->file_count; i++) {
        const struct snapshot_file *file = &task->files[i];
        json_array_append_new(files, json_pack("{s:s, s:I, s:s, s:I, s:I, s:I}", "name", file->name, "size_bytes",
                                               (json_int_t)file->size_bytes, "checksum", format_checksum(file->checksum, checksum),
                                               "block_bytes", (json_int_t)file->block_bytes, "block_count",
                                               (json_int_t)file->block_count, "checkpoint", (json_int_t)file->checkpoint_id));
    }
    return files;
}

static json_t *describe_task(const struct manifest *m, const struct manifest_task *task)
{
    char hex[2 * WEIR_POSITION_BYTES_MAX + 1];
    json_t *operators = json_array(), *positions = json_array();
    for (uint32_t i = 0; i < task->operator_count; i++)
        json_array_append_new(operators, json_string(m->operators[task->operators[i]].name));
    for (uint32_t i = 0; i < task->position_count; i++)
        json_array_append_new(positions, json_pack("{s:s, s:s}", "operator", m->operators[task->positions[i].operator_index].name, "bytes",
                                                   format_hex(task->positions[i].bytes, task->positions[i].size_bytes, hex)));
    return json_pack("{s:s, s:I, s:o, s:I, s:I, s:I, s:I, s:b, s:I, s:o, s:o}", "name", task->name, "subtask", (json_int_t)task->subtask,
                     "operators", operators, "key_group_first", (json_int_t)task->key_group_first, "key_group_count",
                     (json_int_t)task->key_group_count, "records_in", (json_int_t)task->records_in, "records_out",
                     (json_int_t)task->records_out, "finished", (int)task->finished, "committables",
                     (json_int_t)task->committable_count, "positions", positions, "files", describe_files(task));
}

void inspect_print_json(const struct manifest *m, bool verified, const struct weir_error *damage)
{
    char id[2 * sizeof m->job_id + 1], created[EVENT_TIME_BYTES];
    json_t *operators = json_array(), *tasks = json_array();
    for (uint32_t i = 0; i < m->operator_count; i++)
        json_array_append_new(operators, describe_operator(&m->operators[i]));
    for (uint32_t i = 0; i < m->task_count; i++)
        json_array_append_new(tasks, describe_task(m, &m->tasks[i]));
    json_t *all = json_pack("{s:I, s:s, s:s, s:s, s:s, s:f, s:s, s:I, s:I, s:I, s:o, s:o}", "checkpoint", (json_int_t)m->checkpoint_id, "kind",
                            m->kind == MANIFEST_SAVEPOINT ? "savepoint" : "checkpoint", "job", m->job_name, "job_id",
                            format_hex(m->job_id, sizeof m->job_id, id), "created",
                            event_time_format(m->created_ms, created, sizeof created), "duration_ms", (double)m->duration_ns / 1e6,
                            "guarantee", guarantee_name(m->guarantee), "generation", (json_int_t)m->generation, "key_groups",
                            (json_int_t)m->key_group_count, "bytes", (json_int_t)m->total_bytes, "operators", operators, "tasks", tasks);
    if (all != NULL && verified) {
        json_object_set_new(all, "verified", json_boolean(damage->code == WEIR_OK));
        if (damage->code != WEIR_OK)
            json_object_set_new(all, "damage", json_string(damage->text));
    }
    print_json(all);
    json_decref(all);
}
