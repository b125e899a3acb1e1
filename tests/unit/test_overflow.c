/* test_overflow.c - the queue of what found no room in the rings. */
#include "engine/overflow.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(overflow, .timeout = 240);

#define LIMIT (UINT64_C(4) << 20)

static struct overflow make(void)
{
    struct overflow queue;
    struct weir_error err = {0};
    int fd;
    cr_assert_eq(overflow_create("test", LIMIT, &fd, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(overflow_attach(&queue, fd, LIMIT, &err), WEIR_OK, "%s", err.text);
    return queue;
}

static void drop(struct overflow *queue)
{
    int fd = queue->fd;
    overflow_detach(queue);
    close(fd);
}

static int push(struct overflow *queue, unsigned n, uint32_t size_bytes, struct weir_error *err)
{
    struct overflow_frame frame = {.size_bytes = size_bytes, .out = (uint16_t)n, .kind = (uint8_t)(n % 4), .channel = (uint8_t)(n % 7)};
    void *payload;
    int code = overflow_push(queue, &frame, &payload, err);
    if (code == WEIR_OK)
        memset(payload, (int)(n & 0xff), size_bytes);
    return code;
}

static void assert_front(const struct overflow *queue, unsigned n, uint32_t size_bytes)
{
    struct overflow_frame frame;
    cr_assert(overflow_front(queue, &frame));
    cr_assert(frame.size_bytes == size_bytes && frame.out == (uint16_t)n && frame.kind == n % 4 && frame.channel == n % 7);
    cr_assert_eq((uintptr_t)frame.payload & 7, 0u, "aligned to 8 bytes");
    for (uint32_t i = 0; i < size_bytes; i++)
        cr_assert_eq(((const unsigned char *)frame.payload)[i], n & 0xff);
}

Test(overflow, a_new_one_is_empty)
{
    struct overflow queue = make();
    struct overflow_frame frame;
    cr_assert(overflow_is_empty(&queue));
    cr_assert_not(overflow_front(&queue, &frame));
    drop(&queue);
}

Test(overflow, frames_come_out_in_the_order_they_went_in)
{
    struct overflow queue = make();
    for (unsigned n = 0; n < 2000; n++)
        cr_assert_eq(push(&queue, n, n % 1500, NULL), WEIR_OK);
    for (unsigned n = 0; n < 2000; n++) {
        assert_front(&queue, n, n % 1500);
        overflow_pop(&queue);
    }
    cr_assert(overflow_is_empty(&queue));
    drop(&queue);
}

Test(overflow, when_it_is_full_it_says_what_to_raise_and_keeps_what_it_has)
{
    struct overflow queue = make();
    struct weir_error err = {0};
    unsigned count = 0;
    while (push(&queue, count, 60000, &err) == WEIR_OK)
        count++;
    cr_assert_eq(err.code, WEIR_ELIMIT);
    cr_assert_not_null(strstr(err.text, "--overflow-limit"));
    cr_assert_eq(count, LIMIT / 60008, "all of the limit was used");
    for (unsigned n = 0; n < count; n++) {
        assert_front(&queue, n, 60000);
        overflow_pop(&queue);
    }
    cr_assert_eq(push(&queue, 1, 60000, &err), WEIR_ELIMIT, "whoever takes over may need what was there");
    overflow_settle(&queue);
    cr_assert_eq(push(&queue, 1, 60000, &err), WEIR_OK, "empty at the end of a batch, it begins at the front");
    drop(&queue);
}

Test(overflow, what_a_batch_takes_out_and_adds_can_be_undone_by_the_positions)
{
    struct overflow queue = make();
    for (unsigned n = 0; n < 10; n++)
        cr_assert_eq(push(&queue, n, 100, NULL), WEIR_OK);
    struct overflow committed = queue;
    for (unsigned n = 0; n < 10; n++)
        overflow_pop(&queue);
    for (unsigned n = 0; n < 10; n++)
        cr_assert_eq(push(&queue, 77, 100, NULL), WEIR_OK);
    queue.read_pos = committed.read_pos;
    queue.write_pos = committed.write_pos;
    for (unsigned n = 0; n < 10; n++) {
        assert_front(&queue, n, 100);
        overflow_pop(&queue);
    }
    cr_assert(overflow_is_empty(&queue));
    drop(&queue);
}

Test(overflow, it_takes_memory_only_as_it_grows)
{
    struct overflow queue = make();
    struct stat stat;
    cr_assert_eq(fstat(queue.fd, &stat), 0);
    cr_assert_eq(stat.st_blocks, 0);
    cr_assert_eq(push(&queue, 0, 1000, NULL), WEIR_OK);
    cr_assert_eq(fstat(queue.fd, &stat), 0);
    cr_assert_lt((uint64_t)stat.st_blocks * 512, LIMIT);
    drop(&queue);
}

Test(overflow, a_frame_without_bytes_is_a_frame)
{
    struct overflow queue = make();
    cr_assert_eq(push(&queue, 3, 0, NULL), WEIR_OK);
    assert_front(&queue, 3, 0);
    overflow_pop(&queue);
    cr_assert(overflow_is_empty(&queue));
    drop(&queue);
}
