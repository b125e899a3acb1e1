#include "snapshot/file_format.h"

#include "base/bytes.h"
#include "base/check.h"

#include <inttypes.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#define XXH_INLINE_ALL
#include <xxhash.h>
#pragma GCC diagnostic pop

uint64_t bytes_checksum(const void *bytes, size_t size_bytes) { return XXH3_64bits(bytes, size_bytes); }

uint64_t identity_binding(const struct snapshot_identity *identity)
{
    unsigned char bytes[16 + 8 + 64 + 4];
    struct writer w = {.data = bytes, .capacity = sizeof bytes};
    writer_put(&w, identity->job_id, sizeof identity->job_id);
    writer_u64(&w, identity->name.checkpoint_id);
    writer_put(&w, identity->name.task, sizeof identity->name.task);
    writer_u32(&w, identity->name.subtask);
    CHECK(!w.failed && w.used == sizeof bytes);
    return bytes_checksum(bytes, sizeof bytes);
}

/* The finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014). */
static uint64_t mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

uint64_t block_checksum(const void *block, size_t block_bytes, uint64_t binding, uint32_t block_id)
{
    return bytes_checksum(block, block_bytes) ^ mix(binding + block_id);
}

/* Zeroes the rest of the page and puts the checksum of all before it into its last 8 bytes. */
static uint64_t page_seal(struct writer *w)
{
    CHECK(!w->failed && w->used <= SNAPSHOT_SEALED_BYTES);
    memset(w->data + w->used, 0, SNAPSHOT_SEALED_BYTES - w->used);
    uint64_t checksum = bytes_checksum(w->data, SNAPSHOT_SEALED_BYTES);
    struct writer last = {.data = w->data + SNAPSHOT_SEALED_BYTES, .capacity = 8};
    writer_u64(&last, checksum);
    return checksum;
}

static uint64_t page_seal_read(const unsigned char *page)
{
    struct reader r = {.data = page + SNAPSHOT_SEALED_BYTES, .size_bytes = 8};
    return reader_u64(&r);
}

static bool all_zero(const unsigned char *bytes, size_t size_bytes)
{
    for (size_t i = 0; i < size_bytes; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* Magic, version and seal. Pages of every version are sealed alike, so that a newer one is told from one whose version is damaged; there is
 * none before 1. */
static int page_check(const unsigned char *page, const char *magic, const char *part, const char *file, uint64_t offset,
                      struct weir_error *err)
{
    if (memcmp(page, magic, FORMAT_MAGIC_BYTES) != 0)
        return error_set(err, WEIR_ECORRUPT, "%s: byte %" PRIu64 ": the %s does not begin with \"%s\"", file, offset,
                         part, magic);
    struct reader r = {.data = page + FORMAT_MAGIC_BYTES, .size_bytes = 4};
    uint32_t version = reader_u32(&r);
    uint64_t expected = page_seal_read(page);
    uint64_t found = bytes_checksum(page, SNAPSHOT_SEALED_BYTES);
    bool newer = expected == found && version > SNAPSHOT_VERSION;
    if (version != SNAPSHOT_VERSION)
        return error_set(err, newer ? WEIR_EVERSION : WEIR_ECORRUPT,
                         "%s: byte %" PRIu64 ": the %s has format version %" PRIu32 ", this program reads version %u%s",
                         file, offset + FORMAT_MAGIC_BYTES, part, version, SNAPSHOT_VERSION,
                         newer ? ": run the weir that wrote it, or a newer one, or use another checkpoint directory" : "");
    if (expected != found)
        return error_set(err, WEIR_ECORRUPT,
                         "%s: byte %" PRIu64 ": the %s fails its checksum: expected %016" PRIx64 ", found %016" PRIx64,
                         file, offset, part, expected, found);
    return WEIR_OK;
}

void header_encode(const struct snapshot_header *header, unsigned char page[PAGE_BYTES], uint64_t *ret_checksum)
{
    const struct snapshot_identity *identity = &header->identity;
    struct writer w = {.data = page, .capacity = SNAPSHOT_SEALED_BYTES};
    writer_put(&w, SNAPSHOT_MAGIC, FORMAT_MAGIC_BYTES);
    writer_u32(&w, SNAPSHOT_VERSION);
    writer_u32(&w, SNAPSHOT_HEADER_BYTES);
    writer_u32(&w, header->block_bytes);
    writer_u32(&w, 0);
    writer_put(&w, identity->job_id, sizeof identity->job_id);
    writer_u64(&w, identity->name.checkpoint_id);
    writer_u64(&w, identity->name.generation);
    writer_u32(&w, identity->name.attempt);
    writer_u32(&w, identity->name.subtask);
    writer_put(&w, identity->name.task, sizeof identity->name.task);
    *ret_checksum = page_seal(&w);
}

static bool block_bytes_are_valid(uint32_t block_bytes)
{
    return block_bytes >= PAGE_BYTES && block_bytes <= BLOCK_BYTES_MAX && (block_bytes & (block_bytes - 1)) == 0;
}

int header_decode(const unsigned char page[PAGE_BYTES], const char *file, struct snapshot_header *ret_header,
                  struct weir_error *err)
{
    int code = page_check(page, SNAPSHOT_MAGIC, "header", file, 0, err);
    if (code != WEIR_OK)
        return code;
    struct snapshot_header header = {.checksum = page_seal_read(page)};
    struct snapshot_identity *identity = &header.identity;
    struct reader r = {.data = page, .size_bytes = SNAPSHOT_SEALED_BYTES, .used = FORMAT_MAGIC_BYTES + 4};
    uint32_t header_bytes = reader_u32(&r);
    header.block_bytes = reader_u32(&r);
    uint32_t reserved = reader_u32(&r);
    memcpy(identity->job_id, reader_take(&r, sizeof identity->job_id), sizeof identity->job_id);
    identity->name.checkpoint_id = reader_u64(&r);
    identity->name.generation = reader_u64(&r);
    identity->name.attempt = reader_u32(&r);
    identity->name.subtask = reader_u32(&r);
    memcpy(identity->name.task, reader_take(&r, sizeof identity->name.task), sizeof identity->name.task);
    if (header_bytes != SNAPSHOT_HEADER_BYTES || reserved != 0 || !block_bytes_are_valid(header.block_bytes) ||
        identity->name.task[WEIR_NAME_BYTES_MAX] != 0 || !name_is_valid(identity->name.task) ||
        !all_zero(page + r.used, SNAPSHOT_SEALED_BYTES - r.used))
        return error_set(err, WEIR_ECORRUPT, "%s: byte 0: the header has a field out of its range", file);
    *ret_header = header;
    return WEIR_OK;
}

void footer_encode(const struct snapshot_footer *footer, unsigned char page[PAGE_BYTES], uint64_t *ret_checksum)
{
    struct writer w = {.data = page, .capacity = SNAPSHOT_SEALED_BYTES};
    writer_put(&w, SNAPSHOT_FOOTER_MAGIC, FORMAT_MAGIC_BYTES);
    writer_u32(&w, SNAPSHOT_VERSION);
    writer_u32(&w, SNAPSHOT_FOOTER_BYTES);
    writer_u64(&w, footer->block_count);
    writer_u64(&w, footer->data_bytes);
    writer_u64(&w, footer->index_offset);
    writer_u64(&w, footer->index_bytes);
    writer_u64(&w, footer->index_checksum);
    writer_u64(&w, footer->total_bytes);
    writer_u64(&w, footer->header_checksum);
    *ret_checksum = page_seal(&w);
}

int footer_decode(const unsigned char page[PAGE_BYTES], const char *file, uint64_t offset,
                  struct snapshot_footer *ret_footer, struct weir_error *err)
{
    int code = page_check(page, SNAPSHOT_FOOTER_MAGIC, "footer", file, offset, err);
    if (code != WEIR_OK)
        return code;
    struct reader r = {.data = page, .size_bytes = SNAPSHOT_SEALED_BYTES, .used = FORMAT_MAGIC_BYTES + 4};
    uint32_t footer_bytes = reader_u32(&r);
    struct snapshot_footer footer = {.checksum = page_seal_read(page)};
    footer.block_count = reader_u64(&r);
    footer.data_bytes = reader_u64(&r);
    footer.index_offset = reader_u64(&r);
    footer.index_bytes = reader_u64(&r);
    footer.index_checksum = reader_u64(&r);
    footer.total_bytes = reader_u64(&r);
    footer.header_checksum = reader_u64(&r);
    if (footer_bytes != SNAPSHOT_FOOTER_BYTES || !all_zero(page + r.used, SNAPSHOT_SEALED_BYTES - r.used))
        return error_set(err, WEIR_ECORRUPT, "%s: byte %" PRIu64 ": the footer has a field out of its range", file,
                         offset);
    *ret_footer = footer;
    return WEIR_OK;
}

void index_entry_encode(const struct index_entry *entry, unsigned char bytes[INDEX_ENTRY_BYTES])
{
    struct writer w = {.data = bytes, .capacity = INDEX_ENTRY_BYTES};
    writer_u32(&w, entry->block_id);
    writer_u32(&w, entry->file_no);
    writer_u64(&w, entry->offset);
    writer_u64(&w, entry->checksum);
}

void index_entry_decode(const unsigned char bytes[INDEX_ENTRY_BYTES], struct index_entry *ret_entry)
{
    struct reader r = {.data = bytes, .size_bytes = INDEX_ENTRY_BYTES};
    ret_entry->block_id = reader_u32(&r);
    ret_entry->file_no = reader_u32(&r);
    ret_entry->offset = reader_u64(&r);
    ret_entry->checksum = reader_u64(&r);
}
