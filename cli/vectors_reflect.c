/* Test vectors of StatQuant's block Householder quantizer: samples that share their ranges. */
#include <math.h>
#include <stdlib.h>

#include "vectors.h"

/* Samples of each input; of a row that is alone, of one group and of several. */
static const size_t rows[] = {1, 2, 5, 13};
#define N_ROWS    (sizeof rows / sizeof *rows)
#define ROWS_MAX  13
#define COLS      20
#define N_MAX     (ROWS_MAX * COLS)
#define CASES_MAX 64
#define SPEC_MAX  96

static const char *const roundings[] = {"nearest", "stochastic", "stochastic:32"};
#define N_ROUNDINGS (sizeof roundings / sizeof *roundings)

/* The cases of one input. values: of the reflected rows, and of the rows. */
typedef struct reflections {
    size_t rows, n;
    float x[N_MAX];
    char specs[CASES_MAX][SPEC_MAX];
    const char *names[CASES_MAX];
    unsigned char codes[CASES_MAX * N_MAX];
    float scales[CASES_MAX * ROWS_MAX], offsets[CASES_MAX * ROWS_MAX];
    float reflected[CASES_MAX * N_MAX], values[CASES_MAX * N_MAX];
} reflections;

/* Ranges from 1/16 to 200, two of them alike, one row of equal numbers; what is not finite counts
 * as 0. */
static void fill(size_t n_rows, float *x)
{
    uint32_t state = 1;

    vectors_draw_reals(&state, n_rows * COLS, x);
    for (size_t row = 0; row < n_rows; row++)
        for (size_t col = 0; col < COLS; col++)
            x[row * COLS + col] *=
                row % 4 == 3 ? 6.3f + (float)row : ldexpf(1.0f, -(int)(row * 5 % 7));
    if (n_rows < 8)
        return;
    for (size_t col = 0; col < COLS; col++) {
        x[5 * COLS + col] = -x[4 * COLS + col];
        x[6 * COLS + col] = 0.3f;
    }
    x[7 * COLS] = NAN;
    x[7 * COLS + 1] = INFINITY;
    x[7 * COLS + 2] = -INFINITY;
    x[7 * COLS + 3] = 0x1p-140f;
}

/* Adds a case; one that cannot exist is left out. */
static int add(const vectors *v, reflections *r, const nyb_format *format, const char *rounding)
{
    const size_t at = r->n * r->rows * COLS;
    char *text = r->specs[r->n];
    nyb_spec spec;
    nyb_error err;

    if (r->n == CASES_MAX) {
        cli_error("vectors", "more than %d reflections", CASES_MAX);
        return CLI_FAILURE;
    }
    snprintf(text, SPEC_MAX, "%s/psq/row/%s/householder", nyb_format_name(format), rounding);
    if (nyb_format_bits(format) > 8 || nyb_spec_parse(text, &spec, &err) != NYB_OK)
        return CLI_OK;
    if (nyb_quantize_groups(v->context, &spec, r->x, r->rows, COLS, VECTORS_SEED, VECTORS_STEP,
                            VECTORS_DRAW, r->codes + at, r->reflected + at,
                            r->scales + r->n * r->rows, r->offsets + r->n * r->rows, NULL,
                            &err) != NYB_OK ||
        nyb_quantize(v->context, &spec, r->x, r->rows, COLS, VECTORS_SEED, VECTORS_STEP,
                     VECTORS_DRAW, NULL, r->values + at, NULL, &err) != NYB_OK)
        return cli_fail(text, &err);
    r->names[r->n++] = text;
    return CLI_OK;
}

static int floats(vectors *v, const reflections *r, const char *word, const float *values,
                  int n_dims)
{
    const size_t dims[3] = {r->n, r->rows, COLS};
    char path[80];

    snprintf(path, sizeof path, "householder/%zu.%s.npy", r->rows, word);
    return vectors_floats(v, path, values, n_dims, dims, r->names);
}

static int write_all(vectors *v, const reflections *r)
{
    const size_t dims[3] = {r->n, r->rows, COLS};
    char path[80];

    snprintf(path, sizeof path, "householder/%zu.x.npy", r->rows);
    if (vectors_floats(v, path, r->x, 2, dims + 1, NULL) != CLI_OK)
        return CLI_FAILURE;
    snprintf(path, sizeof path, "householder/%zu.codes.npy", r->rows);
    if (vectors_bytes(v, path, r->codes, 3, dims, r->names) != CLI_OK ||
        floats(v, r, "scales", r->scales, 2) != CLI_OK ||
        floats(v, r, "offsets", r->offsets, 2) != CLI_OK ||
        floats(v, r, "reflected", r->reflected, 3) != CLI_OK)
        return CLI_FAILURE;
    return floats(v, r, "values", r->values, 3);
}

static json_t *describe(const reflections *r)
{
    json_t *inputs = json_array();

    for (size_t i = 0; i < N_ROWS; i++)
        json_array_append_new(inputs, json_integer((json_int_t)rows[i]));
    return json_pack("{s:i, s:i, s:i, s:o, s:i, s:o}", "seed", VECTORS_SEED, "step", VECTORS_STEP,
                     "draw", VECTORS_DRAW, "rows", inputs, "cols", COLS, "cases",
                     vectors_list(r->names, r->n));
}

int vectors_reflections(vectors *v)
{
    reflections *r = cli_alloc(1, sizeof *r);
    int exit_status = vectors_folder(v, "householder");

    for (size_t i = 0; i < N_ROWS && exit_status == CLI_OK; i++) {
        r->rows = rows[i];
        r->n = 0;
        fill(r->rows, r->x);
        for (size_t f = 0; f < nyb_format_count(); f++)
            for (size_t k = 0; k < N_ROUNDINGS && exit_status == CLI_OK; k++)
                exit_status = add(v, r, nyb_format_at(f), roundings[k]);
        if (exit_status == CLI_OK)
            exit_status = write_all(v, r);
    }
    if (exit_status == CLI_OK)
        exit_status = vectors_json(v, "householder/householder.json", describe(r));
    free(r);
    return exit_status;
}
