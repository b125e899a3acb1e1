/* test_region.c - sealed anonymous shared memory. */
#include "shm/region.h"

#include "shm/layout.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(region, .timeout = 240);

#define SIZE (UINT64_C(1) << 20)

static int make(bool backed)
{
    int fd;
    struct weir_error err = {0};
    cr_assert_eq(region_create("test", SIZE, backed, &fd, &err), WEIR_OK, "%s", err.text);
    return fd;
}

Test(region, nobody_can_resize_or_unseal_it)
{
    int fd = make(true);
    cr_assert_eq(ftruncate(fd, 0), -1);
    cr_assert_eq(errno, EPERM);
    cr_assert_eq(ftruncate(fd, (off_t)SIZE - 1), -1);
    cr_assert_eq(ftruncate(fd, (off_t)SIZE + 4096), -1);
    cr_assert_eq(fallocate(fd, 0, (off_t)SIZE, 4096), -1, "nor grow it by allocation");
    cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1, "nor make it unwritable");
    struct stat stat;
    cr_assert_eq(fstat(fd, &stat), 0);
    cr_assert_eq(stat.st_size, (off_t)SIZE);
    close(fd);
}

Test(region, a_backed_one_has_all_its_pages_and_a_sparse_one_none)
{
    struct stat stat;
    int backed = make(true), sparse = make(false);
    cr_assert_eq(fstat(backed, &stat), 0);
    cr_assert_geq((uint64_t)stat.st_blocks * 512, SIZE);
    cr_assert_eq(fstat(sparse, &stat), 0);
    cr_assert_eq(stat.st_blocks, 0);
    cr_assert_eq(fallocate(sparse, 0, 0, 4096), 0, "its owner backs it later");
    close(backed);
    close(sparse);
}

Test(region, its_descriptor_does_not_survive_an_exec)
{
    int fd = make(true);
    cr_assert_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(fd);
}

Test(region, what_one_process_writes_another_reads)
{
    int fd = make(true), status;
    void *address;
    cr_assert_eq(region_map(fd, 4096, 8192, &address, NULL), WEIR_OK);
    pid_t pid = fork();
    if (pid == 0) {
        memset(address, 'x', 8192);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    char *bytes = address;
    cr_assert(bytes[0] == 'x' && bytes[8191] == 'x');
    void *whole;
    cr_assert_eq(region_map(fd, 0, SIZE, &whole, NULL), WEIR_OK);
    bytes = whole;
    cr_assert(bytes[4095] == 0 && bytes[4096] == 'x' && bytes[4096 + 8191] == 'x' && bytes[4096 + 8192] == 0);
    region_unmap(address, 8192);
    region_unmap(whole, SIZE);
    close(fd);
}

Test(region, mapped_twice_the_data_repeats_behind_itself)
{
    const uint64_t data_bytes = SIZE - SHM_PAGE_BYTES;
    int fd = make(true);
    void *address;
    cr_assert_eq(region_map_twice(fd, SHM_PAGE_BYTES, data_bytes, &address, NULL), WEIR_OK);
    unsigned char *data = (unsigned char *)address + SHM_PAGE_BYTES;
    for (uint64_t i = 0; i < data_bytes; i += 997)
        data[i] = (unsigned char)(i / 997);
    atomic_signal_fence(memory_order_seq_cst);
    for (uint64_t i = 0; i < data_bytes; i += 997)
        cr_assert_eq(data[data_bytes + i], (unsigned char)(i / 997));
    memcpy(data + data_bytes - 4, "abcdefgh", 8);
    __asm__ volatile("" ::: "memory"); /* the compiler cannot know that these are the same bytes twice */
    atomic_signal_fence(memory_order_seq_cst); /* the compiler does not know that these are the same bytes */
    cr_assert_eq(memcmp(data, "efgh", 4), 0, "a range over the end goes on at the beginning");
    cr_assert_eq(*(unsigned char *)address, 0, "the control part is not in it");
    region_unmap(address, SHM_PAGE_BYTES + 2 * data_bytes);
    close(fd);
}

/* A large one begins where a huge page may. What was in the page stays, and another mapping takes one fault for all of it. */
Test(region, a_huge_page_keeps_what_was_there_and_is_mapped_at_one_touch)
{
    struct rusage before, after;
    void *first, *second;
    int fd = -1;
    cr_assert_eq(region_create("huge", 2 * REGION_HUGE_BYTES, false, &fd, NULL), WEIR_OK);
    cr_assert_eq(region_map(fd, 0, 2 * REGION_HUGE_BYTES, &first, NULL), WEIR_OK);
    cr_assert_eq(region_map(fd, 0, 2 * REGION_HUGE_BYTES, &second, NULL), WEIR_OK);
    cr_assert((uintptr_t)first % REGION_HUGE_BYTES == 0 && (uintptr_t)second % REGION_HUGE_BYTES == 0);
    unsigned char *a = (unsigned char *)first + REGION_HUGE_BYTES, *b = (unsigned char *)second + REGION_HUGE_BYTES;
    a[5 * SHM_PAGE_BYTES] = 7;
    bool huge = region_make_huge(a);
    cr_assert_eq(huge, region_huge_pages_work());
    cr_assert_eq(a[5 * SHM_PAGE_BYTES], 7);
    getrusage(RUSAGE_SELF, &before);
    for (uint64_t i = 0; huge && i < REGION_HUGE_BYTES; i += SHM_PAGE_BYTES)
        b[i]++;
    getrusage(RUSAGE_SELF, &after);
    cr_assert_lt(after.ru_minflt - before.ru_minflt, 100);
    cr_assert_eq(a[5 * SHM_PAGE_BYTES], huge ? 8 : 7);
    region_unmap(first, 2 * REGION_HUGE_BYTES);
    region_unmap(second, 2 * REGION_HUGE_BYTES);
    close(fd);
}

Test(region, where_huge_pages_are_forbidden_there_is_none)
{
    cr_assert_eq(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
    cr_assert_not(region_huge_pages_work());
}

Test(region, more_than_there_is_is_an_error_with_words)
{
    struct weir_error err = {0};
    int fd = -7;
    cr_assert_lt(region_create("huge", UINT64_MAX, false, &fd, &err), 0); /* no file can be so large: nothing is allocated */
    cr_assert_not_null(strstr(err.text, "huge"), "%s", err.text);
    cr_assert_eq(fd, -7);
}
