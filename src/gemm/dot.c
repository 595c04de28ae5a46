/* FWD products with few rows: the kernels, which products they are for, and a run. */
#include "gemm/dot.h"
#include "gemm/conv_impl.h"

const nyb_dot_kernel *const nyb_dot_kernels[] = {
#if NYB_SIMD
    &nyb_dot_avx512vnni,
    &nyb_dot_avx2,
#endif
    &nyb_dot_ref,
    NULL,
};

const nyb_dot_kernel *nyb_dot_choose(uint32_t cpu, int32_t max_product)
{
    const nyb_dot_kernel *const *kernel = nyb_dot_kernels;
    while ((*kernel)->needs & ~cpu)
        kernel++; /* ends at "ref", which needs nothing */
    return max_product <= (*kernel)->max_product ? *kernel : NULL;
}

/* ---- the plan -------------------------------------------------------------------------------- */

#define TASK_CODES ((size_t)1 << 18) /* of weights: some microseconds */

/* Rows from which on panels are faster: AMX makes up for their packing sooner. */
static size_t most_rows(const nyb_conv *conv)
{
    return conv->tile->needs & NYB_CPU_AMX ? NYB_DOT_ROWS / 2 : NYB_DOT_ROWS;
}

/* Units, with their factors, are signed bytes, unless zero is another one (uint8). */
void nyb_few_plan(nyb_conv *conv, uint32_t cpu)
{
    const nyb_conv_shape *s = &conv->shape;
    const nyb_format *a = conv->a, *b = conv->b;

    if (conv->product != NYB_PRODUCT_FWD || !conv->s8 || conv->mf || nyb_conv_lacks(conv) ||
        conv->lines.a || conv->lines.b)
        return;
    if (s->r * s->s != 1 || s->stride != 1 || s->h > most_rows(conv) || s->c > conv->exact_k)
        return;
    if (b->bits != 4 || b->multiples)
        return;
    const int32_t max_b = nyb_conv_largest_unit(b), plus = b->is_signed ? max_b : 0;
    conv->few.kernel = nyb_dot_choose(cpu, nyb_conv_largest_unit(a) * (max_b + plus));
    if (!conv->few.kernel)
        return;
    conv->bias = 0;
    conv->few.plus = plus;
    conv->few.lda = nyb_round_up(nyb_packed_pitch(s->c) + 2 * NYB_DOT_GUARD, NYB_ALIGN);
    conv->few.n_panels = nyb_div_up(s->o, NYB_TILE_COLS);
    const size_t codes = NYB_TILE_COLS * nyb_packed_pitch(s->c);
    conv->few.group_panels = nyb_min(nyb_max(TASK_CODES / codes, 1), conv->few.n_panels);
    conv->shared_bytes = s->h * conv->few.lda;
    conv->worker_bytes = NYB_DOT_ROWS * NYB_TILE_COLS * sizeof(int32_t);
}

/* ---- a run ----------------------------------------------------------------------------------- */

typedef struct dot_job {
    const nyb_conv_job *job;
    int32_t start[NYB_DOT_ROWS];
} dot_job;

/* Rows of a between zeros; what the sums have too much, b's units being larger, is in start. */
static void unpack_rows(dot_job *d)
{
    const nyb_conv_job *job = d->job;
    const size_t lda = job->conv->few.lda, pitch = job->reader_a.pitch;
    const uint32_t plus = (uint32_t)job->conv->few.plus;

    memset(job->shared, 0, job->conv->shape.h * lda);
    for (size_t m = 0; m < job->conv->shape.h; m++) {
        int8_t *row = (int8_t *)job->shared + m * lda + NYB_DOT_GUARD;
        int32_t sum = 0;

        nyb_reader_pixels(&job->reader_a, m, 1, row);
        for (size_t k = 0; k < pitch; k++)
            sum += row[k];
        d->start[m] = (int32_t)(0 - plus * (uint32_t)sum);
    }
}

static void run_panel(const dot_job *d, size_t panel, int32_t *c)
{
    const nyb_conv_job *job = d->job;
    const nyb_conv *conv = job->conv;
    const size_t first = panel * NYB_TILE_COLS, pitch = job->reader_b.pitch;
    void *rows[NYB_DOT_ROWS];
    const nyb_dot_args args = {
        .rows = conv->shape.h,
        .cols = nyb_min(NYB_TILE_COLS, conv->shape.o - first),
        .a = (const int8_t *)job->shared + NYB_DOT_GUARD,
        .lda = conv->few.lda,
        .codes = job->reader_b.codes,
        .first = first * pitch,
        .pitch = pitch,
        .lut = job->reader_b.bytes,
        .start = d->start,
        .c = c,
    };
    nyb_store_args store = nyb_job_store(job, args.rows, first, args.cols);

    store.scale = job->scale;
    store.out = rows;
    for (size_t m = 0; m < args.rows; m++)
        rows[m] = nyb_store_at(job->out, job->half, m * conv->shape.o + first);
    conv->few.kernel->run(&args);
    conv->store->of_int(c, &store);
}

static void run_task(void *arg, size_t task, size_t worker)
{
    const dot_job *d = arg;
    const nyb_conv *conv = d->job->conv;
    const size_t first = task * conv->few.group_panels;
    const size_t end = nyb_min(first + conv->few.group_panels, conv->few.n_panels);

    for (size_t panel = first; panel < end; panel++)
        run_panel(d, panel, (int32_t *)nyb_job_worker(d->job, worker));
}

void nyb_few_run(nyb_conv_job *job)
{
    const nyb_conv *conv = job->conv;
    dot_job d = {.job = job};

    unpack_rows(&d);
    nyb_pool_run(job->pool, run_task, &d, nyb_div_up(conv->few.n_panels, conv->few.group_panels));
}
