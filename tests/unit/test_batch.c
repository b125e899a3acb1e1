/*
 * test_batch.c - the commit record: what it carries, and that a damaged one is refused. The task has no operators, and one ring
 * to each side.
 */
#include "engine/batch.h"
#include "engine/task.h"

#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#define LIMIT (CHUNK_LIMIT_BYTES_MIN * 4)
#define OVERFLOW_LIMIT (UINT64_C(1) << 20)

TestSuite(batch, .timeout = 240);

/* What outlives the task's process. */
static struct weir_job graph;
static struct job job;
static struct plan_task plan_task = {.name = "test/0"};
static struct plan_chain chain;
static struct task_shared task_shared;
static struct chunk_region region;
static int in_fd, out_fd, overflow_fd;

static void make_memory(void)
{
    struct weir_error err = {0};
    job.graph = &graph;
    size_t area_bytes = commit_area_bytes(&graph, &chain, 2);
    cr_assert_eq(chunk_region_create(&region, "test", LIMIT, area_bytes, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(chunk_undo_create(&region, "test", UNDO_BYTES_MAX, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(ring_create("in", RING_BYTES_MIN, &in_fd, &err), WEIR_OK);
    cr_assert_eq(ring_create("out", RING_BYTES_MIN, &out_fd, &err), WEIR_OK);
    cr_assert_eq(overflow_create("test", OVERFLOW_LIMIT, &overflow_fd, &err), WEIR_OK);
}

/* A process's own view. */
static struct task *make_task(bool taken_over)
{
    struct task *task = calloc(1, sizeof *task);
    task->job = &job;
    task->plan = &plan_task;
    task->chain = &chain;
    task->shared = &task_shared;
    task->region = region;
    task->ins = calloc(1, sizeof *task->ins);
    task->outs = calloc(1, sizeof *task->outs);
    task->in_count = task->out_count = 1;
    cr_assert_eq(ring_consumer_attach(&task->ins[0].ring, in_fd, NULL), WEIR_OK);
    cr_assert_eq(ring_producer_attach(&task->outs[0].ring, out_fd, NULL), WEIR_OK);
    cr_assert_eq(overflow_attach(&task->overflow, overflow_fd, OVERFLOW_LIMIT, NULL), WEIR_OK);
    cr_assert_eq(commit_area_attach(task, taken_over, NULL), WEIR_OK);
    return task;
}

/* A death: nothing is put in order. */
static void forget_task(struct task *task)
{
    ring_consumer_detach(&task->ins[0].ring);
    ring_producer_detach(&task->outs[0].ring);
    overflow_detach(&task->overflow);
    free(task->ins);
    free(task->outs);
    free(task);
}

static void feed(unsigned count)
{
    struct ring_producer neighbour;
    cr_assert_eq(ring_producer_attach(&neighbour, in_fd, NULL), WEIR_OK);
    for (unsigned i = 0; i < count; i++) {
        cr_assert_not_null(ring_claim(&neighbour, 100));
        ring_push(&neighbour, 100, FRAME_RECORD, 0);
    }
    ring_publish(&neighbour);
    ring_producer_detach(&neighbour);
}

/* Takes a frame, emits a longer one, queues one, and changes a byte of the state. */
static void work(struct task *task, unsigned char value)
{
    struct ring_frame frame = {0};
    void *payload;
    cr_assert_eq(ring_peek(&task->ins[0].ring, &frame), WEIR_OK);
    cr_assert_not_null(ring_claim(&task->outs[0].ring, 200));
    ring_push(&task->outs[0].ring, 200, FRAME_RECORD, 0);
    cr_assert_eq(overflow_push(&task->overflow, &(struct overflow_frame){.size_bytes = 64}, &payload, NULL), WEIR_OK);
    cr_assert_eq(chunk_reserve(&task->region, 1, NULL), WEIR_OK);
    *(unsigned char *)state_touch(&task->region, state_pos(0, 9), 1) = value;
    task->batch_open = true;
}

static unsigned char state_byte(const struct task *task)
{
    return *(const unsigned char *)state_read(&task->region, state_pos(0, 9));
}

static struct task *committed_task(void)
{
    make_memory();
    feed(4);
    struct task *task = make_task(false);
    cr_assert_eq(chunk_reserve(&task->region, 1, NULL), WEIR_OK);
    cr_assert_eq(chunk_alloc(&task->region), 0u);
    work(task, 1);
    void *payload;
    cr_assert_eq(overflow_push(&task->overflow, &(struct overflow_frame){.size_bytes = 8}, &payload, NULL), WEIR_OK);
    overflow_pop(&task->overflow);
    task->ins[0].barrier_id = 11;
    task->ins[0].blocked = task->ins[0].ended = true;
    task->records_in = 12;
    task->records_out = 13;
    task->records_since_barrier = 14;
    task->barrier_id = 15;
    task->barrier_due = 16;
    task->barrier_stop = task->barrier_snapshot = task->aligning = true;
    task->ended = task->end_forwarded = task->stopping = true;
    task->aligned_count = 17;
    memcpy(task->position, "a place", 7);
    task->position_bytes = 7;
    atomic_store(&task_shared.committed_seen, 18);
    cr_assert_eq(batch_commit(task), WEIR_OK);
    return task;
}

static void expect_the_same(const struct task *task, const struct task *dead)
{
    cr_expect_eq(task->batch, dead->batch);
    cr_expect_eq(task->records_in, 12u);
    cr_expect_eq(task->records_out, 13u);
    cr_expect_eq(task->records_since_barrier, 14u);
    cr_expect_eq(task->barrier_id, 15u);
    cr_expect_eq(task->barrier_due, 16u);
    cr_expect(task->barrier_stop && task->barrier_snapshot && task->aligning);
    cr_expect(task->ended && task->end_forwarded && task->stopping);
    cr_expect_eq(task->aligned_count, 17u);
    cr_expect_eq(task->position_bytes, 7u);
    cr_expect_arr_eq(task->position, "a place", 7);
    cr_expect_eq(atomic_load(&task_shared.committed_seen), 18u);
    cr_expect_eq(task->ins[0].barrier_id, 11u);
    cr_expect(task->ins[0].blocked && task->ins[0].ended);
}

Test(batch, everything_that_the_record_carries_is_there_for_whoever_takes_over)
{
    struct weir_error err = {0};
    uint64_t undone_bytes = 0;
    struct task *dead = committed_task();
    uint64_t tail = dead->ins[0].ring.tail, run = dead->ins[0].ring.run, head = dead->outs[0].ring.head, records = dead->outs[0].ring.record_count;
    uint64_t read_pos = dead->overflow.read_pos, write_pos = dead->overflow.write_pos;
    cr_assert(tail > 0 && run != 0 && head > 0 && read_pos > 0 && write_pos > read_pos);
    chunk_cut(&dead->region, 1);
    work(dead, 2); /* in flight */
    dead->records_in++;
    atomic_store(&task_shared.committed_seen, 19);
    struct task *task = make_task(true);
    cr_assert_eq(batch_recover(task, &undone_bytes, &err), WEIR_OK, "%s", err.text);
    expect_the_same(task, dead);
    cr_expect_eq(task->ins[0].ring.tail, tail);
    cr_expect_eq(task->ins[0].ring.run, run);
    cr_expect_eq(task->outs[0].ring.head, head);
    cr_expect_eq(task->outs[0].ring.record_count, records);
    cr_expect_eq(task->overflow.read_pos, read_pos);
    cr_expect_eq(task->overflow.write_pos, write_pos);
    cr_expect(task->cut_live);
    cr_expect_eq(state_byte(task), 1);
    cr_expect_gt(undone_bytes, 0u);
    cr_assert_eq(ring_peek(&task->ins[0].ring, &(struct ring_frame){0}), WEIR_OK, "the record in flight comes again");
    forget_task(dead);
    forget_task(task);
}

Test(batch, what_the_dead_one_had_not_published_is_published_and_once)
{
    struct ring_frame frame = {0};
    struct ring_consumer neighbour;
    struct task *dead = committed_task();
    cr_assert_eq(ring_consumer_attach(&neighbour, out_fd, NULL), WEIR_OK);
    atomic_store(&dead->outs[0].ring.shared->head, 0); /* as if it had died between the switch and the publication */
    struct task *task = make_task(true);
    cr_assert_eq(batch_recover(task, &(uint64_t){0}, NULL), WEIR_OK);
    cr_assert_eq(ring_peek(&neighbour, &frame), WEIR_IDLE);
    (void)ring_publish(&task->outs[0].ring);
    cr_assert_eq(ring_peek(&neighbour, &frame), WEIR_OK);
    cr_assert_eq(frame.size_bytes, 200u);
    cr_assert_eq(ring_peek(&neighbour, &frame), WEIR_IDLE);
    ring_consumer_detach(&neighbour);
    forget_task(dead);
    forget_task(task);
}

Test(batch, a_damaged_record_is_refused_whichever_byte_it_is)
{
    struct task *dead = committed_task();
    struct commit_area *area = dead->commit_area;
    struct commit_record *record = (void *)((unsigned char *)(area + 1) + (size_t)atomic_load(&area->current) * area->slot_bytes);
    uint32_t size_bytes = record->size_bytes;
    work(dead, 2);
    for (uint32_t i = 0; i < size_bytes; i++) {
        struct weir_error err = {0};
        ((unsigned char *)record)[i] ^= 0x04;
        struct task *task = make_task(true);
        cr_assert_eq(batch_recover(task, &(uint64_t){0}, &err), WEIR_ECORRUPT, "byte %u: %s", i, err.text);
        cr_assert_eq(state_byte(task), 2, "byte %u: nothing is undone by a record that is not believed", i);
        forget_task(task);
        ((unsigned char *)record)[i] ^= 0x04;
    }
    struct task *task = make_task(true);
    cr_assert_eq(batch_recover(task, &(uint64_t){0}, NULL), WEIR_OK);
    cr_assert_eq(state_byte(task), 1);
    forget_task(task);
    forget_task(dead);
}
