/* Depthwise convolutions in portable C: the specification. */
#include <math.h>

#include "base/vec_ref.h"
#include "gemm/depthwise_kernel.h"
#include "gemm/store.h"

static int32_t unit(uint8_t byte, bool is_unsigned)
{
    return is_unsigned ? byte : (int8_t)byte;
}

static void finish(const nyb_depthwise_pixels *args, size_t i, size_t c, float t)
{
    const size_t at = i * args->out_step + c;
    float *out = args->out;
    uint16_t *half = args->out;

    if (args->bias)
        t = t + args->bias[c];
    if (!args->half) {
        out[at] = args->add ? out[at] + t : t;
        return;
    }
    if (args->draws)
        t = cut_bf16(t, nyb_rng_u16(args->draws, nyb_store_place(args->origin, half + at)));
    else
        t = round_bf16(t);
    half[at] = (uint16_t)(nyb_bits_of(t) >> 16);
}

static void pixels_f32(const nyb_depthwise_pixels *args)
{
    for (size_t i = 0; i < args->n; i++) {
        const float *const pixel = (const float *)args->x + (ptrdiff_t)i * args->x_step;

        for (size_t c = 0; c < args->channels; c++) {
            float acc = 0.0f;

            for (size_t r = 0; r < args->taps_r; r++)
                for (size_t s = 0; s < args->taps_s; s++) {
                    const ptrdiff_t x = (ptrdiff_t)r * args->x_r + (ptrdiff_t)s * args->x_s;
                    const ptrdiff_t w = (ptrdiff_t)r * args->w_r + (ptrdiff_t)s * args->w_s;

                    acc = fmaf(pixel[x + (ptrdiff_t)c], ((const float *)args->w)[w + (ptrdiff_t)c],
                               acc);
                }
            finish(args, i, c, acc);
        }
    }
}

static void pixels_s8(const nyb_depthwise_pixels *args)
{
    for (size_t i = 0; i < args->n; i++) {
        const uint8_t *const pixel = (const uint8_t *)args->x + (ptrdiff_t)i * args->x_step;

        for (size_t c = 0; c < args->channels; c++) {
            int32_t sum = 0;

            for (size_t r = 0; r < args->taps_r; r++)
                for (size_t s = 0; s < args->taps_s; s++) {
                    const ptrdiff_t x = (ptrdiff_t)r * args->x_r + (ptrdiff_t)s * args->x_s;
                    const ptrdiff_t w = (ptrdiff_t)r * args->w_r + (ptrdiff_t)s * args->w_s;

                    sum += unit(pixel[x + (ptrdiff_t)c], args->x_unsigned) *
                           ((const int16_t *)args->w)[w + (ptrdiff_t)c];
                }
            finish(args, i, c, (float)sum * args->scale);
        }
    }
}

static void taps_f32(const nyb_depthwise_taps *args)
{
    for (size_t t = 0; t < args->taps; t++) {
        const float *dy = args->dy, *x = (const float *)args->x + t * args->x_s;
        float *acc = (float *)args->acc + t * args->acc_step;

        for (size_t i = 0; i < args->n; i++, dy += args->dy_step, x += args->x_step)
            for (size_t c = 0; c < args->channels; c++)
                acc[c] = fmaf(dy[c], x[c], acc[c]);
    }
}

static void taps_s8(const nyb_depthwise_taps *args)
{
    for (size_t t = 0; t < args->taps; t++) {
        const uint8_t *dy = args->dy, *x = (const uint8_t *)args->x + t * args->x_s;
        int32_t *acc = (int32_t *)args->acc + t * args->acc_step;

        for (size_t i = 0; i < args->n; i++, dy += args->dy_step, x += args->x_step)
            for (size_t c = 0; c < args->channels; c++)
                acc[c] += unit(dy[c], args->dy_unsigned) * unit(x[c], args->x_unsigned);
    }
}

const nyb_depthwise_kernel nyb_depthwise_ref = {
    .name = "ref",
    .needs = 0,
    .max_product = 255 * 255,
    .pixels_f32 = pixels_f32,
    .pixels_s8 = pixels_s8,
    .taps_f32 = taps_f32,
    .taps_s8 = taps_s8,
};
