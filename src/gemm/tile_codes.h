/* Sixteen packed codes of 4 bits in a register (SSE2, which every x86-64 has). */
#ifndef NYB_TILE_CODES_H
#define NYB_TILE_CODES_H

#include <emmintrin.h>

#include "packed/packed.h"

/* Codes at .. at + 15, a byte each; at a multiple of 16. */
static inline __m128i nyb_codes_16(const uint8_t *codes, size_t at)
{
    const size_t in_block = at % NYB_BLOCK_CODES;

    codes += at / NYB_BLOCK_CODES * NYB_BLOCK_BYTES + in_block % NYB_BLOCK_BYTES;
    __m128i pairs = _mm_loadu_si128((const void *)codes);
    if (in_block >= NYB_BLOCK_BYTES)
        pairs = _mm_srli_epi16(pairs, 4);
    return _mm_and_si128(pairs, _mm_set1_epi8(15));
}

#endif
