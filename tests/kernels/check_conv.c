/* Whole products, small and random: every tile's answer is the reference tile's. */
#include <stdlib.h>

#include "../unit/bf16.h"
#include "check.h"
#include "gemm/conv.h"
#include "gemm/mf.h"
#include "gemm/tile.h"

#define MAX_MACS 30000 /* the reference tile takes some 20 us for it */

typedef enum engine { S8, F32, MF } engine;

typedef struct product {
    nyb_product kind;
    nyb_conv_shape shape;
    const nyb_format *a, *b;
    size_t n_samples;
    bool bias, add;
    bool zero_a, zero_b; /* some integer stands for 0 */
    bool lines_a, lines_b, image_lines;
} product;

static size_t one_of(ck *c, const size_t *choices, size_t n)
{
    return choices[ck_range(c, 0, n - 1)];
}

static void random_product(ck *c, engine which, product *p)
{
    static const size_t channels[] = {1, 3, 8, 16, 17, 32, 33, 48, 64, 70, 100};
    static const char *const s8_formats[] = {"int4", "uint4", "e3m0",  "e2m1",  "int2",
                                             "int8", "uint8", "int4f", "int8f", "odd2"};
    nyb_conv_shape *s = &p->shape;

    p->zero_a = p->zero_b = p->lines_a = p->lines_b = p->image_lines = false;
    p->kind = (nyb_product)ck_range(c, 0, 2);
    do {
        *s = (nyb_conv_shape){.n = ck_range(c, 1, 9), .h = ck_range(c, 1, 12)};
        s->w = ck_range(c, 1, 12);
        s->c = one_of(c, channels, 11);
        s->o = one_of(c, channels, 11);
        s->r = ck_range(c, 1, 4);
        s->s = ck_range(c, 1, 4);
        s->stride = ck_range(c, 1, 3);
        s->pad = ck_range(c, 0, nyb_min(s->r, s->s) - 1);
    } while (nyb_conv_shape_check(s, NULL) != NYB_OK ||
             s->n * s->oh * s->ow * s->c * s->o * s->r * s->s > MAX_MACS);
    switch (which) {
    case S8:
        p->a = nyb_format_find(s8_formats[ck_range(c, 0, 9)]);
        p->b = nyb_format_find(s8_formats[ck_range(c, 0, 9)]);
        p->zero_a = p->a->grid == NYB_GRID_INT && !ck_range(c, 0, 3);
        p->zero_b = p->b->grid == NYB_GRID_INT && !ck_range(c, 0, 3);
        p->lines_a = p->kind != NYB_PRODUCT_DW && !ck_range(c, 0, 3);
        p->lines_b = p->kind == NYB_PRODUCT_FWD && !ck_range(c, 0, 3);
        p->image_lines = p->kind == NYB_PRODUCT_DW && !ck_range(c, 0, 3);
        p->lines_a |= p->image_lines;
        break;
    case F32:
        p->a = &nyb_format_f32;
        p->b = nyb_format_find(ck_range(c, 0, 3) ? "f32" : "int4");
        break;
    case MF:
        p->a = &nyb_format_e3m0;
        p->b = nyb_format_find(ck_range(c, 0, 1) ? "int4" : "uint4");
        break;
    }
    const bool draws = p->kind == NYB_PRODUCT_DX && which != F32 && !p->lines_a;
    p->n_samples = p->kind == NYB_PRODUCT_DW || draws ? ck_range(c, 1, 3) : 1;
    if (p->image_lines)
        p->n_samples = 1;
    p->bias = p->kind == NYB_PRODUCT_FWD && ck_range(c, 0, 1);
    p->add = ck_range(c, 0, 1);
}

static float small_float(ck *c)
{
    return (float)(int32_t)ck_rand(c) * 0x1p-30f;
}

/* rows x cols of codes that the format's encoder can produce, or floats. zero: what stands for 0 is
 * drawn. */
static nyb_operand random_operand(ck *c, const nyb_format *f, bool zero, size_t rows, size_t cols,
                                  float scale, nyb_packed *p)
{
    if (f->grid == NYB_GRID_REAL) {
        float *real = ck_guard(c, rows * cols * sizeof *real, ck_range(c, 0, 1));
        for (size_t i = 0; i < rows * cols; i++)
            real[i] = small_float(c);
        return (nyb_operand){.real = real};
    }
    const size_t n_bytes = nyb_packed_bytes(f, rows, cols);
    *p = (nyb_packed){.format = f,
                      .rows = rows,
                      .cols = cols,
                      .pitch = nyb_packed_pitch(cols),
                      .scale = scale,
                      .zero = zero ? (int32_t)ck_range(c, 0, (size_t)(f->hi - f->lo)) + f->lo : 0,
                      .codes = ck_guard(c, n_bytes, ck_range(c, 0, 1))};
    memset(p->codes, 0, n_bytes);
    for (size_t row = 0; row < rows; row++) {
        for (size_t col = 0; col < cols; col++) {
            nyb_packed_set(p, row, col, ck_rand(c) % f->n_codes); /* -8 of int4, too */
        }
    }
    return (nyb_operand){.packed = p};
}

/* Lines for so many rows each instead of a scale and a zero. */
static void random_lines(ck *c, size_t line_rows, bool offsets, nyb_packed *p)
{
    const size_t n = nyb_div_up(p->rows, line_rows);

    p->lines = ck_guard(c, n * sizeof *p->lines, true);
    p->line_rows = line_rows;
    p->scale = 1;
    p->zero = 0;
    for (size_t i = 0; i < n; i++)
        p->lines[i] = (nyb_line){small_float(c), offsets && ck_range(c, 0, 2) ? small_float(c) : 0};
}

/* half: where the output goes as bf16, by draws or (NULL) to the nearest, or NULL. False if there
 * was no memory for the plan. */
static bool run(ck *c, uint32_t cpu, nyb_engine asked, const product *p, const nyb_operand *a,
                const nyb_operand *b, const float *bias, float *out, const nyb_stream *draws,
                uint16_t *half)
{
    const nyb_context context = {.cpu = cpu, .pool = NULL};
    const nyb_conv_options options = {.engine = asked,
                                      .zero_a = p->zero_a,
                                      .zero_b = p->zero_b,
                                      .lines_a = p->lines_a,
                                      .lines_b = p->lines_b,
                                      .image_lines = p->image_lines};
    nyb_conv *conv;

    if (nyb_conv_create_with(&context, p->kind, &p->shape, p->a, p->b, p->n_samples, &options,
                             &conv, NULL) != NYB_OK) {
        ck_fail(c, "no plan");
        return false;
    }
    void *scratch = ck_guard(c, nyb_conv_scratch_bytes(conv), true);
    memset(scratch, 0xa5, nyb_conv_scratch_bytes(conv));
    if (half)
        nyb_conv_run_half(conv, &context, a, b, p->bias ? bias : NULL, NULL, draws, half, scratch);
    else
        nyb_conv_run(conv, &context, a, b, p->bias ? bias : NULL, p->add, NULL, out, scratch);
    nyb_conv_destroy(&conv);
    return true;
}

/* The output as bf16 is that of f32, rounded. */
static void check_half(ck *c, engine which, uint32_t cpu, const product *p, const nyb_operand *a,
                       const nyb_operand *b, const float *bias, const float *out, size_t n)
{
    uint16_t *want = ck_guard(c, n * sizeof *want, true);
    uint16_t *got = ck_guard(c, n * sizeof *got, ck_range(c, 0, 1));
    const nyb_stream stream = {.seed = ck_rand(c), .role = NYB_RNG_STORE_X};
    const nyb_stream *const draws = ck_range(c, 0, 1) ? &stream : NULL;

    for (size_t i = 0; i < n; i++)
        want[i] = stored_bf16(out[i], draws, i);
    if (run(c, cpu, which == MF ? NYB_ENGINE_MF : NYB_ENGINE_AUTO, p, a, b, bias, NULL, draws, got))
        ck_same(c, "out in bf16", want, got, n * sizeof *want);
}

static void check_case(ck *c, engine which, uint32_t cpu)
{
    product p;
    nyb_packed packed[4];
    nyb_operand a[3];
    float bias[100];

    random_product(c, which, &p);
    const nyb_conv_shape *s = &p.shape;
    const size_t x = s->n * s->h * s->w, y = s->n * s->oh * s->ow, w = s->o * s->r * s->s;
    const bool fwd = p.kind == NYB_PRODUCT_FWD;
    const size_t n_out = fwd ? y * s->o : (p.kind == NYB_PRODUCT_DX ? x : w) * s->c;
    for (size_t i = 0; i < p.n_samples; i++)
        a[i] = random_operand(c, p.a, p.zero_a, fwd ? x : y, fwd ? s->c : s->o, 0.37f, &packed[i]);
    for (size_t i = 1; p.kind == NYB_PRODUCT_DX && i < p.n_samples; i++)
        packed[i].zero = packed[0].zero;
    const nyb_operand b =
        random_operand(c, p.b, p.zero_b, p.kind == NYB_PRODUCT_DW ? x : w, s->c, 0.11f, &packed[3]);
    if (p.lines_a)
        random_lines(c, (fwd ? x : y) / (p.image_lines || ck_range(c, 0, 1) ? s->n : 1),
                     !p.image_lines, &packed[0]);
    if (p.lines_b)
        random_lines(c, s->r * s->s, false, &packed[3]);
    float *want = ck_guard(c, n_out * sizeof *want, true);
    float *got = ck_guard(c, n_out * sizeof *got, ck_range(c, 0, 1));
    for (size_t i = 0; i < n_out; i++)
        want[i] = got[i] = small_float(c);
    for (size_t i = 0; i < 100; i++)
        bias[i] = small_float(c);
    if (run(c, 0, NYB_ENGINE_AUTO, &p, a, &b, bias, want, NULL, NULL) &&
        run(c, cpu, which == MF ? NYB_ENGINE_MF : NYB_ENGINE_AUTO, &p, a, &b, bias, got, NULL,
            NULL) &&
        !ck_same(c, "out", want, got, n_out * sizeof *want))
        ck_fail(c,
                "product %d of %s x %s: n %zu h %zu w %zu c %zu o %zu r %zu s %zu stride %zu "
                "pad %zu samples %zu",
                (int)p.kind, p.a->name, p.b->name, s->n, s->h, s->w, s->c, s->o, s->r, s->s,
                s->stride, s->pad, p.n_samples);
    if (p.kind != NYB_PRODUCT_DW && !p.add)
        check_half(c, which, cpu, &p, a, &b, bias, want, n_out);
}

static void check_variant(ck *c, const char *word, const char *name, uint32_t needs, engine which)
{
    if (!ck_begin(c, word, name, needs))
        return;
    const uint32_t former = nyb_cpu_fp_enter();
    for (size_t i = 0; i < ck_cases(c); i++)
        if (ck_case(c, i))
            check_case(c, which, needs);
    nyb_cpu_fp_restore(former);
    ck_end(c);
}

void check_conv(ck *c)
{
    /* The reference against itself would prove nothing: tests/unit/test_conv.c has its oracle. */
    for (const nyb_tile_s8 *const *t = nyb_tile_s8_list; t[1]; t++)
        check_variant(c, "conv_s8", (*t)->name, (*t)->needs, S8);
    for (const nyb_tile_f32 *const *t = nyb_tile_f32_list; t[1]; t++)
        check_variant(c, "conv_f32", (*t)->name, (*t)->needs, F32);
    for (const nyb_tile_s8 *const *t = nyb_mf_list; *t; t++)
        check_variant(c, "conv_mf", (*t)->name, (*t)->needs, MF);
}
