/* Accumulators as words, and what they do to one sum: the specification of the kernels. */
#include "gemm/accumulate.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Integers that only sums have: no operand is that wide. In f32 they are exact below 2^24. */
static const nyb_format wide[] = {
    {.name = "int12",
     .about = "12-bit integer sums, -2047..2047",
     .grid = NYB_GRID_INT,
     .bits = 16,
     .is_signed = true,
     .lo = -2047,
     .hi = 2047,
     .unit = 1,
     .max = 2047},
    {.name = "int16",
     .about = "16-bit integer sums, -32767..32767",
     .grid = NYB_GRID_INT,
     .bits = 16,
     .is_signed = true,
     .lo = -32767,
     .hi = 32767,
     .unit = 1,
     .max = 32767},
};

/* ---- one sum ----------------------------------------------------------------------------------
 */

/* Of the smallest normal number, or of all numbers where there are no others. */
static int least_exponent(const nyb_format *f)
{
    return f->fp.subnormals ? 1 - f->fp.bias : -f->fp.bias;
}

/* 1.5 * 2^(23 - man_bits) times the largest number does not overflow. */
static bool has_magic(const nyb_format *f)
{
    return f->fp.subnormals && least_exponent(f) >= -126 &&
           ilogbf(f->max) + 24 - f->fp.man_bits <= 127;
}

/* Of a value's first bit, or of the least number's where its last bit decides. */
static int exponent_of(const nyb_format *f, double size)
{
    int e;

    frexp(size, &e);
    return f->fp.subnormals && e - 1 < least_exponent(f) ? least_exponent(f) : e - 1;
}

/* How many random bits decide. */
static int random_bits_of(const nyb_accum *accum)
{
    return accum->random_bits ? accum->random_bits : 23 - accum->format->fp.man_bits;
}

/* 0 of formats with subnormals: f32's least normal number decides. */
static double least_value(const nyb_format *f)
{
    const double least = ldexp(1 + ldexp(1, -f->fp.man_bits), -f->fp.bias);

    return f->fp.subnormals ? 0x1p-126 : fmax(least, 0x1p-126);
}

/* Nothing lies between 0 and the least number, which rounding takes as it is; DLFloat16's adder
 * (ties away) rounds as if there were numbers, and flushes them. */
static bool has_gap(const nyb_format *f)
{
    return !f->fp.subnormals && !f->fp.ties_away;
}

float nyb_accum_round(const nyb_format *f, float x)
{
    const double size = fabs((double)x);

    if (isnan(x))
        return x;
    if (size >= f->max)
        return copysignf(f->max, x);
    if (f->grid == NYB_GRID_INT)
        return x;
    if (has_gap(f) && size < least_value(f))
        return size > least_value(f) / 2 ? copysignf((float)least_value(f), x) : 0.0f;
    const int e = exponent_of(f, size);
    const double n = ldexp(size, f->fp.man_bits - e); /* in units of the last bit */
    const double y = ldexp(f->fp.ties_away ? floor(n + 0.5) : rint(n), e - f->fp.man_bits);
    return y < least_value(f) ? 0.0f : copysignf((float)y, x);
}

float nyb_accum_round_drawn(const nyb_accum *accum, float x, uint32_t bits)
{
    const nyb_format *f = accum->format;
    const int dropped = 23 - f->fp.man_bits, n_random = random_bits_of(accum);
    const double size = fabs((double)x), u = ldexp(bits >> (32 - n_random), -n_random);

    if (isnan(x))
        return x;
    if (size >= f->max)
        return copysignf(f->max, x);
    const int e = exponent_of(f, size);
    const double n = ldexp(rint(ldexp(size, 23 - e)), -dropped); /* in units of the last bit */
    const double y = ldexp(floor(n + u), e - f->fp.man_bits);
    return y < least_value(f) ? 0.0f : copysignf((float)y, x);
}

nyb_accum_key nyb_accum_key_of(const nyb_stream *stream)
{
    uint32_t block[4];

    nyb_rng_block(stream, 0, block);
    return (nyb_accum_key){.add = block[0], .flip = block[1]};
}

/* The next sum of a chain; z: its generator. */
static float rounded(const nyb_accum *accum, float x, uint32_t *z)
{
    if (!nyb_accum_draws(accum))
        return nyb_accum_round(accum->format, x);
    *z = nyb_accum_next(*z);
    return nyb_accum_round_drawn(accum, x, *z);
}

/* y is what became of s + p. Sums in double with their error (Knuth's TwoSum). */
static float counted(nyb_accum_stats *stats, float s, float p, float y)
{
    if (!stats || p == 0)
        return y;
    const double sum = (double)s + p, p_part = sum - s;
    const double error = (s - (sum - p_part)) + (p - p_part);

    stats->n++;
    if (y == s)
        stats->full++;
    else if (sum != y || error != 0)
        stats->partial++;
    return y;
}

float nyb_accum_dot(const nyb_accum *accum, const float *a, const float *b, size_t n, uint32_t z,
                    nyb_accum_stats *stats)
{
    const nyb_format *f = nyb_accum_is_exact(accum) ? NULL : accum->format;
    const size_t most = f ? n : NYB_ACCUM_F32_CHUNK;
    const size_t chunk = accum->chunk ? (size_t)accum->chunk : most;
    float tot = 0;

    for (size_t first = 0; first < n; first += chunk) {
        float s = 0;
        for (size_t i = first; i < n && i < first + chunk; i++) {
            const float p = a[i] * b[i];
            s = counted(stats, s, p, f ? rounded(accum, s + p, &z) : s + p);
        }
        const bool rounds = f && f->grid != NYB_GRID_INT;
        tot = counted(stats, tot, s, rounds ? rounded(accum, tot + s, &z) : tot + s);
    }
    return tot;
}

/* ---- kernels ----------------------------------------------------------------------------------
 */

void nyb_accum_grid_init(nyb_accum_grid *grid, const nyb_accum *accum)
{
    const nyb_format *f = accum->format;
    const int m = f->fp.man_bits, n_random = random_bits_of(accum);

    *grid = (nyb_accum_grid){.max = f->max, .fuses = true};
    if (f->grid == NYB_GRID_INT) {
        grid->mode = NYB_ACCUM_INT;
    } else if (nyb_accum_draws(accum)) {
        grid->mode = NYB_ACCUM_DRAWN;
        grid->dropped = (uint32_t)(23 - m);
        grid->random = ((1u << n_random) - 1) << (23 - m - n_random);
        grid->least = (float)least_value(f);
        if (f->fp.subnormals && least_exponent(f) > -126)
            grid->base = ldexpf(1, least_exponent(f));
    } else if (has_magic(f)) {
        grid->mode = NYB_ACCUM_MAGIC;
        grid->least_exponent = nyb_bits_of(ldexpf(1, least_exponent(f)));
        grid->magic = ldexpf(1.5f, 23 - m);
    } else {
        grid->mode = has_gap(f) ? NYB_ACCUM_GAP : f->fp.ties_away ? NYB_ACCUM_AWAY : NYB_ACCUM_EVEN;
        grid->dropped = (uint32_t)(23 - m);
        grid->least = (float)least_value(f);
    }
    /* Products that f32 would flush are below a half of every sum's last bit; those that overflow
     * exceed the largest by far. */
    if (f->grid == NYB_GRID_FLOAT)
        grid->fuses = least_exponent(f) - m >= -100 && f->max < 0x1p126f;
}

/* To nearest, a sum grows by at most twice its addend, and so does the sum of chunks. By chance
 * each addition may besides add a last bit: 2^-m of the sum, or the least value. In n additions
 * that is a factor below e^(n / 2^m) < 2^(1.5 n / 2^m). */
bool nyb_accum_is_free(const nyb_accum_grid *grid, size_t chunk, size_t k, double largest)
{
    double factor = 4.0;

    if (grid->mode == NYB_ACCUM_DRAWN) {
        const double n = (double)(chunk && chunk < k ? chunk + nyb_div_up(k, chunk) : k + 1);
        const double doublings = ldexp(1.5 * n, (int)grid->dropped - 23);

        if (!(doublings < 300.0))
            return false;
        factor = ldexp(4.0, (int)doublings + 1);
        largest += (double)grid->least;
    }
    return factor * (double)k * largest <= (double)grid->max;
}

bool nyb_accum_is_normal(const nyb_accum_grid *grid, double unit)
{
    return grid->mode == NYB_ACCUM_DRAWN && unit >= (double)grid->base &&
           unit >= (double)grid->least;
}

extern const nyb_accum_kernel nyb_accum_avx512, nyb_accum_avx2, nyb_accum_ref;

const nyb_accum_kernel *const nyb_accum_kernels[] = {
#if NYB_SIMD
    &nyb_accum_avx512,
    &nyb_accum_avx2,
#endif
    &nyb_accum_ref,
    NULL,
};

const nyb_accum_kernel *nyb_accum_kernel_choose(uint32_t cpu)
{
    const nyb_accum_kernel *const *k = nyb_accum_kernels;

    while ((*k)->needs & ~cpu)
        k++; /* ends at "ref", which needs nothing */
    return *k;
}

/* ---- words ------------------------------------------------------------------------------------
 */

nyb_status nyb_accum_check(const nyb_accum *accum, nyb_error *err)
{
    const nyb_format *f = accum->format;

    if (accum->chunk < 0)
        return nyb_fail(err, NYB_INVALID, "a chunk of %d products; 1 or more, 0 for all",
                        accum->chunk);
    if (nyb_accum_is_exact(accum))
        return accum->chunk == 0 && accum->rounding == NYB_ROUND_NEAREST && !accum->random_bits
                   ? NYB_OK
                   : nyb_fail(err, NYB_INVALID,
                              "f32 means the engine's own sum, which has neither chunks nor a "
                              "rounding");
    if (accum->rounding != NYB_ROUND_NEAREST && !nyb_accum_draws(accum))
        return nyb_fail(err, NYB_INVALID, "an accumulator rounds 'nearest' or 'stochastic'");
    if (f->grid == NYB_GRID_INT && f->is_signed && f->lo == -f->hi)
        return nyb_accum_draws(accum)
                   ? nyb_fail(err, NYB_INVALID,
                              "accumulator '%s' sums integers, which need no rounding: 'nearest'",
                              f->name)
                   : NYB_OK;
    if (f->grid != NYB_GRID_FLOAT || !f->is_signed)
        return nyb_fail(err, NYB_INVALID,
                        "format '%s' cannot accumulate; floating formats (fp16, e6m9) and signed "
                        "integers (int8, int16) can",
                        f->name);
    if (f->fp.man_bits < 1 || f->fp.man_bits > 21 || (f->fp.ties_away && f->fp.subnormals) ||
        !isfinite(f->max) || (f->fp.subnormals && !has_magic(f) && least_exponent(f) > -126))
        return nyb_fail(err, NYB_INVALID,
                        "format '%s' cannot accumulate: 1 .. 21 mantissa bits, no ties away "
                        "from zero beside subnormals, and the range of f32",
                        f->name);
    if (accum->random_bits < 0 || accum->random_bits > 23 - f->fp.man_bits)
        return nyb_fail(err, NYB_INVALID, "%d random bits; format '%s' drops %d of f32's: 1 .. %d",
                        accum->random_bits, f->name, 23 - f->fp.man_bits, 23 - f->fp.man_bits);
    return NYB_OK;
}

nyb_status nyb_accum_check_operands(const nyb_accum *accum, const nyb_format *a,
                                    const nyb_format *b, nyb_error *err)
{
    const nyb_format *const bad = a->max_unit > 0 ? b : a;

    NYB_TRY(nyb_accum_check(accum, err));
    if (!nyb_accum_is_exact(accum) && accum->format->grid == NYB_GRID_INT && bad->max_unit == 0)
        return nyb_fail(err, NYB_INVALID,
                        "accumulator '%s' sums integer codes, and an operand is '%s'; floating "
                        "accumulators (fp16, e6m9) take any",
                        accum->format->name, bad->name);
    return NYB_OK;
}

static nyb_status parse_format(const char *word, nyb_accum *accum, nyb_error *err)
{
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) {
        if (strcmp(wide[i].name, word) == 0) {
            accum->format = &wide[i];
            return NYB_OK;
        }
    }
    nyb_error why;
    const nyb_status status = nyb_format_parse(word, &accum->format, &why);

    if (status == NYB_UNKNOWN)
        return nyb_fail(
            err, status,
            "no accumulator is named '%.60s'; there are f32, int2 .. int8, int12, int16, "
            "and floating formats: fp16, bf16, dlfloat16 ..., any eXmY or eXmYbB with X "
            "1..8, Y 1..21",
            word);
    return status == NYB_OK ? NYB_OK : nyb_fail(err, status, "%s", why.text);
}

/* The whole of a word as a number from 1 on; 0 if it is none. */
static int parse_count(const char *word)
{
    char *end;
    const long n = strtol(word, &end, 10);

    return *word < '0' || *word > '9' || *end || n < 1 || n > INT_MAX ? 0 : (int)n;
}

static nyb_status parse_rounding(char *word, nyb_accum *accum, nyb_error *err)
{
    char *bits = strchr(word, ':');

    if (bits) {
        *bits++ = '\0';
        accum->random_bits = parse_count(bits);
        if (strcmp(word, "stochastic") != 0 || accum->random_bits == 0)
            return nyb_fail(err, NYB_INVALID,
                            "'%s:%s': random bits are 'stochastic:N', N from 1 on", word, bits);
    }
#define X(constant, name, sentence)                                                                \
    if (strcmp(word, name) == 0) {                                                                 \
        accum->rounding = constant;                                                                \
        return NYB_OK;                                                                             \
    }
    NYB_ROUNDING_LIST(X)
#undef X
    return nyb_fail(err, NYB_UNKNOWN,
                    "no rounding is named '%s'; an accumulator rounds 'nearest' or 'stochastic'",
                    word);
}

static nyb_status parse_chunk(const char *word, nyb_accum *accum, nyb_error *err)
{
    accum->chunk = parse_count(word);
    if (accum->chunk == 0)
        return nyb_fail(err, NYB_INVALID, "'%s' is not a chunk length: 1 .. %d", word, INT_MAX);
    return NYB_OK;
}

nyb_status nyb_accum_parse(const char *text, nyb_accum *accum, nyb_error *err)
{
    nyb_accum result = {.rounding = NYB_ROUND_NEAREST};
    char words[96];
    char *rest = words;

    if (!text || strlen(text) >= sizeof words)
        return nyb_fail(err, NYB_INVALID, "'%.20s...' is not an accumulator", text ? text : "NULL");
    memcpy(words, text, strlen(text) + 1);
    NYB_TRY(parse_format(strsep(&rest, "/"), &result, err));
    char *word = strsep(&rest, "/");
    if (word && *word >= '0' && *word <= '9') {
        NYB_TRY(parse_chunk(word, &result, err));
        word = strsep(&rest, "/");
    }
    if (word)
        NYB_TRY(parse_rounding(word, &result, err));
    if (rest)
        return nyb_fail(err, NYB_INVALID, "'%s' has more than format/chunk/rounding", text);
    NYB_TRY(nyb_accum_check(&result, err));
    *accum = result;
    return NYB_OK;
}

int nyb_accum_print(const nyb_accum *accum, char *text, size_t n_bytes)
{
    char chunk[16] = "", bits[16] = "";

    if (accum->chunk)
        snprintf(chunk, sizeof chunk, "/%d", accum->chunk);
    if (accum->random_bits)
        snprintf(bits, sizeof bits, ":%d", accum->random_bits);
    return snprintf(text, n_bytes, "%s%s%s%s", accum->format ? accum->format->name : "f32", chunk,
                    nyb_accum_draws(accum) ? "/stochastic" : "", bits);
}

int nyb_accum_mantissa(const nyb_accum *accum)
{
    if (nyb_accum_is_exact(accum))
        return 23;
    return accum->format->grid == NYB_GRID_INT ? 0 : accum->format->fp.man_bits;
}
