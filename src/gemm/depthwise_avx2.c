/* Depthwise convolutions on AVX2 and FMA: 16 channels at a time, in f32 of 4 pixels. */
#include <immintrin.h>
#include <math.h>

#include "gemm/depthwise_kernel.h"

#define LANES  16 /* channels of a step */
#define PIXELS 4  /* of a step in f32: 8 chains hide the latency of an FMA */

/* ---- f32 ------------------------------------------------------------------------------------- */

static inline void put_f32(const nyb_depthwise_pixels *args, size_t i, size_t c, __m256 t)
{
    float *out = args->out + i * args->out_step + c;

    if (args->bias)
        t = _mm256_add_ps(t, _mm256_loadu_ps(args->bias + c));
    if (args->add)
        t = _mm256_add_ps(_mm256_loadu_ps(out), t);
    _mm256_storeu_ps(out, t);
}

/* Channels c .. c + 8 * n_vectors of n pixels from pixel i on; both are constants where this is
 * inlined. */
static inline __attribute__((always_inline)) void
pixels_step(const nyb_depthwise_pixels *args, size_t i, size_t c, size_t n, size_t n_vectors)
{
    const float *x = (const float *)args->x + (ptrdiff_t)i * args->x_step + c;
    const float *w = (const float *)args->w + c;
    __m256 acc[PIXELS][2];

    for (size_t p = 0; p < n; p++)
        for (size_t v = 0; v < n_vectors; v++)
            acc[p][v] = _mm256_setzero_ps();
    for (size_t r = 0; r < args->taps_r; r++) {
        const float *from = x + (ptrdiff_t)r * args->x_r, *factor = w + (ptrdiff_t)r * args->w_r;

        for (size_t s = 0; s < args->taps_s; s++, from += args->x_s, factor += args->w_s)
            for (size_t v = 0; v < n_vectors; v++) {
                const __m256 f = _mm256_loadu_ps(factor + 8 * v);

                for (size_t p = 0; p < n; p++)
                    acc[p][v] = _mm256_fmadd_ps(
                        _mm256_loadu_ps(from + (ptrdiff_t)p * args->x_step + 8 * v), f, acc[p][v]);
            }
    }
    for (size_t p = 0; p < n; p++)
        for (size_t v = 0; v < n_vectors; v++)
            put_f32(args, i + p, c + 8 * v, acc[p][v]);
}

/* One channel of all pixels: what is left of the channels after steps of 8. */
static void pixels_channel(const nyb_depthwise_pixels *args, size_t c)
{
    for (size_t i = 0; i < args->n; i++) {
        const float *x = (const float *)args->x + (ptrdiff_t)i * args->x_step + c;
        float acc = 0.0f;

        for (size_t r = 0; r < args->taps_r; r++)
            for (size_t s = 0; s < args->taps_s; s++)
                acc = fmaf(x[(ptrdiff_t)r * args->x_r + (ptrdiff_t)s * args->x_s],
                           ((const float *)args->w)[(ptrdiff_t)r * args->w_r +
                                                    (ptrdiff_t)s * args->w_s + (ptrdiff_t)c],
                           acc);
        if (args->bias)
            acc = acc + args->bias[c];
        if (args->add)
            acc = args->out[i * args->out_step + c] + acc;
        args->out[i * args->out_step + c] = acc;
    }
}

static void pixels_f32(const nyb_depthwise_pixels *args)
{
    size_t c = 0;

    for (; c + LANES <= args->channels; c += LANES) {
        size_t i = 0;

        for (; i + PIXELS <= args->n; i += PIXELS)
            pixels_step(args, i, c, PIXELS, 2);
        for (; i < args->n; i++)
            pixels_step(args, i, c, 1, 2);
    }
    for (; c + 8 <= args->channels; c += 8) {
        size_t i = 0;

        for (; i + PIXELS <= args->n; i += PIXELS)
            pixels_step(args, i, c, PIXELS, 1);
        for (; i < args->n; i++)
            pixels_step(args, i, c, 1, 1);
    }
    for (; c < args->channels; c++)
        pixels_channel(args, c);
}

/* Channels c .. c + 8 * n_vectors, a constant where this is inlined. */
static inline __attribute__((always_inline)) void tap_step(const nyb_depthwise_tap *args, size_t c,
                                                           size_t n_vectors)
{
    const float *dy = (const float *)args->dy + c, *x = (const float *)args->x + c;
    float *out = (float *)args->acc + c;
    __m256 acc[4];

    for (size_t v = 0; v < n_vectors; v++)
        acc[v] = _mm256_loadu_ps(out + 8 * v);
    for (size_t i = 0; i < args->n; i++, dy += args->dy_step, x += args->x_step)
        for (size_t v = 0; v < n_vectors; v++)
            acc[v] =
                _mm256_fmadd_ps(_mm256_loadu_ps(dy + 8 * v), _mm256_loadu_ps(x + 8 * v), acc[v]);
    for (size_t v = 0; v < n_vectors; v++)
        _mm256_storeu_ps(out + 8 * v, acc[v]);
}

static void tap_f32(const nyb_depthwise_tap *args)
{
    size_t c = 0;

    for (; c + 32 <= args->channels; c += 32)
        tap_step(args, c, 4);
    for (; c + 8 <= args->channels; c += 8)
        tap_step(args, c, 1);
    for (; c < args->channels; c++) {
        float *acc = (float *)args->acc + c;

        for (size_t i = 0; i < args->n; i++)
            *acc = fmaf(((const float *)args->dy)[i * args->dy_step + c],
                        ((const float *)args->x)[i * args->x_step + c], *acc);
    }
}

/* ---- s8: products in int16, as many added there as surely fit, then in int32 ------------------
 */

typedef struct sums {
    __m256i part;      /* int16 x 16 */
    __m256i low, high; /* int32: channels 0..7, 8..15 */
    int32_t left;      /* products that part still holds */
} sums;

static inline void widen(sums *s)
{
    s->low = _mm256_add_epi32(s->low, _mm256_cvtepi16_epi32(_mm256_castsi256_si128(s->part)));
    s->high =
        _mm256_add_epi32(s->high, _mm256_cvtepi16_epi32(_mm256_extracti128_si256(s->part, 1)));
    s->part = _mm256_setzero_si256();
}

static inline void add_products(sums *s, __m256i a, __m256i b, int32_t room)
{
    s->part = _mm256_add_epi16(s->part, _mm256_mullo_epi16(a, b));
    if (--s->left == 0) {
        widen(s);
        s->left = room;
    }
}

static inline __m256i load_bytes(const uint8_t *bytes, bool is_unsigned)
{
    const __m128i b = _mm_loadu_si128((const __m128i *)bytes);

    return is_unsigned ? _mm256_cvtepu8_epi16(b) : _mm256_cvtepi8_epi16(b);
}

static void put_s8(const nyb_depthwise_pixels *args, size_t i, size_t c, const sums *s)
{
    const __m256 scale = _mm256_set1_ps(args->scale);
    const __m256 low = _mm256_mul_ps(_mm256_cvtepi32_ps(s->low), scale);
    const __m256 high = _mm256_mul_ps(_mm256_cvtepi32_ps(s->high), scale);
    float t[LANES], *out = args->out + i * args->out_step + c;

    if (c + LANES <= args->channels) {
        put_f32(args, i, c, low);
        put_f32(args, i, c + 8, high);
        return;
    }
    _mm256_storeu_ps(t, low);
    _mm256_storeu_ps(t + 8, high);
    for (size_t j = 0; j < args->channels - c; j++) {
        if (args->bias)
            t[j] = t[j] + args->bias[c + j];
        out[j] = args->add ? out[j] + t[j] : t[j];
    }
}

static inline __attribute__((always_inline)) void pixels_bytes(const nyb_depthwise_pixels *args,
                                                               bool x_unsigned)
{
    const int32_t room = INT16_MAX / args->max_product;
    const __m256i zero = _mm256_setzero_si256();

    for (size_t c = 0; c < args->channels; c += LANES)
        for (size_t i = 0; i < args->n; i++) {
            const uint8_t *x = (const uint8_t *)args->x + (ptrdiff_t)i * args->x_step + c;
            const int16_t *w = (const int16_t *)args->w + c;
            sums s = {zero, zero, zero, room};

            for (size_t r = 0; r < args->taps_r; r++, x += args->x_r, w += args->w_r) {
                const uint8_t *from = x;
                const int16_t *factor = w;

                for (size_t t = 0; t < args->taps_s; t++, from += args->x_s, factor += args->w_s)
                    add_products(&s, load_bytes(from, x_unsigned),
                                 _mm256_loadu_si256((const __m256i *)factor), room);
            }
            widen(&s);
            put_s8(args, i, c, &s);
        }
}

static void pixels_s8(const nyb_depthwise_pixels *args)
{
    if (args->x_unsigned)
        pixels_bytes(args, true);
    else
        pixels_bytes(args, false);
}

static inline __attribute__((always_inline)) void tap_bytes(const nyb_depthwise_tap *args,
                                                            bool dy_unsigned, bool x_unsigned)
{
    const int32_t room = INT16_MAX / args->max_product;
    const __m256i zero = _mm256_setzero_si256();

    for (size_t c = 0; c < args->channels; c += LANES) {
        const uint8_t *dy = (const uint8_t *)args->dy + c, *x = (const uint8_t *)args->x + c;
        __m256i *acc = (__m256i *)((int32_t *)args->acc + c);
        sums s = {zero, _mm256_loadu_si256(acc), _mm256_loadu_si256(acc + 1), room};

        for (size_t i = 0; i < args->n; i++, dy += args->dy_step, x += args->x_step)
            add_products(&s, load_bytes(dy, dy_unsigned), load_bytes(x, x_unsigned), room);
        widen(&s);
        _mm256_storeu_si256(acc, s.low);
        _mm256_storeu_si256(acc + 1, s.high);
    }
}

static void tap_s8(const nyb_depthwise_tap *args)
{
    if (args->x_unsigned)
        tap_bytes(args, args->dy_unsigned, true);
    else
        tap_bytes(args, args->dy_unsigned, false);
}

const nyb_depthwise_kernel nyb_depthwise_avx2 = {
    .name = "avx2",
    .needs = NYB_CPU_AVX2,
    .max_product = INT16_MAX,
    .pixels_f32 = pixels_f32,
    .pixels_s8 = pixels_s8,
    .tap_f32 = tap_f32,
    .tap_s8 = tap_s8,
};
