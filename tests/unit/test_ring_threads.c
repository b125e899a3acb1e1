/*
 * test_ring_threads.c - the ring between two threads: one of them the producer, the other the consumer, each parking where it
 * must wait. A program of its own, without Criterion, so that it runs under the thread sanitizer. Exits with 0 when every frame
 * came through in order. Both use one mapping: the sanitizer goes by addresses, and two mappings of the same bytes are two
 * places to it, between which there is no race.
 */
#include "unit/ring_traffic.h"

static int run(const char *what, struct traffic t)
{
    pthread_t thread;
    void *produced = NULL;
    struct ring_producer both;
    CHECK(ring_producer_attach(&both, t.fd, NULL) == WEIR_OK);
    t.mapping = both.shared;
    CHECK(pthread_create(&thread, NULL, produce_thread, &t) == 0);
    int consumed = consume(&t);
    if (consumed == 0) /* else the producer would wait for room that nobody makes */
        CHECK(pthread_join(thread, &produced) == 0);
    printf("%s: %llu frames, %llu parks: %s\n", what, (unsigned long long)t.frames, (unsigned long long)atomic_load(&t.bells->parks),
           consumed == 0 && produced == NULL ? "passed" : "FAILED");
    if (consumed != 0 || produced != NULL) {
        printf("the consumer failed at line %d, the producer at line %d\n", consumed, (int)(intptr_t)produced);
        return 1;
    }
    ring_producer_detach(&both);
    free_traffic(&t);
    return 0;
}

int main(void)
{
    uint64_t value = seed();
    int failed = run("in batches", make_traffic(value, 1000000, 64, 100));
    failed |= run("one by one", make_traffic(value + 1, 100000, 1, 16));
    failed |= run("large ones", make_traffic(value + 2, 20000, 4, 20000));
    return failed;
}
