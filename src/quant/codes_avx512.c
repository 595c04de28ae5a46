/* Blocks to 4-bit codes for AVX-512 with VBMI. */
#include "base/vec_avx512.h"
#include "quant/codes.h"

#define INLINE  static inline __attribute__((always_inline))
#define TO_ZERO (_MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC)
#define DOWN    (_MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)
#define UP      (_MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)

/* ---- largest magnitudes ---------------------------------------------------------------------- */

INLINE __m512i magnitude(__m512 v)
{
    return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff));
}

INLINE void store_absmax(__m512i most, float absmax[16])
{
    const __mmask16 normal = _mm512_cmpge_epi32_mask(most, _mm512_set1_epi32(0x00800000));

    _mm512_storeu_si512(absmax, _mm512_maskz_mov_epi32(normal, most));
}

static void rows_absmax(const float *const *rows, size_t n, size_t col, size_t lanes,
                        float absmax[16])
{
    const __mmask16 keep = first_lanes(lanes);
    __m512i most = _mm512_setzero_si512(), other = most;
    size_t i = 0;

    for (; i + 2 <= n; i += 2) {
        most = _mm512_max_epi32(most, magnitude(_mm512_maskz_loadu_ps(keep, rows[i] + col)));
        other = _mm512_max_epi32(other, magnitude(_mm512_maskz_loadu_ps(keep, rows[i + 1] + col)));
    }
    if (i < n)
        most = _mm512_max_epi32(most, magnitude(_mm512_maskz_loadu_ps(keep, rows[i] + col)));
    store_absmax(_mm512_max_epi32(most, other), absmax);
}

/* Lane i of the result: the largest of v[i]'s lanes. */
INLINE __m512i tops(__m512i v[16])
{
    __m512i a[8], b[4], c[2];

    for (int i = 0; i < 8; i++) /* lanes: v[i] v[i+8] v[i] v[i+8] in each quarter */
        a[i] = _mm512_max_epi32(_mm512_unpacklo_epi32(v[i], v[i + 8]),
                                _mm512_unpackhi_epi32(v[i], v[i + 8]));
    for (int i = 0; i < 4; i++) /* a quarter: v[i] v[i+8] v[i+4] v[i+12] */
        b[i] = _mm512_max_epi32(_mm512_unpacklo_epi64(a[i], a[i + 4]),
                                _mm512_unpackhi_epi64(a[i], a[i + 4]));
    for (int i = 0; i < 2; i++) /* quarters: b[i] b[i] b[i+2] b[i+2] */
        c[i] = _mm512_max_epi32(_mm512_shuffle_i32x4(b[i], b[i + 2], 0x44),
                                _mm512_shuffle_i32x4(b[i], b[i + 2], 0xee));
    /* quarters: v[0 8 4 12], v[2 10 6 14], v[1 9 5 13], v[3 11 7 15] */
    const __m512i d = _mm512_max_epi32(_mm512_shuffle_i32x4(c[0], c[1], 0x88),
                                       _mm512_shuffle_i32x4(c[0], c[1], 0xdd));
    const __m512i order = _mm512_setr_epi32(0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15);
    return _mm512_permutexvar_epi32(order, d);
}

static void absmax(const float *x, size_t n_groups, size_t group, float result[16])
{
    __m512i v[16];

    for (size_t g = 0; g < 16; g++) {
        v[g] = _mm512_setzero_si512();
        for (size_t i = 0; g < n_groups && i < group; i += 16)
            v[g] = _mm512_max_epi32(v[g], magnitude(_mm512_loadu_ps(x + g * group + i)));
    }
    store_absmax(tops(v), result);
}

/* ---- codes ----------------------------------------------------------------------------------- */

typedef struct tables {
    __m512i low, high; /* codes of 0 .. 63, of -64 .. -1 */
    __m512 most, least, ulp;
} tables;

INLINE tables tables_of(const nyb_codes_plan *plan)
{
    return (tables){_mm512_loadu_si512(plan->codes), _mm512_loadu_si512(plan->codes + 64),
                    _mm512_set1_ps(plan->most), _mm512_set1_ps(plan->least),
                    _mm512_set1_ps(plan->ulp)};
}

INLINE __m512i nearest(__m512 t)
{
    return _mm512_add_epi32(_mm512_cvt_roundps_epi32(t, DOWN), _mm512_cvt_roundps_epi32(t, UP));
}

/* step: the distance of neighbours; a + (r 2^-23) step, rounded towards zero, passes no multiple of
 * step, and step can be taken off exactly. */
INLINE __m512i drawn(const tables *k, __m512 t, __m512i r)
{
    const __m512i sign = _mm512_set1_epi32((int)0x80000000);
    const __m512 a = _mm512_min_ps(_mm512_castsi512_ps(magnitude(t)), k->most);
    const __m512i power = _mm512_and_si512(_mm512_castps_si512(_mm512_max_ps(a, k->least)),
                                           _mm512_set1_epi32(0x7f800000));
    const __m512 step = _mm512_mul_ps(_mm512_castsi512_ps(power), k->ulp);
    const __m512 one_and = _mm512_castsi512_ps(_mm512_or_si512(r, _mm512_set1_epi32(0x3f800000)));
    const __m512 y = _mm512_sub_ps(_mm512_fmadd_round_ps(one_and, step, a, TO_ZERO), step);

    return _mm512_cvttps_epi32(_mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(sign, _mm512_castps_si512(t), _mm512_castps_si512(y), 0xca)));
}

/* The integers of 64 elements: byte 16 q + 4 i + j is that of lane 4 q + j of v[i]. */
INLINE __m512i look_up(const tables *k, const __m512i v[4])
{
    const __m512i bytes =
        _mm512_packs_epi16(_mm512_packs_epi32(v[0], v[1]), _mm512_packs_epi32(v[2], v[3]));
    const __m512i at =
        _mm512_max_epi8(_mm512_min_epi8(bytes, _mm512_set1_epi8(63)), _mm512_set1_epi8(-64));

    return _mm512_permutex2var_epi8(k->low, at, k->high);
}

INLINE __m512i pair(__m512i low, __m512i high)
{
    return _mm512_or_si512(low, _mm512_slli_epi16(high, 4));
}

/* Rows of 16 dwords to columns. */
INLINE void transpose(__m512i v[16], uint8_t codes[16][64])
{
    __m512i a[16], b[16];

    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) { /* b[i + j]: element 4 q + j of rows i .. i + 3 */
        b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    for (int j = 0; j < 4; j++) {
        const __m512i p = _mm512_shuffle_i32x4(b[j], b[j + 4], 0x44);
        const __m512i q = _mm512_shuffle_i32x4(b[j], b[j + 4], 0xee);
        const __m512i r = _mm512_shuffle_i32x4(b[j + 8], b[j + 12], 0x44);
        const __m512i s = _mm512_shuffle_i32x4(b[j + 8], b[j + 12], 0xee);

        _mm512_storeu_si512(codes[j], _mm512_shuffle_i32x4(p, r, 0x88));
        _mm512_storeu_si512(codes[j + 4], _mm512_shuffle_i32x4(p, r, 0xdd));
        _mm512_storeu_si512(codes[j + 8], _mm512_shuffle_i32x4(q, s, 0x88));
        _mm512_storeu_si512(codes[j + 12], _mm512_shuffle_i32x4(q, s, 0xdd));
    }
}

/* Codes of rows i .. i + 3, as look_up orders them. */
INLINE __m512i four_rows(const tables *k, bool draws, const float *const *rows, size_t col,
                         __mmask16 keep, __m512 inv, const uint32_t *r23, size_t ld)
{
    __m512i v[4];

    for (size_t i = 0; i < 4; i++) {
        const __m512 t = _mm512_mul_ps(_mm512_maskz_loadu_ps(keep, rows[i] + col), inv);
        v[i] = draws ? drawn(k, t, _mm512_maskz_loadu_epi32(keep, r23 + i * ld)) : nearest(t);
    }
    return look_up(k, v);
}

INLINE void columns_with(const nyb_codes_plan *plan, bool draws, const float *const rows[128],
                         size_t col, size_t lanes, const float (*inv)[16], size_t group,
                         const uint32_t *r23, size_t ld, uint8_t codes[16][64])
{
    const __m512i swap = _mm512_set4_epi32(0x0f0b0703, 0x0e0a0602, 0x0d090501, 0x0c080400);
    const __mmask16 keep = first_lanes(lanes);
    const tables k = tables_of(plan);
    __m512i v[16];

    for (size_t i = 0; i < 64; i += 4) {
        const __m512 low = _mm512_loadu_ps(inv[i / group]);
        const __m512 high = _mm512_loadu_ps(inv[(64 + i) / group]);

        v[i / 4] = _mm512_shuffle_epi8(
            pair(four_rows(&k, draws, rows + i, col, keep, low, r23 + i * ld, ld),
                 four_rows(&k, draws, rows + 64 + i, col, keep, high, r23 + (64 + i) * ld, ld)),
            swap);
    }
    transpose(v, codes);
}

static void columns(const nyb_codes_plan *plan, const float *const rows[128], size_t col,
                    size_t lanes, const float (*inv)[16], size_t group, const uint32_t *r23,
                    size_t ld, uint8_t codes[16][64])
{
    if (plan->draws)
        columns_with(plan, true, rows, col, lanes, inv, group, r23, ld, codes);
    else
        columns_with(plan, false, rows, col, lanes, inv, group, r23, ld, codes);
}

INLINE __m512i sixty_four(const tables *k, bool draws, const float *x, const float *inv,
                          size_t first, size_t group, const uint32_t *r23)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i v[4];

    for (size_t i = 0; i < 4; i++) {
        const size_t at = first + 16 * i;
        const __m512 t = _mm512_mul_ps(_mm512_loadu_ps(x + at), _mm512_set1_ps(inv[at / group]));
        v[i] = draws ? drawn(k, t, _mm512_loadu_si512(r23 + at)) : nearest(t);
    }
    return _mm512_permutexvar_epi32(order, look_up(k, v));
}

static void along(const nyb_codes_plan *plan, const float x[128], const float *inv, size_t group,
                  const uint32_t *r23, uint8_t codes[64])
{
    const tables k = tables_of(plan);
    __m512i low, high;

    if (plan->draws) {
        low = sixty_four(&k, true, x, inv, 0, group, r23);
        high = sixty_four(&k, true, x, inv, 64, group, r23);
    } else {
        low = sixty_four(&k, false, x, inv, 0, group, r23);
        high = sixty_four(&k, false, x, inv, 64, group, r23);
    }
    _mm512_storeu_si512(codes, pair(low, high));
}

extern const nyb_codes_kernel nyb_codes_avx512;
const nyb_codes_kernel nyb_codes_avx512 = {
    .name = "avx512",
    .needs = NYB_CPU_AVX512 | NYB_CPU_AVX512VNNI | NYB_CPU_VAES,
    .rows_absmax = rows_absmax,
    .absmax = absmax,
    .columns = columns,
    .along = along,
};
