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

/* Taps [*first, *end) of output i read a pixel; *source is that of tap *first. */
static void valid_taps(const nyb_group_axis *axis, size_t i, size_t *first, size_t *end,
                       ptrdiff_t *source)
{
    const ptrdiff_t at = axis->base + (ptrdiff_t)i * axis->i_move, n = (ptrdiff_t)axis->n_taps;
    const ptrdiff_t src = (ptrdiff_t)axis->src;
    ptrdiff_t lo, hi;

    if (axis->a_move > 0) { /* at + a in [0, src) */
        lo = at < 0 ? -at : 0;
        hi = src - at < n ? src - at : n;
    } else { /* at - a in [0, src) */
        lo = at - src + 1 > 0 ? at - src + 1 : 0;
        hi = at + 1 < n ? at + 1 : n;
    }
    *first = (size_t)lo;
    *end = hi > lo ? (size_t)hi : (size_t)lo;
    *source = at + lo * axis->a_move;
}

typedef struct work {
    const nyb_group_job *job;
    const nyb_group_grid *grid;
    size_t first, rows; /* outputs */
    uint8_t *a;
    float *sa, *c;
    uint8_t *lines;                  /* unpacked rows of the source: row y in slot y % row_slots */
    size_t line_at[NYB_GROUP_LINES]; /* which row of all images a slot holds */
} work;

/* Row `line` of all images, unpacked: neighbouring taps and outputs need it again. */
static const uint8_t *unpacked_line(work *w, size_t line)
{
    const nyb_group_conv *conv = w->job->conv;
    const size_t slot = line % conv->row_slots;
    uint8_t *bytes = w->lines + slot * conv->row_bytes;

    if (w->line_at[slot] != line) {
        nyb_group_read(conv, w->job->a, w->job->a_bytes, line * conv->row_bytes, conv->row_bytes,
                       bytes);
        w->line_at[slot] = line;
    }
    return bytes;
}

/* n_bytes is a multiple of 16 and short. */
static inline void copy_codes(uint8_t *to, const uint8_t *from, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i += 16)
        memcpy(to + i, from + i, 16);
}

/* Pixels x .. x + n - 1 of a line (a row of all images) to tap t and following. */
static void read_pixels(work *w, size_t line, size_t x, size_t n, size_t t, uint8_t *row, float *sa)
{
    const nyb_group_job *job = w->job;
    const nyb_group_conv *conv = job->conv;
    const size_t first = line * w->grid->cols.src + x, groups = conv->row_groups;
    const size_t pitch = conv->k_pitch;

    if (conv->row_slots)
        copy_codes(row + t * pitch, unpacked_line(w, line) + x * pitch, n * pitch);
    else
        nyb_group_read(conv, job->a, job->a_bytes, first * pitch, n * pitch, row + t * pitch);
    sa += t * groups;
    const float *scales = job->a->scales ? job->a->scales + first * groups : NULL;
    for (size_t g = 0; g < n * groups; g++)
        sa[g] = scales ? scales[g] : 1.0f;
}

/* The patch of one output: its taps' codes and scales, zeros beside the image. */
static void read_patch(work *w, const pixel *p, uint8_t *row, float *sa)
{
    const nyb_group_grid *grid = w->grid;
    const nyb_group_conv *conv = w->job->conv;
    const size_t n_taps = grid->cols.n_taps;
    size_t a0, a1, b0, b1;
    ptrdiff_t y, x;

    valid_taps(&grid->rows, p->i, &a0, &a1, &y);
    valid_taps(&grid->cols, p->j, &b0, &b1, &x);
    if ((a1 - a0) * (b1 - b0) < grid->n_taps) {
        memset(row, conv->bias, grid->n_taps * conv->k_pitch);
        memset(sa, 0, grid->n_groups * sizeof *sa);
    }
    for (size_t a = a0; a < a1 && b0 < b1; a++, y += grid->rows.a_move) {
        const size_t line = p->image * grid->rows.src + (size_t)y;
        if (grid->cols.a_move > 0) {
            read_pixels(w, line, (size_t)x, b1 - b0, a * n_taps + b0, row, sa);
            continue;
        }
        for (size_t b = b0; b < b1; b++)
            read_pixels(w, line, (size_t)x - (b - b0), 1, a * n_taps + b, row, sa);
    }
}

/* ---- tasks ---- */

static void gather(work *w)
{
    const nyb_group_conv *conv = w->job->conv;
    pixel p = pixel_of(w->grid, w->first);

    memset(w->line_at, 0xff, sizeof w->line_at);
    for (size_t m = 0; m < w->rows; m++, pixel_next(w->grid, &p))
        read_patch(w, &p, w->a + m * conv->lda, w->sa + m * conv->lds);
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
                                                .out = rows + m});
}

static void run_panel(const work *w, size_t panel)
{
    const nyb_group_conv *conv = w->job->conv;
    const nyb_group_grid *grid = w->grid;
    const uint8_t *b = w->job->shared + grid->panels + panel * grid->panel_bytes;
    void *rows[NYB_GROUP_BLOCK];
    nyb_group_args args = {
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
    output_rows(w, panel, rows);
    for (size_t m = 0; m < w->rows; m++)
        nyb_store_fetch(rows[m], w->job->half,
                        nyb_min(NYB_TILE_COLS, conv->n - panel * NYB_TILE_COLS));
    nyb_group_sum(conv, &args);
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
    uint8_t *own = job->workers + worker * conv->worker_bytes;
    work w = {
        .job = job,
        .grid = grid,
        .first = block * grid->block,
        .rows = nyb_min(grid->block, grid->n_outputs - block * grid->block),
        .a = own,
        .sa = (float *)(own + conv->a_bytes),
        .c = (float *)(own + conv->a_bytes + conv->sa_bytes),
        .lines = own + conv->a_bytes + conv->sa_bytes + conv->c_bytes,
    };
    gather(&w);
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
