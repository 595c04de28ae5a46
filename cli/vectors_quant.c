/* Test vectors of quantizers: every format, scale rule, group and rounding that go together. */
#include <math.h>
#include <stdlib.h>

#include "vectors.h"

/* One input per group: whole blocks and a shorter last one, zeros, infinities, NaN, powers of two.
 */
typedef struct input {
    nyb_group group;
    const char *word;
    size_t rows, cols;
} input;

static const input inputs[] = {
    {NYB_GROUP_TENSOR, "tensor", 3, 40},   {NYB_GROUP_ROW, "row", 4, 24},
    {NYB_GROUP_CHANNEL, "channel", 12, 7}, {NYB_GROUP_BLOCK16, "block16", 3, 40},
    {NYB_GROUP_BLOCK32, "block32", 2, 72}, {NYB_GROUP_BLOCK64, "block64", 2, 80},
    {NYB_GROUP_TILE16, "tile16", 18, 20},
};
#define N_INPUTS  (sizeof inputs / sizeof *inputs)
#define N_MAX     360 /* elements of the largest */
#define CASES_MAX 512 /* of one format and group */
#define SPEC_MAX  96

static const char *const roundings[] = {
    "nearest", "stochastic", "stochastic:32", "flush", "underflow", "flush-stochastic",
};
#define N_ROUNDINGS (sizeof roundings / sizeof *roundings)

/* Hadamard transforms, with one rule each: all the others would say the same again. */
static const char *const mixed[] = {
    "absmax/block32/nearest/hadamard32",           "absmax/block32/stochastic/random_hadamard32",
    "absmax/block16/nearest/hadamard16",           "absmax/block16/nearest/hadamard64",
    "absmax/block16/nearest/hadamard128",          "absmax/block16/stochastic/random_hadamard16",
    "absmax/block16/stochastic/random_hadamard64", "absmax/block16/stochastic/random_hadamard128",
    "absmax/block16/nearest/nvidia_hadamard16",    "ms_eden/block16/nearest/random_hadamard32",
    "ms_eden/block16/nearest/random_hadamard128",
};
#define N_MIXED (sizeof mixed / sizeof *mixed)

/* The largest of the input with one scale. */
#define AMAX 6.47f

/* What one scale entry holds. */
#define PARTS 3 /* scale, offset, level */

/* The cases of one format and one input. */
typedef struct batch {
    const nyb_format *format;
    const input *in;
    float x[N_MAX];
    size_t n, n_groups; /* cases; groups of each */
    char specs[CASES_MAX][SPEC_MAX];
    const char *names[CASES_MAX];
    float *parts;
    /* Codes of at most a byte, from which values follow; else values. The other is NULL. */
    unsigned char *codes;
    float *values;
} batch;

/* Where a scale of amax / most puts the middle between two integers, and a neighbour of it: there
 * x / scale and x * (1 / scale) differ. */
static void fill_middles(float amax, float most, size_t n, float *x)
{
    const float scale = amax / most;

    for (size_t i = 0; i < n; i++) {
        const float middle = ((float)(i / 2) + 0.5f) * scale;

        x[i] = i % 2 ? nextafterf(middle, 0.0f) : -middle;
    }
}

/* Magnitudes from 2^-12 to 4 of either sign, powers of two, zeros, a subnormal, infinities, NaN;
 * middles of int4, int8 and (below 2) e2m1 with one scale. */
static void fill(const input *in, float *x)
{
    const size_t n = in->rows * in->cols;
    uint32_t state = 1;

    for (size_t i = 0; i < n; i++) {
        const float m = 1.0f + (float)(vectors_draw(&state) >> 8 & 0x3fffff) * 0x1p-22f;

        x[i] = ldexpf((state >> 7 & 1) ? -m : m, (i % 29 == 0) - (int)(state % 13));
    }
    for (size_t i = 3; i < 9; i++)
        x[i] = ldexpf(i % 2 ? -1.0f : 1.0f, 3 - (int)i);
    x[0] = 0.0f;
    x[1] = -0.0f;
    x[2] = 0x1p-140f;
    x[n - 1] = NAN;
    x[n - 2] = INFINITY;
    x[n - 3] = -INFINITY;
    if (in->group != NYB_GROUP_TENSOR)
        return;
    x[9] = AMAX;
    fill_middles(AMAX, 7.0f, 14, x + 10);
    fill_middles(AMAX, 127.0f, 14, x + 24);
    fill_middles(AMAX, 12.0f, 8, x + 38);
}

/* Adds a case; one that cannot exist is left out. */
static int add(vectors *v, batch *b, const char *rest)
{
    const size_t n = b->in->rows * b->in->cols;
    float scales[N_MAX], offsets[N_MAX], level;
    char *text = b->specs[b->n];
    nyb_error err;
    nyb_spec spec;

    if (b->n == CASES_MAX) {
        cli_error("vectors", "more than %d cases of one format and group", CASES_MAX);
        return CLI_FAILURE;
    }
    snprintf(text, SPEC_MAX, "%s/%s", nyb_format_name(b->format), rest);
    if (nyb_spec_parse(text, &spec, &err) != NYB_OK || spec.group != b->in->group)
        return CLI_OK;
    if (nyb_quantize_groups(v->context, &spec, b->x, b->in->rows, b->in->cols, VECTORS_SEED,
                            VECTORS_STEP, VECTORS_DRAW, b->codes ? b->codes + b->n * n : NULL,
                            b->values ? b->values + b->n * n : NULL, scales, offsets, &level,
                            &err) != NYB_OK)
        return cli_fail(text, &err);
    for (size_t g = 0; g < b->n_groups; g++) {
        float *part = b->parts + (b->n * b->n_groups + g) * PARTS;

        part[0] = scales[g];
        part[1] = offsets[g];
        part[2] = level;
    }
    b->names[b->n] = text;
    b->n++;
    return CLI_OK;
}

static int add_all(vectors *v, batch *b)
{
    char rest[SPEC_MAX];

    for (size_t r = 0; r < nyb_scale_rule_count(); r++)
        for (size_t k = 0; k < N_ROUNDINGS; k++) {
            snprintf(rest, sizeof rest, "%s/%s/%s", nyb_scale_rule_name(nyb_scale_rule_at(r)),
                     b->in->word, roundings[k]);
            if (add(v, b, rest) != CLI_OK)
                return CLI_FAILURE;
        }
    for (size_t k = 0; k < N_MIXED; k++)
        if (add(v, b, mixed[k]) != CLI_OK)
            return CLI_FAILURE;
    return CLI_OK;
}

static json_t *describe(const batch *b)
{
    return json_pack("{s:s, s:s, s:s+, s:o}", "format", nyb_format_name(b->format), "group",
                     b->in->word, "x", b->in->word, ".x.npy", "cases",
                     vectors_list(b->names, b->n));
}

static int write_batch(vectors *v, const batch *b)
{
    const size_t dims[3] = {b->n, b->in->rows, b->in->cols}, scales[3] = {b->n, b->n_groups, PARTS};
    char path[120], stem[80];
    int exit_status;

    snprintf(stem, sizeof stem, "quantizers/%s.%s", nyb_format_name(b->format), b->in->word);
    snprintf(path, sizeof path, "%s.json", stem);
    exit_status = vectors_json(v, path, describe(b));
    snprintf(path, sizeof path, "%s.scales.npy", stem);
    if (exit_status == CLI_OK)
        exit_status = vectors_floats(v, path, b->parts, 3, scales, b->names);
    snprintf(path, sizeof path, "%s.%s.npy", stem, b->codes ? "codes" : "values");
    if (exit_status == CLI_OK)
        exit_status = b->codes ? vectors_bytes(v, path, b->codes, 3, dims, b->names)
                               : vectors_floats(v, path, b->values, 3, dims, b->names);
    return exit_status;
}

static int write_format(vectors *v, const nyb_format *f, const input *in)
{
    batch *b = cli_alloc(1, sizeof *b);
    nyb_spec any;
    nyb_error err;
    char text[SPEC_MAX];
    int exit_status;

    b->format = f;
    b->in = in;
    fill(in, b->x);
    snprintf(text, sizeof text, "%s/absmax/%s", nyb_format_name(f), in->word);
    if (nyb_spec_parse(text, &any, &err) != NYB_OK) { /* a format that needs no scale */
        snprintf(text, sizeof text, "%s/unit/%s", nyb_format_name(f), in->word);
        if (nyb_spec_parse(text, &any, &err) != NYB_OK) { /* not with these groups (int4m) */
            free(b);
            return CLI_OK;
        }
    }
    b->n_groups = nyb_quant_group_count(&any, in->rows, in->cols);
    b->parts = cli_alloc(CASES_MAX * b->n_groups * PARTS, sizeof *b->parts);
    if (nyb_format_bits(f) <= 8)
        b->codes = cli_alloc(CASES_MAX * in->rows * in->cols, 1);
    else
        b->values = cli_alloc(CASES_MAX * in->rows * in->cols, sizeof *b->values);
    exit_status = add_all(v, b);
    if (exit_status == CLI_OK)
        exit_status = write_batch(v, b);
    free(b->values);
    free(b->parts);
    free(b->codes);
    free(b);
    return exit_status;
}

static int write_inputs(vectors *v)
{
    int exit_status = vectors_json(v, "quantizers/quantizers.json",
                                   json_pack("{s:i, s:i, s:i}", "seed", VECTORS_SEED, "step",
                                             VECTORS_STEP, "draw", VECTORS_DRAW));
    float x[N_MAX];
    char path[120];

    for (size_t i = 0; i < N_INPUTS && exit_status == CLI_OK; i++) {
        fill(&inputs[i], x);
        snprintf(path, sizeof path, "quantizers/%s.x.npy", inputs[i].word);
        exit_status =
            vectors_floats(v, path, x, 2, (const size_t[]){inputs[i].rows, inputs[i].cols}, NULL);
    }
    return exit_status;
}

int vectors_quantizers(vectors *v)
{
    int exit_status = vectors_folder(v, "quantizers");

    if (exit_status == CLI_OK)
        exit_status = write_inputs(v);
    for (size_t f = 0; f < nyb_format_count(); f++)
        for (size_t i = 0; i < N_INPUTS && exit_status == CLI_OK; i++)
            if (nyb_format_bits(nyb_format_at(f)) < 32)
                exit_status = write_format(v, nyb_format_at(f), &inputs[i]);
    return exit_status;
}
