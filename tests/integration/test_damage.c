/*
 * test_damage.c - every byte of the newest checkpoint that a real job left: changed, missing, swapped, stale. What a start of the job does
 * with it is done here in the test's own process, as there are so many of them: it looks for the newest complete checkpoint, and reads
 * all of it. Never may damage pass for that checkpoint; the one before stays good, and the words name the file. tests/crash/damaged.py runs
 * the job itself on damage of each kind, and compares its output.
 */
#include "scenario.h"

#include "snapshot/checkpoint.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096u
#define FILES_MAX 8

struct file {
    char name[256]; /* without its directory */
    char path[2 * PATH_BYTES];
    unsigned char *bytes;
    size_t size_bytes;
    int fd;
};

static struct scenario s;
static struct checkpoint_dir dir;
static struct weir_error err;
static uint64_t newest, before;
static struct file files[FILES_MAX]; /* of the newest: its manifest first */
static unsigned file_count;

/* The disk itself is out of the question here: without these, each byte would go there and back. */
static struct io io;
static int no_sync(void *self, int fd) { return (void)self, (void)fd, 0; }
static int no_direct(void *self, int fd, bool on) { return (void)self, (void)fd, (void)on, -EINVAL; }

static void add_file(const char *below, const char *name)
{
    cr_assert_lt(file_count, FILES_MAX);
    struct file *file = &files[file_count++];
    struct stat st;
    snprintf(file->name, sizeof file->name, "%s", name);
    snprintf(file->path, sizeof file->path, "%s/%s%s", s.directory, below, name);
    file->fd = open(file->path, O_RDWR | O_CLOEXEC);
    cr_assert_geq(file->fd, 0, "%s", file->path);
    cr_assert_eq(fstat(file->fd, &st), 0);
    file->size_bytes = (size_t)st.st_size;
    file->bytes = malloc(file->size_bytes);
    cr_assert_eq(pread(file->fd, file->bytes, file->size_bytes, 0), (ssize_t)file->size_bytes);
}

/* A job with a keyed state that was run twice, its two checkpoints, and the files of the newer one. */
static void begin(void)
{
    struct manifest *m = NULL;
    char name[64];
    scenario_begin(&s, criterion_current_test->name);
    cr_assert_eq(run_job(&s, "--set shape=keyed --set count=100 --checkpoints-retained 2"), 0, "%s", s.err);
    cr_assert_eq(run_job(&s, "--set shape=keyed --set count=300 --checkpoints-retained 2"), 0, "%s", s.err);
    io = *io_system();
    io.fsync = no_sync;
    io.set_direct = no_direct;
    cr_assert_eq(checkpoint_dir_open(&io, s.directory, false, &dir, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(checkpoint_find_newest(&dir, UINT64_MAX, NULL, NULL, &m, &err), WEIR_OK, "%s", err.text);
    newest = m->checkpoint_id;
    snprintf(name, sizeof name, "manifest-%020llu", (unsigned long long)newest);
    file_count = 0;
    add_file("", name);
    for (uint32_t task = 0; task < m->task_count; task++)
        for (uint32_t i = 0; i < m->tasks[task].file_count; i++)
            add_file("snapshots/", m->tasks[task].files[i].name);
    manifest_free(m);
    cr_assert_geq(file_count, 2, "the checkpoint has no state");
    cr_assert_eq(checkpoint_find_newest(&dir, newest, NULL, NULL, &m, &err), WEIR_OK, "%s", err.text);
    before = m->checkpoint_id;
    manifest_free(m);
    cr_assert_eq(checkpoint_verify(&dir, newest, IO_PWRITE, &err), WEIR_OK, "%s", err.text);
}

static void end(void)
{
    for (unsigned i = 0; i < file_count; i++) {
        close(files[i].fd);
        free(files[i].bytes);
    }
    checkpoint_dir_close(&dir);
    scenario_end(&s);
}

TestSuite(damage, .init = begin, .fini = end, .timeout = TIMEOUT_S);

static void note_skipped(void *self, uint64_t checkpoint_id, const struct weir_error *reason)
{
    cr_assert_eq(checkpoint_id, newest);
    *(struct weir_error *)self = *reason;
}

/* The words say which file, and where it is wrong or what it lacks. */
static void expect_words(const struct weir_error *reason, const struct file *file, const char *what, size_t at)
{
    static const char *const places[] = {"byte", "offset", "missing", "No such file"};
    bool says_where = false;
    for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++)
        says_where = says_where || strstr(reason->text, places[i]) != NULL;
    cr_assert(strstr(reason->text, file->name) != NULL && says_where, "%s %s at %zu: %s", file->name, what, at, reason->text);
}

/* What a start finds: the checkpoint before, or the damage when it reads the newest one. */
static void expect_found_out(const struct file *file, const char *what, size_t at)
{
    struct weir_error reason = {0};
    struct manifest *m = NULL;
    int code = checkpoint_find_newest(&dir, UINT64_MAX, note_skipped, &reason, &m, &err);
    cr_assert_eq(code, WEIR_OK, "%s %s at %zu: %s", file->name, what, at, err.text);
    const uint64_t chosen = m->checkpoint_id;
    manifest_free(m);
    if (chosen == newest) {
        reason = (struct weir_error){0};
        code = checkpoint_verify(&dir, newest, IO_PWRITE, &reason);
        cr_assert_lt(code, 0, "%s %s at %zu was taken for good", file->name, what, at);
    } else {
        cr_assert_eq(chosen, before, "%s %s at %zu", file->name, what, at);
    }
    expect_words(&reason, file, what, at);
}

static void write_back(const struct file *file)
{
    cr_assert_eq(pwrite(file->fd, file->bytes, file->size_bytes, 0), (ssize_t)file->size_bytes);
}

static void expect_whole_again(void)
{
    cr_assert_eq(checkpoint_verify(&dir, newest, IO_PWRITE, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(checkpoint_verify(&dir, before, IO_PWRITE, &err), WEIR_OK, "%s", err.text);
}

Test(damage, every_changed_byte_is_found_out)
{
    for (unsigned i = 0; i < file_count; i++)
        for (size_t at = 0; at < files[i].size_bytes; at++) {
            unsigned char byte = files[i].bytes[at] ^ (unsigned char)(1u << at % 8);
            cr_assert_eq(pwrite(files[i].fd, &byte, 1, (off_t)at), 1);
            expect_found_out(&files[i], "changed", at);
            cr_assert_eq(pwrite(files[i].fd, &files[i].bytes[at], 1, (off_t)at), 1);
        }
    expect_whole_again();
}

Test(damage, every_truncation_is_found_out)
{
    for (unsigned i = 0; i < file_count; i++) {
        for (size_t length = files[i].size_bytes; length-- > 0;) {
            cr_assert_eq(ftruncate(files[i].fd, (off_t)length), 0);
            expect_found_out(&files[i], "truncated", length);
        }
        write_back(&files[i]);
    }
    expect_whole_again();
}

Test(damage, bytes_behind_the_end_are_found_out)
{
    for (unsigned i = 0; i < file_count; i++) {
        for (size_t more = 1; more <= BLOCK; more *= 8) {
            cr_assert_eq(ftruncate(files[i].fd, (off_t)(files[i].size_bytes + more)), 0);
            expect_found_out(&files[i], "lengthened", more);
        }
        cr_assert_eq(ftruncate(files[i].fd, (off_t)files[i].size_bytes), 0);
    }
    expect_whole_again();
}

Test(damage, a_missing_file_is_found_out)
{
    char aside[3 * PATH_BYTES];
    snprintf(aside, sizeof aside, "%s/aside", s.root);
    for (unsigned i = 1; i < file_count; i++) { /* without its manifest a checkpoint does not exist */
        cr_assert_eq(rename(files[i].path, aside), 0);
        expect_found_out(&files[i], "missing", 0);
        cr_assert_eq(rename(aside, files[i].path), 0);
    }
    expect_whole_again();
}

static void put_block(const struct file *file, size_t at, const unsigned char *block, const char *what)
{
    if (memcmp(file->bytes + at, block, BLOCK) == 0)
        return; /* no damage */
    cr_assert_eq(pwrite(file->fd, block, BLOCK, (off_t)at), BLOCK);
    expect_found_out(file, what, at);
    cr_assert_eq(pwrite(file->fd, file->bytes + at, BLOCK, (off_t)at), BLOCK);
}

Test(damage, zeroed_and_swapped_blocks_are_found_out)
{
    static const unsigned char zero[BLOCK];
    for (unsigned i = 1; i < file_count; i++) {
        const struct file *file = &files[i];
        for (size_t at = 0; at + BLOCK <= file->size_bytes; at += BLOCK) {
            put_block(file, at, zero, "zeroed");
            for (size_t other = 0; other + BLOCK <= file->size_bytes; other += BLOCK) {
                cr_assert_eq(pwrite(file->fd, file->bytes + at, BLOCK, (off_t)other), BLOCK);
                put_block(file, at, file->bytes + other, "swapped");
                cr_assert_eq(pwrite(file->fd, file->bytes + other, BLOCK, (off_t)other), BLOCK);
            }
        }
    }
    expect_whole_again();
}

/* Blocks of the same task's snapshot in the checkpoint before, and the whole file. */
Test(damage, stale_blocks_are_found_out)
{
    struct manifest *m = NULL;
    struct file *file = &files[1];
    cr_assert_eq(manifest_read(&dir, before, &m, &err), WEIR_OK, "%s", err.text);
    const unsigned newest_count = file_count;
    for (uint32_t task = 0; task < m->task_count; task++)
        for (uint32_t i = 0; i < m->tasks[task].file_count; i++)
            add_file("snapshots/", m->tasks[task].files[i].name);
    manifest_free(m);
    cr_assert_gt(file_count, newest_count);
    const struct file *old = &files[newest_count];
    unsigned different = 0;
    for (size_t at = 0; at + BLOCK <= file->size_bytes && at + BLOCK <= old->size_bytes; at += BLOCK) {
        different += memcmp(file->bytes + at, old->bytes + at, BLOCK) != 0;
        put_block(file, at, old->bytes + at, "stale");
    }
    cr_assert_gt(different, 2, "the two checkpoints are too much alike");
    if (old->size_bytes == file->size_bytes) {
        write_back(&(struct file){.fd = file->fd, .bytes = old->bytes, .size_bytes = old->size_bytes});
        expect_found_out(file, "stale as a whole", 0);
        write_back(file);
    }
    expect_whole_again();
}
