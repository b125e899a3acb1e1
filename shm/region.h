/*
 * region.h - anonymous shared memory: a memfd, sealed against resizing, handed on by inheritance. It has no name in the file
 * system, nothing is left of it when the last process ends, and nobody can shrink it under a mapping (no SIGBUS).
 */
#ifndef WEIR_SHM_REGION_H
#define WEIR_SHM_REGION_H

#include "base/error.h"

/* A sealed memfd of size_bytes. backed: all pages are allocated now (ENOMEM/ENOSPC here, not SIGBUS later); else it is sparse and
 * the owner backs it as it grows. The descriptor is close-on-exec and survives fork; the caller closes it. */
int region_create(const char *name, uint64_t size_bytes, bool backed, int *ret_fd, struct weir_error *err);
/* Maps bytes [offset, offset + size_bytes) shared, readable and writable. region_unmap() with the same size. */
int region_map(int fd, uint64_t offset, uint64_t size_bytes, void **ret_address, struct weir_error *err);
/* Maps a control part of control_bytes and, behind it, data_bytes twice in a row, so that no range of up to data_bytes that
 * starts in the first copy is split. Unmap control_bytes + 2 * data_bytes. */
int region_map_twice(int fd, uint64_t control_bytes, uint64_t data_bytes, void **ret_address, struct weir_error *err);
void region_unmap(void *address, uint64_t size_bytes);

/* Whether the system gives huge pages to shared memory that asks for them (shmem_enabled is always, within_size, advise or force). Else a
 * process that takes over has 512 times as many page table entries to fill. */
bool region_huge_pages_allowed(void);

#endif
