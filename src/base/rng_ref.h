/* Draws in the vocabulary of kernels that are one source for each instruction set, in plain C: the
 * specification of it. */
#ifndef NYB_RNG_REF_H
#define NYB_RNG_REF_H

#include "base/rng.h"

/* The 32 draws of 16 bits in the four blocks from block q on. */
static inline void rng_draws_32(const nyb_stream *s, uint64_t q, uint16_t draws[32])
{
    for (uint64_t i = 0; i < 32; i += 8) {
        uint32_t block[4];

        nyb_rng_block(s, q + i / 8, block);
        for (uint64_t j = 0; j < 8; j++)
            draws[i + j] = (uint16_t)(block[j / 2] >> 16 * (j & 1));
    }
}

#endif
