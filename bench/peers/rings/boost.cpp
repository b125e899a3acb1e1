/*
 * boost.cpp - boost::lockfree::spsc_queue with a fixed capacity, which makes it fit for shared memory: two processes. In batches:
 * push(array, n), which copies, and consume_all(), which reads in place whatever is there; one by one: push() and consume_one().
 * It has no write in place.
 */
#include "job.h"

#include <boost/lockfree/spsc_queue.hpp>

namespace {

constexpr uint64_t BATCH_MAX = 32;
constexpr uint64_t RING_BYTES = 2 << 20;

template <uint32_t SIZE> struct record {
    alignas(SIZE < 64 ? SIZE : 64) uint64_t words[SIZE / 8];
};

/* One slot more than the capacity is what the queue holds inside; so the whole is 2 MiB. */
template <uint32_t SIZE>
using queue_of = boost::lockfree::spsc_queue<record<SIZE>, boost::lockfree::capacity<RING_BYTES / SIZE - 1>>;

template <uint32_t SIZE> void *make(const struct job *job)
{
    if (job->ring_bytes != RING_BYTES || job->batch > BATCH_MAX)
        job_fail("rings of 2 MiB and batches of at most 32 are compiled in");
    return new (job_shared_memory(sizeof(queue_of<SIZE>))) queue_of<SIZE>;
}

template <uint32_t SIZE> void wait_for_room(const queue_of<SIZE> &queue, uint64_t room)
{
    while (queue.write_available() < room)
        __builtin_ia32_pause();
}

template <uint32_t SIZE> void produce_single(queue_of<SIZE> &queue, const struct job *job)
{
    for (uint64_t i = 0; i < job->count; i++) {
        record<SIZE> one;
        job_fill(&one, SIZE, i);
        while (!queue.push(one))
            wait_for_room<SIZE>(queue, job_room(job, 1));
    }
}

template <uint32_t SIZE> void produce(void *at, const struct job *job)
{
    auto &queue = *static_cast<queue_of<SIZE> *>(at);
    if (job->batch == 1)
        return produce_single<SIZE>(queue, job);
    record<SIZE> records[BATCH_MAX];
    for (uint64_t sent = 0; sent < job->count;) {
        uint64_t batch = job_next_batch(job, sent), done = 0;
        for (uint64_t i = 0; i < batch; i++)
            job_fill(&records[i], SIZE, sent + i);
        while ((done += queue.push(records + done, batch - done)) < batch)
            wait_for_room<SIZE>(queue, job_room(job, batch - done));
        sent += batch;
    }
}

template <uint32_t SIZE> uint64_t consume(void *at, const struct job *job)
{
    auto &queue = *static_cast<queue_of<SIZE> *>(at);
    uint64_t sum = 0;
    auto add = [&sum](const record<SIZE> &one) { sum += job_sum(&one, SIZE); };
    for (uint64_t seen = 0; seen < job->count;) {
        uint64_t got = job->batch == 1 ? queue.consume_one(add) : queue.consume_all(add);
        if (got == 0)
            job_idle(job);
        seen += got;
    }
    return sum;
}

void send64(void *at, uint64_t number)
{
    record<64> one;
    job_fill(&one, 64, number);
    while (!static_cast<queue_of<64> *>(at)->push(one))
        __builtin_ia32_pause();
}

uint64_t receive64(void *at)
{
    uint64_t sum = 0;
    while (!static_cast<queue_of<64> *>(at)->consume_one([&sum](const record<64> &one) { sum = job_sum(&one, 64); }))
        __builtin_ia32_pause();
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
    return job_main(argc, argv, true, kinds, sizeof kinds / sizeof kinds[0]);
}
