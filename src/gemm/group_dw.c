/* DW of some taps on grouped operands: two matrices with the pixels along their rows; those of x
 * are the channels under one tap after the other, as are the outputs. */
#include "gemm/group_conv_impl.h"

/* A task: some rows of dy^T times some panels of x, chunk by chunk of the pixels. */
typedef struct work {
    const nyb_group_job *job;
    size_t row, rows;
    size_t panel, n_panels;
    uint8_t *a;
    float *sa, *c;
    uint8_t *b_rows; /* 32 rows of bytes, before they are packed */
    int8_t *b;
    float *sb;
    int32_t *start;
} work;

static void read_scales(const nyb_group_conv *conv, const nyb_grouped *matrix, size_t row, size_t g,
                        size_t n, float *out, size_t stride)
{
    for (size_t i = 0; i < n; i++)
        out[i * stride] = matrix->scales ? matrix->scales[row * conv->row_groups + g + i] : 1.0f;
}

/* n groups from group g of the rows of A, of a sample. */
static void read_a(const work *w, size_t sample, size_t g, size_t n)
{
    const nyb_group_conv *conv = w->job->conv;
    const nyb_grouped *a = w->job->a[sample];

    for (size_t m = 0; m < w->rows; m++) {
        nyb_group_read(conv, a, w->job->a_bytes, (w->row + m) * conv->k_pitch + g * conv->group,
                       n * conv->group, w->a + m * conv->lda);
        read_scales(conv, a, w->row + m, g, n, w->sa + m * conv->lds, 1);
    }
}

static void read_b(const work *w, size_t panel, size_t g, size_t n)
{
    const nyb_group_conv *conv = w->job->conv;
    const size_t first = panel * NYB_TILE_COLS, k = g * conv->group;
    const size_t n_valid = nyb_min(NYB_TILE_COLS, w->job->n - first);

    if (n_valid < NYB_TILE_COLS)
        memset(w->sb, 0, n * NYB_TILE_COLS * sizeof *w->sb);
    for (size_t i = 0; i < n_valid; i++) {
        uint8_t *row = w->b_rows + i * conv->lda;
        nyb_group_read(conv, w->job->b, w->job->b_bytes, (first + i) * conv->k_pitch + k,
                       n * conv->group, row);
        /* Pads hold code 0, which not every format decodes to 0. */
        for (size_t j = conv->k_cols; w->job->b_bytes[0] && j < k + n * conv->group; j++)
            row[j - k] = 0;
        read_scales(conv, w->job->b, first + i, g, n, w->sb + i, NYB_TILE_COLS);
    }
    nyb_group_pack(conv, w->b_rows, conv->lda, n, n_valid, w->b, w->start);
}

/* n columns of c, from `first` of all outputs on. */
static void store_columns(const work *w, const float *c, size_t first, size_t n, float scale)
{
    const nyb_group_job *job = w->job;
    const nyb_group_conv *conv = job->conv;
    const size_t at = job->tap * conv->shape.c + first;

    for (size_t m = 0; m < w->rows; m += NYB_TILE_ROWS) {
        const size_t rows = nyb_min(NYB_TILE_ROWS, w->rows - m);
        void *out[NYB_TILE_ROWS];
        for (size_t i = 0; i < rows; i++)
            out[i] = (float *)job->out + (w->row + m + i) * conv->n + at;
        conv->store->of_float(
            c + m * NYB_TILE_COLS,
            &(nyb_store_args){
                .rows = rows, .n_valid = n, .scale = scale, .add = job->add, .out = out});
    }
}

/* A panel, or what of it lies under one tap at a time. */
static void store(const work *w)
{
    const nyb_group_job *job = w->job;
    const size_t channels = job->conv->shape.c;
    const float a_unit = nyb_group_unit(job->a[0], job->a[0]->packed.scale);

    for (size_t p = 0; p < w->n_panels; p++) {
        const size_t first = (w->panel + p) * NYB_TILE_COLS;
        const size_t end = nyb_min(first + NYB_TILE_COLS, job->n);
        const float *c = w->c + p * job->block_m * NYB_TILE_COLS;
        for (size_t at = first, next; at < end; at = next) {
            const size_t tap = at / channels;
            float scale = job->scale;
            next = end;
            if (job->levels) {
                next = nyb_min(end, (tap + 1) * channels);
                scale = a_unit * nyb_group_unit(job->b, job->levels[tap]) * job->share;
            }
            store_columns(w, c + (at - first), at, next - at, scale);
        }
    }
}

static void run_chunk(const work *w, size_t sample, size_t g, size_t n)
{
    const nyb_group_conv *conv = w->job->conv;

    read_a(w, sample, g, n);
    for (size_t p = 0; p < w->n_panels; p++) {
        read_b(w, w->panel + p, g, n);
        const nyb_group_args args = {
            .rows = w->rows,
            .n_groups = n,
            .group = conv->group,
            .a = w->a,
            .lda = conv->lda,
            .sa = w->sa,
            .lds = conv->lds,
            .b = w->b,
            .sb = w->sb,
            .start = w->start,
            .c = w->c + p * w->job->block_m * NYB_TILE_COLS,
            .accumulate = sample > 0 || g > 0,
            .narrow = w->job->n - (w->panel + p) * NYB_TILE_COLS <= NYB_TILE_COLS / 2,
            .max_a = conv->max_a,
            .max_b = conv->max_b,
        };
        conv->kernel->run(&args);
    }
}

static void run_task(void *arg, size_t task, size_t worker)
{
    const nyb_group_job *job = arg;
    const nyb_group_conv *conv = job->conv;
    const size_t across = nyb_div_up(job->n_panels, job->block_n);
    const size_t at_once = conv->lds;
    uint8_t *own = job->workers + worker * conv->worker_bytes;
    work w = {
        .job = job,
        .row = task / across * job->block_m,
        .panel = task % across * job->block_n,
        .a = own,
        .sa = (float *)(own + conv->a_bytes),
        .c = (float *)(own + conv->a_bytes + conv->sa_bytes),
        .b_rows = own + conv->a_bytes + conv->sa_bytes + conv->c_bytes,
    };

    w.rows = nyb_min(job->block_m, conv->m - w.row);
    w.n_panels = nyb_min(job->block_n, job->n_panels - w.panel);
    w.b = (int8_t *)w.b_rows + NYB_TILE_COLS * conv->lda;
    w.sb = (float *)(w.b + conv->max_steps * NYB_TILE_STEP_BYTES);
    w.start = (int32_t *)(w.sb + conv->lds * NYB_TILE_COLS);
    conv->kernel->begin(conv->group);
    for (size_t sample = 0; sample < conv->n_samples; sample++)
        for (size_t g = 0; g < conv->row_groups; g += at_once)
            run_chunk(&w, sample, g, nyb_min(at_once, conv->row_groups - g));
    conv->kernel->end();
    store(&w);
}

void nyb_group_dw_run(nyb_group_job *job)
{
    const nyb_group_conv *conv = job->conv;
    size_t m = conv->block_m, n;

    job->n_panels = nyb_div_up(job->n, NYB_TILE_COLS);
    n = nyb_min(conv->block_n, job->n_panels);
    while (nyb_div_up(conv->m, m) * nyb_div_up(job->n_panels, n) < conv->n_workers) {
        if (m > 2 * NYB_GROUP_ROWS && m >= n * NYB_TILE_COLS)
            m = nyb_round_up(m / 2, NYB_GROUP_ROWS);
        else if (n > 1)
            n = nyb_div_up(n, 2);
        else if (m > NYB_GROUP_ROWS)
            m = nyb_round_up(m / 2, NYB_GROUP_ROWS);
        else
            break;
    }
    job->block_m = m;
    job->block_n = n;
    nyb_pool_run(job->pool, run_task, job, nyb_div_up(conv->m, m) * nyb_div_up(job->n_panels, n));
}
