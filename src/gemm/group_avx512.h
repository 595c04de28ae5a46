/* What the AVX-512 grouped tiles share: blocks of float sums in registers. */
#ifndef NYB_GROUP_AVX512_H
#define NYB_GROUP_AVX512_H

#include "gemm/group.h"
#include "gemm/tile_avx512.h"

/* rows is a constant where these are inlined. */
static inline __attribute__((always_inline)) void nyb_group_start(const float *c, size_t rows,
                                                                  bool accumulate, __m512 acc[][2])
{
    NYB_UNROLL
    for (size_t m = 0; m < rows; m++) {
        acc[m][0] = acc[m][1] = _mm512_setzero_ps();
        if (accumulate) {
            acc[m][0] = _mm512_load_ps(c + m * NYB_TILE_COLS);
            acc[m][1] = _mm512_load_ps(c + m * NYB_TILE_COLS + 16);
        }
    }
}

static inline __attribute__((always_inline)) void nyb_group_finish(float *c, size_t rows,
                                                                   __m512 acc[][2])
{
    NYB_UNROLL
    for (size_t m = 0; m < rows; m++) {
        _mm512_store_ps(c + m * NYB_TILE_COLS, acc[m][0]);
        _mm512_store_ps(c + m * NYB_TILE_COLS + 16, acc[m][1]);
    }
}

#endif
