/* The loops of stream.h, which the compiler makes into vectors of the including file's width. */
#include "gemm/stream.h"

static uint64_t read_words(const uint64_t *in, size_t n)
{
    uint64_t sums[32] = {0}; /* independent of each other: eight vectors of 32 bytes */
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i += 32)
        for (size_t j = 0; j < 32; j++)
            sums[j] ^= in[i + j];
    for (size_t j = 0; j < 32; j++)
        sum ^= sums[j];
    return sum;
}

static void copy_words(const uint64_t *restrict in, uint64_t *restrict out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] + 1;
}
