#include "support/snapshot_fixture.h"

Test(manifest, memory_is_zeroed_and_impossible_sizes_are_refused)
{
    struct manifest *m = manifest_new();
    cr_assert_not_null(m);
    cr_expect_eq(m->kind, MANIFEST_CHECKPOINT);
    unsigned char *bytes = manifest_alloc(m, 100, 10);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(bytes[i], 0);
    cr_expect_not_null(manifest_alloc(m, 0, 8));
    cr_expect_null(manifest_alloc(m, SIZE_MAX, 2));
    cr_expect_null(manifest_alloc(m, SIZE_MAX, 1));
    cr_expect_eq((uintptr_t)manifest_alloc(m, 1, 1) % 16, 0);
    manifest_free(m);
    manifest_free(NULL);
}

Test(manifest, a_task_is_found_by_name_and_subtask)
{
    struct manifest *m = fixture_manifest(1);
    cr_expect_eq(manifest_find_task(m, "words", 1), &m->tasks[2]);
    cr_expect_null(manifest_find_task(m, "words", 2));
    cr_expect_null(manifest_find_task(m, "word", 0));
    manifest_free(m);
}

Test(manifest, a_file_is_identified_by_where_it_was_written)
{
    struct manifest *m = fixture_manifest(9);
    struct snapshot_file file = {.checkpoint_id = 7, .generation = 2, .attempt = 3};
    struct snapshot_identity identity;
    manifest_identity(m, &m->tasks[2], &file, &identity);
    cr_expect_eq(identity.name.checkpoint_id, 7);
    cr_expect_eq(identity.name.generation, 2);
    cr_expect_eq(identity.name.attempt, 3);
    cr_expect_eq(identity.name.subtask, 1);
    cr_expect_str_eq(identity.name.task, "words");
    cr_expect_eq(memcmp(identity.job_id, m->job_id, 16), 0);
    manifest_free(m);
}
