/* The loops of elem.h in a vocabulary of 16 lanes (vec_*) that the including file defines; it also
 * defines ELEM_RECORD, ELEM_NAME and ELEM_NEEDS. Lanes never meet, so every set of registers that
 * implements the vocabulary gives the same bits. No include guard: each ISA has its own copy. */

#include "base/vec_lanes.h"

/* Rows that a column tile walks before the next 16 columns: their accumulators stay in registers,
 * and memory is still read nearly in order. */
#define TILE_ROWS 16

/* Calls tile(r, j, rows, n) for tiles of at most 16 rows and 16 columns: n is the constant 16, or
 * the columns that are left over. */
#define FOR_TILES(tile) FOR_TILES_OF_ROWS(TILE_ROWS, tile)
#define FOR_TILES_OF_ROWS(height, tile)                                                            \
    for (size_t r = 0; r < rows; r += (height)) {                                                  \
        const size_t m = nyb_min((height), rows - r);                                              \
        size_t j = 0;                                                                              \
        for (; j + 16 <= cols; j += 16)                                                            \
            tile(r, j, m, 16);                                                                     \
        if (j < cols)                                                                              \
            tile(r, j, m, cols - j);                                                               \
    }

/* Lanes of a stored matrix; half is a constant. */
static ALWAYS_INLINE vec load_in(nyb_elem_in x, size_t at, size_t n, bool half)
{
    return half ? load_half(x.bf16 + at, n) : load(x.f32 + at, n);
}

/* The same of a matrix that is read in the order of memory: what comes 4 KB later is asked for. */
static ALWAYS_INLINE vec stream_in(nyb_elem_in x, size_t at, size_t n, bool half)
{
    __builtin_prefetch((const uint8_t *)(half ? (const void *)(x.bf16 + at) : x.f32 + at) + 4096);
    return load_in(x, at, n, half);
}

/* Calls tile with a constant `half` in sight: whether x is bf16. Lower tiles are nearer to the
 * order of memory: 1 row where nothing is kept in registers, 4 where that is little and much is
 * read. */
#define FOR_TILES_OF(height, x, tile)                                                              \
    if ((x).bf16) {                                                                                \
        enum { half = true };                                                                      \
        FOR_TILES_OF_ROWS(height, tile)                                                            \
    } else {                                                                                       \
        enum { half = false };                                                                     \
        FOR_TILES_OF_ROWS(height, tile)                                                            \
    }

/* Also with `half_dy`, which only a half x has beside it. */
#define FOR_TILES_OF_TWO(height, dy, x, tile)                                                      \
    if ((dy).bf16) {                                                                               \
        enum { half = true, half_dy = true };                                                      \
        FOR_TILES_OF_ROWS(height, tile)                                                            \
    } else {                                                                                       \
        enum { half_dy = false };                                                                  \
        FOR_TILES_OF(height, x, tile)                                                              \
    }

/* Lanes that are whole numbers below 256, from and to bytes. */
static ALWAYS_INLINE vec load_bytes(const uint8_t *p, size_t n)
{
    uint8_t some[16] = {0};

    if (n == 16)
        return vec_load_bytes(p);
    memcpy(some, p, n);
    return vec_load_bytes(some);
}

static ALWAYS_INLINE void store_bytes(uint8_t *p, vec v, size_t n)
{
    uint8_t some[16];

    vec_store_bytes(n == 16 ? p : some, v);
    if (n < 16)
        memcpy(p, some, n);
}

static ALWAYS_INLINE void sum_tile(const float *x, size_t rows, size_t ld, size_t n, bool first,
                                   float *sum)
{
    vec s = first ? vec_set(0) : load(sum, n);

    for (size_t r = 0; r < rows; r++)
        s = vec_add(s, load(x + r * ld, n));
    store(sum, s, n);
}

static void column_sums(const float *x, size_t rows, size_t cols, size_t ld, float *sum)
{
#define TILE(r, j, m, n) sum_tile(x + (r)*ld + (j), m, ld, n, (r) == 0, sum + (j))
    FOR_TILES(TILE)
#undef TILE
}

/* half and rounds are constants: whether x is bf16, whether it is rounded to that, and stored. */
static ALWAYS_INLINE void stats_tile(nyb_elem_in x, size_t at, bool half, bool rounds, size_t rows,
                                     size_t ld, size_t n, bool first, uint16_t *stored,
                                     float *shift, float *sum, float *square)
{
    vec t = vec_set(0), s = t, q = t;

    if (first) {
        for (size_t r = 0; r < rows; r++) {
            const vec v = load_in(x, at + r * ld, n, half);
            t = vec_add(t, rounds ? vec_round_bf16(v) : v);
        }
        t = vec_mul(t, vec_set(1.0f / (float)rows));
        store(shift, t, n);
    } else {
        t = load(shift, n);
        s = load(sum, n);
        q = load(square, n);
    }
    for (size_t r = 0; r < rows; r++) {
        vec v = load_in(x, at + r * ld, n, half);
        if (rounds) {
            v = vec_round_bf16(v);
            store_half(stored + at + r * ld, v, n);
        }
        const vec d = vec_sub(v, t);
        s = vec_add(s, d);
        q = vec_add(q, vec_mul(d, d));
    }
    store(sum, s, n);
    store(square, q, n);
}

static void bn_stats(nyb_elem_in x, size_t rows, size_t cols, size_t ld, uint16_t *stored,
                     float *shift, float *sum, float *square)
{
#define TILE(r, j, m, n)                                                                           \
    stats_tile(x, (r)*ld + (j), half, rounds, m, ld, n, (r) == 0, stored, shift + (j), sum + (j),  \
               square + (j))
    if (stored) {
        enum { half = false, rounds = true };
        FOR_TILES(TILE)
    } else {
        enum { rounds = false };
        FOR_TILES_OF(TILE_ROWS, x, TILE)
    }
#undef TILE
}

static ALWAYS_INLINE void apply_tile(nyb_elem_in x, size_t at, bool half, size_t rows, size_t ld,
                                     size_t n, const float *mean, const float *scale,
                                     const float *beta, float *y, size_t ld_y)
{
    const vec m = load(mean, n), a = load(scale, n), b = load(beta, n);

    for (size_t r = 0; r < rows; r++) {
        const vec d = vec_sub(stream_in(x, at + r * ld, n, half), m);
        store(y + r * ld_y, vec_add(vec_mul(d, a), b), n);
    }
}

static void bn_apply(nyb_elem_in x, size_t rows, size_t cols, size_t ld, const float *mean,
                     const float *scale, const float *beta, float *y, size_t ld_y)
{
#define TILE(r, j, m, n)                                                                           \
    apply_tile(x, (r)*ld + (j), half, m, ld, n, mean + (j), scale + (j), beta + (j),               \
               y + (r)*ld_y + (j), ld_y)
    FOR_TILES_OF(1, x, TILE)
#undef TILE
}

/* The mask bits of 16 neighbours: little endian, so that bit i is lane i's. */
static ALWAYS_INLINE unsigned mask_16(const uint8_t *mask)
{
    return mask[0] | (unsigned)mask[1] << 8;
}

static ALWAYS_INLINE void relu_tile(nyb_elem_in x, size_t at, bool half, size_t rows, size_t ld,
                                    const float *mean, const float *scale, const float *beta,
                                    const float *residual, float *y, size_t ld_y, uint8_t *mask)
{
    const vec m = vec_load(mean), a = vec_load(scale), b = vec_load(beta);

    for (size_t r = 0; r < rows; r++) {
        vec v = vec_add(vec_mul(vec_sub(stream_in(x, at + r * ld, 16, half), m), a), b);
        unsigned bits;

        if (residual)
            v = vec_add(v, vec_load(residual + r * ld));
        bits = vec_above_zero(v);
        vec_store(y + r * ld_y, vec_keep(v, bits));
        if (mask) {
            mask[r * ld / 8] = (uint8_t)bits;
            mask[r * ld / 8 + 1] = (uint8_t)(bits >> 8);
        }
    }
}

static void bn_relu(nyb_elem_in x, size_t rows, size_t cols, size_t ld, const float *mean,
                    const float *scale, const float *beta, const float *residual, float *y,
                    size_t ld_y, uint8_t *mask)
{
#define TILE(r, j, m, n)                                                                           \
    relu_tile(x, (r)*ld + (j), half, m, ld, mean + (j), scale + (j), beta + (j),                   \
              residual ? residual + (r)*ld + (j) : NULL, y + (r)*ld_y + (j), ld_y,                 \
              mask ? mask + ((r)*ld + (j)) / 8 : NULL)
    FOR_TILES_OF(1, x, TILE)
#undef TILE
}

/* mask NULL: every dy counts. kept, where it is wanted, has a mask. */
static ALWAYS_INLINE void back_sums_tile(nyb_elem_in dy, bool half_dy, const uint8_t *mask,
                                         nyb_elem_in x, size_t at, bool half, size_t rows,
                                         size_t ld, size_t n, bool first, const float *mean,
                                         float *kept, float *sum_dy, float *sum_dyx)
{
    const vec m = load(mean, n);
    vec s = first ? vec_set(0) : load(sum_dy, n);
    vec p = first ? vec_set(0) : load(sum_dyx, n);

    for (size_t r = 0; r < rows; r++) {
        vec g = load_in(dy, at + r * ld, n, half_dy);
        if (mask)
            g = vec_keep(g, mask_16(mask + r * ld / 8));
        if (kept)
            store(kept + r * ld, g, n);
        const vec d = vec_sub(load_in(x, at + r * ld, n, half), m);
        s = vec_add(s, g);
        p = vec_add(p, vec_mul(g, d));
    }
    store(sum_dy, s, n);
    store(sum_dyx, p, n);
}

static void bn_back_sums(nyb_elem_in dy, nyb_elem_in x, size_t rows, size_t cols, size_t ld,
                         const float *mean, float *sum_dy, float *sum_dyx)
{
#define TILE(r, j, m, n)                                                                           \
    back_sums_tile(dy, half_dy, NULL, x, (r)*ld + (j), half, m, ld, n, (r) == 0, mean + (j), NULL, \
                   sum_dy + (j), sum_dyx + (j))
    FOR_TILES_OF_TWO(4, dy, x, TILE)
#undef TILE
}

static void bn_relu_back_sums(nyb_elem_in dy, const uint8_t *mask, nyb_elem_in x, size_t rows,
                              size_t cols, size_t ld, const float *mean, float *kept, float *sum_dy,
                              float *sum_dyx)
{
#define TILE(r, j, m, n)                                                                           \
    back_sums_tile(dy, half_dy, mask + ((r)*ld + (j)) / 8, x, (r)*ld + (j), half, m, ld, 16,       \
                   (r) == 0, mean + (j), kept ? kept + (r)*ld + (j) : NULL, sum_dy + (j),          \
                   sum_dyx + (j))
    FOR_TILES_OF_TWO(4, dy, x, TILE)
#undef TILE
}

static ALWAYS_INLINE void back_apply_tile(nyb_elem_in dy, bool half_dy, const uint8_t *mask,
                                          nyb_elem_in x, size_t at, bool half, size_t rows,
                                          size_t ld, size_t n, const float *const coef[4],
                                          size_t column, float *dx, size_t ld_dx, bool add)
{
    const vec mean = load(coef[0] + column, n), k1 = load(coef[1] + column, n);
    const vec k2 = load(coef[2] + column, n), scale = load(coef[3] + column, n);

    for (size_t r = 0; r < rows; r++) {
        const vec d = vec_sub(stream_in(x, at + r * ld, n, half), mean);
        vec g = stream_in(dy, at + r * ld, n, half_dy);

        if (mask)
            g = vec_keep(g, mask_16(mask + r * ld / 8));
        g = vec_sub(vec_sub(g, k1), vec_mul(d, k2));
        const vec v = vec_mul(g, scale);
        store(dx + r * ld_dx, add ? vec_add(load(dx + r * ld_dx, n), v) : v, n);
    }
}

static void bn_back_apply(nyb_elem_in dy, nyb_elem_in x, size_t rows, size_t cols, size_t ld,
                          const float *const coef[4], float *dx, size_t ld_dx, bool add)
{
#define TILE(r, j, m, n)                                                                           \
    back_apply_tile(dy, half_dy, NULL, x, (r)*ld + (j), half, m, ld, n, coef, j,                   \
                    dx + (r)*ld_dx + (j), ld_dx, add)
    FOR_TILES_OF_TWO(1, dy, x, TILE)
#undef TILE
}

static void bn_relu_back_apply(nyb_elem_in dy, const uint8_t *mask, nyb_elem_in x, size_t rows,
                               size_t cols, size_t ld, const float *const coef[4], float *dx,
                               size_t ld_dx, bool add)
{
#define TILE(r, j, m, n)                                                                           \
    back_apply_tile(dy, half_dy, mask + ((r)*ld + (j)) / 8, x, (r)*ld + (j), half, m, ld, 16,      \
                    coef, j, dx + (r)*ld_dx + (j), ld_dx, add)
    FOR_TILES_OF_TWO(1, dy, x, TILE)
#undef TILE
}

static ALWAYS_INLINE void relu_16(const float *x, size_t n, float *y, uint8_t *mask)
{
    const vec v = load(x, n);
    const unsigned bits = vec_above_zero(v);

    store(y, vec_keep(v, bits), n);
    if (mask) {
        mask[0] = (uint8_t)bits;
        if (n > 8)
            mask[1] = (uint8_t)(bits >> 8);
    }
}

static void relu(const float *x, size_t n, float *y, uint8_t *mask)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        relu_16(x + i, 16, y + i, mask ? mask + i / 8 : NULL);
    if (i < n)
        relu_16(x + i, n - i, y + i, mask ? mask + i / 8 : NULL);
}

static ALWAYS_INLINE void relu_back_16(const float *dy, const uint8_t *mask, size_t n, float *dx,
                                       bool add)
{
    const unsigned bits = mask[0] | (n > 8 ? (unsigned)mask[1] << 8 : 0);
    const vec v = vec_keep(load(dy, n), bits);

    store(dx, add ? vec_add(load(dx, n), v) : v, n);
}

static void relu_back(const float *dy, const uint8_t *mask, size_t n, float *dx, bool add)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        relu_back_16(dy + i, mask + i / 8, 16, dx + i, add);
    if (i < n)
        relu_back_16(dy + i, mask + i / 8, n - i, dx + i, add);
}

static ALWAYS_INLINE void pool_max_16(const nyb_elem_pixel *pixels, size_t n_pixels, size_t j,
                                      size_t n, float *y, uint8_t *winner)
{
    vec most = load(pixels[0].value + j, n), tap = vec_set(pixels[0].tap);

    for (size_t i = 1; i < n_pixels; i++) {
        const vec v = load(pixels[i].value + j, n);
        const unsigned wins = vec_beats(v, most);

        most = vec_choose(wins, v, most);
        tap = vec_choose(wins, vec_set(pixels[i].tap), tap);
    }
    store(y + j, most, n);
    if (winner)
        store_bytes(winner + j, tap, n);
}

static void pool_max(const nyb_elem_pixel *pixels, size_t n_pixels, size_t n, float *y,
                     uint8_t *winner)
{
    size_t j = 0;

    for (; j + 16 <= n; j += 16)
        pool_max_16(pixels, n_pixels, j, 16, y, winner);
    if (j < n)
        pool_max_16(pixels, n_pixels, j, n - j, y, winner);
}

static ALWAYS_INLINE void pool_max_back_16(const nyb_elem_pixel *pixels, size_t n_pixels, size_t j,
                                           size_t n, float *dx)
{
    vec sum = load(dx + j, n);

    for (size_t i = 0; i < n_pixels; i++) {
        const vec winner = load_bytes(pixels[i].winner + j, n);
        const unsigned won = vec_equal(winner, vec_set(pixels[i].tap));

        sum = vec_add(sum, vec_keep(load(pixels[i].value + j, n), won));
    }
    store(dx + j, sum, n);
}

static void pool_max_back(const nyb_elem_pixel *pixels, size_t n_pixels, size_t n, float *dx)
{
    size_t j = 0;

    for (; j + 16 <= n; j += 16)
        pool_max_back_16(pixels, n_pixels, j, 16, dx);
    if (j < n)
        pool_max_back_16(pixels, n_pixels, j, n - j, dx);
}

static void add(const float *a, const float *b, size_t n, float *y)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        vec_store(y + i, vec_add(vec_load(a + i), vec_load(b + i)));
    if (i < n)
        vec_store_n(y + i, vec_add(vec_load_n(a + i, n - i), vec_load_n(b + i, n - i)), n - i);
}

static ALWAYS_INLINE void sgd_16(const nyb_elem_sgd *sgd, float *w, float *v, const float *g,
                                 size_t n)
{
    const vec m = vec_set(sgd->momentum), weight = load(w, n);
    vec d = load(g, n);

    if (sgd->weight_decay != 0)
        d = vec_fma(vec_set(sgd->weight_decay), weight, d);
    if (sgd->momentum != 0) {
        const vec velocity = vec_fma(m, load(v, n), d);
        store(v, velocity, n);
        d = sgd->nesterov ? vec_fma(m, velocity, d) : velocity;
    }
    store(w, vec_fma(vec_set(-sgd->lr), d, weight), n);
}

static void sgd_step(const nyb_elem_sgd *sgd, float *w, float *v, const float *g, size_t n)
{
    const nyb_elem_sgd s = *sgd;
    const bool has_v = s.momentum != 0;
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        sgd_16(&s, w + i, has_v ? v + i : NULL, g + i, 16);
    if (i < n)
        sgd_16(&s, w + i, has_v ? v + i : NULL, g + i, n - i);
}

extern const nyb_elem_kernel ELEM_RECORD;
const nyb_elem_kernel ELEM_RECORD = {
    .name = ELEM_NAME,
    .needs = ELEM_NEEDS,
    .column_sums = column_sums,
    .bn_stats = bn_stats,
    .bn_apply = bn_apply,
    .bn_back_sums = bn_back_sums,
    .bn_back_apply = bn_back_apply,
    .bn_relu = bn_relu,
    .bn_relu_back_sums = bn_relu_back_sums,
    .bn_relu_back_apply = bn_relu_back_apply,
    .relu = relu,
    .relu_back = relu_back,
    .pool_max = pool_max,
    .pool_max_back = pool_max_back,
    .add = add,
    .sgd = sgd_step,
};
