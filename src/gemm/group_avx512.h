/* What the AVX-512 grouped tiles share: blocks of float sums in registers. */
#ifndef NYB_GROUP_AVX512_H
#define NYB_GROUP_AVX512_H

#include "gemm/group.h"
#include "gemm/tile_avx512.h"

/* rows, and halves of 16 columns, are constants where these are inlined. */
static inline __attribute__((always_inline)) void
nyb_group_start(const float *c, size_t rows, size_t halves, bool accumulate, __m512 acc[][2])
{
    NYB_UNROLL
    for (size_t m = 0; m < rows; m++) {
        NYB_UNROLL
        for (size_t j = 0; j < halves; j++)
            acc[m][j] =
                accumulate ? _mm512_load_ps(c + m * NYB_TILE_COLS + 16 * j) : _mm512_setzero_ps();
    }
}

static inline __attribute__((always_inline)) void nyb_group_finish(float *c, size_t rows,
                                                                   size_t halves, __m512 acc[][2])
{
    NYB_UNROLL
    for (size_t m = 0; m < rows; m++) {
        NYB_UNROLL
        for (size_t j = 0; j < halves; j++)
            _mm512_store_ps(c + m * NYB_TILE_COLS + 16 * j, acc[m][j]);
    }
}

#endif
