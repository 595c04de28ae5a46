/* Test vectors of products: for every pair of formats that can be packed, the three of a layer. */
#include <math.h>
#include <stdlib.h>

#include "vectors.h"

/* x [M][K], w [N][K], dy [M][N], all of one format's codes at scale 1. */
#define M 4
#define N 3
#define K 21

enum { X, W, DY, N_OPERANDS };
static const size_t shapes[N_OPERANDS][2] = {{M, K}, {N, K}, {M, N}};
static const char *const words[N_OPERANDS] = {"x", "w", "dy"};

typedef struct operands {
    const nyb_format *format;
    nyb_matrix *at[N_OPERANDS];
} operands;

static uint32_t n_codes(const nyb_format *f)
{
    return 1u << nyb_format_bits(f);
}

/* Few of its codes are worth something, and its values are whole numbers. */
static bool is_sparse(const nyb_format *f)
{
    uint32_t n = 0;

    for (uint32_t code = 0; code < n_codes(f); code++)
        n += nyb_format_decode(f, code) != 0.0f;
    return nyb_format_bits(f) == 8 && n < n_codes(f) / 4;
}

/* Codes of every kind of value; those that encoders never produce are replaced by what they do. */
static nyb_status make(vectors *v, const nyb_format *f, uint32_t *state, size_t operand,
                       nyb_matrix **matrix, nyb_error *err)
{
    const size_t n = shapes[operand][0] * shapes[operand][1];
    float values[M * K];
    char text[120];
    nyb_spec spec;

    snprintf(text, sizeof text, "%s/unit/tensor/nearest", nyb_format_name(f));
    NYB_TRY(nyb_spec_parse(text, &spec, err));
    for (size_t i = 0; i < n; i++) {
        const uint32_t draw = vectors_draw(state) >> 7;
        const float value =
            is_sparse(f) ? (float)(draw % (unsigned)(2 * nyb_format_max(f) + 1)) - nyb_format_max(f)
                         : nyb_format_decode(f, draw & (n_codes(f) - 1));

        values[i] = isfinite(value) ? value : nyb_format_max(f);
    }
    return nyb_matrix_create(v->context, &spec, values, shapes[operand][0], shapes[operand][1], 0,
                             0, 0, matrix, err);
}

static void destroy(operands *all, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < N_OPERANDS; k++)
            nyb_matrix_destroy(&all[i].at[k]);
    free(all);
}

static size_t make_all(vectors *v, operands *all)
{
    size_t n = 0;
    nyb_error err;

    for (size_t i = 0; i < nyb_format_count(); i++) {
        const nyb_format *f = nyb_format_at(i);
        uint32_t state = 1;
        nyb_status status = NYB_OK;

        all[n] = (operands){.format = f};
        for (size_t k = 0; k < N_OPERANDS && vectors_is_operand(f) && status == NYB_OK; k++)
            status = make(v, f, &state, k, &all[n].at[k], &err);
        n += vectors_is_operand(f) && status == NYB_OK;
    }
    return n;
}

static int write_operands(vectors *v, const operands *o)
{
    unsigned char codes[M * K];
    char path[120];

    for (size_t k = 0; k < N_OPERANDS; k++) {
        const size_t rows = shapes[k][0], cols = shapes[k][1];

        for (size_t i = 0; i < rows * cols; i++)
            codes[i] = (unsigned char)nyb_matrix_code(o->at[k], i / cols, i % cols);
        snprintf(path, sizeof path, "products/%s.%s.npy", nyb_format_name(o->format), words[k]);
        if (vectors_bytes(v, path, codes, 2, shapes[k], NULL) != CLI_OK)
            return CLI_FAILURE;
    }
    return CLI_OK;
}

/* y = x w', dx = dy w, dw = dy' x, with the first operand in format a, the second in b. */
static nyb_status multiply(vectors *v, const operands *a, const operands *b, float *y, float *dx,
                           float *dw, nyb_error *err)
{
    NYB_TRY(nyb_matmul_y(v->context, a->at[X], b->at[W], NULL, y, err));
    NYB_TRY(nyb_matmul_dx(v->context, a->at[DY], b->at[W], dx, err));
    return nyb_matmul_dw(v->context, a->at[DY], b->at[X], dw, err);
}

/* All pairs whose first operand has one format. */
static int write_pairs(vectors *v, const operands *all, size_t n, size_t first)
{
    static const struct {
        const char *word;
        size_t dims[2];
    } outs[3] = {{"y", {M, N}}, {"dx", {M, K}}, {"dw", {N, K}}};
    const char *name = nyb_format_name(all[first].format);
    const char **cases = cli_alloc(n, sizeof *cases);
    float *out[3];
    char path[120];
    int exit_status = CLI_OK;
    nyb_error err;

    for (int k = 0; k < 3; k++)
        out[k] = cli_alloc(n * outs[k].dims[0] * outs[k].dims[1], sizeof **out);
    for (size_t j = 0; j < n && exit_status == CLI_OK; j++) {
        cases[j] = nyb_format_name(all[j].format);
        if (multiply(v, &all[first], &all[j], out[0] + j * M * N, out[1] + j * M * K,
                     out[2] + j * N * K, &err) != NYB_OK)
            exit_status = cli_fail("vectors", &err);
    }
    for (int k = 0; k < 3 && exit_status == CLI_OK; k++) {
        snprintf(path, sizeof path, "products/%s.%s.npy", name, outs[k].word);
        exit_status = vectors_floats(v, path, out[k], 3,
                                     (const size_t[]){n, outs[k].dims[0], outs[k].dims[1]}, cases);
    }
    for (int k = 0; k < 3; k++)
        free(out[k]);
    free(cases);
    return exit_status;
}

static json_t *describe(const operands *all, size_t n)
{
    const char **names = cli_alloc(n, sizeof *names);
    json_t *json;

    for (size_t i = 0; i < n; i++)
        names[i] = nyb_format_name(all[i].format);
    json = json_pack("{s:i, s:i, s:i, s:o}", "m", M, "n", N, "k", K, "formats",
                     vectors_list(names, n));
    free(names);
    return json;
}

int vectors_products(vectors *v)
{
    operands *all = cli_alloc(nyb_format_count(), sizeof *all);
    const size_t n = make_all(v, all);
    int exit_status = vectors_folder(v, "products");

    if (exit_status == CLI_OK)
        exit_status = vectors_json(v, "products/products.json", describe(all, n));
    for (size_t i = 0; i < n && exit_status == CLI_OK; i++)
        exit_status = write_operands(v, &all[i]);
    for (size_t i = 0; i < n && exit_status == CLI_OK; i++)
        exit_status = write_pairs(v, all, n, i);
    destroy(all, n);
    return exit_status;
}
