/* A planned depthwise product: geometry, engine, kernel, and operands as the kernels read them. */
#include <assert.h>

#include "gemm/depthwise_impl.h"

const nyb_depthwise_kernel *const nyb_depthwise_kernels[] = {
#if NYB_SIMD
    &nyb_depthwise_avx512,
    &nyb_depthwise_avx2,
#endif
    &nyb_depthwise_ref,
    NULL,
};

const nyb_depthwise_kernel *nyb_depthwise_kernel_choose(uint32_t cpu, int32_t max_product)
{
    const nyb_depthwise_kernel *const *kernel = nyb_depthwise_kernels;

    while (((*kernel)->needs & ~cpu) || (*kernel)->max_product < max_product)
        kernel++; /* ends at "ref", which needs nothing and multiplies every pair of bytes */
    return *kernel;
}

/* ---- geometry -------------------------------------------------------------------------------- */

nyb_depthwise_spot nyb_depthwise_spot_at(const nyb_depthwise_axis *axis, size_t y)
{
    nyb_depthwise_spot spot = {0};
    size_t end;

    if (!axis->dx) {
        const size_t at = y * axis->stride; /* < src + pad */

        spot.tap = axis->pad > at ? axis->pad - at : 0;
        end = nyb_min(axis->taps, axis->src + axis->pad - at);
        spot.n_taps = end > spot.tap ? end - spot.tap : 0;
        spot.src = at + spot.tap - axis->pad;
    } else {
        const size_t z = y + axis->pad, reach = (axis->src - 1) * axis->stride;

        spot.tap = z > reach ? z - reach : z % axis->stride;
        end = nyb_min(axis->taps, z + 1);
        spot.n_taps = end > spot.tap ? nyb_div_up(end - spot.tap, axis->stride) : 0;
        spot.src = (z - spot.tap) / axis->stride;
    }
    return spot.n_taps ? spot : (nyb_depthwise_spot){0};
}

void nyb_depthwise_source(const nyb_depthwise *plan, size_t y, size_t y_end, size_t *first,
                          size_t *end)
{
    *first = SIZE_MAX;
    *end = 0;
    for (; y < y_end; y++) {
        const nyb_depthwise_spot spot = nyb_depthwise_spot_at(&plan->rows, y);
        const size_t more = spot.n_taps - 1;

        if (spot.n_taps == 0)
            continue;
        *first = nyb_min(*first, plan->rows.dx ? spot.src - more : spot.src);
        *end = nyb_max(*end, (plan->rows.dx ? spot.src : spot.src + more) + 1);
    }
    *first = nyb_min(*first, *end);
}

/* The columns in runs that see the same taps. */
static size_t list_spans(const nyb_depthwise_axis *axis, nyb_depthwise_span *spans)
{
    const size_t step = axis->dx ? axis->stride : 1, move = axis->dx ? 1 : axis->stride;
    size_t n = 0;

    for (size_t grid = 0; grid < nyb_min(step, axis->dst); grid++) {
        const size_t first = n;

        for (size_t y = grid; y < axis->dst; y += step) {
            const nyb_depthwise_spot spot = nyb_depthwise_spot_at(axis, y);
            nyb_depthwise_span *last = n > first ? &spans[n - 1] : NULL;

            if (last && last->spot.n_taps == spot.n_taps &&
                (spot.n_taps == 0 ||
                 (last->spot.tap == spot.tap && last->spot.src + last->n * move == spot.src)))
                last->n++;
            else
                spans[n++] = (nyb_depthwise_span){.y = y, .n = 1, .spot = spot};
        }
    }
    return n;
}

/* ---- plans ----------------------------------------------------------------------------------- */

/* Output rows of a task: some 32K outputs, and few enough for int32 sums of dW
 * (NYB_DEPTHWISE_WIDTH_MAX pixels of 255 * 255). */
static void plan_bands(nyb_depthwise *d)
{
    const size_t rows = d->rows.dst, width = d->cols.dst;
    size_t most = 0;

    d->band = nyb_max(32768 / (width * d->pitch), 1);
    d->band = nyb_min(d->band, rows);
    d->n_bands = nyb_div_up(rows, d->band);
    if (!d->s8)
        return;
    for (size_t y = 0; y < rows; y += d->band) {
        size_t first, end;

        nyb_depthwise_source(d, y, nyb_min(y + d->band, rows), &first, &end);
        most = nyb_max(most, end - first);
    }
    d->x_row = d->cols.src;
    if (d->product == NYB_PRODUCT_DW)
        d->x_row = nyb_max(d->cols.pad + d->cols.src, (width - 1) * d->cols.stride + d->cols.taps);
    d->slab = nyb_round_up(most * d->x_row * d->pitch, NYB_ALIGN);
    d->slab_dy = nyb_round_up(d->band * width * d->pitch, NYB_ALIGN);
}

static void plan_pixels(nyb_depthwise *d)
{
    const nyb_conv_shape *s = &d->shape;
    const size_t taps = s->r * s->s, n_source = s->n * d->rows.src * d->cols.src * s->c;
    const size_t n_weights = s->c * nyb_packed_pitch(taps); /* as unpacked: filters, floats */

    d->at_turned = nyb_round_up(n_weights * sizeof(float), NYB_ALIGN);
    d->at_real = d->at_turned + nyb_round_up(taps * d->pitch * sizeof(float), NYB_ALIGN);
    d->shared_bytes = d->at_real;
    if (!d->s8 && d->a != &nyb_format_f32)
        d->shared_bytes += n_source * sizeof(float);
    if (d->s8)
        d->worker_bytes = d->slab;
}

static void plan_dw(nyb_depthwise *d)
{
    const nyb_conv_shape *s = &d->shape;
    const size_t taps = s->r * s->s, pixels = s->n * s->oh * s->ow;
    const size_t n_dy = pixels * s->c * d->n_samples, n_x = s->n * s->h * s->w * s->c;

    if (d->s8) { /* int64 sums, int32 sums, and of how many pixels these are */
        d->worker_bytes = d->slab + d->slab_dy +
                          taps * d->pitch * (sizeof(int32_t) + sizeof(int64_t)) + sizeof(uint64_t);
        return;
    }
    d->n_chunks = nyb_div_up(pixels, NYB_F32_CHUNK);
    if (d->a != &nyb_format_f32)
        d->at_sums += nyb_round_up(n_dy * sizeof(float), NYB_ALIGN);
    d->at_real = d->at_sums; /* of x; dy's is 0 */
    if (d->b != &nyb_format_f32)
        d->at_sums += nyb_round_up(n_x * sizeof(float), NYB_ALIGN);
    d->shared_bytes = d->at_sums + d->n_chunks * taps * s->c * sizeof(float);
    d->worker_bytes = taps * NYB_DEPTHWISE_BLOCK * sizeof(float);
}

static nyb_status plan(nyb_depthwise *d, nyb_error *err)
{
    const nyb_conv_shape *s = &d->shape;
    const bool dx = d->product == NYB_PRODUCT_DX;

    d->rows = (nyb_depthwise_axis){.dx = dx,
                                   .stride = s->stride,
                                   .pad = s->pad,
                                   .taps = s->r,
                                   .src = dx ? s->oh : s->h,
                                   .dst = dx ? s->h : s->oh};
    d->cols = d->rows;
    d->cols.taps = s->s;
    d->cols.src = dx ? s->ow : s->w;
    d->cols.dst = dx ? s->w : s->ow;
    d->pitch = nyb_packed_pitch(s->c);
    d->macs = nyb_conv_axis_hits(s->h, s->oh, s->r, s->stride, s->pad) *
              nyb_conv_axis_hits(s->w, s->ow, s->s, s->stride, s->pad) * s->n * s->c * d->n_samples;
    d->spans = nyb_alloc(d->cols.dst * sizeof *d->spans);
    if (!d->spans)
        return nyb_fail(err, NYB_MEMORY, "no memory for a product");
    d->n_spans = list_spans(&d->cols, d->spans);
    plan_bands(d);
    if (d->product == NYB_PRODUCT_DW)
        plan_dw(d);
    else
        plan_pixels(d);
    d->shared_bytes = nyb_round_up(d->shared_bytes, NYB_ALIGN);
    d->worker_bytes = nyb_round_up(d->worker_bytes, 128); /* no false sharing */
    return NYB_OK;
}

static nyb_status check(const nyb_conv_shape *s, nyb_product product, size_t n_samples,
                        nyb_error *err)
{
    if (s->o != s->c)
        return nyb_fail(err, NYB_INVALID,
                        "a depthwise product has as many outputs as channels, not %zu of %zu", s->o,
                        s->c);
    if (s->r > NYB_DEPTHWISE_KERNEL_MAX || s->s > NYB_DEPTHWISE_KERNEL_MAX)
        return nyb_fail(err, NYB_LIMIT, "depthwise filters are at most %dx%d, not %zux%zu",
                        NYB_DEPTHWISE_KERNEL_MAX, NYB_DEPTHWISE_KERNEL_MAX, s->r, s->s);
    if (s->w > NYB_DEPTHWISE_WIDTH_MAX || s->ow > NYB_DEPTHWISE_WIDTH_MAX)
        return nyb_fail(err, NYB_LIMIT, "depthwise images are at most %d pixels wide, not %zu",
                        NYB_DEPTHWISE_WIDTH_MAX, nyb_max(s->w, s->ow));
    if (n_samples < 1 || (n_samples > 1 && product != NYB_PRODUCT_DW))
        return nyb_fail(err, NYB_INVALID, "%zu samples: only DW takes more than one", n_samples);
    return NYB_OK;
}

static void choose_engine(nyb_depthwise *d, const nyb_context *context, bool f32)
{
    d->s8 = !f32 && d->a->max_unit > 0 && d->b->max_unit > 0;
    d->max_product = 1;
    if (d->s8) {
        d->max_product = nyb_conv_largest_unit(d->a) * nyb_conv_largest_unit(d->b);
        d->tile = nyb_tile_s8_choose(context->cpu, 1, false, 1);
    } else {
        d->tile_f32 = nyb_tile_f32_choose(context->cpu);
    }
    d->kernel = nyb_depthwise_kernel_choose(context->cpu, d->max_product);
}

nyb_status nyb_depthwise_create(const nyb_context *context, nyb_product product,
                                const nyb_conv_shape *shape, const nyb_format *a,
                                const nyb_format *b, size_t n_samples, bool f32,
                                nyb_depthwise **depthwise, nyb_error *err)
{
    nyb_conv_shape s = *shape;
    nyb_depthwise *made;
    nyb_status status;

    *depthwise = NULL;
    NYB_TRY(nyb_conv_shape_check(&s, err));
    NYB_TRY(check(&s, product, n_samples, err));
    made = nyb_alloc(sizeof *made);
    if (!made)
        return nyb_fail(err, NYB_MEMORY, "no memory for a product");
    made->product = product;
    made->shape = s;
    made->a = a;
    made->b = b;
    made->n_samples = n_samples;
    made->n_workers = nyb_pool_threads(context->pool);
    choose_engine(made, context, f32);
    status = plan(made, err);
    if (status != NYB_OK) {
        nyb_depthwise_destroy(&made);
        return status;
    }
    *depthwise = made;
    return NYB_OK;
}

void nyb_depthwise_destroy(nyb_depthwise **depthwise)
{
    if (!*depthwise)
        return;
    nyb_free((*depthwise)->spans);
    nyb_free(*depthwise);
    *depthwise = NULL;
}

const char *nyb_depthwise_engine(const nyb_depthwise *depthwise)
{
    return depthwise->s8 ? "s8" : "f32";
}

const char *nyb_depthwise_kernel_name(const nyb_depthwise *depthwise)
{
    return depthwise->kernel->name;
}

size_t nyb_depthwise_scratch_bytes(const nyb_depthwise *depthwise)
{
    return depthwise->shared_bytes + depthwise->n_workers * depthwise->worker_bytes;
}

uint64_t nyb_depthwise_macs(const nyb_depthwise *depthwise)
{
    return depthwise->macs;
}

/* ---- operands -------------------------------------------------------------------------------- */

/* Weights as the kernels read them: [tap][pitch], channels past the last 0. */
static void turn_weights(nyb_depthwise_job *job)
{
    const nyb_depthwise *d = job->plan;
    const size_t taps = d->shape.r * d->shape.s, c = d->shape.c;
    const uint8_t *bytes = job->shared;
    const float *values = job->reader_b.real ? job->reader_b.real : (const float *)job->shared;
    float *f32 = (float *)(job->shared + d->at_turned);
    int16_t *units = (int16_t *)(job->shared + d->at_turned);

    if (d->s8 || !job->reader_b.real)
        nyb_reader_pixels(&job->reader_b, 0, c, job->shared);
    memset(f32, 0, taps * d->pitch * (d->s8 ? sizeof *units : sizeof *f32));
    for (size_t i = 0; i < c; i++)
        for (size_t t = 0; t < taps; t++)
            if (d->s8)
                units[t * d->pitch + i] = d->b->is_signed
                                              ? (int8_t)bytes[i * job->reader_b.pitch + t]
                                              : bytes[i * job->reader_b.pitch + t];
            else
                f32[t * d->pitch + i] = values[i * taps + t];
    job->w = f32;
}

#define DECODE_PIXELS 256

typedef struct decode_work {
    const nyb_reader *reader;
    float *out;
    size_t n; /* pixels */
} decode_work;

static void decode_task(void *arg, size_t task, size_t worker)
{
    const decode_work *work = arg;
    const size_t first = task * DECODE_PIXELS;

    (void)worker;
    nyb_reader_pixels(work->reader, first, nyb_min(DECODE_PIXELS, work->n - first),
                      work->out + first * work->reader->cols);
}

/* n pixels of an operand in f32: as they are, or decoded to `to`. */
static const float *real_of(nyb_depthwise_job *job, const nyb_operand *operand, size_t n, float *to)
{
    nyb_reader reader;
    decode_work work = {&reader, to, n};

    if (operand->real)
        return operand->real;
    nyb_reader_init(&reader, operand, job->plan->shape.c, NULL, job->plan->tile_f32, 0);
    nyb_pool_run(job->pool, decode_task, &work, nyb_div_up(n, DECODE_PIXELS));
    return to;
}

/* The f32 engine's operands. */
static void read_real(nyb_depthwise_job *job, const nyb_operand *b)
{
    const nyb_depthwise *d = job->plan;
    const nyb_conv_shape *s = &d->shape;
    const size_t x = s->n * s->h * s->w, y = s->n * s->oh * s->ow;

    if (d->product != NYB_PRODUCT_DW) {
        job->real_a = real_of(job, job->a, d->product == NYB_PRODUCT_FWD ? x : y,
                              (float *)(job->shared + d->at_real));
        return;
    }
    for (size_t i = 0; i < d->n_samples && job->a[i].packed; i++)
        real_of(job, &job->a[i], y, (float *)job->shared + i * y * s->c);
    job->real_a = job->a->real ? NULL : (const float *)job->shared;
    job->real_b = real_of(job, b, x, (float *)(job->shared + d->at_real));
}

/* job: bias, and where the results go. */
static void run(nyb_depthwise_job job, const nyb_depthwise *depthwise, const nyb_context *context,
                const nyb_operand *a, const nyb_operand *b, void *scratch)
{
    const nyb_conv_shape *s = &depthwise->shape;
    const bool dw = depthwise->product == NYB_PRODUCT_DW;

    job.plan = depthwise;
    job.pool = context->pool;
    job.a = a;
    job.shared = scratch;
    job.workers = (uint8_t *)scratch + depthwise->shared_bytes;
    nyb_reader_init(&job.reader_a, a, s->c, depthwise->tile, depthwise->tile_f32, 0);
    nyb_reader_init(&job.reader_b, b, dw ? s->c : s->r * s->s, depthwise->tile, depthwise->tile_f32,
                    0);
    if (depthwise->s8)
        job.scale = nyb_conv_unit_value(a) * nyb_conv_unit_value(b);
    else
        read_real(&job, b);
    if (!dw) {
        turn_weights(&job);
        nyb_depthwise_run_pixels(&job);
    } else if (depthwise->s8) {
        nyb_depthwise_run_dw_s8(&job);
    } else {
        nyb_depthwise_run_dw_f32(&job);
    }
}

void nyb_depthwise_run(const nyb_depthwise *depthwise, const nyb_context *context,
                       const nyb_operand *a, const nyb_operand *b, const float *bias, bool add,
                       float *out, void *scratch)
{
    run((nyb_depthwise_job){.bias = bias, .add = add, .out = out}, depthwise, context, a, b,
        scratch);
}

void nyb_depthwise_run_half(const nyb_depthwise *depthwise, const nyb_context *context,
                            const nyb_operand *a, const nyb_operand *b, const float *bias,
                            const nyb_stream *draws, uint16_t *out, void *scratch)
{
    assert(depthwise->product != NYB_PRODUCT_DW);
    run((nyb_depthwise_job){.bias = bias, .out = out, .half = true, .draws = draws}, depthwise,
        context, a, b, scratch);
}
