/* The loops of round.h section 4 in a vocabulary of LANES lanes (vec_* of f32, ivec_* of 32-bit
 * integers, mask) that the including file defines; it also defines draw, ROUND_RECORD, ROUND_NAME
 * and ROUND_NEEDS. Lanes never meet. No include guard: each ISA has its own copy. */

#define EXPONENT 0x7f800000
#define HALF     0x400000 /* a constant r23 that takes halves up */

/* to[i] = one(&plan, from[i], draws[i]) for n elements, by vectors; draws NULL: HALF. */
#define FOR_VECTORS(one, from, to, draws)                                                          \
    do {                                                                                           \
        const uint32_t *const d = draws;                                                           \
        size_t i = 0;                                                                              \
                                                                                                   \
        for (; i + LANES <= n; i += LANES)                                                         \
            vec_store((to) + i,                                                                    \
                      one(&plan, vec_load((from) + i), d ? ivec_load(d + i) : ivec_set(HALF)));    \
        if (i < n)                                                                                 \
            vec_store_n((to) + i,                                                                  \
                        one(&plan, vec_load_n((from) + i, n - i),                                  \
                            d ? ivec_load_n(d + i, n - i) : ivec_set(HALF)),                       \
                        n - i);                                                                    \
    } while (0)

/* 2^e; the caller knows that it is a normal number. */
INLINE float power(int e)
{
    return nyb_float_of((uint32_t)(e + 127) << 23);
}

/* The sign of x on a magnitude; zeros become +0. */
INLINE vec with_sign(vec y, vec x)
{
    const ivec sign = ivec_set((int)0x80000000);

    return vec_add(vec_of(ivec_or(vec_bits(y), ivec_and(vec_bits(x), sign))), vec_set(0));
}

/* ---- even spacing: INT, and the subnormals of FLOAT ------------------------------------------ */

/* Multiples of a power of two `step`. 2^23 step + a has its last bit at step, so that an addition
 * rounds to nearest even. */
typedef struct even_plan {
    vec step, inv, big;
} even_plan;

/* e: of the step, -126 < e < 104 */
INLINE even_plan even_begin(int e)
{
    return (even_plan){vec_set(power(e)), vec_set(power(-e)), vec_set(power(e + 23))};
}

/* ---- INT ------------------------------------------------------------------------------------ */

typedef struct int_plan {
    vec lo, hi, big;
    even_plan even;
} int_plan;

INLINE int_plan int_begin(const nyb_format *f)
{
    return (int_plan){vec_set(f->lo), vec_set(f->hi), vec_set(0x1.8p23f), even_begin(0)};
}

/* 1.5 2^23: both signs stay in its octave. */
INLINE vec int_nearest(const int_plan *p, vec x, ivec r)
{
    (void)r;
    return vec_sub(vec_add(vec_between(x, p->lo, p->hi), p->big), p->big);
}

INLINE vec int_drawn(const int_plan *p, vec x, ivec r)
{
    x = vec_between(x, p->lo, p->hi);
    return with_sign(vec_drawn(vec_abs(x), r, p->even.step, p->even.inv), x);
}

static void round_int(const nyb_format *f, nyb_rounding rounding, const float *t,
                      const uint32_t *r23, size_t n, float *y)
{
    const int_plan plan = int_begin(f);

    if (nyb_rounding_draws(rounding))
        FOR_VECTORS(int_drawn, t, y, r23);
    else
        FOR_VECTORS(int_nearest, t, y, NULL);
}

/* ---- LOG2: encode_ref.c with a scale of 1 ---------------------------------------------------- */

typedef struct log2_plan {
    vec max;
    ivec low_and, high_and; /* r = random & and | or, by v < 2 */
    ivec low_or, high_or;
} log2_plan;

INLINE log2_plan log2_begin(const nyb_format *f, nyb_rounding r)
{
    const ivec all = ivec_set(-1), none = ivec_set(0), half = ivec_set(HALF);
    const bool low = r == NYB_ROUND_STOCHASTIC || r == NYB_ROUND_UNDERFLOW;
    const bool high = r == NYB_ROUND_STOCHASTIC || r == NYB_ROUND_FLUSH_STOCHASTIC;

    return (log2_plan){.max = vec_set(f->max),
                       .low_and = low ? all : none,
                       .high_and = high ? all : none,
                       .low_or = r == NYB_ROUND_NEAREST ? half : none,
                       .high_or = high ? none : half};
}

/* v = max(1 + a, 2 a): its exponent is the code, and the value is v / 2 without its mantissa. */
INLINE vec log2_one(const log2_plan *p, vec x, ivec r)
{
    const vec a = vec_magnitude(x, p->max), two = vec_set(2);
    const vec v = vec_max(vec_add(a, vec_set(1)), vec_add(a, a));
    const vec low = vec_of(ivec_or(ivec_and(r, p->low_and), p->low_or));
    const vec high = vec_of(ivec_or(ivec_and(r, p->high_and), p->high_or));
    const ivec chosen = vec_bits(vec_select(vec_less(v, two), low, high));
    const vec q = vec_of(ivec_and(ivec_add(vec_bits(v), chosen), ivec_set(EXPONENT)));

    return with_sign(vec_select(vec_less(q, two), vec_set(0), vec_mul(q, vec_set(0.5f))), x);
}

static void round_log2(const nyb_format *f, nyb_rounding rounding, const float *t,
                       const uint32_t *r23, size_t n, float *y)
{
    const log2_plan plan = log2_begin(f, rounding);

    if (nyb_rounding_draws(rounding))
        FOR_VECTORS(log2_one, t, y, r23);
    else
        FOR_VECTORS(log2_one, t, y, NULL);
}

/* ---- FLOAT ---------------------------------------------------------------------------------- */

/* Magnitudes from `least` on have man_bits bits after their first. Below it are evenly spaced
 * subnormals, or a gap: nothing but zero. */
typedef struct float_plan {
    vec max, least, half_least;
    vec away; /* in a gap, with ties away: 2^-bias is rounded to, and is 0 */
    vec up;   /* least; 0 if all below least are subnormals of f32, that is, zeros */
    even_plan even;
    ivec lowest, big; /* float_nearest */
    ivec half, flip;  /* float_by_bits */
    ivec keep;        /* sign, exponent and man_bits */
    int man_bits, last;
} float_plan;

/* 2^-126 is the least normal number of f32: below it all are zeros. */
static bool has_gap(const nyb_float_grid *g)
{
    return !g->subnormals || g->bias >= 127;
}

/* True if no constant of the plan, nor what float_drawn_gap subtracts, leaves the normal numbers of
 * f32. All published formats pass. */
static bool float_fits(const nyb_float_grid *g)
{
    if (g->bias >= 127)
        return true;
    if (has_gap(g))
        return g->bias >= -100 && g->bias <= 80;
    return g->man_bits <= 21 && g->bias + g->man_bits <= 126 && g->bias + g->man_bits >= -100;
}

/* True if float_nearest's constants are normal numbers, and codes without a mantissa, which are
 * even by exponent, do not come to it. */
static bool float_adds(const nyb_format *f)
{
    const int top = (int)(nyb_bits_of(f->max) >> 23) - 127;

    return f->fp.man_bits >= 1 && f->fp.man_bits <= 21 && top + 23 - f->fp.man_bits <= 127;
}

INLINE float_plan float_begin(const nyb_format *f)
{
    const nyb_float_grid *g = &f->fp;
    const int drop = 23 - g->man_bits;
    const bool gap = has_gap(g), tiny = g->bias >= 127;
    const int e = tiny ? -126 : gap && g->man_bits > 0 ? -g->bias : 1 - g->bias;
    const float least = gap && !tiny && g->man_bits > 0
                            ? nyb_float_of((uint32_t)(e + 127) << 23 | 1u << drop)
                            : power(e);
    float_plan p = {.max = vec_set(f->max), .least = vec_set(least), .man_bits = g->man_bits};

    p.half_least = vec_set(0.5f * least);
    p.away = vec_set(drop > 0 ? nyb_float_of((uint32_t)(e + 127) << 23 | 1u << (drop - 1)) : least);
    p.up = vec_set(tiny ? 0 : least);
    p.even = even_begin(gap ? 0 : e - g->man_bits);
    p.lowest = ivec_set((e + 127) << 23);
    p.big = ivec_set(drop << 23 | 0x400000);
    p.half = ivec_set(drop > 0 ? (1 << (drop - 1)) - 1 : 0);
    p.flip = ivec_set(g->man_bits == 0 && g->bias % 2 == 0);
    p.keep = ivec_set((int)(UINT32_MAX << drop));
    p.last = drop > 0 ? drop : 31;
    return p;
}

/* c = 1.5 2^(23 - man_bits) times the power of two below |x|, or that of least: x + c has its last
 * bit where the mantissa ends, and stays in the octave of c. */
INLINE vec float_nearest(const float_plan *p, bool gap, vec x)
{
    const vec v = vec_clamped(x, p->max);
    const ivec e = ivec_max(ivec_and(vec_bits(v), ivec_set(EXPONENT)), p->lowest);
    const vec c = vec_of(ivec_add(e, p->big));
    const vec y = vec_sub(vec_add(v, c), c);

    if (gap) {
        const vec a = vec_abs(v);
        const vec low = vec_select(vec_less(p->half_least, a), with_sign(p->up, v), vec_set(0));

        return vec_select(vec_less(a, p->least), low, y);
    }
    return y;
}

INLINE vec float_nearest_small(const float_plan *p, vec x, ivec r)
{
    (void)r;
    return float_nearest(p, false, x);
}

INLINE vec float_nearest_gap(const float_plan *p, vec x, ivec r)
{
    (void)r;
    return float_nearest(p, true, x);
}

/* Nearest by integer arithmetic, for exponents up to those of f32, and for no mantissa. */
INLINE vec float_by_bits(const float_plan *p, bool gap, vec x)
{
    const vec a = vec_magnitude(x, p->max);
    const ivec b = vec_bits(a);
    const ivec odd = ivec_xor(ivec_and(ivec_shift(b, p->last), ivec_set(1)), p->flip);
    const ivec q = ivec_and(ivec_add(ivec_add(b, p->half), odd), p->keep);
    const vec low = gap ? vec_select(vec_less(p->half_least, a), p->up, vec_set(0))
                        : vec_sub(vec_add(a, p->even.big), p->even.big);

    return with_sign(vec_select(vec_less(a, p->least), low, vec_of(q)), x);
}

INLINE vec float_by_bits_small(const float_plan *p, vec x, ivec r)
{
    (void)r;
    return float_by_bits(p, false, x);
}

INLINE vec float_by_bits_gap(const float_plan *p, vec x, ivec r)
{
    (void)r;
    return float_by_bits(p, true, x);
}

/* Above least r23, scaled to the bits that are dropped, is added; r23 = HALF is nearest, ties away.
 */
INLINE vec float_drawn(const float_plan *p, vec x, vec a, vec low, ivec r)
{
    const ivec q = ivec_and(ivec_add(vec_bits(a), ivec_shift(r, p->man_bits)), p->keep);

    return with_sign(vec_select(vec_less(a, p->least), low, vec_of(q)), x);
}

INLINE vec float_drawn_small(const float_plan *p, vec x, ivec r)
{
    const vec a = vec_magnitude(x, p->max);

    return float_drawn(p, x, a, vec_drawn(a, r, p->even.step, p->even.inv), r);
}

/* Up if a >= (1 - r23 2^-23) least, which the sign of a fused difference tells exactly. */
INLINE vec float_drawn_gap(const float_plan *p, vec x, ivec r)
{
    const vec a = vec_magnitude(x, p->max);
    const vec miss = vec_fnma(vec_sub(vec_set(2), vec_one_and(r)), p->least, a);

    return float_drawn(p, x, a, vec_select(vec_less(miss, vec_set(0)), vec_set(0), p->up), r);
}

INLINE vec float_away_gap(const float_plan *p, vec x, ivec r)
{
    const vec a = vec_magnitude(x, p->max);

    return float_drawn(p, x, a, vec_select(vec_less(a, p->away), vec_set(0), p->up), r);
}

static void round_float(const nyb_format *f, nyb_rounding rounding, const float *t,
                        const uint32_t *r23, size_t n, float *y)
{
    const bool gap = has_gap(&f->fp), drawn = nyb_rounding_draws(rounding);
    const float_plan plan = float_begin(f);

    if (drawn && gap)
        FOR_VECTORS(float_drawn_gap, t, y, r23);
    else if (drawn)
        FOR_VECTORS(float_drawn_small, t, y, r23);
    else if (f->fp.ties_away && gap)
        FOR_VECTORS(float_away_gap, t, y, NULL);
    else if (f->fp.ties_away)
        FOR_VECTORS(float_drawn_small, t, y, NULL);
    else if (float_adds(f) && gap)
        FOR_VECTORS(float_nearest_gap, t, y, NULL);
    else if (float_adds(f))
        FOR_VECTORS(float_nearest_small, t, y, NULL);
    else if (gap)
        FOR_VECTORS(float_by_bits_gap, t, y, NULL);
    else
        FOR_VECTORS(float_by_bits_small, t, y, NULL);
}

/* ---- TABLE ---------------------------------------------------------------------------------- */

#define TABLE_MAX 16

typedef struct table_plan {
    int n;
    bool signs;                 /* values are magnitudes, signs are copied */
    float value[TABLE_MAX];     /* ascending */
    float least[TABLE_MAX - 1]; /* f32 whose nearest is value[i + 1] */
} table_plan;

/* The first number of f32 above x; subnormals are zeros. */
static float next_above(float x)
{
    const uint32_t b = nyb_bits_of(x);

    if (fabsf(x) < FLT_MIN)
        return FLT_MIN;
    return nyb_float_of(x > 0 ? b + 1 : b - 1);
}

/* False if the table is too long. */
static bool table_begin(const nyb_format *f, table_plan *p)
{
    p->signs = f->is_signed && !f->ascending;
    p->n = (int)(p->signs ? f->n_codes / 2 : f->n_codes);
    if (p->n > TABLE_MAX)
        return false;
    for (int i = 0; i < p->n; i++)
        p->value[i] = f->units ? (float)f->units[i] * f->unit : f->value[i];
    for (int i = 0; i + 1 < p->n; i++) {
        const double middle = ((double)p->value[i] + (double)p->value[i + 1]) / 2;
        const bool tie_up = f->ties_up || (!f->ascending && i % 2 != 0);

        p->least[i] = (float)middle;
        if ((double)p->least[i] < middle || ((double)p->least[i] <= middle && !tie_up))
            p->least[i] = next_above(p->least[i]);
    }
    return true;
}

INLINE vec table_clamped(const table_plan *p, vec x)
{
    return p->signs ? vec_magnitude(x, vec_set(p->value[p->n - 1]))
                    : vec_between(x, vec_set(p->value[0]), vec_set(p->value[p->n - 1]));
}

INLINE vec table_nearest(const table_plan *p, vec x, ivec r)
{
    const vec v = table_clamped(p, x);
    vec y = vec_set(p->value[0]);

    (void)r;
    for (int i = 0; i + 1 < p->n; i++)
        y = vec_select(vec_less(v, vec_set(p->least[i])), y, vec_set(p->value[i + 1]));
    return p->signs ? with_sign(y, x) : y;
}

/* Of the neighbours value[i] and value[i + 1] the one nearer to zero, and the other. */
static float table_inner(const table_plan *p, int i)
{
    return p->value[i + (p->value[i] < 0 && p->value[i + 1] <= 0)];
}

static float table_outer(const table_plan *p, int i)
{
    return p->value[i + !(p->value[i] < 0 && p->value[i + 1] <= 0)];
}

/* True if v - inner and outer - inner are exact for every v between neighbours, so that table_drawn
 * is; nf4 and powers of four pass. */
static bool table_is_exact(const table_plan *p)
{
    for (int i = 0; i + 1 < p->n; i++) {
        const float inner = table_inner(p, i), outer = table_outer(p, i);
        const uint32_t b = nyb_bits_of(inner);

        if (fabsf(outer - inner) < 0x1p-60f ||
            (inner != 0 &&
             ((inner < 0) != (outer < 0) ||
              ((b & 0x7fffff) != 0 && fabsf(outer - inner) > 2.0f * nyb_float_of(b & EXPONENT)))))
            return false;
    }
    return true;
}

/* Up if |v - inner| >= (1 - r23 2^-23) |outer - inner|: see float_drawn_gap. */
INLINE vec table_drawn(const table_plan *p, vec x, ivec r)
{
    const vec v = table_clamped(p, x);
    vec inner = vec_set(table_inner(p, 0)), outer = vec_set(table_outer(p, 0)), miss, y;

    for (int i = 1; i + 1 < p->n; i++) {
        const mask below = vec_less(v, vec_set(p->value[i]));
        inner = vec_select(below, inner, vec_set(table_inner(p, i)));
        outer = vec_select(below, outer, vec_set(table_outer(p, i)));
    }
    miss = vec_fnma(vec_sub(vec_set(2), vec_one_and(r)), vec_abs(vec_sub(outer, inner)),
                    vec_abs(vec_sub(v, inner)));
    y = vec_select(vec_less(miss, vec_set(0)), inner, outer);
    return p->signs ? with_sign(y, x) : y;
}

/* False if this is for the reference. */
static bool round_table(const nyb_format *f, nyb_rounding rounding, const float *t,
                        const uint32_t *r23, size_t n, float *y)
{
    table_plan plan;

    if (!table_begin(f, &plan))
        return false;
    if (!nyb_rounding_draws(rounding))
        FOR_VECTORS(table_nearest, t, y, NULL);
    else if (table_is_exact(&plan))
        FOR_VECTORS(table_drawn, t, y, r23);
    else
        return false;
    return true;
}

/* ---- scales --------------------------------------------------------------------------------- */

#define INFINITE 0x7f800000

INLINE ivec magnitude_bits(vec x)
{
    return ivec_and(vec_bits(x), ivec_set(0x7fffffff));
}

/* Magnitudes are ordered as their bits are. What is not finite becomes 0. */
INLINE ivec finite_bits(vec x)
{
    const ivec b = magnitude_bits(x);

    return ivec_keep(ivec_less(b, ivec_set(INFINITE)), b);
}

INLINE int block_top(const float *x, size_t length, bool careful)
{
    ivec most = ivec_set(0);
    size_t i = 0;

    for (; i + LANES <= length; i += LANES) {
        const vec v = vec_load(x + i);
        most = ivec_max(most, careful ? finite_bits(v) : magnitude_bits(v));
    }
    if (i < length) {
        const vec v = vec_load_n(x + i, length - i);
        most = ivec_max(most, careful ? finite_bits(v) : magnitude_bits(v));
    }
    return ivec_top(most);
}

static int careful_top(const float *x, size_t length)
{
    return block_top(x, length, true);
}

static void block_stats(const float *x, size_t n_blocks, size_t length, size_t stride,
                        float *absmax)
{
    for (size_t i = 0; i < n_blocks; i++) {
        int top = block_top(x + i * stride, length, false);

        if (top >= INFINITE)
            top = careful_top(x + i * stride, length);
        absmax[i] = top >= 0x00800000 ? nyb_float_of((uint32_t)top) : 0;
    }
}

/* Rows that are read before the next columns, so that memory is read nearly in order. */
#define TILE_ROWS 16

INLINE void column_tile(const float *x, size_t rows, size_t ld, size_t n, bool first, float *absmax)
{
    const ivec normal = ivec_set(0x007fffff);
    ivec most =
        first ? ivec_set(0) : vec_bits(n == LANES ? vec_load(absmax) : vec_load_n(absmax, n));

    for (size_t r = 0; r < rows; r++)
        most = ivec_max(most,
                        finite_bits(n == LANES ? vec_load(x + r * ld) : vec_load_n(x + r * ld, n)));
    most = ivec_keep(ivec_less(normal, most), most);
    if (n == LANES)
        vec_store(absmax, vec_of(most));
    else
        vec_store_n(absmax, vec_of(most), n);
}

static void column_absmax(const float *x, size_t rows, size_t cols, size_t ld, float *absmax)
{
    for (size_t r = 0; r == 0 || r < rows; r += TILE_ROWS) {
        const size_t m = nyb_min(TILE_ROWS, rows - r);
        size_t j = 0;

        for (; j + LANES <= cols; j += LANES)
            column_tile(x + r * ld + j, m, ld, LANES, r == 0, absmax + j);
        if (j < cols)
            column_tile(x + r * ld + j, m, ld, cols - j, r == 0, absmax + j);
    }
}

/* Floats in the order of integers; its own inverse. Subnormals become 0. */
INLINE ivec key_of(vec x)
{
    const ivec b = vec_bits(x), size = magnitude_bits(x);
    const ivec flip = ivec_keep(ivec_less(b, ivec_set(0)), ivec_set(0x7fffffff));

    return ivec_keep(ivec_less(ivec_set(0x007fffff), size), ivec_xor(b, flip));
}

static float of_key(int key)
{
    return nyb_float_of((uint32_t)(key < 0 ? key ^ 0x7fffffff : key));
}

/* The largest of keys, and of their complements, over finite elements; INT32_MIN: of none. */
typedef struct key_range {
    ivec high, low;
} key_range;

INLINE void widen(key_range *range, vec x)
{
    const ivec key = key_of(x), not_key = ivec_xor(key, ivec_set(-1));
    const mask finite = ivec_less(magnitude_bits(x), ivec_set(INFINITE));
    const vec none = vec_of(ivec_set(INT32_MIN));

    range->high = ivec_max(range->high, vec_bits(vec_select(finite, vec_of(key), none)));
    range->low = ivec_max(range->low, vec_bits(vec_select(finite, vec_of(not_key), none)));
}

static bool range(const float *x, size_t n, float *min, float *max)
{
    const ivec none = ivec_set(INT32_MIN);
    key_range even = {none, none}, odd = even;
    size_t i = 0;

    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        widen(&even, vec_load(x + i));
        widen(&odd, vec_load(x + i + LANES));
    }
    if (n >= LANES) { /* the rest, some of it twice */
        widen(&even, vec_load(x + nyb_min(i, n - LANES)));
        widen(&odd, vec_load(x + n - LANES));
    } else {
        for (; i < n; i++)
            widen(&even, vec_set(x[i]));
    }
    const int high = ivec_top(ivec_max(even.high, odd.high));
    const int low = ivec_top(ivec_max(even.low, odd.low));

    if (high == INT32_MIN)
        return false;
    *min = of_key(~low);
    *max = of_key(high);
    return true;
}

typedef struct scale_plan {
    vec first, second, offset;
} scale_plan;

INLINE vec scale_one(const scale_plan *p, vec x, ivec r)
{
    (void)r;
    return vec_mul(x, p->first);
}

INLINE vec scale_offset_one(const scale_plan *p, vec x, ivec r)
{
    const vec v = vec_between(x, vec_set(-INFINITY), vec_set(INFINITY));

    return scale_one(p, vec_sub(v, p->offset), r);
}

INLINE vec unscale_one(const scale_plan *p, vec x, ivec r)
{
    (void)r;
    return vec_mul(vec_mul(x, p->first), p->second);
}

INLINE vec unscale_offset_one(const scale_plan *p, vec x, ivec r)
{
    return vec_add(p->offset, unscale_one(p, x, r));
}

static void scale(const float *x, size_t n, float offset, float inv, float *t)
{
    const scale_plan plan = {.first = vec_set(inv), .offset = vec_set(offset)};

    if (offset != 0)
        FOR_VECTORS(scale_offset_one, x, t, NULL);
    else
        FOR_VECTORS(scale_one, x, t, NULL);
}

static void unscale(const float *grid, size_t n, float group_scale, float level_scale, float offset,
                    float *values)
{
    const scale_plan plan = {vec_set(group_scale), vec_set(level_scale), vec_set(offset)};

    if (offset != 0)
        FOR_VECTORS(unscale_offset_one, grid, values, NULL);
    else
        FOR_VECTORS(unscale_one, grid, values, NULL);
}

/* ---- the variant ---------------------------------------------------------------------------- */

static void round_all(const nyb_format *format, nyb_rounding rounding, const float *t,
                      const uint32_t *r23, size_t n, float *y)
{
    switch (format->grid) {
    case NYB_GRID_INT:
        round_int(format, rounding, t, r23, n, y);
        return;
    case NYB_GRID_LOG2:
        round_log2(format, rounding, t, r23, n, y);
        return;
    case NYB_GRID_FLOAT:
        if (float_fits(&format->fp)) {
            round_float(format, rounding, t, r23, n, y);
            return;
        }
        break;
    case NYB_GRID_TABLE:
        if (round_table(format, rounding, t, r23, n, y))
            return;
        break;
    case NYB_GRID_REAL:
        break;
    }
    nyb_round_ref.round(format, rounding, t, r23, n, y);
}

const nyb_round_kernel ROUND_RECORD = {
    .name = ROUND_NAME,
    .needs = ROUND_NEEDS,
    .round = round_all,
    .draw = draw,
    .block_stats = block_stats,
    .column_absmax = column_absmax,
    .range = range,
    .scale = scale,
    .unscale = unscale,
};
