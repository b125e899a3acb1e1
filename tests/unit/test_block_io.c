#include "support/io_fault.h"
#include "support/scratch.h"

#include "snapshot/block_io.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static struct io_fault fault;
static struct weir_error err;
static int fd;

static void set_up(void)
{
    fd = scratch_file();
    io_fault_init(&fault);
}

static void tear_down(void) { close(fd); }

TestSuite(block_io, .init = set_up, .fini = tear_down);

static struct block_io *open_queue(uint32_t depth, bool uring)
{
    struct block_io *queue = NULL;
    cr_assert_eq(block_io_open(&fault.io, fd, "the file", depth, true, &queue, &err), WEIR_OK, "%s", err.text);
    if (uring)
        cr_assert_eq(block_io_use_uring(queue, &err), WEIR_OK, "%s", err.text);
    return queue;
}

static bool uring_works(void) { return io_probe_uring(io_system(), NULL) == WEIR_OK; }

/* Buffer i is full of byte i. */
static int write_buffers(struct block_io *queue, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct slot *slot = block_io_take(queue);
        if (slot == NULL)
            return queue->error.code;
        memset(slot->data, (int)i, BUFFER_BYTES);
        int code = block_io_write(queue, slot, BUFFER_BYTES, (uint64_t)i * BUFFER_BYTES);
        if (code != WEIR_OK)
            return code;
    }
    return block_io_drain(queue);
}

static void expect_buffers(unsigned count)
{
    unsigned char *data = aligned_alloc(4096, BUFFER_BYTES); /* the file may be in direct mode */
    for (unsigned i = 0; i < count; i++) {
        cr_assert_eq(pread(fd, data, BUFFER_BYTES, (off_t)i * BUFFER_BYTES), BUFFER_BYTES);
        for (size_t at = 0; at < BUFFER_BYTES; at++)
            cr_assert_eq(data[at], i, "byte %zu of buffer %u", at, i);
    }
    free(data);
}

Test(block_io, more_buffers_than_slots_are_all_written)
{
    for (int uring = 0; uring <= uring_works(); uring++) {
        struct block_io *queue = open_queue(3, uring);
        cr_expect_eq(write_buffers(queue, 20), WEIR_OK, "%s", queue->error.text);
        cr_expect_eq(queue->bytes_done, 20 * (uint64_t)BUFFER_BYTES);
        cr_expect_eq(queue->in_flight, 0);
        block_io_close(queue);
        expect_buffers(20);
        cr_assert_eq(ftruncate(fd, 0), 0);
    }
}

Test(block_io, reads_of_several_slots_may_be_waited_for_in_any_order)
{
    for (int uring = 0; uring <= uring_works(); uring++) {
        struct block_io *queue = open_queue(4, uring);
        cr_assert_eq(write_buffers(queue, 4), WEIR_OK);
        struct slot *slots[4];
        for (unsigned i = 0; i < 4; i++) {
            slots[i] = block_io_take(queue);
            cr_assert_eq(block_io_read(queue, slots[i], BUFFER_BYTES, (uint64_t)i * BUFFER_BYTES), WEIR_OK);
        }
        for (unsigned i = 4; i-- > 0;) {
            cr_assert_eq(block_io_wait(queue, slots[i]), WEIR_OK);
            cr_expect_eq(slots[i]->data[BUFFER_BYTES - 1], i);
            block_io_release(queue, slots[i]);
        }
        block_io_close(queue);
    }
}

Test(block_io, the_first_failure_stays_and_is_named_with_its_offset)
{
    for (int uring = 0; uring <= uring_works(); uring++) {
        struct block_io *queue = open_queue(1, uring);
        fault.only = uring ? "completion" : "pwrite";
        io_fault_arm(&fault, 3, ENOSPC);
        cr_expect_eq(write_buffers(queue, 20), WEIR_ENOSPC);
        cr_expect_not_null(strstr(queue->error.text, "the file: write 1048576 bytes at byte 2097152"), "%s",
                           queue->error.text);
        cr_expect_null(block_io_take(queue), "nothing more is begun");
        block_io_close(queue);
    }
}

/* The kernel still owns the buffers of what is in flight: closing waits. */
Test(block_io, closing_after_a_failure_collects_what_is_in_flight)
{
    if (!uring_works()) {
        tear_down();
        cr_skip_test("io_uring is refused here");
    }
    struct block_io *queue = open_queue(16, true);
    fault.only = "completion";
    io_fault_arm(&fault, 1, EIO);
    cr_expect_eq(write_buffers(queue, 40), WEIR_EIO);
    cr_expect_gt(queue->in_flight, 0);
    io_fault_arm(&fault, 0, 0);
    uint32_t in_flight = queue->in_flight;
    block_io_close(queue);
    cr_expect_eq(fault.calls, in_flight);
}

Test(block_io, a_read_behind_the_end_of_the_file_is_corruption)
{
    for (int uring = 0; uring <= uring_works(); uring++) {
        struct block_io *queue = open_queue(2, uring);
        cr_assert_eq(write_buffers(queue, 1), WEIR_OK);
        struct slot *slot = block_io_take(queue);
        block_io_read(queue, slot, BUFFER_BYTES, BUFFER_BYTES / 2);
        cr_expect_eq(block_io_wait(queue, slot), WEIR_ECORRUPT);
        cr_expect_not_null(strstr(queue->error.text, "byte 1048576: the file ends here"), "%s", queue->error.text);
        block_io_close(queue);
    }
}

/* Direct requests must go on at aligned places; a part of 5000 bytes ends at none. */
Test(block_io, a_short_direct_write_goes_on_at_an_aligned_byte)
{
    for (int uring = 0; uring <= uring_works(); uring++) {
        struct block_io *queue = open_queue(4, uring);
        fault.part_bytes_max = 512 * 9; /* direct itself on most disks, but no multiple of 4096 */
        cr_expect_eq(write_buffers(queue, 4), WEIR_OK, "%s", queue->error.text);
        cr_expect_eq(fault.unaligned_direct, 0);
        block_io_close(queue);
        fault.part_bytes_max = 0;
        expect_buffers(4);
        cr_assert_eq(ftruncate(fd, 0), 0);
    }
}

Test(block_io, a_ring_that_fails_itself_is_an_error)
{
    if (!uring_works()) {
        tear_down();
        cr_skip_test("io_uring is refused here");
    }
    struct block_io *queue = open_queue(4, true);
    fault.only = "ring_submit";
    io_fault_arm(&fault, 3, ENOMEM);
    cr_expect_eq(write_buffers(queue, 10), WEIR_ENOMEM);
    cr_expect_not_null(strstr(queue->error.text, "io_uring: submit"), "%s", queue->error.text);
    block_io_close(queue);
}
