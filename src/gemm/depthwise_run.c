/* Running a planned depthwise product: bands of rows, and dW's sums over all of them. */
#include "gemm/depthwise_impl.h"

/* What a task of the s8 engine reads: rows of an image of one operand, a byte a code. */
static void unpack_rows(const nyb_reader *reader, const nyb_conv_shape *s, bool of_y, size_t image,
                        size_t first, size_t end, uint8_t *slab)
{
    const size_t rows = of_y ? s->oh : s->h, width = of_y ? s->ow : s->w;

    if (end > first)
        nyb_reader_pixels(reader, (image * rows + first) * width, (end - first) * width, slab);
}

/* ---- forward and dX -------------------------------------------------------------------------- */

/* A row of outputs; source: the pixel (0, 0) of its image, bytes or floats. */
static void run_row(const nyb_depthwise_job *job, size_t image, size_t y, const uint8_t *source,
                    size_t first)
{
    const nyb_depthwise *d = job->plan;
    const bool dx = d->rows.dx;
    const size_t c = d->shape.c, px = d->s8 ? d->pitch : c, step = dx ? d->rows.stride : 1;
    const nyb_depthwise_spot row = nyb_depthwise_spot_at(&d->rows, y);
    const ptrdiff_t src_row = (ptrdiff_t)(d->cols.src * px), src_px = (ptrdiff_t)px;
    const size_t out = (image * d->rows.dst + y) * d->cols.dst * c;

    for (size_t i = 0; i < d->n_spans; i++) {
        const nyb_depthwise_span *span = &d->spans[i];
        const size_t at = row.n_taps && span->spot.n_taps
                              ? ((row.src - first) * d->cols.src + span->spot.src) * px
                              : 0;
        const size_t w_at = (row.tap * d->shape.s + span->spot.tap) * d->pitch;
        const nyb_depthwise_pixels args = {
            .n = span->n,
            .channels = c,
            .taps_r = row.n_taps,
            .taps_s = span->spot.n_taps,
            .x = d->s8 ? (const void *)(source + at) : (const float *)source + at,
            .w = d->s8 ? (const void *)((const int16_t *)job->w + w_at)
                       : (const float *)job->w + w_at,
            .x_step = dx ? src_px : src_px * (ptrdiff_t)d->cols.stride,
            .x_r = dx ? -src_row : src_row,
            .x_s = dx ? -src_px : src_px,
            .w_r = (ptrdiff_t)(step * d->shape.s * d->pitch),
            .w_s = (ptrdiff_t)(step * d->pitch),
            .x_unsigned = !d->a->is_signed,
            .max_product = d->max_product,
            .scale = job->scale,
            .bias = job->bias,
            .add = job->add,
            .half = job->half,
            .out = nyb_store_at(job->out, job->half, out + span->y * c),
            .out_step = step * c,
            .draws = job->draws,
            .origin = job->out,
        };

        if (d->s8)
            d->kernel->pixels_s8(&args);
        else
            d->kernel->pixels_f32(&args);
    }
}

static void band_task(void *arg, size_t task, size_t worker)
{
    const nyb_depthwise_job *job = arg;
    const nyb_depthwise *d = job->plan;
    const size_t image = task / d->n_bands, y = task % d->n_bands * d->band;
    const size_t y_end = nyb_min(y + d->band, d->rows.dst);
    const uint8_t *source = nyb_depthwise_worker(job, worker);
    size_t first = 0, end;

    if (d->s8) {
        nyb_depthwise_source(d, y, y_end, &first, &end);
        unpack_rows(&job->reader_a, &d->shape, d->rows.dx, image, first, end,
                    nyb_depthwise_worker(job, worker));
    } else {
        source = (const uint8_t *)(job->real_a + image * d->rows.src * d->cols.src * d->shape.c);
    }
    for (size_t row = y; row < y_end; row++)
        run_row(job, image, row, source, first);
}

void nyb_depthwise_run_pixels(nyb_depthwise_job *job)
{
    nyb_pool_run(job->pool, band_task, job, job->plan->shape.n * job->plan->n_bands);
}

/* ---- dW in s8 -------------------------------------------------------------------------------- */

/* Of a worker: x and dy of a task, sums of its tasks, and what these were before they could have
 * overflowed. */
typedef struct dw_memory {
    uint8_t *x, *dy;
    int64_t *totals;  /* [tap][pitch] */
    int32_t *sums;    /* [tap][pitch] */
    uint64_t *pixels; /* that are in sums */
    size_t n;
} dw_memory;

static dw_memory memory_of(const nyb_depthwise_job *job, size_t worker)
{
    const nyb_depthwise *d = job->plan;
    uint8_t *at = nyb_depthwise_worker(job, worker);
    const size_t n = d->shape.r * d->shape.s * d->pitch;
    int64_t *totals = (int64_t *)(at + d->slab + d->slab_dy);
    int32_t *sums = (int32_t *)(totals + n);

    return (dw_memory){at, at + d->slab, totals, sums, (uint64_t *)(sums + n), n};
}

/* Rows of x between columns of padding, so that all outputs see all columns of taps. */
static void unpack_padded(const nyb_depthwise_job *job, size_t image, size_t first, size_t end,
                          uint8_t *slab)
{
    const nyb_depthwise *d = job->plan;
    const size_t px = d->pitch, left = d->cols.pad, right = left + d->cols.src;

    for (size_t row = first; row < end; row++, slab += d->x_row * px) {
        memset(slab, 0, left * px);
        unpack_rows(&job->reader_b, &d->shape, false, image, row, row + 1, slab + left * px);
        memset(slab + right * px, 0, (d->x_row - right) * px);
    }
}

/* The products of one row of dy with the rows of x that its taps see. */
static void sum_row(const nyb_depthwise_job *job, const dw_memory *m, size_t y, const uint8_t *dy,
                    size_t first)
{
    const nyb_depthwise *d = job->plan;
    const nyb_depthwise_spot row = nyb_depthwise_spot_at(&d->rows, y);

    for (size_t r = 0; r < row.n_taps; r++) {
        const nyb_depthwise_taps args = {
            .n = d->cols.dst,
            .channels = d->shape.c,
            .taps = d->shape.s,
            .dy = dy,
            .x = m->x + (row.src + r - first) * d->x_row * d->pitch,
            .dy_step = d->pitch,
            .x_step = d->cols.stride * d->pitch,
            .x_s = d->pitch,
            .dy_unsigned = !d->a->is_signed,
            .x_unsigned = !d->b->is_signed,
            .max_product = d->max_product,
            .acc = m->sums + (row.tap + r) * d->shape.s * d->pitch,
            .acc_step = d->pitch,
        };

        d->kernel->taps_s8(&args);
    }
}

/* Makes room in the sums for more pixels, whose own sums fit int32. */
static void make_room(const nyb_depthwise *d, const dw_memory *m, uint64_t pixels)
{
    if ((*m->pixels + pixels) * (uint64_t)d->max_product > INT32_MAX) {
        for (size_t i = 0; i < m->n; i++)
            m->totals[i] += m->sums[i];
        memset(m->sums, 0, m->n * sizeof *m->sums);
        *m->pixels = 0;
    }
    *m->pixels += pixels;
}

static void dw_band_task(void *arg, size_t task, size_t worker)
{
    const nyb_depthwise_job *job = arg;
    const nyb_depthwise *d = job->plan;
    const dw_memory m = memory_of(job, worker);
    const size_t image = task / d->n_bands, y = task % d->n_bands * d->band;
    const size_t y_end = nyb_min(y + d->band, d->rows.dst);
    size_t first, end;

    nyb_depthwise_source(d, y, y_end, &first, &end);
    unpack_padded(job, image, first, end, m.x);
    for (size_t sample = 0; sample < d->n_samples; sample++) {
        nyb_reader dy = job->reader_a;

        dy.codes = job->a[sample].packed->codes;
        unpack_rows(&dy, &d->shape, true, image, y, y_end, m.dy);
        make_room(d, &m, (y_end - y) * d->cols.dst);
        for (size_t row = y; row < y_end; row++)
            sum_row(job, &m, row, m.dy + (row - y) * d->cols.dst * d->pitch, first);
    }
}

/* t = (float)sum * scale * (1 / n_samples), as nyb_conv's, for 16 channels. */
static void dw_total_task(void *arg, size_t task, size_t worker)
{
    const nyb_depthwise_job *job = arg;
    const nyb_depthwise *d = job->plan;
    const size_t taps = d->shape.r * d->shape.s, first = task * NYB_PITCH;
    const size_t end = nyb_min(first + NYB_PITCH, d->shape.c);
    const float mean = 1.0f / (float)d->n_samples;

    (void)worker;
    for (size_t c = first; c < end; c++)
        for (size_t tap = 0; tap < taps; tap++) {
            float *out = (float *)job->out + c * taps + tap;
            int64_t sum = 0;

            for (size_t w = 0; w < d->n_workers; w++) {
                const dw_memory m = memory_of(job, w);

                sum += m.totals[tap * d->pitch + c] + m.sums[tap * d->pitch + c];
            }
            const float t = (float)sum * job->scale * mean;
            *out = job->add ? *out + t : t;
        }
}

void nyb_depthwise_run_dw_s8(nyb_depthwise_job *job)
{
    const nyb_depthwise *d = job->plan;

    for (size_t w = 0; w < d->n_workers; w++) {
        const dw_memory m = memory_of(job, w);

        memset(m.totals, 0, m.n * sizeof *m.totals);
        memset(m.sums, 0, m.n * sizeof *m.sums);
        *m.pixels = 0;
    }
    nyb_pool_run(job->pool, dw_band_task, job, d->shape.n * d->n_bands);
    nyb_pool_run(job->pool, dw_total_task, job, nyb_div_up(d->shape.c, NYB_PITCH));
}

/* ---- dW in f32 ------------------------------------------------------------------------------- */

/* All taps' chains over the part [from, to) of an output row. */
static void chain_row(const nyb_depthwise_job *job, const float *dy, size_t row, size_t from,
                      size_t to, size_t channel, size_t n, float *acc)
{
    const nyb_depthwise *d = job->plan;
    const size_t c = d->shape.c, image = row / d->rows.dst;
    const nyb_depthwise_spot at = nyb_depthwise_spot_at(&d->rows, row % d->rows.dst);

    for (size_t r = 0; r < at.n_taps; r++)
        for (size_t i = 0; i < d->n_spans; i++) {
            const nyb_depthwise_span *span = &d->spans[i];
            const size_t begin = nyb_max(span->y, from), end = nyb_min(span->y + span->n, to);

            if (begin >= end || span->spot.n_taps == 0)
                continue;
            const size_t x_row = (image * d->rows.src + at.src + r) * d->cols.src;
            const size_t x_at = x_row + span->spot.src + (begin - span->y) * d->cols.stride;
            const nyb_depthwise_taps args = {
                .n = end - begin,
                .channels = n,
                .taps = span->spot.n_taps,
                .dy = dy + (row * d->cols.dst + begin) * c + channel,
                .x = job->real_b + x_at * c + channel,
                .dy_step = c,
                .x_step = d->cols.stride * c,
                .x_s = c,
                .acc = acc + ((at.tap + r) * d->shape.s + span->spot.tap) * n,
                .acc_step = n,
            };
            d->kernel->taps_f32(&args);
        }
}

/* A chunk of output pixels, a block of channels: the sums of each sample, in order. */
static void chain_task(void *arg, size_t task, size_t worker)
{
    const nyb_depthwise_job *job = arg;
    const nyb_depthwise *d = job->plan;
    const size_t c = d->shape.c, taps = d->shape.r * d->shape.s, width = d->cols.dst;
    const size_t blocks = nyb_div_up(c, NYB_DEPTHWISE_BLOCK);
    const size_t chunk = task / blocks, channel = task % blocks * NYB_DEPTHWISE_BLOCK;
    const size_t n = nyb_min(NYB_DEPTHWISE_BLOCK, c - channel);
    const size_t pixels = d->shape.n * d->rows.dst * width, k = chunk * NYB_F32_CHUNK;
    const size_t k_end = nyb_min(k + NYB_F32_CHUNK, pixels);
    float *sums = (float *)(job->shared + d->at_sums) + chunk * taps * c;
    float *acc = (float *)nyb_depthwise_worker(job, worker);

    for (size_t sample = 0; sample < d->n_samples; sample++) {
        const float *dy = job->real_a ? job->real_a + sample * pixels * c : job->a[sample].real;

        memset(acc, 0, taps * n * sizeof *acc);
        for (size_t row = k / width; row * width < k_end; row++)
            chain_row(job, dy, row, row * width < k ? k - row * width : 0,
                      nyb_min(width, k_end - row * width), channel, n, acc);
        for (size_t tap = 0; tap < taps; tap++)
            for (size_t i = 0; i < n; i++) {
                float *sum = &sums[tap * c + channel + i];

                *sum = sample ? *sum + acc[tap * n + i] : acc[tap * n + i];
            }
    }
}

/* Chunks in ascending order, then the mean over samples, for 16 channels. */
static void add_task(void *arg, size_t task, size_t worker)
{
    const nyb_depthwise_job *job = arg;
    const nyb_depthwise *d = job->plan;
    const size_t c = d->shape.c, taps = d->shape.r * d->shape.s, first = task * NYB_PITCH;
    const size_t end = nyb_min(first + NYB_PITCH, c);
    const float *sums = (const float *)(job->shared + d->at_sums);
    const float mean = 1.0f / (float)d->n_samples;

    (void)worker;
    for (size_t i = first; i < end; i++)
        for (size_t tap = 0; tap < taps; tap++) {
            float *out = (float *)job->out + i * taps + tap, t = sums[tap * c + i];

            for (size_t chunk = 1; chunk < d->n_chunks; chunk++)
                t = t + sums[(chunk * taps + tap) * c + i];
            if (d->n_samples > 1)
                t = t * mean;
            *out = job->add ? *out + t : t;
        }
}

void nyb_depthwise_run_dw_f32(nyb_depthwise_job *job)
{
    const nyb_depthwise *d = job->plan;
    const size_t blocks = nyb_div_up(d->shape.c, NYB_DEPTHWISE_BLOCK);

    nyb_pool_run(job->pool, chain_task, job, d->n_chunks * blocks);
    nyb_pool_run(job->pool, add_task, job, nyb_div_up(d->shape.c, NYB_PITCH));
}
