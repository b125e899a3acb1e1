/*
 * file_format.h - every disk struct of this folder, by offset: all integers little-endian, all unused bytes zero.
 * Documented to the byte in docs/formats/snapshot.md and docs/formats/manifest.md. The structs are never laid over file
 * bytes: encode and decode go through base/bytes.h, so neither alignment nor byte order of the machine matter.
 */
#ifndef WEIR_SNAPSHOT_FILE_FORMAT_H
#define WEIR_SNAPSHOT_FILE_FORMAT_H

#include "snapshot/snapshot.h"

#define SNAPSHOT_MAGIC "WEIRSNAP"
#define SNAPSHOT_FOOTER_MAGIC "WEIRSEND"
#define MANIFEST_MAGIC "WEIRMANI"
#define FORMAT_MAGIC_BYTES 8u
#define SNAPSHOT_VERSION 1u
#define MANIFEST_VERSION 1u

/* A snapshot file: header | blocks | index, padded | footer; each part starts at a multiple of PAGE_BYTES. */
#define PAGE_BYTES 4096u
#define SNAPSHOT_HEADER_BYTES PAGE_BYTES
#define SNAPSHOT_FOOTER_BYTES PAGE_BYTES
#define SNAPSHOT_SEALED_BYTES                                                                                          \
    (PAGE_BYTES - 8u) /* of header and footer: what the checksum in the last 8 bytes covers                            \
                       */
#define INDEX_ENTRY_BYTES 24u
#define SNAPSHOT_BLOCKS_MAX (UINT64_C(1) << 32) /* block ids are 32 bits */

struct snapshot_header {
    uint32_t block_bytes;
    struct snapshot_identity identity;
    uint64_t checksum; /* of the bytes before it */
};

struct index_entry {
    uint32_t block_id;
    uint32_t file_no; /* 0: this file. Others are reserved for references to blocks of earlier files */
    uint64_t offset;
    uint64_t checksum;
};

struct snapshot_footer {
    uint64_t block_count;
    uint64_t data_bytes; /* of the blocks in this file */
    uint64_t index_offset;
    uint64_t index_bytes; /* without padding */
    uint64_t index_checksum;
    uint64_t total_bytes; /* of the file, with this footer */
    uint64_t header_checksum;
    uint64_t checksum; /* of the bytes before it, and so of the whole file: what the manifest lists */
};

_Static_assert(sizeof(struct index_entry) == INDEX_ENTRY_BYTES,
               "the index is kept in memory as it is on disk, but for byte order");

void header_encode(const struct snapshot_header *header, unsigned char page[PAGE_BYTES], uint64_t *ret_checksum);
/* WEIR_ECORRUPT or WEIR_EVERSION; `file` names it in the message. */
int header_decode(const unsigned char page[PAGE_BYTES], const char *file, struct snapshot_header *ret_header,
                  struct weir_error *err);
void footer_encode(const struct snapshot_footer *footer, unsigned char page[PAGE_BYTES], uint64_t *ret_checksum);
/* `offset` is where the page was, for the message. */
int footer_decode(const unsigned char page[PAGE_BYTES], const char *file, uint64_t offset,
                  struct snapshot_footer *ret_footer, struct weir_error *err);
void index_entry_encode(const struct index_entry *entry, unsigned char bytes[INDEX_ENTRY_BYTES]);
void index_entry_decode(const unsigned char bytes[INDEX_ENTRY_BYTES], struct index_entry *ret_entry);

uint64_t bytes_checksum(const void *bytes, size_t size_bytes); /* XXH3_64bits */
/* Of whose blocks a file's are: XXH3_64bits over job id, checkpoint id, task (zero-padded), subtask. */
uint64_t identity_binding(const struct snapshot_identity *identity);
/* XXH3_64bits(block) ^ mix(binding + block id): a block in the wrong place, or of another checkpoint, does not match.
 */
uint64_t block_checksum(const void *block, size_t block_bytes, uint64_t binding, uint32_t block_id);

#endif
