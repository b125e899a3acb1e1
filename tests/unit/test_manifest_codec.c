#include "support/snapshot_fixture.h"

#include <xxhash.h>

static struct weir_error err;

static struct snapshot_file some_file(const char *task, uint32_t subtask)
{
    struct snapshot_file file = {.size_bytes = 16384,
                                 .checksum = 0xabcdef,
                                 .block_bytes = 4096,
                                 .attempt = 1,
                                 .block_count = 1,
                                 .checkpoint_id = 9,
                                 .generation = 3};
    struct snapshot_name name = {.checkpoint_id = 9, .subtask = subtask, .generation = 3, .attempt = 1};
    strcpy(name.task, task);
    snapshot_name_format(&name, file.name);
    return file;
}

static struct manifest *full_manifest(void)
{
    struct manifest *m = fixture_manifest(9);
    struct snapshot_file files[] = {some_file("words", 0), some_file("words", 1)};
    fixture_add_file(m, 1, &files[0]);
    fixture_add_file(m, 2, &files[1]);
    return m;
}

static unsigned char *encoded(size_t *ret_size_bytes)
{
    struct manifest *m = full_manifest();
    void *bytes = NULL;
    cr_assert_eq(manifest_encode(m, &bytes, ret_size_bytes, &err), WEIR_OK, "%s", err.text);
    manifest_free(m);
    return bytes;
}

static void reseal(unsigned char *bytes, size_t size_bytes)
{
    XXH64_hash_t hash = XXH3_64bits(bytes, size_bytes - 8);
    memcpy(bytes + size_bytes - 8, &hash, 8);
}

static int decode(const void *bytes, size_t size_bytes)
{
    struct manifest *m = NULL;
    /* A copy of exactly this size, so that a sanitizer sees any byte read behind it. */
    void *copy = malloc(size_bytes + (size_bytes == 0));
    memcpy(copy, bytes, size_bytes);
    int code = manifest_decode(copy, size_bytes, &m, &err);
    free(copy);
    manifest_free(m);
    return code;
}

Test(manifest_codec, everything_comes_back)
{
    size_t size_bytes;
    unsigned char *bytes = encoded(&size_bytes);
    struct manifest *m = NULL;
    struct manifest *e = full_manifest();
    cr_assert_eq(manifest_decode(bytes, size_bytes, &m, &err), WEIR_OK, "%s", err.text);
    cr_expect_str_eq(m->job_name, "wordcount");
    cr_expect_eq(memcmp(m->job_id, "0123456789abcdef", 16), 0);
    cr_expect_eq(m->checkpoint_id, 9);
    cr_expect_eq(m->generation, 3);
    cr_expect_eq(m->created_ms, 1700000000000);
    cr_expect_eq(m->duration_ns, 12345678);
    cr_expect_eq(m->kind, MANIFEST_CHECKPOINT);
    cr_expect_eq(m->guarantee, MANIFEST_EXACTLY_ONCE);
    cr_expect_eq(m->key_group_count, 128);
    cr_expect_eq(m->total_bytes, 2 * 16384);
    cr_assert_eq(m->operator_count, 3);
    cr_assert_eq(m->task_count, 4);
    for (int i = 0; i < 3; i++) {
        cr_expect_str_eq(m->operators[i].name, e->operators[i].name);
        cr_expect_str_eq(m->operators[i].type, e->operators[i].type);
        cr_expect_eq(m->operators[i].kind, e->operators[i].kind);
        cr_expect_eq(m->operators[i].parallelism, e->operators[i].parallelism);
        cr_expect_eq(m->operators[i].key_bytes, e->operators[i].key_bytes);
        cr_expect_eq(m->operators[i].keyed, e->operators[i].keyed);
        cr_assert_eq(m->operators[i].state_count, e->operators[i].state_count);
        for (unsigned j = 0; j < m->operators[i].state_count; j++)
            cr_expect_eq(memcmp(&m->operators[i].states[j], &e->operators[i].states[j], sizeof(struct manifest_state)),
                         0);
    }
    for (int i = 0; i < 4; i++) {
        const struct manifest_task *found = &m->tasks[i];
        const struct manifest_task *expected = &e->tasks[i];
        cr_expect_str_eq(found->name, expected->name);
        cr_expect_eq(found->subtask, expected->subtask);
        cr_expect_eq(found->key_group_first, expected->key_group_first);
        cr_expect_eq(found->key_group_count, expected->key_group_count);
        cr_expect_eq(found->finished, expected->finished);
        cr_expect_eq(found->records_in, expected->records_in);
        cr_expect_eq(found->records_out, expected->records_out);
        cr_expect_eq(found->watermark_ms, -5);
        cr_expect_eq(found->operators[0], expected->operators[0]);
        cr_assert_eq(found->file_count, expected->file_count);
        if (found->file_count > 0)
            cr_expect_eq(memcmp(found->files, expected->files, sizeof *found->files), 0);
    }
    cr_assert_eq(m->tasks[0].position_count, 1);
    cr_expect_eq(memcmp(m->tasks[0].positions, e->tasks[0].positions, sizeof(struct manifest_position)), 0);
    cr_assert_eq(m->tasks[3].committable_count, 2);
    cr_expect_eq(memcmp(m->tasks[3].committables, e->tasks[3].committables, 2 * sizeof(struct manifest_committable)),
                 0);
    manifest_free(m);
    manifest_free(e);
    free(bytes);
}

Test(manifest_codec, the_bytes_of_format_version_1_do_not_change)
{
    size_t size_bytes;
    unsigned char *bytes = encoded(&size_bytes);
    cr_expect_eq(memcmp(bytes, "WEIRMANI\1\0\0\0\0\0\0\0", 16), 0);
    cr_expect_eq(memcmp(bytes + 24, "\x09\0wordcount0123456789abcdef\x09\0\0\0\0\0\0\0", 2 + 9 + 16 + 8), 0);
    cr_expect_eq(XXH3_64bits(bytes, size_bytes), UINT64_C(0x908ccb35c5a0190e), "0x%016llx",
                 (unsigned long long)XXH3_64bits(bytes, size_bytes));
    free(bytes);
}

Test(manifest_codec, a_flip_of_any_bit_is_detected)
{
    size_t size_bytes;
    unsigned char *bytes = encoded(&size_bytes);
    for (size_t at = 0; at < size_bytes; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes[at] ^= (unsigned char)(1u << bit);
            cr_assert_eq(decode(bytes, size_bytes), WEIR_ECORRUPT, "bit %u of byte %zu", bit, at);
            bytes[at] ^= (unsigned char)(1u << bit);
        }
    cr_expect_eq(decode(bytes, size_bytes), WEIR_OK);
    free(bytes);
}

Test(manifest_codec, every_truncation_and_every_byte_behind_the_end_is_detected)
{
    size_t size_bytes;
    unsigned char *bytes = encoded(&size_bytes);
    for (size_t length = 0; length < size_bytes; length++)
        cr_assert_eq(decode(bytes, length), WEIR_ECORRUPT, "%zu bytes", length);
    unsigned char *longer = calloc(1, size_bytes + 64);
    memcpy(longer, bytes, size_bytes);
    for (size_t more = 1; more <= 64; more++)
        cr_assert_eq(decode(longer, size_bytes + more), WEIR_ECORRUPT, "%zu bytes more", more);
    free(longer);
    free(bytes);
}

/* With the size and the checksum made right again, the parser itself must refuse each truncation, and take no harm from
 * any change. */
Test(manifest_codec, resealed_damage_is_refused_or_parsed_and_never_more)
{
    size_t size_bytes;
    unsigned char *bytes = encoded(&size_bytes);
    unsigned char *copy = malloc(size_bytes + 16);
    for (size_t length = 32; length < size_bytes; length++) {
        memcpy(copy, bytes, length);
        uint64_t total_bytes = length;
        memcpy(copy + 16, &total_bytes, 8);
        reseal(copy, length);
        cr_assert_eq(decode(copy, length), WEIR_ECORRUPT, "%zu bytes", length);
    }
    unsigned refused = 0;
    for (size_t at = 24; at < size_bytes - 8; at++)
        for (unsigned value = 1; value < 256; value = value * 2 + 1) {
            memcpy(copy, bytes, size_bytes);
            copy[at] ^= (unsigned char)value;
            reseal(copy, size_bytes);
            int code = decode(copy, size_bytes);
            cr_assert(code == WEIR_OK || code == WEIR_ECORRUPT, "%zu: %d", at, code);
            refused += code != WEIR_OK;
        }
    cr_expect_gt(refused, 1000);
    memcpy(copy, bytes, size_bytes - 8); /* bytes between the last field and the checksum */
    uint64_t total_bytes = size_bytes + 8;
    memcpy(copy + 16, &total_bytes, 8);
    memset(copy + size_bytes - 8, 0, 8);
    reseal(copy, size_bytes + 8);
    cr_expect_eq(decode(copy, size_bytes + 8), WEIR_ECORRUPT);
    cr_expect_not_null(strstr(err.text, "bytes follow the last field"), "%s", err.text);
    free(copy);
    free(bytes);
}

Test(manifest_codec, another_version_is_refused_as_such)
{
    size_t size_bytes;
    unsigned char *bytes = encoded(&size_bytes);
    bytes[8] = 2;
    reseal(bytes, size_bytes);
    cr_expect_eq(decode(bytes, size_bytes), WEIR_EVERSION);
    cr_expect_not_null(strstr(err.text, "format version 2, this program reads version 1"), "%s", err.text);
    bytes[8] = 0;
    reseal(bytes, size_bytes);
    cr_expect_eq(decode(bytes, size_bytes), WEIR_ECORRUPT, "there never was such a one");
    free(bytes);
}

Test(manifest_codec, an_empty_file_and_junk_are_refused)
{
    cr_expect_eq(decode("", 0), WEIR_ECORRUPT);
    cr_expect_eq(decode("WEIRMANI", 8), WEIR_ECORRUPT);
    char junk[5000];
    memset(junk, 'x', sizeof junk);
    cr_expect_eq(decode(junk, sizeof junk), WEIR_ECORRUPT);
}

/* What could not be read back is not written either. */
static void expect_not_encoded(struct manifest *m, const char *words)
{
    void *bytes;
    size_t size_bytes;
    cr_expect_eq(manifest_encode(m, &bytes, &size_bytes, &err), WEIR_EINVAL, "%s", words);
    cr_expect_not_null(strstr(err.text, words), "expected '%s', got '%s'", words, err.text);
    manifest_free(m);
}

Test(manifest_codec, what_would_be_refused_is_not_written)
{
    struct manifest *m = full_manifest();
    strcpy(m->job_name, "../x");
    expect_not_encoded(m, "job's name");
    m = full_manifest();
    strcpy(m->operators[1].name, "lines");
    expect_not_encoded(m, "two operators 'lines'");
    m = full_manifest();
    strcpy(m->operators[1].states[1].name, "count");
    expect_not_encoded(m, "two states 'count'");
    m = full_manifest();
    m->operators[0].parallelism = 0;
    expect_not_encoded(m, "parallelism 0");
    m = full_manifest();
    m->tasks[0].operators[0] = 3;
    expect_not_encoded(m, "operator 3 does not exist");
    m = full_manifest();
    m->tasks[0].positions[0].operator_index = 1;
    expect_not_encoded(m, "of no source in it");
    m = full_manifest();
    m->tasks[3].committables[0].checkpoint_id = 10;
    expect_not_encoded(m, "newer than the checkpoint");
    m = full_manifest();
    m->tasks[2].subtask = 0;
    expect_not_encoded(m, "task words/0");
    m = full_manifest();
    strcpy(m->tasks[1].files[0].name, "../../etc/passwd");
    expect_not_encoded(m, "name is not that of a snapshot");
    m = full_manifest();
    m->tasks[2].key_group_count = 65;
    expect_not_encoded(m, "key groups 64 and 65 more, of 128");
    m = full_manifest();
    m->tasks[1].files[0].checkpoint_id = 8;
    expect_not_encoded(m, "listed for checkpoint 8");
}

/* Up to 64 pending ones of each sink: as many as checkpoints may fail in a row. */
Test(manifest_codec, as_many_committables_as_allowed_and_not_one_more)
{
    for (uint32_t count = 64; count <= 65; count++) {
        struct manifest *m = full_manifest();
        struct manifest_task *task = &m->tasks[3];
        task->committable_count = count;
        task->committables = manifest_alloc(m, count, sizeof *task->committables);
        for (uint32_t i = 0; i < count; i++) {
            task->committables[i] =
                (struct manifest_committable){.operator_index = 2, .size_bytes = 256, .checkpoint_id = 1};
            memset(task->committables[i].bytes, (int)i, 256);
        }
        void *bytes = NULL;
        size_t size_bytes;
        int code = manifest_encode(m, &bytes, &size_bytes, &err);
        cr_expect_eq(code, count == 64 ? WEIR_OK : WEIR_EINVAL);
        if (code == WEIR_OK)
            cr_expect_eq(decode(bytes, size_bytes), WEIR_OK, "%s", err.text);
        free(bytes);
        manifest_free(m);
    }
}
