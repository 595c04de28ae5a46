/* Random products of every engine beside seven nested loops. */
#ifndef CONV_RIG_H
#define CONV_RIG_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../slow.h"
#include "bf16.h"
#include "contexts.h"
#include "draw.h"
#include "gemm/conv_impl.h"

/* ---- random operands --------------------------------------------------------------------------
 */

typedef struct operand {
    nyb_packed packed;
    float *values; /* [rows][cols]: what each element is worth, or units for the s8 engine */
    nyb_operand arg;
} operand;

/* A random line for so many rows each; integers are worth their units still. */
static void add_lines(operand *o, size_t line_rows, bool offsets)
{
    const size_t n = nyb_div_up(o->packed.rows, line_rows);

    o->packed.lines = nyb_alloc(n * sizeof *o->packed.lines);
    assert_non_null(o->packed.lines);
    o->packed.line_rows = line_rows;
    o->packed.scale = 1;
    for (size_t i = 0; i < n; i++) {
        o->packed.lines[i].scale = draw() % 5 ? 0.01f + (float)draw() / 2147483648.0f : 0;
        if (offsets && draw() % 3)
            o->packed.lines[i].offset = (float)draw() / 1073741824.0f - 1.0f;
    }
}

/* zero: some integer stands for 0. */
static operand make_operand(const nyb_format *format, size_t rows, size_t cols, bool extreme,
                            bool zero)
{
    operand o = {
        .packed = {.format = format, .rows = rows, .cols = cols, .pitch = nyb_packed_pitch(cols)}};
    o.values = nyb_alloc(rows * cols * sizeof(float));
    assert_non_null(o.values);
    if (format->grid == NYB_GRID_REAL) {
        for (size_t i = 0; i < rows * cols; i++)
            o.values[i] = ((float)draw() / 1073741824.0f - 1.0f) * (draw() % 7 ? 1.0f : 100.0f);
        o.arg.real = o.values;
        return o;
    }
    o.packed.scale = 0.01f + (float)draw() / 2147483648.0f;
    if (zero && format->grid == NYB_GRID_INT)
        o.packed.zero = (int32_t)pick(0, (size_t)(format->hi - format->lo)) + format->lo;
    o.packed.codes = nyb_alloc(nyb_packed_bytes(format, rows, cols));
    assert_non_null(o.packed.codes);
    for (size_t row = 0; row < rows; row++) {
        for (size_t col = 0; col < cols; col++) {
            unsigned code;
            do {
                code = draw() % format->n_codes;
            } while (extreme && format->units && abs(format->units[code]) < format->max_unit);
            nyb_packed_set(&o.packed, row, col, code);
            o.values[row * cols + col] =
                nyb_format_is_integer(format)
                    ? nyb_format_decode(format, code) / format->unit - (float)o.packed.zero
                    : nyb_format_decode(format, code) * o.packed.scale;
        }
    }
    return o;
}

/* In the f32 engine a packed operand counts with its scale. */
static void scale_values(operand *o)
{
    const nyb_packed *p = &o->packed;
    const size_t n = p->rows * p->cols;

    for (size_t i = 0; p->lines && i < n; i++) {
        const nyb_line *line = p->lines + i / p->cols / p->line_rows;
        const unsigned code = nyb_packed_get(p, i / p->cols, i % p->cols);

        o->values[i] = line->offset + nyb_format_decode(p->format, code) * line->scale;
    }
    for (size_t i = 0; !p->lines && p->codes && nyb_format_is_integer(p->format) && i < n; i++)
        o->values[i] = o->values[i] * p->format->unit * p->scale;
}

static void free_operand(operand *o)
{
    nyb_free(o->packed.codes);
    nyb_free(o->packed.lines);
    nyb_free(o->values);
}

/* ---- the oracle -------------------------------------------------------------------------------
 */

typedef struct problem {
    nyb_product product;
    nyb_conv_shape s;
    const nyb_format *a, *b;
    size_t n_samples, exact_k;
    bool bias, add;
    bool zero_a, zero_b, lines_a, lines_b;
    bool image_lines; /* DW: of images, without offsets */
} problem;

typedef struct sizes {
    size_t a_rows, a_cols, b_rows, b_cols, out;
} sizes;

static sizes sizes_of(const problem *p)
{
    const nyb_conv_shape *s = &p->s;
    const size_t x = s->n * s->h * s->w, y = s->n * s->oh * s->ow, w = s->o * s->r * s->s;

    if (p->product == NYB_PRODUCT_FWD)
        return (sizes){x, s->c, w, s->c, y * s->o};
    if (p->product == NYB_PRODUCT_DX)
        return (sizes){y, s->o, w, s->c, x * s->c};
    return (sizes){y, s->o, x, s->c, w * s->c};
}

/* A sum as each engine forms it: exact, or chains of 4096 fused operations. */
typedef struct dot {
    int64_t exact;
    float chain, total;
    size_t k;
    bool s8;
    int64_t ones;      /* lines: the sum with 1 for each element of a */
    float plus;        /* 0: none */
    const nyb_line *b; /* NULL: b has none */
} dot;

static void sum_add(dot *sum, float a, float b)
{
    if (sum->s8) {
        sum->exact += (int64_t)a * (int64_t)b;
        return;
    }
    if (sum->k > 0 && sum->k % 4096 == 0) {
        sum->total = sum->k == 4096 ? sum->chain : sum->total + sum->chain;
        sum->chain = 0;
    }
    sum->chain = fmaf(a, b, sum->chain);
    sum->k++;
}

static float sum_end(const dot *sum)
{
    return sum->k > 4096 ? sum->total + sum->chain : sum->chain;
}

/* Source coordinate of output o and tap t, or -1. */
static long source(size_t o, size_t t, size_t stride, size_t pad, size_t size)
{
    const long y = (long)(o * stride + t) - (long)pad;
    return y >= 0 && y < (long)size ? y : -1;
}

static void sum_y(const problem *p, const float *x, const float *w, size_t n, size_t oh, size_t ow,
                  size_t o, dot *sum)
{
    const nyb_conv_shape *s = &p->s;
    for (size_t r = 0; r < s->r; r++)
        for (size_t t = 0; t < s->s; t++)
            for (size_t c = 0; c < s->c; c++) {
                const long y = source(oh, r, s->stride, s->pad, s->h);
                const long z = source(ow, t, s->stride, s->pad, s->w);
                const float v = y < 0 || z < 0 ? 0 : x[((n * s->h + y) * s->w + z) * s->c + c];
                sum_add(sum, v, w[((o * s->r + r) * s->s + t) * s->c + c]);
            }
}

/* Searches all outputs for those that tap (r, t) feeds from pixel (h, w). */
static void sum_dx(const problem *p, const float *dy, const float *weights, size_t n, size_t h,
                   size_t w, size_t c, dot *sum)
{
    const nyb_conv_shape *s = &p->s;
    for (size_t r = 0; r < s->r; r++) {
        for (size_t t = 0; t < s->s; t++) {
            long oh = -1, ow = -1;
            for (size_t i = 0; i < s->oh; i++)
                if (source(i, r, s->stride, s->pad, s->h) == (long)h)
                    oh = (long)i;
            for (size_t i = 0; i < s->ow; i++)
                if (source(i, t, s->stride, s->pad, s->w) == (long)w)
                    ow = (long)i;
            /* The canonical k skips taps that no output of this pixel's phase has, and counts
             * those that fall beside the image (as zeros). */
            if ((h + s->pad - r) % s->stride || (w + s->pad - t) % s->stride)
                continue;
            for (size_t o = 0; o < s->o; o++) {
                const float v =
                    oh < 0 || ow < 0 ? 0 : dy[((n * s->oh + oh) * s->ow + ow) * s->o + o];
                sum_add(sum, v, weights[((o * s->r + r) * s->s + t) * s->c + c]);
            }
        }
    }
}

static void sum_dw(const problem *p, const float *dy, const float *x, size_t o, size_t r, size_t t,
                   size_t c, size_t first, size_t n, dot *sum)
{
    const nyb_conv_shape *s = &p->s;
    for (size_t k = first; k < first + n; k++) {
        const size_t image = k / s->ow / s->oh;
        const long y = source(k / s->ow % s->oh, r, s->stride, s->pad, s->h);
        const long z = source(k % s->ow, t, s->stride, s->pad, s->w);
        sum_add(sum, dy[k * s->o + o],
                y < 0 || z < 0 ? 0 : x[((image * s->h + y) * s->w + z) * s->c + c]);
    }
}

static float finish(const dot *sum, float scale, const float *bias, float former, bool add)
{
    float t = sum->s8 ? (float)sum->exact * scale : sum_end(sum);
    if (sum->plus != 0)
        t = t + (float)sum->ones * sum->plus;
    if (sum->s8 && sum->b)
        t = t * sum->b->scale;
    if (bias)
        t = t + *bias;
    return add ? former + t : t;
}

/* dW of one weight: samples share an integer sum, or are summed chunk by chunk. */
static float one_dw(const problem *p, const operand *dy, const operand *x, size_t index, bool s8,
                    float scale)
{
    const nyb_conv_shape *s = &p->s;
    const size_t c = index % s->c, t = index / s->c % s->s, r = index / s->c / s->s % s->r;
    const size_t o = index / s->c / s->s / s->r, n_k = s->n * s->oh * s->ow;
    const float mean = 1.0f / (float)p->n_samples;
    float total = 0;
    dot all = {.s8 = s8};

    for (size_t k = 0; k < n_k; k += 4096) {
        float chunk = 0;
        for (size_t i = 0; i < p->n_samples; i++) {
            dot one = {0};
            sum_dw(p, dy[i].values, x->values, o, r, t, c, k, nyb_min(4096, n_k - k),
                   s8 ? &all : &one);
            chunk = i ? chunk + one.chain : one.chain;
        }
        total = k ? total + chunk : chunk;
    }
    if (s8)
        return (float)all.exact * scale * mean;
    return p->n_samples > 1 ? total * mean : total;
}

/* The same of images with lines, on units: each image's exact sum, then times what its lines say.
 */
static float one_dw_of_lines(const problem *p, const operand *dy, const operand *x, size_t index,
                             float scale)
{
    const nyb_conv_shape *s = &p->s;
    const size_t c = index % s->c, t = index / s->c % s->s, r = index / s->c / s->s % s->r;
    const size_t o = index / s->c / s->s / s->r, n_k = s->oh * s->ow;
    float total = 0;

    for (size_t image = 0; image < s->n; image++) {
        dot sum = {.s8 = true};
        float of_image = 1;

        sum_dw(p, dy->values, x->values, o, r, t, c, image * n_k, n_k, &sum);
        if (dy->packed.lines)
            of_image *= nyb_packed_line(&dy->packed, image * n_k)->scale;
        if (x->packed.lines)
            of_image *= nyb_packed_line(&x->packed, image * s->h * s->w)->scale;
        total = total + (float)sum.exact * of_image;
    }
    return total * scale;
}

static void sum_pixel(const problem *p, const float *a, const float *b, size_t i, dot *sum)
{
    const nyb_conv_shape *s = &p->s;
    const bool y = p->product == NYB_PRODUCT_FWD;
    const size_t pixel = i / (y ? s->o : s->c), h = y ? s->oh : s->h, w = y ? s->ow : s->w;

    if (y)
        sum_y(p, a, b, pixel / w / h, pixel / w % h, pixel % w, i % s->o, sum);
    else
        sum_dx(p, a, b, pixel / w / h, pixel / w % h, pixel % w, i % s->c, sum);
}

/* What lines make of output i; scale: without them. ones: as many as a has elements. */
static float apply_lines(const problem *p, const operand *a, const operand *b, const float *ones,
                         size_t i, float scale, dot *sum)
{
    const nyb_conv_shape *s = &p->s;
    const bool y = p->product == NYB_PRODUCT_FWD;
    const size_t pixel = i / (y ? s->o : s->c);
    const size_t outputs = y ? s->oh * s->ow : s->h * s->w, rows = a->packed.rows / s->n;
    dot all = {.s8 = true};

    if (b->packed.lines)
        sum->b = nyb_packed_line(&b->packed, i % s->o * s->r * s->s);
    if (!a->packed.lines)
        return scale;
    const nyb_line *line = nyb_packed_line(
        &a->packed, outputs == rows ? pixel : pixel / outputs * rows /* any of the image */);
    sum_pixel(p, ones, b->values, i, &all);
    sum->ones = all.exact;
    sum->plus = line->offset * (b->packed.scale * b->packed.format->unit);
    return line->scale * scale;
}

static void oracle(const problem *p, const operand *a, const operand *b, bool s8, const float *bias,
                   const float *former, float *out)
{
    const nyb_conv_shape *s = &p->s;
    const size_t n = sizes_of(p).out;
    const float scale =
        s8 ? (a->packed.scale * a->packed.format->unit) * (b->packed.scale * b->packed.format->unit)
           : 1.0f;
    const float share = p->product == NYB_PRODUCT_DX ? 1.0f / (float)p->n_samples : 1.0f;

    float *ones = nyb_alloc(sizes_of(p).a_rows * sizes_of(p).a_cols * sizeof *ones);
    assert_non_null(ones);
    for (size_t i = 0; i < sizes_of(p).a_rows * sizes_of(p).a_cols; i++)
        ones[i] = 1;
    for (size_t i = 0; i < n; i++) {
        dot sum = {.s8 = s8};
        if (p->product == NYB_PRODUCT_DW) {
            const bool lines = s8 && (a->packed.lines || b->packed.lines);
            const float t =
                lines ? one_dw_of_lines(p, a, b, i, scale) : one_dw(p, a, b, i, s8, scale);
            out[i] = p->add ? former[i] + t : t;
            continue;
        }
        for (size_t k = 0; k < p->n_samples; k++)
            sum_pixel(p, a[k].values, b->values, i, &sum);
        out[i] = finish(&sum, s8 ? apply_lines(p, a, b, ones, i, scale * share, &sum) : scale,
                        bias ? bias + (p->product == NYB_PRODUCT_FWD ? i % s->o : 0) : NULL,
                        former[i], p->add);
    }
    nyb_free(ones);
}

/* ---- one case ---------------------------------------------------------------------------------
 */

static void print_case(const problem *p, const char *level, size_t threads)
{
    static const char *const names[] = {"fwd", "dx", "dw"};
    const nyb_conv_shape *s = &p->s;
    printf("%s %s x %s, n %zu h %zu w %zu c %zu o %zu r %zu s %zu stride %zu pad %zu samples %zu "
           "exact_k %zu bias %d add %d zero %d %d lines %d %d, cpu %s, %zu threads\n",
           names[p->product], p->a->name, p->b->name, s->n, s->h, s->w, s->c, s->o, s->r, s->s,
           s->stride, s->pad, p->n_samples, p->exact_k, p->bias, p->add, p->zero_a, p->zero_b,
           p->lines_a, p->lines_b, level, threads);
}

#define GUARD 256

/* Runs in poisoned scratch; out has guards before and behind. */
static void run_product(const problem *p, nyb_context *context, const operand *a, const operand *b,
                        const float *bias, const float *former, float *out)
{
    const size_t n = sizes_of(p).out;
    const nyb_conv_options options = {.zero_a = p->zero_a,
                                      .zero_b = p->zero_b,
                                      .lines_a = p->lines_a,
                                      .lines_b = p->lines_b,
                                      .image_lines = p->image_lines};
    nyb_operand args[4];
    nyb_conv *conv;

    for (size_t i = 0; i < p->n_samples; i++) {
        args[i] = a[i].arg;
        if (!args[i].real)
            args[i].packed = &a[i].packed;
    }
    nyb_operand b_arg = b->arg;
    if (!b_arg.real)
        b_arg.packed = &b->packed;
    assert_int_equal(nyb_conv_create_split(context, p->product, &p->s, p->a, p->b, p->n_samples,
                                           p->exact_k, &options, &conv, NULL),
                     NYB_OK);
    const size_t n_scratch = nyb_conv_scratch_bytes(conv);
    uint8_t *scratch = nyb_alloc(n_scratch + GUARD);
    float *guarded = nyb_alloc((n + 2 * GUARD) * sizeof(float));
    assert_non_null(scratch);
    assert_non_null(guarded);
    memset(scratch, 0xa5, n_scratch + GUARD);
    memset(guarded, 0xa5, (n + 2 * GUARD) * sizeof(float));
    if (p->add)
        memcpy(guarded + GUARD, former, n * sizeof(float));
    const uint64_t allocated = nyb_alloc_count();
    nyb_conv_run(conv, context, args, &b_arg, bias, p->add, NULL, guarded + GUARD, scratch);
    assert_int_equal(nyb_alloc_count(), allocated);
    for (size_t i = 0; i < GUARD * sizeof(float); i++) {
        assert_int_equal(((uint8_t *)guarded)[i], 0xa5);
        assert_int_equal(((uint8_t *)(guarded + GUARD + n))[i], 0xa5);
    }
    for (size_t i = 0; i < GUARD; i++)
        assert_int_equal(scratch[n_scratch + i], 0xa5);
    memcpy(out, guarded + GUARD, n * sizeof(float));
    if (p->product != NYB_PRODUCT_DW && !p->add) {
        uint16_t *half = (uint16_t *)guarded;

        for (int drawn = 0; drawn < 2; drawn++) {
            const nyb_stream stream = {.seed = 7, .role = NYB_RNG_STORE_DX};
            const nyb_stream *const draws = drawn ? &stream : NULL;

            nyb_conv_run_half(conv, context, args, &b_arg, bias, NULL, draws, half, scratch);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(half[i], stored_bf16(out[i], draws, i));
        }
    }
    nyb_free(scratch);
    nyb_free(guarded);
    nyb_conv_destroy(&conv);
    assert_null(conv);
}

/* Whether the s8 engine takes a problem. */
static bool on_s8(const problem *p)
{
    const int32_t most = nyb_conv_largest_unit(p->a) * nyb_conv_largest_unit(p->b);
    const size_t pixels = p->s.oh * p->s.ow;
    const bool of_images = p->image_lines && pixels > 1 && p->n_samples == 1 && !p->zero_a &&
                           !p->zero_b && !p->a->shift && !p->b->shift;

    if (!nyb_format_is_integer(p->a) || !nyb_format_is_integer(p->b))
        return false;
    if (p->product == NYB_PRODUCT_DW)
        return (!p->lines_a && !p->lines_b) ||
               (of_images && (uint64_t)pixels * (uint64_t)most <= INT32_MAX);
    return !p->lines_b || p->product == NYB_PRODUCT_FWD;
}

/* Rows of one line of a: of an image or all; 1x1: of any part. */
static size_t line_rows_of(const problem *p, size_t rows)
{
    const size_t choices[] = {rows, rows / p->s.n, 1};
    const bool any = (p->s.r == 1 && p->s.s == 1 && p->s.stride == 1) || !on_s8(p);

    return choices[pick(0, any ? 2 : 1)];
}

/* Units and their worth less another zero. */
static void move_zero(operand *o, int32_t zero)
{
    for (size_t i = 0; o->packed.codes && i < o->packed.rows * o->packed.cols; i++)
        o->values[i] += (float)(o->packed.zero - zero);
    o->packed.zero = zero;
}

/* All levels; thread counts in turn (all of them: `every_thread`). */
static void check_problem(problem *p, bool every_thread, bool extreme)
{
    static int turn;
    nyb_error err;

    assert_int_equal(nyb_conv_shape_check(&p->s, &err), NYB_OK);
    const sizes z = sizes_of(p);
    const bool s8 = on_s8(p);
    operand a[4], b = make_operand(p->b, z.b_rows, z.b_cols, extreme, p->zero_b);
    float *former = nyb_alloc(z.out * sizeof(float)), *want = nyb_alloc(z.out * sizeof(float));
    float *got = nyb_alloc(z.out * sizeof(float)), bias[128];

    for (size_t i = 0; i < p->n_samples; i++) {
        a[i] = make_operand(p->a, z.a_rows, z.a_cols, extreme, p->zero_a);
        a[i].packed.scale = a[0].packed.scale;
        if (p->product == NYB_PRODUCT_DX)
            move_zero(&a[i], a[0].packed.zero);
        if (p->lines_a)
            add_lines(&a[i], p->image_lines ? z.a_rows / p->s.n : line_rows_of(p, z.a_rows),
                      !p->image_lines);
        if (!s8)
            scale_values(&a[i]);
    }
    if (p->lines_b)
        add_lines(&b, p->product == NYB_PRODUCT_DW ? z.b_rows / p->s.n : p->s.r * p->s.s,
                  !s8 && !p->image_lines);
    if (!s8)
        scale_values(&b);
    for (size_t i = 0; i < z.out; i++)
        former[i] = (float)draw() / 1e9f - 1.0f;
    for (size_t i = 0; i < 128; i++)
        bias[i] = (float)draw() / 1e9f - 1.0f;
    oracle(p, a, &b, s8, p->bias ? bias : NULL, former, want);
    for (size_t l = 0; l < LEVELS; l++) {
        for (size_t t = 0; t < THREADS; t++) {
            nyb_context *context = contexts[l][(t + turn) % THREADS];
            if (!context || (t > 0 && !every_thread))
                continue;
            run_product(p, context, a, &b, p->bias ? bias : NULL, former, got);
            for (size_t i = 0; i < z.out; i++) {
                if (memcmp(&got[i], &want[i], sizeof(float)) == 0)
                    continue;
                print_case(p, levels[l], thread_counts[(t + turn) % THREADS]);
                fail_msg("element %zu is %a, not %a", i, (double)got[i], (double)want[i]);
            }
        }
    }
    turn++;
    for (size_t i = 0; i < p->n_samples; i++)
        free_operand(&a[i]);
    free_operand(&b);
    nyb_free(former);
    nyb_free(want);
    nyb_free(got);
}

#endif
