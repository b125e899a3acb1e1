#include "faults/disk_model.h"

#include "base/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define FD_FIRST 1000
#define TOP_INODE 0 /* "/" */

static void *grow(void *array, size_t count, size_t item_bytes)
{
    if ((count & (count - 1)) != 0) /* not full: capacities are powers of two */
        return array;
    void *more = reallocarray(array, count == 0 ? 1 : 2 * count, item_bytes);
    CHECK(more != NULL);
    return more;
}

/* ---- a view: names and files ---- */

static int view_find(const struct disk_view *view, int dir, const char *name)
{
    for (size_t i = 0; i < view->entry_count; i++)
        if (view->entries[i].dir == dir && strcmp(view->entries[i].name, name) == 0)
            return view->entries[i].inode;
    return -1;
}

/* An entry keeps its place when it goes, so that a scan that is under way does not lose its own. */
static void view_set(struct disk_view *view, const struct disk_entry *entry)
{
    for (size_t i = 0; i < view->entry_count; i++)
        if (view->entries[i].dir == entry->dir && strcmp(view->entries[i].name, entry->name) == 0) {
            view->entries[i].inode = entry->inode;
            return;
        }
    view->entries = grow(view->entries, view->entry_count, sizeof *view->entries);
    view->entries[view->entry_count++] = *entry;
}

static int view_add_inode(struct disk_view *view, bool is_dir, int parent)
{
    view->inodes = grow(view->inodes, view->inode_count, sizeof *view->inodes);
    view->inodes[view->inode_count] = (struct disk_inode){.is_dir = is_dir, .parent = parent};
    return (int)view->inode_count++;
}

static void inode_reserve(struct disk_inode *inode, size_t size_bytes)
{
    if (size_bytes <= inode->capacity_bytes)
        return;
    inode->bytes = realloc(inode->bytes, size_bytes);
    CHECK(inode->bytes != NULL);
    memset(inode->bytes + inode->capacity_bytes, 0, size_bytes - inode->capacity_bytes);
    inode->capacity_bytes = size_bytes;
}

static void inode_resize(struct disk_inode *inode, size_t size_bytes)
{
    inode_reserve(inode, size_bytes);
    if (size_bytes < inode->size_bytes)
        memset(inode->bytes + size_bytes, 0, inode->size_bytes - size_bytes);
    inode->size_bytes = size_bytes;
}

static void view_free(struct disk_view *view)
{
    for (size_t i = 0; i < view->inode_count; i++)
        free(view->inodes[i].bytes);
    free(view->inodes);
    free(view->entries);
}

static bool view_is_named(const struct disk_view *view, int inode)
{
    for (size_t i = 0; i < view->entry_count; i++)
        if (view->entries[i].inode == inode)
            return true;
    return inode == TOP_INODE;
}

/* Files that have no name are left empty: nobody can open them any more. */
static struct disk_view view_copy(const struct disk_view *from)
{
    struct disk_view view = {0};
    for (size_t i = 0; i < from->entry_count; i++) {
        view.entries = grow(view.entries, view.entry_count, sizeof *view.entries);
        view.entries[view.entry_count++] = from->entries[i];
    }
    for (size_t i = 0; i < from->inode_count; i++) {
        const struct disk_inode *inode = &from->inodes[i];
        int number = view_add_inode(&view, inode->is_dir, inode->parent);
        if (inode->size_bytes == 0 || !view_is_named(from, number))
            continue;
        inode_resize(&view.inodes[number], inode->size_bytes);
        memcpy(view.inodes[number].bytes, inode->bytes, inode->size_bytes);
    }
    return view;
}

/* ---- the log ---- */

static struct disk_op *log_add(struct disk *disk, enum disk_op_kind kind, int inode)
{
    disk->log = grow(disk->log, disk->op_count, sizeof *disk->log);
    struct disk_op *op = &disk->log[disk->op_count++];
    *op = (struct disk_op){.kind = kind, .inode = inode};
    return op;
}

static void log_write(struct disk *disk, int number, uint64_t offset, size_t size_bytes)
{
    const struct disk_inode *inode = &disk->now.inodes[number];
    uint64_t first = offset & ~(uint64_t)(DISK_SECTOR_BYTES - 1);
    uint64_t end = (offset + size_bytes + DISK_SECTOR_BYTES - 1) & ~(uint64_t)(DISK_SECTOR_BYTES - 1);
    struct disk_op *op = log_add(disk, OP_WRITE, number);
    op->offset = first;
    op->size_bytes = end - first;
    op->bytes = malloc(op->size_bytes);
    CHECK(op->bytes != NULL && end <= inode->capacity_bytes);
    memcpy(op->bytes, inode->bytes + first, op->size_bytes);
}

static void set_size(struct disk *disk, int number, uint64_t size_bytes)
{
    inode_resize(&disk->now.inodes[number], size_bytes);
    log_add(disk, OP_SIZE, number)->size_bytes = size_bytes;
}

/* One or two names of a directory change in one step. */
static void set_entries(struct disk *disk, int dir, const char *name, int inode, const char *other_name, int other_inode)
{
    struct disk_op *op = log_add(disk, OP_ENTRY, dir);
    const char *names[2] = {name, other_name};
    const int inodes[2] = {inode, other_inode};
    for (size_t i = 0; i < 2 && names[i] != NULL; i++) {
        struct disk_entry *entry = &op->entries[op->entry_count++];
        entry->dir = dir;
        entry->inode = inodes[i];
        strncpy(entry->name, names[i], sizeof entry->name - 1);
        view_set(&disk->now, entry);
    }
}

/* ---- struct io ---- */

static bool hits(struct disk *disk)
{
    bool hit = ++disk->calls == disk->fail_at;
    disk->failed |= hit;
    return hit;
}

static struct disk_fd *fd_of(struct disk *disk, int fd)
{
    CHECK(fd >= FD_FIRST && fd < FD_FIRST + DISK_FDS_MAX && disk->fds[fd - FD_FIRST].used);
    return &disk->fds[fd - FD_FIRST];
}

/* Absolute paths of the shapes /disk, /disk/., /disk/NAME, /disk/NAME/. with AT_FDCWD; one name below a descriptor. */
static int resolve(struct disk *disk, int dir_fd, const char *path, int *ret_dir, char name[FILE_NAME_BYTES])
{
    int dir = dir_fd == AT_FDCWD ? TOP_INODE : fd_of(disk, dir_fd)->inode;
    for (;;) {
        path += strspn(path, "/");
        size_t size_bytes = strcspn(path, "/");
        CHECK(size_bytes < FILE_NAME_BYTES);
        memcpy(name, path, size_bytes);
        name[size_bytes] = 0;
        path += size_bytes;
        *ret_dir = dir;
        int inode = view_find(&disk->now, dir, name);
        if (strcmp(name, ".") == 0)
            inode = dir;
        else if (strcmp(name, "..") == 0)
            inode = disk->now.inodes[dir].parent;
        if (*path == 0)
            return inode;
        if (inode < 0)
            return -1;
        dir = inode;
    }
}

static int new_fd(struct disk *disk, int inode)
{
    for (int i = 0; i < DISK_FDS_MAX; i++)
        if (!disk->fds[i].used) {
            disk->fds[i] = (struct disk_fd){.used = true, .inode = inode};
            disk->open_fds++;
            return FD_FIRST + i;
        }
    return -EMFILE;
}

static int disk_openat(void *self, int dir_fd, const char *path, int flags, mode_t mode)
{
    struct disk *disk = self;
    char name[FILE_NAME_BYTES];
    int dir;
    (void)mode;
    if (hits(disk))
        return -disk->errno_value;
    int inode = resolve(disk, dir_fd, path, &dir, name);
    if (inode >= 0 && (flags & O_EXCL) != 0)
        return -EEXIST;
    if (inode < 0 && (flags & O_CREAT) == 0)
        return -ENOENT;
    if (inode >= 0 && (flags & O_DIRECTORY) != 0 && !disk->now.inodes[inode].is_dir)
        return -ENOTDIR;
    if (inode < 0) {
        inode = view_add_inode(&disk->now, false, dir);
        set_entries(disk, dir, name, inode, NULL, 0);
    }
    return new_fd(disk, inode);
}

static int disk_close(void *self, int fd)
{
    struct disk *disk = self;
    fd_of(disk, fd)->used = false;
    disk->open_fds--;
    return hits(disk) ? -disk->errno_value : 0;
}

static ssize_t disk_pread(void *self, int fd, void *data, size_t size_bytes, uint64_t offset)
{
    struct disk *disk = self;
    const struct disk_inode *inode = &disk->now.inodes[fd_of(disk, fd)->inode];
    if (hits(disk))
        return -disk->errno_value;
    if (offset >= inode->size_bytes)
        return 0;
    size_t left_bytes = inode->size_bytes - offset;
    size_t part_bytes = size_bytes < left_bytes ? size_bytes : left_bytes;
    memcpy(data, inode->bytes + offset, part_bytes);
    return (ssize_t)part_bytes;
}

static ssize_t disk_pwrite(void *self, int fd, const void *data, size_t size_bytes, uint64_t offset)
{
    struct disk *disk = self;
    int number = fd_of(disk, fd)->inode;
    if (hits(disk))
        return -disk->errno_value;
    if (size_bytes == 0)
        return 0;
    struct disk_inode *inode = &disk->now.inodes[number];
    inode_reserve(inode, (offset + size_bytes + DISK_SECTOR_BYTES - 1) & ~(size_t)(DISK_SECTOR_BYTES - 1));
    memcpy(inode->bytes + offset, data, size_bytes);
    log_write(disk, number, offset, size_bytes);
    if (offset + size_bytes > inode->size_bytes)
        set_size(disk, number, offset + size_bytes);
    return (ssize_t)size_bytes;
}

static int disk_set_size(void *self, int fd, uint64_t size_bytes, bool allocate)
{
    struct disk *disk = self;
    int number = fd_of(disk, fd)->inode;
    if (hits(disk))
        return -disk->errno_value;
    if (!allocate || size_bytes > disk->now.inodes[number].size_bytes)
        set_size(disk, number, size_bytes);
    return 0;
}

static bool is_lie(const struct disk *disk, int number, bool data_only)
{
    const struct disk_inode *inode = &disk->now.inodes[number];
    switch (disk->lie) {
    case LIE_FSYNC_PARENT: return number == TOP_INODE;
    case LIE_FDATASYNC: return data_only;
    case LIE_FSYNC_FILE: return !data_only && !inode->is_dir;
    case LIE_FSYNC_TOP: return inode->is_dir && view_find(&disk->now, number, "snapshots") >= 0;
    case LIE_FSYNC_SNAPSHOTS: return inode->is_dir && number == view_find(&disk->now, inode->parent, "snapshots");
    default: return false;
    }
}

static int sync_inode(struct disk *disk, int fd, bool data_only)
{
    int number = fd_of(disk, fd)->inode;
    bool hit = hits(disk);
    if (is_lie(disk, number, data_only))
        return 0;
    log_add(disk, OP_SYNC, number)->failed = hit;
    return hit ? -disk->errno_value : 0;
}

static int disk_fdatasync(void *self, int fd) { return sync_inode(self, fd, true); }
static int disk_fsync(void *self, int fd) { return sync_inode(self, fd, false); }

static int disk_rename_new(void *self, int dir_fd, const char *from, const char *to)
{
    struct disk *disk = self;
    int dir = fd_of(disk, dir_fd)->inode;
    int inode = view_find(&disk->now, dir, from);
    if (hits(disk))
        return -disk->errno_value;
    if (inode < 0)
        return -ENOENT;
    if (view_find(&disk->now, dir, to) >= 0)
        return -EEXIST;
    set_entries(disk, dir, from, -1, to, inode);
    return 0;
}

static int disk_unlinkat(void *self, int dir_fd, const char *name)
{
    struct disk *disk = self;
    int dir = fd_of(disk, dir_fd)->inode;
    if (hits(disk))
        return -disk->errno_value;
    if (view_find(&disk->now, dir, name) < 0)
        return -ENOENT;
    set_entries(disk, dir, name, -1, NULL, 0);
    return 0;
}

static int disk_mkdirat(void *self, int dir_fd, const char *path, mode_t mode)
{
    struct disk *disk = self;
    char name[FILE_NAME_BYTES];
    int dir;
    (void)mode;
    if (hits(disk))
        return -disk->errno_value;
    if (resolve(disk, dir_fd, path, &dir, name) >= 0)
        return -EEXIST;
    int inode = view_add_inode(&disk->now, true, dir);
    set_entries(disk, dir, name, inode, NULL, 0);
    return 0;
}

static int fill_stat(struct disk *disk, int inode, struct stat *ret_stat)
{
    if (hits(disk))
        return -disk->errno_value;
    if (inode < 0)
        return -ENOENT;
    memset(ret_stat, 0, sizeof *ret_stat);
    ret_stat->st_mode = disk->now.inodes[inode].is_dir ? S_IFDIR | 0700 : S_IFREG | 0600;
    ret_stat->st_size = (off_t)disk->now.inodes[inode].size_bytes;
    return 0;
}

static int disk_fstat(void *self, int fd, struct stat *ret_stat) { return fill_stat(self, fd_of(self, fd)->inode, ret_stat); }

static int disk_fstatat(void *self, int dir_fd, const char *name, struct stat *ret_stat)
{
    struct disk *disk = self;
    return fill_stat(disk, view_find(&disk->now, fd_of(disk, dir_fd)->inode, name), ret_stat);
}

static ssize_t disk_getdents(void *self, int fd, void *data, size_t size_bytes)
{
    struct disk *disk = self;
    struct disk_fd *open_fd = fd_of(disk, fd);
    size_t used = 0;
    if (hits(disk))
        return -disk->errno_value;
    for (; open_fd->next_entry < disk->now.entry_count; open_fd->next_entry++) {
        const struct disk_entry *entry = &disk->now.entries[open_fd->next_entry];
        size_t name_bytes = strlen(entry->name) + 1;
        size_t need_bytes = (offsetof(struct dirent64, d_name) + name_bytes + 7) & ~(size_t)7;
        if (entry->dir != open_fd->inode || entry->inode < 0)
            continue;
        if (used + need_bytes > size_bytes)
            break;
        struct dirent64 *at = (void *)((char *)data + used);
        at->d_ino = (ino64_t)entry->inode + 1;
        at->d_reclen = (unsigned short)need_bytes;
        memcpy((char *)at + offsetof(struct dirent64, d_name), entry->name, name_bytes);
        used += need_bytes;
    }
    return (ssize_t)used;
}

static int disk_set_direct(void *self, int fd, bool on)
{
    struct disk *disk = self;
    (void)fd;
    if (hits(disk))
        return -disk->errno_value;
    return on && !disk->allow_direct ? -EINVAL : 0;
}

static int disk_ring_init(void *self, struct io_uring *ring, unsigned depth)
{
    (void)self, (void)ring, (void)depth;
    return -EPERM;
}

static struct disk *disk_empty(void)
{
    struct disk *disk = calloc(1, sizeof *disk);
    CHECK(disk != NULL);
    disk->io = (struct io){.self = disk,
                           .openat = disk_openat,
                           .close = disk_close,
                           .pread = disk_pread,
                           .pwrite = disk_pwrite,
                           .set_size = disk_set_size,
                           .fdatasync = disk_fdatasync,
                           .fsync = disk_fsync,
                           .rename_new = disk_rename_new,
                           .unlinkat = disk_unlinkat,
                           .mkdirat = disk_mkdirat,
                           .fstat = disk_fstat,
                           .fstatat = disk_fstatat,
                           .getdents = disk_getdents,
                           .set_direct = disk_set_direct,
                           .ring_init = disk_ring_init};
    return disk;
}

struct disk *disk_new(void)
{
    struct disk *disk = disk_empty();
    view_add_inode(&disk->now, true, TOP_INODE);
    disk->base = view_copy(&disk->now);
    return disk;
}

void disk_free(struct disk *disk)
{
    if (disk == NULL)
        return;
    for (size_t i = 0; i < disk->op_count; i++)
        free(disk->log[i].bytes);
    free(disk->log);
    view_free(&disk->base);
    view_free(&disk->now);
    free(disk);
}

void disk_arm(struct disk *disk, unsigned call, int errno_value)
{
    disk->calls = 0;
    disk->fail_at = call;
    disk->errno_value = errno_value;
    disk->failed = false;
}

/* ---- what a cut leaves ---- */

static bool is_promised(const struct disk *disk, size_t op_index, size_t op_count)
{
    const struct disk_op *op = &disk->log[op_index];
    for (size_t i = op_index + 1; i < op_count; i++) {
        const struct disk_op *sync = &disk->log[i];
        if (sync->kind != OP_SYNC || sync->inode != op->inode)
            continue;
        if (!sync->failed)
            return true;
        if (op->kind != OP_ENTRY)
            return false; /* the bytes are lost, and later syncs do not know of them */
    }
    return false;
}

static size_t op_bits(const struct disk_op *op, unsigned unit_bytes)
{
    if (op->kind != OP_WRITE)
        return 1;
    return (size_t)((op->offset + op->size_bytes - 1) / unit_bytes - op->offset / unit_bytes + 1);
}

/* Names are asked about first: the bytes of a file that no image can have a name for are of no interest. */
static bool *can_be_named(const struct disk *disk, size_t op_count)
{
    bool *named = calloc(disk->now.inode_count + 1, sizeof *named);
    struct disk_view names = {0};
    CHECK(named != NULL);
    for (size_t i = 0; i < disk->base.entry_count; i++)
        view_set(&names, &disk->base.entries[i]);
    for (size_t i = 0; i < op_count; i++)
        for (size_t j = 0; j < disk->log[i].entry_count; j++) {
            const struct disk_entry *entry = &disk->log[i].entries[j];
            if (is_promised(disk, i, op_count))
                view_set(&names, entry);
            else if (entry->inode >= 0)
                named[entry->inode] = true;
        }
    for (size_t i = 0; i < names.entry_count; i++)
        if (names.entries[i].inode >= 0)
            named[names.entries[i].inode] = true;
    view_free(&names);
    return named;
}

struct disk_pending disk_pending(const struct disk *disk, size_t op_count, unsigned unit_bytes)
{
    struct disk_pending pending = {.op_count = op_count, .unit_bytes = unit_bytes};
    bool *named = can_be_named(disk, op_count);
    for (size_t i = 0; i < op_count; i++) {
        const struct disk_op *op = &disk->log[i];
        bool of_nobody = op->kind != OP_ENTRY && !named[op->inode];
        if (op->kind == OP_SYNC || of_nobody || is_promised(disk, i, op_count))
            continue;
        pending.ops = grow(pending.ops, pending.count, sizeof *pending.ops);
        pending.first_bits = grow(pending.first_bits, pending.count, sizeof *pending.first_bits);
        pending.ops[pending.count] = i;
        pending.first_bits[pending.count++] = pending.bit_count;
        pending.bit_count += op_bits(op, unit_bytes);
    }
    free(named);
    return pending;
}

void disk_pending_free(struct disk_pending *pending)
{
    free(pending->ops);
    free(pending->first_bits);
}

/* NULL: all of it. */
static void apply_write(struct disk_inode *inode, const struct disk_op *op, const bool *bits, unsigned unit_bytes)
{
    inode_reserve(inode, (size_t)(op->offset + op->size_bytes));
    uint64_t first_unit = op->offset / unit_bytes;
    for (uint64_t at = op->offset; at < op->offset + op->size_bytes; at += DISK_SECTOR_BYTES)
        if (bits == NULL || bits[at / unit_bytes - first_unit])
            memcpy(inode->bytes + at, op->bytes + (at - op->offset), DISK_SECTOR_BYTES);
}

static void apply(struct disk_view *view, const struct disk_op *op, const bool *bits, unsigned unit_bytes)
{
    if (op->kind == OP_WRITE)
        apply_write(&view->inodes[op->inode], op, bits, unit_bytes);
    else if (bits != NULL && !bits[0])
        return;
    else if (op->kind == OP_SIZE)
        inode_resize(&view->inodes[op->inode], (size_t)op->size_bytes);
    else
        for (size_t i = 0; i < op->entry_count; i++)
            view_set(view, &op->entries[i]);
}

/* The files that the log made, still empty and without names. */
static void add_inodes(struct disk_view *view, const struct disk_view *all)
{
    while (view->inode_count < all->inode_count) {
        const struct disk_inode *inode = &all->inodes[view->inode_count];
        view_add_inode(view, inode->is_dir, inode->parent);
    }
}

static void add_junk(struct disk_view *view, const struct disk *disk)
{
    for (size_t i = disk->base.inode_count; i < disk->now.inode_count; i++) {
        if (view->inodes[i].is_dir)
            continue;
        size_t size_bytes = 0;
        for (size_t j = 0; j < disk->op_count; j++)
            if (disk->log[j].kind == OP_SIZE && disk->log[j].inode == (int)i && disk->log[j].size_bytes > size_bytes)
                size_bytes = (size_t)disk->log[j].size_bytes;
        inode_reserve(&view->inodes[i], size_bytes);
        if (size_bytes > 0)
            memset(view->inodes[i].bytes, 0xa5, size_bytes);
    }
}

struct disk *disk_cut(const struct disk *disk, const struct disk_pending *pending, const bool *bits, bool junk)
{
    struct disk_view view = view_copy(&disk->base);
    size_t next = 0;
    add_inodes(&view, &disk->now);
    if (junk)
        add_junk(&view, disk);
    for (size_t i = 0; i < pending->op_count; i++) {
        bool is_pending = next < pending->count && pending->ops[next] == i;
        if (disk->log[i].kind != OP_SYNC)
            apply(&view, &disk->log[i], is_pending ? bits + pending->first_bits[next] : NULL, pending->unit_bytes);
        next += is_pending;
    }
    struct disk *left = disk_empty();
    left->now = view_copy(&view); /* without what has no name */
    left->base = view_copy(&view);
    view_free(&view);
    return left;
}

struct disk *disk_after(const struct disk *disk, size_t op_count)
{
    struct disk *after = disk_empty();
    after->base = view_copy(&disk->base);
    after->now = view_copy(&disk->base);
    add_inodes(&after->now, &disk->now);
    for (size_t i = 0; i < op_count; i++) {
        const struct disk_op *op = &disk->log[i];
        struct disk_op *copy = log_add(after, op->kind, op->inode);
        *copy = *op;
        if (op->kind == OP_WRITE) {
            copy->bytes = malloc(op->size_bytes);
            CHECK(copy->bytes != NULL);
            memcpy(copy->bytes, op->bytes, op->size_bytes);
        }
        if (op->kind != OP_SYNC)
            apply(&after->now, op, NULL, DISK_SECTOR_BYTES);
    }
    return after;
}
