/* The public products of matrices and images: checks, a plan, a run. */
#include <nybble/gemm.h>

#include <math.h>

#include "gemm/depthwise.h"
#include "quant/round.h"

struct nyb_matrix {
    nyb_packed packed;
};

/* ---- matrices ---------------------------------------------------------------------------------
 */

nyb_status nyb_matrix_check(const nyb_spec *spec, nyb_error *err)
{
    NYB_TRY(nyb_spec_check(spec, err));
    if (spec->format->grid == NYB_GRID_REAL)
        return nyb_fail(err, NYB_INVALID, "format '%s' has no codes", spec->format->name);
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

nyb_status nyb_matrix_create(nyb_context *context, const nyb_spec *spec, const float *x,
                             size_t rows, size_t cols, uint64_t seed, uint32_t step, uint32_t draw,
                             nyb_matrix **matrix, nyb_error *err)
{
    const nyb_stream stream = {
        .seed = seed, .step = step, .role = NYB_RNG_OTHER, .sample = (uint8_t)draw};
    const nyb_view view = {.rows = rows, .cols = cols};

    *matrix = NULL;
    NYB_TRY(check_matrix(context, spec, x, rows, cols, draw, err));
    nyb_matrix *m = nyb_alloc(sizeof *m);
    void *scratch = nyb_alloc(
        nyb_max(nyb_moments_scratch_bytes(rows, cols), nyb_round_scratch_bytes(spec, &view)));
    uint8_t *codes = nyb_alloc(nyb_packed_bytes(spec->format, rows, cols));
    if (!m || !scratch || !codes) {
        nyb_free(m);
        nyb_free(scratch);
        nyb_free(codes);
        return nyb_fail(err, NYB_MEMORY, "no memory for a matrix of %zu x %zu", rows, cols);
    }
    m->packed = (nyb_packed){.format = spec->format,
                             .rows = rows,
                             .cols = cols,
                             .pitch = nyb_packed_pitch(cols),
                             .codes = codes};
    const uint32_t former = nyb_cpu_fp_enter();
    choose_scale(context, spec, x, scratch, &m->packed);
    nyb_encode_run(context, spec, &stream, x, &m->packed);
    nyb_cpu_fp_restore(former);
    nyb_free(scratch);
    *matrix = m;
    return NYB_OK;
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

nyb_status nyb_matrix_create_codes(const nyb_format *format, const uint8_t *codes, size_t rows,
                                   size_t cols, float scale, nyb_matrix **matrix, nyb_error *err)
{
    *matrix = NULL;
    NYB_TRY(check_codes(format, codes, rows, cols, scale, err));
    nyb_matrix *m = nyb_alloc(sizeof *m);
    uint8_t *packed = nyb_alloc(nyb_packed_bytes(format, rows, cols));
    if (!m || !packed) {
        nyb_free(m);
        nyb_free(packed);
        return nyb_fail(err, NYB_MEMORY, "no memory for a matrix of %zu x %zu", rows, cols);
    }
    m->packed = (nyb_packed){.format = format,
                             .rows = rows,
                             .cols = cols,
                             .pitch = nyb_packed_pitch(cols),
                             .scale = scale,
                             .codes = packed};
    for (size_t row = 0; row < rows; row++)
        for (size_t col = 0; col < cols; col++)
            nyb_packed_set(&m->packed, row, col, codes[row * cols + col]);
    *matrix = m;
    return NYB_OK;
}

void nyb_matrix_destroy(nyb_matrix **matrix)
{
    if (!*matrix)
        return;
    nyb_free((*matrix)->packed.codes);
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
    return nyb_packed_bytes(matrix->packed.format, matrix->packed.rows, matrix->packed.cols);
}

float nyb_matrix_scale(const nyb_matrix *matrix)
{
    return matrix->packed.scale;
}

void nyb_matrix_decode(const nyb_matrix *matrix, float *values)
{
    nyb_packed_decode(&matrix->packed, values);
}

unsigned nyb_matrix_code(const nyb_matrix *matrix, size_t row, size_t col)
{
    if (row >= matrix->packed.rows || col >= matrix->packed.cols)
        return 0;
    return nyb_packed_get(&matrix->packed, row, col);
}

/* ---- one product ------------------------------------------------------------------------------
 */

static void run(const nyb_conv *conv, const nyb_context *context, const nyb_operand *a,
                const nyb_operand *b, const float *bias, const nyb_stream *stream, float *out,
                void *scratch)
{
    const uint32_t former = nyb_cpu_fp_enter();
    nyb_conv_run(conv, context, a, b, bias, false, stream, out, scratch);
    nyb_cpu_fp_restore(former);
}

static nyb_status create(const nyb_context *context, nyb_product product,
                         const nyb_conv_shape *shape, const nyb_format *a, const nyb_format *b,
                         const nyb_accum *accum, nyb_conv **conv, void **scratch, nyb_error *err)
{
    NYB_TRY(nyb_conv_create(context, product, shape, a, b, 1, accum, conv, err));
    *scratch = nyb_alloc(nyb_conv_scratch_bytes(*conv));
    if (*scratch)
        return NYB_OK;
    const size_t n_bytes = nyb_conv_scratch_bytes(*conv);
    nyb_conv_destroy(conv);
    return nyb_fail(err, NYB_MEMORY, "no memory for %zu bytes of scratch", n_bytes);
}

static nyb_status multiply(const nyb_context *context, nyb_product product,
                           const nyb_conv_shape *shape, const nyb_operand *a, const nyb_operand *b,
                           const float *bias, float *out, nyb_error *err)
{
    const nyb_format *const f32 = &nyb_format_f32;
    nyb_conv *conv;
    void *scratch;

    NYB_TRY(create(context, product, shape, a->packed ? a->packed->format : f32,
                   b->packed ? b->packed->format : f32, NULL, &conv, &scratch, err));
    run(conv, context, a, b, bias, NULL, out, scratch);
    nyb_free(scratch);
    nyb_conv_destroy(&conv);
    return NYB_OK;
}

static nyb_conv_shape linear(size_t m, size_t n, size_t k)
{
    return (nyb_conv_shape){
        .n = 1, .h = 1, .w = m, .c = k, .o = n, .r = 1, .s = 1, .stride = 1, .pad = 0};
}

nyb_status nyb_matmul_y(nyb_context *context, const nyb_matrix *x, const nyb_matrix *w,
                        const float *bias, float *y, nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(context && x && w && y, err));
    if (x->packed.cols != w->packed.cols)
        return nyb_fail(err, NYB_SHAPE, "x has %zu columns, w has %zu", x->packed.cols,
                        w->packed.cols);
    const nyb_conv_shape shape = linear(x->packed.rows, w->packed.rows, x->packed.cols);
    return multiply(context, NYB_PRODUCT_FWD, &shape, &(nyb_operand){.packed = &x->packed},
                    &(nyb_operand){.packed = &w->packed}, bias, y, err);
}

nyb_status nyb_matmul_dx(nyb_context *context, const nyb_matrix *dy, const nyb_matrix *w, float *dx,
                         nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(context && dy && w && dx, err));
    if (dy->packed.cols != w->packed.rows)
        return nyb_fail(err, NYB_SHAPE, "dy has %zu columns, w has %zu rows", dy->packed.cols,
                        w->packed.rows);
    const nyb_conv_shape shape = linear(dy->packed.rows, w->packed.rows, w->packed.cols);
    return multiply(context, NYB_PRODUCT_DX, &shape, &(nyb_operand){.packed = &dy->packed},
                    &(nyb_operand){.packed = &w->packed}, NULL, dx, err);
}

nyb_status nyb_matmul_dw(nyb_context *context, const nyb_matrix *dy, const nyb_matrix *x, float *dw,
                         nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(context && dy && x && dw, err));
    if (dy->packed.rows != x->packed.rows)
        return nyb_fail(err, NYB_SHAPE, "dy has %zu rows, x has %zu", dy->packed.rows,
                        x->packed.rows);
    const nyb_conv_shape shape = linear(dy->packed.rows, dy->packed.cols, x->packed.cols);
    return multiply(context, NYB_PRODUCT_DW, &shape, &(nyb_operand){.packed = &dy->packed},
                    &(nyb_operand){.packed = &x->packed}, NULL, dw, err);
}

nyb_status nyb_matmul_f32_y(nyb_context *context, const float *x, const float *w, const float *bias,
                            size_t m, size_t n, size_t k, float *y, nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(context && x && w && y, err));
    const nyb_conv_shape shape = linear(m, n, k);
    return multiply(context, NYB_PRODUCT_FWD, &shape, &(nyb_operand){.real = x},
                    &(nyb_operand){.real = w}, bias, y, err);
}

nyb_status nyb_matmul_f32_dx(nyb_context *context, const float *dy, const float *w, size_t m,
                             size_t n, size_t k, float *dx, nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(context && dy && w && dx, err));
    const nyb_conv_shape shape = linear(m, n, k);
    return multiply(context, NYB_PRODUCT_DX, &shape, &(nyb_operand){.real = dy},
                    &(nyb_operand){.real = w}, NULL, dx, err);
}

nyb_status nyb_matmul_f32_dw(nyb_context *context, const float *dy, const float *x, size_t m,
                             size_t n, size_t k, float *dw, nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(context && dy && x && dw, err));
    const nyb_conv_shape shape = linear(m, n, k);
    return multiply(context, NYB_PRODUCT_DW, &shape, &(nyb_operand){.real = dy},
                    &(nyb_operand){.real = x}, NULL, dw, err);
}

/* ---- images -----------------------------------------------------------------------------------
 */

static nyb_conv_shape shape_of(nyb_image image, size_t o, size_t r, size_t s, size_t stride,
                               size_t pad)
{
    return (nyb_conv_shape){.n = image.n,
                            .h = image.h,
                            .w = image.w,
                            .c = image.c,
                            .o = o,
                            .r = r,
                            .s = s,
                            .stride = stride,
                            .pad = pad};
}

/* The shape check has made sure that the products of sizes do not overflow. */
static bool holds(const nyb_matrix *m, size_t rows, size_t cols)
{
    return m->packed.rows == rows && m->packed.cols == cols;
}

nyb_status nyb_convolve_y(nyb_context *context, const nyb_matrix *x, nyb_image image,
                          const nyb_matrix *w, size_t o, size_t r, size_t s, size_t stride,
                          size_t pad, const float *bias, float *y, nyb_error *err)
{
    nyb_conv_shape shape = shape_of(image, o, r, s, stride, pad);

    NYB_TRY(nyb_check_pointers(context && x && w && y, err));
    NYB_TRY(nyb_conv_shape_check(&shape, err));
    if (!holds(x, image.n * image.h * image.w, image.c))
        return nyb_fail(err, NYB_SHAPE, "x is %zu x %zu, images of %zux%zux%zux%zu need %zu x %zu",
                        x->packed.rows, x->packed.cols, image.n, image.h, image.w, image.c,
                        image.n * image.h * image.w, image.c);
    if (!holds(w, o * r * s, image.c))
        return nyb_fail(err, NYB_SHAPE, "w is %zu x %zu, weights of %zux%zux%zux%zu need %zu x %zu",
                        w->packed.rows, w->packed.cols, o, r, s, image.c, o * r * s, image.c);
    return multiply(context, NYB_PRODUCT_FWD, &shape, &(nyb_operand){.packed = &x->packed},
                    &(nyb_operand){.packed = &w->packed}, bias, y, err);
}

/* ---- plans ------------------------------------------------------------------------------------
 */

struct nyb_plan {
    nyb_context *context;
    nyb_conv *conv;           /* NULL: depthwise */
    nyb_depthwise *depthwise; /* or NULL */
    void *scratch;
    nyb_stream stream; /* of an accumulator that draws */
};

static nyb_product product_of(nyb_plan_kind kind)
{
    switch (kind) {
    case NYB_PLAN_Y:
        return NYB_PRODUCT_FWD;
    case NYB_PLAN_DX:
        return NYB_PRODUCT_DX;
    case NYB_PLAN_DW:
        return NYB_PRODUCT_DW;
    }
    return NYB_PRODUCT_FWD;
}

/* What nyb_plan_run or nyb_plan_run_f32 can be given. */
static nyb_status check_plan(nyb_plan_kind kind, const nyb_format *a, const nyb_format *b,
                             nyb_error *err)
{
    if (kind != NYB_PLAN_Y && kind != NYB_PLAN_DX && kind != NYB_PLAN_DW)
        return nyb_fail(err, NYB_INVALID, "there is no product %d", (int)kind);
    if (a->grid == NYB_GRID_REAL && b->grid == NYB_GRID_REAL)
        return NYB_OK;
    if (a->grid == NYB_GRID_REAL || b->grid == NYB_GRID_REAL || a->bits > 8 || b->bits > 8)
        return nyb_fail(err, NYB_INVALID,
                        "%s x %s: a plan is of two formats that have matrices, or of f32 twice",
                        a->name, b->name);
    return NYB_OK;
}

nyb_status nyb_plan_create(nyb_context *context, nyb_plan_kind kind, nyb_image image, size_t o,
                           size_t r, size_t s, size_t stride, size_t pad, const nyb_format *a,
                           const nyb_format *b, nyb_plan **plan, nyb_error *err)
{
    return nyb_plan_create_accum(context, kind, image, o, r, s, stride, pad, a, b, NULL, plan, err);
}

nyb_status nyb_plan_create_accum(nyb_context *context, nyb_plan_kind kind, nyb_image image,
                                 size_t o, size_t r, size_t s, size_t stride, size_t pad,
                                 const nyb_format *a, const nyb_format *b, const nyb_accum *accum,
                                 nyb_plan **plan, nyb_error *err)
{
    const nyb_conv_shape shape = shape_of(image, o, r, s, stride, pad);

    *plan = NULL;
    NYB_TRY(nyb_check_pointers(context && a && b, err));
    NYB_TRY(check_plan(kind, a, b, err));
    nyb_plan *p = nyb_alloc(sizeof *p);
    if (!p)
        return nyb_fail(err, NYB_MEMORY, "no memory for a plan");
    p->context = context;
    p->stream = (nyb_stream){.role = nyb_conv_sum_role(product_of(kind))};
    const nyb_status status =
        create(context, product_of(kind), &shape, a, b, accum, &p->conv, &p->scratch, err);
    if (status != NYB_OK) {
        nyb_free(p);
        return status;
    }
    *plan = p;
    return NYB_OK;
}

nyb_status nyb_plan_create_depthwise(nyb_context *context, nyb_plan_kind kind, nyb_image image,
                                     size_t r, size_t s, size_t stride, size_t pad,
                                     const nyb_format *a, const nyb_format *b, nyb_plan **plan,
                                     nyb_error *err)
{
    const nyb_conv_shape shape = shape_of(image, image.c, r, s, stride, pad);

    *plan = NULL;
    NYB_TRY(nyb_check_pointers(context && a && b, err));
    NYB_TRY(check_plan(kind, a, b, err));
    nyb_plan *p = nyb_alloc(sizeof *p);
    if (!p)
        return nyb_fail(err, NYB_MEMORY, "no memory for a plan");
    p->context = context;
    nyb_status status =
        nyb_depthwise_create(context, product_of(kind), &shape, a, b, 1, false, &p->depthwise, err);
    if (status == NYB_OK) {
        p->scratch = nyb_alloc(nyb_depthwise_scratch_bytes(p->depthwise));
        if (!p->scratch)
            status = nyb_fail(err, NYB_MEMORY, "no memory for the scratch of a plan");
    }
    if (status != NYB_OK) {
        nyb_plan_destroy(&p);
        return status;
    }
    *plan = p;
    return NYB_OK;
}

void nyb_plan_destroy(nyb_plan **plan)
{
    if (!*plan)
        return;
    nyb_conv_destroy(&(*plan)->conv);
    nyb_depthwise_destroy(&(*plan)->depthwise);
    nyb_free((*plan)->scratch);
    nyb_free(*plan);
    *plan = NULL;
}

const char *nyb_plan_engine(const nyb_plan *plan)
{
    return plan->depthwise ? nyb_depthwise_engine(plan->depthwise) : nyb_conv_engine(plan->conv);
}

const char *nyb_plan_kernel(const nyb_plan *plan)
{
    return plan->depthwise ? nyb_depthwise_kernel_name(plan->depthwise)
                           : nyb_conv_kernel(plan->conv);
}

void nyb_plan_seed(nyb_plan *plan, uint64_t seed, uint32_t step)
{
    plan->stream.seed = seed;
    plan->stream.step = step;
}

static void run_plan(nyb_plan *plan, nyb_operand a, nyb_operand b, float *out)
{
    if (plan->conv) {
        run(plan->conv, plan->context, &a, &b, NULL, &plan->stream, out, plan->scratch);
        return;
    }
    const uint32_t former = nyb_cpu_fp_enter();
    nyb_depthwise_run(plan->depthwise, plan->context, &a, &b, NULL, false, out, plan->scratch);
    nyb_cpu_fp_restore(former);
}

void nyb_plan_run(nyb_plan *plan, const nyb_matrix *a, const nyb_matrix *b, float *out)
{
    run_plan(plan, (nyb_operand){.packed = &a->packed}, (nyb_operand){.packed = &b->packed}, out);
}

void nyb_plan_run_f32(nyb_plan *plan, const float *a, const float *b, float *out)
{
    run_plan(plan, (nyb_operand){.real = a}, (nyb_operand){.real = b}, out);
}
