/* Rounding to a grid for AVX2 with AES-NI. */
#include "base/rng_avx2.h"
#include "quant/round.h"

#include <float.h>
#include <math.h>

#define LANES  8
#define INLINE static inline __attribute__((always_inline))

/* round_kernels.h's vocabulary on one ymm register. */
typedef __m256 vec;
typedef __m256i ivec;
typedef __m256 mask; /* all bits of a lane */

/* n < 8 */
INLINE __m256i first_lanes(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

INLINE vec vec_set(float x)
{
    return _mm256_set1_ps(x);
}

INLINE ivec ivec_set(int x)
{
    return _mm256_set1_epi32(x);
}

INLINE vec vec_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

/* n < 8 lanes; the others are 0, even if their page is not there. */
INLINE vec vec_load_n(const float *p, size_t n)
{
    return _mm256_maskload_ps(p, first_lanes(n));
}

INLINE ivec ivec_load(const uint32_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

INLINE ivec ivec_load_n(const uint32_t *p, size_t n)
{
    return _mm256_maskload_epi32((const int *)p, first_lanes(n));
}

INLINE void vec_store(float *p, vec v)
{
    _mm256_storeu_ps(p, v);
}

INLINE void vec_store_n(float *p, vec v, size_t n)
{
    _mm256_maskstore_ps(p, first_lanes(n), v);
}

INLINE ivec vec_bits(vec v)
{
    return _mm256_castps_si256(v);
}

INLINE vec vec_of(ivec v)
{
    return _mm256_castsi256_ps(v);
}

INLINE vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

INLINE vec vec_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}

INLINE vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

/* c - a * b, rounded once */
INLINE vec vec_fnma(vec a, vec b, vec c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

INLINE vec vec_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

INLINE vec vec_abs(vec v)
{
    return _mm256_and_ps(v, vec_of(ivec_set(0x7fffffff)));
}

INLINE mask vec_less(vec a, vec b)
{
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}

/* m ? a : b */
INLINE vec vec_select(mask m, vec a, vec b)
{
    return _mm256_blendv_ps(b, a, m);
}

/* lo <= v <= hi; NaN becomes 0. */
INLINE vec vec_between(vec v, vec lo, vec hi)
{
    v = _mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q));
    return _mm256_max_ps(_mm256_min_ps(v, hi), lo);
}

/* The smaller of |v| and max, with v's sign; NaN becomes 0. */
INLINE vec vec_clamped(vec v, vec max)
{
    return vec_between(v, _mm256_sub_ps(_mm256_setzero_ps(), max), max);
}

/* The same without a sign. max_ps returns its second operand for NaN. */
INLINE vec vec_magnitude(vec v, vec max)
{
    return _mm256_min_ps(_mm256_max_ps(vec_abs(v), _mm256_setzero_ps()), max);
}

INLINE ivec ivec_add(ivec a, ivec b)
{
    return _mm256_add_epi32(a, b);
}

INLINE ivec ivec_max(ivec a, ivec b)
{
    return _mm256_max_epi32(a, b);
}

/* Signed. */
INLINE mask ivec_less(ivec a, ivec b)
{
    return vec_of(_mm256_cmpgt_epi32(b, a));
}

/* m ? v : 0 */
INLINE ivec ivec_keep(mask m, ivec v)
{
    return _mm256_and_si256(v, vec_bits(m));
}

/* The largest lane. */
INLINE int ivec_top(ivec v)
{
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return _mm_cvtsi128_si32(m);
}

INLINE ivec ivec_and(ivec a, ivec b)
{
    return _mm256_and_si256(a, b);
}

INLINE ivec ivec_or(ivec a, ivec b)
{
    return _mm256_or_si256(a, b);
}

INLINE ivec ivec_xor(ivec a, ivec b)
{
    return _mm256_xor_si256(a, b);
}

/* v >> n, zeros come in */
INLINE ivec ivec_shift(ivec v, int n)
{
    return _mm256_srl_epi32(v, _mm_cvtsi32_si128(n));
}

/* 1 + r 2^-23 */
INLINE vec vec_one_and(ivec r)
{
    return vec_of(ivec_or(r, ivec_set(0x3f800000)));
}

/* The multiple of step at or below a + (r 2^-23) step, a >= 0; inv = 1 / step. The fraction of
 * a / step and 1 - r 2^-23 are exact. */
INLINE vec vec_drawn(vec a, ivec r, vec step, vec inv)
{
    const vec one = vec_set(1), q = vec_mul(a, inv);
    const vec k = _mm256_round_ps(q, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
    const vec stay = vec_less(vec_sub(q, k), vec_sub(vec_set(2), vec_one_and(r)));

    return vec_mul(vec_add(k, _mm256_andnot_ps(stay, one)), step);
}

/* ---- random bits ---------------------------------------------------------------------------- */

/* The next 8 fields. */
INLINE ivec rng_fields(rng *r, int sr_bits)
{
    __m128i blocks[2];

    rng_blocks(r, sr_bits == 16 ? 1 : 2, blocks);
    return sr_bits == 16 ? rng_fields_16(blocks[0]) : rng_fields_32(blocks);
}

/* The next 32 of draws of 16 bits, or 16 of 32 bits. */
INLINE size_t store_fields(rng *r, int sr_bits, uint32_t *r23)
{
    __m256i *to = (__m256i *)(void *)r23;
    __m128i blocks[4];

    rng_blocks(r, 4, blocks);
    if (sr_bits == 16) {
        for (int i = 0; i < 4; i++)
            _mm256_storeu_si256(to + i, rng_fields_16(blocks[i]));
        return 4 * LANES;
    }
    for (int i = 0; i < 2; i++)
        _mm256_storeu_si256(to + i, rng_fields_32(blocks + 2 * i));
    return 2 * LANES;
}

INLINE void fill(rng random, int sr_bits, unsigned skip, size_t n, uint32_t *r23)
{
    uint32_t lane[LANES];
    size_t i = 0;

    if (skip > 0) {
        _mm256_storeu_si256((__m256i *)(void *)lane, rng_fields(&random, sr_bits));
        i = nyb_min(n, LANES - skip);
        memcpy(r23, lane + skip, i * sizeof *r23);
    }
    while (i + 4 * LANES <= n)
        i += store_fields(&random, sr_bits, r23 + i);
    for (; i + LANES <= n; i += LANES)
        _mm256_storeu_si256((__m256i *)(void *)(r23 + i), rng_fields(&random, sr_bits));
    if (i < n)
        _mm256_maskstore_epi32((int *)(r23 + i), first_lanes(n - i), rng_fields(&random, sr_bits));
}

static void draw(const nyb_stream *stream, int sr_bits, uint64_t first, size_t n, uint32_t *r23)
{
    if (sr_bits == 16)
        fill(rng_begin(stream, first / 8), 16, (unsigned)(first % 8), n, r23);
    else
        fill(rng_begin(stream, first / 4), 32, (unsigned)(first % 4), n, r23);
}

#define ROUND_RECORD nyb_round_avx2
#define ROUND_NAME   "avx2"
#define ROUND_NEEDS  NYB_CPU_AVX2
#include "quant/round_kernels.h"
