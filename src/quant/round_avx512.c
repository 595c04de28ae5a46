/* Rounding to a grid for AVX-512 with VAES. */
#include "base/rng_avx512.h"
#include "quant/round.h"

#include <float.h>
#include <math.h>

#define LANES   16
#define TO_ZERO (_MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC)
#define INLINE  static inline __attribute__((always_inline))

/* round_kernels.h's vocabulary on one zmm register. */
typedef __m512 vec;
typedef __m512i ivec;
typedef __mmask16 mask;

INLINE mask first_lanes(size_t n)
{
    return (mask)((1u << n) - 1);
}

INLINE vec vec_set(float x)
{
    return _mm512_set1_ps(x);
}

INLINE ivec ivec_set(int x)
{
    return _mm512_set1_epi32(x);
}

INLINE vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

/* n < 16 lanes; the others are 0. */
INLINE vec vec_load_n(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}

INLINE ivec ivec_load(const uint32_t *p)
{
    return _mm512_loadu_si512(p);
}

INLINE ivec ivec_load_n(const uint32_t *p, size_t n)
{
    return _mm512_maskz_loadu_epi32(first_lanes(n), p);
}

INLINE void vec_store(float *p, vec v)
{
    _mm512_storeu_ps(p, v);
}

INLINE void vec_store_n(float *p, vec v, size_t n)
{
    _mm512_mask_storeu_ps(p, first_lanes(n), v);
}

INLINE ivec vec_bits(vec v)
{
    return _mm512_castps_si512(v);
}

INLINE vec vec_of(ivec v)
{
    return _mm512_castsi512_ps(v);
}

INLINE vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

INLINE vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

INLINE vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

/* c - a * b, rounded once */
INLINE vec vec_fnma(vec a, vec b, vec c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

INLINE vec vec_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

INLINE vec vec_abs(vec v)
{
    return _mm512_abs_ps(v);
}

INLINE mask vec_less(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

/* m ? a : b */
INLINE vec vec_select(mask m, vec a, vec b)
{
    return _mm512_mask_blend_ps(m, b, a);
}

/* lo <= v <= hi; NaN becomes 0. */
INLINE vec vec_between(vec v, vec lo, vec hi)
{
    return _mm512_max_ps(_mm512_maskz_min_ps(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), v, hi), lo);
}

/* The smaller of |v| and max, with v's sign; NaN becomes 0. */
INLINE vec vec_clamped(vec v, vec max)
{
    return _mm512_maskz_range_ps(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), v, max, 0x2);
}

/* The same without a sign. */
INLINE vec vec_magnitude(vec v, vec max)
{
    return _mm512_maskz_range_ps(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), v, max, 0xa);
}

INLINE ivec ivec_add(ivec a, ivec b)
{
    return _mm512_add_epi32(a, b);
}

INLINE ivec ivec_max(ivec a, ivec b)
{
    return _mm512_max_epi32(a, b);
}

/* Signed. */
INLINE mask ivec_less(ivec a, ivec b)
{
    return _mm512_cmplt_epi32_mask(a, b);
}

/* m ? v : 0 */
INLINE ivec ivec_keep(mask m, ivec v)
{
    return _mm512_maskz_mov_epi32(m, v);
}

/* The largest lane. */
INLINE int ivec_top(ivec v)
{
    return _mm512_reduce_max_epi32(v);
}

INLINE ivec ivec_and(ivec a, ivec b)
{
    return _mm512_and_si512(a, b);
}

INLINE ivec ivec_or(ivec a, ivec b)
{
    return _mm512_or_si512(a, b);
}

INLINE ivec ivec_xor(ivec a, ivec b)
{
    return _mm512_xor_si512(a, b);
}

/* v >> n, zeros come in */
INLINE ivec ivec_shift(ivec v, int n)
{
    return _mm512_srl_epi32(v, _mm_cvtsi32_si128(n));
}

/* 1 + r 2^-23 */
INLINE vec vec_one_and(ivec r)
{
    return vec_of(ivec_or(r, ivec_set(0x3f800000)));
}

/* The multiple of step at or below a + (r 2^-23) step, a >= 0; inv = 1 / step. Rounding towards
 * zero passes no multiple of step: each has at most 24 bits. 2^23 step puts the last bit at step;
 * one step more is added and taken off. */
INLINE vec vec_drawn(vec a, ivec r, vec step, vec inv)
{
    const vec big = vec_of(_mm512_add_epi32(vec_bits(step), _mm512_set1_epi32(23 << 23)));
    vec s = _mm512_fmadd_round_ps(vec_one_and(r), step, a, TO_ZERO);

    (void)inv;
    s = _mm512_add_round_ps(s, big, TO_ZERO);
    return _mm512_sub_ps(s, _mm512_add_ps(big, step));
}

/* ---- random bits ---------------------------------------------------------------------------- */

/* At most 16 lanes, from lane `skip` on: *r23 moves on, *n shrinks. */
INLINE void put(ivec v, unsigned skip, uint32_t **r23, size_t *n)
{
    const size_t count = nyb_min(*n, LANES - skip);

    if (skip > 0)
        v = _mm512_maskz_compress_epi32((mask)(0xffffu << skip), v);
    if (count == LANES)
        _mm512_storeu_si512(*r23, v);
    else
        _mm512_mask_storeu_epi32(*r23, first_lanes(count), v);
    *r23 += count;
    *n -= count;
}

static void draw(const nyb_stream *stream, int sr_bits, uint64_t first, size_t n, uint32_t *r23)
{
    const unsigned per_block = sr_bits == 16 ? 8 : 4;
    rng random = rng_begin(stream, first / per_block);
    unsigned skip = (unsigned)(first % per_block);

    for (; n > 0; skip = 0) {
        const __m512i u = rng_blocks(&random, 0);

        rng_skip(&random, 4);
        if (sr_bits == 16) {
            put(rng_fields_16(u, 0), skip, &r23, &n);
            put(rng_fields_16(u, 1), 0, &r23, &n);
        } else {
            put(rng_fields_32(u), skip, &r23, &n);
        }
    }
}

#define ROUND_RECORD nyb_round_avx512
#define ROUND_NAME   "avx512"
#define ROUND_NEEDS  (NYB_CPU_AVX512 | NYB_CPU_AVX512VNNI | NYB_CPU_VAES)
#include "quant/round_kernels.h"
