/* What dot products of a given length lose in an accumulator, measured on random operands. */
#include <nybble/accumulate.h>

#include <math.h>

#include "base/rng.h"
#include "gemm/accumulate.h"
#include "quant/round.h"

#define MAX_LENGTH ((size_t)1 << 22)
#define MAX_TRIALS 4096
#define ADDITIONS  ((size_t)1 << 21) /* over all trials, where n allows */

typedef struct side {
    const nyb_spec *spec;
    uint8_t *codes; /* NULL: not packed */
    float *x, *factors;
    uint32_t bits; /* of all factors together */
} side;

static bool sums_units(const nyb_accum *accum)
{
    return accum->format && accum->format->grid == NYB_GRID_INT;
}

static nyb_status check_accum(const nyb_accum *accum, const nyb_spec *a, const nyb_spec *b,
                              nyb_error *err)
{
    NYB_TRY(nyb_accum_check_operands(accum, a->format, b->format, err));
    if (sums_units(accum) && !(nyb_spec_packs(a) && nyb_spec_packs(b)))
        return nyb_fail(err, NYB_INVALID,
                        "accumulator '%s' sums integer codes, which operands scaled in groups or "
                        "mixed do not have",
                        accum->format->name);
    return NYB_OK;
}

static nyb_status open_side(side *s, const nyb_spec *spec, size_t n, nyb_error *err)
{
    const bool packs = spec->format->grid != NYB_GRID_REAL && nyb_spec_packs(spec);

    *s = (side){.spec = spec};
    s->x = nyb_alloc(n * sizeof *s->x);
    s->factors = nyb_alloc(n * sizeof *s->factors);
    s->codes = packs ? nyb_alloc(n) : NULL;
    if (s->x && s->factors && (s->codes || !packs))
        return NYB_OK;
    return nyb_fail(err, NYB_MEMORY, "no memory for vectors of %zu", n);
}

static void close_side(side *s)
{
    nyb_free(s->x);
    nyb_free(s->factors);
    nyb_free(s->codes);
}

/* One trial: normal numbers, quantized. Where there are codes, factors are set by decode. */
static nyb_status draw(nyb_context *context, side *s, size_t n, nyb_stream stream, nyb_error *err)
{
    for (size_t i = 0; i < n; i++)
        s->x[i] = nyb_rng_normal(&stream, i);
    if (s->spec->format->grid != NYB_GRID_REAL)
        return nyb_quantize(context, s->spec, s->x, 1, n, stream.seed, stream.step, stream.sample,
                            s->codes, s->factors, NULL, err);
    memcpy(s->factors, s->x, n * sizeof *s->x);
    return NYB_OK;
}

/* Factors as the accumulate engine multiplies them. */
static void decode(side *s, bool units, size_t n)
{
    const nyb_format *f = s->spec->format;

    for (size_t i = 0; i < n; i++) {
        if (s->codes)
            s->factors[i] =
                units ? (float)f->units[s->codes[i]] : nyb_format_decode(f, s->codes[i]);
        s->bits |= nyb_bits_of(s->factors[i]);
    }
}

static int mantissa_bits(uint32_t bits)
{
    const int zeros = bits & 0x7fffff ? __builtin_ctz(bits) : 23;

    return 23 - zeros;
}

typedef struct moments {
    double exact, rounded, error; /* sums of squares */
} moments;

/* z: the generator of an accumulator that draws. */
static void add_trial(const nyb_accum *accum, const side *a, const side *b, size_t n, uint32_t z,
                      moments *m, nyb_accum_stats *adds)
{
    const double rounded = nyb_accum_dot(accum, a->factors, b->factors, n, z, adds);
    double exact = 0;

    for (size_t i = 0; i < n; i++)
        exact += (double)a->factors[i] * b->factors[i];
    m->exact += exact * exact;
    m->rounded += rounded * rounded;
    m->error += (rounded - exact) * (rounded - exact);
}

typedef struct study {
    nyb_context *context;
    const nyb_accum *accums;
    size_t n_accums, n;
    uint64_t seed, trials;
    side sides[2];
    moments *moments; /* [n_accums] */
} study;

static nyb_status run(study *s, nyb_accum_loss *losses, nyb_error *err)
{
    const nyb_accum_key key =
        nyb_accum_key_of(&(nyb_stream){.seed = s->seed, .role = NYB_RNG_SUM_Y});

    for (uint64_t t = 0; t < s->trials; t++) {
        for (uint8_t i = 0; i < 2; i++) {
            const nyb_stream stream = {
                .seed = s->seed, .step = (uint32_t)t, .role = NYB_RNG_INIT, .sample = i};
            NYB_TRY(draw(s->context, &s->sides[i], s->n, stream, err));
        }
        for (size_t j = 0; j < s->n_accums; j++) {
            for (int i = 0; i < 2; i++)
                decode(&s->sides[i], sums_units(&s->accums[j]), s->n);
            add_trial(&s->accums[j], &s->sides[0], &s->sides[1], s->n, nyb_accum_start(key, t),
                      &s->moments[j], &losses[j].adds);
        }
    }
    return NYB_OK;
}

static void finish(const study *s, nyb_accum_loss *losses)
{
    for (size_t j = 0; j < s->n_accums; j++) {
        const moments *m = &s->moments[j];
        losses[j].n = s->n;
        losses[j].trials = s->trials;
        losses[j].product_bits =
            mantissa_bits(s->sides[0].bits) + mantissa_bits(s->sides[1].bits) + 1;
        losses[j].retention = m->exact > 0 ? m->rounded / m->exact : 1;
        losses[j].error = m->exact > 0 ? sqrt(m->error / m->exact) : 0;
    }
}

nyb_status nyb_accum_measure(nyb_context *context, const nyb_accum *accums, size_t n_accums,
                             const nyb_spec *a, const nyb_spec *b, size_t n, uint64_t seed,
                             nyb_accum_loss *losses, nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(context && accums && a && b && losses, err));
    NYB_TRY(nyb_spec_check(a, err));
    NYB_TRY(nyb_spec_check(b, err));
    for (size_t j = 0; j < n_accums; j++)
        NYB_TRY(check_accum(&accums[j], a, b, err));
    if (n < 1 || n > MAX_LENGTH)
        return nyb_fail(err, NYB_INVALID, "a dot product of length %zu; 1 .. %zu", n, MAX_LENGTH);

    study s = {.context = context, .accums = accums, .n_accums = n_accums, .n = n, .seed = seed};
    s.trials = nyb_min(nyb_max(ADDITIONS / n, 8), MAX_TRIALS);
    s.moments = nyb_alloc(n_accums * sizeof *s.moments);
    nyb_status status =
        s.moments ? NYB_OK : nyb_fail(err, NYB_MEMORY, "no memory for %zu sums", n_accums);
    memset(losses, 0, n_accums * sizeof *losses);
    if (status == NYB_OK)
        status = open_side(&s.sides[0], a, n, err);
    if (status == NYB_OK)
        status = open_side(&s.sides[1], b, n, err);
    const uint32_t former = nyb_cpu_fp_enter();
    if (status == NYB_OK)
        status = run(&s, losses, err);
    if (status == NYB_OK)
        finish(&s, losses);
    nyb_cpu_fp_restore(former);
    close_side(&s.sides[0]);
    close_side(&s.sides[1]);
    nyb_free(s.moments);
    return status;
}
