#include "snapshot/manifest.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <stdio.h>

#define ADVICE_DECLARATION ": restore the declaration, or start without the checkpoint"

static const char *const kind_names[] = {[WEIR_VALUE] = "value", [WEIR_LIST] = "list", [WEIR_MAP] = "map"};
static const char *const scope_names[] = {[WEIR_PER_KEY] = "per key", [WEIR_PER_OPERATOR] = "per operator"};
static const char *const operator_kind_names[] = {
    [MANIFEST_SOURCE] = "source", [MANIFEST_OPERATOR] = "operator", [MANIFEST_SINK] = "sink"};

static const char *name_in(const char *const *names, size_t count, uint32_t value)
{
    return value < count && names[value] != NULL ? names[value] : "?";
}

static const struct manifest_operator *find_operator(const struct manifest *m, const char *name)
{
    for (uint32_t i = 0; i < m->operator_count; i++)
        if (strcmp(m->operators[i].name, name) == 0)
            return &m->operators[i];
    return NULL;
}

static const struct manifest_state *find_state(const struct manifest_operator *op, const char *name)
{
    for (uint32_t i = 0; i < op->state_count; i++)
        if (strcmp(op->states[i].name, name) == 0)
            return &op->states[i];
    return NULL;
}

static void size_text(const struct manifest_state *state, char text[32])
{
    if (state->size_bytes > 0)
        snprintf(text, 32, "%" PRIu32 " bytes", state->size_bytes);
    else
        snprintf(text, 32, "a varying size");
}

static int check_state(const char *op, const struct manifest_state *found, const struct manifest_state *expected,
                       struct weir_error *err)
{
    if (found->kind != expected->kind)
        return error_set(
            err, WEIR_EMISMATCH,
            "state '%s' of operator '%s' was a %s in the checkpoint, the job declares a %s" ADVICE_DECLARATION,
            found->name, op, name_in(kind_names, COUNT_OF(kind_names), found->kind),
            name_in(kind_names, COUNT_OF(kind_names), expected->kind));
    if (found->scope != expected->scope)
        return error_set(
            err, WEIR_EMISMATCH,
            "state '%s' of operator '%s' was %s in the checkpoint, the job declares it %s" ADVICE_DECLARATION,
            found->name, op, name_in(scope_names, COUNT_OF(scope_names), found->scope),
            name_in(scope_names, COUNT_OF(scope_names), expected->scope));
    if (found->size_bytes != expected->size_bytes) {
        char had[32];
        char declares[32];
        size_text(found, had);
        size_text(expected, declares);
        return error_set(err, WEIR_EMISMATCH,
                         "state '%s' of operator '%s' had %s in the checkpoint, the job declares %s" ADVICE_DECLARATION,
                         found->name, op, had, declares);
    }
    if (found->version != expected->version)
        return error_set(err, WEIR_EMISMATCH,
                         "state '%s' of operator '%s' had version %" PRIu32
                         " in the checkpoint, the job declares version %" PRIu32 ADVICE_DECLARATION,
                         found->name, op, found->version, expected->version);
    return WEIR_OK;
}

static int check_states(const struct manifest_operator *found, const struct manifest_operator *expected,
                        struct weir_error *err)
{
    for (uint32_t i = 0; i < found->state_count; i++) {
        const struct manifest_state *state = find_state(expected, found->states[i].name);
        if (state == NULL)
            return error_set(
                err, WEIR_EMISMATCH,
                "state '%s' of operator '%s' is in the checkpoint, the job does not declare it" ADVICE_DECLARATION,
                found->states[i].name, found->name);
        int code = check_state(found->name, &found->states[i], state, err);
        if (code != WEIR_OK)
            return code;
        if (state - expected->states != i)
            return error_set(err, WEIR_EMISMATCH,
                             "state '%s' of operator '%s' was number %" PRIu32
                             " in the checkpoint, the job declares it as number %d" ADVICE_DECLARATION,
                             state->name, found->name, i, (int)(state - expected->states));
    }
    for (uint32_t i = 0; i < expected->state_count; i++)
        if (find_state(found, expected->states[i].name) == NULL)
            return error_set(err, WEIR_EMISMATCH,
                             "state '%s' of operator '%s' is declared by the job, the checkpoint does not have "
                             "it" ADVICE_DECLARATION,
                             expected->states[i].name, expected->name);
    return WEIR_OK;
}

static int check_keys(const struct manifest_operator *found, const struct manifest_operator *expected,
                      struct weir_error *err)
{
    if (found->keyed != expected->keyed)
        return error_set(err, WEIR_EMISMATCH,
                         "operator '%s' was %s in the checkpoint, the job makes it %s" ADVICE_DECLARATION, found->name,
                         found->keyed ? "keyed" : "not keyed", expected->keyed ? "keyed" : "not keyed");
    if (found->key_bytes != expected->key_bytes)
        return error_set(err, WEIR_EMISMATCH,
                         "the keys of operator '%s' had %" PRIu32
                         " bytes in the checkpoint, in the job they have %" PRIu32 " (0: varying)" ADVICE_DECLARATION,
                         found->name, found->key_bytes, expected->key_bytes);
    return WEIR_OK;
}

static int check_operator(const struct manifest_operator *found, const struct manifest_operator *expected,
                          struct weir_error *err)
{
    if (found->kind != expected->kind)
        return error_set(err, WEIR_EMISMATCH,
                         "'%s' was of kind %s in the checkpoint, in the job it is of kind %s" ADVICE_DECLARATION,
                         found->name, name_in(operator_kind_names, COUNT_OF(operator_kind_names), found->kind),
                         name_in(operator_kind_names, COUNT_OF(operator_kind_names), expected->kind));
    if (found->parallelism != expected->parallelism)
        return error_set(err, WEIR_EMISMATCH,
                         "operator '%s' had parallelism %" PRIu32 " in the checkpoint, the job declares %" PRIu32
                         ": a checkpoint can only be restored with the same parallelism: use %" PRIu32 " again",
                         found->name, found->parallelism, expected->parallelism, found->parallelism);
    int code = check_keys(found, expected, err);
    return code == WEIR_OK ? check_states(found, expected, err) : code;
}

static int check_operators(const struct manifest *found, const struct manifest *expected, struct weir_error *err)
{
    for (uint32_t i = 0; i < found->operator_count; i++) {
        const struct manifest_operator *op = find_operator(expected, found->operators[i].name);
        if (op == NULL)
            return error_set(err, WEIR_EMISMATCH,
                             "operator '%s' is in the checkpoint, the job does not have it: give it its old name back, "
                             "or start without the checkpoint",
                             found->operators[i].name);
        int code = check_operator(&found->operators[i], op, err);
        if (code != WEIR_OK)
            return code;
    }
    for (uint32_t i = 0; i < expected->operator_count; i++)
        if (find_operator(found, expected->operators[i].name) == NULL)
            return error_set(err, WEIR_EMISMATCH,
                             "operator '%s' is in the job, the checkpoint does not have it: take it out, or start "
                             "without the checkpoint",
                             expected->operators[i].name);
    return WEIR_OK;
}

/* "a, b, c" */
static void chain_text(const struct manifest *m, const struct manifest_task *task, char *text, size_t capacity)
{
    size_t used = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < task->operator_count && used < capacity; i++) {
        int more =
            snprintf(text + used, capacity - used, "%s%s", i > 0 ? ", " : "", m->operators[task->operators[i]].name);
        used += more > 0 ? (size_t)more : 0;
    }
}

static bool same_chain(const struct manifest *a, const struct manifest_task *a_task, const struct manifest *b,
                       const struct manifest_task *b_task)
{
    if (a_task->operator_count != b_task->operator_count)
        return false;
    for (uint32_t i = 0; i < a_task->operator_count; i++)
        if (strcmp(a->operators[a_task->operators[i]].name, b->operators[b_task->operators[i]].name) != 0)
            return false;
    return true;
}

static int check_task(const struct manifest *found, const struct manifest_task *found_task,
                      const struct manifest *expected, const struct manifest_task *expected_task,
                      struct weir_error *err)
{
    if (!same_chain(found, found_task, expected, expected_task)) {
        char had[256];
        char has[256];
        chain_text(found, found_task, had, sizeof had);
        chain_text(expected, expected_task, has, sizeof has);
        return error_set(err, WEIR_EMISMATCH,
                         "task %s/%" PRIu32 " ran [%s] in the checkpoint, in the job it runs [%s]: chain the operators "
                         "as before (--no-chain must be as it was)",
                         found_task->name, found_task->subtask, had, has);
    }
    if (found_task->key_group_first != expected_task->key_group_first ||
        found_task->key_group_count != expected_task->key_group_count)
        return error_set(err, WEIR_EMISMATCH,
                         "task %s/%" PRIu32 " had key groups from %" PRIu32 ", %" PRIu32
                         " of them, in the checkpoint, in the job from %" PRIu32 ", %" PRIu32,
                         found_task->name, found_task->subtask, found_task->key_group_first,
                         found_task->key_group_count, expected_task->key_group_first, expected_task->key_group_count);
    return WEIR_OK;
}

static int check_tasks(const struct manifest *found, const struct manifest *expected, struct weir_error *err)
{
    for (uint32_t i = 0; i < found->task_count; i++) {
        const struct manifest_task *task = &found->tasks[i];
        const struct manifest_task *same = manifest_find_task(expected, task->name, task->subtask);
        if (same == NULL)
            return error_set(err, WEIR_EMISMATCH,
                             "task %s/%" PRIu32 " is in the checkpoint, the job does not have it: chain the operators "
                             "as before (--no-chain must be as it was)",
                             task->name, task->subtask);
        int code = check_task(found, task, expected, same, err);
        if (code != WEIR_OK)
            return code;
    }
    for (uint32_t i = 0; i < expected->task_count; i++)
        if (manifest_find_task(found, expected->tasks[i].name, expected->tasks[i].subtask) == NULL)
            return error_set(err, WEIR_EMISMATCH,
                             "task %s/%" PRIu32 " is in the job, the checkpoint does not have it: chain the operators "
                             "as before (--no-chain must be as it was)",
                             expected->tasks[i].name, expected->tasks[i].subtask);
    return WEIR_OK;
}

static bool job_id_differs(const struct manifest *found, const struct manifest *expected)
{
    uint8_t none[sizeof expected->job_id] = {0};
    return memcmp(expected->job_id, none, sizeof none) != 0 &&
           memcmp(expected->job_id, found->job_id, sizeof none) != 0;
}

int manifest_check_compatible(const struct manifest *found, const struct manifest *expected, struct weir_error *err)
{
    int code = WEIR_OK;
    if (strcmp(found->job_name, expected->job_name) != 0)
        code = error_set(err, WEIR_EMISMATCH,
                         "the directory belongs to job '%s', this is job '%s': use another checkpoint directory",
                         found->job_name, expected->job_name);
    else if (job_id_differs(found, expected))
        code = error_set(err, WEIR_EMISMATCH,
                         "the checkpoint was taken by another job of the name '%s': use another checkpoint directory",
                         found->job_name);
    else if (found->key_group_count != expected->key_group_count)
        code = error_set(err, WEIR_EMISMATCH,
                         "the checkpoint has %" PRIu32 " key groups, the job %" PRIu32 ": use %" PRIu32 " again",
                         found->key_group_count, expected->key_group_count, found->key_group_count);
    else
        code = check_operators(found, expected, err);
    if (code == WEIR_OK)
        code = check_tasks(found, expected, err);
    if (code != WEIR_OK)
        error_context(err, "checkpoint %" PRIu64, found->checkpoint_id);
    return code;
}
