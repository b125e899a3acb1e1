/*
 * test_memory.c - FAULT F31: the N-th request for memory fails, N = 1, 2, ... until none does, in making a checkpoint, finding
 * it, cleaning up, restoring, and in setting up rings. The program is linked so that the engine's calls come here first
 * (-Wl,--wrap).
 */
#include "support/snapshot_fixture.h"

#include "shm/region.h"
#include "shm/ring.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>

TestSuite(F31_memory, .timeout = 480);

static bool armed;
static unsigned calls;
static unsigned fail_at;
static bool failed;

static bool hits(int errno_value)
{
    if (!armed || ++calls != fail_at)
        return false;
    failed = true;
    errno = errno_value;
    return true;
}

void *__real_malloc(size_t size_bytes);
void *__real_calloc(size_t count, size_t size_bytes);
void *__real_realloc(void *memory, size_t size_bytes);
void *__real_reallocarray(void *memory, size_t count, size_t size_bytes);
void *__real_mmap(void *address, size_t size_bytes, int protection, int flags, int fd, off_t offset);
void *__real_mremap(void *address, size_t old_bytes, size_t new_bytes, int flags);
int __real_memfd_create(const char *name, unsigned flags);
int __real_fallocate(int fd, int mode, off_t offset, off_t size_bytes);
int __real_madvise(void *address, size_t size_bytes, int advice);

#pragma GCC diagnostic ignored "-Wmissing-prototypes" /* the linker calls them */
void *__wrap_malloc(size_t size_bytes) { return hits(ENOMEM) ? NULL : __real_malloc(size_bytes); }
void *__wrap_calloc(size_t count, size_t size_bytes) { return hits(ENOMEM) ? NULL : __real_calloc(count, size_bytes); }
void *__wrap_realloc(void *memory, size_t size_bytes) { return hits(ENOMEM) ? NULL : __real_realloc(memory, size_bytes); }
void *__wrap_reallocarray(void *memory, size_t count, size_t size_bytes)
{
    return hits(ENOMEM) ? NULL : __real_reallocarray(memory, count, size_bytes);
}
void *__wrap_mmap(void *address, size_t size_bytes, int protection, int flags, int fd, off_t offset)
{
    return hits(ENOMEM) ? MAP_FAILED : __real_mmap(address, size_bytes, protection, flags, fd, offset);
}
void *__wrap_mremap(void *address, size_t old_bytes, size_t new_bytes, int flags)
{
    return hits(ENOMEM) ? MAP_FAILED : __real_mremap(address, old_bytes, new_bytes, flags);
}
int __wrap_memfd_create(const char *name, unsigned flags) { return hits(EMFILE) ? -1 : __real_memfd_create(name, flags); }
int __wrap_fallocate(int fd, int mode, off_t offset, off_t size_bytes)
{
    return hits(ENOSPC) ? -1 : __real_fallocate(fd, mode, offset, size_bytes);
}
int __wrap_madvise(void *address, size_t size_bytes, int advice)
{
    return hits(ENOMEM) ? -1 : __real_madvise(address, size_bytes, advice);
}

static void arm(unsigned call)
{
    calls = 0;
    fail_at = call;
    failed = false;
    armed = true;
}

static struct weir_error err;

static int clean_up(const struct checkpoint_dir *dir, uint64_t id) { return checkpoint_retain(dir, 1, id + 1, NULL, &err); }

static uint64_t newest(const struct checkpoint_dir *dir, int *ret_code)
{
    struct manifest *m = NULL;
    *ret_code = checkpoint_find_newest(dir, UINT64_MAX, NULL, NULL, &m, &err);
    uint64_t id = *ret_code == WEIR_OK ? m->checkpoint_id : 0;
    manifest_free(m);
    return id;
}

/* The snapshot and the manifest from prepared parts: the fixture's own memory is not what is tested. */
struct prepared {
    struct fixture_source source;
    struct snapshot_identity identity;
    struct snapshot_result result;
    struct manifest *manifest;
};

static void prepare(struct prepared *p, uint64_t id)
{
    static unsigned char block[BLOCK_BYTES_DEFAULT];
    *p = (struct prepared){.source = {.count = 3000, .stride = 3, .block_bytes = sizeof block, .seed = id, .block = block},
                           .identity = fixture_identity(id, "words", 0), .manifest = fixture_manifest(id)};
}

static int commit(const struct checkpoint_dir *dir, struct prepared *p)
{
    struct block_source source = {fixture_next, fixture_gathered, &p->source, 0, NULL};
    int code = snapshot_write(dir, &p->identity, &(struct snapshot_options){.io_depth = 2}, &source, &p->result, &err);
    if (code != WEIR_OK)
        return code;
    bool was_armed = armed;
    armed = false;
    fixture_add_file(p->manifest, 1, &p->result.file);
    armed = was_armed;
    return manifest_write(dir, p->manifest, 1, &err);
}

Test(F31_memory, a_checkpoint_that_gets_no_memory_fails_whole_and_the_one_before_stays)
{
    char path[SCRATCH_PATH_BYTES];
    unsigned failures = 0;
    struct prepared p;
    scratch_make("memory", path);
    struct checkpoint_dir dir = fixture_open(io_system(), path);
    prepare(&p, 1);
    cr_assert_eq(commit(&dir, &p), WEIR_OK, "%s", err.text);
    manifest_free(p.manifest);
    uint64_t kept = 1;
    for (unsigned call = 1;; call++) {
        uint64_t id = call + 1;
        int code;
        unsigned fds = fixture_open_fds();
        prepare(&p, id);
        memset(&err, 0, sizeof err);
        arm(call);
        code = commit(&dir, &p);
        armed = false;
        bool done = !failed;
        manifest_free(p.manifest);
        cr_assert_eq(fixture_open_fds(), fds, "request %u leaks a descriptor", call);
        cr_assert(code == WEIR_OK || (failed && err.text[0] != 0), "request %u: %d %s", call, code, err.text);
        failures += code != WEIR_OK;
        kept = code == WEIR_OK ? id : kept;
        cr_assert_eq(newest(&dir, &code), kept, "request %u: %s", call, err.text);
        cr_assert_eq(checkpoint_verify(&dir, kept, IO_AUTO, &err), WEIR_OK, "request %u: %s", call, err.text);
        cr_assert_eq(clean_up(&dir, id), WEIR_OK, "%s", err.text);
        cr_assert_eq(fixture_count_files(path, "snapshots", ""), 1, "request %u", call);
        if (done)
            break;
    }
    cr_expect_geq(failures, 3);
    checkpoint_dir_close(&dir);
    scratch_remove(path);
}

Test(F31_memory, finding_reading_and_cleaning_up_without_memory_go_back_to_nothing_older_and_delete_nothing_needed)
{
    char path[SCRATCH_PATH_BYTES];
    unsigned failures = 0;
    scratch_make("memory", path);
    struct checkpoint_dir dir = fixture_open(io_system(), path);
    for (uint64_t id = 1; id <= 3; id++)
        cr_assert_eq(fixture_checkpoint(&dir, id, 300, &err), WEIR_OK, "%s", err.text);
    for (unsigned call = 1;; call++) {
        struct checkpoint_list list = {0};
        int code;
        unsigned fds = fixture_open_fds();
        fixture_spit(path, "snapshots/00000000000000000001-words-2-g3-a1.snap", "x", 1);
        memset(&err, 0, sizeof err);
        arm(call);
        uint64_t id = newest(&dir, &code);
        cr_assert(code == WEIR_OK ? id == 3 : failed, "request %u: %d, checkpoint %llu", call, code, (unsigned long long)id);
        bool listed = checkpoint_list(&dir, &list, &err) == WEIR_OK;
        if (listed)
            checkpoint_list_free(&list);
        int verified = checkpoint_verify(&dir, 3, IO_AUTO, &err);
        int cleaned = checkpoint_retain(&dir, 2, 4, NULL, &err);
        armed = false;
        failures += code != WEIR_OK || !listed || verified != WEIR_OK || cleaned != WEIR_OK;
        cr_assert_eq(fixture_open_fds(), fds, "request %u leaks a descriptor", call);
        cr_assert_eq(fixture_load(&dir, 3, &err), WEIR_OK, "request %u: %s", call, err.text);
        cr_assert_eq(fixture_load(&dir, 2, &err), WEIR_OK, "request %u: %s", call, err.text);
        if (!failed)
            break;
    }
    cr_expect_geq(failures, 6);
    checkpoint_dir_close(&dir);
    scratch_remove(path);
}

static int set_up_ring(void)
{
    struct ring_producer p = {0};
    struct ring_consumer c = {0};
    int fd = -1;
    int code = ring_create("test", RING_BYTES_MIN, &fd, &err);
    if (code != WEIR_OK)
        return code;
    code = ring_producer_attach(&p, fd, &err);
    if (code == WEIR_OK)
        code = ring_consumer_attach(&c, fd, &err);
    if (code == WEIR_OK)
        code = ring_reset(fd, &err);
    ring_producer_detach(&p);
    ring_consumer_detach(&c);
    close(fd);
    return code;
}

static unsigned count_mappings(void)
{
    unsigned count = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    cr_assert_not_null(file);
    for (int c; (c = fgetc(file)) != EOF;)
        count += c == '\n';
    fclose(file);
    return count;
}

Test(F31_memory, a_ring_that_gets_no_memory_is_refused_in_words_and_leaves_nothing)
{
    unsigned failures = 0;
    cr_assert_eq(set_up_ring(), WEIR_OK, "%s", err.text);
    for (unsigned call = 1;; call++) {
        unsigned fds = fixture_open_fds();
        unsigned mappings = count_mappings();
        memset(&err, 0, sizeof err);
        arm(call);
        int code = set_up_ring();
        armed = false;
        cr_assert_eq(fixture_open_fds(), fds, "request %u leaks a descriptor", call);
        cr_assert_leq(count_mappings(), mappings + 1, "request %u leaks a mapping", call); /* the heap's may grow */
        cr_assert_eq(code != WEIR_OK, failed, "request %u: %d", call, code);
        cr_assert(code == WEIR_OK || err.text[0] != 0);
        failures += code != WEIR_OK;
        if (!failed)
            break;
    }
    cr_expect_geq(failures, 8);
}
