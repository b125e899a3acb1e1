/*
 * snapshot_bench - how fast a snapshot is written and read back: `snapshot_bench [MIB] [DIRECTORY] [ROUNDS]`.
 *
 * Blocks of 4 KiB from memory (in order, and scattered, as a state region after a while), as the snapshot child writes
 * them: gathered, hashed, O_DIRECT, 16 x 1 MiB in flight; then fdatasync. One line a figure: name, median of the
 * rounds, unit. To be compared with: fio --rw=write --bs=1M --iodepth=16 --ioengine=io_uring --direct=1 --fdatasync=0
 * --end_fsync=1.
 */
#include "snapshot/checkpoint.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK_BYTES BLOCK_BYTES_DEFAULT
#define ROUNDS_MAX 32u

struct blocks {
    const unsigned char *memory;
    uint32_t count;
    uint32_t next;
    uint32_t stride; /* odd, so that every block has its turn */
};

static int next_block(void *self, uint32_t *ret_id, const void **ret_block)
{
    struct blocks *b = self;
    if (b->next == b->count)
        return WEIR_END;
    uint32_t place = (uint32_t)((uint64_t)b->next * b->stride % b->count);
    *ret_id = b->next++;
    *ret_block = b->memory + (uint64_t)place * BLOCK_BYTES;
    return WEIR_OK;
}

static int ignore_block(void *self, uint32_t id, const void *block, struct weir_error *err)
{
    (void)self;
    (void)id;
    (void)block;
    (void)err;
    return WEIR_OK;
}

static unsigned char *make_memory(size_t size_bytes)
{
    unsigned char *memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    uint64_t x = 1;
    for (size_t i = 0; i < size_bytes; i += 8) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        memcpy(memory + i, &x, 8);
    }
    return memory;
}

struct round {
    double write_gb_per_s;
    double read_gb_per_s;
};

static int run_round(const struct checkpoint_dir *dir, struct blocks blocks, enum io_mode mode, struct round *ret_round,
                     struct weir_error *err)
{
    struct snapshot_identity identity = {.name = {.checkpoint_id = 1, .task = "bench"}};
    struct snapshot_options options = {.io_mode = mode};
    struct block_source source = {next_block, NULL, &blocks, blocks.count, NULL};
    struct snapshot_result result;
    int code = snapshot_write(dir, &identity, &options, &source, &result, err);
    if (code != WEIR_OK)
        return code;
    struct snapshot_reader *reader = NULL;
    int64_t begun_ns = clock_monotonic_ns();
    code = snapshot_open(dir, &result.file, &identity, mode, &reader, err);
    if (code == WEIR_OK)
        code = snapshot_read(reader, ignore_block, NULL, err);
    int64_t read_ns = clock_monotonic_ns() - begun_ns;
    snapshot_close(reader);
    dir->io->unlinkat(dir->io->self, dir->snapshots_fd, result.file.name);
    double bytes = (double)result.file.size_bytes;
    ret_round->write_gb_per_s = bytes / (double)(result.write_ns + result.sync_ns);
    ret_round->read_gb_per_s = bytes / (double)read_ns;
    return code;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static int run(const struct checkpoint_dir *dir, const char *name, struct blocks blocks, enum io_mode mode,
               unsigned rounds, struct weir_error *err)
{
    double writes[ROUNDS_MAX];
    double reads[ROUNDS_MAX];
    for (unsigned i = 0; i < rounds; i++) {
        struct round round;
        int code = run_round(dir, blocks, mode, &round, err);
        if (code != WEIR_OK)
            return code;
        writes[i] = round.write_gb_per_s;
        reads[i] = round.read_gb_per_s;
    }
    qsort(writes, rounds, sizeof writes[0], compare_doubles);
    qsort(reads, rounds, sizeof reads[0], compare_doubles);
    printf("snapshot.write.%s.%s %.2f GB/s (%.2f to %.2f)\n", io_mode_name(mode), name, writes[rounds / 2], writes[0],
           writes[rounds - 1]);
    printf("snapshot.read.%s.%s %.2f GB/s (%.2f to %.2f)\n", io_mode_name(mode), name, reads[rounds / 2], reads[0],
           reads[rounds - 1]);
    return WEIR_OK;
}

static int run_all(const struct checkpoint_dir *dir, const unsigned char *memory, uint32_t count, unsigned rounds,
                   struct weir_error *err)
{
    struct blocks in_order = {.memory = memory, .count = count, .stride = 1};
    struct blocks scattered = {.memory = memory, .count = count, .stride = 7919}; /* a prime */
    int code = run(dir, "in_order", in_order, IO_URING, rounds, err);
    if (code == WEIR_OK)
        code = run(dir, "scattered", scattered, IO_URING, rounds, err);
    if (code == WEIR_OK)
        code = run(dir, "in_order", in_order, IO_PWRITE, rounds, err);
    return code;
}

int main(int argc, char **argv)
{
    size_t mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 256;
    const char *parent = argc > 2 ? argv[2] : ".";
    unsigned rounds = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 5;
    if (mib == 0 || mib > 65536 || rounds == 0 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: snapshot_bench [MIB 1..65536] [DIRECTORY] [ROUNDS 1..%u]\n", ROUNDS_MAX);
        return 2;
    }
    char path[4096];
    snprintf(path, sizeof path, "%s/snapshot-bench-%d", parent, (int)getpid());
    struct weir_error err = {0};
    struct checkpoint_dir dir;
    unsigned char *memory = make_memory(mib << 20);
    if (memory == NULL) {
        fprintf(stderr, "snapshot_bench: no %zu MiB of memory\n", mib);
        return 1;
    }
    int code = checkpoint_dir_open(io_system(), path, true, &dir, &err);
    if (code == WEIR_OK) {
        code = run_all(&dir, memory, (uint32_t)((mib << 20) / BLOCK_BYTES), rounds, &err);
        checkpoint_dir_close(&dir);
        strcat(path, "/snapshots");
        rmdir(path);
        *strrchr(path, '/') = 0;
        rmdir(path);
    }
    if (code != WEIR_OK)
        fprintf(stderr, "snapshot_bench: %s\n", err.text);
    return code != WEIR_OK;
}
