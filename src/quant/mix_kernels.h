/* The loops of mix.h in a vocabulary of 16 lanes (vec_*) that the including file defines; it also
 * defines MIX_RECORD, MIX_NAME and MIX_NEEDS. No include guard: each ISA has its own copy. */

#include "base/vec_lanes.h"

#define LENGTH_MAX 128

/* What every element is multiplied by before and after the butterflies. A sign is exact, so that
 * norm * sign is one multiplication as norm alone. */
typedef struct factors {
    float before[LENGTH_MAX], after[LENGTH_MAX];
} factors;

static void factors_init(factors *f, size_t n, const float *signs, bool inverse)
{
    const float norm = nyb_mix_norm(n);

    for (size_t i = 0; i < n; i++) {
        const float sign = signs ? signs[i] : 1.0f;
        f->before[i] = inverse ? 1.0f : sign;
        f->after[i] = inverse ? norm * sign : norm;
    }
}

/* (v[i], v[j]) becomes (sum, difference), if there is a v[j]. */
static ALWAYS_INLINE void pair(vec *v, size_t n, size_t i, size_t j)
{
    if (j < n) {
        const vec a = v[i], b = v[j];
        v[i] = vec_add(a, b);
        v[j] = vec_sub(a, b);
    }
}

/* Stages of length len and 2 len of four values len apart. */
static ALWAYS_INLINE void four(vec *v, size_t n, size_t i, size_t len)
{
    pair(v, n, i, i + len);
    pair(v, n, i + 2 * len, i + 3 * len);
    pair(v, n, i, i + 2 * len);
    pair(v, n, i + len, i + 3 * len);
}

/* All stages of n values; n is a constant power of two <= 16, so that they stay in registers. */
static ALWAYS_INLINE void butterflies(vec *v, size_t n)
{
    four(v, n, 0, 1);
    four(v, n, 4, 1);
    four(v, n, 8, 1);
    four(v, n, 12, 1);
    four(v, n, 0, 4);
    four(v, n, 1, 4);
    four(v, n, 2, 4);
    four(v, n, 3, 4);
}

/* One pass over n (a constant) elements, step_x and step_y floats apart. NULL: no factors. */
static ALWAYS_INLINE void pass(const float *x, size_t step_x, float *y, size_t step_y, size_t n,
                               size_t lanes, const float *before, const float *after,
                               size_t step_factor)
{
    vec v[16];

    for (size_t i = 0; i < n; i++) {
        v[i] = load(x + i * step_x, lanes);
        if (before)
            v[i] = vec_mul(v[i], vec_set(before[i]));
    }
    butterflies(v, n);
    for (size_t i = 0; i < n; i++)
        store(y + i * step_y, after ? vec_mul(v[i], vec_set(after[i * step_factor])) : v[i], lanes);
}

/* The stages of length 16 and more, on a tile that holds those below: n / 16 elements, 16 apart. */
static ALWAYS_INLINE void long_stages(const float *tile, size_t n, float *y, size_t stride,
                                      size_t lanes, const float *after)
{
    for (size_t i = 0; i < 16; i++) {
        const float *x = tile + i * 16;

        if (n == 32)
            pass(x, 256, y + i * stride, 16 * stride, 2, lanes, NULL, after + i, 16);
        else if (n == 64)
            pass(x, 256, y + i * stride, 16 * stride, 4, lanes, NULL, after + i, 16);
        else
            pass(x, 256, y + i * stride, 16 * stride, 8, lanes, NULL, after + i, 16);
    }
}

static ALWAYS_INLINE void across_tile(float *y, size_t n, size_t stride, size_t lanes,
                                      const factors *f)
{
    _Alignas(64) float tile[LENGTH_MAX * 16];

    if (n == 16) {
        pass(y, stride, y, stride, 16, lanes, f->before, f->after, 1);
    } else if (n > 16) {
        for (size_t i = 0; i < n; i += 16) {
            const float *x = y + i * stride;

            if (lanes == 16) {
                pass(x, stride, tile + i * 16, 16, 16, 16, f->before + i, NULL, 0);
            } else { /* the tile's unused lanes are written, too: they are read */
                float *t = tile + i * 16;
                for (size_t k = 0; k < 16; k++)
                    vec_store(t + k * 16, load(x + k * stride, lanes));
                pass(t, 16, t, 16, 16, 16, f->before + i, NULL, 0);
            }
        }
        long_stages(tile, n, y, stride, lanes, f->after);
    } else if (n == 8) {
        pass(y, stride, y, stride, 8, lanes, f->before, f->after, 1);
    } else if (n == 4) {
        pass(y, stride, y, stride, 4, lanes, f->before, f->after, 1);
    } else if (n == 2) {
        pass(y, stride, y, stride, 2, lanes, f->before, f->after, 1);
    } else {
        pass(y, stride, y, stride, 1, lanes, f->before, f->after, 1);
    }
}

static void across(float *y, size_t n, size_t stride, size_t lanes, const float *signs,
                   bool inverse)
{
    factors f;
    size_t j = 0;

    factors_init(&f, n, signs, inverse);
    for (; j + 16 <= lanes; j += 16)
        across_tile(y + j, n, stride, 16, &f);
    if (j < lanes)
        across_tile(y + j, n, stride, lanes - j, &f);
}

/* n = 16 m, m a constant. */
static ALWAYS_INLINE void along_vector(float *y, size_t m, const factors *f)
{
    vec v[8];

    for (size_t k = 0; k < m; k++) {
        v[k] = vec_mul(vec_load(y + k * 16), vec_load(f->before + k * 16));
        v[k] = vec_stage(vec_stage(vec_stage(vec_stage(v[k], 1), 2), 4), 8);
    }
    butterflies(v, m);
    for (size_t k = 0; k < m; k++)
        vec_store(y + k * 16, vec_mul(v[k], vec_load(f->after + k * 16)));
}

/* Fewer than 16 elements: tails. */
static void along_short(float *y, size_t n, const factors *f)
{
    for (size_t i = 0; i < n; i++)
        y[i] *= f->before[i];
    for (size_t len = 1; len < n; len *= 2)
        for (size_t i = 0; i < n; i++)
            if (!(i & len)) {
                const float a = y[i], b = y[i + len];
                y[i] = a + b;
                y[i + len] = a - b;
            }
    for (size_t i = 0; i < n; i++)
        y[i] *= f->after[i];
}

static void along(float *y, size_t n, size_t count, const float *signs, bool inverse)
{
    factors f;

    factors_init(&f, n, signs, inverse);
    for (size_t j = 0; j < count; j++, y += n)
        if (n == 16)
            along_vector(y, 1, &f);
        else if (n == 32)
            along_vector(y, 2, &f);
        else if (n == 64)
            along_vector(y, 4, &f);
        else if (n == 128)
            along_vector(y, 8, &f);
        else
            along_short(y, n, &f);
}

static ALWAYS_INLINE void reflect_tile(const nyb_mix_reflect *g, const float *x, size_t ld,
                                       size_t n, float *y)
{
    const vec in = vec_set(g->in[1]), out = vec_set(g->out[1]);
    const vec l = vec_mul(vec_finite(load(x + g->row[0] * ld, n)), vec_set(g->in[0]));
    vec f = vec_set(0);

    for (size_t k = 1; k < g->n; k++)
        f = vec_add(f, vec_mul(vec_finite(load(x + g->row[k] * ld, n)), in));
    const vec lead = vec_mul(vec_add(l, f), vec_set(g->a));
    const vec t = vec_sub(vec_mul(l, vec_set(g->a)), vec_mul(f, vec_set(g->b)));
    for (size_t k = 1; k < g->n; k++) {
        const vec v = vec_mul(vec_finite(load(x + g->row[k] * ld, n)), in);
        store(y + g->row[k] * ld, vec_mul(vec_add(v, t), out), n);
    }
    store(y + g->row[0] * ld, vec_mul(lead, vec_set(g->out[0])), n);
}

static void reflect(const nyb_mix_reflect *group, const float *x, size_t ld, size_t cols, float *y)
{
    size_t j = 0;

    for (; j + 16 <= cols; j += 16)
        reflect_tile(group, x + j, ld, 16, y + j);
    if (j < cols)
        reflect_tile(group, x + j, ld, cols - j, y + j);
}

const nyb_mix_kernel MIX_RECORD = {
    .name = MIX_NAME,
    .needs = MIX_NEEDS,
    .across = across,
    .along = along,
    .reflect = reflect,
};
