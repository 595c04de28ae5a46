/* Blocks to 4-bit codes for AVX2. */
#include "base/vec_avx2.h"
#include "quant/codes.h"

#define INLINE static inline __attribute__((always_inline))

/* Sixteen lanes, of which `lanes` are in memory; others are 0. */
typedef struct row {
    __m256 v[2];
} row;

INLINE row load_row(const float *p, size_t lanes, const __m256i keep[2])
{
    if (lanes == 16)
        return (row){{_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}};
    return (row){{_mm256_maskload_ps(p, keep[0]), _mm256_maskload_ps(p + 8, keep[1])}};
}

/* ---- largest magnitudes ---------------------------------------------------------------------- */

INLINE __m256i magnitude(__m256 v)
{
    return _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff));
}

/* Subnormals are 0. */
INLINE __m256i normal(__m256i most)
{
    return _mm256_and_si256(most, _mm256_cmpgt_epi32(most, _mm256_set1_epi32(0x007fffff)));
}

static void rows_absmax(const float *const *rows, size_t n, size_t col, size_t lanes,
                        float absmax[16])
{
    const __m256i keep[2] = {lanes_below((int)lanes), lanes_below((int)lanes - 8)};
    __m256i most[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};

    for (size_t i = 0; i < n; i++) {
        const row r = load_row(rows[i] + col, lanes, keep);
        for (int h = 0; h < 2; h++)
            most[h] = _mm256_max_epi32(most[h], magnitude(r.v[h]));
    }
    for (int h = 0; h < 2; h++)
        _mm256_storeu_si256((void *)(absmax + 8 * h), normal(most[h]));
}

static void absmax(const float *x, size_t n_groups, size_t group, float result[16])
{
    uint32_t top[16] = {0};

    for (size_t g = 0; g < n_groups; g++) {
        __m256i most = _mm256_setzero_si256();
        for (size_t i = 0; i < group; i += 8)
            most = _mm256_max_epi32(most, magnitude(_mm256_loadu_ps(x + g * group + i)));
        __m128i m = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
        m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
        m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
        top[g] = (uint32_t)_mm_cvtsi128_si32(m);
    }
    for (int h = 0; h < 2; h++)
        _mm256_storeu_si256((void *)(result + 8 * h),
                            normal(_mm256_loadu_si256((const void *)(top + 8 * h))));
}

/* ---- codes ----------------------------------------------------------------------------------- */

typedef struct tables {
    __m256i codes[8]; /* of 16 integers each, in both halves */
    __m256 most, least, ulp;
} tables;

INLINE tables tables_of(const nyb_codes_plan *plan)
{
    tables k = {.most = _mm256_set1_ps(plan->most),
                .least = _mm256_set1_ps(plan->least),
                .ulp = _mm256_set1_ps(plan->ulp)};

    for (int i = 0; i < 8; i++)
        k.codes[i] =
            _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)(plan->codes + 16 * i)));
    return k;
}

INLINE __m256i nearest(__m256 t)
{
    return _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_floor_ps(t)),
                            _mm256_cvtps_epi32(_mm256_ceil_ps(t)));
}

/* step: the distance of neighbours, a power of two, so that y, its fraction and 1 - u are exact:
 * up where fraction + u >= 1. */
INLINE __m256i drawn(const tables *k, __m256 t, __m256i r)
{
    const __m256 one = _mm256_set1_ps(1), two = _mm256_set1_ps(2);
    const __m256 a = _mm256_min_ps(_mm256_castsi256_ps(magnitude(t)), k->most);
    const __m256i power = _mm256_and_si256(_mm256_castps_si256(_mm256_max_ps(a, k->least)),
                                           _mm256_set1_epi32(0x7f800000));
    const __m256i inverse = _mm256_sub_epi32(_mm256_set1_epi32(0x7f000000), power);
    const __m256 step = _mm256_mul_ps(_mm256_castsi256_ps(power), k->ulp);
    const __m256 y = _mm256_mul_ps(_mm256_mul_ps(a, _mm256_castsi256_ps(inverse)), k->least);
    const __m256 below = _mm256_floor_ps(y);
    const __m256 one_and = _mm256_castsi256_ps(_mm256_or_si256(r, _mm256_castps_si256(one)));
    const __m256 up =
        _mm256_cmp_ps(_mm256_sub_ps(y, below), _mm256_sub_ps(two, one_and), _CMP_GE_OQ);
    const __m256 chosen = _mm256_mul_ps(_mm256_add_ps(below, _mm256_and_ps(up, one)), step);

    return _mm256_sign_epi32(_mm256_cvttps_epi32(chosen),
                             _mm256_or_si256(_mm256_castps_si256(t), _mm256_set1_epi32(1)));
}

/* 32 integers, 8 each, to codes in their order. */
INLINE __m256i look_up(const tables *k, __m256i v0, __m256i v1, __m256i v2, __m256i v3)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i bytes =
        _mm256_packs_epi16(_mm256_packs_epi32(v0, v1), _mm256_packs_epi32(v2, v3));
    const __m256i at = _mm256_and_si256(
        _mm256_max_epi8(_mm256_min_epi8(bytes, _mm256_set1_epi8(63)), _mm256_set1_epi8(-64)),
        _mm256_set1_epi8(127));
    __m256i codes = _mm256_setzero_si256();

    for (int i = 0; i < 8; i++) { /* an index from elsewhere gets its top bit set: 0 */
        const __m256i in = _mm256_adds_epu8(_mm256_sub_epi8(at, _mm256_set1_epi8((char)(16 * i))),
                                            _mm256_set1_epi8(0x70));
        codes = _mm256_or_si256(codes, _mm256_shuffle_epi8(k->codes[i], in));
    }
    return _mm256_permutevar8x32_epi32(codes, order);
}

INLINE __m256i pair(__m256i low, __m256i high)
{
    return _mm256_or_si256(low, _mm256_slli_epi16(high, 4));
}

/* 16 rows of 16 bytes to columns, 64 bytes apart. */
INLINE void transpose(const uint8_t rows[16][16], uint8_t (*codes)[64])
{
    __m128i a[16], b[16];

    for (int i = 0; i < 16; i++)
        a[i] = _mm_load_si128((const void *)rows[i]);
    for (int turn = 0; turn < 2; turn++) { /* four rounds of row i with row i + 8 */
        for (int i = 0; i < 8; i++) {
            b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
            b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
        }
        for (int i = 0; i < 8; i++) {
            a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]);
            a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
        }
    }
    for (int i = 0; i < 16; i++)
        _mm_storeu_si128((void *)codes[i], a[i]);
}

/* Codes of rows 0 and 1, 16 columns each. */
INLINE __m256i two_rows(const tables *k, bool draws, const float *const *rows, size_t col,
                        size_t lanes, const __m256i keep[2], const float *inv, const uint32_t *r23,
                        size_t ld)
{
    const __m256 factor[2] = {_mm256_loadu_ps(inv), _mm256_loadu_ps(inv + 8)};
    __m256i v[2][2];

    for (size_t i = 0; i < 2; i++) {
        const row x = load_row(rows[i] + col, lanes, keep);
        row r = x;
        if (draws)
            r = load_row((const float *)(const void *)(r23 + i * ld), lanes, keep);
        for (int h = 0; h < 2; h++) {
            const __m256 t = _mm256_mul_ps(x.v[h], factor[h]);
            v[i][h] = draws ? drawn(k, t, _mm256_castps_si256(r.v[h])) : nearest(t);
        }
    }
    return look_up(k, v[0][0], v[0][1], v[1][0], v[1][1]);
}

INLINE void columns_with(const nyb_codes_plan *plan, bool draws, const float *const rows[128],
                         size_t col, size_t lanes, const float (*inv)[16], size_t group,
                         const uint32_t *r23, size_t ld, uint8_t codes[16][64])
{
    const __m256i keep[2] = {lanes_below((int)lanes), lanes_below((int)lanes - 8)};
    const tables k = tables_of(plan);
    _Alignas(32) uint8_t bytes[64][16];

    for (size_t i = 0; i < 64; i += 2) {
        const __m256i low =
            two_rows(&k, draws, rows + i, col, lanes, keep, inv[i / group], r23 + i * ld, ld);
        const __m256i high = two_rows(&k, draws, rows + 64 + i, col, lanes, keep,
                                      inv[(64 + i) / group], r23 + (64 + i) * ld, ld);
        _mm256_store_si256((void *)bytes[i], pair(low, high));
    }
    for (size_t i = 0; i < 64; i += 16)
        transpose((const uint8_t(*)[16])bytes + i, (uint8_t(*)[64])(codes[0] + i));
}

static void columns(const nyb_codes_plan *plan, const float *const rows[128], size_t col,
                    size_t lanes, const float (*inv)[16], size_t group, const uint32_t *r23,
                    size_t ld, uint8_t codes[16][64])
{
    if (plan->draws && lanes == 16)
        columns_with(plan, true, rows, col, 16, inv, group, r23, ld, codes);
    else if (plan->draws)
        columns_with(plan, true, rows, col, lanes, inv, group, r23, ld, codes);
    else if (lanes == 16)
        columns_with(plan, false, rows, col, 16, inv, group, r23, ld, codes);
    else
        columns_with(plan, false, rows, col, lanes, inv, group, r23, ld, codes);
}

INLINE __m256i thirty_two(const tables *k, bool draws, const float *x, const float *inv,
                          size_t first, size_t group, const uint32_t *r23)
{
    __m256i v[4];

    for (size_t i = 0; i < 4; i++) {
        const size_t at = first + 8 * i;
        const __m256 t = _mm256_mul_ps(_mm256_loadu_ps(x + at), _mm256_set1_ps(inv[at / group]));
        v[i] = draws ? drawn(k, t, _mm256_loadu_si256((const void *)(r23 + at))) : nearest(t);
    }
    return look_up(k, v[0], v[1], v[2], v[3]);
}

INLINE void along_with(const nyb_codes_plan *plan, bool draws, const float x[128], const float *inv,
                       size_t group, const uint32_t *r23, uint8_t codes[64])
{
    const tables k = tables_of(plan);

    for (size_t i = 0; i < 64; i += 32)
        _mm256_storeu_si256((void *)(codes + i),
                            pair(thirty_two(&k, draws, x, inv, i, group, r23),
                                 thirty_two(&k, draws, x, inv, 64 + i, group, r23)));
}

static void along(const nyb_codes_plan *plan, const float x[128], const float *inv, size_t group,
                  const uint32_t *r23, uint8_t codes[64])
{
    if (plan->draws)
        along_with(plan, true, x, inv, group, r23, codes);
    else
        along_with(plan, false, x, inv, group, r23, codes);
}

extern const nyb_codes_kernel nyb_codes_avx2;
const nyb_codes_kernel nyb_codes_avx2 = {
    .name = "avx2",
    .needs = NYB_CPU_AVX2,
    .rows_absmax = rows_absmax,
    .absmax = absmax,
    .columns = columns,
    .along = along,
};
