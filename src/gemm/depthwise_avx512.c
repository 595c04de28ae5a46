/* Depthwise convolutions on AVX-512: 16 channels of 8 pixels in f32, 32 channels in s8. */
#include <immintrin.h>

#include "gemm/depthwise_kernel.h"

#define PIXELS 8 /* of a step in f32: as many chains hide the latency of an FMA */

/* Which of 16 channels from c on there are. */
static inline __mmask16 lanes_of(size_t channels, size_t c)
{
    return (__mmask16)(channels - c >= 16 ? 0xffff : (1u << (channels - c)) - 1);
}

/* ---- f32 ------------------------------------------------------------------------------------- */

static inline void put(const nyb_depthwise_pixels *args, size_t i, size_t c, __mmask16 lanes,
                       __m512 t)
{
    float *out = args->out + i * args->out_step + c;

    if (args->bias)
        t = _mm512_add_ps(t, _mm512_maskz_loadu_ps(lanes, args->bias + c));
    if (args->add)
        t = _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, out), t);
    _mm512_mask_storeu_ps(out, lanes, t);
}

/* n pixels from pixel i on, a constant where this is inlined. */
static inline __attribute__((always_inline)) void
pixels_step(const nyb_depthwise_pixels *args, size_t i, size_t c, __mmask16 lanes, size_t n)
{
    const float *x = (const float *)args->x + (ptrdiff_t)i * args->x_step + c;
    const float *w = (const float *)args->w + c;
    __m512 acc[PIXELS];

    for (size_t p = 0; p < n; p++)
        acc[p] = _mm512_setzero_ps();
    for (size_t r = 0; r < args->taps_r; r++) {
        const float *from = x + (ptrdiff_t)r * args->x_r, *factor = w + (ptrdiff_t)r * args->w_r;

        for (size_t s = 0; s < args->taps_s; s++, from += args->x_s, factor += args->w_s) {
            const __m512 f = _mm512_maskz_loadu_ps(lanes, factor);

            for (size_t p = 0; p < n; p++)
                acc[p] = _mm512_fmadd_ps(
                    _mm512_maskz_loadu_ps(lanes, from + (ptrdiff_t)p * args->x_step), f, acc[p]);
        }
    }
    for (size_t p = 0; p < n; p++)
        put(args, i + p, c, lanes, acc[p]);
}

static void pixels_f32(const nyb_depthwise_pixels *args)
{
    for (size_t c = 0; c < args->channels; c += 16) {
        const __mmask16 lanes = lanes_of(args->channels, c);
        size_t i = 0;

        for (; i + PIXELS <= args->n; i += PIXELS)
            pixels_step(args, i, c, lanes, PIXELS);
        for (; i < args->n; i++)
            pixels_step(args, i, c, lanes, 1);
    }
}

/* n vectors of 16 channels from c on, a constant where this is inlined; lanes: of the last. */
static inline __attribute__((always_inline)) void tap_step(const nyb_depthwise_tap *args, size_t c,
                                                           __mmask16 lanes, size_t n)
{
    const float *dy = (const float *)args->dy + c, *x = (const float *)args->x + c;
    float *out = (float *)args->acc + c;
    __m512 acc[4];

    for (size_t v = 0; v < n; v++)
        acc[v] = _mm512_maskz_loadu_ps(lanes, out + 16 * v);
    for (size_t i = 0; i < args->n; i++, dy += args->dy_step, x += args->x_step)
        for (size_t v = 0; v < n; v++)
            acc[v] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(lanes, dy + 16 * v),
                                     _mm512_maskz_loadu_ps(lanes, x + 16 * v), acc[v]);
    for (size_t v = 0; v < n; v++)
        _mm512_mask_storeu_ps(out + 16 * v, lanes, acc[v]);
}

static void tap_f32(const nyb_depthwise_tap *args)
{
    size_t c = 0;

    for (; c + 64 <= args->channels; c += 64)
        tap_step(args, c, 0xffff, 4);
    for (; c < args->channels; c += 16)
        tap_step(args, c, lanes_of(args->channels, c), 1);
}

/* ---- s8: products in int16, as many added there as surely fit, then in int32 ------------------
 */

typedef struct sums {
    __m512i part;      /* int16 x 32 */
    __m512i low, high; /* int32: channels 0..15, 16..31 */
    int32_t left;      /* products that part still holds */
} sums;

static inline void widen(sums *s)
{
    s->low = _mm512_add_epi32(s->low, _mm512_cvtepi16_epi32(_mm512_castsi512_si256(s->part)));
    s->high =
        _mm512_add_epi32(s->high, _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(s->part, 1)));
    s->part = _mm512_setzero_si512();
}

static inline void add_products(sums *s, __m512i a, __m512i b, int32_t room)
{
    s->part = _mm512_add_epi16(s->part, _mm512_mullo_epi16(a, b));
    if (--s->left == 0) {
        widen(s);
        s->left = room;
    }
}

/* 32 channels, or 16 where there are no more: memory ends after them. */
static inline __m512i load_bytes(const uint8_t *bytes, bool whole, bool is_unsigned)
{
    const __m256i b = _mm256_maskz_loadu_epi8(whole ? 0xffffffffu : 0xffffu, bytes);

    return is_unsigned ? _mm512_cvtepu8_epi16(b) : _mm512_cvtepi8_epi16(b);
}

static inline __attribute__((always_inline)) void pixels_bytes(const nyb_depthwise_pixels *args,
                                                               bool x_unsigned)
{
    const int32_t room = INT16_MAX / args->max_product;
    const __m512i zero = _mm512_setzero_si512();
    const __m512 scale = _mm512_set1_ps(args->scale);

    for (size_t c = 0; c < args->channels; c += 32) {
        const bool whole = args->channels - c > 16;

        for (size_t i = 0; i < args->n; i++) {
            const uint8_t *x = (const uint8_t *)args->x + (ptrdiff_t)i * args->x_step + c;
            const int16_t *w = (const int16_t *)args->w + c;
            sums s = {zero, zero, zero, room};

            for (size_t r = 0; r < args->taps_r; r++, x += args->x_r, w += args->w_r) {
                const uint8_t *from = x;
                const int16_t *factor = w;

                for (size_t t = 0; t < args->taps_s; t++, from += args->x_s, factor += args->w_s)
                    add_products(&s, load_bytes(from, whole, x_unsigned),
                                 _mm512_maskz_loadu_epi32(whole ? 0xffff : 0xff, factor), room);
            }
            widen(&s);
            put(args, i, c, lanes_of(args->channels, c),
                _mm512_mul_ps(_mm512_cvtepi32_ps(s.low), scale));
            if (whole)
                put(args, i, c + 16, lanes_of(args->channels, c + 16),
                    _mm512_mul_ps(_mm512_cvtepi32_ps(s.high), scale));
        }
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
    const __m512i zero = _mm512_setzero_si512();

    for (size_t c = 0; c < args->channels; c += 32) {
        const bool whole = args->channels - c > 16;
        const __mmask16 second = whole ? 0xffff : 0;
        const uint8_t *dy = (const uint8_t *)args->dy + c, *x = (const uint8_t *)args->x + c;
        int32_t *acc = (int32_t *)args->acc + c;
        sums s = {zero, _mm512_loadu_si512(acc), _mm512_maskz_loadu_epi32(second, acc + 16), room};

        for (size_t i = 0; i < args->n; i++, dy += args->dy_step, x += args->x_step)
            add_products(&s, load_bytes(dy, whole, dy_unsigned), load_bytes(x, whole, x_unsigned),
                         room);
        widen(&s);
        _mm512_storeu_si512(acc, s.low);
        _mm512_mask_storeu_epi32(acc + 16, second, s.high);
    }
}

static void tap_s8(const nyb_depthwise_tap *args)
{
    if (args->x_unsigned)
        tap_bytes(args, args->dy_unsigned, true);
    else
        tap_bytes(args, args->dy_unsigned, false);
}

const nyb_depthwise_kernel nyb_depthwise_avx512 = {
    .name = "avx512",
    .needs = NYB_CPU_AVX512,
    .max_product = INT16_MAX,
    .pixels_f32 = pixels_f32,
    .pixels_s8 = pixels_s8,
    .tap_f32 = tap_f32,
    .tap_s8 = tap_s8,
};
