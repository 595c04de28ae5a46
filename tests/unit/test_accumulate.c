/* Accumulators against exact integers of 128 bits, in products of every kind, and as words. */
#include <fenv.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "contexts.h"
#include "draw.h"
#include "gemm/conv_impl.h"
#include "quant/round.h"

/* ---- the accumulators -------------------------------------------------------------------------
 */

#define FLOAT(word, e, m, b, sub, away, top)                                                       \
    {                                                                                              \
        .name = word, .grid = NYB_GRID_FLOAT, .bits = 16, .is_signed = true, .unit = 1,            \
        .max = (top),                                                                              \
        .fp = {.exp_bits = (e),                                                                    \
               .man_bits = (m),                                                                    \
               .bias = (b),                                                                        \
               .subnormals = (sub),                                                                \
               .ties_away = (away)},                                                               \
    }

/* Written out here, so that this test does not depend on how the list of formats grows. */
static const nyb_format accumulators[] = {
    FLOAT("e6m9", 6, 9, 31, true, false, 0x1.ff8p32f),
    FLOAT("fp16", 5, 10, 15, true, false, 65504),
    FLOAT("bf16", 8, 7, 127, true, false, 0x1.fep127f),
    FLOAT("dlfloat16", 6, 9, 31, false, true, 8573157376),
    FLOAT("e5m2dl15", 5, 2, 15, false, false, 98304),
    FLOAT("e5m2", 5, 2, 15, true, false, 57344),
    FLOAT("e4m3", 4, 3, 7, true, false, 448),
    FLOAT("e8m21", 8, 21, 127, true, false, 0x1.fffff8p127f),
    FLOAT("e7m21", 7, 21, 63, true, false, 0x1.fffff8p63f),
    {.name = "int8", .grid = NYB_GRID_INT, .is_signed = true, .unit = 1, .max = 127},
    {.name = "int16", .grid = NYB_GRID_INT, .is_signed = true, .unit = 1, .max = 32767},
};
#define N_ACCUMULATORS (sizeof accumulators / sizeof *accumulators)

/* ---- the oracle: integers in units of 2^-80 ---------------------------------------------------
 */

__extension__ typedef __int128 wide;
#define UNIT 80

static wide wide_of(double x, int unit)
{
    const double scaled = ldexp(x, unit);

    assert_true(scaled == floor(scaled) && fabs(scaled) < 0x1p120);
    return (wide)scaled;
}

/* v to `bits` significant ones, none of them below 2^last. */
static wide round_wide(wide v, int bits, int last, bool away)
{
    wide size = v < 0 ? -v : v;
    int n = 0, drop;

    for (wide u = size; u; u >>= 1)
        n++;
    drop = n - bits;
    if (drop < last + UNIT)
        drop = last + UNIT;
    if (drop <= 0)
        return v;
    const wide step = (wide)1 << drop, rest = size % step;
    size -= rest;
    if (2 * rest > step || (2 * rest == step && (away || size / step % 2)))
        size += step;
    return v < 0 ? -size : size;
}

static wide round_f32(wide v)
{
    return round_wide(v, 24, -1000, false);
}

static wide clamp(const nyb_format *f, wide v)
{
    const wide max = f->max < 0x1p40f ? wide_of(f->max, UNIT) : (wide)1 << 125;

    return v > max ? max : v < -max ? -max : v;
}

/* v to a neighbour of man_bits: with r, the top n_random of z as a fraction, added, and cut off.
 * Below 2^emin, where there are subnormals, v first loses what is below 2^(emin - 23). */
static wide draw_sum(const nyb_accum *accum, wide v, uint32_t z)
{
    const nyb_format *f = accum->format;
    const int emin = f->fp.subnormals ? 1 - f->fp.bias : -f->fp.bias;
    const int n_random = accum->random_bits ? accum->random_bits : 23 - f->fp.man_bits;
    const wide r = z >> (32 - n_random);
    wide size, below = (wide)1 << 119;
    int top = 119;

    v = f->fp.subnormals ? round_wide(v, 1000, emin - 23, false) : v;
    size = v < 0 ? -v : v;
    for (; top > (f->fp.subnormals ? emin + UNIT : 0) && below > size; top--)
        below /= 2;
    const int last = top - f->fp.man_bits; /* the last bit that is kept, in units */
    if (last <= 0)
        return clamp(f, v);
    size += last >= n_random ? r << (last - n_random) : r >> (n_random - last);
    size -= size % ((wide)1 << last);
    if (!f->fp.subnormals && size <= (wide)1 << (UNIT - f->fp.bias))
        return 0;
    return clamp(f, v < 0 ? -size : size);
}

/* What an accumulator makes of a sum that f32 has rounded; z: random bits, if it draws. */
static wide round_sum(const nyb_accum *accum, wide v, bool is_total, uint32_t z)
{
    const nyb_format *f = accum->format;

    if (accum->rounding == NYB_ROUND_STOCHASTIC)
        return draw_sum(accum, clamp(f, v), z);
    if (f->grid == NYB_GRID_INT)
        return is_total ? v : clamp(f, v);
    if (f->fp.subnormals)
        return clamp(
            f, round_wide(v, f->fp.man_bits + 1, 1 - f->fp.bias - f->fp.man_bits, f->fp.ties_away));
    if (!f->fp.ties_away) {
        const wide least = ((wide)1 << f->fp.man_bits | 1) << (UNIT - f->fp.bias - f->fp.man_bits);
        const wide size = v < 0 ? -v : v;
        if (size < least)
            return 2 * size <= least ? 0 : v < 0 ? -least : least;
    }
    /* DLFloat16: the code of 2^-bias means 0. */
    v = round_wide(v, f->fp.man_bits + 1, -1000, f->fp.ties_away);
    return (v < 0 ? -v : v) <= (wide)1 << (UNIT - f->fp.bias) ? 0 : clamp(f, v);
}

/* Marsaglia's xorshift with shifts 13, 17, 5, as a machine of 32 bits has it. */
static uint32_t next(uint32_t *z)
{
    *z = *z ^ (uint32_t)((uint64_t)*z << 13);
    *z = *z ^ (*z / 131072);
    *z = *z ^ (uint32_t)((uint64_t)*z << 5);
    return *z;
}

/* Products k = 0, step, ..: a and b are multiples of 2^-40. */
static float exact_dot(const nyb_accum *accum, size_t n, const float *a, const float *b,
                       size_t step, uint32_t z)
{
    const size_t chunk = (size_t)accum->chunk;
    wide s = 0, tot = 0;

    for (size_t k = 0; k < n; k++) {
        const wide p = round_f32(wide_of(a[k], UNIT / 2) * wide_of(b[k * step], UNIT / 2));
        s = round_sum(accum, round_f32(s + p), false, next(&z));
        if ((chunk && (k + 1) % chunk == 0) || k + 1 == n) {
            tot = round_sum(accum, round_f32(tot + s), true, next(&z));
            s = 0;
        }
    }
    return (float)ldexp((double)tot, -UNIT);
}

/* ---- operands ---------------------------------------------------------------------------------
 */

/* How values are drawn: significant bits, exponents from lo to hi. */
typedef struct kind {
    unsigned bits;
    int lo, hi;
} kind;

static const kind kinds[] = {
    {12, -6, 2},    {24, -8, 2},   {3, -4, 4},   {1, -3, 3},  {12, 10, 16},
    {12, -20, -14}, {24, -17, 16}, {12, -26, 5}, {3, -9, -6},
};
#define N_KINDS (sizeof kinds / sizeof *kinds)

static float random_value(const kind *kd)
{
    const uint32_t mantissa = 1u << (kd->bits - 1) | (draw() & ((1u << (kd->bits - 1)) - 1));
    const int exponent = kd->lo + (int)(draw() % (unsigned)(kd->hi - kd->lo + 1));
    const float x = ldexpf((float)mantissa, exponent - (int)kd->bits + 1);

    return draw() % 16 == 0 ? 0.0f : draw() % 2 ? x : -x;
}

static void fill(const nyb_format *f, const kind *kd, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = f->grid == NYB_GRID_INT ? (float)(int)(draw() % 31) - 15.0f : random_value(kd);
}

/* ---- one sum, and 32 at a time ----------------------------------------------------------------
 */

#define MAX_K    320
#define MAX_ROWS 19

typedef struct sums {
    float a[MAX_ROWS * MAX_K], b[MAX_K * NYB_ACCUM_COLS];
    float want[MAX_ROWS * NYB_ACCUM_COLS], tot[MAX_ROWS * NYB_ACCUM_COLS];
    float s[MAX_ROWS * NYB_ACCUM_COLS];
    uint32_t z[MAX_ROWS * NYB_ACCUM_COLS], start[MAX_ROWS * NYB_ACCUM_COLS];
    size_t k, rows, chunk;
    bool fused, free, normal;
} sums;

static uint32_t cpu(void)
{
    uint32_t mask;

    assert_int_equal(nyb_cpu_parse(NULL, &mask, NULL), NYB_OK);
    return mask;
}

/* In two calls, the second of them in runs. */
static void run_kernel(const nyb_accum_kernel *kernel, const nyb_accum_grid *grid, sums *c,
                       bool narrow)
{
    const uint32_t cut = (uint32_t)(draw() % (c->k + 1)), rest = (uint32_t)c->k - cut;
    const uint32_t run_off[3] = {0, cut, cut + rest / 3};
    const uint32_t run_len[3] = {cut, rest / 3, rest - rest / 3};
    nyb_accum_args args = {
        .grid = grid,
        .chunk = c->chunk ? c->chunk : SIZE_MAX,
        .last = cut == c->k,
        .fused = c->fused,
        .free = c->free,
        .normal = c->normal,
        .narrow = narrow,
        .rows = c->rows,
        .a = c->a,
        .lda = MAX_K,
        .a_step = 1,
        .n_runs = 1,
        .run_off = run_off,
        .run_len = run_len,
        .b = c->b,
        .s = c->s,
        .tot = c->tot,
        .z = c->z,
    };

    memcpy(c->z, c->start, sizeof c->z);
    memset(c->s, 0, sizeof c->s);
    memset(c->tot, 0, sizeof c->tot);
    kernel->run(&args);
    if (args.last)
        return;
    args.at = cut % args.chunk;
    args.last = true;
    args.n_runs = 2;
    args.run_off++;
    args.run_len++;
    args.b += cut * NYB_ACCUM_COLS;
    kernel->run(&args);
}

static void check_kernels(const nyb_accum *accum, const kind *kd, sums *c)
{
    const nyb_format *f = accum->format;
    nyb_accum_grid grid;

    const double largest = f->grid == NYB_GRID_INT ? 225 : ldexp(1, 2 * kd->hi + 2);
    const double unit = ldexp(1, 2 * (kd->lo - (int)kd->bits + 1));

    nyb_accum_grid_init(&grid, accum);
    for (const nyb_accum_kernel *const *kernel = nyb_accum_kernels; *kernel; kernel++) {
        if ((*kernel)->needs & ~cpu())
            continue;
        for (int i = 0; i < 16; i++) {
            const bool narrow = i & 4;
            c->fused = i & 1;
            c->free = i & 2;
            c->normal = i & 8;
            if ((c->fused && (!grid.fuses || kd->bits > 12)) ||
                (c->free && !nyb_accum_is_free(&grid, c->chunk, c->k, largest)) ||
                (c->normal && !(c->free && nyb_accum_is_normal(&grid, unit))))
                continue;
            run_kernel(*kernel, &grid, c, narrow);
            for (size_t m = 0; m < c->rows; m++)
                assert_memory_equal(c->tot + m * NYB_ACCUM_COLS, c->want + m * NYB_ACCUM_COLS,
                                    (narrow ? 16 : 32) * sizeof(float));
        }
    }
}

/* Ten thousand of them. */
static void check_dots(const nyb_format *f, nyb_rounding rounding)
{
    static const size_t chunks[] = {0, 1, 2, 7, 16, 64, 64, 100, 1000};
    static sums c;
    nyb_accum accum = {.format = f, .rounding = rounding};

    for (size_t n = 0; n < 10000; n += c.rows * NYB_ACCUM_COLS) {
        const kind *kd = &kinds[draw() % N_KINDS];
        c.k = pick(1, draw() % 4 ? 80 : MAX_K);
        c.rows = pick(1, draw() % 4 ? 3 : MAX_ROWS);
        c.chunk = chunks[draw() % (sizeof chunks / sizeof *chunks)];
        accum.chunk = (int)c.chunk;
        if (nyb_accum_draws(&accum) && draw() % 2)
            accum.random_bits = (int)pick(1, 23 - (size_t)f->fp.man_bits);
        fill(f, kd, c.a, c.rows * MAX_K);
        fill(f, kd, c.b, c.k * NYB_ACCUM_COLS);
        for (size_t m = 0; m < c.rows; m++) {
            for (size_t j = 0; j < NYB_ACCUM_COLS; j++) {
                const size_t i = m * NYB_ACCUM_COLS + j;
                float column[MAX_K];
                for (size_t k = 0; k < c.k; k++)
                    column[k] = c.b[k * NYB_ACCUM_COLS + j];
                c.start[i] = draw() | 1u << draw() % 32;
                c.want[i] = exact_dot(&accum, c.k, c.a + m * MAX_K, column, 1, c.start[i]);
                const float got =
                    nyb_accum_dot(&accum, c.a + m * MAX_K, column, c.k, c.start[i], NULL);
                assert_int_equal(nyb_bits_of(got), nyb_bits_of(c.want[i]));
            }
        }
        check_kernels(&accum, kd, &c);
    }
}

static void dots_equal_exact_integers(void **state)
{
    (void)state;
    const uint32_t former = nyb_cpu_fp_enter();
    for (size_t i = 0; i < N_ACCUMULATORS; i++) {
        seed = 77 + i;
        check_dots(&accumulators[i], NYB_ROUND_NEAREST);
        if (accumulators[i].grid == NYB_GRID_FLOAT)
            check_dots(&accumulators[i], NYB_ROUND_STOCHASTIC);
    }
    nyb_cpu_fp_restore(former);
}

/* ---- single roundings -------------------------------------------------------------------------
 */

static const nyb_format *accumulator(const char *name)
{
    for (size_t i = 0; i < N_ACCUMULATORS; i++)
        if (strcmp(accumulators[i].name, name) == 0)
            return &accumulators[i];
    fail_msg("no accumulator %s", name);
    return NULL;
}

static void known_values_round_as_published(void **state)
{
    /* NUMERICS 3.3 (DLFloat16), IEEE 754 (fp16, bf16), and the grid of e6m9. */
    static const struct {
        const char *name;
        float x, want;
    } known[] = {
        {"dlfloat16", 0x1p-31f, 0},
        {"dlfloat16", 0x1.004p-31f, 0x1.008p-31f}, /* 1 + 2^-10: a tie, away */
        {"dlfloat16", 0x1.008p-31f, 0x1.008p-31f},
        {"dlfloat16", 8573157376, 8573157376},
        {"dlfloat16", 8577351168, 8573157376},
        {"dlfloat16", 8577351680, 8573157376}, /* saturates where the encoder overflows */
        {"dlfloat16", 0x1.004p0f, 0x1.008p0f},
        {"dlfloat16", 0x1.00cp0f, 0x1.01p0f},
        {"dlfloat16", 0x1.003ffep0f, 1},
        {"dlfloat16", -0.0f, 0},
        {"e5m2dl15", 0x1.4p-16f, 0}, /* a half of the least value: a tie, to even */
        {"e5m2dl15", -0x1.400002p-16f, -0x1.4p-15f},
        {"e5m2dl15", 0x1.2p-15f, 0x1.4p-15f},
        {"fp16", 65519, 65504},
        {"fp16", 1e30f, 65504},
        {"fp16", -INFINITY, -65504},
        {"fp16", 0x1.002p0f, 1}, /* ties to even */
        {"fp16", 0x1.006p0f, 0x1.008p0f},
        {"fp16", 0x1p-25f, 0},
        {"fp16", 0x1.000002p-25f, 0x1p-24f},
        {"fp16", -0x1.8p-24f, -0x1p-23f},
        {"bf16", 0x1.01p0f, 1},
        {"bf16", 0x1.03p0f, 0x1.04p0f},
        {"bf16", 0x1.ffp127f, 0x1.fep127f},
        {"e6m9", 0x1.ff8p32f, 0x1.ff8p32f},
        {"e6m9", 0x1p33f, 0x1.ff8p32f},
        {"e6m9", 0x1p-39f, 0x1p-39f},
        {"e6m9", 0x1p-40f, 0},
        {"e6m9", 0x1.8p-39f, 0x1p-38f},
        {"e6m9", 512.5f, 512},
        {"e6m9", 513.5f, 514},
        {"int8", -128, -127},
        {"int8", 126, 126},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const float y = nyb_accum_round(accumulator(known[i].name), known[i].x);
        assert_int_equal(nyb_bits_of(y), nyb_bits_of(known[i].want));
    }
    for (size_t i = 0; i < N_ACCUMULATORS; i++)
        assert_true(isnan(nyb_accum_round(&accumulators[i], NAN)));
}

/* Saturating to nearest is defined twice in the library: encoders, and sums. */
static void check_as_encoder(const nyb_format *f)
{
    const nyb_accum accum = {.format = f};
    float x[4096], y[4096];

    if (nyb_accum_check(&accum, NULL) != NYB_OK || nyb_accum_is_exact(&accum))
        return;
    for (size_t i = 0; i < 4096; i++)
        x[i] = i % 2 ? nyb_float_of(draw() * 2u & 0xfff80000) /* ties, too */
                     : ldexpf((float)(int32_t)draw(), (int)(draw() % 60) - 70);
    for (size_t i = 0; i < 4096; i++)
        if (isnan(x[i]))
            x[i] = INFINITY;
    nyb_round_ref.round(f, NYB_ROUND_NEAREST, x, NULL, 4096, y);
    for (size_t i = 0; i < 4096; i++) {
        /* A clamped sum need not be an integer; a zero has no sign. */
        const float sum = nyb_accum_round(f, f->grid == NYB_GRID_INT ? rintf(x[i]) : x[i]);
        if (sum != y[i])
            fail_msg("%s: %a becomes %a, the encoder says %a", f->name, (double)x[i], (double)sum,
                     (double)y[i]);
    }
}

static void sums_round_as_encoders_do(void **state)
{
    static const char *const generic[] = {"e6m9", "e5m7", "e4m10b3", "e7m6", "e8m9", "e3m12"};

    (void)state;
    const uint32_t former = nyb_cpu_fp_enter();
    seed = 11;
    for (size_t i = 0; i < nyb_format_count(); i++)
        check_as_encoder(nyb_format_at(i));
    for (size_t i = 0; i < sizeof generic / sizeof *generic; i++) {
        const nyb_format *f;
        assert_int_equal(nyb_format_parse(generic[i], &f, NULL), NYB_OK);
        check_as_encoder(f);
    }
    nyb_cpu_fp_restore(former);
}

/* ---- whole products ---------------------------------------------------------------------------
 */

typedef struct problem {
    nyb_product product;
    nyb_conv_shape s;
    const char *a, *b;
    nyb_accum accum;
    size_t n_samples;
    bool bias, add;
} problem;

typedef struct operand {
    nyb_packed packed;
    float *values; /* what the engine multiplies: [rows][cols] */
    nyb_operand arg;
} operand;

static operand make_operand(const char *name, bool units, size_t rows, size_t cols)
{
    const nyb_format *f = nyb_format_find(name);
    operand o = {
        .packed = {.format = f, .rows = rows, .cols = cols, .pitch = nyb_packed_pitch(cols)}};

    assert_non_null(f);
    o.values = nyb_alloc(rows * cols * sizeof(float));
    o.packed.codes = nyb_alloc(f->grid == NYB_GRID_REAL ? 1 : nyb_packed_bytes(f, rows, cols));
    assert_non_null(o.values);
    assert_non_null(o.packed.codes);
    o.packed.scale = 0.37f;
    if (f->grid == NYB_GRID_REAL) {
        const kind *kd = &kinds[draw() % N_KINDS];
        for (size_t i = 0; i < rows * cols; i++)
            o.values[i] = random_value(kd);
        o.arg.real = o.values;
        return o;
    }
    for (size_t row = 0; row < rows; row++) {
        for (size_t col = 0; col < cols; col++) {
            const unsigned code = draw() % f->n_codes;
            nyb_packed_set(&o.packed, row, col, code);
            o.values[row * cols + col] = units ? (float)f->units[code] : nyb_format_decode(f, code);
        }
    }
    for (size_t row = 0; f->multiples && row < rows; row++) {
        uint8_t *factor = nyb_packed_factors(&o.packed) + row * o.packed.pitch / NYB_PITCH;

        for (size_t col = 0; col < cols; col++) {
            if (col % NYB_PITCH == 0)
                factor[col / NYB_PITCH] = (uint8_t)pick(1, f->multiples);
            o.values[row * cols + col] *= (float)factor[col / NYB_PITCH];
        }
    }
    return o;
}

static void free_operand(operand *o)
{
    nyb_free(o->packed.codes);
    nyb_free(o->values);
}

/* The factors of output `out` in the order of k, zeros where a tap falls beside the image. */
static size_t factors(const problem *p, const float *a, const float *b, size_t out, float *fa,
                      float *fb)
{
    const nyb_conv_shape *s = &p->s;
    size_t k = 0;

    if (p->product == NYB_PRODUCT_DW) {
        const size_t c = out % s->c, ss = out / s->c % s->s, r = out / s->c / s->s % s->r;
        const size_t o = out / s->c / s->s / s->r;
        for (size_t n = 0; n < s->n; n++)
            for (size_t oh = 0; oh < s->oh; oh++)
                for (size_t ow = 0; ow < s->ow; ow++, k++) {
                    const size_t h = oh * s->stride + r - s->pad, w = ow * s->stride + ss - s->pad;
                    fa[k] = a[((n * s->oh + oh) * s->ow + ow) * s->o + o];
                    fb[k] = h < s->h && w < s->w ? b[((n * s->h + h) * s->w + w) * s->c + c] : 0;
                }
        return k;
    }
    const bool dx = p->product == NYB_PRODUCT_DX;
    const size_t n_ch = dx ? s->c : s->o, width = dx ? s->w : s->ow, height = dx ? s->h : s->oh;
    const size_t ch = out % n_ch, x = out / n_ch % width, y = out / n_ch / width % height;
    const size_t n = out / n_ch / width / height;
    for (size_t r = 0; r < s->r; r++) {
        for (size_t ss = 0; ss < s->s; ss++) {
            if (dx && ((y + s->pad + s->stride * s->r - r) % s->stride != 0 ||
                       (x + s->pad + s->stride * s->s - ss) % s->stride != 0))
                continue;
            for (size_t i = 0; i < (dx ? s->o : s->c); i++, k++) {
                if (dx) {
                    const bool hit = y + s->pad >= r && x + s->pad >= ss &&
                                     (y + s->pad - r) / s->stride < s->oh &&
                                     (x + s->pad - ss) / s->stride < s->ow;
                    const size_t oh = (y + s->pad - r) / s->stride;
                    const size_t ow = (x + s->pad - ss) / s->stride;
                    fa[k] = hit ? a[((n * s->oh + oh) * s->ow + ow) * s->o + i] : 0;
                    fb[k] = b[((i * s->r + r) * s->s + ss) * s->c + ch];
                } else {
                    const size_t h = y * s->stride + r - s->pad, w = x * s->stride + ss - s->pad;
                    fa[k] = h < s->h && w < s->w ? a[((n * s->h + h) * s->w + w) * s->c + i] : 0;
                    fb[k] = b[((ch * s->r + r) * s->s + ss) * s->c + i];
                }
            }
        }
    }
    return k;
}

static float scale_of(const operand *o, bool units)
{
    return o->arg.real ? 1.0f : units ? o->packed.scale * o->packed.format->unit : o->packed.scale;
}

static void expect(const problem *p, const operand *a, const operand *b, const float *bias,
                   const nyb_stream *stream, float *out, size_t n_out)
{
    const bool units = p->accum.format->grid == NYB_GRID_INT;
    const size_t most =
        nyb_max(p->s.n * p->s.oh * p->s.ow, p->s.r * p->s.s * nyb_max(p->s.c, p->s.o));
    float *fa = nyb_alloc(most * sizeof *fa), *fb = nyb_alloc(most * sizeof *fb);
    const float scale = scale_of(&a[0], units) * scale_of(b, units);

    for (size_t i = 0; i < n_out; i++) {
        float t = 0;
        for (size_t j = 0; j < p->n_samples; j++) {
            const size_t k = factors(p, a[j].values, b->values, i, fa, fb);
            nyb_stream of_sample = *stream;
            of_sample.sample = (uint8_t)j;
            const uint32_t z = nyb_accum_start(nyb_accum_key_of(&of_sample), i);
            t = t + nyb_accum_dot(&p->accum, fa, fb, k, z, NULL);
        }
        t = t * scale;
        if (p->n_samples > 1)
            t = t * (1.0f / (float)p->n_samples);
        if (p->bias)
            t = t + bias[i % p->s.o];
        out[i] = p->add ? out[i] + t : t;
    }
    nyb_free(fa);
    nyb_free(fb);
}

static void check_problem(problem *p)
{
    assert_int_equal(nyb_conv_shape_check(&p->s, NULL), NYB_OK);
    const nyb_conv_shape *s = &p->s;
    const size_t x = s->n * s->h * s->w, y = s->n * s->oh * s->ow, w = s->o * s->r * s->s;
    const bool fwd = p->product == NYB_PRODUCT_FWD, dw = p->product == NYB_PRODUCT_DW;
    const bool units = p->accum.format->grid == NYB_GRID_INT;
    const size_t n_out = fwd ? y * s->o : (dw ? w : x) * s->c;
    float *want = nyb_alloc(n_out * sizeof *want), *got = nyb_alloc(n_out * sizeof *got);
    float bias[100], *former = nyb_alloc(n_out * sizeof *former);
    const nyb_stream stream = {.seed = seed, .step = 7, .role = nyb_conv_sum_role(p->product)};
    operand a[3], b = make_operand(p->b, units, dw ? x : w, s->c);
    nyb_operand args[3];

    for (size_t i = 0; i < p->n_samples; i++) {
        a[i] = make_operand(p->a, units, fwd ? x : y, fwd ? s->c : s->o);
        if (!a[i].arg.real)
            a[i].arg.packed = &a[i].packed;
        args[i] = a[i].arg;
    }
    if (!b.arg.real)
        b.arg.packed = &b.packed;
    for (size_t i = 0; i < 100; i++)
        bias[i] = random_value(&kinds[0]);
    for (size_t i = 0; i < n_out; i++)
        want[i] = former[i] = random_value(&kinds[0]);
    const uint32_t fp = nyb_cpu_fp_enter();
    expect(p, a, &b, bias, &stream, want, n_out);
    for (size_t level = 0; level < LEVELS; level++) {
        for (size_t t = 0; t < THREADS && contexts[level][t]; t++) {
            nyb_conv *conv;
            assert_int_equal(nyb_conv_create(contexts[level][t], p->product, s, a[0].packed.format,
                                             b.packed.format, p->n_samples, &p->accum, &conv, NULL),
                             NYB_OK);
            assert_string_equal(nyb_conv_engine(conv), "accumulate");
            void *scratch = nyb_alloc(nyb_conv_scratch_bytes(conv));
            assert_non_null(scratch);
            memset(scratch, 0xa5, nyb_conv_scratch_bytes(conv));
            memcpy(got, former, n_out * sizeof *got);
            nyb_conv_run(conv, contexts[level][t], args, &b.arg, p->bias ? bias : NULL, p->add,
                         &stream, got, scratch);
            assert_memory_equal(got, want, n_out * sizeof *got);
            nyb_free(scratch);
            nyb_conv_destroy(&conv);
        }
    }
    nyb_cpu_fp_restore(fp);
    for (size_t i = 0; i < p->n_samples; i++)
        free_operand(&a[i]);
    free_operand(&b);
    nyb_free(want);
    nyb_free(got);
    nyb_free(former);
}

/* Integers that have lines are worth real values, of which an integer accumulator has no sums. */
static void integers_with_lines_are_values(void **state)
{
    const nyb_accum accum = {.format = accumulator("int16")};
    const nyb_conv_shape s = {.n = 1, .h = 1, .w = 3, .c = 5, .o = 4, .r = 1, .s = 1, .stride = 1};
    const nyb_format *int4 = nyb_format_find("int4");

    (void)state;
    for (int lines = 0; lines < 3; lines++) {
        const nyb_conv_options options = {
            .accum = &accum, .lines_a = lines == 1, .lines_b = lines == 2};
        nyb_conv *conv;
        nyb_error err;

        assert_int_equal(nyb_conv_create_with(contexts[0][0], NYB_PRODUCT_DW, &s, int4, int4, 1,
                                              &options, &conv, &err),
                         lines ? NYB_INVALID : NYB_OK);
        nyb_conv_destroy(&conv);
    }
}

static problem random_problem(size_t i)
{
    static const char *const formats[] = {"f32",   "int4", "e3m0",  "e2m1",
                                          "uint4", "int8", "int4m", "f32"};
    static const int chunks[] = {0, 1, 5, 16, 64, 10000};
    problem p = {
        .product = (nyb_product)(i % 3),
        .accum = {.format = &accumulators[draw() % N_ACCUMULATORS], .chunk = chunks[draw() % 6]}};
    const unsigned first = p.accum.format->grid == NYB_GRID_INT ? 1 : 0;
    nyb_conv_shape *s = &p.s;

    if (!first && draw() % 2)
        p.accum.rounding = NYB_ROUND_STOCHASTIC;
    p.a = formats[first + draw() % (8 - 2 * first)];
    p.b = formats[first + draw() % (8 - 2 * first)];
    do {
        *s = (nyb_conv_shape){.n = pick(1, 4), .h = pick(1, 9), .w = pick(1, 9)};
        s->c = pick(1, draw() % 3 ? 9 : 70);
        s->o = pick(1, draw() % 3 ? 9 : 70);
        s->r = pick(1, 3);
        s->s = pick(1, 3);
        s->stride = pick(1, 3);
        s->pad = pick(0, nyb_min(s->r, s->s) - 1);
    } while (nyb_conv_shape_check(s, NULL) != NYB_OK ||
             s->n * s->oh * s->ow * s->c * s->o * s->r * s->s > 60000);
    p.n_samples = p.product == NYB_PRODUCT_DW ? pick(1, 3) : 1;
    p.bias = p.product == NYB_PRODUCT_FWD && draw() % 2;
    p.add = draw() % 2;
    return p;
}

static void products_add_up_chunk_by_chunk(void **state)
{
    (void)state;
    seed = 4;
    for (size_t i = 0; i < 150; i++) {
        problem p = random_problem(i);
        check_problem(&p);
    }
}

/* Long k: several parts of DW's gather, several 4096 of the f32 engine's runs; many panels. */
static void long_products_add_up_too(void **state)
{
    static const nyb_conv_shape shapes[] = {
        {.n = 1, .h = 1, .w = 5, .c = 4500, .o = 7, .r = 1, .s = 1, .stride = 1},
        {.n = 1, .h = 1, .w = 1300, .c = 3, .o = 5, .r = 1, .s = 1, .stride = 1},
        {.n = 2, .h = 3, .w = 3, .c = 500, .o = 3, .r = 3, .s = 3, .stride = 1, .pad = 1},
        {.n = 1, .h = 2, .w = 2, .c = 1100, .o = 40, .r = 1, .s = 1, .stride = 1},
    };

    (void)state;
    seed = 5;
    for (size_t i = 0; i < 12; i++) {
        problem p = {.product = (nyb_product)(i % 3),
                     .s = shapes[i / 3],
                     .a = i % 2 ? "f32" : "e3m0",
                     .b = "f32",
                     .accum = {.format = accumulator("e6m9"),
                               .chunk = i % 4 ? 60 : 0,
                               .rounding = i % 6 < 3 ? NYB_ROUND_NEAREST : NYB_ROUND_STOCHASTIC},
                     .n_samples = 1};
        check_problem(&p);
    }
}

/* ---- what is lost -----------------------------------------------------------------------------
 */

static void swamping_is_counted(void **state)
{
    /* bf16 has 8 significant bits: 1 is lost in 256 and, at the tie, in sums that stay even. */
    const nyb_accum accum = {.format = accumulator("bf16")};
    float ones[300], values[3] = {256, 0.5f, 3};
    nyb_accum_stats stats = {0};

    (void)state;
    for (size_t i = 0; i < 300; i++)
        ones[i] = 1;
    assert_true(nyb_accum_dot(&accum, ones, ones, 300, 1, &stats) == 256);
    /* 256 additions that count, 44 that do not, and the total 0 + 256. */
    assert_int_equal(stats.n, 301);
    assert_int_equal(stats.full, 44);
    assert_int_equal(stats.partial, 0);
    stats = (nyb_accum_stats){0};
    assert_true(nyb_accum_dot(&accum, values, ones, 3, 1, &stats) == 260);
    assert_int_equal(stats.n, 4);
    assert_int_equal(stats.full, 1);    /* 0.5 */
    assert_int_equal(stats.partial, 1); /* 3 counts as 4: 259 is a tie between 258 and 260 */
    const nyb_accum chunked = {.format = accumulator("bf16"), .chunk = 64};
    assert_true(nyb_accum_dot(&chunked, ones, ones, 300, 1, NULL) == 300);
}

/* Sums to nearest stop at 256; drawn ones go on: 600 times 1, of which those beyond 256 are kept by
 * a half, and those beyond 512 by a quarter of the draws. Variance of a sum: at most 600 * 4 / 4.
 */
static void drawn_sums_are_unbiased(void **state)
{
    const nyb_accum accum = {.format = accumulator("bf16"), .rounding = NYB_ROUND_STOCHASTIC};
    const nyb_accum_key key = nyb_accum_key_of(&(nyb_stream){.seed = 5});
    nyb_accum_stats stats = {0};
    double sum = 0, between = 0;
    float ones[600], former = 0;

    (void)state;
    for (size_t i = 0; i < 600; i++)
        ones[i] = 1;
    for (size_t i = 0; i < 10000; i++) {
        const float y = nyb_accum_dot(&accum, ones, ones, 600, nyb_accum_start(key, i), &stats);
        assert_true(y >= 256 && y <= 600 + 344 * 3);
        sum += y - 600;
        between += (y - 600.0) * (former - 600.0) * (i > 0);
        former = y;
    }
    assert_true(fabs(sum) < 7 * sqrt(10000.0 * 600));
    assert_true(fabs(between) <
                7 * 600 * sqrt(10000.0)); /* neighbours know nothing of each other */
    assert_true(stats.full > 0);
}

/* One value between its neighbours, each bit count; and the same value below zero and far down. */
static void draws_follow_the_fraction(void **state)
{
    static const float values[] = {1.3e-3f, -0.7f, 3.14159f, 0x1.8p-24f, -0x1.2345p-20f, 65000};
    const nyb_accum_key key = nyb_accum_key_of(&(nyb_stream){.seed = 6});
    const int n = 200000;

    (void)state;
    for (int bits = 0; bits <= 13; bits += bits ? 6 : 1) {
        const nyb_accum accum = {
            .format = accumulator("fp16"), .rounding = NYB_ROUND_STOCHASTIC, .random_bits = bits};
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            const double x = values[v], ulp = ldexp(1, (int)fmax(ilogb(x), -14) - 10);
            const double below = trunc(x / ulp) * ulp, part = fabs(x - below) / ulp;
            const double chance = bits ? floor(ldexp(part, bits)) / ldexp(1, bits) : part;
            int up = 0;
            for (int i = 0; i < n; i++) {
                const uint32_t z = nyb_accum_next(nyb_accum_start(key, (uint64_t)i));
                const double y = nyb_accum_round_drawn(&accum, values[v], z);
                assert_true(y == below || fabs(y - below) == ulp);
                up += y != below;
            }
            assert_true(fabs(up - n * chance) <= 7 * sqrt(n * chance * (1 - chance)));
        }
    }
}

static void losses_are_measured(void **state)
{
    nyb_accum accums[4];
    nyb_accum_loss losses[4];
    nyb_spec spec, f32;
    nyb_error err;

    (void)state;
    assert_int_equal(nyb_accum_parse("f32", &accums[0], &err), NYB_OK);
    assert_int_equal(nyb_accum_parse("int8/32", &accums[1], &err), NYB_OK);
    accums[2] = (nyb_accum){.format = accumulator("e5m2")};
    accums[3] = (nyb_accum){.format = accumulator("e5m2"), .chunk = 16};
    assert_int_equal(nyb_spec_parse("int4/absmax", &spec, &err), NYB_OK);
    assert_int_equal(nyb_spec_parse("f32", &f32, &err), NYB_OK);
    assert_int_equal(
        nyb_accum_measure(contexts[0][0], accums, 4, &spec, &spec, 1000, 3, losses, &err), NYB_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(losses[i].n, 1000);
        assert_int_equal(losses[i].trials, 2097);
        assert_int_equal(losses[i].product_bits, 5);
    }
    /* Products of int4 are exact in f32; int8 clamps few chunks; two bits hold little. */
    assert_true(losses[0].retention == 1 && losses[0].error == 0 && losses[0].adds.partial == 0);
    assert_true(losses[1].error > 0 && losses[1].error < 0.2);
    assert_true(losses[2].retention < 0.5 && losses[2].error > 0.3);
    assert_true(losses[3].error < losses[2].error / 1.5);
    assert_true(losses[3].adds.full < losses[2].adds.full);

    assert_int_equal(nyb_accum_measure(contexts[0][0], accums, 4, &f32, &spec, 10, 3, losses, &err),
                     NYB_INVALID); /* int8 of f32 */
    assert_int_equal(nyb_accum_measure(contexts[0][0], accums, 1, &spec, &spec, 0, 3, losses, &err),
                     NYB_INVALID);
}

static void losses_do_not_depend_on_the_callers_rounding_mode(void **state)
{
    const nyb_accum accum = {.format = accumulator("e5m2")};
    nyb_accum_loss loss, other;
    nyb_spec spec;

    (void)state;
    assert_int_equal(nyb_spec_parse("f32", &spec, NULL), NYB_OK);
    for (int i = 0; i < 2; i++) {
        fesetround(i ? FE_UPWARD : FE_TONEAREST);
        const nyb_status status = nyb_accum_measure(contexts[0][0], &accum, 1, &spec, &spec, 1000,
                                                    3, i ? &other : &loss, NULL);
        fesetround(FE_TONEAREST);
        assert_int_equal(status, NYB_OK);
    }
    assert_memory_equal(&loss, &other, sizeof loss);
}

/* ---- words ------------------------------------------------------------------------------------
 */

static void words_are_read_and_written(void **state)
{
    nyb_accum accum;
    nyb_error err;
    char text[40];

    (void)state;
    assert_int_equal(nyb_accum_parse("int16/32", &accum, &err), NYB_OK);
    assert_string_equal(accum.format->name, "int16");
    assert_int_equal(accum.chunk, 32);
    assert_int_equal(nyb_accum_print(&accum, text, sizeof text), 8);
    assert_string_equal(text, "int16/32");
    assert_int_equal(nyb_accum_parse("int8/nearest", &accum, &err), NYB_OK);
    nyb_accum_print(&accum, text, sizeof text);
    assert_string_equal(text, "int8");
    assert_int_equal(nyb_accum_parse("bf16/64/stochastic:16", &accum, &err), NYB_OK);
    assert_true(nyb_accum_draws(&accum) && accum.chunk == 64 && accum.random_bits == 16);
    nyb_accum_print(&accum, text, sizeof text);
    assert_string_equal(text, "bf16/64/stochastic:16");
    assert_int_equal(nyb_accum_parse("bf16/stochastic", &accum, &err), NYB_OK);
    nyb_accum_print(&accum, text, sizeof text);
    assert_string_equal(text, "bf16/stochastic");
    assert_int_equal(nyb_accum_parse("f32", &accum, &err), NYB_OK);
    assert_true(nyb_accum_is_exact(&accum));
    nyb_accum_print(&(nyb_accum){0}, text, sizeof text);
    assert_string_equal(text, "f32");
}

static void words_that_cannot_be_are_refused(void **state)
{
    static const struct {
        const char *text;
        nyb_status status;
        const char *part; /* of the message */
    } wrong[] = {
        {"int17", NYB_UNKNOWN, "int17"},
        {"", NYB_UNKNOWN, "format"},
        {"int8/0", NYB_INVALID, "chunk"},
        {"int8/64x", NYB_INVALID, "64x"},
        {"int8/99999999999", NYB_INVALID, "chunk"},
        {"int8/64/stochastic", NYB_INVALID, "nearest"},
        {"e6m9/flush", NYB_INVALID, "stochastic"},
        {"e6m9/stochastic:0", NYB_INVALID, "stochastic:N"},
        {"e6m9/nearest:5", NYB_INVALID, "stochastic:N"},
        {"e6m9/stochastic:15", NYB_INVALID, "1 .. 14"},
        {"int8/64/sideways", NYB_UNKNOWN, "sideways"},
        {"int8/64/nearest/more", NYB_INVALID, "more than"},
        {"f32/64", NYB_INVALID, "f32"},
        {"e3m0", NYB_INVALID, "e3m0"},
        {"uint4", NYB_INVALID, "uint4"},
    };
    nyb_error err;
    const nyb_conv_shape shape = {
        .n = 1, .h = 1, .w = 2, .c = 3, .o = 4, .r = 1, .s = 1, .stride = 1};
    nyb_accum accum;
    nyb_conv *conv;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(nyb_accum_parse(wrong[i].text, &accum, &err), wrong[i].status);
        assert_non_null(strstr(err.text, wrong[i].part));
    }
    assert_int_equal(nyb_accum_parse(NULL, &accum, &err), NYB_INVALID);
    assert_int_equal(nyb_accum_parse("int16", &accum, &err), NYB_OK);
    assert_int_equal(nyb_conv_create(contexts[0][0], NYB_PRODUCT_FWD, &shape,
                                     nyb_format_find("int4"), nyb_format_find("f32"), 1, &accum,
                                     &conv, &err),
                     NYB_INVALID);
    assert_non_null(strstr(err.text, "'f32'"));
    assert_null(conv);
}

/* Sums whose every addition takes a last bit more, in the order that makes them largest. */
static void drawn_sums_that_are_free_stay_below_the_largest(void **state)
{
    static const char *const formats[] = {"e6m9", "dlfloat16", "e4m3", "e5m2", "bf16", "fp16"};
    size_t n_free = 0, n_not = 0;

    (void)state;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        for (size_t k = 1; k < 3000; k = k * 3 / 2 + 1)
            for (size_t chunk = 0; chunk <= 64; chunk += 16)
                for (int e = -8; e <= 8; e += 2) {
                    const nyb_accum accum = {.format = accumulator(formats[i]),
                                             .rounding = NYB_ROUND_STOCHASTIC};
                    const double product = ldexp(1, e);
                    nyb_accum_grid grid;
                    double last, sum = 0, total = 0;

                    nyb_accum_grid_init(&grid, &accum);
                    last = ldexp(1, (int)grid.dropped - 23);
                    for (size_t j = 0; j < k; j++) {
                        sum = (sum + product) * (1 + last) + (double)grid.least;
                        if (chunk && (j + 1) % chunk == 0) {
                            total = (total + sum) * (1 + last) + (double)grid.least;
                            sum = 0;
                        }
                    }
                    total = (total + sum) * (1 + last) + (double)grid.least;
                    if (nyb_accum_is_free(&grid, chunk, k, product)) {
                        assert_true(total < (double)grid.max);
                        n_free++;
                    } else {
                        n_not++;
                    }
                }
    assert_true(n_free > 500 && n_not > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values_round_as_published),
        cmocka_unit_test(sums_round_as_encoders_do),
        cmocka_unit_test(dots_equal_exact_integers),
        cmocka_unit_test(products_add_up_chunk_by_chunk),
        cmocka_unit_test(long_products_add_up_too),
        cmocka_unit_test(swamping_is_counted),
        cmocka_unit_test(drawn_sums_are_unbiased),
        cmocka_unit_test(draws_follow_the_fraction),
        cmocka_unit_test(losses_are_measured),
        cmocka_unit_test(losses_do_not_depend_on_the_callers_rounding_mode),
        cmocka_unit_test(words_are_read_and_written),
        cmocka_unit_test(words_that_cannot_be_are_refused),
        cmocka_unit_test(drawn_sums_that_are_free_stay_below_the_largest),
        cmocka_unit_test(integers_with_lines_are_values),
    };

    return cmocka_run_group_tests(tests, create_contexts, destroy_contexts);
}
