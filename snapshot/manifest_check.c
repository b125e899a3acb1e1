#include "snapshot/manifest_check.h"

#include "snapshot/file_format.h"

#include <inttypes.h>
#include <string.h>

static bool text_is_printable(const char *text)
{
    for (; *text != 0; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    return true;
}

static int check_states(const struct manifest_operator *op, int code, struct weir_error *err)
{
    if (op->state_count > WEIR_STATES_MAX)
        return error_set(err, code, "operator '%s': %" PRIu32 " states, at most %d", op->name, op->state_count,
                         WEIR_STATES_MAX);
    for (uint32_t i = 0; i < op->state_count; i++) {
        const struct manifest_state *state = &op->states[i];
        if (!name_is_valid(state->name))
            return error_set(err, code, "operator '%s': state %" PRIu32 " has no valid name", op->name, i);
        if (state->kind > WEIR_MAP || state->scope > WEIR_PER_OPERATOR || state->size_bytes > WEIR_VALUE_BYTES_MAX)
            return error_set(err, code, "operator '%s': state '%s' has a kind, scope or size that does not exist",
                             op->name, state->name);
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(op->states[j].name, state->name) == 0)
                return error_set(err, code, "operator '%s': two states '%s'", op->name, state->name);
    }
    return WEIR_OK;
}

static int check_operator(const struct manifest *m, uint32_t index, int code, struct weir_error *err)
{
    const struct manifest_operator *op = &m->operators[index];
    if (!name_is_valid(op->name))
        return error_set(err, code, "operator %" PRIu32 " has no valid name", index);
    if (!text_is_printable(op->type))
        return error_set(err, code, "operator '%s': its type has control characters", op->name);
    if (op->kind < MANIFEST_SOURCE || op->kind > MANIFEST_SINK)
        return error_set(err, code, "operator '%s': kind %" PRIu32 " does not exist", op->name, op->kind);
    if (op->parallelism == 0 || op->parallelism > WEIR_PARALLELISM_MAX)
        return error_set(err, code, "operator '%s': parallelism %" PRIu32 ", expected 1 to %d", op->name,
                         op->parallelism, WEIR_PARALLELISM_MAX);
    if (op->key_bytes > WEIR_KEY_BYTES_MAX)
        return error_set(err, code, "operator '%s': keys of %" PRIu32 " bytes, at most %d", op->name, op->key_bytes,
                         WEIR_KEY_BYTES_MAX);
    for (uint32_t i = 0; i < index; i++)
        if (strcmp(m->operators[i].name, op->name) == 0)
            return error_set(err, code, "two operators '%s'", op->name);
    return check_states(op, code, err);
}

static bool task_has_operator(const struct manifest_task *task, uint32_t operator_index)
{
    for (uint32_t i = 0; i < task->operator_count; i++)
        if (task->operators[i] == operator_index)
            return true;
    return false;
}

static int check_file(const struct manifest *m, const struct manifest_task *task, const struct snapshot_file *file,
                      int code, struct weir_error *err)
{
    struct snapshot_name name;
    if (!snapshot_name_parse(file->name, &name) || strcmp(name.task, task->name) != 0 || name.subtask != task->subtask)
        return error_set(err, code, "task %s/%" PRIu32 ": a file whose name is not that of a snapshot of it",
                         task->name, task->subtask);
    if (name.checkpoint_id != file->checkpoint_id || name.generation != file->generation ||
        name.attempt != file->attempt || file->checkpoint_id > m->checkpoint_id)
        return error_set(err, code, "%s: listed for checkpoint %" PRIu64 ", generation %" PRIu64 ", attempt %" PRIu32,
                         file->name, file->checkpoint_id, file->generation, file->attempt);
    if (file->block_bytes < PAGE_BYTES || file->block_bytes > BLOCK_BYTES_MAX ||
        (file->block_bytes & (file->block_bytes - 1)) != 0 || file->block_count > SNAPSHOT_BLOCKS_MAX ||
        file->size_bytes > INT64_MAX || file->size_bytes % PAGE_BYTES != 0)
        return error_set(err, code, "%s: a size or number of blocks that no snapshot has", file->name);
    return WEIR_OK;
}

static int check_positions(const struct manifest *m, const struct manifest_task *task, int code, struct weir_error *err)
{
    if (task->position_count > task->operator_count)
        return error_set(err, code, "task %s/%" PRIu32 ": more positions than operators", task->name, task->subtask);
    for (uint32_t i = 0; i < task->position_count; i++) {
        const struct manifest_position *position = &task->positions[i];
        if (position->size_bytes > WEIR_POSITION_BYTES_MAX || !task_has_operator(task, position->operator_index) ||
            m->operators[position->operator_index].kind != MANIFEST_SOURCE)
            return error_set(err, code, "task %s/%" PRIu32 ": position %" PRIu32 " is too long or of no source in it",
                             task->name, task->subtask, i);
    }
    return WEIR_OK;
}

static int check_committables(const struct manifest *m, const struct manifest_task *task, int code,
                              struct weir_error *err)
{
    if (task->committable_count > task->operator_count * (uint64_t)MANIFEST_COMMITTABLES_MAX)
        return error_set(err, code, "task %s/%" PRIu32 ": %" PRIu32 " committables, at most %u of each sink",
                         task->name, task->subtask, task->committable_count, MANIFEST_COMMITTABLES_MAX);
    for (uint32_t i = 0; i < task->committable_count; i++) {
        const struct manifest_committable *committable = &task->committables[i];
        if (committable->size_bytes > WEIR_COMMITTABLE_BYTES_MAX ||
            !task_has_operator(task, committable->operator_index) ||
            m->operators[committable->operator_index].kind != MANIFEST_SINK ||
            committable->checkpoint_id > m->checkpoint_id)
            return error_set(err, code,
                             "task %s/%" PRIu32 ": committable %" PRIu32
                             " is too long, of no sink in it, or newer than the checkpoint",
                             task->name, task->subtask, i);
    }
    return WEIR_OK;
}

static int check_chain(const struct manifest *m, const struct manifest_task *task, int code, struct weir_error *err)
{
    if (task->operator_count == 0 || task->operator_count > m->operator_count)
        return error_set(err, code, "task %s/%" PRIu32 ": %" PRIu32 " operators of %" PRIu32, task->name, task->subtask,
                         task->operator_count, m->operator_count);
    for (uint32_t i = 0; i < task->operator_count; i++)
        if (task->operators[i] >= m->operator_count)
            return error_set(err, code, "task %s/%" PRIu32 ": operator %" PRIu32 " does not exist", task->name,
                             task->subtask, task->operators[i]);
    return WEIR_OK;
}

static int check_task(const struct manifest *m, const struct manifest_task *task, int code, struct weir_error *err)
{
    if (!name_is_valid(task->name) || task->subtask >= WEIR_PARALLELISM_MAX)
        return error_set(err, code, "a task without a valid name or subtask");
    if (task->key_group_first > m->key_group_count ||
        task->key_group_count > m->key_group_count - task->key_group_first)
        return error_set(err, code, "task %s/%" PRIu32 ": key groups %" PRIu32 " and %" PRIu32 " more, of %" PRIu32,
                         task->name, task->subtask, task->key_group_first, task->key_group_count, m->key_group_count);
    if (task->file_count > MANIFEST_FILES_MAX)
        return error_set(err, code, "task %s/%" PRIu32 ": %" PRIu32 " files, at most %u", task->name, task->subtask,
                         task->file_count, MANIFEST_FILES_MAX);
    int result = check_chain(m, task, code, err);
    for (uint32_t i = 0; result == WEIR_OK && i < task->file_count; i++)
        result = check_file(m, task, &task->files[i], code, err);
    if (result == WEIR_OK)
        result = check_positions(m, task, code, err);
    return result == WEIR_OK ? check_committables(m, task, code, err) : result;
}

static int check_top(const struct manifest *m, int code, struct weir_error *err)
{
    if (!name_is_valid(m->job_name))
        return error_set(err, code, "the job's name is not valid");
    if (m->kind != MANIFEST_CHECKPOINT && m->kind != MANIFEST_SAVEPOINT)
        return error_set(err, code, "kind %" PRIu32 " does not exist", m->kind);
    if (m->guarantee > MANIFEST_EXACTLY_ONCE)
        return error_set(err, code, "guarantee %" PRIu32 " does not exist", m->guarantee);
    if (m->key_group_count == 0 || m->key_group_count > MANIFEST_KEY_GROUPS_MAX)
        return error_set(err, code, "%" PRIu32 " key groups, expected 1 to %u", m->key_group_count,
                         MANIFEST_KEY_GROUPS_MAX);
    if (m->operator_count > MANIFEST_OPERATORS_MAX || m->task_count > MANIFEST_TASKS_MAX)
        return error_set(err, code, "%" PRIu32 " operators and %" PRIu32 " tasks, at most %u and %u", m->operator_count,
                         m->task_count, MANIFEST_OPERATORS_MAX, MANIFEST_TASKS_MAX);
    return WEIR_OK;
}

int manifest_check(const struct manifest *m, int code, struct weir_error *err)
{
    int result = check_top(m, code, err);
    for (uint32_t i = 0; result == WEIR_OK && i < m->operator_count; i++)
        result = check_operator(m, i, code, err);
    for (uint32_t i = 0; result == WEIR_OK && i < m->task_count; i++) {
        result = check_task(m, &m->tasks[i], code, err);
        if (result == WEIR_OK && manifest_find_task(m, m->tasks[i].name, m->tasks[i].subtask) != &m->tasks[i])
            result = error_set(err, code, "two tasks %s/%" PRIu32, m->tasks[i].name, m->tasks[i].subtask);
    }
    return result;
}
