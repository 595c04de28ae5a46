/* The public quantizer of arrays, and the telemetry of what a quantization lost. */
#include "quant/householder.h"

#include <math.h>

/* Sums over pairs (x, q). */
typedef struct tally {
    double n, finite, zero, underflow, clip, sq, sum;
} tally;

static void count(tally *t, nyb_quant_stats *stats, double v, double q)
{
    const double a = fabs(v);

    t->n++;
    stats->n_nan += isnan(v) != 0;
    stats->n_inf += isinf(v) != 0;
    t->zero += v == 0.0;
    t->underflow += a > 0.0 && q == 0.0;
    if (!isfinite(v))
        return;
    t->finite++;
    stats->amax = a > stats->amax ? a : stats->amax;
    t->sq += (q - v) * (q - v);
    t->sum += q - v;
}

/* Whether v is beyond what a value at the end of the range stands for, by more than the rounding of
 * its scale. */
static bool is_beyond(double v, double end)
{
    return v > 0.0 ? v > end + fabs(end) * 0x1p-22 : v < end - fabs(end) * 0x1p-22;
}

static void finish(const tally *t, nyb_quant_stats *stats)
{
    if (t->n > 0) {
        stats->zero = t->zero / t->n;
        stats->underflow = t->underflow / t->n;
        stats->clip = t->clip / t->n;
    }
    if (t->finite > 0) {
        stats->mse = t->sq / t->finite;
        stats->bias = t->sum / t->finite;
    }
}

/* What the codes of a row reach, and what each is worth. */
typedef struct reach {
    double least, most, values[256];
} reach;

static reach reach_of(const nyb_packed *p, size_t row)
{
    const nyb_format *f = p->format;
    const double factor = f->multiples ? (double)f->multiples : 1.0;
    const nyb_line *line = p->lines ? nyb_packed_line(p, row) : NULL;
    const double scale = line ? (double)line->scale : (double)p->scale;
    const double offset = line ? (double)line->offset : -(double)p->zero * scale;
    reach r = {.least = (offset + (double)nyb_format_least(f) * scale) * factor,
               .most = (offset + (double)f->max * scale) * factor};
    float values[256];

    nyb_packed_values(p, row, values);
    for (unsigned code = 0; code < f->n_codes; code++)
        r.values[code] = (double)values[code];
    return r;
}

void nyb_quant_measure(const float *x, const nyb_packed *p, nyb_quant_stats *stats)
{
    const bool real = p->format->grid == NYB_GRID_REAL;
    reach r = {0};
    tally t = {0};

    *stats = (nyb_quant_stats){.n = p->rows * p->cols, .scale = (double)p->scale};
    if (p->lines) /* the one that there is */
        stats->scale = p->line_rows == p->rows ? (double)p->lines->scale : 0.0;
    for (size_t row = 0, end = 0; row < p->rows; row++) {
        if (!real && row == end) {
            r = reach_of(p, row);
            end = nyb_packed_line_end(p, row);
        }
        for (size_t col = 0; col < p->cols; col++) {
            const double v = (double)x[row * p->cols + col];

            count(&t, stats, v,
                  real ? v
                       : r.values[nyb_packed_get(p, row, col) % p->format->n_codes] *
                             nyb_packed_factor(p, row, col));
            t.clip += !real && is_beyond(v, v > 0.0 ? r.most : r.least);
        }
    }
    finish(&t, stats);
}

void nyb_quant_measure_values(const nyb_format *format, const float *x, const float *values,
                              const float *grid, size_t n, nyb_quant_stats *stats)
{
    const float least = nyb_format_least(format);
    tally t = {0};

    *stats = (nyb_quant_stats){.n = n};
    for (size_t i = 0; i < n; i++) {
        const double v = (double)x[i], q = (double)values[i];

        count(&t, stats, v, q);
        t.clip += grid && ((v > q && grid[i] == format->max) || (v < q && grid[i] == least)) &&
                  is_beyond(v, q);
    }
    finish(&t, stats);
    if (!grid && n > 0)
        stats->clip = NAN;
}

/* What nyb_quantize works on: the packed codes and the scratch of the moments, one allocation. */
typedef struct workspace {
    nyb_packed packed;
    void *scratch;
} workspace;

static nyb_status allocate(const nyb_format *format, size_t rows, size_t cols, workspace *w,
                           nyb_error *err)
{
    size_t code_bytes = nyb_packed_bytes(format, rows, cols);
    size_t total = nyb_round_up(code_bytes, NYB_ALIGN) + nyb_moments_scratch_bytes(rows, cols);

    w->packed =
        (nyb_packed){.format = format, .rows = rows, .cols = cols, .pitch = nyb_packed_pitch(cols)};
    w->packed.codes = nyb_alloc(total);
    if (!w->packed.codes)
        return nyb_fail(err, NYB_MEMORY, "no memory for %zu bytes of codes", total);
    w->scratch = w->packed.codes + nyb_round_up(code_bytes, NYB_ALIGN);
    return NYB_OK;
}

static nyb_status check(const nyb_context *context, const nyb_spec *spec, const float *x,
                        size_t rows, size_t cols, uint32_t draw, const uint8_t *codes,
                        nyb_error *err)
{
    size_t n;

    if (!context)
        return nyb_fail(err, NYB_INVALID, "the context is NULL");
    NYB_TRY(nyb_spec_check(spec, err));
    if (!nyb_mul_size(rows, cols, &n) || n > SIZE_MAX / 64 ||
        (n > 0 && nyb_spec_packs(spec) && nyb_packed_bytes(spec->format, rows, cols) == 0))
        return nyb_fail(err, NYB_LIMIT, "%zu x %zu elements are too many", rows, cols);
    if (!x && n > 0)
        return nyb_fail(err, NYB_INVALID, "x is NULL but has %zu x %zu elements", rows, cols);
    if (draw > UINT8_MAX)
        return nyb_fail(err, NYB_INVALID, "draw %u is not below 256", (unsigned)draw);
    if (codes && (spec->format->grid == NYB_GRID_REAL || spec->format->bits > 8))
        return nyb_fail(err, NYB_INVALID, "format '%s' has no codes of a byte", spec->format->name);
    return NYB_OK;
}

static void copy_out(const nyb_packed *p, uint8_t *codes, float *values)
{
    if (codes)
        for (size_t row = 0; row < p->rows; row++)
            for (size_t col = 0; col < p->cols; col++)
                codes[row * p->cols + col] = (uint8_t)nyb_packed_get(p, row, col);
    if (values)
        nyb_packed_decode(p, values);
}

/* One for the tensor, or one for each 16 codes of a row that share a factor. */
static void copy_scales(const nyb_packed *p, float *scales)
{
    size_t g = 0;

    if (!p->format->multiples) {
        if (p->rows * p->cols > 0)
            scales[0] = p->scale;
        return;
    }
    for (size_t row = 0; row < p->rows; row++)
        for (size_t col = 0; col < p->cols; col += NYB_PITCH)
            scales[g++] = (float)nyb_packed_factor(p, row, col) * p->scale;
}

static nyb_status quantize(nyb_context *context, const nyb_spec *spec, const float *x, size_t rows,
                           size_t cols, const nyb_stream *stream, uint8_t *codes, float *values,
                           float *scales, nyb_quant_stats *stats, nyb_error *err)
{
    float state[NYB_SCALE_STATE_MAX] = {0};
    nyb_moments moments;
    workspace w;

    NYB_TRY(allocate(spec->format, rows, cols, &w, err));
    nyb_moments_run(context, x, rows, cols, w.scratch, &moments);
    w.packed.scale = nyb_scale_choose(spec, &moments, state);
    nyb_encode_run(context, spec, stream, x, &w.packed);
    if (stats)
        nyb_quant_measure(x, &w.packed, stats);
    copy_out(&w.packed, codes, values); /* values may be x */
    if (scales)
        copy_scales(&w.packed, scales);
    nyb_free(w.packed.codes);
    return NYB_OK;
}

/* ---- groups, mixes, wide formats: the real path -----------------------------------------------
 */

static nyb_view view_of(size_t rows, size_t cols)
{
    return (nyb_view){.rows = rows, .cols = cols, .run = cols};
}

static nyb_stream stream_of(uint64_t seed, uint32_t step, uint32_t draw, uint8_t role)
{
    return (nyb_stream){.seed = seed, .step = step, .role = role, .sample = (uint8_t)draw};
}

static nyb_round_job real_job(const nyb_spec *spec, size_t rows, size_t cols,
                              const nyb_stream *stream, const nyb_stream *signs)
{
    return (nyb_round_job){.spec = spec,
                           .view = view_of(rows, cols),
                           .stream = stream,
                           .signs = signs,
                           .pre = 1.0f,
                           .post = 1.0f};
}

/* What the parts of the real path need, one allocation. */
typedef struct real_workspace {
    float *values, *grid;
    nyb_group_scale *scales;
    void *scratch; /* the allocation */
} real_workspace;

static nyb_status allocate_real(const nyb_spec *spec, const nyb_view *view, real_workspace *w,
                                nyb_error *err)
{
    const size_t matrix = nyb_round_up(view->rows * view->cols * sizeof(float), NYB_ALIGN);
    const size_t scratch = nyb_round_up(nyb_round_scratch_bytes(spec, view), NYB_ALIGN);
    const size_t total =
        scratch + 2 * matrix + nyb_round_groups(spec, view) * sizeof(nyb_group_scale);
    uint8_t *memory = nyb_alloc(total);

    if (!memory)
        return nyb_fail(err, NYB_MEMORY, "no memory for %zu bytes of values", total);
    w->scratch = memory;
    w->values = (float *)(memory + scratch);
    w->grid = (float *)(memory + scratch + matrix);
    w->scales = (nyb_group_scale *)(memory + scratch + 2 * matrix);
    return NYB_OK;
}

/* Leaves values, grid and scales in w, and their level in *level. The caller frees w->scratch. */
static nyb_status round_real(nyb_context *context, const nyb_round_job *job, const float *x,
                             real_workspace *w, nyb_level *level, nyb_error *err)
{
    const nyb_scale_rule *rule = job->spec->scale;
    const bool parts = job->spec->mix != NYB_MIX_HOUSEHOLDER;
    float params[NYB_SCALE_PARAMS_MAX] = {0};
    nyb_round_job full = *job;

    NYB_TRY(allocate_real(job->spec, &job->view, w, err));
    if (rule->init) {
        const nyb_group_stats stats =
            nyb_round_stats(context, rule, x, job->view.rows * job->view.cols, w->scratch);

        rule->init(job->spec->format, &stats, params);
    }
    full.params = params;
    full.grid = parts ? w->grid : NULL;
    full.scales = parts ? w->scales : NULL;
    full.level = level;
    nyb_round_run(context, &full, x, w->values, w->scratch);
    return NYB_OK;
}

/* The codes of values that are on the grid. */
static void codes_of(const nyb_format *format, const float *grid, size_t n, uint8_t *codes)
{
    const nyb_spec exact = {.format = format, .rounding = NYB_ROUND_NEAREST, .sr_bits = 16};

    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)nyb_encode_one(&exact, 1.0f, grid[i], 0);
}

/* Values and stats in the basis of x. */
static nyb_status quantize_real(nyb_context *context, const nyb_round_job *job, const float *x,
                                uint8_t *codes, float *values, nyb_quant_stats *stats,
                                nyb_error *err)
{
    const size_t n = job->view.rows * job->view.cols;
    real_workspace w;
    nyb_level level;

    NYB_TRY(round_real(context, job, x, &w, &level, err));
    if (codes)
        codes_of(job->spec->format, w.grid, n, codes);
    nyb_round_unmix(context, job, w.values);
    if (stats) {
        const bool same_basis = job->spec->mix == NYB_MIX_NONE;

        nyb_quant_measure_values(job->spec->format, x, w.values, same_basis ? w.grid : NULL, n,
                                 stats);
        if (job->spec->group == NYB_GROUP_TENSOR && job->spec->mix != NYB_MIX_HOUSEHOLDER && n > 0)
            stats->scale = (double)(w.scales[0].scale * level.scale);
    }
    if (values)
        memcpy(values, w.values, n * sizeof *values);
    nyb_free(w.scratch);
    return NYB_OK;
}

/* Values stay mixed. */
static nyb_status quantize_parts(nyb_context *context, const nyb_round_job *job, const float *x,
                                 uint8_t *codes, float *values, float *scales, float *offsets,
                                 nyb_level *level, nyb_error *err)
{
    const size_t n = job->view.rows * job->view.cols;
    const size_t n_groups = n > 0 ? nyb_round_groups(job->spec, &job->view) : 0;
    real_workspace w;

    NYB_TRY(round_real(context, job, x, &w, level, err));
    if (codes)
        codes_of(job->spec->format, w.grid, n, codes);
    if (values)
        memcpy(values, w.values, n * sizeof *values);
    for (size_t g = 0; scales && g < n_groups; g++)
        scales[g] = w.scales[g].scale;
    for (size_t g = 0; offsets && g < n_groups; g++)
        offsets[g] = w.scales[g].offset;
    nyb_free(w.scratch);
    return NYB_OK;
}

/* Codes, values and lines of the reflected rows. */
static nyb_status quantize_reflected(nyb_context *context, const nyb_round_job *job, const float *x,
                                     uint8_t *codes, float *values, float *scales, float *offsets,
                                     nyb_error *err)
{
    const size_t rows = job->view.rows, cols = job->view.cols;
    const size_t scratch = nyb_round_up(nyb_householder_scratch_bytes(rows), NYB_ALIGN);
    const size_t plan = nyb_round_up(nyb_householder_plan_bytes(rows), NYB_ALIGN);
    nyb_householder reflection;

    if (rows == 0 || cols == 0)
        return NYB_OK;
    uint8_t *memory =
        nyb_alloc(scratch + plan + rows * sizeof(nyb_line) + rows * cols * sizeof(float));
    if (!memory)
        return nyb_fail(err, NYB_MEMORY, "no memory for %zu values", rows * cols);
    nyb_line *lines = (nyb_line *)(memory + scratch + plan);
    float *grid = (float *)(lines + rows);
    nyb_householder_grid(context, job->spec, job->stream, 0, x, rows, cols, grid, lines,
                         memory + scratch, &reflection, memory);
    if (codes)
        codes_of(job->spec->format, grid, rows * cols, codes);
    for (size_t i = 0; values && i < rows * cols; i++) {
        const float product = grid[i] * lines[i / cols].scale;
        values[i] = product + lines[i / cols].offset;
    }
    for (size_t row = 0; row < rows; row++) {
        if (scales)
            scales[row] = lines[row].scale;
        if (offsets)
            offsets[row] = lines[row].offset;
    }
    nyb_free(memory);
    return NYB_OK;
}

/* ---- the public functions ---------------------------------------------------------------------
 */

static bool packs(const nyb_spec *spec)
{
    return nyb_spec_packs(spec) && spec->scale->choose;
}

nyb_status nyb_quantize(nyb_context *context, const nyb_spec *spec, const float *x, size_t rows,
                        size_t cols, uint64_t seed, uint32_t step, uint32_t draw, uint8_t *codes,
                        float *values, nyb_quant_stats *stats, nyb_error *err)
{
    const nyb_stream stream = stream_of(seed, step, draw, NYB_RNG_OTHER);
    const nyb_stream signs = stream_of(seed, step, draw, NYB_RNG_HADAMARD);
    nyb_status status;
    uint32_t former;

    NYB_TRY(check(context, spec, x, rows, cols, draw, codes, err));
    if (codes && spec->mix == NYB_MIX_HOUSEHOLDER)
        return nyb_fail(err, NYB_INVALID, "a Householder mix has values only, no codes");
    if (spec->format->grid == NYB_GRID_REAL) {
        nyb_packed real = {.format = spec->format, .rows = rows, .cols = cols, .scale = 1.0f};

        if (values && rows * cols > 0)
            memmove(values, x, rows * cols * sizeof *x);
        if (stats)
            nyb_quant_measure(x, &real, stats);
        return NYB_OK;
    }
    former = nyb_cpu_fp_enter();
    if (packs(spec)) {
        status = quantize(context, spec, x, rows, cols, &stream, codes, values, NULL, stats, err);
    } else {
        const nyb_round_job job = real_job(spec, rows, cols, &stream, &signs);

        status = quantize_real(context, &job, x, codes, values, stats, err);
    }
    nyb_cpu_fp_restore(former);
    return status;
}

size_t nyb_quant_group_count(const nyb_spec *spec, size_t rows, size_t cols)
{
    const nyb_view view = view_of(rows, cols);

    if (nyb_spec_check(spec, NULL) != NYB_OK)
        return 0;
    if (spec->format->grid == NYB_GRID_REAL) /* whose group is ignored, and need not exist */
        return rows * cols > 0;
    if (rows * cols > 0 && spec->format->multiples)
        return rows * (cols / NYB_PITCH + (cols % NYB_PITCH != 0));
    return rows * cols > 0 ? nyb_round_groups(spec, &view) : 0;
}

nyb_status nyb_quantize_groups(nyb_context *context, const nyb_spec *spec, const float *x,
                               size_t rows, size_t cols, uint64_t seed, uint32_t step,
                               uint32_t draw, uint8_t *codes, float *values, float *scales,
                               float *offsets, float *level, nyb_error *err)
{
    const nyb_stream stream = stream_of(seed, step, draw, NYB_RNG_OTHER);
    const nyb_stream signs = stream_of(seed, step, draw, NYB_RNG_HADAMARD);
    nyb_level shared = {.scale = 1.0f};
    nyb_status status;
    uint32_t former;

    NYB_TRY(check(context, spec, x, rows, cols, draw, codes, err));
    if (spec->format->grid == NYB_GRID_REAL)
        return nyb_fail(err, NYB_INVALID, "f32 has no groups with a scale");
    former = nyb_cpu_fp_enter();
    if (packs(spec)) {
        status = quantize(context, spec, x, rows, cols, &stream, codes, values, scales, NULL, err);
        for (size_t g = 0; offsets && g < nyb_quant_group_count(spec, rows, cols); g++)
            offsets[g] = 0.0f;
    } else {
        const nyb_round_job job = real_job(spec, rows, cols, &stream, &signs);

        status =
            spec->mix == NYB_MIX_HOUSEHOLDER
                ? quantize_reflected(context, &job, x, codes, values, scales, offsets, err)
                : quantize_parts(context, &job, x, codes, values, scales, offsets, &shared, err);
    }
    if (level)
        *level = shared.scale;
    nyb_cpu_fp_restore(former);
    return status;
}
