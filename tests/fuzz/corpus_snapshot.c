/*
 * corpus_snapshot.c - writes the first inputs of the fuzzers of snapshot/: `corpus_snapshot DIRECTORY` makes
 * DIRECTORY/manifest/ and DIRECTORY/snapshot/ with a few valid files each.
 */
#include "snapshot/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct counter {
    uint32_t count;
    uint32_t given;
    unsigned char block[BLOCK_BYTES_DEFAULT];
};

static int next_block(void *self, uint32_t *ret_id, const void **ret_block)
{
    struct counter *c = self;
    if (c->given == c->count)
        return WEIR_END;
    c->block[0] = (unsigned char)c->given;
    *ret_id = 2 * c->given++;
    *ret_block = c->block;
    return WEIR_OK;
}

static int write_snapshots(const char *path, struct weir_error *err)
{
    char text[4096];
    snprintf(text, sizeof text, "%s/snapshot", path);
    struct checkpoint_dir dir;
    int code = checkpoint_dir_open(io_system(), text, true, &dir, err);
    for (uint32_t count = 0; code == WEIR_OK && count < 4; count++) {
        struct snapshot_identity identity = {
            .name = {.checkpoint_id = 7, .task = "words", .subtask = 1, .generation = 3, .attempt = 1}};
        memcpy(identity.job_id, "0123456789abcdef", 16);
        struct counter counter = {.count = count};
        struct block_source source = {next_block, NULL, &counter, 0, NULL};
        struct snapshot_options options = {.io_mode = IO_PWRITE};
        struct snapshot_result result;
        code = snapshot_write(&dir, &identity, &options, &source, &result, err);
        char to[64];
        snprintf(to, sizeof to, "../blocks-%u", (unsigned)count);
        if (code == WEIR_OK && renameat(dir.snapshots_fd, result.file.name, dir.snapshots_fd, to) != 0)
            code = error_set(err, WEIR_EIO, "%s: rename", result.file.name);
    }
    if (code == WEIR_OK) {
        checkpoint_dir_close(&dir);
        snprintf(text, sizeof text, "%s/snapshot/snapshots", path);
        rmdir(text);
    }
    return code;
}

/* A source and a sink with `size` of everything that there may be several of. */
static struct manifest *make_manifest(uint32_t size)
{
    struct manifest *m = manifest_new();
    if (m == NULL)
        return NULL;
    strcpy(m->job_name, "job");
    m->checkpoint_id = 7;
    m->key_group_count = 128;
    m->operator_count = 2;
    m->operators = manifest_alloc(m, 2, sizeof *m->operators);
    m->task_count = 1;
    m->tasks = manifest_alloc(m, 1, sizeof *m->tasks);
    if (m->operators == NULL || m->tasks == NULL)
        return m;
    m->operators[0] = (struct manifest_operator){
        .name = "in", .type = "a source", .kind = MANIFEST_SOURCE, .parallelism = 1, .state_count = size};
    m->operators[1] = (struct manifest_operator){.name = "out", .kind = MANIFEST_SINK, .parallelism = 1};
    m->operators[0].states = manifest_alloc(m, size, sizeof *m->operators[0].states);
    struct manifest_task *task = &m->tasks[0];
    strcpy(task->name, "in");
    task->operator_count = 2;
    task->operators = manifest_alloc(m, 2, sizeof *task->operators);
    task->files = manifest_alloc(m, size, sizeof *task->files);
    task->positions = manifest_alloc(m, 1, sizeof *task->positions);
    task->committables = manifest_alloc(m, size, sizeof *task->committables);
    if (m->operators[0].states == NULL || task->operators == NULL || task->files == NULL || task->positions == NULL ||
        task->committables == NULL)
        return m;
    task->operators[1] = 1;
    task->position_count = size > 0;
    task->positions[0].size_bytes = 8;
    task->file_count = size;
    task->committable_count = size;
    for (uint32_t i = 0; i < size; i++) {
        snprintf(m->operators[0].states[i].name, 16, "state%u", (unsigned)i);
        struct snapshot_name name = {.checkpoint_id = i, .task = "in"};
        task->files[i] = (struct snapshot_file){.size_bytes = 8192, .block_bytes = 4096, .checkpoint_id = i};
        snapshot_name_format(&name, task->files[i].name);
        task->committables[i] =
            (struct manifest_committable){.operator_index = 1, .size_bytes = 4 * i, .checkpoint_id = i};
    }
    return m;
}

static int write_manifests(const char *path, struct weir_error *err)
{
    char text[4096];
    snprintf(text, sizeof text, "%s/manifest", path);
    mkdir(text, 0700);
    int code = WEIR_OK;
    for (uint32_t size = 0; code == WEIR_OK && size < 4; size++) {
        struct manifest *m = make_manifest(size);
        void *bytes = NULL;
        size_t size_bytes = 0;
        code = m == NULL ? error_set(err, WEIR_ENOMEM, "out of memory") : manifest_encode(m, &bytes, &size_bytes, err);
        manifest_free(m);
        snprintf(text, sizeof text, "%s/manifest/size-%u", path, (unsigned)size);
        FILE *file = code == WEIR_OK ? fopen(text, "wb") : NULL;
        if (code == WEIR_OK && (file == NULL || fwrite(bytes, 1, size_bytes, file) != size_bytes))
            code = error_set(err, WEIR_EIO, "%s: write", text);
        if (file != NULL && fclose(file) != 0 && code == WEIR_OK)
            code = error_set(err, WEIR_EIO, "%s: close", text);
        free(bytes);
    }
    return code;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: corpus_snapshot DIRECTORY\n");
        return 2;
    }
    struct weir_error err = {0};
    mkdir(argv[1], 0700);
    int code = write_manifests(argv[1], &err);
    if (code == WEIR_OK)
        code = write_snapshots(argv[1], &err);
    if (code != WEIR_OK)
        fprintf(stderr, "corpus_snapshot: %s\n", err.text);
    return code != WEIR_OK;
}
