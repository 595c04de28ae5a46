/* The pipeline of round.h: mix, group, scale, round, back to real values. */
#include <assert.h>
#include <math.h>

#include "quant/householder.h"
#include "quant/round_work.h"

void nyb_round_toward(const nyb_round_kernel *kernel, const nyb_format *format, const float *t,
                      const float *u, size_t n, float *y)
{
    enum { PART = 256 };
    static const uint32_t none[PART];
    uint32_t all[PART];
    float inner[PART], outer[PART];

    for (size_t i = 0; i < nyb_min(n, PART); i++)
        all[i] = (1u << 23) - 1;
    for (size_t at = 0, m; at < n; at += m) {
        m = nyb_min(n - at, PART);
        kernel->round(format, NYB_ROUND_STOCHASTIC, t + at, none, m, inner);
        kernel->round(format, NYB_ROUND_STOCHASTIC, t + at, all, m, outer);
        for (size_t i = 0; i < m; i++) {
            const double middle = ((double)inner[i] + (double)outer[i]) / 2, to = u[at + i];
            const bool beyond = outer[i] < inner[i] ? to <= middle : to >= middle;

            y[at + i] = beyond ? outer[i] : inner[i];
        }
    }
}

/* v[0..n) = values of rounding v[0..n), elements `at` and following of the flat tensor, with one
 * scale; grid: NULL or where the grid values go. */
static void round_with(const nyb_round_work *w, const nyb_group_scale *s, const uint32_t *r23,
                       size_t at, size_t n, float *v, float *grid)
{
    const float inv = s->inv * w->job->pre, level = w->level.scale * w->job->post;

    w->kernel->scale(v, n, s->offset, inv, v);
    if (w->job->toward) {
        float u[NYB_ROUND_CHUNK];

        w->kernel->scale(w->job->toward + at, n, s->offset, inv, u);
        nyb_round_toward(w->kernel, w->spec->format, v, u, n, v);
    } else {
        w->kernel->round(w->spec->format, w->spec->rounding, v, r23, n, v);
    }
    if (grid)
        memcpy(grid, v, n * sizeof *grid);
    if (!w->grid_only)
        w->kernel->unscale(v, n, s->scale, level, s->offset, v);
}

/* ---- groups whose scale is known before rounding begins ---------------------------------------
 */

/* Row groups: one scale for `run` contiguous elements. */
static void row_scale_task(void *arg, size_t task, size_t worker)
{
    const nyb_round_work *w = arg;
    const float *x = w->x + task * w->view.run;
    const nyb_group_stats stats = nyb_round_stats_of(w->kernel, w->rule, x, w->view.run, 1);

    (void)worker;
    if (w->rule->search)
        w->rule->search(w->spec->format, w->kernel, x, w->view.run, &stats, &w->groups[task]);
    else
        w->rule->group(w->spec->format, &w->level, &stats, w->job->params, 0, &w->groups[task]);
}

static void channel_scale_task(void *arg, size_t task, size_t worker)
{
    const nyb_round_work *w = arg;
    const nyb_group_stats stats =
        nyb_round_stats_of(w->kernel, w->rule, w->x + task, w->view.rows, w->view.cols);

    (void)worker;
    w->rule->group(w->spec->format, &w->level, &stats, w->job->params, 0, &w->groups[task]);
}

/* The scale of element `at` of the flat tensor; *n elements from there on at most have it. */
static const nyb_group_scale *scale_at(const nyb_round_work *w, size_t at, size_t *n)
{
    if (w->spec->group != NYB_GROUP_ROW)
        return &w->one;
    *n = nyb_min(*n, w->view.run - at % w->view.run);
    return &w->groups[at / w->view.run];
}

/* Elements first .. first + n - 1 of the flat tensor; pieces end where the scale changes. */
static void flat_task(void *arg, size_t task, size_t worker)
{
    const nyb_round_work *w = arg;
    const size_t total = w->view.rows * w->view.cols,
                 end = nyb_min((task + 1) * NYB_ROUND_RUN, total);
    const size_t cols = w->view.cols;
    uint32_t r23[NYB_ROUND_CHUNK];
    float v[NYB_ROUND_CHUNK];

    (void)worker;
    for (size_t at = task * NYB_ROUND_RUN, n; at < end; at += n) {
        float *grid = w->job->grid ? w->job->grid + at : NULL;

        n = nyb_min(end - at, NYB_ROUND_CHUNK);
        const nyb_group_scale *s = scale_at(w, at, &n);
        memcpy(v, w->x + at, n * sizeof *v);
        nyb_round_draw(w, at, n, r23);
        if (w->spec->group == NYB_GROUP_CHANNEL)
            for (size_t i = 0; i < n; i++)
                round_with(w, &w->groups[(at + i) % cols], w->draws ? r23 + i : NULL, at + i, 1,
                           v + i, grid ? grid + i : NULL);
        else
            round_with(w, s, w->draws ? r23 : NULL, at, n, v, grid);
        memcpy(w->values + at, v, n * sizeof *v);
    }
}

nyb_round_range nyb_round_range_of(const nyb_round_work *w)
{
    const nyb_format *f = w->spec->format;

    return (nyb_round_range){nyb_format_least(f), f->max, w->rule->open};
}

static void mask_flat_task(void *arg, size_t task, size_t worker)
{
    const nyb_round_work *w = arg;
    const size_t total = w->view.rows * w->view.cols,
                 end = nyb_min((task + 1) * NYB_ROUND_RUN, total);
    const nyb_round_range range = nyb_round_range_of(w);

    (void)worker;
    for (size_t i = task * NYB_ROUND_RUN; i < end; i++) {
        const nyb_group_scale *s = w->spec->group == NYB_GROUP_ROW ? &w->groups[i / w->view.run]
                                   : w->spec->group == NYB_GROUP_CHANNEL
                                       ? &w->groups[i % w->view.cols]
                                       : &w->one;

        if (!nyb_round_keeps(&range, (w->x[i] - s->offset) * s->inv * w->job->pre))
            w->dx[i] = 0.0f;
    }
}

/* ---- mixing a whole matrix beforehand ---------------------------------------------------------
 */

static void premix_task(void *arg, size_t task, size_t worker)
{
    const nyb_round_work *w = arg;
    const size_t cols = w->view.cols, top = task * (w->view.down ? w->length : 1);
    const size_t n = w->view.down ? nyb_min(w->length, w->view.rows - top) : 1;
    float *values = w->values + top * cols;

    (void)worker;
    if (w->values != w->x)
        memcpy(values, w->x + top * cols, n * cols * sizeof *values);
    if (w->view.down)
        nyb_round_mix_columns(w, n, values, cols, w->inverse);
    else
        nyb_round_mix(w, cols, values, w->inverse);
}

/* ---- the whole --------------------------------------------------------------------------------
 */

size_t nyb_round_groups(const nyb_spec *spec, const nyb_view *view)
{
    const size_t rows = view->rows, cols = view->cols, length = nyb_round_group_length(spec->group);

    switch (spec->group) {
    case NYB_GROUP_TENSOR:
        return 1;
    case NYB_GROUP_ROW:
        return view->run ? rows * cols / view->run : 0;
    case NYB_GROUP_CHANNEL:
        return cols;
    case NYB_GROUP_BLOCK16:
    case NYB_GROUP_BLOCK32:
    case NYB_GROUP_BLOCK64:
        return view->down ? nyb_div_up(rows, length) * cols : rows * nyb_div_up(cols, length);
    case NYB_GROUP_TILE16:
        return (rows + 15) / 16 * nyb_round_tiles_across(view);
    }
    return 0;
}

static size_t own_scratch_bytes(const nyb_spec *spec, const nyb_view *view)
{
    const bool few = spec->group == NYB_GROUP_ROW || spec->group == NYB_GROUP_CHANNEL;

    return nyb_round_up((view->rows * view->cols / NYB_ROUND_RUN + 1) * sizeof(nyb_group_stats),
                        NYB_ALIGN) +
           nyb_round_up(few ? nyb_round_groups(spec, view) * sizeof(nyb_group_scale) : 0,
                        NYB_ALIGN);
}

size_t nyb_round_scratch_bytes(const nyb_spec *spec, const nyb_view *view)
{
    const size_t n_bytes = own_scratch_bytes(spec, view);

    if (spec->mix != NYB_MIX_HOUSEHOLDER)
        return n_bytes;
    return nyb_max(n_bytes, nyb_householder_scratch_bytes(nyb_round_groups(spec, view)));
}

static bool has_blocks(nyb_group group)
{
    return group == NYB_GROUP_BLOCK16 || group == NYB_GROUP_BLOCK32 || group == NYB_GROUP_BLOCK64;
}

nyb_round_work nyb_round_begin(const nyb_context *context, const nyb_round_job *job, const float *x,
                               float *values, void *scratch)
{
    nyb_round_work w = {.job = job,
                        .spec = job->spec,
                        .rule = job->spec->scale,
                        .kernel = nyb_round_kernel_choose(context->cpu),
                        .mixer = nyb_mix_kernel_choose(context->cpu),
                        .view = job->view,
                        .x = x,
                        .values = values,
                        .level = {.scale = 1.0f},
                        .scratch = scratch};

    w.groups =
        (nyb_group_scale *)((uint8_t *)scratch +
                            nyb_round_up((job->view.rows * job->view.cols / NYB_ROUND_RUN + 1) *
                                             sizeof(nyb_group_stats),
                                         NYB_ALIGN));
    w.draws = nyb_rounding_draws(job->spec->rounding);
    w.mixes = nyb_mix_length(job->spec->mix) > 0;
    w.length = nyb_max(nyb_round_group_length(job->spec->group), nyb_mix_length(job->spec->mix));
    return w;
}

void nyb_round_mix_matrix(const nyb_context *context, nyb_round_work *w)
{
    const size_t rows = w->view.rows;

    nyb_pool_run(context->pool, premix_task, w,
                 w->view.down ? rows / w->length + (rows % w->length != 0) : rows);
}

/* Mix, tensor statistics, level, and scales of few large groups. in_place: the mixed matrix may be
 * written to values. */
static void prepare(const nyb_context *context, nyb_round_work *w, bool in_place)
{
    const bool blocks = has_blocks(w->spec->group) || w->spec->group == NYB_GROUP_TILE16;
    nyb_group_stats stats = {0};

    w->signs = nyb_mix_signs(w->spec->mix, w->job->signs, w->signs_of);
    if (w->mixes && in_place && (w->rule->level || !blocks)) {
        nyb_round_mix_matrix(context, w);
        w->x = w->values;
        w->mixes = false;
    }
    if (w->rule->level || w->spec->group == NYB_GROUP_TENSOR)
        stats = nyb_round_stats(context, w->rule, w->x, w->view.rows * w->view.cols, w->scratch);
    if (w->rule->level)
        w->rule->level(w->spec->format, &stats, &w->level);
    if (w->spec->group == NYB_GROUP_TENSOR)
        w->one = nyb_round_scale(context, w->job, w->x, &stats);
    if (w->job->scales && w->spec->group == NYB_GROUP_TENSOR)
        w->job->scales[0] = w->one;
    if (w->job->level)
        *w->job->level = (nyb_level){.scale = w->level.scale * w->job->post, .aux = w->level.aux};
    if (w->spec->group == NYB_GROUP_ROW)
        nyb_pool_run(context->pool, row_scale_task, w, nyb_round_groups(w->spec, &w->view));
    if (w->spec->group == NYB_GROUP_CHANNEL)
        nyb_pool_run(context->pool, channel_scale_task, w, w->view.cols);
    if (w->job->scales && (w->spec->group == NYB_GROUP_ROW || w->spec->group == NYB_GROUP_CHANNEL))
        memcpy(w->job->scales, w->groups, nyb_round_groups(w->spec, &w->view) * sizeof *w->groups);
}

bool nyb_round_has_lanes(const nyb_round_work *w)
{
    return w->rule->absmax_only && w->rule->n_trials < 2 && !w->rule->finish && !w->rule->affine &&
           !w->rule->divides && !w->dx;
}

static void run_elements(const nyb_context *context, nyb_round_work *w)
{
    const size_t rows = w->view.rows, cols = w->view.cols, n = rows * cols;

    assert(!w->job->toward || !(has_blocks(w->spec->group) && w->view.down));
    if (has_blocks(w->spec->group) && w->view.down) {
        nyb_pool_run(context->pool,
                     nyb_round_has_lanes(w) ? nyb_round_lanes_task : nyb_round_down_task, w,
                     rows / w->length + (rows % w->length != 0));
    } else if (has_blocks(w->spec->group)) {
        const size_t per = cols % w->length == 0 ? NYB_ROUND_RUN : nyb_round_rows_of_task(w);
        const size_t count = cols % w->length == 0 ? n : rows;

        nyb_pool_run(context->pool, nyb_round_along_task, w, count / per + (count % per != 0));
    } else if (w->spec->group == NYB_GROUP_TILE16 && !w->dx) {
        nyb_pool_run(context->pool, nyb_round_tile_task, w, rows / 16 + (rows % 16 != 0));
    } else {
        nyb_pool_run(context->pool, w->dx ? mask_flat_task : flat_task, w,
                     n / NYB_ROUND_RUN + (n % NYB_ROUND_RUN != 0));
    }
}

/* Samples against each other; pre and post are those of a linear transform. */
static void run_householder(const nyb_context *context, const nyb_round_job *job, const float *x,
                            float *values, void *scratch)
{
    const size_t n = job->view.rows * job->view.cols, samples = n / job->view.run;
    const float factor = job->pre * job->post;

    nyb_householder_round(context, job->spec, job->stream, job->first, x, samples, job->view.run,
                          values, scratch);
    for (size_t i = 0; factor != 1.0f && i < n; i++)
        values[i] *= factor;
}

void nyb_round_run(const nyb_context *context, const nyb_round_job *job, const float *x,
                   float *values, void *scratch)
{
    nyb_round_work w = nyb_round_begin(context, job, x, values, scratch);

    if (job->view.rows * job->view.cols == 0)
        return;
    if (job->spec->mix == NYB_MIX_HOUSEHOLDER) {
        run_householder(context, job, x, values, scratch);
        return;
    }
    prepare(context, &w, true);
    run_elements(context, &w);
}

/* Rows of codes as grid values; the view may have longer ones. */
typedef struct grid_rows {
    const nyb_round_work *round;
    size_t cols;
} grid_rows;

static void make_grid(const void *self, size_t row, size_t n_rows, float *rows)
{
    const grid_rows *g = self;
    const nyb_round_work *w = g->round;
    const size_t first = row * g->cols, total = n_rows * g->cols;
    uint32_t r23[NYB_ROUND_CHUNK];

    memcpy(rows, w->x + first, total * sizeof *rows);
    for (size_t at = 0, n; at < total; at += n) {
        n = nyb_min(total - at, NYB_ROUND_CHUNK);
        const nyb_group_scale *s = scale_at(w, first + at, &n);
        nyb_round_draw(w, first + at, n, r23);
        round_with(w, s, w->draws ? r23 : NULL, first + at, n, rows + at, NULL);
    }
}

static bool has_maker(size_t cols)
{
    return cols % NYB_PITCH == 0 && cols <= NYB_MAKER_COLS_MAX;
}

bool nyb_round_pack_stores(const nyb_spec *spec, size_t cols)
{
    return spec->mix != NYB_MIX_NONE || !has_maker(cols);
}

void nyb_round_pack(const nyb_context *context, const nyb_round_job *job, const float *x,
                    float *values, nyb_packed *out, void *scratch)
{
    const nyb_spec exact = {
        .format = job->spec->format, .rounding = NYB_ROUND_NEAREST, .sr_bits = 16};
    const nyb_stream none = {0};
    nyb_round_work w = nyb_round_begin(context, job, x, values, scratch);
    const grid_rows rows = {&w, out->cols};
    const nyb_row_maker maker = {make_grid, &rows};

    if (job->spec->mix == NYB_MIX_HOUSEHOLDER) {
        nyb_householder_pack(context, job->spec, job->stream, job->first, x,
                             job->view.rows * job->view.cols / job->view.run, job->view.run, values,
                             out, job->reflection_memory, job->reflection, scratch);
        return;
    }
    w.grid_only = true;
    prepare(context, &w, true);
    out->scale = 1.0f;
    if (has_maker(out->cols)) {
        nyb_encode_made(context, &exact, &none, &maker, out, NULL);
    } else {
        run_elements(context, &w);
        nyb_encode_run(context, &exact, &none, values, out);
    }
    if (out->lines) {
        const nyb_group_scale *s = job->spec->group == NYB_GROUP_ROW ? w.groups : &w.one;

        for (size_t i = 0; i < out->rows / out->line_rows; i++)
            out->lines[i] = (nyb_line){s[i].scale, s[i].offset};
        return;
    }
    out->scale = w.one.scale;
    out->zero = w.one.scale > 0.0f ? (int32_t)(-w.one.offset / w.one.scale) : 0;
}

void nyb_round_mask(const nyb_context *context, const nyb_round_job *job, const float *x, float *dx,
                    void *scratch)
{
    nyb_round_work w = nyb_round_begin(context, job, x, NULL, scratch);

    if (job->view.rows * job->view.cols == 0)
        return;
    w.dx = dx;
    prepare(context, &w, false);
    run_elements(context, &w);
}

void nyb_round_unmix(const nyb_context *context, const nyb_round_job *job, float *values)
{
    nyb_round_work w = {.job = job,
                        .spec = job->spec,
                        .mixer = nyb_mix_kernel_choose(context->cpu),
                        .view = job->view,
                        .x = values,
                        .values = values,
                        .length = nyb_mix_length(job->spec->mix),
                        .inverse = true};

    if (!w.length || job->view.rows * job->view.cols == 0)
        return;
    w.signs = nyb_mix_signs(job->spec->mix, job->signs, w.signs_of);
    nyb_round_mix_matrix(context, &w);
}
