/* DW in f32: k are output pixels in order (n, oh, ow); patches of x are gathered, piece by piece.
 */
#include "gemm/conv_impl.h"

/* Floats of a row of A: 4096, and a cache line so that 32 rows do not share a set. */
#define LDA         (NYB_F32_CHUNK + 16)
#define PACK_K      256  /* k of a task that transposes */
#define PIECE_K     1024 /* k of B, 128 KB, which all rows of A pass while it is in L2 */
#define ROUND_BYTES ((size_t)8 << 20) /* sums and A of the chunks of a round */

void nyb_dw_f32_plan(nyb_conv *conv)
{
    const nyb_conv_shape *s = &conv->shape;
    nyb_dw_f32 *dw = &conv->dw_f32;

    dw->columns = s->r * s->s * s->c;
    dw->n_chunks = nyb_div_up(s->n * s->oh * s->ow, NYB_F32_CHUNK);
    dw->o_blocks = nyb_div_up(s->o, NYB_TILE_ROWS);
    dw->n_panels = nyb_div_up(dw->columns, NYB_TILE_COLS);
    dw->a_floats = s->o * LDA;

    const size_t sums = dw->o_blocks * dw->n_panels * NYB_TILE_BLOCK * sizeof(float);
    const size_t a = conv->n_samples * dw->a_floats * sizeof(float);
    dw->round = nyb_min(nyb_max(ROUND_BYTES / nyb_max(sums, a), 1), dw->n_chunks);
    dw->n_rounds = nyb_div_up(dw->n_chunks, dw->round);

    /* Rows of dy; or a piece of B, a row of x, and sums where those of a sample are not c's. */
    const size_t own = conv->n_samples > 1 ? conv->n_samples * dw->o_blocks * NYB_TILE_BLOCK : 0;
    const size_t rows = PACK_K * s->o, panel = PIECE_K * NYB_TILE_COLS + s->w * s->c + own;
    conv->worker_bytes = nyb_round_up(nyb_max(rows, panel) * sizeof(float), NYB_ALIGN);
    conv->shared_bytes = dw->round * (a + sums) + sums;
}

/* Scratch: total sums, then [round] sums, then [round][sample] A. */
static float *total_at(const nyb_conv_job *job, size_t panel, size_t o_block)
{
    return (float *)job->shared + (panel * job->conv->dw_f32.o_blocks + o_block) * NYB_TILE_BLOCK;
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
        nyb_reader_init(&dy, &job->a[sample], o, NULL, conv->tile_f32, 0);
        nyb_reader_pixels(&dy, first, n, nyb_job_worker(job, worker));
    }
    conv->tile_f32->transpose(rows, o, n, o, a_at(job, chunk, sample) + k, LDA);
}

/* Outputs of one row of one image, and the columns of a panel that one row r of taps makes: each
 * output reads neighbouring floats of a row of x. */
typedef struct gather {
    const float *x; /* floats [from, to) of the row of x, by padded pixel and channel; or none */
    size_t from, to;
    size_t first, step; /* float that the first output reads first; from one output to the next */
    size_t n_cols;
    float *dst; /* of the first output */
} gather;

static void gather_row(const gather *g, size_t n)
{
    size_t at = g->first;

    for (float *dst = g->dst, *end = dst + n * NYB_TILE_COLS; dst < end;
         dst += NYB_TILE_COLS, at += g->step) {
        const size_t past = at + g->n_cols;
        if (at >= g->from && past <= g->to) {
            if (g->n_cols == NYB_TILE_COLS)
                memcpy(dst, g->x + (at - g->from), NYB_TILE_COLS * sizeof *dst);
            else
                nyb_copy_pixel((uint8_t *)dst, (const uint8_t *)(g->x + (at - g->from)),
                               g->n_cols * sizeof *dst);
            continue;
        }
        const size_t begin = nyb_max(at, g->from), stop = nyb_min(past, g->to);
        memset(dst, 0, g->n_cols * sizeof *dst);
        if (begin < stop)
            memcpy(dst + (begin - at), g->x + (begin - g->from), (stop - begin) * sizeof *dst);
    }
}

/* The pixels of row y of x that outputs [ow, ow + n) read. */
static void read_row(const nyb_conv_job *job, size_t image, size_t y, size_t ow, size_t n,
                     float *row, gather *g)
{
    const nyb_conv_shape *s = &job->conv->shape;
    const size_t line = (image * s->h + y) * s->w;
    /* Padded pixels [from, to), and those of them that exist. */
    const size_t from = nyb_max(ow * s->stride, s->pad);
    const size_t to = nyb_min((ow + n - 1) * s->stride + s->s, s->w + s->pad);

    if (from >= to)
        return;
    g->from = from * s->c;
    g->to = to * s->c;
    g->x = row;
    if (job->reader_b.real)
        g->x = job->reader_b.real + (line + from - s->pad) * s->c;
    else
        nyb_reader_pixels(&job->reader_b, line + from - s->pad, to - from, row);
}

/* Columns [col, col + n_cols) of tap row r, as they begin in b. */
static void gather_taps(const nyb_conv_job *job, size_t first_k, size_t n_k, size_t r, size_t col,
                        size_t n_cols, float *row, float *b)
{
    const nyb_conv_shape *s = &job->conv->shape;
    const bool plain = s->r * s->s == 1 && s->stride == 1 && s->pad == 0;

    if (plain && job->reader_b.real) { /* all pixels are one row */
        const gather g = {.x = job->reader_b.real,
                          .to = SIZE_MAX,
                          .first = first_k * s->c + col,
                          .step = s->c,
                          .n_cols = n_cols,
                          .dst = b};
        gather_row(&g, n_k);
        return;
    }
    for (size_t k = 0, n; k < n_k; k += n) {
        const size_t q = first_k + k, ow = q % s->ow, y = q / s->ow % s->oh * s->stride + r;
        gather g = {.first = ow * s->stride * s->c + col,
                    .step = s->stride * s->c,
                    .n_cols = n_cols,
                    .dst = b + k * NYB_TILE_COLS};
        n = nyb_min(s->ow - ow, n_k - k);
        if (y >= s->pad && y - s->pad < s->h)
            read_row(job, q / s->ow / s->oh, y - s->pad, ow, n, row, &g);
        gather_row(&g, n);
    }
}

void nyb_dw_gather(const nyb_conv_job *job, size_t first_k, size_t n_k, size_t panel, float *row,
                   float *b)
{
    const nyb_conv_shape *s = &job->conv->shape;
    const size_t first = panel * NYB_TILE_COLS, taps = s->s * s->c;
    const size_t end = nyb_min(first + NYB_TILE_COLS, s->r * taps);

    if (end - first < NYB_TILE_COLS)
        memset(b, 0, n_k * NYB_TILE_COLS * sizeof *b);
    for (size_t col = first, n; col < end; col += n) {
        n = nyb_min(taps - col % taps, end - col);
        gather_taps(job, first_k, n_k, col / taps, col % taps, n, row, b + (col - first));
    }
}

static void sum_task(void *arg, size_t task, size_t worker)
{
    const nyb_conv_job *job = arg;
    const nyb_conv *conv = job->conv;
    const nyb_dw_f32 *dw = &conv->dw_f32;
    const size_t panel = task % dw->n_panels, n_samples = conv->n_samples;
    const size_t chunk = job->round * dw->round + task / dw->n_panels, n_k = chunk_k(conv, chunk);
    float *b = (float *)nyb_job_worker(job, worker), *row = b + PIECE_K * NYB_TILE_COLS;
    float *own = row + conv->shape.w * conv->shape.c;

    for (size_t k = 0; k < n_k; k += PIECE_K) {
        const uint32_t run_off = 0, run_len = (uint32_t)nyb_min(PIECE_K, n_k - k);
        nyb_dw_gather(job, chunk * NYB_F32_CHUNK + k, run_len, panel, row, b);
        for (size_t i = 0; i < dw->o_blocks * n_samples; i++) {
            const size_t o = i / n_samples;
            const nyb_tile_f32_args args = {
                .rows = nyb_min(NYB_TILE_ROWS, conv->shape.o - o * NYB_TILE_ROWS),
                .n_runs = 1,
                .a = a_at(job, chunk, i % n_samples) + o * NYB_TILE_ROWS * LDA + k,
                .lda = LDA,
                .run_off = &run_off,
                .run_len = &run_len,
                .b = b,
                .c = n_samples > 1 ? own + i * NYB_TILE_BLOCK : sums_at(job, chunk, panel, o),
                .resume = k > 0,
                .narrow = dw->columns - panel * NYB_TILE_COLS <= NYB_TILE_COLS / 2,
            };
            conv->tile_f32->run(&args);
        }
    }
    for (size_t o = 0; n_samples > 1 && o < dw->o_blocks; o++) {
        float *sums = sums_at(job, chunk, panel, o);
        memcpy(sums, own + o * n_samples * NYB_TILE_BLOCK, NYB_TILE_BLOCK * sizeof *sums);
        for (size_t i = NYB_TILE_BLOCK; i < n_samples * NYB_TILE_BLOCK; i++)
            sums[i % NYB_TILE_BLOCK] =
                sums[i % NYB_TILE_BLOCK] + own[o * n_samples * NYB_TILE_BLOCK + i];
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
    float *total = total_at(job, panel, o_block);
    void *rows[NYB_TILE_ROWS];

    (void)worker;
    for (size_t chunk = first; chunk < end; chunk++) {
        const float *sums = sums_at(job, chunk, panel, o_block);
        for (size_t i = 0; i < n_rows * NYB_TILE_COLS; i++)
            total[i] = chunk > 0 ? total[i] + sums[i] : sums[i];
    }
    if (end < dw->n_chunks)
        return;
    for (size_t m = 0; m < n_rows; m++)
        rows[m] = (float *)job->out + (o + m) * dw->columns + panel * NYB_TILE_COLS;
    conv->store->of_float(
        total, &(nyb_store_args){
                   .rows = n_rows, .n_valid = n_cols, .scale = mean, .add = job->add, .out = rows});
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
