/* DW in f32: k are output pixels in order (n, oh, ow); a chunk's patches of x are gathered. */
#include "gemm/conv_impl.h"

#define BLOCK (NYB_TILE_ROWS * NYB_TILE_COLS)
/* Floats of a row of A: 4096, and a cache line so that 32 rows do not share a set. */
#define LDA         (NYB_F32_CHUNK + 16)
#define PACK_K      256               /* k of a task that transposes */
#define ROUND_BYTES ((size_t)8 << 20) /* sums and A of the chunks of a round */

nyb_status nyb_dw_f32_plan(nyb_conv *conv, nyb_error *err)
{
    const nyb_conv_shape *s = &conv->shape;
    nyb_dw_f32 *dw = &conv->dw_f32;

    (void)err;
    dw->columns = s->r * s->s * s->c;
    dw->n_chunks = nyb_div_up(s->n * s->oh * s->ow, NYB_F32_CHUNK);
    dw->o_blocks = nyb_div_up(s->o, NYB_TILE_ROWS);
    dw->n_panels = nyb_div_up(dw->columns, NYB_TILE_COLS);
    dw->a_floats = s->o * LDA;

    const size_t sums = dw->o_blocks * dw->n_panels * BLOCK * sizeof(float);
    const size_t a = conv->n_samples * dw->a_floats * sizeof(float);
    dw->round = nyb_min(nyb_max(ROUND_BYTES / nyb_max(sums, a), 1), dw->n_chunks);
    dw->n_rounds = nyb_div_up(dw->n_chunks, dw->round);

    /* Packing: rows of dy, or a panel of B and one pixel of x. */
    const size_t rows = PACK_K * s->o, panel = NYB_F32_CHUNK * NYB_TILE_COLS + s->c;
    conv->worker_bytes = nyb_round_up(nyb_max(rows, panel) * sizeof(float), NYB_ALIGN);
    conv->shared_bytes = dw->round * (a + sums) + sums;
    return NYB_OK;
}

/* Scratch: total sums, then [round] sums, then [round][sample] A. */
static float *total_at(const nyb_conv_job *job, size_t panel, size_t o_block)
{
    return (float *)job->shared + (panel * job->conv->dw_f32.o_blocks + o_block) * BLOCK;
}

static float *sums_at(const nyb_conv_job *job, size_t chunk, size_t panel, size_t o_block)
{
    const nyb_dw_f32 *dw = &job->conv->dw_f32;
    return total_at(job, (chunk % dw->round + 1) * dw->n_panels + panel, o_block);
}

static float *a_at(const nyb_conv_job *job, size_t chunk, size_t sample)
{
    const nyb_dw_f32 *dw = &job->conv->dw_f32;
    return total_at(job, (dw->round + 1) * dw->n_panels, 0) +
           (chunk % dw->round * job->conv->n_samples + sample) * dw->a_floats;
}

static size_t chunk_k(const nyb_conv *conv, size_t chunk)
{
    const nyb_conv_shape *s = &conv->shape;
    return nyb_min(NYB_F32_CHUNK, s->n * s->oh * s->ow - chunk * NYB_F32_CHUNK);
}

static void transpose_task(void *arg, size_t task, size_t worker)
{
    const nyb_conv_job *job = arg;
    const nyb_conv *conv = job->conv;
    const size_t slices = NYB_F32_CHUNK / PACK_K, o = conv->shape.o;
    const size_t k = task % slices * PACK_K, sample = task / slices % conv->n_samples;
    const size_t chunk = job->round * conv->dw_f32.round + task / slices / conv->n_samples;
    const size_t n_k = chunk_k(conv, chunk), first = chunk * NYB_F32_CHUNK + k;
    const size_t n = nyb_min(PACK_K, n_k - nyb_min(k, n_k));
    const float *rows = (const float *)nyb_job_worker(job, worker);

    if (n == 0)
        return;
    if (job->a[sample].real) {
        rows = job->a[sample].real + first * o;
    } else {
        nyb_reader dy;
        nyb_reader_init(&dy, &job->a[sample], o, NULL, 0);
        nyb_reader_pixels(&dy, first, n, nyb_job_worker(job, worker));
    }
    conv->tile_f32->transpose(rows, o, n, o, a_at(job, chunk, sample) + k, LDA);
}

typedef struct gather {
    const nyb_conv_job *job;
    size_t r, s;  /* tap */
    size_t c, n;  /* channels [c, c + n) of it */
    float *dst;   /* row k = 0 of the panel, first column */
    float *pixel; /* buffer for one decoded pixel */
} gather;

/* n floats, one call for a whole panel row, none for the few channels of a first layer. */
static inline void copy_columns(float *to, const float *from, size_t n)
{
    if (n == NYB_TILE_COLS)
        memcpy(to, from, NYB_TILE_COLS * sizeof *to);
    else
        for (size_t i = 0; i < n; i++)
            to[i] = from[i];
}

/* Outputs ow in [ow, end) of one row, whose first is row k of the panel. */
static void gather_row(const gather *g, size_t image, size_t oh, size_t ow, size_t end, size_t k)
{
    const nyb_conv_shape *s = &g->job->conv->shape;
    const nyb_reader *reader = &g->job->reader_b;
    const size_t y = oh * s->stride + g->r;

    if (y < s->pad || y - s->pad >= s->h || s->w + s->pad <= g->s)
        return;
    /* Those whose pixel exists: pad <= ow * stride + s < w + pad. */
    const size_t first = s->pad > g->s ? nyb_div_up(s->pad - g->s, s->stride) : 0;
    end = nyb_min(end, nyb_div_up(s->w + s->pad - g->s, s->stride));
    k += nyb_max(first, ow) - ow;
    const size_t row = (image * s->h + y - s->pad) * s->w;
    for (ow = nyb_max(first, ow); ow < end; ow++, k++) {
        const size_t pixel = row + ow * s->stride + g->s - s->pad;
        if (!reader->real)
            nyb_reader_pixels(reader, pixel, 1, g->pixel);
        copy_columns(g->dst + k * NYB_TILE_COLS,
                     (reader->real ? reader->real + pixel * s->c : g->pixel) + g->c, g->n);
    }
}

void nyb_dw_gather(const nyb_conv_job *job, size_t first_k, size_t n_k, size_t panel, float *pixel,
                   float *b)
{
    const nyb_conv_shape *s = &job->conv->shape;
    const size_t first = panel * NYB_TILE_COLS;
    const size_t end = nyb_min(first + NYB_TILE_COLS, s->r * s->s * s->c);

    if (s->pad > 0 || end - first < NYB_TILE_COLS)
        memset(b, 0, n_k * NYB_TILE_COLS * sizeof *b);
    for (size_t col = first, n; col < end; col += n) {
        const size_t tap = col / s->c, c = col % s->c;
        n = nyb_min(s->c - c, end - col);
        const gather g = {.job = job,
                          .r = tap / s->s,
                          .s = tap % s->s,
                          .c = c,
                          .n = n,
                          .dst = b + (col - first),
                          .pixel = pixel};
        for (size_t k = 0, len; k < n_k; k += len) {
            const size_t q = first_k + k, ow = q % s->ow;
            len = nyb_min(s->ow - ow, n_k - k);
            gather_row(&g, q / s->ow / s->oh, q / s->ow % s->oh, ow, ow + len, k);
        }
    }
}

static void sum_task(void *arg, size_t task, size_t worker)
{
    const nyb_conv_job *job = arg;
    const nyb_conv *conv = job->conv;
    const nyb_dw_f32 *dw = &conv->dw_f32;
    const size_t panel = task % dw->n_panels;
    const size_t chunk = job->round * dw->round + task / dw->n_panels;
    const uint32_t run_off = 0, run_len = (uint32_t)chunk_k(conv, chunk);
    float *b = (float *)nyb_job_worker(job, worker);

    nyb_dw_gather(job, chunk * NYB_F32_CHUNK, run_len, panel, b + NYB_F32_CHUNK * NYB_TILE_COLS, b);
    for (size_t o = 0; o < dw->o_blocks; o++) {
        for (size_t sample = 0; sample < conv->n_samples; sample++) {
            const nyb_tile_f32_args args = {
                .rows = nyb_min(NYB_TILE_ROWS, conv->shape.o - o * NYB_TILE_ROWS),
                .n_runs = 1,
                .a = a_at(job, chunk, sample) + o * NYB_TILE_ROWS * LDA,
                .lda = LDA,
                .run_off = &run_off,
                .run_len = &run_len,
                .b = b,
                .c = sums_at(job, chunk, panel, o),
                .accumulate = sample > 0,
                .narrow = dw->columns - panel * NYB_TILE_COLS <= NYB_TILE_COLS / 2,
            };
            conv->tile_f32->run(&args);
        }
    }
}

/* Chunk sums in ascending order; after the last round, the mean over samples, and out. */
static void add_task(void *arg, size_t task, size_t worker)
{
    const nyb_conv_job *job = arg;
    const nyb_conv *conv = job->conv;
    const nyb_dw_f32 *dw = &conv->dw_f32;
    const size_t panel = task / dw->o_blocks, o_block = task % dw->o_blocks;
    const size_t first = job->round * dw->round, o = o_block * NYB_TILE_ROWS;
    const size_t end = nyb_min(first + dw->round, dw->n_chunks);
    const size_t n_rows = nyb_min(NYB_TILE_ROWS, conv->shape.o - o);
    const size_t n_cols = nyb_min(NYB_TILE_COLS, dw->columns - panel * NYB_TILE_COLS);
    const float mean = 1.0f / (float)conv->n_samples;
    float *total = total_at(job, panel, o_block), *rows[NYB_TILE_ROWS];

    (void)worker;
    for (size_t chunk = first; chunk < end; chunk++) {
        const float *sums = sums_at(job, chunk, panel, o_block);
        for (size_t i = 0; i < n_rows * NYB_TILE_COLS; i++)
            total[i] = chunk > 0 ? total[i] + sums[i] : sums[i];
    }
    if (end < dw->n_chunks)
        return;
    for (size_t i = 0; conv->n_samples > 1 && i < n_rows * NYB_TILE_COLS; i++)
        total[i] = total[i] * mean;
    for (size_t m = 0; m < n_rows; m++)
        rows[m] = job->out + (o + m) * dw->columns + panel * NYB_TILE_COLS;
    conv->tile_f32->store(total, n_rows, n_cols, NULL, job->add, rows);
}

void nyb_dw_f32_run(nyb_conv_job *job)
{
    const nyb_conv *conv = job->conv;
    const nyb_dw_f32 *dw = &conv->dw_f32;
    const size_t slices = NYB_F32_CHUNK / PACK_K;

    for (job->round = 0; job->round < dw->n_rounds; job->round++) {
        const size_t n = nyb_min(dw->round, dw->n_chunks - job->round * dw->round);
        nyb_pool_run(job->pool, transpose_task, job, n * conv->n_samples * slices);
        nyb_pool_run(job->pool, sum_task, job, n * dw->n_panels);
        nyb_pool_run(job->pool, add_task, job, dw->n_panels * dw->o_blocks);
    }
}
