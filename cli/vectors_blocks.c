/* Test vectors of products in blocks: codes and scales of both operands, and what they make. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "vectors.h"

/* x [M][K], w [N][K]: blocks of 16, 32 and 64, whole and shorter ones. */
#define M              4
#define N              3
#define K              72
#define PART           16 /* each so many codes of a row have an entry of scales */
#define PARTS          ((K + PART - 1) / PART)
#define MAX            256 /* operands, cases */
#define SPEC_MAX       96
#define NAME_MAX_BYTES (2 * SPEC_MAX + 3) /* "SPEC x SPEC" */

enum { X, W, N_ROLES };
static const size_t rows[N_ROLES] = {M, N};
static const char *const words[N_ROLES] = {"x", "w"};

/* All operands are made as x and as w. */
typedef struct blocks {
    vectors *v;
    float reals[N_ROLES][M * K];
    size_t n, n_cases;
    nyb_spec specs[MAX];
    char texts[MAX][SPEC_MAX];
    unsigned char *codes[N_ROLES]; /* [MAX][rows][K] */
    float *scales[N_ROLES];        /* [MAX][rows][PARTS] */
    float levels[N_ROLES][MAX];
    struct {
        size_t x, w, block;
    } cases[MAX];
    char *names[MAX];
    float *y; /* [MAX][M][N] */
} blocks;

/* ---- operands ---------------------------------------------------------------------------------
 */

static size_t block_length(nyb_group group)
{
    switch (group) {
#define X(constant, word, length, sentence)                                                        \
    case constant:                                                                                 \
        return length;
        NYB_GROUP_LIST(X)
#undef X
    }
    return 0;
}

/* Integer factors of one scale, as int4m has them. */
static bool has_factors(const nyb_spec *spec)
{
    return spec->group == NYB_GROUP_TENSOR && nyb_quant_group_count(spec, M, K) > 1;
}

/* The level is then the scale, and scales are whole numbers. */
static nyb_status split_factors(blocks *b, const nyb_spec *spec, size_t role, float *scales,
                                float *level, nyb_error *err)
{
    nyb_matrix *matrix;

    NYB_TRY(nyb_matrix_create(b->v->context, spec, b->reals[role], rows[role], K, 0, 0, 0, &matrix,
                              err));
    *level = nyb_matrix_scale(matrix);
    for (size_t i = 0; i < rows[role] * PARTS; i++)
        scales[i] = rintf(scales[i] / *level);
    nyb_matrix_destroy(&matrix);
    return NYB_OK;
}

/* Scales of groups to those of parts. */
static void spread(const nyb_spec *spec, size_t n_rows, const float *groups, float *scales)
{
    const size_t length = block_length(spec->group), a_row = (K + length - 1) / length;
    const size_t high = spec->group == NYB_GROUP_TILE16 ? 16 : 1;

    for (size_t i = 0; i < n_rows * PARTS; i++)
        scales[i] = groups[i / PARTS / high * a_row + i % PARTS * PART / length];
}

static nyb_status quantize(blocks *b, const nyb_spec *spec, size_t role, nyb_error *err)
{
    const size_t n_rows = rows[role];
    float groups[M * PARTS], *scales = b->scales[role] + b->n * n_rows * PARTS;
    float *level = &b->levels[role][b->n];

    NYB_TRY(nyb_quantize_groups(b->v->context, spec, b->reals[role], n_rows, K, 0, 0, 0,
                                b->codes[role] + b->n * n_rows * K, NULL, groups, NULL, level,
                                err));
    if (block_length(spec->group) > 0) {
        spread(spec, n_rows, groups, scales);
        return NYB_OK;
    }
    if (has_factors(spec)) {
        memcpy(scales, groups, n_rows * PARTS * sizeof *scales);
        return split_factors(b, spec, role, scales, level, err);
    }
    *level = groups[0];
    for (size_t i = 0; i < n_rows * PARTS; i++)
        scales[i] = 1.0f;
    return NYB_OK;
}

/* The operand's index, which is made if it is new: how it is rounded and mixed does not matter. */
static int find_operand(blocks *b, const nyb_spec *from, size_t *index)
{
    nyb_spec spec = *from;
    char text[SPEC_MAX];
    nyb_error err;

    spec.rounding = NYB_ROUND_NEAREST;
    spec.mix = NYB_MIX_NONE;
    nyb_spec_print(&spec, text, sizeof text);
    for (*index = 0; *index < b->n; ++*index)
        if (strcmp(b->texts[*index], text) == 0)
            return CLI_OK;
    if (b->n == MAX) {
        cli_error("vectors", "more than %d operands", MAX);
        return CLI_FAILURE;
    }
    b->specs[b->n] = spec;
    memcpy(b->texts[b->n], text, sizeof text);
    for (size_t role = 0; role < N_ROLES; role++)
        if (quantize(b, &spec, role, &err) != NYB_OK)
            return cli_fail(text, &err);
    b->n++;
    return CLI_OK;
}

/* ---- products ---------------------------------------------------------------------------------
 */

static void view(const blocks *b, size_t role, size_t index, size_t block, float *scales,
                 nyb_block_matrix *matrix)
{
    const size_t a_row = (K + block - 1) / block;

    for (size_t i = 0; i < rows[role] * a_row; i++)
        scales[i] =
            b->scales[role][(index * rows[role] + i / a_row) * PARTS + i % a_row * block / PART];
    *matrix = (nyb_block_matrix){.format = b->specs[index].format,
                                 .rows = rows[role],
                                 .cols = K,
                                 .block = block,
                                 .codes = b->codes[role] + index * rows[role] * K,
                                 .scales = scales,
                                 .level = b->levels[role][index]};
}

/* The case of operands x and w; nothing if it is there. */
static int add_case(blocks *b, size_t x, size_t w, size_t block)
{
    float x_scales[M * PARTS], w_scales[N * PARTS];
    nyb_block_matrix x_matrix, w_matrix;
    nyb_error err;

    for (size_t i = 0; i < b->n_cases; i++)
        if (b->cases[i].x == x && b->cases[i].w == w)
            return CLI_OK;
    if (b->n_cases == MAX) {
        cli_error("vectors", "more than %d products in blocks", MAX);
        return CLI_FAILURE;
    }
    view(b, X, x, block, x_scales, &x_matrix);
    view(b, W, w, block, w_scales, &w_matrix);
    if (nyb_matmul_blocks(b->v->context, &x_matrix, &w_matrix, b->y + b->n_cases * M * N, &err) !=
        NYB_OK)
        return cli_fail("vectors", &err);
    b->cases[b->n_cases].x = x;
    b->cases[b->n_cases].w = w;
    b->cases[b->n_cases].block = block;
    b->names[b->n_cases] = cli_alloc(NAME_MAX_BYTES, 1);
    snprintf(b->names[b->n_cases], NAME_MAX_BYTES, "%s x %s", b->texts[x], b->texts[w]);
    b->n_cases++;
    return CLI_OK;
}

/* How many codes share a scale, or a factor; 0: all do. */
static size_t shared(const nyb_spec *spec)
{
    return has_factors(spec) ? PART : block_length(spec->group);
}

/* Whether there are products of a format's codes in blocks. */
static bool multiplies(const blocks *b, const nyb_format *format)
{
    const unsigned char code = 0;
    const nyb_block_matrix one = {
        .format = format, .rows = 1, .cols = 1, .block = 16, .codes = &code, .level = 1.0f};
    nyb_error err;
    float y;

    return nyb_matmul_blocks(b->v->context, &one, &one, &y, &err) == NYB_OK;
}

/* Codes in blocks, or with one scale. */
static bool is_operand(const blocks *b, const nyb_spec *spec)
{
    nyb_error err;

    return multiplies(b, spec->format) &&
           (block_length(spec->group) > 0 ||
            (spec->group == NYB_GROUP_TENSOR && nyb_matrix_check(spec, &err) == NYB_OK));
}

static int add(void *user, const nyb_spec *a, const nyb_spec *b, const char *accum)
{
    blocks *all = user;
    const size_t of_a = shared(a), of_b = shared(b);
    const size_t block = of_a && of_b ? (of_a < of_b ? of_a : of_b) : of_a + of_b;
    size_t x, w;

    if (block == 0 || !is_operand(all, a) || !is_operand(all, b) || strcmp(accum, "f32") != 0)
        return CLI_OK;
    if (find_operand(all, a, &x) != CLI_OK || find_operand(all, b, &w) != CLI_OK)
        return CLI_FAILURE;
    return add_case(all, x, w, block);
}

/* A format in blocks of one length with itself, in such blocks and with one scale; nothing if it
 * does not go in blocks. */
static int add_format(blocks *b, const nyb_format *format, const char *length)
{
    char text[SPEC_MAX];
    nyb_spec in_blocks, one_scale;
    nyb_error err;

    snprintf(text, sizeof text, "%s/absmax/%s/nearest", nyb_format_name(format), length);
    if (nyb_spec_parse(text, &in_blocks, &err) != NYB_OK)
        return CLI_OK;
    one_scale = in_blocks;
    one_scale.group = NYB_GROUP_TENSOR;
    if (add(b, &in_blocks, &in_blocks, "f32") != CLI_OK)
        return CLI_FAILURE;
    return add(b, &in_blocks, &one_scale, "f32");
}

static int add_formats(blocks *b)
{
    static const char *const lengths[] = {"block16", "block32", "block64"};

    for (size_t i = 0; i < nyb_format_count(); i++)
        for (size_t j = 0; j < sizeof lengths / sizeof *lengths; j++)
            if (add_format(b, nyb_format_at(i), lengths[j]) != CLI_OK)
                return CLI_FAILURE;
    return CLI_OK;
}

/* ---- files ------------------------------------------------------------------------------------
 */

static json_t *describe(const blocks *b, const char *const *operands)
{
    json_t *cases = json_array();

    for (size_t i = 0; i < b->n_cases; i++)
        json_array_append_new(cases, json_pack("{s:s, s:s, s:I}", "x", b->texts[b->cases[i].x], "w",
                                               b->texts[b->cases[i].w], "block",
                                               (json_int_t)b->cases[i].block));
    return json_pack("{s:i, s:i, s:i, s:s, s:o, s:o}", "m", M, "n", N, "k", K, "order",
                     "sum = +0; for each block in order: sum = fmaf(f32(exact dot product of the "
                     "block's values), f32(x scale * w scale), sum); y = f32(sum * f32(x level * w "
                     "level))",
                     "operands", vectors_list(operands, b->n), "cases", cases);
}

static int write_operands(const blocks *b, size_t role, const char *const *texts)
{
    const size_t codes[3] = {b->n, rows[role], K}, scales[3] = {b->n, rows[role], PARTS};
    char path[120];

    snprintf(path, sizeof path, "blocks/%s.codes.npy", words[role]);
    if (vectors_bytes(b->v, path, b->codes[role], 3, codes, texts) != CLI_OK)
        return CLI_FAILURE;
    snprintf(path, sizeof path, "blocks/%s.scales.npy", words[role]);
    if (vectors_floats(b->v, path, b->scales[role], 3, scales, texts) != CLI_OK)
        return CLI_FAILURE;
    snprintf(path, sizeof path, "blocks/%s.levels.npy", words[role]);
    return vectors_floats(b->v, path, b->levels[role], 1, &b->n, texts);
}

static int write_all(const blocks *b)
{
    const size_t dims[3] = {b->n_cases, M, N};
    const char *texts[MAX];
    int exit_status;

    for (size_t i = 0; i < b->n; i++)
        texts[i] = b->texts[i];
    exit_status = vectors_json(b->v, "blocks/blocks.json", describe(b, texts));
    for (size_t role = 0; role < N_ROLES && exit_status == CLI_OK; role++)
        exit_status = write_operands(b, role, texts);
    if (exit_status != CLI_OK)
        return exit_status;
    return vectors_floats(b->v, "blocks/y.npy", b->y, 3, dims, (const char *const *)b->names);
}

/* Blocks of different size; a row begins with a block of zeros, so its scale is 0. */
static void fill(float reals[N_ROLES][M * K])
{
    uint32_t state = 1;

    for (size_t role = 0; role < N_ROLES; role++) {
        vectors_draw_reals(&state, rows[role] * K, reals[role]);
        for (size_t i = 0; i < rows[role] * K; i++)
            reals[role][i] *= ldexpf(1.0f, (int)(vectors_draw(&state) % 2 + i / PART % 5));
        memset(reals[role] + K, 0, 16 * sizeof(float));
    }
}

int vectors_blocks(vectors *v)
{
    blocks *b = cli_alloc(1, sizeof *b);
    int exit_status = vectors_folder(v, "blocks");

    b->v = v;
    b->y = cli_alloc(MAX * M * N, sizeof *b->y);
    fill(b->reals);
    for (size_t role = 0; role < N_ROLES; role++) {
        b->codes[role] = cli_alloc(MAX * rows[role] * K, 1);
        b->scales[role] = cli_alloc(MAX * rows[role] * PARTS, sizeof(float));
    }
    if (exit_status == CLI_OK)
        exit_status = vectors_recipe_products(add, b);
    if (exit_status == CLI_OK)
        exit_status = add_formats(b);
    if (exit_status == CLI_OK)
        exit_status = write_all(b);
    for (size_t role = 0; role < N_ROLES; role++) {
        free(b->codes[role]);
        free(b->scales[role]);
    }
    for (size_t i = 0; i < b->n_cases; i++)
        free(b->names[i]);
    free(b->y);
    free(b);
    return exit_status;
}
