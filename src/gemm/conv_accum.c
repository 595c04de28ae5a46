/* The accumulate engine: products whose every partial sum is rounded, k in order. */
#include <math.h>

#include "gemm/conv_impl.h"

#define PART_K 512 /* k of DW that are gathered at once: a panel of 64 KB */
#define GROUP  4   /* panels of a task of DW: they share what is decoded of dy */
#define SCAN   ((size_t)1 << 16)

/* ---- what is known of the operands ------------------------------------------------------------
 */

/* The operand with codes worth their values at scale 1, or their integers; lines stay as they are.
 */
static nyb_packed unscaled(const nyb_conv *conv, const nyb_packed *packed)
{
    nyb_packed p = *packed;

    if (!p.lines)
        p.scale = conv->grid.mode == NYB_ACCUM_INT ? 1.0f / packed->format->unit : 1.0f;
    return p;
}

/* The bits of all values together (low mantissa bits), and the largest and the smallest magnitude
 * as bits; the smallest counts from above 0: 0 is its largest value, and where it starts. */
typedef struct extent {
    uint32_t bits, largest, smallest;
} extent;

static uint32_t smaller_but_0(uint32_t a, uint32_t b)
{
    return a - 1 < b - 1 ? a : b;
}

static extent extent_of(const float *x, size_t n)
{
    extent e = {0};

    for (size_t i = 0; i < n; i++) {
        const uint32_t b = nyb_bits_of(x[i]), size = b & 0x7fffffff;
        e.bits |= b;
        e.largest = size > e.largest ? size : e.largest;
        e.smallest = smaller_but_0(size, e.smallest);
    }
    return e;
}

static void join(extent *e, extent other)
{
    e->bits |= other.bits;
    e->largest = other.largest > e->largest ? other.largest : e->largest;
    e->smallest = smaller_but_0(other.smallest, e->smallest);
}

typedef struct scan {
    const float *x;
    size_t n;
    extent *found;
} scan;

static void scan_task(void *arg, size_t task, size_t worker)
{
    const scan *s = arg;
    const size_t first = task * SCAN;

    (void)worker;
    s->found[task] = extent_of(s->x + first, nyb_min(SCAN, s->n - first));
}

/* Of codes of these values, with factors. */
static extent codes_extent(const float *values, size_t n, unsigned multiples)
{
    extent e = {0};

    for (unsigned factor = 1; factor <= nyb_max(multiples, 1); factor++) {
        float times[256];

        for (size_t i = 0; i < n; i++)
            times[i] = values[i] * (float)factor;
        join(&e, extent_of(times, n));
    }
    return e;
}

/* Of all codes that a reader may meet, in every line. */
static extent reader_extent(const nyb_reader *reader, unsigned multiples)
{
    const nyb_packed *p = reader->lines;
    extent e = {0};

    if (!p)
        return codes_extent(reader->values, reader->bits == 4 ? 16 : 256, multiples);
    for (size_t row = 0; row < p->rows; row = nyb_packed_line_end(p, row)) {
        float values[256];

        nyb_packed_values(p, row, values);
        join(&e, codes_extent(values, p->format->n_codes, multiples));
    }
    return e;
}

/* x: real elements, or NULL: codes, whose format has so many multiples. */
static extent operand_extent(const nyb_conv_job *job, const nyb_reader *reader, const float *x,
                             size_t n, unsigned multiples)
{
    extent e = {0};

    if (!x)
        return reader_extent(reader, multiples);
    scan s = {.x = x, .n = n, .found = (extent *)job->shared};
    nyb_pool_run(job->pool, scan_task, &s, nyb_div_up(n, SCAN));
    for (size_t i = 0; i < nyb_div_up(n, SCAN); i++)
        join(&e, s.found[i]);
    return e;
}

size_t nyb_accum_shared_bytes(const nyb_conv *conv)
{
    const nyb_conv_shape *s = &conv->shape;
    const size_t x = s->n * s->h * s->w * s->c, y = s->n * s->oh * s->ow * s->o;
    const size_t most = nyb_max(nyb_max(x, y), s->o * s->r * s->s * s->c);

    return nyb_div_up(most, SCAN) * sizeof(extent);
}

/* Significant bits of every value. */
static unsigned significant_bits(extent e)
{
    const unsigned zeros = e.bits ? (unsigned)__builtin_ctz(e.bits) : 23;

    return zeros < 23 ? 24 - zeros : 1;
}

/* A power of two that all values are multiples of; 0 if there are subnormal ones. */
static double unit_of(extent e)
{
    if (e.smallest == 0)
        return 1.0;
    if (e.smallest < 0x00800000)
        return 0.0;
    return ldexp(1.0, (int)(e.smallest >> 23) - 127 - (int)significant_bits(e) + 1);
}

static nyb_accum_key key_of(const nyb_conv_job *job, size_t sample)
{
    nyb_stream stream = *job->stream;

    stream.sample = (uint8_t)sample;
    return nyb_accum_key_of(&stream);
}

void nyb_accum_prepare(nyb_conv_job *job, const nyb_operand *b)
{
    const nyb_conv *conv = job->conv;
    const nyb_conv_shape *s = &conv->shape;
    const size_t x = s->n * s->h * s->w * s->c, y = s->n * s->oh * s->ow * s->o;
    const size_t w = s->o * s->r * s->s * s->c, taps = s->r * s->s;
    const size_t cols_a = conv->product == NYB_PRODUCT_FWD ? s->c : s->o;
    const nyb_operand *operand[2] = {job->a, b};
    nyb_reader *reader[2] = {&job->reader_a, &job->reader_b};
    size_t n[2] = {y, x}, k = s->n * s->oh * s->ow;
    extent found[2] = {{0}, {0}};

    if (conv->product != NYB_PRODUCT_DW) {
        n[0] = conv->product == NYB_PRODUCT_FWD ? x : y;
        n[1] = w;
        k = taps * cols_a;
    }
    job->scale = 1;
    if (nyb_accum_draws(&conv->accum))
        job->key = key_of(job, 0);
    for (size_t i = 0; i < 2; i++) {
        if (operand[i]->packed) {
            const nyb_packed p = unscaled(conv, operand[i]->packed);
            const nyb_operand o = {.packed = p.lines ? operand[i]->packed : &p};
            nyb_reader_init(reader[i], &o, i ? s->c : cols_a, NULL, conv->tile_f32, 0);
            job->scale *= operand[i]->packed->scale / p.scale;
        }
        for (size_t j = 0; j < (i == 0 ? conv->n_samples : 1); j++)
            join(&found[i], operand_extent(job, reader[i], operand[i][j].real, n[i],
                                           (unsigned)(i ? conv->b : conv->a)->multiples));
    }
    job->fused = conv->grid.fuses && significant_bits(found[0]) + significant_bits(found[1]) <= 24;
    const double largest = (double)nyb_float_of(found[0].largest) * nyb_float_of(found[1].largest);
    job->free = nyb_accum_is_free(&conv->grid, (size_t)conv->accum.chunk, k, largest);
    job->normal =
        job->free && nyb_accum_is_normal(&conv->grid, unit_of(found[0]) * unit_of(found[1]));
}

static nyb_accum_args begin(const nyb_conv_job *job)
{
    const int chunk = job->conv->accum.chunk;

    return (nyb_accum_args){
        .grid = &job->conv->grid,
        .chunk = chunk ? (size_t)chunk : SIZE_MAX,
        .fused = job->fused,
        .free = job->free,
        .normal = job->normal,
    };
}

/* Floats of a block's state: totals, partial sums, and generators if there are any. */
static size_t block_floats(const nyb_conv *conv)
{
    return (nyb_accum_draws(&conv->accum) ? 3 : 2) * NYB_TILE_BLOCK;
}

/* The state of a block, which begins with its totals. */
static void point_at(const nyb_conv_job *job, float *tot, nyb_accum_args *args)
{
    args->tot = tot;
    args->s = tot + NYB_TILE_BLOCK;
    args->z =
        nyb_accum_draws(&job->conv->accum) ? (uint32_t *)(void *)(tot + 2 * NYB_TILE_BLOCK) : NULL;
}

/* The generators of a row of outputs from the i-th on. */
static void start_row(nyb_accum_key key, uint64_t i, uint32_t z[NYB_TILE_COLS])
{
    for (size_t n = 0; n < NYB_TILE_COLS; n++)
        z[n] = nyb_accum_start(key, i + n);
}

static void scale_sums(const nyb_conv_job *job, size_t rows, float *sums)
{
    for (size_t i = 0; i < rows * NYB_TILE_COLS; i++)
        sums[i] = sums[i] * job->scale;
}

/* ---- FWD and DX: the slabs and panels of the f32 engine ---------------------------------------
 */

void nyb_accum_block(const nyb_conv_job *job, const nyb_sub *sub, const uint64_t *first,
                     const nyb_tile_f32_args *tile)
{
    nyb_accum_args args = begin(job);

    args.last = true;
    args.narrow = tile->narrow;
    args.rows = tile->rows;
    args.a = tile->a;
    args.lda = tile->lda;
    args.a_step = 1;
    args.n_runs = sub->n_steps;
    args.run_off = sub->a_step;
    args.run_len = sub->w_step;
    args.b = tile->b;
    point_at(job, tile->c, &args);
    memset(args.tot, 0, 2 * NYB_TILE_BLOCK * sizeof(float));
    for (size_t m = 0; args.z && m < tile->rows; m++)
        start_row(job->key, first[m], args.z + m * NYB_TILE_COLS);
    job->conv->accum_kernel->run(&args);
    scale_sums(job, tile->rows, tile->c);
}

/* ---- DW ---------------------------------------------------------------------------------------
 */

/* Of all samples, blocks and panels of a task. */
static size_t task_floats(const nyb_conv *conv)
{
    return conv->n_samples * GROUP * (conv->dw_accum.rows / NYB_TILE_ROWS) * block_floats(conv);
}

void nyb_dw_accum_plan(nyb_conv *conv)
{
    const nyb_conv_shape *s = &conv->shape;
    nyb_dw_accum *dw = &conv->dw_accum;

    dw->columns = s->r * s->s * s->c;
    dw->n_panels = nyb_div_up(dw->columns, NYB_TILE_COLS);
    dw->n_groups = nyb_div_up(dw->n_panels, GROUP);
    /* Few groups: tasks for blocks of rows, each of which gathers x again. */
    dw->rows = dw->n_groups < 8 ? NYB_TILE_ROWS : nyb_round_up(s->o, NYB_TILE_ROWS);
    dw->o_blocks = nyb_div_up(s->o, dw->rows);
    const size_t sums = task_floats(conv);
    const size_t b = GROUP * PART_K * NYB_TILE_COLS, a = PART_K * s->o;
    conv->worker_bytes = (sums + b + a + s->w * s->c) * sizeof(float);
}

/* One task's memory, and what it computes: rows [o, o + n_o), panels [panel, end_panel). */
typedef struct work {
    const nyb_conv_job *job;
    size_t o, n_o, panel, end_panel;
    float *sums, *b, *a, *row;
} work;

/* Totals of 32 rows in a panel; the rest of their state follows. */
static float *sums_at(const work *w, size_t sample, size_t panel, size_t row)
{
    const nyb_conv *conv = w->job->conv;
    const size_t blocks = conv->dw_accum.rows / NYB_TILE_ROWS;

    return w->sums + ((sample * GROUP + panel - w->panel) * blocks + row / NYB_TILE_ROWS) *
                         block_floats(conv);
}

/* The generators of all sums. */
static void start_task(const work *w)
{
    const nyb_conv *conv = w->job->conv;

    for (size_t sample = 0; sample < conv->n_samples; sample++) {
        const nyb_accum_key key = key_of(w->job, sample);
        for (size_t panel = w->panel; panel < w->end_panel; panel++) {
            for (size_t row = 0; row < w->n_o; row++) {
                const uint64_t i = (w->o + row) * conv->dw_accum.columns + panel * NYB_TILE_COLS;
                nyb_accum_args args;
                point_at(w->job, sums_at(w, sample, panel, row), &args);
                start_row(key, i, args.z + row % NYB_TILE_ROWS * NYB_TILE_COLS);
            }
        }
    }
}

/* All sums of the task over output pixels [k, k + n_k) of one sample of dy. */
static void add_part(const work *w, size_t sample, size_t k, size_t n_k)
{
    const nyb_conv_job *job = w->job;
    const nyb_conv *conv = job->conv;
    const nyb_conv_shape *s = &conv->shape;
    const uint32_t run_off = 0, run_len = (uint32_t)n_k;
    const float *dy = w->a;
    nyb_accum_args args = begin(job);

    if (job->a[sample].real) {
        dy = job->a[sample].real + k * s->o;
    } else {
        nyb_reader reader = job->reader_a;
        reader.codes = job->a[sample].packed->codes;
        nyb_reader_pixels(&reader, k, n_k, w->a);
    }
    args.at = k % args.chunk;
    args.last = k + n_k == s->n * s->oh * s->ow;
    args.lda = 1;
    args.a_step = s->o;
    args.n_runs = 1;
    args.run_off = &run_off;
    args.run_len = &run_len;
    for (size_t panel = w->panel; panel < w->end_panel; panel++) {
        args.b = w->b + (panel - w->panel) * PART_K * NYB_TILE_COLS;
        args.narrow = conv->dw_accum.columns - panel * NYB_TILE_COLS <= NYB_TILE_COLS / 2;
        for (size_t row = 0; row < w->n_o; row += NYB_TILE_ROWS) {
            args.a = dy + w->o + row;
            args.rows = nyb_min(NYB_TILE_ROWS, w->n_o - row);
            point_at(job, sums_at(w, sample, panel, row), &args);
            conv->accum_kernel->run(&args);
        }
    }
}

/* The mean over samples, scaled, and out. */
static void store_task(const work *w)
{
    const nyb_conv_job *job = w->job;
    const nyb_conv *conv = job->conv;
    const size_t columns = conv->dw_accum.columns;
    const float mean = 1.0f / (float)conv->n_samples;

    for (size_t panel = w->panel; panel < w->end_panel; panel++) {
        const size_t col = panel * NYB_TILE_COLS, n_cols = nyb_min(NYB_TILE_COLS, columns - col);
        for (size_t row = 0; row < w->n_o; row += NYB_TILE_ROWS) {
            const size_t n_rows = nyb_min(NYB_TILE_ROWS, w->n_o - row);
            float *total = sums_at(w, 0, panel, row);
            void *rows[NYB_TILE_ROWS];
            for (size_t sample = 1; sample < conv->n_samples; sample++) {
                const float *more = sums_at(w, sample, panel, row);
                for (size_t i = 0; i < n_rows * NYB_TILE_COLS; i++)
                    total[i] = total[i] + more[i];
            }
            scale_sums(job, n_rows, total);
            for (size_t m = 0; m < n_rows; m++)
                rows[m] = (float *)job->out + (w->o + row + m) * columns + col;
            conv->store->of_float(total, &(nyb_store_args){.rows = n_rows,
                                                           .n_valid = n_cols,
                                                           .scale = mean,
                                                           .add = job->add,
                                                           .out = rows});
        }
    }
}

static void run_task(void *arg, size_t task, size_t worker)
{
    const nyb_conv_job *job = arg;
    const nyb_conv *conv = job->conv;
    const nyb_conv_shape *s = &conv->shape;
    const nyb_dw_accum *dw = &conv->dw_accum;
    const size_t pixels = s->n * s->oh * s->ow;
    const size_t sums = task_floats(conv);
    work w = {
        .job = job,
        .o = task / dw->n_groups * dw->rows,
        .panel = task % dw->n_groups * GROUP,
        .sums = (float *)nyb_job_worker(job, worker),
    };

    w.n_o = nyb_min(dw->rows, s->o - w.o);
    w.end_panel = nyb_min(w.panel + GROUP, dw->n_panels);
    w.b = w.sums + sums;
    w.a = w.b + GROUP * PART_K * NYB_TILE_COLS;
    w.row = w.a + PART_K * s->o;
    memset(w.sums, 0, sums * sizeof(float));
    if (nyb_accum_draws(&conv->accum))
        start_task(&w);
    for (size_t k = 0; k < pixels; k += PART_K) {
        const size_t n_k = nyb_min(PART_K, pixels - k);
        for (size_t panel = w.panel; panel < w.end_panel; panel++)
            nyb_dw_gather(job, k, n_k, panel, w.row,
                          w.b + (panel - w.panel) * PART_K * NYB_TILE_COLS);
        for (size_t sample = 0; sample < conv->n_samples; sample++)
            add_part(&w, sample, k, n_k);
    }
    store_task(&w);
}

void nyb_dw_accum_run(nyb_conv_job *job)
{
    const nyb_dw_accum *dw = &job->conv->dw_accum;

    nyb_pool_run(job->pool, run_task, job, dw->n_groups * dw->o_blocks);
}
