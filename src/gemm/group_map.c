/* FWD and DX on grouped operands: patches of codes and scales for a block of outputs, gathered into
 * rows of A in L2, times the panels of the weights. */
#include "gemm/group_conv_impl.h"

/* Panels: all weights, once per run. */

/* Pads hold code 0, which not every format decodes to 0; b's zeros are enough. */
static void clear_pads(const nyb_group_job *job, uint8_t *row, size_t n_taps)
{
    const nyb_group_conv *conv = job->conv;

    if (job->b_bytes[0] == 0)
        return;
    for (size_t t = 0; t < n_taps; t++)
        memset(row + t * conv->k_pitch + conv->k_cols, 0, conv->k_pitch - conv->k_cols);
}

/* Codes and scales of one channel's weights, the taps of a grid in order. */
static void read_weights(const nyb_group_job *job, const nyb_group_grid *grid, size_t channel,
                         size_t n, uint8_t *row, float *sb)
{
    const nyb_group_conv *conv = job->conv;
    const nyb_conv_shape *s = &conv->shape;
    size_t t = 0;

    for (size_t a = 0; a < grid->rows.n_taps; a++) {
        for (size_t b = 0; b < grid->cols.n_taps; b++, t++) {
            const size_t r = grid->rows.tap0 + a * grid->rows.tap_step;
            const size_t tap = r * s->s + grid->cols.tap0 + b * grid->cols.tap_step;
            const size_t source = channel * s->r * s->s + tap;
            nyb_group_read(conv, job->b, job->b_bytes, source * conv->k_pitch, conv->k_pitch,
                           row + t * conv->k_pitch);
            for (size_t g = 0; g < conv->row_groups; g++)
                sb[(t * conv->row_groups + g) * NYB_TILE_COLS + n] =
                    job->b->scales ? job->b->scales[source * conv->row_groups + g] : 1.0f;
        }
    }
    clear_pads(job, row, t);
}

static void pack_task(void *arg, size_t task, size_t worker)
{
    const nyb_group_job *job = arg;
    const nyb_group_conv *conv = job->conv;
    const nyb_group_grid *grid = &conv->grids[task / conv->n_panels];
    const size_t panel = task % conv->n_panels;
    const size_t n_valid = nyb_min(NYB_TILE_COLS, conv->n - panel * NYB_TILE_COLS);
    uint8_t *to = job->shared + grid->panels + panel * grid->panel_bytes;
    uint8_t *rows = job->workers + worker * conv->worker_bytes;
    float *sb = (float *)(to + grid->sb);

    if (n_valid < NYB_TILE_COLS)
        memset(sb, 0, grid->n_groups * NYB_TILE_COLS * sizeof *sb);
    for (size_t n = 0; n < n_valid; n++)
        read_weights(job, grid, panel * NYB_TILE_COLS + n, n, rows + n * conv->lda, sb);
    nyb_group_pack(conv, rows, conv->lda, grid->n_groups, n_valid, (int8_t *)to,
                   (int32_t *)(to + grid->start));
}

/* ---- A ---- */

typedef struct pixel {
    size_t image, i, j;
} pixel;

static pixel pixel_of(const nyb_group_grid *grid, size_t output)
{
    const size_t i = output / grid->cols.count;
    return (pixel){i / grid->rows.count, i % grid->rows.count, output % grid->cols.count};
}

static void pixel_next(const nyb_group_grid *grid, pixel *p)
{
    if (++p->j < grid->cols.count)
        return;
    p->j = 0;
    if (++p->i < grid->rows.count)
        return;
    p->i = 0;
    p->image++;
}

typedef struct work {
    const nyb_group_job *job;
    const nyb_group_grid *grid;
    const nyb_grouped *source; /* of the sample that is gathered */
    size_t first, rows;        /* outputs */
    uint8_t *a;                /* of the sample */
    float *sa, *c;
    uint8_t *lines; /* row y of all images in slot y % (n_lines - 1); a blank one */
    size_t line_at[NYB_GROUP_LINES]; /* which row a slot holds */
} work;

/* ---- line by line ---- */

/* Where a line's scales begin, behind its codes. */
static size_t scales_at(const work *w)
{
    return w->grid->cols.length * w->job->conv->k_pitch;
}

static void clear_lines(work *w)
{
    const nyb_group_conv *conv = w->job->conv;
    const nyb_group_axis *cols = &w->grid->cols;

    memset(w->line_at, 0xff, sizeof w->line_at);
    for (size_t i = 0; i < conv->n_lines; i++) {
        uint8_t *line = w->lines + i * conv->row_bytes;
        memset(line, conv->bias, cols->length * conv->k_pitch);
        memset(line + scales_at(w), 0, cols->length * conv->row_groups * sizeof(float));
    }
}

/* n pixels from pixel `first` of all images on. */
static void read_pixels(const work *w, size_t first, size_t n, uint8_t *codes, float *sa)
{
    const nyb_group_conv *conv = w->job->conv;
    const size_t groups = conv->row_groups;
    const float *scales = w->source->scales ? w->source->scales + first * groups : NULL;

    nyb_group_read(conv, w->source, w->job->a_bytes, first * conv->k_pitch, n * conv->k_pitch,
                   codes);
    for (size_t g = 0; g < n * groups; g++)
        sa[g] = scales ? scales[g] : 1.0f;
}

/* Row `row` of all images as a line: neighbouring taps and outputs need it again. */
static const uint8_t *read_line(work *w, size_t row)
{
    const nyb_group_conv *conv = w->job->conv;
    const nyb_group_axis *cols = &w->grid->cols;
    const size_t slot = row % (conv->n_lines - 1), src = cols->src;
    uint8_t *line = w->lines + slot * conv->row_bytes;
    uint8_t *codes = line + cols->lead * conv->k_pitch;
    float *scales = (float *)(line + scales_at(w)) + cols->lead * conv->row_groups;

    if (w->line_at[slot] == row)
        return line;
    w->line_at[slot] = row;
    if (cols->a_move > 0)
        read_pixels(w, row * src, src, codes, scales);
    else
        for (size_t x = 0; x < src; x++)
            read_pixels(w, row * src + src - 1 - x, 1, codes + x * conv->k_pitch,
                        scales + x * conv->row_groups);
    return line;
}

/* n_bytes is a multiple of 16 and short. */
static inline void copy_codes(uint8_t *to, const uint8_t *from, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i += 16)
        memcpy(to + i, from + i, 16);
}

/* The patches of outputs p and following, n of the same row: codes and scales of their taps, zeros
 * beside the image. */
static void read_patches(work *w, const pixel *p, size_t n, uint8_t *a, float *sa)
{
    const nyb_group_axis *rows = &w->grid->rows, *cols = &w->grid->cols;
    const nyb_group_conv *conv = w->job->conv;
    const size_t n_codes = cols->n_taps * conv->k_pitch, n_scales = cols->n_taps * conv->row_groups;
    const uint8_t *lines[NYB_GROUP_LINES];
    ptrdiff_t y = rows->base + (ptrdiff_t)p->i * rows->i_move;
    ptrdiff_t at = cols->start + (ptrdiff_t)p->j * cols->start_move;

    for (size_t t = 0; t < rows->n_taps; t++, y += rows->a_move)
        lines[t] = y >= 0 && y < (ptrdiff_t)rows->src
                       ? read_line(w, p->image * rows->src + (size_t)y)
                       : w->lines + (conv->n_lines - 1) * conv->row_bytes;
    for (; n > 0; n--, at += cols->start_move, a += conv->lda, sa += conv->lds) {
        for (size_t t = 0; t < rows->n_taps; t++) {
            const float *scales =
                (const float *)(lines[t] + scales_at(w)) + (size_t)at * conv->row_groups;
            copy_codes(a + t * n_codes, lines[t] + (size_t)at * conv->k_pitch, n_codes);
            for (size_t i = 0; i < n_scales; i++)
                sa[t * n_scales + i] = scales[i];
        }
    }
}

static void gather_lines(work *w)
{
    const nyb_group_conv *conv = w->job->conv;
    pixel p = pixel_of(w->grid, w->first);

    clear_lines(w);
    for (size_t m = 0, n; m < w->rows; m += n) {
        n = nyb_min(w->rows - m, w->grid->cols.count - p.j);
        read_patches(w, &p, n, w->a + m * conv->lda, w->sa + m * conv->lds);
        p.j += n - 1;
        pixel_next(w->grid, &p);
    }
}

/* ---- pixel by pixel: one tap, or lines too long ---- */

static void read_taps(work *w, const pixel *p, uint8_t *row, float *sa)
{
    const nyb_group_axis *rows = &w->grid->rows, *cols = &w->grid->cols;
    const nyb_group_conv *conv = w->job->conv;

    for (size_t t = 0; t < w->grid->n_taps; t++) {
        const ptrdiff_t a = (ptrdiff_t)(t / cols->n_taps), b = (ptrdiff_t)(t % cols->n_taps);
        const ptrdiff_t y = rows->base + (ptrdiff_t)p->i * rows->i_move + a * rows->a_move;
        const ptrdiff_t x = cols->base + (ptrdiff_t)p->j * cols->i_move + b * cols->a_move;
        uint8_t *codes = row + t * conv->k_pitch;
        float *scales = sa + t * conv->row_groups;

        if (y >= 0 && y < (ptrdiff_t)rows->src && x >= 0 && x < (ptrdiff_t)cols->src) {
            const size_t line = p->image * rows->src + (size_t)y;
            read_pixels(w, line * cols->src + (size_t)x, 1, codes, scales);
        } else {
            memset(codes, conv->bias, conv->k_pitch);
            memset(scales, 0, conv->row_groups * sizeof *scales);
        }
    }
}

/* ---- tasks ---- */

static void gather(work *w)
{
    const nyb_group_conv *conv = w->job->conv;
    pixel p = pixel_of(w->grid, w->first);

    if (conv->n_lines) {
        gather_lines(w);
        return;
    }
    for (size_t m = 0; m < w->rows; m++, pixel_next(w->grid, &p))
        read_taps(w, &p, w->a + m * conv->lda, w->sa + m * conv->lds);
}

static void gather_samples(work w)
{
    const nyb_group_conv *conv = w.job->conv;

    for (size_t sample = 0; sample < conv->n_samples; sample++) {
        w.source = w.job->a[sample];
        gather(&w);
        w.a += conv->a_bytes;
        w.sa += conv->sa_bytes / sizeof *w.sa;
    }
}

/* Where the task's rows of a panel go. */
static void output_rows(const work *w, size_t panel, void *rows[NYB_GROUP_BLOCK])
{
    const nyb_group_job *job = w->job;
    const nyb_group_conv *conv = job->conv;
    const nyb_group_axis *down = &w->grid->rows, *across = &w->grid->cols;
    const bool dx = conv->product == NYB_PRODUCT_DX;
    const size_t height = dx ? conv->shape.h : conv->shape.oh;
    const size_t width = dx ? conv->shape.w : conv->shape.ow;
    pixel p = pixel_of(w->grid, w->first);

    for (size_t m = 0; m < w->rows; m++, pixel_next(w->grid, &p)) {
        const size_t y = down->first + p.i * down->step, x = across->first + p.j * across->step;
        rows[m] =
            nyb_store_at(job->out, job->half,
                         ((p.image * height + y) * width + x) * conv->n + panel * NYB_TILE_COLS);
    }
}

static void store(const work *w, size_t panel, void *const rows[NYB_GROUP_BLOCK])
{
    const nyb_group_job *job = w->job;
    const nyb_group_conv *conv = job->conv;
    const size_t first = panel * NYB_TILE_COLS;

    for (size_t m = 0; m < w->rows; m += NYB_TILE_ROWS)
        conv->store->of_float(w->c + m * NYB_TILE_COLS,
                              &(nyb_store_args){.rows = nyb_min(NYB_TILE_ROWS, w->rows - m),
                                                .n_valid = nyb_min(NYB_TILE_COLS, conv->n - first),
                                                .scale = job->scale,
                                                .bias = job->bias ? job->bias + first : NULL,
                                                .add = job->add,
                                                .half = job->half,
                                                .draws = job->draws,
                                                .origin = job->out,
                                                .out = rows + m});
}

/* The sums of all groups of all samples, one sample after the other. */
static void sum_panel(const work *w, size_t panel)
{
    const nyb_group_conv *conv = w->job->conv;
    const nyb_group_grid *grid = w->grid;
    const uint8_t *b = w->job->shared + grid->panels + panel * grid->panel_bytes;
    const nyb_group_args all = {
        .rows = w->rows,
        .n_groups = grid->n_groups,
        .group = conv->group,
        .a = w->a,
        .lda = conv->lda,
        .sa = w->sa,
        .lds = conv->lds,
        .b = (const int8_t *)b,
        .sb = (const float *)(b + grid->sb),
        .start = (const int32_t *)(b + grid->start),
        .c = w->c,
        .narrow = conv->n - panel * NYB_TILE_COLS <= NYB_TILE_COLS / 2,
        .max_a = conv->max_a,
        .max_b = conv->max_b,
    };

    if (grid->n_groups == 0)
        memset(w->c, 0, w->rows * NYB_TILE_COLS * sizeof *w->c);
    for (size_t sample = 0; sample < conv->n_samples; sample++) {
        nyb_group_args args = all;
        args.a += sample * conv->a_bytes;
        args.sa += sample * (conv->sa_bytes / sizeof *args.sa);
        args.accumulate = sample > 0;
        nyb_group_sum(conv, &args);
    }
}

static void run_panel(const work *w, size_t panel)
{
    const nyb_group_conv *conv = w->job->conv;
    void *rows[NYB_GROUP_BLOCK];

    output_rows(w, panel, rows);
    for (size_t m = 0; m < w->rows; m++)
        nyb_store_fetch(rows[m], w->job->half,
                        nyb_min(NYB_TILE_COLS, conv->n - panel * NYB_TILE_COLS));
    sum_panel(w, panel);
    store(w, panel, rows);
}

static void run_task(void *arg, size_t task, size_t worker)
{
    const nyb_group_job *job = arg;
    const nyb_group_conv *conv = job->conv;
    const nyb_group_grid *grid = conv->grids;
    const size_t part = task % conv->panel_groups;
    const size_t per_part = nyb_div_up(conv->n_panels, conv->panel_groups);
    const size_t end = nyb_min((part + 1) * per_part, conv->n_panels);
    size_t block = task / conv->panel_groups;

    for (; block >= grid->n_blocks; grid++)
        block -= grid->n_blocks;
    const size_t a_bytes = conv->n_samples * conv->a_bytes;
    const size_t sa_bytes = conv->n_samples * conv->sa_bytes;
    uint8_t *own = job->workers + worker * conv->worker_bytes;
    work w = {
        .job = job,
        .grid = grid,
        .first = block * grid->block,
        .rows = nyb_min(grid->block, grid->n_outputs - block * grid->block),
        .a = own,
        .sa = (float *)(own + a_bytes),
        .c = (float *)(own + a_bytes + sa_bytes),
        .lines = own + a_bytes + sa_bytes + conv->c_bytes,
    };
    gather_samples(w);
    conv->kernel->begin(conv->group);
    for (size_t panel = part * per_part; panel < end; panel++)
        run_panel(&w, panel);
    conv->kernel->end();
}

void nyb_group_map_run(nyb_group_job *job)
{
    const nyb_group_conv *conv = job->conv;
    size_t blocks = 0;

    for (size_t i = 0; i < conv->n_grids; i++)
        blocks += conv->grids[i].n_blocks;
    nyb_pool_run(job->pool, pack_task, job, conv->n_grids * conv->n_panels);
    nyb_pool_run(job->pool, run_task, job, blocks * conv->panel_groups);
}
