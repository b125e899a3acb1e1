#include "snapshot/manifest.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <stdio.h>

/* Of a message of WEIR_ERROR_BYTES; the rest is for what stands around it, and what to do. */
#define DIFFERENCES_BYTES 560

/* What to do about a difference; said once for all that it is the answer to. */
#define ADVICE_TABLE(X)                                                                                                \
    X(ADVICE_DECLARATION, "restore the declaration, or start without the checkpoint")                                  \
    X(ADVICE_PARALLELISM, "a checkpoint can only be restored with the same parallelism: use it again")                 \
    X(ADVICE_NAME, "give it its old name back, or start without the checkpoint")                                       \
    X(ADVICE_TAKE_OUT, "take it out, or start without the checkpoint")

enum advice {
#define ADVICE_ENUM(id, text) id,
    ADVICE_TABLE(ADVICE_ENUM)
#undef ADVICE_ENUM
    ADVICE_COUNT
};

static const char *const advice_texts[] = {
#define ADVICE_TEXT(id, text) text,
    ADVICE_TABLE(ADVICE_TEXT)
#undef ADVICE_TEXT
};

/* All differences of the operators: as many in words as there is room for. */
struct differences {
    char text[DIFFERENCES_BYTES];
    size_t used;
    unsigned count;
    unsigned left_out;
    bool advised[ADVICE_COUNT];
};

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

static void differ(struct differences *d, enum advice advice, const char *format, ...) WEIR_PRINTF(3, 4);
static void differ(struct differences *d, enum advice advice, const char *format, ...)
{
    char text[DIFFERENCES_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *separator = d->count > 0 ? "; " : "";
    d->count++;
    d->advised[advice] = true;
    if (d->left_out > 0 || d->used + strlen(separator) + strlen(text) >= sizeof d->text) {
        d->left_out++;
        return;
    }
    d->used += (size_t)snprintf(d->text + d->used, sizeof d->text - d->used, "%s%s", separator, text);
}

static int refuse_differences(const struct differences *d, struct weir_error *err)
{
    if (d->count == 0)
        return WEIR_OK;
    error_set(err, WEIR_EMISMATCH, "%s", d->text);
    if (d->left_out > 0)
        error_append(err, "; and %u more differences", d->left_out);
    const char *separator = ": ";
    for (unsigned i = 0; i < ADVICE_COUNT; i++)
        if (d->advised[i]) {
            error_append(err, "%s%s", separator, advice_texts[i]);
            separator = "; ";
        }
    return WEIR_EMISMATCH;
}

static void check_size(const char *op, const struct manifest_state *found, const struct manifest_state *expected, struct differences *d)
{
    char had[32];
    char declares[32];
    if (found->size_bytes == expected->size_bytes || found->kind != expected->kind) /* another kind has another size */
        return;
    size_text(found, had);
    size_text(expected, declares);
    differ(d, ADVICE_DECLARATION, "state '%s' of operator '%s' had %s in the checkpoint, the job declares %s", found->name, op, had, declares);
}

static void check_state(const char *op, const struct manifest_state *found, const struct manifest_state *expected, struct differences *d)
{
    if (found->kind != expected->kind)
        differ(d, ADVICE_DECLARATION, "state '%s' of operator '%s' was a %s in the checkpoint, the job declares a %s", found->name, op,
               name_in(kind_names, COUNT_OF(kind_names), found->kind), name_in(kind_names, COUNT_OF(kind_names), expected->kind));
    if (found->scope != expected->scope)
        differ(d, ADVICE_DECLARATION, "state '%s' of operator '%s' was %s in the checkpoint, the job declares it %s", found->name, op,
               name_in(scope_names, COUNT_OF(scope_names), found->scope), name_in(scope_names, COUNT_OF(scope_names), expected->scope));
    check_size(op, found, expected, d);
    if (found->version != expected->version)
        differ(d, ADVICE_DECLARATION,
               "state '%s' of operator '%s' had version %" PRIu32 " in the checkpoint, the job declares version %" PRIu32, found->name, op,
               found->version, expected->version);
}

/* Where the two have the same states: a state is known by its number as well. */
static void check_order(const struct manifest_operator *found, const struct manifest_operator *expected, struct differences *d)
{
    for (uint32_t i = 0; i < found->state_count; i++) {
        const struct manifest_state *state = find_state(expected, found->states[i].name);
        if (state - expected->states != i)
            differ(d, ADVICE_DECLARATION,
                   "state '%s' of operator '%s' was number %" PRIu32 " in the checkpoint, the job declares it as number %d", state->name,
                   found->name, i, (int)(state - expected->states));
    }
}

static void check_states(const struct manifest_operator *found, const struct manifest_operator *expected, struct differences *d)
{
    bool same_names = true;
    for (uint32_t i = 0; i < found->state_count; i++) {
        const struct manifest_state *state = find_state(expected, found->states[i].name);
        if (state != NULL) {
            check_state(found->name, &found->states[i], state, d);
            continue;
        }
        same_names = false;
        differ(d, ADVICE_DECLARATION, "state '%s' of operator '%s' is in the checkpoint, the job does not declare it", found->states[i].name,
               found->name);
    }
    for (uint32_t i = 0; i < expected->state_count; i++)
        if (find_state(found, expected->states[i].name) == NULL) {
            same_names = false;
            differ(d, ADVICE_DECLARATION, "state '%s' of operator '%s' is declared by the job, the checkpoint does not have it",
                   expected->states[i].name, expected->name);
        }
    if (same_names)
        check_order(found, expected, d);
}

static void check_keys(const struct manifest_operator *found, const struct manifest_operator *expected, struct differences *d)
{
    if (found->keyed != expected->keyed)
        differ(d, ADVICE_DECLARATION, "operator '%s' was %s in the checkpoint, the job makes it %s", found->name,
               found->keyed ? "keyed" : "not keyed", expected->keyed ? "keyed" : "not keyed");
    else if (found->key_bytes != expected->key_bytes)
        differ(d, ADVICE_DECLARATION,
               "the keys of operator '%s' had %" PRIu32 " bytes in the checkpoint, in the job they have %" PRIu32 " (0: varying)",
               found->name, found->key_bytes, expected->key_bytes);
}

static void check_operator(const struct manifest_operator *found, const struct manifest_operator *expected, struct differences *d)
{
    if (found->kind != expected->kind) {
        differ(d, ADVICE_DECLARATION, "'%s' was of kind %s in the checkpoint, in the job it is of kind %s", found->name,
               name_in(operator_kind_names, COUNT_OF(operator_kind_names), found->kind),
               name_in(operator_kind_names, COUNT_OF(operator_kind_names), expected->kind));
        return;
    }
    if (found->parallelism != expected->parallelism)
        differ(d, ADVICE_PARALLELISM, "operator '%s' had parallelism %" PRIu32 " in the checkpoint, the job declares %" PRIu32, found->name,
               found->parallelism, expected->parallelism);
    check_keys(found, expected, d);
    check_states(found, expected, d);
}

static int check_operators(const struct manifest *found, const struct manifest *expected, struct weir_error *err)
{
    struct differences d = {0};
    for (uint32_t i = 0; i < found->operator_count; i++) {
        const struct manifest_operator *op = find_operator(expected, found->operators[i].name);
        if (op != NULL)
            check_operator(&found->operators[i], op, &d);
        else
            differ(&d, ADVICE_NAME, "operator '%s' is in the checkpoint, the job does not have it", found->operators[i].name);
    }
    for (uint32_t i = 0; i < expected->operator_count; i++)
        if (find_operator(found, expected->operators[i].name) == NULL)
            differ(&d, ADVICE_TAKE_OUT, "operator '%s' is in the job, the checkpoint does not have it", expected->operators[i].name);
    return refuse_differences(&d, err);
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
                         "as before (--no-chain and --chain-keyed must be as they were)",
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
                             "as before (--no-chain and --chain-keyed must be as they were)",
                             task->name, task->subtask);
        int code = check_task(found, task, expected, same, err);
        if (code != WEIR_OK)
            return code;
    }
    for (uint32_t i = 0; i < expected->task_count; i++)
        if (manifest_find_task(found, expected->tasks[i].name, expected->tasks[i].subtask) == NULL)
            return error_set(err, WEIR_EMISMATCH,
                             "task %s/%" PRIu32 " is in the job, the checkpoint does not have it: chain the operators "
                             "as before (--no-chain and --chain-keyed must be as they were)",
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
