/* The encoder of what has none of its own: float grids and small tables; in C that compilers
 * vectorize. */
#include "quant/round.h"

#include <float.h>
#include <math.h>

/* ---- FLOAT: the rounding kernel says which values, this which codes ---- */

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

    if (f->bits > 8 || bias > 126 || bias - 1 + man > 127)
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

/* ---- TABLE: a code is the number of thresholds that a value reaches ---- */

typedef struct table_plan {
    unsigned n;      /* thresholds */
    float least[15]; /* the least value that becomes code i + 1, not i; ascending */
    uint32_t sign;   /* bit of a code; 0: the values ascend with their codes */
} table_plan;

/* The least float that is not below a, or, if it must not be a either, above it. */
static float least_from(double a, bool a_too)
{
    const float t = (float)a;

    return (double)t > a || ((double)t == a && a_too) ? t : nextafterf(t, INFINITY);
}

/* Thresholds of nearest as nyb_format_encode has them: the middle of two neighbours, and ties. */
static bool table_plan_init(table_plan *p, const nyb_format *f, nyb_rounding rounding)
{
    const bool signs = f->is_signed && !f->ascending;
    const unsigned n = signs ? f->n_codes / 2 : f->n_codes;

    if (f->bits > 4 || nyb_rounding_draws(rounding))
        return false;
    *p = (table_plan){.n = n - 1, .sign = signs ? n : 0};
    for (unsigned i = 0; i + 1 < n; i++) {
        const double from = (double)nyb_format_decode(f, i);
        const double to = (double)nyb_format_decode(f, i + 1);
        p->least[i] = least_from((from + to) / 2, f->ties_up || (!f->ascending && i % 2 != 0));
    }
    return true;
}

static void table_codes(const table_plan *p, const float v[NYB_BLOCK_CODES],
                        uint32_t code[NYB_BLOCK_CODES])
{
    const uint32_t signs = p->sign ? 0x80000000 : 0;
    float size[NYB_BLOCK_CODES];

    for (size_t i = 0; i < NYB_BLOCK_CODES; i++) {
        size[i] = nyb_float_of(nyb_bits_of(v[i]) & ~signs);
        code[i] = 0;
    }
    for (unsigned t = 0; t < p->n; t++)
        for (size_t i = 0; i < NYB_BLOCK_CODES; i++)
            code[i] += size[i] >= p->least[t];
    for (size_t i = 0; i < NYB_BLOCK_CODES; i++)
        code[i] |= code[i] && nyb_bits_of(v[i]) & signs ? p->sign : 0;
}

/* ---- all ---- */

/* Subnormals and NaN are zeros. */
static float flushed(float x)
{
    const uint32_t bits = nyb_bits_of(x), size = bits & 0x7fffffff;

    return nyb_float_of(bits & (size - 0x00800000 <= 0x7f800000 - 0x00800000 ? 0xffffffff : 0));
}

bool nyb_encode_grid(uint32_t cpu, const nyb_spec *spec, float inv_scale, const nyb_stream *stream,
                     uint64_t first, const float *x, size_t n, uint8_t *codes)
{
    const nyb_format *f = spec->format;
    const nyb_round_kernel *kernel = nyb_round_kernel_choose(cpu);
    const bool draws = nyb_rounding_draws(spec->rounding), nybbles = f->bits == 4;
    uint32_t r23[NYB_BLOCK_CODES], code[NYB_BLOCK_CODES];
    float v[NYB_BLOCK_CODES];
    code_plan plan = {0};
    table_plan table = {0};

    if (!(f->grid == NYB_GRID_FLOAT && code_plan_init(&plan, f)) &&
        !(f->grid == NYB_GRID_TABLE && table_plan_init(&table, f, spec->rounding)))
        return false;
    for (size_t i = 0; i < n; i += NYB_BLOCK_CODES) {
        for (size_t j = 0; j < NYB_BLOCK_CODES; j++)
            v[j] = flushed(flushed(x[i + j]) * inv_scale);
        if (f->grid == NYB_GRID_TABLE) {
            table_codes(&table, v, code);
        } else {
            if (draws)
                kernel->draw(stream, spec->sr_bits, first + i, NYB_BLOCK_CODES, r23);
            kernel->round(f, spec->rounding, v, draws ? r23 : NULL, NYB_BLOCK_CODES, v);
            codes_of(&plan, v, code);
        }
        for (size_t j = 0; j < NYB_BLOCK_CODES && !nybbles; j++)
            codes[i + j] = (uint8_t)code[j];
        for (size_t j = 0; j < NYB_BLOCK_BYTES && nybbles; j++)
            codes[i / 2 + j] = (uint8_t)(code[j] | code[j + NYB_BLOCK_BYTES] << 4);
    }
    return true;
}
