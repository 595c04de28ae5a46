/* The encoder for AVX-512 with VAES: 16 elements an operation, 128 codes a turn. */
#include "base/rng_avx512.h"
#include "quant/quant.h"

#define LANES   16
#define VECTORS (NYB_BLOCK_CODES / LANES) /* of a turn */
#define INLINE  static inline __attribute__((always_inline))

/* ---- random bits ---------------------------------------------------------------------------- */

/* Where the bits of a turn come from. */
typedef enum source { NONE, BITS16, BITS32 } source;

/* The fields of a turn's 128 elements, in order. */
INLINE void rng_turn(rng *r, source from, __m512i r23[VECTORS])
{
    if (from == BITS16) {
        for (int i = 0; i < VECTORS; i += 2) {
            const __m512i u = rng_blocks(r, 2 * i);

            r23[i] = rng_fields_16(u, 0);
            r23[i + 1] = rng_fields_16(u, 1);
        }
        rng_skip(r, 16);
    } else if (from == BITS32) {
        for (int i = 0; i < VECTORS; i++)
            r23[i] = rng_fields_32(rng_blocks(r, 4 * i));
        rng_skip(r, 32);
    } else {
        for (int i = 0; i < VECTORS; i++)
            r23[i] = _mm512_setzero_si512();
    }
}

/* ---- packing -------------------------------------------------------------------------------- */

/* After two in-lane packs dword 4 l + v holds elements 4 l .. 4 l + 3 of vector v. */
INLINE __m512i in_order(__m512i packed)
{
    return _mm512_permutexvar_epi32(
        _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0), packed);
}

/* 64 bytes, not yet in order, from dwords 0..255; 0x80000000 becomes 0. */
INLINE __m512i pack_unsigned(const __m512i c[4])
{
    return _mm512_packus_epi16(_mm512_packus_epi32(c[0], c[1]), _mm512_packus_epi32(c[2], c[3]));
}

/* The same from dwords -127..127; 0x80000000 becomes 0x80. */
INLINE __m512i pack_signed(const __m512i c[4])
{
    return _mm512_packs_epi16(_mm512_packs_epi32(c[0], c[1]), _mm512_packs_epi32(c[2], c[3]));
}

/* low & 15 | high << 4: nybble order. What the shift brings from other bytes is not selected. */
INLINE __m512i nybbles(__m512i low, __m512i high)
{
    return _mm512_ternarylogic_epi32(_mm512_set1_epi8(15), low, _mm512_slli_epi16(high, 4), 0xca);
}

/* ---- LOG2 ----------------------------------------------------------------------------------- */

typedef struct log2_plan {
    __m512 inv, inv2, limit;
    bool plain;                /* r is the random field everywhere, else: */
    __m512i low_and, high_and; /* r = random & and | or, by v < 2 */
    __m512i low_or, high_or;
} log2_plan;

INLINE log2_plan log2_begin(const nyb_spec *spec, float inv)
{
    const __m512i all = _mm512_set1_epi32(-1), none = _mm512_setzero_si512();
    const __m512i half = _mm512_set1_epi32(0x400000);
    const nyb_rounding r = spec->rounding;
    log2_plan p = {.inv = _mm512_set1_ps(inv), .inv2 = _mm512_set1_ps(2.0f * inv)};

    p.limit = _mm512_set1_ps(2.0f * spec->format->max);
    p.plain = r == NYB_ROUND_STOCHASTIC;
    p.low_and = p.plain || r == NYB_ROUND_UNDERFLOW ? all : none;
    p.high_and = p.plain || r == NYB_ROUND_FLUSH_STOCHASTIC ? all : none;
    p.low_or = r == NYB_ROUND_NEAREST ? half : none;
    p.high_or = p.plain || r == NYB_ROUND_FLUSH_STOCHASTIC ? none : half;
    return p;
}

/* bits(v) + r: the exponent field is 127 + e. See encode_ref.c; max_ps and min_ps return their
 * second operand where one is NaN, which takes NaN to 0 and 0 * Inf to the limit. */
INLINE __m512i log2_round(const log2_plan *p, bool plain, __m512 x, __m512i r)
{
    const __m512 zero = _mm512_setzero_ps();
    __m512 a = _mm512_max_ps(_mm512_abs_ps(x), zero);
    __m512 v =
        _mm512_max_ps(_mm512_fmadd_ps(a, p->inv, _mm512_set1_ps(1.0f)), _mm512_mul_ps(a, p->inv2));

    v = _mm512_min_ps(v, p->limit);
    if (!plain) {
        __mmask16 under = _mm512_cmp_ps_mask(v, _mm512_set1_ps(2.0f), _CMP_LT_OQ);
        __m512i high = _mm512_or_si512(_mm512_and_si512(r, p->high_and), p->high_or);
        __m512i low = _mm512_or_si512(_mm512_and_si512(r, p->low_and), p->low_or);

        r = _mm512_mask_blend_epi32(under, high, low);
    }
    return _mm512_add_epi32(_mm512_castps_si512(v), r);
}

/* 64 nybble pairs from dwords whose low 4 bits are sign << 3 | exponent & 7 and the others 0:
 * e = (exponent + 1) & 7 and the zero of e = 0 come from a table. */
INLINE __m512i log2_nybbles(const __m512i c[VECTORS])
{
    const __m512i low =
        _mm512_broadcast_i32x4(_mm_setr_epi8(1, 2, 3, 4, 5, 6, 7, 0, 9, 10, 11, 12, 13, 14, 15, 0));
    const __m512i high = _mm512_slli_epi16(low, 4);

    return in_order(_mm512_or_si512(_mm512_shuffle_epi8(low, pack_unsigned(c)),
                                    _mm512_shuffle_epi8(high, pack_unsigned(c + 4))));
}

/* sign of x << 3 | exponent of b & 7, bit by bit (truth table 0xca = a ? b : c). */
INLINE __m512i log2_index(__m512i b, __m512 x)
{
    return _mm512_ternarylogic_epi32(_mm512_set1_epi32(7), _mm512_srli_epi32(b, 23),
                                     _mm512_srli_epi32(_mm512_castps_si512(x), 28), 0xca);
}

INLINE __m512i log2_turn4(const log2_plan *p, bool plain, const float *x, const __m512i r[VECTORS])
{
    __m512i c[VECTORS];

    for (int i = 0; i < VECTORS; i++) {
        __m512 f = _mm512_loadu_ps(x + LANES * i);

        c[i] = log2_index(log2_round(p, plain, f, r[i]), f);
    }
    return log2_nybbles(c);
}

/* Bytes sign << 7 | e. */
INLINE void log2_turn8(const log2_plan *p, bool plain, const float *x, const __m512i r[VECTORS],
                       uint8_t *codes)
{
    const __m512i bias = _mm512_set1_epi32(127), sign = _mm512_set1_epi32(0x80);
    __m512i c[VECTORS];

    for (int i = 0; i < VECTORS; i++) {
        __m512 f = _mm512_loadu_ps(x + LANES * i);
        __m512i b = log2_round(p, plain, f, r[i]);
        __m512i e = _mm512_sub_epi32(_mm512_srli_epi32(b, 23), bias);
        __m512i s = _mm512_and_si512(_mm512_srli_epi32(_mm512_castps_si512(f), 24), sign);

        c[i] = _mm512_maskz_or_epi32(_mm512_test_epi32_mask(e, e), e, s);
    }
    _mm512_storeu_si512(codes, in_order(pack_unsigned(c)));
    _mm512_storeu_si512(codes + 64, in_order(pack_unsigned(c + 4)));
}

INLINE void log2_run(const log2_plan *p, rng random, source from, bool plain, bool byte,
                     const float *x, size_t n, uint8_t *codes)
{
    const log2_plan plan = *p;

    for (size_t i = 0; i < n; i += NYB_BLOCK_CODES) {
        __m512i r[VECTORS];

        rng_turn(&random, from, r);
        for (int j = 0; j < VECTORS; j++)
            _mm_prefetch((const char *)(x + i + 1024 + LANES * j), _MM_HINT_T0);
        if (byte)
            log2_turn8(&plan, plain, x + i, r, codes + i);
        else
            _mm512_storeu_si512(codes + i / 2, log2_turn4(&plan, plain, x + i, r));
    }
}

/* ---- LOG2 in nybbles, stochastic with 16 bits: LUQ, in as few operations as were found --------
 */

/* |x| and the clamp are one vrangeps, with the least `top` for which top * inv2 reaches the limit:
 * the product is then at most 2 units in the last place above it, which no 16-bit draw carries on.
 * Infinite (false) for scales that no clip gives. */
static bool luq_top(float inv2, float limit, float *top)
{
    *top = limit / inv2;
    while (*top * inv2 < limit)
        *top = nyb_float_of(nyb_bits_of(*top) + 1);
    while (nyb_float_of(nyb_bits_of(*top) - 1) * inv2 >= limit)
        *top = nyb_float_of(nyb_bits_of(*top) - 1);
    return nyb_bits_of(*top) < 0x7f800000;
}

/* bits(v) + (U16 << 7 | 64) as one vpdpwssd: with w = U16 ^ 0x7fff = 32767 - U16 as a signed number
 * (the flip is in the last round key) it is bits(v) - 128 w + 192 * 21845. The first block's index
 * is a multiple of 16, so that the counters within a turn differ by an exclusive or. */
static void luq_run(const log2_plan *p, float top, rng random, const float *x, size_t n,
                    uint8_t *codes)
{
    const __m512 inv = p->inv, inv2 = p->inv2, one = _mm512_set1_ps(1.0f);
    const __m512 most = _mm512_set1_ps(top);
    const __m512i last = _mm512_xor_si512(random.key[5], _mm512_set1_epi16(0x7fff));
    const __m512i step = _mm512_set4_epi64(0, 16, 0, 16);
    const __m512i rest = _mm512_set1_epi32(21845);
    const __m512i factors = _mm512_set1_epi32((int)0xff8000c0); /* -128, 192 */
    const __m512i even = _mm512_set_epi16(15, 0, 14, 0, 13, 0, 12, 0, 11, 0, 10, 0, 9, 0, 8, 0, 7,
                                          0, 6, 0, 5, 0, 4, 0, 3, 0, 2, 0, 1, 0, 0, 0);
    const __m512i odd = _mm512_add_epi16(even, _mm512_set1_epi16(16));
    __m512i counter = random.counter, key[4];

    for (int i = 0; i < 4; i++)
        key[i] = _mm512_xor_si512(random.key[0], _mm512_set4_epi64(0, 4 * i, 0, 4 * i));
    for (size_t i = 0; i < n; i += NYB_BLOCK_CODES) {
        __m512i c[VECTORS], u = counter;

        for (int j = 0; j < VECTORS; j++) {
            __m512 f = _mm512_loadu_ps(x + i + LANES * j), a, v;
            __m512i w;

            if (j % 2 == 0) {
                u = _mm512_xor_si512(counter, key[j / 2]);
                u = _mm512_aesenc_epi128(u, random.key[1]);
                u = _mm512_aesenc_epi128(u, random.key[2]);
                u = _mm512_aesenc_epi128(u, random.key[3]);
                u = _mm512_aesenc_epi128(u, random.key[4]);
                u = _mm512_aesenclast_epi128(u, last);
            }
            w = _mm512_mask_permutexvar_epi16(rest, 0xAAAAAAAA, j % 2 ? odd : even, u);
            _mm_prefetch((const char *)(x + i + 1024 + LANES * j), _MM_HINT_T0);
            /* the smaller magnitude, sign cleared; NaN to 0 */
            a = _mm512_maskz_range_ps(_mm512_cmp_ps_mask(f, f, _CMP_ORD_Q), f, most, 0xa);
            v = _mm512_max_ps(_mm512_fmadd_ps(a, inv, one), _mm512_mul_ps(a, inv2));
            c[j] = log2_index(_mm512_dpwssd_epi32(_mm512_castps_si512(v), w, factors), f);
        }
        counter = _mm512_add_epi64(counter, step);
        _mm512_storeu_si512(codes + i / 2, log2_nybbles(c));
    }
}

/* ---- INT ------------------------------------------------------------------------------------ */

typedef struct int_plan {
    __m512 inv, lo, hi;
    bool is_signed;
    bool wide;    /* codes are 0..255 */
    bool full;    /* codes are -128..127 */
    bool narrow;  /* codes of fewer bits than they rest in: */
    __m512i mask; /* of a code, in bytes */
} int_plan;

/* rint(clamp): max_ps and min_ps in this order let NaN through, which converts to 0x80000000. */
INLINE __m512i int_nearest(const int_plan *p, __m512 x)
{
    return _mm512_cvtps_epi32(_mm512_max_ps(p->lo, _mm512_min_ps(p->hi, _mm512_mul_ps(x, p->inv))));
}

/* Steps and fractions of y <= 255 in one number of 31 bits, exactly: y 2^23. */
INLINE __m512i int_stochastic(const int_plan *p, __m512 x, __m512i r)
{
    __m512i s = _mm512_srai_epi32(_mm512_castps_si512(x), 31), q;
    __m512 a = _mm512_max_ps(p->is_signed ? _mm512_abs_ps(x) : x, _mm512_setzero_ps());
    __m512 y = _mm512_min_ps(_mm512_mul_ps(a, p->inv), p->hi);

    q = _mm512_cvttps_epi32(_mm512_mul_ps(y, _mm512_set1_ps(0x1p23f)));
    q = _mm512_srli_epi32(_mm512_add_epi32(q, r), 23);
    return _mm512_sub_epi32(_mm512_xor_si512(q, s), s);
}

INLINE void int_run(const int_plan *p, rng random, source from, bool byte, const float *x, size_t n,
                    uint8_t *codes)
{
    const int_plan plan = *p;

    for (size_t i = 0; i < n; i += NYB_BLOCK_CODES) {
        __m512i r[VECTORS], c[VECTORS], low, high;

        rng_turn(&random, from, r);
        for (int j = 0; j < VECTORS; j++) {
            __m512 f = _mm512_loadu_ps(x + i + LANES * j);

            _mm_prefetch((const char *)(x + i + 1024 + LANES * j), _MM_HINT_T0);
            if (byte && plan.full)
                f = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(f, f, _CMP_ORD_Q), f);
            c[j] = from == NONE ? int_nearest(&plan, f) : int_stochastic(&plan, f, r[j]);
        }
        low = byte && plan.wide ? pack_unsigned(c) : pack_signed(c);
        high = byte && plan.wide ? pack_unsigned(c + 4) : pack_signed(c + 4);
        if (byte && !plan.wide && !plan.full) { /* of NaN's 0x80 a nybble keeps 0 */
            const __m512i nan = _mm512_set1_epi8(-128);

            low = _mm512_maskz_mov_epi8(_mm512_cmpneq_epi8_mask(low, nan), low);
            high = _mm512_maskz_mov_epi8(_mm512_cmpneq_epi8_mask(high, nan), high);
        }
        if (plan.narrow) {
            low = _mm512_and_si512(low, plan.mask);
            high = _mm512_and_si512(high, plan.mask);
        }
        if (byte) {
            _mm512_storeu_si512(codes + i, in_order(low));
            _mm512_storeu_si512(codes + i + 64, in_order(high));
        } else {
            _mm512_storeu_si512(codes + i / 2, in_order(nybbles(low, high)));
        }
    }
}

/* ---- the variant ---------------------------------------------------------------------------- */

static void encode_log2(const nyb_spec *spec, float inv, rng random, source from, uint64_t first,
                        const float *x, size_t n, uint8_t *codes)
{
    const log2_plan plan = log2_begin(spec, inv), *p = &plan;
    const bool byte = spec->format->bits == 8;
    float top;

    if (p->plain && from == BITS16 && !byte && first % NYB_BLOCK_CODES == 0 &&
        luq_top(2.0f * inv, 2.0f * spec->format->max, &top))
        luq_run(p, top, random, x, n, codes);
    else if (from == BITS16)
        log2_run(p, random, BITS16, false, byte, x, n, codes);
    else if (from == BITS32)
        log2_run(p, random, BITS32, false, byte, x, n, codes);
    else
        log2_run(p, random, NONE, false, byte, x, n, codes);
}

static void encode_int(const nyb_spec *spec, const int_plan *p, rng random, source from,
                       const float *x, size_t n, uint8_t *codes)
{
    const bool byte = spec->format->bits == 8;

    if (from == NONE && !byte)
        int_run(p, random, NONE, false, x, n, codes);
    else if (from == NONE)
        int_run(p, random, NONE, true, x, n, codes);
    else if (from == BITS16)
        int_run(p, random, BITS16, byte, x, n, codes);
    else
        int_run(p, random, BITS32, byte, x, n, codes);
}

static bool encode(const nyb_spec *spec, float inv_scale, const nyb_stream *stream, uint64_t first,
                   const float *x, size_t n, uint8_t *codes)
{
    const nyb_format *f = spec->format;
    const source from = !nyb_rounding_draws(spec->rounding) ? NONE
                        : spec->sr_bits == 16               ? BITS16
                                                            : BITS32;
    rng random = rng_begin(stream, from == BITS32 ? first / 4 : first / 8);

    switch (f->grid) {
    case NYB_GRID_LOG2:
        encode_log2(spec, inv_scale, random, from, first, x, n, codes);
        return true;
    case NYB_GRID_INT: {
        int_plan p = {.inv = _mm512_set1_ps(inv_scale),
                      .lo = _mm512_set1_ps(f->lo),
                      .hi = _mm512_set1_ps(f->hi),
                      .is_signed = f->is_signed,
                      .wide = f->hi > INT8_MAX,
                      .full = f->lo == INT8_MIN,
                      .narrow = f->n_codes < (f->bits == 4 ? 16u : 256u),
                      .mask = _mm512_set1_epi8((char)(f->n_codes - 1))};

        encode_int(spec, &p, random, from, x, n, codes);
        return true;
    }
    case NYB_GRID_REAL:
    case NYB_GRID_FLOAT:
    case NYB_GRID_TABLE:
        return false;
    }
    return false;
}

/* ---- canonical sums -------------------------------------------------------------------------- */

/* The canonical fold: w = 8, 4, 2, 1, each adding the upper half to the lower. */
INLINE float fold(__m512 l)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(l), _mm512_extractf32x8_ps(l, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));

    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

/* `count` (at most 4) blocks side by side, to hide the latency of the sums. Elements with an
 * exponent of 255 are left out if `careful`; without it a block that has one is done again. */
INLINE void some_blocks(const float *x, size_t rows, size_t ld, size_t stride, int count,
                        bool careful, nyb_block_moments *blocks)
{
    const __m512i exponent = _mm512_set1_epi32(0x7f800000);
    const __m512i one = _mm512_set1_epi32(1);
    __m512 sum_abs[4], sum_sq[4];
    __m512i max[4], n[4], n_nan = _mm512_setzero_si512(), n_inf = _mm512_setzero_si512();

    for (int i = 0; i < count; i++) {
        sum_abs[i] = sum_sq[i] = _mm512_setzero_ps();
        max[i] = n[i] = _mm512_setzero_si512();
    }
    for (size_t row = 0; row < rows; row++)
        for (int i = 0; i < count; i++) {
            __m512 a = _mm512_abs_ps(_mm512_loadu_ps(x + row * ld + (size_t)i * stride));
            __m512i b = _mm512_castps_si512(a);

            if (careful) {
                __mmask16 bad = _mm512_cmpge_epi32_mask(b, exponent);
                __mmask16 inf = _mm512_cmpeq_epi32_mask(b, exponent);

                n_inf = _mm512_mask_add_epi32(n_inf, inf, n_inf, one);
                n_nan = _mm512_mask_add_epi32(n_nan, bad & (__mmask16)~inf, n_nan, one);
                b = _mm512_maskz_mov_epi32((__mmask16)~bad, b);
                a = _mm512_castsi512_ps(b);
            }
            max[i] = _mm512_max_epu32(max[i], b);
            n[i] = _mm512_mask_add_epi32(n[i], _mm512_test_epi32_mask(b, exponent), n[i], one);
            sum_abs[i] = _mm512_add_ps(sum_abs[i], a);
            sum_sq[i] = _mm512_fmadd_ps(a, a, sum_sq[i]);
        }
    for (int i = 0; i < count; i++) {
        uint32_t most = _mm512_reduce_max_epu32(max[i]);

        blocks[i] = (nyb_block_moments){
            .sum_abs = fold(sum_abs[i]),
            .sum_sq = fold(sum_sq[i]),
            .absmax_bits = most >= 0x00800000 ? most : 0,
            .n_nonzero = (uint32_t)_mm512_reduce_add_epi32(n[i]),
            .n_nan = (uint32_t)_mm512_reduce_add_epi32(n_nan),
            .n_inf = (uint32_t)_mm512_reduce_add_epi32(n_inf),
        };
    }
}

static void careful_block(const float *x, size_t rows, size_t ld, nyb_block_moments *block)
{
    some_blocks(x, rows, ld, 0, 1, true, block);
}

static void moments(const float *x, size_t rows, size_t ld, size_t stride, size_t n_blocks,
                    nyb_block_moments *blocks)
{
    size_t i = 0;

    for (; i + 4 <= n_blocks; i += 4)
        some_blocks(x + i * stride, rows, ld, stride, 4, false, blocks + i);
    for (; i < n_blocks; i++)
        some_blocks(x + i * stride, rows, ld, stride, 1, false, blocks + i);
    for (i = 0; i < n_blocks; i++)
        if (blocks[i].absmax_bits >= 0x7f800000)
            careful_block(x + i * stride, rows, ld, blocks + i);
}

const nyb_encode_kernel nyb_encode_avx512 = {
    .name = "avx512",
    .needs = NYB_CPU_AVX512 | NYB_CPU_AVX512VNNI | NYB_CPU_VAES,
    .encode = encode,
    .moments = moments,
};
