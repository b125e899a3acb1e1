/* prefetch.h - asking for a cache line before it is needed. A hint: any address may be given. */
#ifndef WEIR_BASE_PREFETCH_H
#define WEIR_BASE_PREFETCH_H

/* To write to it: the line is taken away from the other cores. Not __builtin_prefetch(address, 1), for which compilers emit a fetch for reading
 * where the instruction is not in the baseline; every x86-64 processor takes it, if only as nothing. */
static inline void prefetch_for_writing(const void *address)
{
#ifdef __x86_64__
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)address));
#else
    __builtin_prefetch(address, 1);
#endif
}

#endif
