#include "support/snapshot_fixture.h"

static struct weir_error err;

/* Compares the fixture's manifest with one that `change` has changed. */
static void expect_words(struct manifest *expected, const char *words)
{
    struct manifest *found = fixture_manifest(9);
    memset(&err, 0, sizeof err);
    cr_expect_eq(manifest_check_compatible(found, expected, &err), WEIR_EMISMATCH, "expected '%s'", words);
    cr_expect_not_null(strstr(err.text, words), "expected '%s', got '%s'", words, err.text);
    manifest_free(found);
    manifest_free(expected);
}

Test(manifest_compatible, the_same_job_is_compatible_whatever_its_counters)
{
    struct manifest *found = fixture_manifest(9);
    struct manifest *expected = fixture_manifest(0);
    memset(expected->job_id, 0, sizeof expected->job_id);
    expected->generation = 77;
    expected->tasks[0].records_in = 1;
    expected->tasks[0].position_count = 0;
    cr_expect_eq(manifest_check_compatible(found, expected, &err), WEIR_OK, "%s", err.text);
    manifest_free(found);
    manifest_free(expected);
}

Test(manifest_compatible, the_difference_is_said_in_words)
{
    struct manifest *m = fixture_manifest(0);
    strcpy(m->job_name, "other");
    expect_words(m, "belongs to job 'wordcount', this is job 'other'");
    m = fixture_manifest(0);
    m->job_id[3]++;
    expect_words(m, "another job of the name 'wordcount'");
    m = fixture_manifest(0);
    m->key_group_count = 64;
    expect_words(m, "has 128 key groups, the job 64");
    m = fixture_manifest(0);
    strcpy(m->operators[1].name, "tokens");
    expect_words(m, "operator 'words' is in the checkpoint, the job does not have it");
    m = fixture_manifest(0);
    m->operators[1].parallelism = 4;
    expect_words(m, "operator 'words' had parallelism 2 in the checkpoint, the job declares 4");
    m = fixture_manifest(0);
    m->operators[1].keyed = false;
    expect_words(m, "operator 'words' was keyed in the checkpoint, the job makes it not keyed");
    m = fixture_manifest(0);
    m->operators[1].key_bytes = 8;
    expect_words(m, "had 0 bytes in the checkpoint, in the job they have 8");
    m = fixture_manifest(0);
    m->operators[2].kind = MANIFEST_OPERATOR;
    expect_words(m, "'out' was of kind sink in the checkpoint, in the job it is of kind operator");
}

Test(manifest_compatible, a_changed_state_is_said_in_words)
{
    struct manifest *m = fixture_manifest(0);
    m->operators[1].states[0].size_bytes = 16;
    expect_words(m, "state 'count' of operator 'words' had 8 bytes in the checkpoint, the job declares 16 bytes");
    m = fixture_manifest(0);
    m->operators[1].states[0].size_bytes = 0;
    expect_words(m, "had 8 bytes in the checkpoint, the job declares a varying size");
    m = fixture_manifest(0);
    m->operators[1].states[1].kind = WEIR_LIST;
    expect_words(m, "state 'seen' of operator 'words' was a map in the checkpoint, the job declares a list");
    m = fixture_manifest(0);
    m->operators[1].states[1].scope = WEIR_PER_KEY;
    expect_words(m, "was per operator in the checkpoint, the job declares it per key");
    m = fixture_manifest(0);
    m->operators[1].states[1].version = 3;
    expect_words(m, "had version 2 in the checkpoint, the job declares version 3");
    m = fixture_manifest(0);
    m->operators[1].state_count = 1;
    expect_words(m, "state 'seen' of operator 'words' is in the checkpoint, the job does not declare it");
    m = fixture_manifest(0);
    struct manifest_state first = m->operators[1].states[0];
    m->operators[1].states[0] = m->operators[1].states[1];
    m->operators[1].states[1] = first;
    expect_words(m,
                 "state 'count' of operator 'words' was number 0 in the checkpoint, the job declares it as number 1");
    m = fixture_manifest(0);
    struct manifest_state *more = manifest_alloc(m, 3, sizeof *more);
    memcpy(more, m->operators[1].states, 2 * sizeof *more);
    more[2] = (struct manifest_state){.name = "extra", .size_bytes = 8};
    m->operators[1].states = more;
    m->operators[1].state_count = 3;
    expect_words(m, "state 'extra' of operator 'words' is declared by the job, the checkpoint does not have it");
}

Test(manifest_compatible, all_differences_are_said_at_once)
{
    static const char *const words[] = {
        "operator 'lines' is in the checkpoint, the job does not have it; ",
        "operator 'words' had parallelism 2 in the checkpoint, the job declares 4; ",
        "state 'count' of operator 'words' had 8 bytes in the checkpoint, the job declares 16 bytes; ",
        "state 'seen' of operator 'words' was a map in the checkpoint, the job declares a list; ",
        "operator 'rows' is in the job, the checkpoint does not have it: restore the declaration",
        "; a checkpoint can only be restored with the same parallelism",
        "; give it its old name back",
        "; take it out"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        struct manifest *m = fixture_manifest(0);
        strcpy(m->operators[0].name, "rows");
        m->operators[1].parallelism = 4;
        m->operators[1].states[0].size_bytes = 16;
        m->operators[1].states[1].kind = WEIR_LIST;
        expect_words(m, words[i]);
        cr_expect_null(strstr(err.text, "number"), "%s", err.text);
    }
}

Test(manifest_compatible, more_differences_than_there_is_room_for_are_counted)
{
    for (uint32_t count = 1; count <= WEIR_STATES_MAX; count++) {
        struct manifest *found = fixture_manifest(9), *expected = fixture_manifest(0);
        struct manifest_state *states = manifest_alloc(found, count, sizeof *states);
        for (uint32_t i = 0; i < count; i++)
            snprintf(states[i].name, sizeof states[i].name, "state-with-a-rather-long-name-%02u", i);
        found->operators[1].states = states;
        found->operators[1].state_count = count;
        expected->operators[1].state_count = 0;
        cr_assert_eq(manifest_check_compatible(found, expected, &err), WEIR_EMISMATCH);
        uint32_t said = 0;
        for (const char *at = err.text; (at = strstr(at, "state-with")) != NULL; at++)
            said++;
        unsigned more = 0;
        const char *rest = strstr(err.text, "; and ");
        if (rest != NULL)
            cr_assert_eq(sscanf(rest, "; and %u more differences: ", &more), 1, "%s", err.text);
        cr_expect_eq(said + more, count, "%s", err.text);
        cr_expect(said >= 4 || more == 0, "%s", err.text);
        cr_expect_not_null(strstr(err.text, "or start without the checkpoint"), "%s", err.text);
        manifest_free(found);
        manifest_free(expected);
    }
}

Test(manifest_compatible, other_chaining_and_key_groups_are_said_in_words)
{
    struct manifest *m = fixture_manifest(0);
    uint32_t *chain = manifest_alloc(m, 2, sizeof *chain);
    chain[0] = 1;
    chain[1] = 2;
    m->tasks[1].operators = chain;
    m->tasks[1].operator_count = 2;
    expect_words(m, "task words/0 ran [words] in the checkpoint, in the job it runs [words, out]");
    m = fixture_manifest(0);
    m->task_count = 3;
    expect_words(m, "task out/0 is in the checkpoint, the job does not have it");
    m = fixture_manifest(0);
    m->tasks[2].key_group_first = 32;
    expect_words(m, "had key groups from 64, 64 of them, in the checkpoint, in the job from 32, 64");
    m = fixture_manifest(0);
    struct manifest_task *more = manifest_alloc(m, 5, sizeof *more);
    memcpy(more, m->tasks, 4 * sizeof *more);
    more[4] = more[3];
    more[4].subtask = 1;
    m->tasks = more;
    m->task_count = 5;
    expect_words(m, "task out/1 is in the job, the checkpoint does not have it");
}
