/* Encoders and moments: every variant against the reference, over formats, roundings and bits. */
#include "check.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/quant.h"

#define N_MAX (8 * NYB_BLOCK_CODES)

/* ---- the specs: everything that nyb_spec_check lets pass ------------------------------------- */

#define SPECS_MAX 256

static size_t all_specs(nyb_spec specs[SPECS_MAX])
{
    static const nyb_rounding roundings[] = {
#define X(constant, word, sentence) constant,
        NYB_ROUNDING_LIST(X)
#undef X
    };
    size_t n = 0;

    for (size_t f = 0; f < nyb_format_count(); f++)
        for (size_t r = 0; r < sizeof roundings / sizeof *roundings; r++)
            for (int bits = 16; bits <= 32; bits += 16) {
                nyb_spec s = {.format = nyb_format_at(f),
                              .scale = nyb_scale_rule_at(0),
                              .rounding = roundings[r],
                              .sr_bits = bits};

                if (s.format->bits <= 8 && nyb_spec_check(&s, NULL) == NYB_OK && n < SPECS_MAX)
                    specs[n++] = s;
            }
    return n;
}

/* ---- inputs ---------------------------------------------------------------------------------- */

/* Where rounding can go wrong: values of the grid, ties, both with their neighbours in f32, the
 * top, beyond it. */
static float near_grid(ck *c, const nyb_format *f, float scale)
{
    unsigned code = (unsigned)ck_range(c, 0, f->n_codes - 1u);
    unsigned other = code + 1u < f->n_codes ? code + 1 : code;
    float a = nyb_format_decode(f, code), b = nyb_format_decode(f, other);
    float v = (ck_rand(c) % 2 ? a : 0.5f * (a + b)) * scale;
    uint32_t bits = nyb_bits_of(v);

    if (isnan(v))
        v = f->max * scale;
    else if (bits & 0x7f800000 && (bits & 0x7f800000) != 0x7f800000)
        v = nyb_float_of(bits + ck_rand(c) % 3 - 1);
    return v;
}

static void fill(ck *c, const nyb_format *f, float scale, float *x, size_t n)
{
    const uint32_t kind = ck_rand(c) % 8;
    const float top = f->max * scale;

    for (size_t i = 0; i < n; i++) {
        float u = (float)(int32_t)ck_rand(c) * 0x1p-31f;

        if (kind == 0) /* anything at all */
            x[i] = ck_float(c);
        else if (kind == 1) /* beyond the top: a clip of hindsight */
            x[i] = 4.0f * top * u;
        else if (kind == 2 || ck_rand(c) % 4 == 0)
            x[i] = near_grid(c, f, scale);
        else if (ck_rand(c) % 4 == 0)
            x[i] = scale * u; /* below one unit */
        else
            x[i] = ck_rand(c) % 64 ? top * u : ck_float(c);
    }
}

/* Values whose own draw decides by one unit in the last place: up, or just not. */
static void fill_knife_edge(ck *c, const nyb_spec *s, const nyb_stream *stream, uint64_t first,
                            float scale, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t r = s->sr_bits == 16 ? nyb_rng_u16(stream, first + i) << 7 | 64
                                      : nyb_rng_u32(stream, first + i) >> 9;
        uint32_t m = (1u << 23) - r - ck_rand(c) % 2;
        float part = (float)m * 0x1p-23f;

        if (s->format->grid == NYB_GRID_LOG2 && ck_rand(c) % 4)
            part = ldexpf(1.0f + part, (int)ck_range(c, 0, 7));
        x[i] = (ck_rand(c) % 2 ? -part : part) * scale;
    }
}

static float pick_scale(ck *c)
{
    switch (ck_rand(c) % 8) {
    case 0:
        return 1.0f;
    case 1: /* any power of two that an encoder gets */
        return nyb_float_of((uint32_t)ck_range(c, 1, 253) << 23);
    case 2:
        return ck_rand(c) % 2 ? FLT_MIN : 0x1p126f;
    default:
        return nyb_float_of((uint32_t)ck_range(c, 110, 135) << 23 | ck_rand(c) >> 9);
    }
}

static nyb_stream pick_stream(ck *c, uint64_t *first)
{
    nyb_stream s = {.seed = (uint64_t)ck_rand(c) << 32 | ck_rand(c),
                    .step = ck_rand(c),
                    .tensor = ck_rand(c),
                    .role = (uint8_t)ck_range(c, 0, 15),
                    .sample = (uint8_t)ck_rand(c)};

    *first = (uint64_t)ck_rand(c) * (ck_rand(c) % 2 ? 128 : 8);
    if (ck_rand(c) % 4 == 0) /* the counter's low word overflows within the call */
        *first = ((uint64_t)1 << (ck_rand(c) % 2 ? 35 : 34)) -
                 8 * ck_range(c, 0, 4) * (ck_rand(c) % 2 ? 16 : 1);
    return s;
}

/* ---- encode ---------------------------------------------------------------------------------- */

typedef struct timing {
    const nyb_encode_kernel *kernel;
    nyb_spec spec;
    nyb_stream stream;
    float *x;
    uint8_t *codes;
    nyb_block_moments *blocks;
    size_t n;
} timing;

static void time_encode(void *arg)
{
    timing *t = arg;

    if (!t->kernel->encode(&t->spec, 64.0f, &t->stream, 0, t->x, t->n, t->codes))
        t->codes[0] = 0;
}

static void time_moments(void *arg)
{
    timing *t = arg;

    t->kernel->moments(t->x, 256, 16, 4096, t->n / 4096, t->blocks);
}

static void bench(ck *c, const nyb_encode_kernel *k, bool moments)
{
    static const char *const texts[] = {"e3m0/absmax/tensor/stochastic",
                                        "int4",
                                        "uint4",
                                        "e3m0/absmax/tensor/stochastic:32",
                                        "e3m0/absmax/tensor/nearest",
                                        "int4/absmax/tensor/stochastic",
                                        "int8"};
    static const size_t sizes[] = {1 << 17, 1 << 23}; /* L2, L3 */

    for (size_t s = 0; s < 2; s++) {
        timing t = {.kernel = k, .stream = {.seed = 1}, .n = sizes[s]};
        char what[80];

        t.x = nyb_alloc(t.n * sizeof *t.x);
        t.codes = nyb_alloc(t.n);
        t.blocks = nyb_alloc(t.n / 4096 * sizeof *t.blocks);
        for (size_t i = 0; i < t.n; i++)
            t.x[i] = (float)(int32_t)ck_rand(c) * 0x1p-31f;
        for (size_t i = 0; i < sizeof texts / sizeof *texts && !moments; i++) {
            snprintf(what, sizeof what, "%s, %zu KB", texts[i], t.n / 256);
            if (nyb_spec_parse(texts[i], &t.spec, NULL) == NYB_OK)
                ck_bench(c, what, (double)t.n, "elements", time_encode, &t);
        }
        snprintf(what, sizeof what, "all moments, %zu KB", t.n / 256);
        if (moments)
            ck_bench(c, what, (double)t.n, "elements", time_moments, &t);
        nyb_free(t.blocks);
        nyb_free(t.codes);
        nyb_free(t.x);
    }
}

/* Every spec in turn; true if the variant can do it. */
static bool encode_case(ck *c, const nyb_encode_kernel *k, const nyb_spec *spec)
{
    const size_t n = NYB_BLOCK_CODES * ck_range(c, 1, ck_rand(c) % 8 ? 2 : 8);
    const size_t n_codes = spec->format->bits == 4 ? n / 2 : n;
    const float scale = pick_scale(c);
    const bool end = ck_rand(c) % 2;
    uint8_t want[N_MAX], *codes = ck_guard(c, n_codes, end);
    float *x = ck_guard(c, n * sizeof *x, end);
    uint64_t first;
    nyb_stream stream = pick_stream(c, &first);
    char text[80];

    fill(c, spec->format, scale, x, n);
    if (nyb_rounding_draws(spec->rounding) && ck_rand(c) % 4 == 0)
        fill_knife_edge(c, spec, &stream, first, scale, x, n);
    nyb_encode_ref.encode(spec, 1.0f / scale, &stream, first, x, n, want);
    if (!k->encode(spec, 1.0f / scale, &stream, first, x, n, codes))
        return false;
    nyb_spec_print(spec, text, sizeof text);
    ck_same(c, text, want, codes, n_codes);
    return true;
}

void check_encode(ck *c)
{
    nyb_spec specs[SPECS_MAX];
    size_t n = all_specs(specs);

    for (const nyb_encode_kernel *const *k = nyb_encode_kernels; *k; k++) {
        size_t n_refused = 0, n_ran = 0;

        if (!ck_begin(c, "encode", (*k)->name, (*k)->needs))
            continue;
        for (size_t i = 0; i < ck_cases(c); i++)
            if (ck_case(c, i)) {
                bool done = encode_case(c, *k, &specs[i % n]);

                n_ran += done;
                n_refused += !done;
            }
        if (n_ran == 0)
            ck_fail(c, "refused all of %zu specs", n);
        if (n_refused > 0)
            printf("  encode/%s left %zu cases to a slower variant\n", (*k)->name, n_refused);
        bench(c, *k, false);
        ck_end(c);
    }
}

/* ---- moments --------------------------------------------------------------------------------- */

static void moments_case(ck *c, const nyb_encode_kernel *k)
{
    const size_t n_blocks = ck_range(c, 1, 6), rows = ck_range(c, 1, ck_rand(c) % 4 ? 20 : 256);
    const bool columns = ck_rand(c) % 2; /* blocks side by side, or one after the other */
    const size_t ld = columns ? 16 * n_blocks + (ck_rand(c) % 2 ? ck_range(c, 0, 9) : 0) : 16;
    const size_t stride = columns ? 16 : 16 * rows;
    const size_t n = columns ? (rows - 1) * ld + 16 * n_blocks : 16 * rows * n_blocks;
    const uint32_t kind = ck_rand(c) % 4;
    float *x = ck_guard(c, n * sizeof *x, ck_rand(c) % 2);
    nyb_block_moments *got = ck_guard(c, n_blocks * sizeof *got, true), want[6];

    for (size_t i = 0; i < n; i++)
        x[i] = kind == 0                     ? ck_float(c)
               : kind == 1 && ck_rand(c) % 2 ? 0.0f
                                             : (float)(int32_t)ck_rand(c) * 0x1p-31f;
    if (kind == 2)
        x[ck_range(c, 0, n - 1)] = ck_float(c);
    memset(want, 0, sizeof want);
    nyb_encode_ref.moments(x, rows, ld, stride, n_blocks, want);
    k->moments(x, rows, ld, stride, n_blocks, got);
    ck_same(c, "block moments", want, got, n_blocks * sizeof *got);
}

void check_moments(ck *c)
{
    for (const nyb_encode_kernel *const *k = nyb_encode_kernels; *k; k++) {
        if (!ck_begin(c, "moments", (*k)->name, (*k)->needs))
            continue;
        for (size_t i = 0; i < ck_cases(c); i++)
            if (ck_case(c, i))
                moments_case(c, *k);
        bench(c, *k, true);
        ck_end(c);
    }
}
