/* From a real number to a code, by arithmetic on integers: the specification of every encoder. */
#include "format/format.h"

#include <math.h>

/* An |x| > 0 as an exact product: sig * 2^(top - 23), 2^23 <= sig < 2^24. Subnormal numbers of f32
 * are numbers here, whatever MXCSR says. */
typedef struct parts {
    uint64_t sig;
    int top; /* floor(log2 |x|) */
} parts;

static parts split(uint32_t magnitude)
{
    parts p = {.sig = (magnitude & 0x7fffff) | 0x800000, .top = (int)(magnitude >> 23) - 127};

    if (magnitude >= 0x800000)
        return p;
    p.sig = magnitude;
    p.top = -126;
    for (; p.sig < 0x800000; p.sig <<= 1)
        p.top--;
    return p;
}

bool nyb_rounding_draws(nyb_rounding rounding)
{
    switch (rounding) {
    case NYB_ROUND_NEAREST:
    case NYB_ROUND_FLUSH:
        return false;
    case NYB_ROUND_STOCHASTIC:
    case NYB_ROUND_UNDERFLOW:
    case NYB_ROUND_FLUSH_STOCHASTIC:
        return true;
    }
    return false;
}

/* Between two neighbours of a grid: where x lies. */
typedef struct cell {
    uint64_t lower;  /* code of the neighbour of smaller magnitude          */
    int half;        /* sign of (position - 1/2)                            */
    uint32_t part23; /* floor(position * 2^23), position in [0, 1)          */
    bool tie_up;     /* where a tie goes                                    */
} cell;

static bool goes_up(const cell *c, nyb_rounding rounding, uint32_t r23)
{
    if (nyb_rounding_draws(rounding))
        return c->part23 + r23 >= 1u << 23;
    return c->half > 0 || (c->half == 0 && c->tie_up);
}

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* ---- FLOAT ---------------------------------------------------------------------------------- */

/* The position is low / 2^bits. */
static void place(cell *c, uint64_t low, int bits)
{
    c->half = bits > 0 ? compare(low, (uint64_t)1 << (bits - 1)) : -1;
    c->part23 = (uint32_t)(bits <= 23 ? low << (23 - bits) : low >> (bits - 23));
}

/* Without subnormals nothing lies between 0 and code 1, (2^m + 1) 2^(-bias - m). sig * 2^shift
 * over (2^m + 1) 2^23 is the position. DLFloat16's adder knows no such gap: it rounds at 2^-bias as
 * if that were a number, and takes what becomes it to zero (NUMERICS 3.3). */
static cell place_below_least(const nyb_float_grid *fp, parts p)
{
    const uint64_t least = ((uint64_t)1 << fp->man_bits) + 1;
    const int shift = p.top + fp->bias + fp->man_bits;
    cell c = {.half = -1};

    if (shift >= 0) {
        c.part23 = (uint32_t)((p.sig << shift) / least);
        c.half = compare(p.sig << (shift + 1), least << 23);
    } else if (shift > -24) { /* below a half */
        c.part23 = (uint32_t)(p.sig / (least << -shift));
    }
    if (fp->ties_away) {
        c.half = p.top < -fp->bias ? -1 : compare(p.sig - 0x800000, 0x400000u >> fp->man_bits);
        c.tie_up = true;
    }
    return c;
}

/* The magnitude's code is a count of steps: exponents and mantissas carry into each other. */
static cell place_float(const nyb_float_grid *fp, uint32_t magnitude)
{
    const int least = fp->subnormals ? 1 - fp->bias : -fp->bias; /* of the exponents */
    cell c = {.half = -1};
    parts p;
    int exponent, bits;

    if (magnitude == 0)
        return c;
    p = split(magnitude);
    if (!fp->subnormals &&
        (p.top < least || (p.top == least && (p.sig - 0x800000) >> (23 - fp->man_bits) == 0)))
        return place_below_least(fp, p);
    exponent = p.top > least ? p.top : least;
    bits = 23 - fp->man_bits + exponent - p.top; /* that a step of the grid leaves out */
    bits = bits < 60 ? bits : 60;
    c.lower = p.sig >> bits;
    place(&c, p.sig - (c.lower << bits), bits);
    c.lower += (uint64_t)(exponent - least) << fp->man_bits;
    if (!fp->subnormals)
        c.lower -= (uint64_t)1 << fp->man_bits;
    c.tie_up = fp->ties_away || c.lower % 2 != 0;
    return c;
}

/* What the codes of a FLOAT grid are, without the sign. */
typedef struct marks {
    uint32_t sign, top, inf, nan; /* top: the largest finite; inf, nan: top if there is none */
    bool has_nan;
} marks;

static marks marks_of(const nyb_float_grid *fp)
{
    const uint32_t one = 1, sign = one << (fp->exp_bits + fp->man_bits), all = sign - 1;
    const uint32_t special = all - ((one << fp->man_bits) - 1); /* the top exponent */

    switch (fp->special) {
    case NYB_SPECIAL_NONE:
        return (marks){sign, all, all, 0, false};
    case NYB_SPECIAL_IEEE:
        if (fp->man_bits == 0)
            return (marks){sign, special - 1, special, 0, false};
        return (marks){sign, special - 1, special, special | one << (fp->man_bits - 1), true};
    case NYB_SPECIAL_FN:
    case NYB_SPECIAL_MERGED:
        return (marks){sign, all - 1, all, all, true};
    case NYB_SPECIAL_FNUZ:
        return (marks){sign, all, sign, sign, true};
    }
    return (marks){0};
}

static unsigned encode_float(const nyb_format *f, float x, nyb_rounding rounding, uint32_t r23,
                             bool saturate)
{
    const marks m = marks_of(&f->fp);
    const uint32_t magnitude = nyb_bits_of(x) & 0x7fffffff;
    const uint32_t sign = nyb_bits_of(x) >> 31 ? m.sign : 0;
    cell c;

    if (magnitude > 0x7f800000)
        return !m.has_nan ? 0 : m.nan | sign;
    if (magnitude == 0x7f800000)
        return (saturate ? m.top : m.inf) | sign;
    c = place_float(&f->fp, magnitude);
    c.lower += goes_up(&c, rounding, r23);
    if (c.lower > m.top)
        return (saturate ? m.top : m.inf) | sign;
    if (c.lower == 0 && f->fp.special == NYB_SPECIAL_FNUZ)
        return 0;
    return (unsigned)c.lower | sign;
}

/* ---- INT ------------------------------------------------------------------------------------ */

/* To the nearest integer, ties to even, in any rounding mode; |y| < 2^23. */
static float round_even(float y)
{
    const float whole = truncf(y), rest = fabsf(y - whole);

    if (rest < 0.5f || (rest == 0.5f && (int)whole % 2 == 0))
        return whole;
    return whole + (signbit(y) ? -1.0f : 1.0f);
}

static unsigned encode_int(const nyb_format *f, float x, nyb_rounding rounding, uint32_t r23)
{
    const bool draws = nyb_rounding_draws(rounding);
    float y = isnan(x) ? 0.0f : x, whole;

    y = y < (float)f->hi ? y : (float)f->hi;
    y = y > (float)f->lo ? y : (float)f->lo;
    if (!draws)
        return (unsigned)(int)round_even(y) & (f->n_codes - 1u);
    whole = truncf(y);
    if ((uint32_t)(fabsf(y - whole) * 0x1p23f) + r23 >= 1u << 23)
        whole += signbit(y) ? -1.0f : 1.0f;
    return (unsigned)(int)whole & (f->n_codes - 1u);
}

/* ---- LOG2: binding resolution 3 -------------------------------------------------------------- */

/* v = max(1 + u, 2 u) with u = |x| / alpha has in [1, 2) the underflow branch (mantissa u: up is
 * alpha, down is zero) and from 2 on the octaves of 2 u; one integer addition to its bits rounds
 * both, and its exponent is the code. r = 2^22 is nearest (ties up: RDNP), r = 0 truncates, a
 * random r is unbiased. v is at most 2 max, a power of two, which no r < 2^23 carries past. */
unsigned nyb_format_encode_log2(const nyb_format *f, float inv, float x, nyb_rounding rounding,
                                uint32_t r23)
{
    const uint32_t half = 0x400000;
    float a = nyb_bits_of(fabsf(x)) < 0x800000 || isnan(x) ? 0.0f : fabsf(x);
    float under = fmaf(a, inv, 1.0f), octave = a * (2.0f * inv), limit = 2.0f * f->max;
    float v = under > octave ? under : octave;
    uint32_t low = 0, high = 0, e;

    v = v < limit ? v : limit;
    switch (rounding) {
    case NYB_ROUND_NEAREST:
        low = high = half;
        break;
    case NYB_ROUND_STOCHASTIC:
        low = high = r23;
        break;
    case NYB_ROUND_FLUSH:
        high = half;
        break;
    case NYB_ROUND_UNDERFLOW:
        low = r23;
        high = half;
        break;
    case NYB_ROUND_FLUSH_STOCHASTIC:
        high = r23;
        break;
    }
    e = ((nyb_bits_of(v) + (v < 2.0f ? low : high)) >> 23) - 127;
    return e == 0 ? 0 : (nyb_bits_of(x) >> 31) << (f->bits - 1) | e;
}

/* ---- TABLE ---------------------------------------------------------------------------------- */

/* Exactly the same number: the conversion by hardware takes subnormal numbers for zeros. */
static double widen(float x)
{
    const uint32_t magnitude = nyb_bits_of(x) & 0x7fffffff;
    double a = magnitude < 0x800000 ? (double)magnitude * 0x1p-149 : (double)fabsf(x);

    return nyb_bits_of(x) >> 31 ? -a : a;
}

/* floor(2^23 a / b), 0 <= a < b. A gap b has at most 29 bits (most are powers of two): a quotient
 * that is not an integer is then at least 2^-29 away from one, and rounded by at most 2^-31. */
static uint32_t part_of(double a, double b)
{
    return (uint32_t)(a * 0x1p23 / b);
}

/* The greatest of n codes, whose values ascend, that is not above y; 0 if all are. */
static unsigned search(const nyb_format *f, unsigned n, double y)
{
    unsigned lower = 0, above = n;

    while (above - lower > 1) {
        unsigned middle = (lower + above) / 2;

        if (widen(nyb_format_decode(f, middle)) <= y)
            lower = middle;
        else
            above = middle;
    }
    return lower;
}

/* Between the values of two neighbours, `inner` the one nearer to zero. */
static bool table_goes_up(const nyb_format *f, nyb_rounding rounding, uint32_t r23, double y,
                          unsigned inner, unsigned outer)
{
    const double from = widen(nyb_format_decode(f, inner)), to = widen(nyb_format_decode(f, outer));
    const double middle = (from + to) / 2;
    double a = fabs(y - from);
    cell c = {.half = outer > inner ? (y > middle) - (y < middle) : (y < middle) - (y > middle)};

    if (from + a > y && from < y) /* y - from was rounded up */
        a = nextafter(a, 0.0);
    c.part23 = part_of(a, fabs(to - from));
    c.tie_up = f->ties_up ? outer > inner : f->ascending ? outer < inner : inner % 2 != 0;
    return goes_up(&c, rounding, r23);
}

static unsigned encode_table(const nyb_format *f, float x, nyb_rounding rounding, uint32_t r23,
                             bool saturate)
{
    const bool has_nan = isnan(nyb_format_decode(f, f->n_codes - 1u));
    const bool signs = f->is_signed && !f->ascending;
    const unsigned n = signs ? f->n_codes / 2 : f->n_codes - has_nan;
    const unsigned sign = signs && nyb_bits_of(x) >> 31 && !isnan(x) ? n : 0;
    const double y = isnan(x) ? 0.0 : signs ? fabs(widen(x)) : widen(x);
    unsigned lower;

    if (has_nan && (isnan(x) || (!saturate && !(y > 0.0 && y < 1.5 * widen(f->max)))))
        return n; /* e8m0 */
    lower = search(f, n, y);
    if (lower + 1 == n || y <= widen(nyb_format_decode(f, lower)))
        return lower | sign;
    if (y < 0.0 && widen(nyb_format_decode(f, lower + 1)) <= 0.0)
        return lower + 1 - table_goes_up(f, rounding, r23, y, lower + 1, lower);
    return (lower + table_goes_up(f, rounding, r23, y, lower, lower + 1)) | sign;
}

unsigned nyb_format_encode(const nyb_format *f, float x, nyb_rounding rounding, uint32_t r23,
                           int saturate)
{
    switch (f->grid) {
    case NYB_GRID_REAL:
        return 0;
    case NYB_GRID_INT:
        return encode_int(f, x, rounding, r23);
    case NYB_GRID_LOG2:
        return nyb_format_encode_log2(f, 1.0f, x, rounding, r23);
    case NYB_GRID_FLOAT:
        return encode_float(f, x, rounding, r23, saturate);
    case NYB_GRID_TABLE:
        return encode_table(f, x, rounding, r23, saturate);
    }
    return 0;
}
