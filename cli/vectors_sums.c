/* Test vectors of sums: products of formats above 8 bits, also with narrower ones, and those that
 * are added up in narrow accumulators. */
#include <stdlib.h>
#include <string.h>

#include "vectors.h"

/* x [M][K], w [N][K]; K: a chunk of 64 and a shorter one. */
#define M        4
#define N        3
#define K        72
#define MAX      1024 /* formats, accumulators, cases */
#define NAME_MAX 40
/* Of the reals, where a format is one of integers that they are too small for. */
#define LONG_FACTOR 64.0f

typedef struct sums {
    vectors *v;
    size_t n_formats, n_accums, n_cases;
    const nyb_format *formats[MAX];
    char accums[MAX][NAME_MAX];
    struct {
        size_t x, w, accum;
    } cases[MAX];
    char *names[MAX];
    float x[MAX * M * K], w[MAX * N * K], y[MAX * M * N];
} sums;

/* Integer accumulators, which clamp, and those that draw random bits. */
static const struct {
    const char *x, *w, *accum;
} chosen[] = {
    {"int4", "int4", "int8/32"},
    {"int4", "uint4", "int8"},
    {"int8", "int4", "int12"},
    {"ternary", "int8", "int8/16"},
    {"int8", "int8", "int16/32"},
    {"uint4", "int8", "int16"},
    {"e2m1", "e2m1", "int8/32"},
    {"e2m1", "int4", "int12"},
    {"e3m0", "int4", "int8/32"},
    {"e4m3", "e4m3", "e6m5/stochastic"},
    {"e5m2", "e4m3fn", "e6m5/64/stochastic"},
    {"e5m2", "e5m2", "e6m5/stochastic:9"},
    {"e5m2", "e5m2", "e6m9/16/stochastic"},
    {"bf16", "bf16", "fp16/stochastic:4"},
    {"fp16", "bf16", "bf16/32/stochastic"},
    {"tf32", "tf32", "e6m5/64/stochastic"},
    {"tf32", "e4m3", "tf32/stochastic"},
    {"int4", "int4", "e4m3/stochastic"},
    {"e2m1", "e2m1", "dlfloat16/stochastic:7"},
};
#define N_CHOSEN (sizeof chosen / sizeof *chosen)

static int too_many(void)
{
    cli_error("vectors", "more than %d sums", MAX);
    return CLI_FAILURE;
}

/* Integers that the reals are too small for. */
static bool is_long(const nyb_format *f)
{
    return nyb_format_is_integer(f) && nyb_format_max(f) > 100.0f;
}

/* The format's index; the same reals are rounded to all formats. */
static int find_format(sums *s, const nyb_format *format, size_t *index)
{
    float reals[(M + N) * K];
    char text[NAME_MAX];
    uint32_t state = 1;
    nyb_spec spec;
    nyb_error err;

    for (*index = 0; *index < s->n_formats; ++*index)
        if (s->formats[*index] == format)
            return CLI_OK;
    if (s->n_formats == MAX)
        return too_many();
    vectors_draw_reals(&state, (M + N) * K, reals);
    for (size_t i = 0; is_long(format) && i < (M + N) * K; i++)
        reals[i] *= LONG_FACTOR;
    snprintf(text, sizeof text, "%s/unit/tensor/nearest", nyb_format_name(format));
    if (nyb_spec_parse(text, &spec, &err) != NYB_OK ||
        nyb_quantize(s->v->context, &spec, reals, M, K, 0, 0, 0, NULL, s->x + *index * M * K, NULL,
                     &err) != NYB_OK ||
        nyb_quantize(s->v->context, &spec, reals + M * K, N, K, 0, 0, 0, NULL,
                     s->w + *index * N * K, NULL, &err) != NYB_OK)
        return cli_fail(text, &err);
    s->formats[s->n_formats++] = format;
    return CLI_OK;
}

static int find_accum(sums *s, const char *accum, size_t *index)
{
    for (*index = 0; *index < s->n_accums; ++*index)
        if (strcmp(s->accums[*index], accum) == 0)
            return CLI_OK;
    if (s->n_accums == MAX)
        return too_many();
    snprintf(s->accums[s->n_accums++], NAME_MAX, "%s", accum);
    return CLI_OK;
}

static nyb_status multiply_values(sums *s, size_t x, size_t w, const nyb_accum *accum, float *y,
                                  nyb_error *err)
{
    const nyb_format *f32 = nyb_format_find("f32");
    nyb_plan *plan;

    NYB_TRY(nyb_plan_create_accum(s->v->context, NYB_PLAN_Y, (nyb_image){1, 1, M, K}, N, 1, 1, 1, 0,
                                  f32, f32, accum, &plan, err));
    nyb_plan_seed(plan, VECTORS_SEED, VECTORS_STEP);
    nyb_plan_run_f32(plan, s->x + x * M * K, s->w + w * N * K, y);
    nyb_plan_destroy(&plan);
    return NYB_OK;
}

/* The matrix of values that are a format's, at scale 1. */
static nyb_status pack(sums *s, const nyb_format *format, const float *values, size_t rows,
                       nyb_matrix **matrix, nyb_error *err)
{
    char text[NAME_MAX];
    nyb_spec spec;

    snprintf(text, sizeof text, "%s/unit/tensor/nearest", nyb_format_name(format));
    NYB_TRY(nyb_spec_parse(text, &spec, err));
    return nyb_matrix_create(s->v->context, &spec, values, rows, K, 0, 0, 0, matrix, err);
}

/* Integer accumulators sum codes. */
static nyb_status multiply_codes(sums *s, size_t x, size_t w, const nyb_accum *accum, float *y,
                                 nyb_error *err)
{
    nyb_matrix *a = NULL, *b = NULL;
    nyb_plan *plan = NULL;
    nyb_status status = pack(s, s->formats[x], s->x + x * M * K, M, &a, err);

    if (status == NYB_OK)
        status = pack(s, s->formats[w], s->w + w * N * K, N, &b, err);
    if (status == NYB_OK)
        status = nyb_plan_create_matmul(s->v->context, NYB_PLAN_Y, a, b, accum, &plan, err);
    if (status == NYB_OK)
        nyb_plan_run(plan, a, b, y);
    nyb_plan_destroy(&plan);
    nyb_matrix_destroy(&a);
    nyb_matrix_destroy(&b);
    return status;
}

static nyb_status multiply(sums *s, size_t x, size_t w, const char *text, float *y, nyb_error *err)
{
    nyb_accum accum;

    NYB_TRY(nyb_accum_parse(text, &accum, err));
    return nyb_accum_mantissa(&accum) == 0 ? multiply_codes(s, x, w, &accum, y, err)
                                           : multiply_values(s, x, w, &accum, y, err);
}

/* The case of two formats and an accumulator; nothing if it is there. */
static int add(sums *s, const nyb_format *a, const nyb_format *b, const char *accum)
{
    size_t x, w, i;
    nyb_error err;

    if (find_format(s, a, &x) != CLI_OK || find_format(s, b, &w) != CLI_OK ||
        find_accum(s, accum, &i) != CLI_OK)
        return CLI_FAILURE;
    for (size_t j = 0; j < s->n_cases; j++)
        if (s->cases[j].x == x && s->cases[j].w == w && s->cases[j].accum == i)
            return CLI_OK;
    if (s->n_cases == MAX)
        return too_many();
    if (multiply(s, x, w, accum, s->y + s->n_cases * M * N, &err) != NYB_OK)
        return cli_fail(accum, &err);
    s->cases[s->n_cases].x = x;
    s->cases[s->n_cases].w = w;
    s->cases[s->n_cases].accum = i;
    s->names[s->n_cases] = cli_alloc(3 * NAME_MAX, 1);
    snprintf(s->names[s->n_cases], 3 * NAME_MAX, "%s x %s in %s", nyb_format_name(a),
             nyb_format_name(b), accum);
    s->n_cases++;
    return CLI_OK;
}

static bool is_wide(const nyb_format *f)
{
    return nyb_format_bits(f) > 8 && nyb_format_bits(f) < 32;
}

static int add_chosen(sums *s)
{
    for (size_t i = 0; i < N_CHOSEN; i++)
        if (add(s, nyb_format_find(chosen[i].x), nyb_format_find(chosen[i].w), chosen[i].accum) !=
            CLI_OK)
            return CLI_FAILURE;
    return CLI_OK;
}

/* Every pair of a wide format and one of at most 8 bits that has products, in f32. */
static int add_mixed(sums *s)
{
    for (size_t i = 0; i < nyb_format_count(); i++)
        for (size_t j = 0; j < nyb_format_count(); j++) {
            const nyb_format *a = nyb_format_at(i), *b = nyb_format_at(j);

            if (is_wide(a) && vectors_is_operand(b) &&
                (add(s, a, b, "f32") != CLI_OK || add(s, b, a, "f32") != CLI_OK))
                return CLI_FAILURE;
        }
    return CLI_OK;
}

static int add_recipe(void *user, const nyb_spec *a, const nyb_spec *b, const char *accum)
{
    if (strcmp(accum, "f32") == 0 && !is_wide(a->format) && !is_wide(b->format))
        return CLI_OK;
    return add(user, a->format, b->format, accum);
}

/* Every pair of wide formats in f32, in each wide format, and as recipes add up. */
static int add_wide(sums *s)
{
    size_t ignored;

    if (find_accum(s, "f32", &ignored) != CLI_OK)
        return CLI_FAILURE;
    for (size_t i = 0; i < nyb_format_count(); i++)
        if (is_wide(nyb_format_at(i)) &&
            find_accum(s, nyb_format_name(nyb_format_at(i)), &ignored) != CLI_OK)
            return CLI_FAILURE;
    for (size_t i = 0; i < nyb_format_count(); i++)
        for (size_t j = 0; j < nyb_format_count(); j++)
            for (size_t k = 0; k < s->n_accums; k++)
                if (is_wide(nyb_format_at(i)) && is_wide(nyb_format_at(j)) &&
                    add(s, nyb_format_at(i), nyb_format_at(j), s->accums[k]) != CLI_OK)
                    return CLI_FAILURE;
    return CLI_OK;
}

static json_t *describe(const sums *s)
{
    const char *formats[MAX];
    json_t *cases = json_array();

    for (size_t i = 0; i < s->n_formats; i++)
        formats[i] = nyb_format_name(s->formats[i]);
    for (size_t i = 0; i < s->n_cases; i++)
        json_array_append_new(cases, json_pack("{s:s, s:s, s:s}", "x",
                                               nyb_format_name(s->formats[s->cases[i].x]), "w",
                                               nyb_format_name(s->formats[s->cases[i].w]), "accum",
                                               s->accums[s->cases[i].accum]));
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:o, s:o}", "seed", VECTORS_SEED, "step",
                     VECTORS_STEP, "m", M, "n", N, "k", K, "formats",
                     vectors_list(formats, s->n_formats), "cases", cases);
}

static int write_all(sums *s)
{
    const size_t x[3] = {s->n_formats, M, K}, w[3] = {s->n_formats, N, K},
                 y[3] = {s->n_cases, M, N};
    int exit_status = vectors_json(s->v, "sums/sums.json", describe(s));

    if (exit_status == CLI_OK)
        exit_status = vectors_floats(s->v, "sums/x.npy", s->x, 3, x, NULL);
    if (exit_status == CLI_OK)
        exit_status = vectors_floats(s->v, "sums/w.npy", s->w, 3, w, NULL);
    if (exit_status == CLI_OK)
        exit_status = vectors_floats(s->v, "sums/y.npy", s->y, 3, y, (const char *const *)s->names);
    return exit_status;
}

int vectors_sums(vectors *v)
{
    sums *s = cli_alloc(1, sizeof *s);
    int exit_status = vectors_folder(v, "sums");

    s->v = v;
    if (exit_status == CLI_OK)
        exit_status = vectors_recipe_products(add_recipe, s);
    if (exit_status == CLI_OK)
        exit_status = add_wide(s);
    if (exit_status == CLI_OK)
        exit_status = add_mixed(s);
    if (exit_status == CLI_OK)
        exit_status = add_chosen(s);
    if (exit_status == CLI_OK)
        exit_status = write_all(s);
    for (size_t i = 0; i < s->n_cases; i++)
        free(s->names[i]);
    free(s);
    return exit_status;
}
