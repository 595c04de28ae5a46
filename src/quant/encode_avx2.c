/* The encoder for AVX2 with AES-NI: 8 elements an operation, 128 codes a turn. */
#include "base/rng_avx2.h"
#include "quant/quant.h"

#define LANES  8
#define INLINE static inline __attribute__((always_inline))

/* ---- random bits ---------------------------------------------------------------------------- */

/* Where the bits of a turn come from. */
typedef enum source { NONE, BITS16, BITS32 } source;

/* The fields of the next 32 elements. */
INLINE void rng_part(rng *r, source from, __m256i fields[4])
{
    __m128i blocks[8];

    if (from != NONE)
        rng_blocks(r, 4, blocks);
    if (from == BITS32)
        rng_blocks(r, 4, blocks + 4);
    for (int i = 0; i < 4; i++)
        fields[i] = from == BITS16   ? rng_fields_16(blocks[i])
                    : from == BITS32 ? rng_fields_32(blocks + 2 * i)
                                     : _mm256_setzero_si256();
}

/* ---- packing -------------------------------------------------------------------------------- */

/* After two in-lane packs dword 4 l + v holds elements 4 l .. 4 l + 3 of vector v. */
INLINE __m256i in_order(__m256i packed)
{
    return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* 32 bytes from dwords 0..255; 0x80000000 becomes 0. */
INLINE __m256i pack_unsigned(const __m256i c[4])
{
    return in_order(
        _mm256_packus_epi16(_mm256_packus_epi32(c[0], c[1]), _mm256_packus_epi32(c[2], c[3])));
}

/* 32 bytes from dwords -127..127; 0x80000000 becomes 0x80. */
INLINE __m256i pack_signed(const __m256i c[4])
{
    return in_order(
        _mm256_packs_epi16(_mm256_packs_epi32(c[0], c[1]), _mm256_packs_epi32(c[2], c[3])));
}

INLINE void store(void *to, __m256i bytes)
{
    _mm256_storeu_si256((__m256i *)to, bytes);
}

/* 128 bytes, those of codes 32 i .. 32 i + 31 in c[i]. */
INLINE void store_bytes(uint8_t *codes, const __m256i c[4])
{
    for (int i = 0; i < 4; i++)
        store(codes + 32 * i, c[i]);
}

/* 64 bytes of nybbles; mask is that of a code. */
INLINE void store_masked(uint8_t *codes, const __m256i c[4], __m256i mask)
{
    for (int i = 0; i < 2; i++)
        store(codes + 32 * i,
              _mm256_or_si256(_mm256_and_si256(c[i], mask),
                              _mm256_slli_epi16(_mm256_and_si256(c[i + 2], mask), 4)));
}

INLINE __m256 absolute(__m256 x)
{
    return _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff)));
}

/* ---- LOG2 ----------------------------------------------------------------------------------- */

typedef struct log2_plan {
    __m256 inv, inv2, limit;
    __m256i low_and, high_and; /* r = random & and | or, by v < 2 */
    __m256i low_or, high_or;
} log2_plan;

INLINE log2_plan log2_begin(const nyb_spec *spec, float inv)
{
    const __m256i all = _mm256_set1_epi32(-1), none = _mm256_setzero_si256();
    const __m256i half = _mm256_set1_epi32(0x400000);
    const nyb_rounding r = spec->rounding;
    log2_plan p = {.inv = _mm256_set1_ps(inv), .inv2 = _mm256_set1_ps(2.0f * inv)};

    p.limit = _mm256_set1_ps(2.0f * spec->format->max);
    p.low_and = r == NYB_ROUND_STOCHASTIC || r == NYB_ROUND_UNDERFLOW ? all : none;
    p.high_and = r == NYB_ROUND_STOCHASTIC || r == NYB_ROUND_FLUSH_STOCHASTIC ? all : none;
    p.low_or = r == NYB_ROUND_NEAREST ? half : none;
    p.high_or = r == NYB_ROUND_STOCHASTIC || r == NYB_ROUND_FLUSH_STOCHASTIC ? none : half;
    return p;
}

/* bits(v) + r: the exponent field is 127 + e. See encode_ref.c; max_ps and min_ps return their
 * second operand where one is NaN, which takes NaN to 0 and 0 * Inf to the limit. */
INLINE __m256i log2_round(const log2_plan *p, bool plain, __m256 x, __m256i r)
{
    __m256 a = _mm256_max_ps(absolute(x), _mm256_setzero_ps());
    __m256 v =
        _mm256_max_ps(_mm256_fmadd_ps(a, p->inv, _mm256_set1_ps(1.0f)), _mm256_mul_ps(a, p->inv2));

    v = _mm256_min_ps(v, p->limit);
    if (!plain) {
        __m256 under = _mm256_cmp_ps(v, _mm256_set1_ps(2.0f), _CMP_LT_OQ);
        __m256i high = _mm256_or_si256(_mm256_and_si256(r, p->high_and), p->high_or);
        __m256i low = _mm256_or_si256(_mm256_and_si256(r, p->low_and), p->low_or);

        r = _mm256_castps_si256(
            _mm256_blendv_ps(_mm256_castsi256_ps(high), _mm256_castsi256_ps(low), under));
    }
    return _mm256_add_epi32(_mm256_castps_si256(v), r);
}

/* 32 bytes sign << 7 | e. */
INLINE __m256i log2_bytes(const log2_plan *p, bool plain, const float *x, const __m256i r[4])
{
    const __m256i bias = _mm256_set1_epi32(127), sign = _mm256_set1_epi32(0x80);
    __m256i c[4];

    for (int i = 0; i < 4; i++) {
        const __m256 f = _mm256_loadu_ps(x + LANES * i);
        const __m256i e =
            _mm256_sub_epi32(_mm256_srli_epi32(log2_round(p, plain, f, r[i]), 23), bias);
        const __m256i s = _mm256_and_si256(_mm256_srli_epi32(_mm256_castps_si256(f), 24), sign);

        c[i] = _mm256_andnot_si256(_mm256_cmpeq_epi32(e, _mm256_setzero_si256()),
                                   _mm256_or_si256(e, s));
    }
    return pack_unsigned(c);
}

/* Low 4 bits of 32 bytes: e if x is positive, 16 - e if it is negative. One more in the exponent
 * field makes it 128 + e (where r is the random field as it is, a part of its constant); of x = 0
 * the sign makes it 0. */
INLINE __m256i log2_indices(const log2_plan *p, bool plain, const float *x, const __m256i r[4])
{
    const __m256i one = _mm256_set1_epi32(0x00800000), low = _mm256_set1_epi16(15);
    __m256i c[4];

    for (int i = 0; i < 4; i++) {
        const __m256 f = _mm256_loadu_ps(x + LANES * i);
        const __m256i t = plain ? log2_round(p, plain, f, _mm256_or_si256(r[i], one))
                                : _mm256_add_epi32(log2_round(p, plain, f, r[i]), one);

        c[i] = _mm256_sign_epi32(_mm256_srli_epi32(t, 23), _mm256_castps_si256(f));
    }
    return in_order(_mm256_packus_epi16(_mm256_and_si256(_mm256_packs_epi32(c[0], c[1]), low),
                                        _mm256_and_si256(_mm256_packs_epi32(c[2], c[3]), low)));
}

/* 64 bytes of nybbles: those of indices 32 i .. in c[i]. */
INLINE void store_nybbles(uint8_t *codes, const __m256i c[4])
{
    const __m256i low = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 0, 15, 14, 13, 12, 11, 10, 9));
    const __m256i high = _mm256_slli_epi16(low, 4);

    for (int i = 0; i < 2; i++)
        store(codes + 32 * i,
              _mm256_or_si256(_mm256_shuffle_epi8(low, c[i]), _mm256_shuffle_epi8(high, c[i + 2])));
}

INLINE void log2_run(const log2_plan *p, rng random, source from, bool plain, bool byte,
                     const float *x, size_t n, uint8_t *codes)
{
    const log2_plan plan = *p;

    for (size_t i = 0; i < n; i += NYB_BLOCK_CODES) {
        __m256i c[4];

        for (int part = 0; part < 4; part++) {
            const float *from_x = x + i + 32 * part;
            __m256i r[4];

            rng_part(&random, from, r);
            c[part] =
                byte ? log2_bytes(&plan, plain, from_x, r) : log2_indices(&plan, plain, from_x, r);
        }
        if (byte)
            store_bytes(codes + i, c);
        else
            store_nybbles(codes + i / 2, c);
    }
}

/* ---- INT ------------------------------------------------------------------------------------ */

typedef struct int_plan {
    __m256 inv, lo, hi;
    bool is_signed;
    bool wide;    /* codes are 0..255 */
    bool full;    /* codes are -128..127 */
    __m256i mask; /* of a code, in bytes */
} int_plan;

/* rint(clamp): max_ps and min_ps in this order let NaN through, which converts to 0x80000000. */
INLINE __m256i int_nearest(const int_plan *p, __m256 x)
{
    return _mm256_cvtps_epi32(_mm256_max_ps(p->lo, _mm256_min_ps(p->hi, _mm256_mul_ps(x, p->inv))));
}

/* Steps and fractions of y <= 255 in one number of 31 bits, exactly: y 2^23. */
INLINE __m256i int_stochastic(const int_plan *p, __m256 x, __m256i r)
{
    __m256i q;
    __m256 a = _mm256_max_ps(p->is_signed ? absolute(x) : x, _mm256_setzero_ps());
    __m256 y = _mm256_min_ps(_mm256_mul_ps(a, p->inv), p->hi);

    q = _mm256_cvttps_epi32(_mm256_mul_ps(y, _mm256_set1_ps(0x1p23f)));
    return _mm256_sign_epi32(_mm256_srli_epi32(_mm256_add_epi32(q, r), 23), _mm256_castps_si256(x));
}

INLINE void int_run(const int_plan *p, rng random, source from, bool byte, const float *x, size_t n,
                    uint8_t *codes)
{
    const int_plan plan = *p;
    const __m256i nan = _mm256_set1_epi8(-128); /* a code where all are used: full */

    for (size_t i = 0; i < n; i += NYB_BLOCK_CODES) {
        __m256i c[4];

        for (int part = 0; part < 4; part++) {
            __m256i v[4], r[4];

            rng_part(&random, from, r);
            for (int j = 0; j < 4; j++) {
                __m256 f = _mm256_loadu_ps(x + i + 32 * part + LANES * j);

                if (byte && plan.full)
                    f = _mm256_and_ps(f, _mm256_cmp_ps(f, f, _CMP_ORD_Q));
                v[j] = from == NONE ? int_nearest(&plan, f) : int_stochastic(&plan, f, r[j]);
            }
            c[part] = byte && plan.wide ? pack_unsigned(v) : pack_signed(v);
            if (byte && !plan.wide && !plan.full) /* of nybbles the mask takes NaN's 0x80 to 0 */
                c[part] = _mm256_and_si256(
                    _mm256_andnot_si256(_mm256_cmpeq_epi8(c[part], nan), c[part]), plan.mask);
        }
        if (byte)
            store_bytes(codes + i, c);
        else
            store_masked(codes + i / 2, c, plan.mask);
    }
}

/* ---- the variant ---------------------------------------------------------------------------- */

static void encode_log2(const nyb_spec *spec, float inv, rng random, source from, const float *x,
                        size_t n, uint8_t *codes)
{
    const log2_plan p = log2_begin(spec, inv);
    const bool byte = spec->format->bits == 8, plain = spec->rounding == NYB_ROUND_STOCHASTIC;

    if (plain && from == BITS16)
        log2_run(&p, random, BITS16, true, byte, x, n, codes);
    else if (from == BITS16)
        log2_run(&p, random, BITS16, false, byte, x, n, codes);
    else if (from == BITS32)
        log2_run(&p, random, BITS32, false, byte, x, n, codes);
    else
        log2_run(&p, random, NONE, false, byte, x, n, codes);
}

static void encode_int(const nyb_spec *spec, float inv, rng random, source from, const float *x,
                       size_t n, uint8_t *codes)
{
    const nyb_format *f = spec->format;
    const int_plan p = {.inv = _mm256_set1_ps(inv),
                        .lo = _mm256_set1_ps(f->lo),
                        .hi = _mm256_set1_ps(f->hi),
                        .is_signed = f->is_signed,
                        .wide = f->hi > INT8_MAX,
                        .full = f->lo == INT8_MIN,
                        .mask = _mm256_set1_epi8((char)(f->n_codes - 1))};
    const bool byte = f->bits == 8;

    if (from == NONE && !byte)
        int_run(&p, random, NONE, false, x, n, codes);
    else if (from == NONE)
        int_run(&p, random, NONE, true, x, n, codes);
    else if (from == BITS16)
        int_run(&p, random, BITS16, byte, x, n, codes);
    else
        int_run(&p, random, BITS32, byte, x, n, codes);
}

static bool encode(const nyb_spec *spec, float inv_scale, const nyb_stream *stream, uint64_t first,
                   const float *x, size_t n, uint8_t *codes)
{
    const source from = !nyb_rounding_draws(spec->rounding) ? NONE
                        : spec->sr_bits == 16               ? BITS16
                                                            : BITS32;
    const rng random = rng_begin(stream, from == BITS32 ? first / 4 : first / 8);

    switch (spec->format->grid) {
    case NYB_GRID_LOG2:
        encode_log2(spec, inv_scale, random, from, x, n, codes);
        return true;
    case NYB_GRID_INT:
        encode_int(spec, inv_scale, random, from, x, n, codes);
        return true;
    case NYB_GRID_REAL:
    case NYB_GRID_FLOAT:
    case NYB_GRID_TABLE:
        return false;
    }
    return false;
}

/* ---- canonical sums -------------------------------------------------------------------------- */

/* The canonical fold of 16 lanes: w = 8, 4, 2, 1, each adding the upper half to the lower. */
INLINE float fold(__m256 low, __m256 high)
{
    __m256 a = _mm256_add_ps(low, high);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));

    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

INLINE uint32_t lane_sum(__m256i n)
{
    uint32_t lane[8], sum = 0;

    store(lane, n);
    for (int i = 0; i < 8; i++)
        sum += lane[i];
    return sum;
}

INLINE uint32_t lane_max(__m256i n)
{
    uint32_t lane[8], max = 0;

    store(lane, n);
    for (int i = 0; i < 8; i++)
        max = lane[i] > max ? lane[i] : max;
    return max;
}

/* Elements with an exponent of 255 are left out if `careful`; without it a block that has one is
 * done again. Bits without their sign compare as signed integers. */
INLINE void one_block(const float *x, size_t rows, size_t ld, bool careful,
                      nyb_block_moments *block)
{
    const __m256i exponent = _mm256_set1_epi32(0x7f800000), top = _mm256_set1_epi32(0x7f7fffff);
    const __m256i zero = _mm256_setzero_si256();
    __m256 sum_abs[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    __m256 sum_sq[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    __m256i max[2] = {zero, zero}, n_zero[2] = {zero, zero}, n_bad = zero, n_inf = zero;
    uint32_t bad, inf, most;

    for (size_t row = 0; row < rows; row++)
        for (int i = 0; i < 2; i++) {
            __m256 a = absolute(_mm256_loadu_ps(x + row * ld + (size_t)i * LANES));
            __m256i b = _mm256_castps_si256(a);

            if (careful) {
                __m256i out = _mm256_cmpgt_epi32(b, top);

                n_bad = _mm256_sub_epi32(n_bad, out);
                n_inf = _mm256_sub_epi32(n_inf, _mm256_cmpeq_epi32(b, exponent));
                b = _mm256_andnot_si256(out, b);
                a = _mm256_castsi256_ps(b);
            }
            max[i] = _mm256_max_epi32(max[i], b);
            n_zero[i] = _mm256_sub_epi32(n_zero[i],
                                         _mm256_cmpeq_epi32(_mm256_and_si256(b, exponent), zero));
            sum_abs[i] = _mm256_add_ps(sum_abs[i], a);
            sum_sq[i] = _mm256_fmadd_ps(a, a, sum_sq[i]);
        }
    bad = lane_sum(n_bad);
    inf = lane_sum(n_inf);
    most = lane_max(_mm256_max_epi32(max[0], max[1]));
    *block = (nyb_block_moments){
        .sum_abs = fold(sum_abs[0], sum_abs[1]),
        .sum_sq = fold(sum_sq[0], sum_sq[1]),
        .absmax_bits = most >= 0x00800000 ? most : 0,
        .n_nonzero = (uint32_t)(16 * rows) - lane_sum(n_zero[0]) - lane_sum(n_zero[1]),
        .n_nan = bad - inf,
        .n_inf = inf,
    };
}

static void moments(const float *x, size_t rows, size_t ld, size_t stride, size_t n_blocks,
                    nyb_block_moments *blocks)
{
    for (size_t i = 0; i < n_blocks; i++) {
        one_block(x + i * stride, rows, ld, false, &blocks[i]);
        if (blocks[i].absmax_bits >= 0x7f800000)
            one_block(x + i * stride, rows, ld, true, &blocks[i]);
    }
}

const nyb_encode_kernel nyb_encode_avx2 = {
    .name = "avx2",
    .needs = NYB_CPU_AVX2,
    .encode = encode,
    .moments = moments,
};
