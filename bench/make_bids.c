/*
 * make_bids.c - the input of figure `keyed`: `make_bids FILE RECORDS KEYS`. Records of 32 bytes, little endian: auction, bidder, price,
 * sequence; drawn by splitmix64 from seed 42, in this order: auction = next % KEYS, bidder = next % 100,000, price = next % 10,000.
 */
#include "count.h"

#include <stdio.h>
#include <stdlib.h>

#define BLOCK_RECORDS 4096

static int write_bids(FILE *file, uint64_t records, uint64_t keys)
{
    static struct bid block[BLOCK_RECORDS];
    uint64_t drawn = 0;
    for (uint64_t made = 0; made < records;) {
        size_t count = 0;
        for (; count < BLOCK_RECORDS && made < records; count++, made++) {
            uint64_t auction = splitmix64_at(42, ++drawn) % keys;
            uint64_t bidder = splitmix64_at(42, ++drawn) % 100000;
            uint64_t price = splitmix64_at(42, ++drawn) % 10000;
            block[count] = (struct bid){auction, bidder, price, made};
        }
        if (fwrite(block, sizeof block[0], count, file) != count)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t records = argc == 4 ? strtoull(argv[2], NULL, 10) : 0;
    uint64_t keys = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
    if (records == 0 || keys == 0) {
        fprintf(stderr, "usage: make_bids FILE RECORDS KEYS\n");
        return 2;
    }
    FILE *file = fopen(argv[1], "wb");
    if (file == NULL || write_bids(file, records, keys) != 0 || fclose(file) != 0) {
        perror(argv[1]);
        return 1;
    }
    return 0;
}
