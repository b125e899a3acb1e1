/*
 * region.h - anonymous shared memory: a memfd, sealed against resizing, handed on by inheritance. It has no name in the file
 * system, nothing is left of it when the last process ends, and nobody can shrink it under a mapping (no SIGBUS).
 */
#ifndef WEIR_SHM_REGION_H
#define WEIR_SHM_REGION_H

#include "base/error.h"

#define REGION_HUGE_BYTES (UINT64_C(2) << 20)

/* A sealed memfd of size_bytes. backed: all pages are allocated now (ENOMEM/ENOSPC here, not SIGBUS later); else it is sparse and
 * the owner backs it as it grows. The descriptor is close-on-exec and survives fork; the caller closes it. */
int region_create(const char *name, uint64_t size_bytes, bool backed, int *ret_fd, struct weir_error *err);
/* Maps bytes [offset, offset + size_bytes) shared, readable and writable, from REGION_HUGE_BYTES on at an address that is a multiple of
 * that. region_unmap() with the same size. */
int region_map(int fd, uint64_t offset, uint64_t size_bytes, void **ret_address, struct weir_error *err);
/* Maps a control part of control_bytes and, behind it, data_bytes twice in a row, so that no range of up to data_bytes that
 * starts in the first copy is split. Unmap control_bytes + 2 * data_bytes. */
int region_map_twice(int fd, uint64_t control_bytes, uint64_t data_bytes, void **ret_address, struct weir_error *err);
void region_unmap(void *address, uint64_t size_bytes);

/* Makes [address, address + REGION_HUGE_BYTES), aligned and all of it mapped by region_map(), one huge page, which has memory and is
 * mapped when this returns; what was in it stays. Other processes map it at one touch. It is asked for by MADV_COLLAPSE (Linux 6.1), which
 * works whatever /sys/kernel/mm/transparent_hugepage/shmem_enabled says, and takes 0.15 ms (most of it to zero it), longer where memory is
 * in pieces. False, with errno, where there is none: then nothing of it but its first page needs to have memory. */
bool region_make_huge(void *address);
/* Whether that works on this system: tried with one. */
bool region_huge_pages_work(void);

#endif
