/*
 * snapshot_fixture.h - what the tests of snapshot/ share: a checkpoint directory of their own, snapshots whose blocks
 * are known from their ids alone, and a manifest over them.
 */
#ifndef WEIR_TESTS_SNAPSHOT_FIXTURE_H
#define WEIR_TESTS_SNAPSHOT_FIXTURE_H

#include "snapshot/checkpoint.h"
#include "support/scratch.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* IO_PWRITE instead of IO_URING on a machine where that is refused: the tests run there as well. */
static inline enum io_mode fixture_mode(enum io_mode mode)
{
    return mode == IO_URING && io_probe_uring(io_system(), NULL) != WEIR_OK ? IO_PWRITE : mode;
}

/* Skips the test in builds without kill points. A skipped test's fini does not run: so tear_down is called here. */
static inline void fixture_need_kill_points(void (*tear_down)(void))
{
#ifdef WEIR_KILL_POINTS
    (void)tear_down;
#else
    tear_down();
    cr_skip_test("built without WEIR_KILL_POINTS");
#endif
}

static inline struct checkpoint_dir fixture_open(const struct io *io, const char *path)
{
    struct checkpoint_dir dir;
    struct weir_error err = {0};
    cr_assert_eq(checkpoint_dir_open(io, path, true, &dir, &err), WEIR_OK, "%s", err.text);
    return dir;
}

/* Block content from id and seed, by an LCG: nothing of the code under test. */
static inline void fixture_fill(unsigned char *block, size_t block_bytes, uint32_t id, uint64_t seed)
{
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + id + 1;
    for (size_t i = 0; i < block_bytes; i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        block[i] = (unsigned char)(x >> 56);
    }
}

/* Gives blocks 0, stride, 2 * stride, ... */
struct fixture_source {
    uint32_t count;
    uint32_t stride;
    uint32_t given;
    size_t block_bytes;
    uint64_t seed;
    uint32_t gathered_below; /* the last one told */
    unsigned gathered_calls;
    int fail_code; /* after `count` blocks, instead of WEIR_END */
    unsigned char *block;
};

static inline int fixture_next(void *self, uint32_t *ret_id, const void **ret_block)
{
    struct fixture_source *s = self;
    if (s->given == s->count)
        return s->fail_code != 0 ? s->fail_code : WEIR_END;
    uint32_t id = s->given++ * s->stride;
    fixture_fill(s->block, s->block_bytes, id, s->seed);
    *ret_id = id;
    *ret_block = s->block;
    return WEIR_OK;
}

static inline void fixture_gathered(void *self, uint32_t id_below)
{
    struct fixture_source *s = self;
    s->gathered_below = id_below;
    s->gathered_calls++;
}

static inline struct snapshot_identity fixture_identity(uint64_t checkpoint_id, const char *task, uint32_t subtask)
{
    struct snapshot_identity identity = {
        .name = {.checkpoint_id = checkpoint_id, .subtask = subtask, .generation = 3, .attempt = 1}};
    memcpy(identity.job_id, "0123456789abcdef", 16);
    strcpy(identity.name.task, task);
    return identity;
}

static inline int fixture_write_with(const struct checkpoint_dir *dir, const struct snapshot_identity *identity,
                                     const struct snapshot_options *options, uint32_t count, uint64_t seed,
                                     struct snapshot_result *ret_result, struct weir_error *err)
{
    size_t block_bytes = options->block_bytes != 0 ? options->block_bytes : BLOCK_BYTES_DEFAULT;
    struct fixture_source s = {.count = count, .stride = 3, .block_bytes = block_bytes, .seed = seed};
    s.block = malloc(block_bytes);
    struct block_source source = {fixture_next, fixture_gathered, &s, count, NULL};
    int code = snapshot_write(dir, identity, options, &source, ret_result, err);
    free(s.block);
    return code;
}

/* Checks each block that is handed over, and counts. */
struct fixture_sink {
    uint32_t seen;
    size_t block_bytes;
    uint64_t seed;
    unsigned wrong;
};

static inline int fixture_take(void *self, uint32_t id, const void *block, struct weir_error *err)
{
    (void)err;
    struct fixture_sink *sink = self;
    unsigned char *expected = malloc(sink->block_bytes);
    fixture_fill(expected, sink->block_bytes, id, sink->seed);
    if (id != sink->seen * 3 || memcmp(expected, block, sink->block_bytes) != 0)
        sink->wrong++;
    sink->seen++;
    free(expected);
    return WEIR_OK;
}

/* The code of snapshot_open() or snapshot_read(). On WEIR_OK the blocks were all there and right. */
static inline int fixture_read_with(const struct checkpoint_dir *dir, const struct snapshot_file *file,
                                    const struct snapshot_identity *identity, enum io_mode mode, uint64_t seed,
                                    struct weir_error *err)
{
    struct snapshot_reader *reader = NULL;
    struct fixture_sink sink = {.block_bytes = file->block_bytes, .seed = seed};
    int code = snapshot_open(dir, file, identity, mode, &reader, err);
    if (code == WEIR_OK)
        code = snapshot_read(reader, fixture_take, &sink, err);
    snapshot_close(reader);
    cr_assert_eq(sink.wrong, 0, "a block was handed over that is not what was written");
    if (code == WEIR_OK)
        cr_assert_eq(sink.seen, file->block_count);
    return code;
}

/* A job of three operators: lines (source, chained with) split, then words (keyed, 2 subtasks), then out (sink). */
static inline struct manifest *fixture_manifest(uint64_t checkpoint_id)
{
    struct manifest *m = manifest_new();
    strcpy(m->job_name, "wordcount");
    memcpy(m->job_id, "0123456789abcdef", 16);
    m->checkpoint_id = checkpoint_id;
    m->generation = 3;
    m->created_ms = 1700000000000;
    m->duration_ns = 12345678;
    m->guarantee = MANIFEST_EXACTLY_ONCE;
    m->key_group_count = 128;
    m->operator_count = 3;
    m->operators = manifest_alloc(m, 3, sizeof *m->operators);
    m->operators[0] =
        (struct manifest_operator){.name = "lines", .type = "file source", .kind = MANIFEST_SOURCE, .parallelism = 1};
    m->operators[1] = (struct manifest_operator){.name = "words",
                                                 .type = "count",
                                                 .kind = MANIFEST_OPERATOR,
                                                 .parallelism = 2,
                                                 .key_bytes = 0,
                                                 .keyed = true,
                                                 .state_count = 2};
    m->operators[2] =
        (struct manifest_operator){.name = "out", .type = "file sink", .kind = MANIFEST_SINK, .parallelism = 1};
    m->operators[1].states = manifest_alloc(m, 2, sizeof(struct manifest_state));
    m->operators[1].states[0] = (struct manifest_state){"count", WEIR_VALUE, WEIR_PER_KEY, 8, 1};
    m->operators[1].states[1] = (struct manifest_state){"seen", WEIR_MAP, WEIR_PER_OPERATOR, 0, 2};
    m->task_count = 4;
    m->tasks = manifest_alloc(m, 4, sizeof *m->tasks);
    const char *names[] = {"lines", "words", "words", "out"};
    for (uint32_t i = 0; i < 4; i++) {
        struct manifest_task *task = &m->tasks[i];
        strcpy(task->name, names[i]);
        task->subtask = i == 2;
        task->records_in = 100 * i;
        task->records_out = 10 * i;
        task->watermark_ms = -5;
        task->operator_count = 1;
        task->operators = manifest_alloc(m, 1, sizeof *task->operators);
        task->operators[0] = i < 2 ? i : i - 1;
    }
    m->tasks[1].key_group_count = 64;
    m->tasks[2].key_group_first = 64;
    m->tasks[2].key_group_count = 64;
    m->tasks[0].finished = true;
    m->tasks[0].position_count = 1;
    m->tasks[0].positions = manifest_alloc(m, 1, sizeof(struct manifest_position));
    m->tasks[0].positions[0] =
        (struct manifest_position){.operator_index = 0, .size_bytes = 8, .bytes = "\1\2\3\4\5\6\7"};
    m->tasks[3].committable_count = 2;
    m->tasks[3].committables = manifest_alloc(m, 2, sizeof(struct manifest_committable));
    m->tasks[3].committables[0] =
        (struct manifest_committable){.operator_index = 2, .size_bytes = 5, .checkpoint_id = 1, .bytes = "part1"};
    m->tasks[3].committables[1] =
        (struct manifest_committable){.operator_index = 2, .size_bytes = 0, .checkpoint_id = 1};
    return m;
}

/* Adds one file to a task of m. */
static inline void fixture_add_file(struct manifest *m, uint32_t task, const struct snapshot_file *file)
{
    m->tasks[task].files = manifest_alloc(m, 1, sizeof *file);
    m->tasks[task].files[0] = *file;
    m->tasks[task].file_count = 1;
}

/* A whole checkpoint: the snapshots of words/0 and words/1 (seed: the checkpoint's id, and that plus 1000), then the
 * manifest. */
static inline int fixture_checkpoint(const struct checkpoint_dir *dir, uint64_t checkpoint_id, uint32_t blocks,
                                     struct weir_error *err)
{
    struct manifest *m = fixture_manifest(checkpoint_id);
    int code = WEIR_OK;
    for (uint32_t subtask = 0; code == WEIR_OK && subtask < 2; subtask++) {
        struct snapshot_identity identity = fixture_identity(checkpoint_id, "words", subtask);
        struct snapshot_result result;
        code = fixture_write_with(dir, &identity, &(struct snapshot_options){0}, blocks, checkpoint_id + 1000 * subtask,
                                  &result, err);
        if (code == WEIR_OK)
            fixture_add_file(m, 1 + subtask, &result.file);
    }
    if (code == WEIR_OK)
        code = manifest_write(dir, m, 1, err);
    manifest_free(m);
    return code;
}

/* Loads a checkpoint made by fixture_checkpoint() and compares every block. */
static inline int fixture_load(const struct checkpoint_dir *dir, uint64_t checkpoint_id, struct weir_error *err)
{
    struct manifest *m = NULL;
    int code = manifest_read(dir, checkpoint_id, &m, err);
    for (uint32_t subtask = 0; code == WEIR_OK && subtask < 2; subtask++) {
        const struct manifest_task *task = manifest_find_task(m, "words", subtask);
        struct snapshot_identity identity;
        manifest_identity(m, task, &task->files[0], &identity);
        code = fixture_read_with(dir, &task->files[0], &identity, IO_AUTO, checkpoint_id + 1000 * subtask, err);
    }
    manifest_free(m);
    return code;
}

/* Entries of path/name whose name has `part` in it. */
static inline unsigned fixture_count_files(const char *path, const char *name, const char *part)
{
    char text[1024];
    snprintf(text, sizeof text, "%s/%s", path, name);
    DIR *d = opendir(text);
    cr_assert_not_null(d);
    unsigned count = 0;
    for (struct dirent *entry; (entry = readdir(d)) != NULL;)
        count +=
            strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && strstr(entry->d_name, part) != NULL;
    closedir(d);
    return count;
}

static inline unsigned fixture_open_fds(void) { return fixture_count_files("/proc/self", "fd", ""); }

/* The whole file; free() it. */
static inline unsigned char *fixture_slurp(const char *path, const char *name, size_t *ret_size_bytes)
{
    char text[1024];
    snprintf(text, sizeof text, "%s/%s", path, name);
    FILE *file = fopen(text, "rb");
    cr_assert_not_null(file, "%s", text);
    fseek(file, 0, SEEK_END);
    *ret_size_bytes = (size_t)ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(*ret_size_bytes + 1);
    cr_assert_eq(fread(bytes, 1, *ret_size_bytes, file), *ret_size_bytes);
    fclose(file);
    return bytes;
}

static inline void fixture_spit(const char *path, const char *name, const void *bytes, size_t size_bytes)
{
    char text[1024];
    snprintf(text, sizeof text, "%s/%s", path, name);
    FILE *file = fopen(text, "wb");
    cr_assert_not_null(file, "%s", text);
    cr_assert_eq(fwrite(bytes, 1, size_bytes, file), size_bytes);
    fclose(file);
}

#endif
