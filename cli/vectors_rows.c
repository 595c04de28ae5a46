/* Test vectors of products of integers whose rows have scales, and offsets, of their own. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "vectors.h"

/* x [M][K], w [N][K]. */
#define M   5
#define N   4
#define K   70
#define N_X (sizeof x_specs / sizeof *x_specs)
#define N_W (sizeof w_specs / sizeof *w_specs)
#define ORDER                                                                                      \
    "t = f32(f32(exact dot product of the codes' values) * f32(x scale * f32(w's scale if it has " \
    "but one, else 1))); where the x offset is not 0: t = f32(t + f32(f32(exact sum of w's row) "  \
    "* f32(x offset * (w's scale if it has but one, else 1)))); where w's rows have scales: t = "  \
    "f32(t * w scale); y = t"

/* One of each has one scale. */
static const char *const x_specs[] = {
    "int4/absmax/row/nearest", "int8/absmax/row/nearest", "uint4/psq/row/nearest",
    "uint8/psq/row/nearest",   "int2/absmax/row/nearest", "int4/absmax/tensor/nearest",
};
static const char *const w_specs[] = {
    "int4/absmax/row/nearest",
    "int8/sawb/row/nearest",
    "int4/absmax/tensor/nearest",
};

/* One role's operands, quantized. */
typedef struct operands {
    nyb_matrix *matrices[N_X];
    unsigned char codes[N_X * M * K];
    float scales[N_X * M], offsets[N_X * M];
} operands;

/* Rows of different size, of which x's lie to one side of 0; one row is 0. */
static void fill(uint32_t *state, size_t rows, float shift, float *reals)
{
    vectors_draw_reals(state, rows * K, reals);
    for (size_t i = 0; i < rows * K; i++)
        reals[i] = (reals[i] + shift) * ldexpf(1.0f, (int)(i / K));
    memset(reals + 2 * K, 0, K * sizeof *reals);
}

static int quantize(const vectors *v, const char *const *specs, size_t n, size_t rows,
                    const float *reals, operands *o)
{
    nyb_spec spec;
    nyb_error err;

    for (size_t i = 0; i < n; i++) {
        if (nyb_spec_parse(specs[i], &spec, &err) != NYB_OK ||
            nyb_matrix_create(v->context, &spec, reals, rows, K, 0, 0, 0, &o->matrices[i], &err) !=
                NYB_OK)
            return cli_fail(specs[i], &err);
        for (size_t row = 0; row < rows; row++) {
            o->scales[i * rows + row] = nyb_matrix_row_scale(o->matrices[i], row);
            o->offsets[i * rows + row] = nyb_matrix_row_offset(o->matrices[i], row);
            for (size_t k = 0; k < K; k++)
                o->codes[(i * rows + row) * K + k] =
                    (unsigned char)nyb_matrix_code(o->matrices[i], row, k);
        }
    }
    return CLI_OK;
}

static int multiply(const vectors *v, const operands *x, const operands *w, float *y)
{
    nyb_error err;

    for (size_t i = 0; i < N_X * N_W; i++)
        if (nyb_matmul_y(v->context, x->matrices[i / N_W], w->matrices[i % N_W], NULL,
                         y + i * M * N, &err) != NYB_OK)
            return cli_fail("vectors", &err);
    return CLI_OK;
}

static int write_operands(vectors *v, const char *role, const char *const *specs, size_t n,
                          size_t rows, const operands *o)
{
    const size_t dims[3] = {n, rows, K};
    char path[60];

    snprintf(path, sizeof path, "rows/%s.codes.npy", role);
    if (vectors_bytes(v, path, o->codes, 3, dims, specs) != CLI_OK)
        return CLI_FAILURE;
    snprintf(path, sizeof path, "rows/%s.scales.npy", role);
    if (vectors_floats(v, path, o->scales, 2, dims, specs) != CLI_OK)
        return CLI_FAILURE;
    snprintf(path, sizeof path, "rows/%s.offsets.npy", role);
    return vectors_floats(v, path, o->offsets, 2, dims, specs);
}

int vectors_rows(vectors *v)
{
    static const size_t dims[4] = {N_X, N_W, M, N};
    operands *x = cli_alloc(1, sizeof *x), *w = cli_alloc(1, sizeof *w);
    float x_reals[M * K], w_reals[N * K], y[N_X * N_W * M * N];
    uint32_t state = 1;
    int exit_status = vectors_folder(v, "rows");

    fill(&state, M, 3.0f, x_reals);
    fill(&state, N, 0.0f, w_reals);
    if (exit_status == CLI_OK)
        exit_status = quantize(v, x_specs, N_X, M, x_reals, x);
    if (exit_status == CLI_OK)
        exit_status = quantize(v, w_specs, N_W, N, w_reals, w);
    if (exit_status == CLI_OK)
        exit_status = multiply(v, x, w, y);
    if (exit_status == CLI_OK)
        exit_status = vectors_json(v, "rows/rows.json",
                                   json_pack("{s:i, s:i, s:i, s:s, s:o, s:o}", "m", M, "n", N, "k",
                                             K, "order", ORDER, "x", vectors_list(x_specs, N_X),
                                             "w", vectors_list(w_specs, N_W)));
    if (exit_status == CLI_OK)
        exit_status = write_operands(v, "x", x_specs, N_X, M, x);
    if (exit_status == CLI_OK)
        exit_status = write_operands(v, "w", w_specs, N_W, N, w);
    if (exit_status == CLI_OK)
        exit_status = vectors_floats(v, "rows/y.npy", y, 4, dims, x_specs);
    for (size_t i = 0; i < N_X; i++) {
        nyb_matrix_destroy(&x->matrices[i]);
        nyb_matrix_destroy(&w->matrices[i]);
    }
    free(x);
    free(w);
    return exit_status;
}
