/*
 * fuzz_snapshot.c - snapshot_open() and snapshot_read() take any file. The file is the input, behind a `struct io` that
 * reads from memory. Each input is tried as it is, and with the checksums of header, index and footer made right and
 * the manifest agreeing with them, so that the checks behind them are reached.
 */
#include "snapshot/file_format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

struct memory_file {
    const unsigned char *bytes;
    size_t size_bytes;
};

static int memory_openat(void *self, int dir_fd, const char *name, int flags, mode_t mode)
{
    (void)self, (void)dir_fd, (void)name, (void)flags, (void)mode;
    return 1000;
}

static int memory_close(void *self, int fd)
{
    (void)self, (void)fd;
    return 0;
}

static ssize_t memory_pread(void *self, int fd, void *data, size_t size_bytes, uint64_t offset)
{
    (void)fd;
    const struct memory_file *file = self;
    if (offset >= file->size_bytes)
        return 0;
    size_t left_bytes = file->size_bytes - offset;
    size_t part_bytes = size_bytes < left_bytes ? size_bytes : left_bytes;
    memcpy(data, file->bytes + offset, part_bytes);
    return (ssize_t)part_bytes;
}

static int memory_fstat(void *self, int fd, struct stat *ret_stat)
{
    (void)fd;
    const struct memory_file *file = self;
    memset(ret_stat, 0, sizeof *ret_stat);
    ret_stat->st_mode = S_IFREG | 0600;
    ret_stat->st_size = (off_t)file->size_bytes;
    return 0;
}

static int take_block(void *self, uint32_t id, const void *block, struct weir_error *err)
{
    (void)err;
    uint64_t *sum = self;
    *sum += id + bytes_checksum(block, 4096);
    return WEIR_OK;
}

static void try_file(const unsigned char *bytes, size_t size_bytes, const struct snapshot_file *file,
                     const struct snapshot_identity *identity)
{
    struct memory_file memory = {bytes, size_bytes};
    struct io io = {
        .self = &memory, .openat = memory_openat, .close = memory_close, .pread = memory_pread, .fstat = memory_fstat};
    struct checkpoint_dir dir = {.io = &io, .path = "fuzz"};
    struct weir_error err = {0};
    struct snapshot_reader *reader = NULL;
    uint64_t sum = 0;
    int code = snapshot_open(&dir, file, identity, IO_PWRITE, &reader, &err);
    if (code == WEIR_OK)
        code = snapshot_read(reader, take_block, &sum, &err);
    if (code != WEIR_OK &&
        ((code != WEIR_ECORRUPT && code != WEIR_EVERSION && code != WEIR_EMISMATCH) || err.text[0] == 0))
        abort();
    snapshot_close(reader);
}

static void put_u64(unsigned char *bytes, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t get_u64(const unsigned char *bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

/* Where the index is as the footer says, as far as the file reaches. */
static void reseal_index(unsigned char *bytes, size_t size_bytes, unsigned char *footer)
{
    uint64_t at = get_u64(footer + 32);
    uint64_t padded_bytes = (get_u64(footer + 40) + 4095) & ~UINT64_C(4095);
    if (at <= size_bytes && padded_bytes <= size_bytes - at)
        put_u64(footer + 48, bytes_checksum(bytes + at, padded_bytes));
}

static void reseal(unsigned char *bytes, size_t size_bytes, struct snapshot_file *file)
{
    unsigned char *footer = bytes + size_bytes - 4096;
    put_u64(bytes + 4088, bytes_checksum(bytes, 4088));
    reseal_index(bytes, size_bytes, footer);
    put_u64(footer + 56, size_bytes);
    put_u64(footer + 64, get_u64(bytes + 4088));
    put_u64(footer + 4088, bytes_checksum(footer, 4088));
    file->checksum = get_u64(footer + 4088);
    file->block_count = get_u64(footer + 16);
    file->block_bytes = (uint32_t)get_u64(bytes + 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    struct snapshot_identity identity = {
        .name = {.checkpoint_id = 7, .task = "words", .subtask = 1, .generation = 3, .attempt = 1}};
    struct snapshot_file file = {
        .size_bytes = size_bytes, .block_bytes = 4096, .attempt = 1, .checkpoint_id = 7, .generation = 3};
    memcpy(identity.job_id, "0123456789abcdef", 16);
    snapshot_name_format(&identity.name, file.name);
    unsigned char *bytes = calloc(1, size_bytes + 1);
    if (bytes == NULL)
        return 0;
    if (size_bytes > 0)
        memcpy(bytes, data, size_bytes);
    try_file(bytes, size_bytes, &file, &identity);
    if (size_bytes >= 2 * 4096) {
        reseal(bytes, size_bytes, &file);
        try_file(bytes, size_bytes, &file, &identity);
    }
    free(bytes);
    return 0;
}
