/* The reference encoder: this file says what every code must be, the SIMD variants agree. */
#include "quant/quant.h"

#include <float.h>
#include <math.h>

/* Subnormals are zeros whatever MXCSR says, and NaN counts as zero (binding resolutions 1, 3). */
static float magnitude(float a)
{
    return a >= FLT_MIN ? a : 0.0f;
}

/* ---- LOG2: binding resolution 3 -------------------------------------------------------------- */

/* v = max(1 + u, 2 u) with u = |x| / alpha has in [1, 2) the underflow branch (mantissa u: up is
 * alpha, down is zero) and from 2 on the octaves of 2 u; one integer addition to its bits rounds
 * both, and its exponent is the code. r = 2^22 is nearest (ties up: RDNP), r = 0 truncates, a
 * random r is unbiased. v is at most 2 max, a power of two, which no r < 2^23 carries past. */
static unsigned encode_log2(const nyb_spec *spec, float inv, float x, uint32_t r23)
{
    const uint32_t half = 0x400000;
    float a = magnitude(fabsf(x));
    float under = fmaf(a, inv, 1.0f), octave = a * (2.0f * inv), limit = 2.0f * spec->format->max;
    float v = under > octave ? under : octave;
    uint32_t low = 0, high = 0, e;

    v = v < limit ? v : limit;
    switch (spec->rounding) {
    case NYB_ROUND_NEAREST:
        low = high = half;
        break;
    case NYB_ROUND_STOCHASTIC:
        low = high = r23;
        break;
    case NYB_ROUND_FLUSH:
        high = half;
        break;
    case NYB_ROUND_UNDERFLOW:
        low = r23;
        high = half;
        break;
    case NYB_ROUND_FLUSH_STOCHASTIC:
        high = r23;
        break;
    }
    e = ((nyb_bits_of(v) + (v < 2.0f ? low : high)) >> 23) - 127;
    return e == 0 ? 0 : (nyb_bits_of(x) >> 31) << (spec->format->bits - 1) | e;
}

/* ---- INT ------------------------------------------------------------------------------------ */

static int round_int_stochastic(const nyb_spec *spec, float y, uint32_t r23)
{
    int k;

    if (spec->sr_bits == 16)
        return ((int)(y * 65536.0f) + (int)(r23 >> 7)) >> 16; /* y <= 127: below 2^24 */
    k = (int)y;
    return k + (((int)((y - (float)k) * 0x1p23f) + (int)r23) >> 23);
}

static unsigned encode_int(const nyb_spec *spec, float inv, float x, uint32_t r23)
{
    const nyb_format *f = spec->format;
    float lo = f->lo, hi = f->hi, y;
    int q;

    if (isnan(x))
        return 0;
    if (spec->rounding == NYB_ROUND_STOCHASTIC) {
        /* On magnitudes, the sign is copied; an unsigned grid takes negatives to 0. */
        y = magnitude(f->is_signed ? fabsf(x) : x) * inv;
        q = round_int_stochastic(spec, y < hi ? y : hi, r23);
        q = signbit(x) ? -q : q;
    } else {
        y = x * inv;
        y = y < hi ? y : hi;
        y = y > lo ? y : lo;
        q = (int)rintf(y);
    }
    return (unsigned)q & (f->n_codes - 1u);
}

/* ---- TABLE ---------------------------------------------------------------------------------- */

/* Between neighbours l <= y < u of the sorted non-negative half. (y - l) / (u - l) is exact where
 * the gaps are powers of two. */
static unsigned encode_table(const nyb_spec *spec, float inv, float x, uint32_t r23)
{
    const nyb_format *f = spec->format;
    unsigned top = f->is_signed ? f->n_codes / 2u : f->n_codes, code = 0;
    float a = magnitude(f->is_signed ? fabsf(x) : x) * inv, y = a < f->max ? a : f->max;
    float l, gap, part;
    bool up;

    while (code + 1 < top && nyb_format_decode(f, code + 1) <= y)
        code++;
    if (code + 1 < top) {
        l = nyb_format_decode(f, code);
        gap = nyb_format_decode(f, code + 1) - l;
        part = (y - l) / gap;
        if (spec->rounding != NYB_ROUND_STOCHASTIC)
            up = part > 0.5f || (part == 0.5f && code % 2 != 0);
        else if (spec->sr_bits == 16)
            up = (uint32_t)(part * 65536.0f) + (r23 >> 7) >= 65536;
        else
            up = (uint32_t)(part * 0x1p23f) + r23 >= 1u << 23;
        code += up;
    }
    return code == 0 || !f->is_signed ? code : code | (signbit(x) ? top : 0);
}

unsigned nyb_encode_one(const nyb_spec *spec, float inv_scale, float x, uint32_t r23)
{
    switch (spec->format->grid) {
    case NYB_GRID_REAL:
        return 0;
    case NYB_GRID_INT:
        return encode_int(spec, inv_scale, x, r23);
    case NYB_GRID_LOG2:
        return encode_log2(spec, inv_scale, x, r23);
    case NYB_GRID_FLOAT:
    case NYB_GRID_TABLE:
        return encode_table(spec, inv_scale, x, r23);
    }
    return 0;
}

/* ---- blocks of 128 codes --------------------------------------------------------------------- */

/* The 23-bit fields of elements first .. first + 127. */
static void draw(const nyb_spec *spec, const nyb_stream *stream, uint64_t first,
                 uint32_t r23[NYB_BLOCK_CODES])
{
    const unsigned per_block = spec->sr_bits == 16 ? 8 : 4;

    for (unsigned i = 0; i < NYB_BLOCK_CODES; i += per_block) {
        uint32_t word[4];

        nyb_rng_block(stream, (first + i) / per_block, word);
        for (unsigned j = 0; j < per_block; j++)
            r23[i + j] =
                per_block == 8 ? (word[j / 2] >> (j % 2 * 16) & 0xffff) << 7 | 64 : word[j] >> 9;
    }
}

static bool encode(const nyb_spec *spec, float inv_scale, const nyb_stream *stream, uint64_t first,
                   const float *x, size_t n, uint8_t *codes)
{
    const bool nybbles = spec->format->bits == 4;
    uint32_t r23[NYB_BLOCK_CODES] = {0};

    for (size_t i = 0; i < n; i += NYB_BLOCK_CODES) {
        if (nyb_rounding_draws(spec->rounding))
            draw(spec, stream, first + i, r23);
        for (size_t j = 0; j < NYB_BLOCK_CODES; j++) {
            unsigned code = nyb_encode_one(spec, inv_scale, x[i + j], r23[j]);

            if (!nybbles)
                codes[i + j] = (uint8_t)code;
            else if (j < NYB_BLOCK_BYTES)
                codes[i / 2 + j] = (uint8_t)code;
            else
                codes[i / 2 + j - NYB_BLOCK_BYTES] |= (uint8_t)(code << 4);
        }
    }
    return true;
}

/* ---- canonical sums: binding resolution 4 ---------------------------------------------------- */

static void one_block(const float *x, size_t rows, size_t ld, nyb_block_moments *block)
{
    float sum_abs[16] = {0}, sum_sq[16] = {0};

    *block = (nyb_block_moments){0};
    for (size_t row = 0; row < rows; row++)
        for (size_t j = 0; j < 16; j++) {
            uint32_t bits = nyb_bits_of(x[row * ld + j]) & 0x7fffffff;
            float a = nyb_float_of(bits);

            if (bits >= 0x7f800000) {
                block->n_nan += bits > 0x7f800000;
                block->n_inf += bits == 0x7f800000;
            } else if (bits >= 0x00800000) {
                block->n_nonzero++;
                block->absmax_bits = bits > block->absmax_bits ? bits : block->absmax_bits;
                sum_abs[j] += a;
                sum_sq[j] = fmaf(a, a, sum_sq[j]);
            }
        }
    for (size_t w = 8; w; w /= 2)
        for (size_t j = 0; j < w; j++) {
            sum_abs[j] += sum_abs[j + w];
            sum_sq[j] += sum_sq[j + w];
        }
    block->sum_abs = sum_abs[0];
    block->sum_sq = sum_sq[0];
}

static void moments(const float *x, size_t rows, size_t ld, size_t stride, size_t n_blocks,
                    nyb_block_moments *blocks)
{
    for (size_t i = 0; i < n_blocks; i++)
        one_block(x + i * stride, rows, ld, &blocks[i]);
}

const nyb_encode_kernel nyb_encode_ref = {
    .name = "ref",
    .needs = 0,
    .encode = encode,
    .moments = moments,
};
