/* Kernels of depthwise convolutions: runs of pixels, each against the portable ones. */
#include "base/base.h"
#include "check.h"
#include "gemm/depthwise_kernel.h"

#define MAX_TAPS 5

static float small_float(ck *c)
{
    return (float)(int32_t)ck_rand(c) * 0x1p-30f;
}

static size_t random_channels(ck *c)
{
    static const size_t channels[] = {1, 3, 8, 15, 16, 17, 24, 31, 32, 33, 40, 64, 72};

    return ck_range(c, 0, 3) ? channels[ck_range(c, 0, 12)] : ck_range(c, 1, 80);
}

/* Units up to max, now and then all extreme; n of them with `size` bytes each. */
static void fill_units(ck *c, void *out, size_t n, size_t size, int32_t max, bool is_unsigned)
{
    const bool extreme = ck_range(c, 0, 7) == 0;

    for (size_t i = 0; i < n; i++) {
        int32_t unit = extreme ? max : (int32_t)ck_range(c, 0, (size_t)max);

        if (!is_unsigned && (extreme ? i % 5 == 0 : ck_rand(c) % 2))
            unit = -unit;
        if (size == 2)
            ((int16_t *)out)[i] = (int16_t)unit;
        else
            ((uint8_t *)out)[i] = (uint8_t)unit;
    }
}

/* ---- forward and dX -------------------------------------------------------------------------- */

/* Taps of a window of an image of w_image pixels a row: as forward or, mirrored, as dX. */
static void random_window(ck *c, nyb_depthwise_pixels *args, size_t px, size_t *n_x, size_t *first)
{
    const size_t stride = ck_range(c, 1, 3);
    const size_t width = (args->n - 1) * stride + nyb_max(args->taps_s, 1) + ck_range(c, 0, 3);
    const size_t rows = nyb_max(args->taps_r, 1);
    const bool mirrored = ck_range(c, 0, 1);

    args->x_step = (ptrdiff_t)(stride * px);
    args->x_r = (ptrdiff_t)(width * px) * (mirrored ? -1 : 1);
    args->x_s = (ptrdiff_t)px * (mirrored ? -1 : 1);
    *n_x = ((rows - 1) * width + (args->n - 1) * stride + nyb_max(args->taps_s, 1)) * px;
    *first = mirrored ? ((rows - 1) * width + nyb_max(args->taps_s, 1) - 1) * px : 0;
}

static void check_pixels(ck *c, const nyb_depthwise_kernel *kernel, bool s8)
{
    const nyb_stream draws = {.seed = ck_rand(c), .role = NYB_RNG_STORE_X};
    static const int32_t units[] = {1, 7, 8, 15, 64, 127, 128};
    nyb_depthwise_pixels args = {.n = ck_range(c, 1, 11),
                                 .channels = random_channels(c),
                                 .taps_r = ck_range(c, 0, MAX_TAPS),
                                 .taps_s = ck_range(c, 0, MAX_TAPS),
                                 .add = ck_range(c, 0, 1),
                                 .half = ck_range(c, 0, 1),
                                 .scale = small_float(c)};
    const size_t pitch = (args.channels + 15) / 16 * 16, px = s8 ? pitch : args.channels;
    const size_t step = ck_range(c, 1, 2);
    const int32_t max_w = units[ck_range(c, 0, 6)];
    int32_t max_x = units[ck_range(c, 0, 6)];
    size_t n_x, first;

    random_window(c, &args, px, &n_x, &first);
    args.x_unsigned = ck_range(c, 0, 1);
    if (args.x_unsigned && max_x == 128)
        max_x = 32767 / max_w < 255 ? 127 : 255;
    args.max_product = max_x * max_w;
    args.w_s = (ptrdiff_t)(step * pitch);
    args.w_r = args.w_s * (ptrdiff_t)nyb_max(args.taps_s, 1);
    const size_t n_w = pitch * step * nyb_max(args.taps_r, 1) * nyb_max(args.taps_s, 1);
    const size_t n_out = (args.n - 1) * step * args.channels + args.channels;
    void *x = ck_guard(c, n_x * (s8 ? 1 : 4), ck_range(c, 0, 1));
    void *w = ck_guard(c, n_w * (s8 ? 2 : 4), true);
    float *bias = ck_guard(c, args.channels * sizeof *bias, ck_range(c, 0, 1));
    const size_t n_bytes = n_out * (args.half ? sizeof(uint16_t) : sizeof(float));
    uint8_t *want = ck_guard(c, n_bytes, true), *got = ck_guard(c, n_bytes, ck_range(c, 0, 1));
    if (s8) {
        fill_units(c, x, n_x, 1, max_x, args.x_unsigned);
        fill_units(c, w, n_w, 2, max_w, false);
    }
    for (size_t i = 0; !s8 && i < n_x; i++)
        ((float *)x)[i] = small_float(c);
    for (size_t i = 0; !s8 && i < n_w; i++)
        ((float *)w)[i] = small_float(c);
    for (size_t i = 0; i < args.channels; i++)
        bias[i] = small_float(c);
    for (size_t i = 0; !args.half && i < n_out; i++) {
        const float f = small_float(c);
        memcpy(want + i * sizeof f, &f, sizeof f);
    }
    for (size_t i = 0; args.half && i < n_bytes; i++)
        want[i] = (uint8_t)ck_rand(c);
    memcpy(got, want, n_bytes); /* the gaps between the pixels must stay */
    args.x = s8 ? (const void *)((uint8_t *)x + first) : (float *)x + first;
    args.w = w;
    args.bias = ck_range(c, 0, 1) ? bias : NULL;
    args.out_step = step * args.channels;
    args.draws = args.half && ck_range(c, 0, 1) ? &draws : NULL;
    args.origin = args.out = want;
    (s8 ? nyb_depthwise_ref.pixels_s8 : nyb_depthwise_ref.pixels_f32)(&args);
    args.origin = args.out = got;
    (s8 ? kernel->pixels_s8 : kernel->pixels_f32)(&args);
    ck_same(c, s8 ? "pixels_s8" : "pixels_f32", want, got, n_bytes);
}

/* ---- dW -------------------------------------------------------------------------------------- */

static void check_taps(ck *c, const nyb_depthwise_kernel *kernel, bool s8)
{
    static const int32_t units[] = {1, 7, 15, 64, 127};
    const int32_t max_dy = units[ck_range(c, 0, 4)], max_x = units[ck_range(c, 0, 4)];
    nyb_depthwise_taps args = {.n = ck_range(c, 1, 60),
                               .channels = random_channels(c),
                               .taps = ck_range(c, 1, 7),
                               .dy_unsigned = ck_range(c, 0, 1),
                               .x_unsigned = ck_range(c, 0, 1),
                               .max_product = max_dy * max_x};
    const size_t pitch = (args.channels + 15) / 16 * 16, own = s8 ? pitch : args.channels;

    args.dy_step = own + ck_range(c, 0, 2) * own;
    args.x_step = own * ck_range(c, 1, 2);
    args.x_s = own * ck_range(c, 1, 2);
    args.acc_step = own * ck_range(c, 1, 2);
    const size_t n_dy = (args.n - 1) * args.dy_step + own;
    const size_t n_x = (args.n - 1) * args.x_step + (args.taps - 1) * args.x_s + own;
    const size_t n_acc = (args.taps - 1) * args.acc_step + own;
    void *dy = ck_guard(c, n_dy * (s8 ? 1 : 4), ck_range(c, 0, 1));
    void *x = ck_guard(c, n_x * (s8 ? 1 : 4), ck_range(c, 0, 1));
    uint32_t *want = ck_guard(c, n_acc * sizeof *want, true);
    uint32_t *got = ck_guard(c, n_acc * sizeof *got, ck_range(c, 0, 1));
    if (s8) {
        fill_units(c, dy, n_dy, 1, max_dy, args.dy_unsigned);
        fill_units(c, x, n_x, 1, max_x, args.x_unsigned);
    }
    for (size_t i = 0; !s8 && i < n_dy; i++)
        ((float *)dy)[i] = small_float(c);
    for (size_t i = 0; !s8 && i < n_x; i++)
        ((float *)x)[i] = small_float(c);
    for (size_t i = 0; i < n_acc; i++) {
        const float f = small_float(c);

        want[i] = s8 ? (uint32_t)ck_range(c, 0, 1000000) : nyb_bits_of(f);
        got[i] = want[i];
    }
    args.dy = dy;
    args.x = x;
    args.acc = want;
    (s8 ? nyb_depthwise_ref.taps_s8 : nyb_depthwise_ref.taps_f32)(&args);
    args.acc = got;
    (s8 ? kernel->taps_s8 : kernel->taps_f32)(&args);
    for (size_t t = 0; t < args.taps; t++)
        ck_same(c, s8 ? "taps_s8" : "taps_f32", want + t * args.acc_step, got + t * args.acc_step,
                args.channels * sizeof *want);
}

/* ---- timings --------------------------------------------------------------------------------- */

typedef struct timing {
    const nyb_depthwise_kernel *kernel;
    nyb_depthwise_pixels pixels;
} timing;

static void time_s8(void *arg)
{
    const timing *t = arg;

    t->kernel->pixels_s8(&t->pixels);
}

static void time_f32(void *arg)
{
    const timing *t = arg;

    t->kernel->pixels_f32(&t->pixels);
}

/* A row of 3x3 filters, 30 pixels of 64 channels. */
static void time_kernel(ck *c, const nyb_depthwise_kernel *kernel)
{
    enum { N = 30, C = 64, ROW = (N + 2) * C };
    float *x = nyb_alloc(3 * ROW * sizeof *x), *w = nyb_alloc(9 * C * sizeof *w);
    float *out = nyb_alloc(N * C * sizeof *out);
    timing t = {kernel,
                {.n = N,
                 .channels = C,
                 .taps_r = 3,
                 .taps_s = 3,
                 .x = x,
                 .w = w,
                 .x_step = C,
                 .x_r = ROW,
                 .x_s = C,
                 .w_r = 3 * C,
                 .w_s = C,
                 .max_product = 15 * 7,
                 .out = out,
                 .out_step = C}};

    if (x && w && out) {
        ck_bench(c, "s8 3x3", N * C * 9, "MAC", time_s8, &t);
        ck_bench(c, "f32 3x3", N * C * 9, "MAC", time_f32, &t);
    }
    nyb_free(out);
    nyb_free(w);
    nyb_free(x);
}

void check_depthwise(ck *c)
{
    /* The reference against itself would prove nothing: tests/unit/test_depthwise.c has oracles. */
    for (const nyb_depthwise_kernel *const *k = nyb_depthwise_kernels; k[1]; k++) {
        if (!ck_begin(c, "depthwise", (*k)->name, (*k)->needs))
            continue;
        const uint32_t former = nyb_cpu_fp_enter();
        for (size_t i = 0; i < ck_cases(c); i++) {
            if (!ck_case(c, i))
                continue;
            check_pixels(c, *k, false);
            check_pixels(c, *k, true);
            check_taps(c, *k, false);
            check_taps(c, *k, true);
        }
        time_kernel(c, *k);
        nyb_cpu_fp_restore(former);
        ck_end(c);
    }
}
