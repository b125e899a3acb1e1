/*
 * page_in.h - a task that was restored lazily: its chunks are promised, and read from the checkpoint's file when they are needed; the rest is
 * read between batches, so that it ends. Each block is verified before a byte of it is used, exactly as an eager restore does it.
 *
 * What is on disk still says the chunk table, in shared memory; so whoever takes the task over goes on from there, and opens the file
 * itself. Nothing here is part of a batch: a chunk that is loaded stays so, whatever is undone. While any task pages in, the
 * coordinator deletes no checkpoint, and no sink commits what was prepared for the restored one: all of it must be whole first
 * (docs/decisions/0012-lazy-restore.md).
 *
 * A block that cannot be read, or fails its checksum, ends the process of the task in words, from wherever it was needed: nothing was
 * committed on top of it, and the job goes back, past this checkpoint where that is damaged.
 */
#ifndef WEIR_ENGINE_PAGE_IN_H
#define WEIR_ENGINE_PAGE_IN_H

#include "engine/job.h"

struct task;

/* A task's private view. */
struct page_in {
    struct chunk_image image; /* first: task.region.image */
    struct task *task;
    struct snapshot_reader *reader; /* NULL: not open, or not any more */
    unsigned char *buffer;
    uint64_t buffer_first, buffer_count; /* blocks in it, in a snapshot child */
    uint32_t scan;                       /* no chunk below it is on disk */
    uint32_t loaded_count;               /* by this process */
    int64_t step_ended_ns, step_ns;      /* the last step of page_in_share() */
};

/* Whether tasks of this job restore lazily: --restore-mode, and all sinks can commit late. */
bool page_in_is_wanted(const struct job *job);
/* In every process of the task, once its region is mapped. */
void page_in_attach(struct task *task);
/* Promises all blocks of a file to the empty region. The reader is kept, also where this fails. */
int page_in_begin(struct task *task, uint64_t checkpoint_id, struct snapshot_reader *reader, struct weir_error *err);
static inline bool page_in_is_active(const struct task_shared *shared)
{
    return atomic_load_explicit(&shared->page_in.checkpoint_id, memory_order_relaxed) != 0;
}
/* Reads a part of what is on disk still. False: nothing was, or is any more. */
bool page_in_step(struct task *task);
/* The same, where no more than half of the time goes into it. */
void page_in_share(struct task *task);
/* Before a snapshot child is forked: the file is open, so that it can read it whatever becomes of the task. */
void page_in_hold(struct task *task);
/* In a snapshot child: a block of the file, verified; good until the next call. */
int page_in_frozen_block(struct task *task, uint32_t image_index, const void **ret_block, struct weir_error *err);
/* Whether any task of the job pages in still. Any process. */
bool page_in_is_going_on(const struct job *job);

#endif
