/* The public quantizer of arrays, and the telemetry of what a quantization lost. */
#include "quant/quant.h"

#include <math.h>

/* Sums over pairs (x, q). */
typedef struct tally {
    double n, finite, zero, underflow, clip, sq, sum;
} tally;

static void count(tally *t, nyb_quant_stats *stats, double v, double q, double largest)
{
    const double a = fabs(v);

    t->n++;
    stats->n_nan += isnan(v) != 0;
    stats->n_inf += isinf(v) != 0;
    t->clip += a > largest;
    t->zero += v == 0.0;
    t->underflow += a > 0.0 && q == 0.0;
    if (!isfinite(v))
        return;
    t->finite++;
    stats->amax = a > stats->amax ? a : stats->amax;
    t->sq += (q - v) * (q - v);
    t->sum += q - v;
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

void nyb_quant_measure(const float *x, const nyb_packed *p, nyb_quant_stats *stats)
{
    const nyb_format *f = p->format;
    const bool real = f->grid == NYB_GRID_REAL;
    const double largest = (double)f->max * (double)p->scale;
    double lut[256] = {0};
    tally t = {0};

    for (unsigned code = 0; !real && code < f->n_codes; code++)
        lut[code] = (double)(nyb_format_decode(f, code) * p->scale);
    *stats = (nyb_quant_stats){.n = p->rows * p->cols, .scale = (double)p->scale};
    for (size_t row = 0; row < p->rows; row++)
        for (size_t col = 0; col < p->cols; col++) {
            const double v = (double)x[row * p->cols + col];

            count(&t, stats, v, real ? v : lut[nyb_packed_get(p, row, col) % f->n_codes], largest);
        }
    finish(&t, stats);
}

void nyb_quant_measure_values(const float *x, const float *values, size_t n, nyb_quant_stats *stats)
{
    tally t = {0};

    *stats = (nyb_quant_stats){.n = n};
    for (size_t i = 0; i < n; i++)
        count(&t, stats, (double)x[i], (double)values[i], HUGE_VAL);
    finish(&t, stats);
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
    NYB_TRY(nyb_spec_check_tensor(spec, err));
    if (!nyb_mul_size(rows, cols, &n) || n > SIZE_MAX / 64 ||
        (n > 0 && nyb_packed_bytes(spec->format, rows, cols) == 0))
        return nyb_fail(err, NYB_LIMIT, "%zu x %zu elements are too many", rows, cols);
    if (!x && n > 0)
        return nyb_fail(err, NYB_INVALID, "x is NULL but has %zu x %zu elements", rows, cols);
    if (draw > UINT8_MAX)
        return nyb_fail(err, NYB_INVALID, "draw %u is not below 256", (unsigned)draw);
    if (codes && spec->format->grid == NYB_GRID_REAL)
        return nyb_fail(err, NYB_INVALID, "format '%s' has no codes", spec->format->name);
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

static nyb_status quantize(nyb_context *context, const nyb_spec *spec, const float *x, size_t rows,
                           size_t cols, const nyb_stream *stream, uint8_t *codes, float *values,
                           nyb_quant_stats *stats, nyb_error *err)
{
    float state[NYB_SCALE_STATE_MAX] = {0};
    nyb_moments moments;
    workspace w;

    NYB_TRY(allocate(spec->format, rows, cols, &w, err));
    nyb_moments_run(context, x, rows, cols, w.scratch, &moments);
    w.packed.scale = nyb_scale_choose(spec, &moments, state);
    nyb_encode_run(context, spec, stream, x, &w.packed);
    copy_out(&w.packed, codes, values);
    if (stats)
        nyb_quant_measure(x, &w.packed, stats);
    nyb_free(w.packed.codes);
    return NYB_OK;
}

nyb_status nyb_quantize(nyb_context *context, const nyb_spec *spec, const float *x, size_t rows,
                        size_t cols, uint64_t seed, uint32_t step, uint32_t draw, uint8_t *codes,
                        float *values, nyb_quant_stats *stats, nyb_error *err)
{
    nyb_stream stream = {
        .seed = seed, .step = step, .role = NYB_RNG_OTHER, .sample = (uint8_t)draw};
    nyb_status status;
    uint32_t former;

    NYB_TRY(check(context, spec, x, rows, cols, draw, codes, err));
    if (spec->format->grid == NYB_GRID_REAL) {
        nyb_packed real = {.format = spec->format, .rows = rows, .cols = cols, .scale = 1.0f};

        if (values && rows * cols > 0)
            memmove(values, x, rows * cols * sizeof *x);
        if (stats)
            nyb_quant_measure(x, &real, stats);
        return NYB_OK;
    }
    former = nyb_cpu_fp_enter();
    status = quantize(context, spec, x, rows, cols, &stream, codes, values, stats, err);
    nyb_cpu_fp_restore(former);
    return status;
}
