/*
 * io_fault.h - slow and failing disk operations in a running job, for `weir chaos` and for tests from outside: a `struct io`
 * that counts the calls of all processes of the job and makes some of them fail, or wait first. Only in builds with kill
 * points.
 *
 * Armed by WEIR_IO_FAULT, a list "operation:nth[*times]:action" separated by commas. Rows count independently of one another.
 *   operation  a name of IO_FAULT_TABLE
 *   nth        from the nth call on, counted over all processes, also those that follow a dead one
 *   times      so many calls (default: 1)
 *   action     error=NAME (EIO, ENOSPC, ... : the call is not made and fails with it), or delay=MS (it is made, that much later)
 * A row that takes effect says so in one line of the log.
 */
#ifndef WEIR_SNAPSHOT_IO_FAULT_H
#define WEIR_SNAPSHOT_IO_FAULT_H

#include "snapshot/io.h"

/* name in WEIR_IO_FAULT, which is that of the function in struct io, and what it is for */
#define IO_FAULT_TABLE(X)                                                                                              \
    X(openat, "open or make a file")                                                                                   \
    X(pread, "read a block, or a manifest")                                                                            \
    X(pwrite, "write a block without io_uring, or a manifest")                                                         \
    X(set_size, "set a file's size")                                                                                   \
    X(fdatasync, "make a file durable")                                                                                \
    X(fsync, "make a directory durable")                                                                               \
    X(rename_new, "give a manifest its name")                                                                          \
    X(unlinkat, "delete a file")                                                                                       \
    X(mkdirat, "make a directory")                                                                                     \
    X(fstat, "ask for an open file's size")                                                                            \
    X(fstatat, "ask for a file's size")                                                                                \
    X(getdents, "list a directory")                                                                                    \
    X(ring_init, "make an io_uring")                                                                                   \
    X(ring_submit, "hand a block to io_uring")                                                                         \
    X(ring_wait, "the result of a block written or read by io_uring")

enum io_operation {
#define IO_FAULT_ENUM(name, text) IO_OP_##name,
    IO_FAULT_TABLE(IO_FAULT_ENUM)
#undef IO_FAULT_ENUM
    IO_OP_COUNT
};

/* Whether a list makes sense: WEIR_EINVAL, in words; WEIR_EUNSUPPORTED in a build without kill points. */
int io_fault_check(const char *list, struct weir_error *err);
/* "pread"; NULL past the table. */
const char *io_fault_operation(unsigned index);

/* The table that a job is to use: the system's own or, where WEIR_IO_FAULT is set, one with faults in it. Launcher, before
 * the first fork: the counters are in memory that all its processes share. WEIR_EINVAL for a list that makes no sense;
 * WEIR_EUNSUPPORTED where it is set in a build without kill points. Static memory. */
int io_for_job(const struct io **ret_io, struct weir_error *err);

#endif
