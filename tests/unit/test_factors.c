/* Formats with a factor for each 16 codes: the encoder's choice, and exact products. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "gemm/conv.h"
#include "known.h"
#include "quant/quant.h"

static const char *const cpus[] = {"ref", "avx2", "avx512vnni", "amx"};

static float noise(size_t i)
{
    const float u = (float)(int32_t)known_u32(7, 0, 0, 0, 0, i) * 0x1p-31f;

    return u * u * u * (float)(1 + i / 40 % 9);
}

/* codes: 64-byte aligned; NULL: this machine has no such cpu level. */
static nyb_packed encode(const char *cpu, size_t threads, const char *text, const float *x,
                         size_t rows, size_t cols)
{
    const nyb_stream stream = {.seed = 3, .step = 1, .role = NYB_RNG_DY_DX};
    nyb_packed p = {.rows = rows, .cols = cols, .pitch = nyb_packed_pitch(cols)};
    nyb_context *context;
    nyb_moments moments;
    nyb_spec spec;
    void *scratch = nyb_alloc(nyb_moments_scratch_bytes(rows, cols));
    float state[NYB_SCALE_STATE_MAX] = {0};
    uint32_t former;

    assert_int_equal(nyb_spec_parse(text, &spec, NULL), NYB_OK);
    p.format = spec.format;
    if (nyb_context_create(cpu, threads, &context, NULL) == NYB_OK) {
        former = nyb_cpu_fp_enter();
        p.codes = nyb_alloc(nyb_packed_bytes(p.format, rows, cols));
        nyb_moments_run(context, x, rows, cols, scratch, &moments);
        p.scale = nyb_scale_choose(&spec, &moments, state);
        nyb_encode_run(context, &spec, &stream, x, &p);
        nyb_cpu_fp_restore(former);
        nyb_context_destroy(&context);
    }
    nyb_free(scratch);
    return p;
}

static void check_choice(const float *x, const nyb_packed *p, bool nearest)
{
    const float max = p->format->max;

    for (size_t row = 0; row < p->rows; row++)
        for (size_t first = 0; first < p->cols; first += 16) {
            const size_t end = nyb_min(first + 16, p->cols);
            const unsigned factor = nyb_packed_factor(p, row, first);
            float absmax = 0;

            for (size_t col = first; col < end; col++)
                absmax = fmaxf(absmax, fabsf(x[row * p->cols + col]));
            assert_in_range(factor, 1, p->format->multiples);
            /* covers the group, and no smaller one would */
            assert_true((float)factor * p->scale * max >= absmax * 0.999999f);
            assert_true(factor == 1 || (float)(factor - 1) * p->scale * max < absmax);
            for (size_t col = first; col < end; col++) {
                const float step = (float)factor * p->scale;
                const float v = nyb_format_decode(p->format, nyb_packed_get(p, row, col)) * step;

                assert_true(fabsf(v - x[row * p->cols + col]) <=
                            step * (nearest ? 0.50001f : 1.00001f));
            }
        }
}

static void the_least_factor_that_covers_is_chosen(void **state)
{
    static const size_t shapes[][2] = {{40, 64}, {33, 43}, {5, 16}, {300, 7}, {1, 1}};
    static const char *const specs[] = {"int4m/absmax/tensor/nearest",
                                        "int4m/absmax/tensor/stochastic",
                                        "uint4m/absmax/tensor/nearest"};
    float x[40 * 64];

    (void)state;
    for (size_t s = 0; s < 5; s++)
        for (size_t k = 0; k < 3; k++) {
            const size_t rows = shapes[s][0], cols = shapes[s][1];
            size_t n_bytes;
            nyb_packed want;

            for (size_t i = 0; i < rows * cols; i++)
                x[i] = k == 2 ? fabsf(noise(i)) : noise(i);
            want = encode("ref", 1, specs[k], x, rows, cols);
            n_bytes = nyb_packed_bytes(want.format, rows, cols);
            check_choice(x, &want, k != 1);
            for (size_t c = 1; c < 4; c++) {
                nyb_packed got = encode(cpus[c], c == 1 ? 7 : 2, specs[k], x, rows, cols);

                if (got.codes)
                    assert_memory_equal(got.codes, want.codes, n_bytes);
                nyb_free(got.codes);
            }
            nyb_free(want.codes);
        }
}

/* Units times factors as integers. */
static int *integers(const nyb_packed *p)
{
    int *v = malloc(p->rows * p->cols * sizeof *v);

    for (size_t row = 0; row < p->rows; row++)
        for (size_t col = 0; col < p->cols; col++)
            v[row * p->cols + col] =
                p->format->units[nyb_packed_get(p, row, col)] * (int)nyb_packed_factor(p, row, col);
    return v;
}

/* a: n_samples of them. */
static void run(const char *cpu, nyb_product product, const nyb_conv_shape *shape,
                const nyb_packed *const *a, size_t n_samples, const nyb_packed *b, float *out)
{
    nyb_operand samples[2] = {{.packed = a[0]}, {.packed = a[n_samples - 1]}};
    nyb_context *context;
    nyb_conv *conv;
    void *scratch;

    if (nyb_context_create(cpu, 2, &context, NULL) != NYB_OK)
        return;
    assert_int_equal(nyb_conv_create(context, product, shape, a[0]->format, b->format, n_samples,
                                     NULL, &conv, NULL),
                     NYB_OK);
    assert_string_equal(nyb_conv_engine(conv), "s8");
    scratch = nyb_alloc(nyb_conv_scratch_bytes(conv));
    nyb_conv_run(conv, context, samples, &(nyb_operand){.packed = b}, NULL, false, NULL, out,
                 scratch);
    nyb_free(scratch);
    nyb_conv_destroy(&conv);
    nyb_context_destroy(&context);
}

/* Inputs, which are not negative, and weights. */
static void fill(float *x, size_t n_x, float *w, size_t n_w)
{
    for (size_t i = 0; i < n_x; i++)
        x[i] = fabsf(noise(i));
    for (size_t i = 0; i < n_w; i++)
        w[i] = noise(i + 9000);
}

/* A 3x3 convolution's three products against integer loops; of dX also the mean of two draws. */
static void products_are_exact(void **state)
{
    nyb_conv_shape s = {
        .n = 3, .h = 7, .w = 6, .c = 20, .o = 19, .r = 3, .s = 3, .stride = 1, .pad = 1};
    float x[3 * 7 * 6 * 20], w[19 * 9 * 20], dy[3 * 7 * 6 * 19];
    static float y[3 * 7 * 6 * 19], dx[3 * 7 * 6 * 20], mean[3 * 7 * 6 * 20], dw[19 * 9 * 20];

    (void)state;
    assert_int_equal(nyb_conv_shape_check(&s, NULL), NYB_OK);
    fill(x, sizeof x / 4, w, sizeof w / 4);
    for (size_t i = 0; i < sizeof dy / 4; i++)
        dy[i] = noise(i + 90000);
    const nyb_packed px = encode("ref", 1, "uint4m/absmax/tensor/nearest", x, 126, 20);
    const nyb_packed pw = encode("ref", 1, "int4m/absmax/tensor/nearest", w, 171, 20);
    const nyb_packed pd = encode("ref", 1, "int4m/absmax/tensor/stochastic", dy, 126, 19);
    for (size_t i = 0; i < sizeof dy / 4; i++)
        dy[i] = dy[i] * (i % 3 ? 1.0f : -1.0f);
    const nyb_packed other = encode("ref", 1, "int4m/absmax/tensor/stochastic", dy, 126, 19);
    const nyb_packed *const draws[] = {&pd, &other}, *const inputs[] = {&px};
    int *ix = integers(&px), *iw = integers(&pw), *id = integers(&pd), *io = integers(&other);
    static long ey[3 * 7 * 6 * 19], edx[3 * 7 * 6 * 20], emean[3 * 7 * 6 * 20], edw[19 * 9 * 20];

    for (size_t n = 0; n < s.n; n++)
        for (size_t i = 0; i < s.h * s.w; i++)
            for (size_t t = 0; t < 9; t++) {
                const size_t h = i / s.w + t / 3, v = i % s.w + t % 3;

                if (h < 1 || v < 1 || h > s.h || v > s.w)
                    continue;
                const size_t in = (n * s.h + h - 1) * s.w + v - 1, out = n * s.h * s.w + i;

                for (size_t o = 0; o < s.o; o++)
                    for (size_t c = 0; c < s.c; c++) {
                        const int a = ix[in * s.c + c], b = iw[(o * 9 + t) * s.c + c];
                        const int d = id[out * s.o + o];

                        ey[out * s.o + o] += (long)a * b;
                        edx[in * s.c + c] += (long)d * b;
                        emean[in * s.c + c] += (long)(d + io[out * s.o + o]) * b;
                        edw[(o * 9 + t) * s.c + c] += (long)d * a;
                    }
            }
    for (size_t k = 0; k < 4; k++) {
        run(cpus[k], NYB_PRODUCT_FWD, &s, inputs, 1, &pw, y);
        run(cpus[k], NYB_PRODUCT_DX, &s, draws, 1, &pw, dx);
        run(cpus[k], NYB_PRODUCT_DX, &s, draws, 2, &pw, mean);
        run(cpus[k], NYB_PRODUCT_DW, &s, draws, 1, &px, dw);
        for (size_t i = 0; i < sizeof y / 4; i++)
            assert_true(y[i] == (float)ey[i] * (px.scale * pw.scale));
        for (size_t i = 0; i < sizeof dx / 4; i++)
            assert_true(dx[i] == (float)edx[i] * (pd.scale * pw.scale) &&
                        mean[i] == (float)emean[i] * (pd.scale * pw.scale * 0.5f));
        for (size_t i = 0; i < sizeof dw / 4; i++)
            assert_true(dw[i] == (float)edw[i] * (pd.scale * px.scale));
    }
    free(ix);
    free(iw);
    free(id);
    free(io);
    nyb_free(other.codes);
    nyb_free(px.codes);
    nyb_free(pw.codes);
    nyb_free(pd.codes);
}

/* On the f32 engine codes are the values that they decode to. */
static void values_are_decoded(void **state)
{
    enum { PIXELS = 2 * 5 * 4, C = 48, O = 33 };
    nyb_conv_shape s = {
        .n = 2, .h = 5, .w = 4, .c = C, .o = O, .r = 3, .s = 3, .stride = 1, .pad = 1};
    static float x[PIXELS * C], w[O * 9 * C], want[PIXELS * O], got[PIXELS * O];
    const nyb_conv_options options = {.engine = NYB_ENGINE_F32};

    (void)state;
    assert_int_equal(nyb_conv_shape_check(&s, NULL), NYB_OK);
    for (size_t i = 0; i < PIXELS * C; i++)
        x[i] = fabsf(noise(i));
    for (size_t i = 0; i < (size_t)O * 9 * C; i++)
        w[i] = noise(i + 9000);
    const nyb_packed px = encode("ref", 1, "uint4m/absmax/tensor/nearest", x, PIXELS, C);
    nyb_packed_decode(&px, x);
    for (size_t k = 0; k < 4; k++)
        for (int packed = 0; packed < 2; packed++) {
            const nyb_operand a = {.packed = packed ? &px : NULL, .real = packed ? NULL : x};
            nyb_context *context;
            nyb_conv *conv;
            void *scratch;

            if (nyb_context_create(cpus[k], 2, &context, NULL) != NYB_OK)
                continue;
            assert_int_equal(nyb_conv_create_with(context, NYB_PRODUCT_FWD, &s,
                                                  packed ? px.format : &nyb_format_f32,
                                                  &nyb_format_f32, 1, &options, &conv, NULL),
                             NYB_OK);
            scratch = nyb_alloc(nyb_conv_scratch_bytes(conv));
            nyb_conv_run(conv, context, &a, &(nyb_operand){.real = w}, NULL, false, NULL,
                         packed ? got : want, scratch);
            nyb_free(scratch);
            nyb_conv_destroy(&conv);
            nyb_context_destroy(&context);
            if (packed)
                assert_memory_equal(got, want, sizeof want);
        }
    nyb_free(px.codes);
}

/* A linear layer of few rows, where either operand has factors. */
static void few_rows_are_exact(void **state)
{
    static const char *const specs[][2] = {
        {"uint4m/absmax/tensor/nearest", "int4/absmax/tensor/nearest"},
        {"int4m/absmax/tensor/nearest", "int4/absmax/tensor/nearest"},
        {"uint4/absmax/tensor/nearest", "int4m/absmax/tensor/nearest"}};
    nyb_conv_shape s = {.n = 1, .h = 1, .w = 5, .c = 40, .o = 37, .r = 1, .s = 1, .stride = 1};
    float x[5 * 40], w[37 * 40], y[5 * 37];

    (void)state;
    assert_int_equal(nyb_conv_shape_check(&s, NULL), NYB_OK);
    fill(x, sizeof x / 4, w, sizeof w / 4);
    for (size_t f = 0; f < sizeof specs / sizeof *specs; f++) {
        nyb_packed px = encode("ref", 1, specs[f][0], x, 5, 40);
        nyb_packed pw = encode("ref", 1, specs[f][1], w, 37, 40);
        const nyb_packed *const inputs[] = {&px};
        int *ix = integers(&px), *iw = integers(&pw);

        for (size_t k = 0; k < 4; k++) {
            run(cpus[k], NYB_PRODUCT_FWD, &s, inputs, 1, &pw, y);
            for (size_t i = 0; i < sizeof y / 4; i++) {
                long sum = 0;

                for (size_t c = 0; c < s.c; c++)
                    sum += (long)ix[i / s.o * s.c + c] * iw[i % s.o * s.c + c];
                assert_true(y[i] == (float)sum * (px.scale * pw.scale));
            }
        }
        free(ix);
        free(iw);
        nyb_free(px.codes);
        nyb_free(pw.codes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_factor_that_covers_is_chosen),
        cmocka_unit_test(products_are_exact),
        cmocka_unit_test(few_rows_are_exact),
        cmocka_unit_test(values_are_decoded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
