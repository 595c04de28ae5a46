#include <immintrin.h>

#include "gemm/mf.h"

typedef struct vec {
    __m256i lo, hi;
} vec;

static inline vec vec_zero(void)
{
    return (vec){_mm256_setzero_si256(), _mm256_setzero_si256()};
}

static inline vec vec_add(vec a, vec b)
{
    return (vec){_mm256_add_epi16(a.lo, b.lo), _mm256_add_epi16(a.hi, b.hi)};
}

static inline vec vec_sub(vec a, vec b)
{
    return (vec){_mm256_sub_epi16(a.lo, b.lo), _mm256_sub_epi16(a.hi, b.hi)};
}

static inline vec vec_shift(vec a, __m128i count)
{
    return (vec){_mm256_sll_epi16(a.lo, count), _mm256_sll_epi16(a.hi, count)};
}

/* Byte j of the 16 n at p, [16 n][4 k], as int16. */
static inline __m256i pick(const int8_t *p, int j)
{
    const __m256i a = _mm256_loadu_si256((const __m256i *)p);
    const __m256i b = _mm256_loadu_si256((const __m256i *)(p + 32));
    const __m256i l = _mm256_srai_epi32(_mm256_slli_epi32(a, 24 - 8 * j), 24);
    const __m256i h = _mm256_srai_epi32(_mm256_slli_epi32(b, 24 - 8 * j), 24);

    return _mm256_permute4x64_epi64(_mm256_packs_epi32(l, h), 0xd8);
}

/* rows[j] = b[k + j][0..31] from the four k of a panel's step. */
static inline void expand(const int8_t *b, vec rows[4])
{
    for (int j = 0; j < 4; j++)
        rows[j] = (vec){pick(b, j), pick(b + 1024, j)};
}

static inline void add_eight(__m128i sum, int32_t *c)
{
    const __m256i wide = _mm256_cvtepi16_epi32(sum);
    const __m256i old = _mm256_loadu_si256((const __m256i *)c);

    _mm256_storeu_si256((__m256i *)c, _mm256_add_epi32(old, wide));
}

/* c[n] += sum[n] */
static inline void flush(vec sum, int32_t *c)
{
    add_eight(_mm256_castsi256_si128(sum.lo), c);
    add_eight(_mm256_extracti128_si256(sum.lo, 1), c + 8);
    add_eight(_mm256_castsi256_si128(sum.hi), c + 16);
    add_eight(_mm256_extracti128_si256(sum.hi, 1), c + 24);
}

#include "gemm/mf_kernels.h"

const nyb_tile_s8 nyb_mf_avx2 = {
    .name = "avx2",
    .needs = NYB_CPU_AVX2,
    .row_piece = 1,
    .k_piece = NYB_TILE_STEP,
    .macs = 16,
    .max_product = INT32_MAX,
    .begin = nothing,
    .end = nothing,
    .run = run,
    .unpack = nyb_tile_unpack_avx2,
    .pack_rows = nyb_tile_pack_rows_avx2,
    .pack_cols = nyb_tile_pack_cols_avx2,
    .transpose = nyb_tile_transpose_avx2,
};
