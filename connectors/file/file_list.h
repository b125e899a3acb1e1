/*
 * file_list.h - which files, and which part of each, a file source reads: decided once, at the first start of the job.
 *
 * All subtasks must decide from the same list, although they look at the directory at different moments. So the first
 * one to look publishes what it saw as connectors/<operator>/files-<generation> in the job's directory, and the others
 * read that. Each subtask then keeps its own share in its declared state: a restore reads the same files, whatever the
 * glob gives by then.
 */
#ifndef WEIR_CONNECTORS_FILE_FILE_LIST_H
#define WEIR_CONNECTORS_FILE_FILE_LIST_H

#include "weir.h"

#include <stddef.h>
#include <stdint.h>

/* One file as it was at the first start. `begin` and `end`: the range that this subtask reads. */
struct file_entry {
    uint64_t begin;
    uint64_t end;
    uint64_t size_bytes;
    char *path;
};

struct file_list {
    struct file_entry *entries;
    size_t count;
};

/* All files of options->path, whole, sorted by name; from the published list where there is one. Fails on a missing or
 * unreadable file, what is not a regular file, an empty directory, and a glob without matches. Blocks. */
int file_list_find(struct weir_ctx *ctx, const struct weir_file_source_options *options, struct file_list *ret_list);
/* Cuts the list down to what this subtask reads: its byte range of each file, or whole files by turns. Ranges of binary
 * files begin at whole records; an incomplete last record is a failure that names its offset. */
int file_list_take_share(struct weir_ctx *ctx, const struct weir_file_source_options *options, struct file_list *list);
/* The share as a per-operator list state, and back. */
int file_list_store(struct weir_ctx *ctx, unsigned state, const struct file_list *list);
int file_list_load(struct weir_ctx *ctx, unsigned state, struct file_list *ret_list);
/* Removes what earlier starts published and left: a power cut may bring back what had been removed. In a source that has its share already. */
void file_list_remove_older(struct weir_ctx *ctx);
/* Removes what this start of the job published. Once a checkpoint is complete every subtask has its share. */
void file_list_unpublish(struct weir_ctx *ctx);
void file_list_free(struct file_list *list);

#endif
