/* The loops of depthwise_kernel.h in the vocabulary of base/vec_ref.h, base/rng_ref.h and in one of
 * WORDS int16, which the including file brings:
 *
 *     words, words_zero(), words_add_products(sum, a, b)         sum + a * b, WORDS lanes of int16
 *     words_of_bytes(p, n, is_unsigned), words_load(p, n)        n of them, a multiple of 16
 *     ivec, ivec_zero(), ivec_load(p), ivec_store(p, v)          16 lanes of int32
 *     ivec_add_words(v, words, g)                                v + the g-th 16 of the words
 *     vec_of_ivec(v)
 *
 * and PIXELS and CHAINS, vectors that are summed at once so that additions need not wait for each
 * other, DEPTHWISE_RECORD, _NAME and _NEEDS. No include guard: each ISA has its own copy. */
#include "gemm/store_lanes.h"
#include "gemm/tile_unroll.h"

#define GROUPS (WORDS / 16)

/* Lanes from channel c of pixel i on. */
static ALWAYS_INLINE void put(const nyb_depthwise_pixels *args, size_t i, size_t c, vec t,
                              size_t lanes)
{
    void *const out = nyb_store_at(args->out, args->half, i * args->out_step + c);
    uint16_t room[LANES_ROOM];
    const uint16_t *draws = NULL;

    if (args->draws)
        draws = draw_lanes(args->draws, nyb_store_place(args->origin, out), lanes, room);
    finish_lanes(t, args->bias ? args->bias + c : NULL, args->add, args->half, draws, out, lanes);
}

/* ---- f32 ------------------------------------------------------------------------------------- */

/* n pixels from pixel i on; n and lanes are constants where this is inlined, or lanes what is left.
 */
static ALWAYS_INLINE void pixels_step(const nyb_depthwise_pixels *args, size_t i, size_t c,
                                      size_t lanes, size_t n)
{
    const float *x = (const float *)args->x + (ptrdiff_t)i * args->x_step + c;
    const float *w = (const float *)args->w + c;
    vec acc[PIXELS];

    for (size_t p = 0; p < n; p++)
        acc[p] = vec_set(0);
    for (size_t r = 0; r < args->taps_r; r++) {
        const float *from = x + (ptrdiff_t)r * args->x_r, *factor = w + (ptrdiff_t)r * args->w_r;

        for (size_t s = 0; s < args->taps_s; s++, from += args->x_s, factor += args->w_s) {
            const vec f = load(factor, lanes);

            for (size_t p = 0; p < n; p++)
                acc[p] = vec_fma(load(from + (ptrdiff_t)p * args->x_step, lanes), f, acc[p]);
        }
    }
    for (size_t p = 0; p < n; p++)
        put(args, i + p, c, acc[p], lanes);
}

static ALWAYS_INLINE void pixels_lanes(const nyb_depthwise_pixels *args, size_t c, size_t lanes)
{
    size_t i = 0;

    for (; i + PIXELS <= args->n; i += PIXELS)
        pixels_step(args, i, c, lanes, PIXELS);
    if (i + PIXELS / 2 <= args->n) {
        pixels_step(args, i, c, lanes, PIXELS / 2);
        i += PIXELS / 2;
    }
    for (; i < args->n; i++)
        pixels_step(args, i, c, lanes, 1);
}

static void pixels_f32(const nyb_depthwise_pixels *args)
{
    size_t c = 0;

    for (; c + 16 <= args->channels; c += 16)
        pixels_lanes(args, c, 16);
    if (c < args->channels)
        pixels_lanes(args, c, args->channels - c);
}

/* n vectors from channel c on, a constant where this is inlined; lanes: of each, as load. */
static ALWAYS_INLINE void tap_step(const nyb_depthwise_taps *args, size_t t, size_t c, size_t lanes,
                                   size_t n)
{
    const float *dy = (const float *)args->dy + c;
    const float *x = (const float *)args->x + t * args->x_s + c;
    float *out = (float *)args->acc + t * args->acc_step + c;
    vec acc[CHAINS];

    for (size_t v = 0; v < n; v++)
        acc[v] = load(out + 16 * v, lanes);
    for (size_t i = 0; i < args->n; i++, dy += args->dy_step, x += args->x_step)
        for (size_t v = 0; v < n; v++)
            acc[v] = vec_fma(load(dy + 16 * v, lanes), load(x + 16 * v, lanes), acc[v]);
    for (size_t v = 0; v < n; v++)
        store(out + 16 * v, acc[v], lanes);
}

static void taps_f32(const nyb_depthwise_taps *args)
{
    for (size_t t = 0; t < args->taps; t++) {
        size_t c = 0;

        for (; c + 16 * CHAINS <= args->channels; c += 16 * CHAINS)
            tap_step(args, t, c, 16, CHAINS);
        for (; c + 16 <= args->channels; c += 16)
            tap_step(args, t, c, 16, 1);
        if (c < args->channels)
            tap_step(args, t, c, args->channels - c, 1);
    }
}

/* ---- s8: products in int16, as many added there as surely fit, then in int32 ------------------
 */

typedef struct sums {
    words part;
    ivec wide[GROUPS];
    int32_t left; /* products that part still holds */
} sums;

static ALWAYS_INLINE void widen(sums *s)
{
    for (int g = 0; g < GROUPS; g++)
        s->wide[g] = ivec_add_words(s->wide[g], s->part, g);
    s->part = words_zero();
}

static ALWAYS_INLINE void add_products(sums *s, words a, words b, int32_t room)
{
    s->part = words_add_products(s->part, a, b);
    if (--s->left == 0) {
        widen(s);
        s->left = room;
    }
}

/* What memory holds from channel c on: channels are rounded up to 16. */
static inline size_t words_at(size_t channels, size_t c)
{
    return nyb_min(WORDS, nyb_round_up(channels - c, 16));
}

static ALWAYS_INLINE void put_sums(const nyb_depthwise_pixels *args, size_t i, size_t c, size_t g,
                                   const sums *s, size_t lanes)
{
    put(args, i, c + 16 * g, vec_mul(vec_of_ivec(s->wide[g]), vec_set(args->scale)), lanes);
}

/* WORDS channels from c on of all pixels, whose taps are so few that their products fit int16; r, s
 * and slide are constants where this is inlined, so that weights stay in registers. slide: of 3 x 3
 * taps, what a column sees, the one before it sees at the next pixel. */
static ALWAYS_INLINE void window(const nyb_depthwise_pixels *args, bool x_unsigned, size_t c,
                                 size_t r, size_t s, bool slide)
{
    const uint8_t *x = (const uint8_t *)args->x + c;
    words w[9], seen[9];

    NYB_UNROLL
    for (size_t tap = 0; tap < r * s; tap++) {
        w[tap] = words_load((const int16_t *)args->w + c + (ptrdiff_t)(tap / s) * args->w_r +
                                (ptrdiff_t)(tap % s) * args->w_s,
                            WORDS);
        if (slide && tap % s > 0)
            seen[tap] = words_of_bytes(x + (ptrdiff_t)(tap / s) * args->x_r +
                                           (ptrdiff_t)(tap % s - 1) * args->x_s,
                                       WORDS, x_unsigned);
    }
    for (size_t i = 0; i < args->n; i++, x += args->x_step) {
        sums sum = {.part = words_zero()};

        if (slide) {
            NYB_UNROLL
            for (size_t row = 0; row < 3; row++) {
                seen[3 * row] = seen[3 * row + 1];
                seen[3 * row + 1] = seen[3 * row + 2];
                seen[3 * row + 2] = words_of_bytes(x + (ptrdiff_t)row * args->x_r + 2 * args->x_s,
                                                   WORDS, x_unsigned);
            }
        }
        NYB_UNROLL
        for (size_t tap = 0; tap < r * s; tap++) {
            if (!slide)
                seen[tap] = words_of_bytes(x + (ptrdiff_t)(tap / s) * args->x_r +
                                               (ptrdiff_t)(tap % s) * args->x_s,
                                           WORDS, x_unsigned);
            sum.part = words_add_products(sum.part, seen[tap], w[tap]);
        }
        NYB_UNROLL
        for (int g = 0; g < GROUPS; g++) {
            sum.wide[g] = ivec_add_words(ivec_zero(), sum.part, g);
            put_sums(args, i, c, (size_t)g, &sum, 16);
        }
    }
}

/* Whole vectors of channels under a window of 3 x 3, or what an edge or a stride leaves of it;
 * returns how many channels. */
static ALWAYS_INLINE size_t windows(const nyb_depthwise_pixels *args, bool x_unsigned)
{
    const size_t n = args->channels / WORDS * WORDS, r = args->taps_r, s = args->taps_s;
    const bool slides = r == 3 && s == 3 && args->x_step == args->x_s && args->n > 0;

    if (r < 1 || r > 3 || s < 1 || s > 3 || (int32_t)(r * s) > INT16_MAX / args->max_product)
        return 0;
#define WINDOWS(rows, cols, slide)                                                                 \
    if (r == rows && s == cols && slides == (slide))                                               \
        for (size_t c = 0; c < n; c += WORDS)                                                      \
    window(args, x_unsigned, c, rows, cols, slide)
    WINDOWS(3, 3, true);
    WINDOWS(3, 3, false);
    WINDOWS(3, 2, false);
    WINDOWS(3, 1, false);
    WINDOWS(2, 3, false);
    WINDOWS(2, 2, false);
    WINDOWS(2, 1, false);
    WINDOWS(1, 3, false);
    WINDOWS(1, 2, false);
    WINDOWS(1, 1, false);
#undef WINDOWS
    return n;
}

static ALWAYS_INLINE void pixels_bytes(const nyb_depthwise_pixels *args, bool x_unsigned)
{
    const int32_t room = INT16_MAX / args->max_product;

    for (size_t c = windows(args, x_unsigned); c < args->channels; c += WORDS) {
        const size_t n = words_at(args->channels, c);

        for (size_t i = 0; i < args->n; i++) {
            const uint8_t *x = (const uint8_t *)args->x + (ptrdiff_t)i * args->x_step + c;
            const int16_t *w = (const int16_t *)args->w + c;
            sums s = {.part = words_zero(), .left = room};

            for (int g = 0; g < GROUPS; g++)
                s.wide[g] = ivec_zero();
            for (size_t r = 0; r < args->taps_r; r++, x += args->x_r, w += args->w_r) {
                const uint8_t *from = x;
                const int16_t *factor = w;

                for (size_t t = 0; t < args->taps_s; t++, from += args->x_s, factor += args->w_s)
                    add_products(&s, words_of_bytes(from, n, x_unsigned), words_load(factor, n),
                                 room);
            }
            widen(&s);
            for (size_t g = 0; g < GROUPS && c + 16 * g < args->channels; g++)
                put_sums(args, i, c, g, &s, nyb_min(16, args->channels - c - 16 * g));
        }
    }
}

static void pixels_s8(const nyb_depthwise_pixels *given)
{
    const nyb_depthwise_pixels args = *given; /* outputs could overlap the caller's */

    if (args.x_unsigned)
        pixels_bytes(&args, true);
    else
        pixels_bytes(&args, false);
}

#define TAPS 3 /* that share what they read */

/* What the bytes of a kind of operands become, constants where this is inlined; slide: what a tap
 * sees, the one before it sees at the next pixel. */
typedef struct taps_kind {
    bool dy_unsigned, x_unsigned, slide;
} taps_kind;

/* n of WORDS channels from c on under n_taps taps from t on; n_taps and kind are constants where
 * this is inlined, and n where it is WORDS. */
static ALWAYS_INLINE void taps_words(const nyb_depthwise_taps *args, size_t t, size_t c, size_t n,
                                     size_t n_taps, taps_kind kind)
{
    const size_t room = (size_t)(INT16_MAX / args->max_product), x_s = args->x_s;
    const uint8_t *dy = (const uint8_t *)args->dy + c;
    const uint8_t *x = (const uint8_t *)args->x + t * x_s + c;
    int32_t *acc = (int32_t *)args->acc + t * args->acc_step + c;
    sums s[TAPS];
    words seen[TAPS];

    NYB_UNROLL
    for (size_t k = 0; k < n_taps; k++) {
        s[k].part = words_zero();
        for (size_t g = 0; g < GROUPS; g++)
            s[k].wide[g] = 16 * g < n ? ivec_load(acc + k * args->acc_step + 16 * g) : ivec_zero();
        if (kind.slide && k + 1 < n_taps)
            seen[k + 1] = words_of_bytes(x + k * x_s, n, kind.x_unsigned);
    }
    for (size_t left = args->n, now; left > 0; left -= now) {
        now = nyb_min(left, room);
        for (size_t i = 0; i < now; i++, dy += args->dy_step, x += args->x_step) {
            const words d = words_of_bytes(dy, n, kind.dy_unsigned);

            NYB_UNROLL
            for (size_t k = 0; k < n_taps; k++) {
                seen[k] = kind.slide && k + 1 < n_taps
                              ? seen[k + 1]
                              : words_of_bytes(x + k * x_s, n, kind.x_unsigned);
                s[k].part = words_add_products(s[k].part, d, seen[k]);
            }
        }
        NYB_UNROLL
        for (size_t k = 0; k < n_taps; k++)
            widen(&s[k]);
    }
    NYB_UNROLL
    for (size_t k = 0; k < n_taps; k++)
        for (size_t g = 0; 16 * g < n; g++)
            ivec_store(acc + k * args->acc_step + 16 * g, s[k].wide[g]);
}

static ALWAYS_INLINE void taps_channels(const nyb_depthwise_taps *args, size_t t, size_t n_taps,
                                        taps_kind kind)
{
    size_t c = 0;

    for (; c + WORDS <= args->channels; c += WORDS)
        taps_words(args, t, c, WORDS, n_taps, kind);
    if (c < args->channels)
        taps_words(args, t, c, words_at(args->channels, c), n_taps, kind);
}

static ALWAYS_INLINE void taps_bytes(const nyb_depthwise_taps *args, taps_kind kind)
{
    size_t t = 0;

    for (; t + TAPS <= args->taps; t += TAPS)
        taps_channels(args, t, TAPS, kind);
    if (t + 2 == args->taps)
        taps_channels(args, t, 2, kind);
    else if (t + 1 == args->taps)
        taps_channels(args, t, 1, kind);
}

static void taps_s8(const nyb_depthwise_taps *args)
{
    const bool slide = args->x_step == args->x_s;

    if (args->dy_unsigned)
        taps_bytes(args, (taps_kind){true, args->x_unsigned, false});
    else if (args->x_unsigned && slide)
        taps_bytes(args, (taps_kind){false, true, true});
    else if (args->x_unsigned)
        taps_bytes(args, (taps_kind){false, true, false});
    else if (slide)
        taps_bytes(args, (taps_kind){false, false, true});
    else
        taps_bytes(args, (taps_kind){false, false, false});
}

const nyb_depthwise_kernel DEPTHWISE_RECORD = {
    .name = DEPTHWISE_NAME,
    .needs = DEPTHWISE_NEEDS,
    .max_product = INT16_MAX,
    .pixels_f32 = pixels_f32,
    .pixels_s8 = pixels_s8,
    .taps_f32 = taps_f32,
    .taps_s8 = taps_s8,
};
