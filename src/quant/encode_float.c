/* The encoder of float grids: the rounding kernel says which values, this file which codes. */
#include "quant/round.h"

#include <float.h>
#include <math.h>

/* From the bits of a value on the grid to its code. */
typedef struct code_plan {
    uint32_t shift, base;  /* magnitude >> shift, less base: exponent and mantissa of a code */
    uint32_t least_normal; /* bits; below it the code is the value in units of 1 / to_units */
    float to_units;
    uint32_t sign_at; /* bit of a code */
} code_plan;

/* false: powers of two that f32 does not have. */
static bool code_plan_init(code_plan *p, const nyb_format *f)
{
    const int man = f->fp.man_bits, bias = f->fp.bias;

    if (f->grid != NYB_GRID_FLOAT || f->bits > 8 || bias > 126 || bias - 1 + man > 127)
        return false;
    *p = (code_plan){
        .shift = (uint32_t)(23 - man),
        .base = (uint32_t)(127 - bias) << man,
        .least_normal = nyb_bits_of(f->fp.subnormals ? ldexpf(1.0f, 1 - bias) : FLT_MIN),
        .to_units = f->fp.subnormals ? ldexpf(1.0f, bias - 1 + man) : 0.0f,
        .sign_at = (uint32_t)(f->fp.exp_bits + man),
    };
    return true;
}

/* v: values on the grid at scale 1, zeros are +0. */
static void codes_of(const code_plan *p, const float v[NYB_BLOCK_CODES],
                     uint32_t code[NYB_BLOCK_CODES])
{
    for (size_t i = 0; i < NYB_BLOCK_CODES; i++) {
        const uint32_t bits = nyb_bits_of(v[i]), magnitude = bits & 0x7fffffff;
        const uint32_t small = magnitude < p->least_normal ? 0xffffffff : 0;
        const float least = nyb_float_of(magnitude & small);
        const uint32_t below = (uint32_t)(int32_t)(least * p->to_units);
        const uint32_t normal = (magnitude >> p->shift) - p->base;
        const uint32_t body = (below & small) | (normal & ~small);

        code[i] = body | (bits >> 31) << p->sign_at;
    }
}

/* Subnormals are zeros. */
static float flushed(float x)
{
    const uint32_t bits = nyb_bits_of(x);

    return nyb_float_of(bits & ((bits & 0x7fffffff) < 0x00800000 ? 0 : 0xffffffff));
}

bool nyb_encode_float(uint32_t cpu, const nyb_spec *spec, float inv_scale, const nyb_stream *stream,
                      uint64_t first, const float *x, size_t n, uint8_t *codes)
{
    const nyb_round_kernel *kernel = nyb_round_kernel_choose(cpu);
    const bool draws = nyb_rounding_draws(spec->rounding), nybbles = spec->format->bits == 4;
    uint32_t r23[NYB_BLOCK_CODES], code[NYB_BLOCK_CODES];
    float v[NYB_BLOCK_CODES];
    code_plan plan;

    if (!code_plan_init(&plan, spec->format))
        return false;
    for (size_t i = 0; i < n; i += NYB_BLOCK_CODES) {
        for (size_t j = 0; j < NYB_BLOCK_CODES; j++)
            v[j] = flushed(x[i + j]) * inv_scale;
        if (draws)
            kernel->draw(stream, spec->sr_bits, first + i, NYB_BLOCK_CODES, r23);
        kernel->round(spec->format, spec->rounding, v, draws ? r23 : NULL, NYB_BLOCK_CODES, v);
        codes_of(&plan, v, code);
        for (size_t j = 0; j < NYB_BLOCK_CODES && !nybbles; j++)
            codes[i + j] = (uint8_t)code[j];
        for (size_t j = 0; j < NYB_BLOCK_BYTES && nybbles; j++)
            codes[i / 2 + j] = (uint8_t)(code[j] | code[j + NYB_BLOCK_BYTES] << 4);
    }
    return true;
}
