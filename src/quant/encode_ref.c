/* The reference encoder: this file says what every code must be, the SIMD variants agree. */
#include "quant/quant.h"

#include <float.h>
#include <math.h>

/* Subnormals are zeros whatever MXCSR says, and NaN counts as zero (binding resolutions 1, 3). */
static float flushed(float x)
{
    return fabsf(x) >= FLT_MIN ? x : 0.0f;
}

/* What nyb_format_encode makes of x / scale. Codes of -0 are never produced. */
unsigned nyb_encode_one(const nyb_spec *spec, float inv_scale, float x, uint32_t r23)
{
    const nyb_format *f = spec->format;
    unsigned code;
    float y;

    if (f->grid == NYB_GRID_LOG2)
        return nyb_format_encode_log2(f, inv_scale, x, spec->rounding, r23);
    y = flushed(flushed(x) * inv_scale);
    code = nyb_format_encode(f, y, spec->rounding, r23, true);
    return f->is_signed && !f->ascending && f->grid != NYB_GRID_INT && code == f->n_codes / 2u
               ? 0
               : code;
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
    uint8_t block[NYB_BLOCK_CODES];

    for (size_t i = 0; i < n; i += NYB_BLOCK_CODES) {
        if (nyb_rounding_draws(spec->rounding))
            draw(spec, stream, first + i, r23);
        for (size_t j = 0; j < NYB_BLOCK_CODES; j++)
            block[j] = (uint8_t)nyb_encode_one(spec, inv_scale, x[i + j], r23[j]);
        if (nybbles)
            nyb_packed_join(block, codes + i / 2);
        else
            memcpy(codes + i, block, sizeof block);
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
