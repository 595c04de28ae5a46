/* A planned product: shape, engine, and what depends on neither FWD, DX nor DW. */
#include <assert.h>

#include "gemm/conv_impl.h"
#include "gemm/mf.h"

/* True if a * b * c * d with c rounded up to 16 codes, as floats, fits a size. */
static bool fits(size_t a, size_t b, size_t c, size_t d)
{
    size_t n;
    return d <= SIZE_MAX - NYB_PITCH && nyb_mul_size(a, b, &n) && nyb_mul_size(n, c, &n) &&
           nyb_mul_size(n, nyb_packed_pitch(d), &n) && nyb_mul_size(n, 8 * sizeof(float), &n);
}

nyb_status nyb_conv_shape_check(nyb_conv_shape *s, nyb_error *err)
{
    if (!s->n || !s->h || !s->w || !s->c || !s->o || !s->r || !s->s || !s->stride)
        return nyb_fail(err, NYB_SHAPE,
                        "a product has a size of 0: %zu images of %zux%zux%zu, weights "
                        "%zux%zux%zu, stride %zu",
                        s->n, s->h, s->w, s->c, s->o, s->r, s->s, s->stride);
    if (s->pad >= s->r || s->pad >= s->s)
        return nyb_fail(err, NYB_SHAPE, "padding %zu is not below the kernel's %zux%zu", s->pad,
                        s->r, s->s);
    if (s->r > UINT16_MAX || s->s > UINT16_MAX || s->h > SIZE_MAX / 2 || s->w > SIZE_MAX / 2)
        return nyb_fail(err, NYB_LIMIT, "a kernel of %zux%zu on %zux%zu is too large", s->r, s->s,
                        s->h, s->w);
    if (s->h + 2 * s->pad < s->r || s->w + 2 * s->pad < s->s)
        return nyb_fail(err, NYB_SHAPE, "a kernel of %zux%zu does not fit in %zux%zu padded by %zu",
                        s->r, s->s, s->h, s->w, s->pad);
    s->oh = (s->h + 2 * s->pad - s->r) / s->stride + 1;
    s->ow = (s->w + 2 * s->pad - s->s) / s->stride + 1;
    if (!fits(s->n, s->h, s->w, s->c) || !fits(s->n, s->oh, s->ow, s->o) ||
        !fits(s->o, s->r, s->s, s->c) || !fits(s->c, s->r, s->s, s->o))
        return nyb_fail(err, NYB_LIMIT,
                        "sizes overflow: %zu images of %zux%zux%zu, weights %zux%zux%zu", s->n,
                        s->h, s->w, s->c, s->o, s->r, s->s);
    return NYB_OK;
}

nyb_span nyb_conv_axis_span(size_t src, size_t out, size_t tap, size_t stride, size_t pad)
{
    const size_t first = pad > tap ? nyb_div_up(pad - tap, stride) : 0;
    const size_t last = src - 1 + pad;
    const size_t end = last < tap ? 0 : nyb_min((last - tap) / stride + 1, out);

    return (nyb_span){first, end > first ? end - first : 0};
}

uint64_t nyb_conv_axis_hits(size_t src, size_t out, size_t taps, size_t stride, size_t pad)
{
    uint64_t hits = 0;

    for (size_t t = 0; t < taps; t++)
        hits += nyb_conv_axis_span(src, out, t, stride, pad).count;
    return hits;
}

int32_t nyb_conv_largest_unit(const nyb_format *f)
{
    int32_t largest = f->max_unit;

    for (unsigned code = 0; (f->units || f->shift) && code < f->n_codes; code++) {
        const int32_t unit = nyb_conv_unit(f, code);

        largest = unit > largest ? unit : -unit > largest ? -unit : largest;
    }
    return f->multiples ? largest * f->multiples : largest;
}

/* Whether int32 holds the sums of one image of dW, of units less no zero. */
static bool fits_image(const nyb_conv *conv)
{
    const nyb_conv_shape *s = &conv->shape;
    const int32_t most = nyb_conv_largest_unit(conv->a) * nyb_conv_largest_unit(conv->b);

    return s->oh * s->ow <= (size_t)(INT32_MAX / most);
}

/* Whether the s8 engine takes the lines of its operands, if any. */
static bool takes_lines(const nyb_conv *conv, bool of_images)
{
    const nyb_conv_shape *s = &conv->shape;

    switch (conv->product) {
    case NYB_PRODUCT_FWD:
        return true;
    case NYB_PRODUCT_DX:
        return !conv->lines.b;
    case NYB_PRODUCT_DW:
        return (!conv->lines.a && !conv->lines.b) ||
               (of_images && s->oh * s->ow > 1 && conv->n_samples == 1 && !conv->zero_a &&
                !conv->zero_b && conv->a->shift == 0 && conv->b->shift == 0 && fits_image(conv));
    }
    return false;
}

static void choose_engine(nyb_conv *conv, const nyb_context *context,
                          const nyb_conv_options *options, size_t exact_k)
{
    const nyb_engine engine = options->engine;
    const nyb_format *a = conv->a, *b = conv->b;
    const int32_t max_a = nyb_conv_largest_unit(a), max_b = nyb_conv_largest_unit(b);
    const bool negative = a->is_signed || a->shift > 0;

    conv->store = nyb_store_choose(context->cpu);
    conv->mf = engine == NYB_ENGINE_MF;
    conv->s8 = !conv->accum.format && engine != NYB_ENGINE_F32 && nyb_format_is_integer(a) &&
               nyb_format_is_integer(b) && takes_lines(conv, options->image_lines);
    conv->zero_a = conv->s8 && (conv->zero_a || a->shift > 0);
    conv->zero_b = conv->s8 && (conv->zero_b || b->shift > 0);
    conv->lines.a = conv->s8 && conv->lines.a;
    conv->lines.b = conv->s8 && conv->lines.b;
    if (!conv->s8) {
        conv->tile_f32 = nyb_tile_f32_choose(context->cpu);
        conv->accum_kernel = nyb_accum_kernel_choose(context->cpu);
        return;
    }
    conv->tile = conv->mf ? nyb_mf_choose(context->cpu, a)
                          : nyb_tile_s8_choose(context->cpu, max_a, negative, max_b);
    conv->bias = conv->tile->a_biased && negative ? max_a : 0;
    conv->max_a = max_a + conv->bias;
    conv->max_b = max_b;
    /* Less its zero a unit may be twice as large. */
    conv->exact_k =
        (size_t)(INT32_MAX / (max_a * max_b * (conv->zero_a ? 2 : 1) * (conv->zero_b ? 2 : 1)));
    if (exact_k)
        conv->exact_k = nyb_max(nyb_min(conv->exact_k, exact_k), NYB_TILE_STEP);
}

/* A 1x1 kernel sees no neighbours: one column of pixels. */
static void flatten(nyb_conv_shape *s)
{
    if (s->r != 1 || s->s != 1 || s->stride != 1)
        return;
    s->h = s->oh = s->n * s->h * s->w;
    s->n = s->w = s->ow = 1;
}

static nyb_status plan(nyb_conv *conv, uint32_t cpu, nyb_error *err)
{
    nyb_few_plan(conv, cpu);
    if (conv->few.kernel)
        return NYB_OK;
    if (conv->product != NYB_PRODUCT_DW) {
        NYB_TRY(nyb_map_plan(conv, err));
        return nyb_lines_plan(conv, err);
    }
    if (conv->accum.format)
        nyb_dw_accum_plan(conv);
    else if (conv->s8)
        return nyb_dw_s8_plan(conv, err);
    else
        nyb_dw_f32_plan(conv);
    return NYB_OK;
}

/* The multiplication-free products are few. */
static nyb_status check_mf(const nyb_accum *accum, const nyb_format *a, const nyb_format *b,
                           nyb_error *err)
{
    if (!nyb_mf_can(a, b))
        return nyb_fail(err, NYB_INVALID,
                        "engine 'mf' multiplies e3m0 by integers of at most 15 (int4, uint4, int2 "
                        "...), not %s by %s",
                        a->name, b->name);
    if (!nyb_accum_is_exact(accum))
        return nyb_fail(err, NYB_INVALID, "engine 'mf' sums exactly, not in accumulator '%s'",
                        accum->format->name);
    return NYB_OK;
}

typedef struct request {
    nyb_product product;
    const nyb_conv_shape *shape;
    const nyb_format *a, *b;
    size_t n_samples, exact_k;
    const nyb_conv_options *options;
} request;

/* DW takes several draws of dy, DX those that are small integers times one scale. */
static nyb_status check_samples(const request *r, const nyb_conv_options *o, nyb_error *err)
{
    const bool sums_units = nyb_accum_is_exact(o->accum) && o->engine != NYB_ENGINE_F32 &&
                            nyb_format_is_integer(r->a) && nyb_format_is_integer(r->b) &&
                            !o->lines_a && !o->lines_b;

    if (r->n_samples == 1 || (r->n_samples > 1 && r->product == NYB_PRODUCT_DW) ||
        (r->n_samples > 1 && r->product == NYB_PRODUCT_DX && sums_units))
        return NYB_OK;
    return nyb_fail(
        err, NYB_INVALID,
        "%zu samples: only DW takes more than one, and DX on the s8 engine, of operands "
        "with one scale",
        r->n_samples);
}

static nyb_status create(const nyb_context *context, const request *r, nyb_conv **conv,
                         nyb_error *err)
{
    const nyb_conv_options defaults = {0}, *o = r->options ? r->options : &defaults;
    nyb_conv_shape s = *r->shape;

    *conv = NULL;
    NYB_TRY(nyb_conv_shape_check(&s, err));
    NYB_TRY(check_samples(r, o, err));
    if (!nyb_accum_is_exact(o->accum)) /* what has lines is values there */
        NYB_TRY(nyb_accum_check_operands(o->accum, o->lines_a ? &nyb_format_f32 : r->a,
                                         o->lines_b ? &nyb_format_f32 : r->b, err));
    if (o->engine == NYB_ENGINE_MF)
        NYB_TRY(check_mf(o->accum, r->a, r->b, err));
    nyb_conv *made = nyb_alloc(sizeof *made);
    if (!made)
        return nyb_fail(err, NYB_MEMORY, "no memory for a product");
    made->product = r->product;
    made->a = r->a;
    made->b = r->b;
    made->n_samples = r->n_samples;
    made->zero_a = o->zero_a;
    made->zero_b = o->zero_b;
    made->lines.a = o->lines_a;
    made->lines.b = o->lines_b;
    if (!nyb_accum_is_exact(o->accum)) {
        made->accum = *o->accum;
        nyb_accum_grid_init(&made->grid, &made->accum);
    }
    made->n_workers = nyb_pool_threads(context->pool);
    made->macs = nyb_conv_shape_macs(&s) * r->n_samples;
    made->shape = s;
    choose_engine(made, context, o, r->exact_k);
    made->dw.by_image =
        r->product == NYB_PRODUCT_DW && (made->lines.a || made->lines.b); /* on s8 */
    if (!made->dw.by_image)
        flatten(&made->shape);
    const nyb_status status = plan(made, context->cpu, err);
    if (status != NYB_OK) {
        nyb_conv_destroy(&made);
        return status;
    }
    if (made->accum.format)
        made->shared_bytes = nyb_max(made->shared_bytes, nyb_accum_shared_bytes(made));
    made->shared_bytes = nyb_round_up(made->shared_bytes, NYB_ALIGN);
    made->worker_bytes = nyb_round_up(made->worker_bytes, 128); /* no false sharing */
    *conv = made;
    return NYB_OK;
}

nyb_status nyb_conv_create_split(const nyb_context *context, nyb_product product,
                                 const nyb_conv_shape *shape, const nyb_format *a,
                                 const nyb_format *b, size_t n_samples, size_t exact_k,
                                 const nyb_conv_options *options, nyb_conv **conv, nyb_error *err)
{
    const request r = {product, shape, a, b, n_samples, exact_k, options};

    return create(context, &r, conv, err);
}

nyb_status nyb_conv_create(const nyb_context *context, nyb_product product,
                           const nyb_conv_shape *shape, const nyb_format *a, const nyb_format *b,
                           size_t n_samples, const nyb_accum *accum, nyb_conv **conv,
                           nyb_error *err)
{
    const nyb_conv_options options = {.accum = accum};
    const request r = {product, shape, a, b, n_samples, 0, &options};

    return create(context, &r, conv, err);
}

nyb_status nyb_conv_create_with(const nyb_context *context, nyb_product product,
                                const nyb_conv_shape *shape, const nyb_format *a,
                                const nyb_format *b, size_t n_samples,
                                const nyb_conv_options *options, nyb_conv **conv, nyb_error *err)
{
    const request r = {product, shape, a, b, n_samples, 0, options};

    return create(context, &r, conv, err);
}

void nyb_conv_destroy(nyb_conv **conv)
{
    if (!*conv)
        return;
    nyb_map_free(&(*conv)->map);
    nyb_lines_free(*conv);
    nyb_free((*conv)->dw.list);
    nyb_free((*conv)->dw.a_step);
    nyb_free((*conv)->dw.b_step);
    nyb_free((*conv)->dw.valid);
    nyb_free(*conv);
    *conv = NULL;
}

const char *nyb_conv_engine(const nyb_conv *conv)
{
    if (conv->accum.format)
        return "accumulate";
    return conv->mf ? "mf" : conv->s8 ? "s8" : "f32";
}

const char *nyb_conv_kernel(const nyb_conv *conv)
{
    if (conv->accum.format)
        return conv->accum_kernel->name;
    if (conv->few.kernel)
        return conv->few.kernel->name;
    return conv->s8 ? conv->tile->name : conv->tile_f32->name;
}

const nyb_accum *nyb_conv_accum(const nyb_conv *conv)
{
    return conv->accum.format ? &conv->accum : NULL;
}

size_t nyb_conv_scratch_bytes(const nyb_conv *conv)
{
    return conv->shared_bytes + conv->n_workers * conv->worker_bytes;
}

uint64_t nyb_conv_shape_macs(const nyb_conv_shape *s)
{
    return nyb_conv_axis_hits(s->h, s->oh, s->r, s->stride, s->pad) *
           nyb_conv_axis_hits(s->w, s->ow, s->s, s->stride, s->pad) * s->n * s->c * s->o;
}

uint64_t nyb_conv_macs(const nyb_conv *conv)
{
    return conv->macs;
}

float nyb_conv_unit_value(const nyb_operand *operand)
{
    return operand->packed->scale * operand->packed->format->unit;
}

/* job: bias, random bits, and where the results go. */
static void run(nyb_conv_job job, const nyb_conv *conv, const nyb_context *context,
                const nyb_operand *a, const nyb_operand *b, void *scratch)
{
    const bool y = conv->product == NYB_PRODUCT_FWD, dw = conv->product == NYB_PRODUCT_DW;

    assert(job.stream || !nyb_accum_draws(&conv->accum));
    job.conv = conv;
    job.pool = context->pool;
    job.a = a;
    job.b = b;
    job.shared = scratch;
    job.workers = (uint8_t *)scratch + conv->shared_bytes;
    nyb_reader_init(&job.reader_a, a, y ? conv->shape.c : conv->shape.o, conv->tile, conv->tile_f32,
                    conv->bias);
    nyb_reader_init(&job.reader_b, b, conv->shape.c, conv->tile, conv->tile_f32, conv->few.plus);
    if (conv->mf) {
        nyb_mf_bytes(a->packed->format, job.reader_a.bytes);
        nyb_mf_bytes(b->packed->format, job.reader_b.bytes);
    }
    if (conv->s8)
        job.scale = nyb_conv_unit_value(a) * nyb_conv_unit_value(b);
    if (!dw && conv->n_samples > 1)
        job.scale = job.scale * (1.0f / (float)conv->n_samples);
    if (nyb_conv_lacks(conv))
        nyb_zero_prepare(&job);
    if (!dw && (conv->lines.a || conv->lines.b))
        nyb_lines_prepare(&job);
    if (conv->accum.format)
        nyb_accum_prepare(&job, b);
    if (conv->few.kernel)
        nyb_few_run(&job);
    else if (!dw)
        nyb_map_run(&job);
    else if (conv->accum.format)
        nyb_dw_accum_run(&job);
    else if (conv->s8)
        nyb_dw_s8_run(&job);
    else
        nyb_dw_f32_run(&job);
}

void nyb_conv_run(const nyb_conv *conv, const nyb_context *context, const nyb_operand *a,
                  const nyb_operand *b, const float *bias, bool add, const nyb_stream *stream,
                  float *out, void *scratch)
{
    run((nyb_conv_job){.bias = bias, .add = add, .stream = stream, .out = out}, conv, context, a, b,
        scratch);
}

void nyb_conv_run_half(const nyb_conv *conv, const nyb_context *context, const nyb_operand *a,
                       const nyb_operand *b, const float *bias, const nyb_stream *stream,
                       const nyb_stream *draws, uint16_t *out, void *scratch)
{
    assert(conv->product != NYB_PRODUCT_DW);
    run((nyb_conv_job){.bias = bias, .stream = stream, .out = out, .half = true, .draws = draws},
        conv, context, a, b, scratch);
}
