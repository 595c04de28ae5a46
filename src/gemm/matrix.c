/* Public matrices: quantized, or made of the caller's codes. */
#include "gemm/matrix.h"

#include <math.h>

#include "quant/round.h"

/* Codes whose rows have scales of their own. */
static bool has_rows(const nyb_spec *spec)
{
    return spec->group == NYB_GROUP_ROW && spec->mix == NYB_MIX_NONE && !spec->scale->level &&
           spec->format->bits <= 8;
}

nyb_status nyb_matrix_check(const nyb_spec *spec, nyb_error *err)
{
    NYB_TRY(nyb_spec_check(spec, err));
    if (spec->format->grid == NYB_GRID_REAL)
        return nyb_fail(err, NYB_INVALID, "format '%s' has no codes", spec->format->name);
    if (has_rows(spec))
        return NYB_OK;
    return nyb_spec_check_tensor(spec, err);
}

static nyb_status check_size(const nyb_format *format, size_t rows, size_t cols, nyb_error *err)
{
    size_t n;

    if (rows == 0 || cols == 0)
        return nyb_fail(err, NYB_SHAPE, "a matrix of %zu x %zu has no elements", rows, cols);
    if (!nyb_mul_size(rows, cols, &n) || n > SIZE_MAX / 64 ||
        nyb_packed_bytes(format, rows, cols) == 0)
        return nyb_fail(err, NYB_LIMIT, "%zu x %zu elements are too many", rows, cols);
    return NYB_OK;
}

static nyb_status check_matrix(const nyb_context *context, const nyb_spec *spec, const float *x,
                               size_t rows, size_t cols, uint32_t draw, nyb_error *err)
{
    if (!context || !x)
        return nyb_fail(err, NYB_INVALID, "the %s is NULL", context ? "array" : "context");
    NYB_TRY(nyb_matrix_check(spec, err));
    NYB_TRY(check_size(spec->format, rows, cols, err));
    if (draw > UINT8_MAX)
        return nyb_fail(err, NYB_INVALID, "draw %u is not below 256", (unsigned)draw);
    return NYB_OK;
}

/* scale, and inv where that is not its reciprocal. */
static void choose_scale(const nyb_context *context, const nyb_spec *spec, const float *x,
                         void *scratch, nyb_packed *p)
{
    const nyb_scale_rule *rule = spec->scale;
    float state[NYB_SCALE_STATE_MAX] = {0}, params[NYB_SCALE_PARAMS_MAX] = {0};
    nyb_moments moments;

    if (rule->choose) {
        nyb_moments_run(context, x, p->rows, p->cols, scratch, &moments);
        p->scale = nyb_scale_choose(spec, &moments, state);
        return;
    }
    const nyb_round_job job = {
        .spec = spec, .view = {.rows = p->rows, .cols = p->cols}, .params = params};
    const nyb_group_stats stats = nyb_round_stats(context, rule, x, p->rows * p->cols, scratch);
    if (rule->init)
        rule->init(spec->format, &stats, params);
    nyb_round_scale_packed(context, &job, x, &stats, p);
}

/* Memory for a matrix without codes yet. */
static nyb_status alloc_matrix(const nyb_format *format, size_t rows, size_t cols, bool lines,
                               nyb_matrix **matrix, nyb_error *err)
{
    nyb_matrix *m = nyb_alloc(sizeof *m);

    *matrix = m;
    if (m) {
        m->packed = (nyb_packed){.format = format,
                                 .rows = rows,
                                 .cols = cols,
                                 .pitch = nyb_packed_pitch(cols),
                                 .scale = 1.0f,
                                 .codes = nyb_alloc(nyb_packed_bytes(format, rows, cols))};
        if (lines) {
            m->packed.line_rows = 1;
            m->packed.lines = nyb_alloc(rows * sizeof *m->packed.lines);
        }
        if (m->packed.codes && (m->packed.lines || !lines))
            return NYB_OK;
        nyb_matrix_destroy(matrix);
    }
    return nyb_fail(err, NYB_MEMORY, "no memory for a matrix of %zu x %zu", rows, cols);
}

/* Codes, scale or lines of x. values: of nyb_round_pack, or NULL. */
static void quantize(const nyb_context *context, const nyb_spec *spec, const nyb_stream *stream,
                     const float *x, float *values, void *scratch, nyb_packed *p)
{
    const nyb_round_job job = {.spec = spec,
                               .view = {.rows = p->rows, .cols = p->cols, .run = p->cols},
                               .stream = stream,
                               .pre = 1.0f,
                               .post = 1.0f};
    const uint32_t former = nyb_cpu_fp_enter();

    if (p->lines) {
        nyb_round_pack(context, &job, x, values, p, scratch);
    } else {
        choose_scale(context, spec, x, scratch, p);
        nyb_encode_run(context, spec, stream, x, p);
    }
    nyb_cpu_fp_restore(former);
}

nyb_status nyb_matrix_create(nyb_context *context, const nyb_spec *spec, const float *x,
                             size_t rows, size_t cols, uint64_t seed, uint32_t step, uint32_t draw,
                             nyb_matrix **matrix, nyb_error *err)
{
    const nyb_stream stream = {
        .seed = seed, .step = step, .role = NYB_RNG_OTHER, .sample = (uint8_t)draw};
    const nyb_view view = {.rows = rows, .cols = cols, .run = cols};

    *matrix = NULL;
    NYB_TRY(check_matrix(context, spec, x, rows, cols, draw, err));
    const bool lines = has_rows(spec), stores = lines && nyb_round_pack_stores(spec, cols);
    NYB_TRY(alloc_matrix(spec->format, rows, cols, lines, matrix, err));
    void *scratch = nyb_alloc(
        nyb_max(nyb_moments_scratch_bytes(rows, cols), nyb_round_scratch_bytes(spec, &view)));
    float *values = stores ? nyb_alloc(rows * cols * sizeof *values) : NULL;
    if (scratch && (values || !stores))
        quantize(context, spec, &stream, x, values, scratch, &(*matrix)->packed);
    else
        nyb_matrix_destroy(matrix);
    nyb_free(values);
    nyb_free(scratch);
    return *matrix ? NYB_OK
                   : nyb_fail(err, NYB_MEMORY, "no memory to quantize %zu x %zu", rows, cols);
}

/* The largest code of the bytes. */
static uint8_t largest_code(const uint8_t *codes, size_t n)
{
    uint8_t largest = 0;

    for (size_t i = 0; i < n; i++)
        largest = codes[i] > largest ? codes[i] : largest;
    return largest;
}

static nyb_status check_codes(const nyb_format *format, const uint8_t *codes, size_t rows,
                              size_t cols, float scale, nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(format && codes, err));
    if (format->grid == NYB_GRID_REAL || format->bits > 8 || format->multiples)
        return nyb_fail(err, NYB_INVALID, "format '%s' has no matrices of bare codes",
                        format->name);
    NYB_TRY(check_size(format, rows, cols, err));
    if (!isfinite(scale))
        return nyb_fail(err, NYB_INVALID, "a scale of %g", (double)scale);
    if (largest_code(codes, rows * cols) >= format->n_codes)
        return nyb_fail(err, NYB_INVALID, "format '%s' has no code %u", format->name,
                        (unsigned)largest_code(codes, rows * cols));
    return NYB_OK;
}

/* As check_codes has found them right. */
static nyb_status pack_codes(const nyb_format *format, const uint8_t *codes, size_t rows,
                             size_t cols, bool lines, nyb_matrix **matrix, nyb_error *err)
{
    NYB_TRY(alloc_matrix(format, rows, cols, lines, matrix, err));
    for (size_t row = 0; row < rows; row++)
        for (size_t col = 0; col < cols; col++)
            nyb_packed_set(&(*matrix)->packed, row, col, codes[row * cols + col]);
    return NYB_OK;
}

nyb_status nyb_matrix_create_codes(const nyb_format *format, const uint8_t *codes, size_t rows,
                                   size_t cols, float scale, nyb_matrix **matrix, nyb_error *err)
{
    *matrix = NULL;
    NYB_TRY(check_codes(format, codes, rows, cols, scale, err));
    NYB_TRY(pack_codes(format, codes, rows, cols, false, matrix, err));
    (*matrix)->packed.scale = scale;
    return NYB_OK;
}

nyb_status nyb_matrix_create_rows(const nyb_format *format, const uint8_t *codes, size_t rows,
                                  size_t cols, const float *scales, const float *offsets,
                                  nyb_matrix **matrix, nyb_error *err)
{
    *matrix = NULL;
    NYB_TRY(nyb_check_pointers(scales, err));
    NYB_TRY(check_codes(format, codes, rows, cols, 1.0f, err));
    for (size_t row = 0; row < rows; row++)
        if (!isfinite(scales[row]) || (offsets && !isfinite(offsets[row])))
            return nyb_fail(err, NYB_INVALID, "row %zu: a scale of %g, an offset of %g", row,
                            (double)scales[row], offsets ? (double)offsets[row] : 0.0);
    NYB_TRY(pack_codes(format, codes, rows, cols, true, matrix, err));
    for (size_t row = 0; row < rows; row++)
        (*matrix)->packed.lines[row] = (nyb_line){scales[row], offsets ? offsets[row] : 0.0f};
    return NYB_OK;
}

void nyb_matrix_destroy(nyb_matrix **matrix)
{
    if (!*matrix)
        return;
    nyb_free((*matrix)->packed.codes);
    nyb_free((*matrix)->packed.lines);
    nyb_free(*matrix);
    *matrix = NULL;
}

size_t nyb_matrix_rows(const nyb_matrix *matrix)
{
    return matrix->packed.rows;
}

size_t nyb_matrix_cols(const nyb_matrix *matrix)
{
    return matrix->packed.cols;
}

size_t nyb_matrix_bytes(const nyb_matrix *matrix)
{
    const nyb_packed *p = &matrix->packed;

    return nyb_packed_bytes(p->format, p->rows, p->cols) +
           (p->lines ? p->rows * sizeof *p->lines : 0);
}

float nyb_matrix_scale(const nyb_matrix *matrix)
{
    return matrix->packed.scale;
}

float nyb_matrix_row_scale(const nyb_matrix *matrix, size_t row)
{
    const nyb_packed *p = &matrix->packed;

    return row >= p->rows ? 0.0f : p->lines ? p->lines[row].scale : p->scale;
}

float nyb_matrix_row_offset(const nyb_matrix *matrix, size_t row)
{
    const nyb_packed *p = &matrix->packed;

    return row < p->rows && p->lines ? p->lines[row].offset : 0.0f;
}

void nyb_matrix_decode(const nyb_matrix *matrix, float *values)
{
    const uint32_t former = nyb_cpu_fp_enter();

    nyb_packed_decode(&matrix->packed, values);
    nyb_cpu_fp_restore(former);
}

unsigned nyb_matrix_code(const nyb_matrix *matrix, size_t row, size_t col)
{
    if (row >= matrix->packed.rows || col >= matrix->packed.cols)
        return 0;
    return nyb_packed_get(&matrix->packed, row, col);
}
