/*
 * moodycamel.cpp - moodycamel::ReaderWriterQueue between two threads (it holds pointers: it cannot be shared by processes).
 * Written in place (try_emplace) and read in place (peek, pop); one block that never grows. It has no batches: a batch is so many
 * single operations.
 */
#include "job.h"

#include <readerwriterqueue/readerwriterqueue.h>

namespace {

constexpr size_t BLOCK_MAX = 65536; /* more than the ring has slots: one block, not a chain of small ones */

template <uint32_t SIZE> struct record {
    explicit record(uint64_t number) { job_fill(words, SIZE, number); }
    alignas(SIZE < 64 ? SIZE : 64) uint64_t words[SIZE / 8];
};

template <uint32_t SIZE> using queue_of = moodycamel::ReaderWriterQueue<record<SIZE>, BLOCK_MAX>;

template <uint32_t SIZE> void *make(const struct job *job)
{
    return new queue_of<SIZE>(job->ring_bytes / SIZE - 1);
}

template <uint32_t SIZE> void produce(void *at, const struct job *job)
{
    auto &queue = *static_cast<queue_of<SIZE> *>(at);
    uint64_t slots = job->ring_bytes / SIZE - 1;
    for (uint64_t i = 0; i < job->count; i++)
        while (!queue.try_emplace(i))
            while (slots - queue.size_approx() < job_room(job, 1))
                __builtin_ia32_pause();
}

template <uint32_t SIZE> uint64_t consume(void *at, const struct job *job)
{
    auto &queue = *static_cast<queue_of<SIZE> *>(at);
    uint64_t sum = 0;
    for (uint64_t seen = 0; seen < job->count; seen++) {
        const record<SIZE> *one;
        while ((one = queue.peek()) == nullptr)
            job_idle(job);
        sum += job_sum(one, SIZE);
        queue.pop();
    }
    return sum;
}

void send64(void *at, uint64_t number)
{
    while (!static_cast<queue_of<64> *>(at)->try_emplace(number))
        __builtin_ia32_pause();
}

uint64_t receive64(void *at)
{
    auto &queue = *static_cast<queue_of<64> *>(at);
    const record<64> *one;
    while ((one = queue.peek()) == nullptr)
        __builtin_ia32_pause();
    uint64_t sum = job_sum(one, 64);
    queue.pop();
    return sum;
}

const struct queue_kind kinds[] = {
    {16, make<16>, produce<16>, consume<16>, nullptr, nullptr},
    {64, make<64>, produce<64>, consume<64>, send64, receive64},
    {256, make<256>, produce<256>, consume<256>, nullptr, nullptr},
    {1024, make<1024>, produce<1024>, consume<1024>, nullptr, nullptr},
};

} // namespace

int main(int argc, char **argv)
{
    return job_main(argc, argv, false, kinds, sizeof kinds / sizeof kinds[0]);
}
