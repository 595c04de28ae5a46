#include <immintrin.h>

#include "gemm/mf.h"

typedef __m512i vec;

static inline vec vec_zero(void)
{
    return _mm512_setzero_si512();
}

static inline vec vec_add(vec a, vec b)
{
    return _mm512_add_epi16(a, b);
}

static inline vec vec_sub(vec a, vec b)
{
    return _mm512_sub_epi16(a, b);
}

static inline vec vec_shift(vec a, __m128i count)
{
    return _mm512_sll_epi16(a, count);
}

/* rows[j] = b[k + j][0..31] from the four k of a panel's step: two vectors of [16 n][4 k] bytes. */
static inline void expand(const int8_t *b, vec rows[4])
{
    const __m512i lo = _mm512_loadu_si512(b), hi = _mm512_loadu_si512(b + 1024);

    for (unsigned j = 0; j < 4; j++) {
        const __m512i l = _mm512_srai_epi32(_mm512_slli_epi32(lo, 24 - 8 * j), 24);
        const __m512i h = _mm512_srai_epi32(_mm512_slli_epi32(hi, 24 - 8 * j), 24);
        rows[j] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(l)),
                                     _mm512_cvtepi32_epi16(h), 1);
    }
}

/* c[n] += sum[n] */
static inline void flush(vec sum, int32_t *c)
{
    const __m512i lo = _mm512_cvtepi16_epi32(_mm512_castsi512_si256(sum));
    const __m512i hi = _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(sum, 1));

    _mm512_storeu_si512(c, _mm512_add_epi32(_mm512_loadu_si512(c), lo));
    _mm512_storeu_si512(c + 16, _mm512_add_epi32(_mm512_loadu_si512(c + 16), hi));
}

#include "gemm/mf_kernels.h"

const nyb_tile_s8 nyb_mf_avx512 = {
    .name = "avx512",
    .needs = NYB_CPU_AVX512,
    .row_piece = 1,
    .k_piece = NYB_TILE_STEP,
    .macs = 16,
    .max_product = INT32_MAX,
    .begin = nothing,
    .end = nothing,
    .run = run,
    .unpack = nyb_tile_unpack_avx512,
    .pack_rows = nyb_tile_pack_rows_avx512,
    .pack_cols = nyb_tile_pack_cols_avx512,
    .transpose = nyb_tile_transpose_avx512,
};
