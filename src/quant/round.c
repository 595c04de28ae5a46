/* The pipeline of round.h: mix, group, scale, round, back to real values. */
#include "quant/householder.h"
#include "quant/mix.h"

#include <float.h>
#include <math.h>

#define CHUNK 2048 /* floats of a worker's buffers */
#define LANES 16   /* columns that are worked on together where groups run down the rows */
#define RUN   8192 /* elements of a task where the scale is known beforehand */

/* ---- what is fixed during one call ------------------------------------------------------------
 */

typedef struct work {
    const nyb_round_job *job;
    const nyb_spec *spec;
    const nyb_scale_rule *rule;
    const nyb_round_kernel *kernel;
    const nyb_mix_kernel *mixer;
    nyb_view view;
    const float *x;
    float *values;
    const float *dx_in; /* masking: gradients instead of values; else NULL */
    float *dx;
    bool inverse;      /* of the mix of a whole matrix */
    bool draws, mixes; /* mixes: chunks are mixed as they come (false: they already are) */
    size_t length;     /* of a group; of a mix's segment if that is longer */
    float signs_of[128];
    const float *signs;
    nyb_level level;
    nyb_group_scale one;     /* group tensor */
    nyb_group_scale *groups; /* row, channel: one each */
    void *scratch;           /* of the statistics */
} work;

static size_t group_length(nyb_group group)
{
    static const uint16_t lengths[] = {
#define X(constant, word, length, sentence) length,
        NYB_GROUP_LIST(X)
#undef X
    };
    return lengths[group];
}

bool nyb_spec_packs(const nyb_spec *spec)
{
    return spec->format->grid != NYB_GRID_REAL && spec->format->bits <= 8 &&
           spec->group == NYB_GROUP_TENSOR && spec->mix == NYB_MIX_NONE && !spec->scale->affine &&
           !spec->scale->level;
}

/* ---- statistics -------------------------------------------------------------------------------
 */

static void stats_add(nyb_group_stats *s, float v)
{
    const uint32_t bits = nyb_bits_of(v) & 0x7fffffff;
    const double d = (double)v;

    if (bits >= 0x7f800000)
        return;
    if (bits < 0x00800000)
        v = 0.0f;
    else
        s->n_nonzero++;
    s->min = s->n == 0 || v < s->min ? v : s->min;
    s->max = s->n == 0 || v > s->max ? v : s->max;
    s->n++;
    if (bits >= 0x00800000) {
        s->sum += d;
        s->sum_abs += fabs(d);
        s->sum_sq += d * d;
    }
}

static void stats_close(nyb_group_stats *s)
{
    s->absmax = fmaxf(-s->min, s->max);
    if (!(s->absmax >= FLT_MIN))
        s->absmax = 0.0f;
}

/* `count` elements, `step` apart. */
static nyb_group_stats stats_of(const nyb_scale_rule *rule, const float *x, size_t count,
                                size_t step)
{
    nyb_group_stats s = {0};

    if (rule->absmax_only) {
        uint32_t largest = 0;

        for (size_t i = 0; i < count; i++) {
            uint32_t bits = nyb_bits_of(x[i * step]) & 0x7fffffff;

            bits = bits < 0x7f800000 ? bits : 0;
            largest = bits > largest ? bits : largest;
        }
        s.absmax = largest >= 0x00800000 ? nyb_float_of(largest) : 0.0f;
        s.n = count;
        return s;
    }
    for (size_t i = 0; i < count; i++)
        stats_add(&s, x[i * step]);
    stats_close(&s);
    return s;
}

static void stats_combine(nyb_group_stats *s, const nyb_group_stats *next)
{
    if (next->n == 0)
        return;
    s->min = s->n == 0 || next->min < s->min ? next->min : s->min;
    s->max = s->n == 0 || next->max > s->max ? next->max : s->max;
    s->n += next->n;
    s->n_nonzero += next->n_nonzero;
    s->sum += next->sum;
    s->sum_abs += next->sum_abs;
    s->sum_sq += next->sum_sq;
}

typedef struct stats_work {
    const float *x;
    size_t n;
    nyb_group_stats *stats; /* of tasks, combined in order */
} stats_work;

static void stats_task(void *arg, size_t task, size_t worker)
{
    const stats_work *w = arg;
    const size_t first = task * RUN;
    nyb_group_stats s = {0};

    (void)worker;
    for (size_t i = first; i < nyb_min(first + RUN, w->n); i++)
        stats_add(&s, w->x[i]);
    w->stats[task] = s;
}

nyb_group_stats nyb_round_stats(const nyb_context *context, const float *x, size_t n, void *scratch)
{
    const size_t n_tasks = n / RUN + (n % RUN != 0);
    stats_work w = {.x = x, .n = n, .stats = scratch};
    nyb_group_stats all = {0};

    nyb_pool_run(context->pool, stats_task, &w, n_tasks);
    for (size_t i = 0; i < n_tasks; i++)
        stats_combine(&all, &w.stats[i]);
    stats_close(&all);
    return all;
}

/* ---- scales -----------------------------------------------------------------------------------
 */

static nyb_group_scale of_clip(const nyb_format *format, float clip)
{
    const float scale = nyb_scale_of_clip(format, clip);

    return (nyb_group_scale){.scale = scale, .inv = scale > 0.0f ? 1.0f / scale : 0.0f};
}

/* Squared error of rounding a group to nearest with a scale. */
static double group_error(const work *w, const nyb_group_scale *scale, const float *x, size_t n)
{
    float t[CHUNK];
    double sum = 0.0;

    t[0] = 0.0f;
    for (size_t i = 0; i < n; i++)
        t[i] = (x[i] - scale->offset) * scale->inv;
    w->kernel->round(w->spec->format, NYB_ROUND_NEAREST, t, NULL, n, t);
    for (size_t i = 0; i < n; i++) {
        const double e = (double)(scale->offset + t[i] * scale->scale * w->level.scale - x[i]);
        sum += e * e;
    }
    return sum;
}

/* The scale of one group of n <= CHUNK contiguous elements. */
static nyb_group_scale small_group(const work *w, const float *x, size_t n)
{
    const nyb_group_stats stats = stats_of(w->rule, x, n, 1);
    nyb_group_scale best, next;
    double least;

    if (!w->rule->group)
        return of_clip(w->spec->format, 0.0f);
    w->rule->group(w->spec->format, &w->level, &stats, w->job->params, 0, &best);
    if (w->rule->n_trials < 2)
        return best;
    least = group_error(w, &best, x, n);
    for (int trial = 1; trial < w->rule->n_trials; trial++) {
        double error;

        w->rule->group(w->spec->format, &w->level, &stats, w->job->params, trial, &next);
        error = group_error(w, &next, x, n);
        if (error < least) {
            least = error;
            best = next;
        }
    }
    return best;
}

/* Of n_groups groups, one after the other, of at most CHUNK elements together. */
static void small_groups(const work *w, const float *x, size_t n_groups, size_t length,
                         nyb_group_scale *scales)
{
    float absmax[CHUNK / 16 + 1];

    if (!w->rule->absmax_only || w->rule->n_trials > 1) {
        for (size_t g = 0; g < n_groups; g++)
            scales[g] = small_group(w, x + g * length, length);
        return;
    }
    w->kernel->block_stats(x, n_groups, length, length, absmax);
    for (size_t g = 0; g < n_groups; g++) {
        const nyb_group_stats stats = {.absmax = absmax[g], .n = length};

        w->rule->group(w->spec->format, &w->level, &stats, w->job->params, 0, &scales[g]);
    }
}

/* ---- one buffer of groups ---------------------------------------------------------------------
 */

/* v[0..n) = values of rounding v[0..n) with one scale; grid: NULL or where the grid values go. */
static void round_with(const work *w, const nyb_group_scale *s, const uint32_t *r23, size_t n,
                       float *v, float *grid)
{
    const float inv = s->inv * w->job->pre, level = w->level.scale * w->job->post;

    if (s->offset != 0.0f)
        for (size_t i = 0; i < n; i++)
            v[i] -= s->offset;
    w->kernel->scale(v, n, inv, v);
    w->kernel->round(w->spec->format, w->spec->rounding, v, r23, n, v);
    if (grid)
        memcpy(grid, v, n * sizeof *grid);
    w->kernel->unscale(v, n, s->scale, level, s->offset, v);
}

/* Where the parts of a vector's values go. */
typedef struct parts {
    float *grid;             /* as the vector, or NULL */
    nyb_group_scale *scales; /* of its first group, or NULL */
    size_t step;             /* to the next group's */
} parts;

/* The scales of n_groups groups of `length`, then their values. rs: 23 random bits per group. */
static void round_groups(const work *w, const uint32_t *r23, const uint32_t *rs, size_t n_groups,
                         size_t length, float *v, parts out)
{
    nyb_group_scale scales[CHUNK / 16 + 1];
    const float pre = w->job->pre, level = w->level.scale * w->job->post;
    float t[CHUNK];

    small_groups(w, v, n_groups, length, scales);
    for (size_t g = 0; g < n_groups; g++) {
        float *part = v + g * length;

        if (scales[g].offset != 0.0f)
            for (size_t i = 0; i < length; i++)
                part[i] -= scales[g].offset;
        w->kernel->scale(part, length, scales[g].inv * pre, t + g * length);
    }
    w->kernel->round(w->spec->format, w->spec->rounding, t, r23, n_groups * length, v);
    if (w->rule->finish) {
        const size_t together = nyb_max(nyb_mix_length(w->spec->mix) / length, 1);

        for (size_t g = 0; g < n_groups; g += together)
            w->rule->finish(w->spec->format, &w->level, t + g * length, v + g * length, length,
                            nyb_min(together, n_groups - g), rs + g, scales + g);
    }
    if (out.grid)
        memcpy(out.grid, v, n_groups * length * sizeof *v);
    for (size_t g = 0; g < n_groups; g++) {
        if (out.scales)
            out.scales[g * out.step] = scales[g];
        w->kernel->unscale(v + g * length, length, scales[g].scale, level, scales[g].offset,
                           v + g * length);
    }
}

/* dx = 0 where x was clipped; both mixed. */
static void mask_groups(const work *w, size_t n_groups, size_t length, const float *x, float *dx)
{
    const float max = w->spec->format->max;

    for (size_t g = 0; g < n_groups; g++) {
        const nyb_group_scale s = small_group(w, x + g * length, length);
        const float inv = s.inv * w->job->pre;

        for (size_t i = g * length; i < (g + 1) * length; i++)
            if (!(fabsf((x[i] - s.offset) * inv) <= max))
                dx[i] = 0.0f;
    }
}

/* Segments of the mix's length, the tail in powers of two. */
static void mix(const work *w, size_t n, float *v, bool inverse)
{
    const size_t length = nyb_mix_length(w->spec->mix);
    size_t at = 0;

    for (size_t size = length; size > 1 && at < n; size /= 2) {
        const size_t count = (n - at) / size;

        if (count)
            w->mixer->along(v + at, size, count, w->signs, inverse);
        at += count * size;
    }
}

/* The same of LANES vectors side by side. */
static void mix_lanes(const work *w, size_t n, float *v, bool inverse)
{
    const size_t length = nyb_mix_length(w->spec->mix);
    size_t at = 0;

    for (size_t size = length; size > 1 && at < n; size /= 2)
        for (; n - at >= size; at += size)
            w->mixer->across(v + at * LANES, size, LANES, LANES, w->signs, inverse);
}

/* ---- blocks along the columns -----------------------------------------------------------------
 */

/* One vector along the contraction: n <= CHUNK elements, whole segments but for the last. */
static void run_vector(const work *w, const uint32_t *r23, const uint32_t *rs, size_t n, float *v,
                       float *dx, parts out)
{
    const size_t length = group_length(w->spec->group), whole = n / length;

    if (w->mixes)
        mix(w, n, v, false);
    if (dx) {
        if (w->mixes)
            mix(w, n, dx, false);
        mask_groups(w, whole, length, v, dx);
        if (n % length)
            mask_groups(w, 1, n % length, v + whole * length, dx + whole * length);
        if (w->mixes)
            mix(w, n, dx, true);
        return;
    }
    round_groups(w, r23, rs, whole, length, v, out);
    if (n % length) {
        const parts last = {.grid = out.grid ? out.grid + whole * length : NULL,
                            .scales = out.scales ? out.scales + whole * out.step : NULL};

        round_groups(w, r23 ? r23 + whole * length : NULL, rs + whole, 1, n % length,
                     v + whole * length, last);
    }
}

static void draw(const work *w, uint64_t first, size_t n, uint32_t *r23)
{
    if (w->draws)
        w->kernel->draw(w->job->stream, w->spec->sr_bits, w->job->first + first, n, r23);
}

/* The bits of the scales of the groups that begin at element `first`, `step` elements apart. */
static void draw_scales(const work *w, uint64_t first, size_t step, size_t n, uint32_t *rs)
{
    nyb_stream stream = *w->job->stream;

    if (!w->rule->finish)
        return;
    stream.role = NYB_RNG_SCALE;
    stream.sample = (uint8_t)(16 * w->job->stream->role + w->job->stream->sample);
    for (size_t i = 0; i < n; i++)
        rs[i] = nyb_rng_u32(&stream, w->job->first + first + i * step) >> 9;
}

static size_t rows_of_task(const work *w)
{
    return nyb_max(RUN / w->view.cols, 1);
}

/* Rows that are whole segments follow each other as one vector; a task takes RUN elements of it,
 * else some rows. */
static void along_task(void *arg, size_t task, size_t worker)
{
    const work *w = arg;
    const size_t cols = w->view.cols, length = group_length(w->spec->group);
    const size_t across = (cols + length - 1) / length;
    const bool flat = cols % w->length == 0;
    const size_t n = flat ? w->view.rows * cols : cols, per = rows_of_task(w);
    const size_t begin = flat ? task * RUN : 0, end = flat ? nyb_min(begin + RUN, n) : cols;
    const size_t last = flat ? 1 : nyb_min((task + 1) * per, w->view.rows);
    uint32_t r23[CHUNK], rs[CHUNK / 16 + 1];
    float v[CHUNK], dx[CHUNK];

    (void)worker;
    for (size_t row = flat ? 0 : task * per; row < last; row++)
        for (size_t at = begin; at < end; at += CHUNK) {
            const size_t m = nyb_min(end - at, CHUNK), first = row * cols + at;
            const parts out = {
                .grid = w->job->grid ? w->job->grid + first : NULL,
                .scales = w->job->scales ? w->job->scales + row * across + at / length : NULL,
                .step = 1};

            memcpy(v, w->x + first, m * sizeof *v);
            if (w->dx)
                memcpy(dx, w->dx + first, m * sizeof *dx);
            draw(w, first, m, r23);
            draw_scales(w, first, length, m / length + 1, rs);
            run_vector(w, w->draws ? r23 : NULL, rs, m, v, w->dx ? dx : NULL, out);
            memcpy((w->dx ? w->dx : w->values) + first, w->dx ? dx : v, m * sizeof *v);
        }
}

/* ---- blocks down the rows ---------------------------------------------------------------------
 */

/* A group of each of LANES columns, n rows of LANES floats: scales per lane. */
static void round_lanes(const work *w, const uint32_t *r23, size_t n, size_t lanes, float *v,
                        nyb_group_scale *scales)
{
    const float pre = w->job->pre, level = w->level.scale * w->job->post;
    float absmax[LANES], inv[LANES] = {0}, scale[LANES] = {0};

    w->kernel->column_absmax(v, n, LANES, LANES, absmax);
    for (size_t j = 0; j < lanes; j++) {
        const nyb_group_stats stats = {.absmax = absmax[j], .n = n};

        w->rule->group(w->spec->format, &w->level, &stats, w->job->params, 0, &scales[j]);
        inv[j] = scales[j].inv * pre;
        scale[j] = scales[j].scale;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < LANES; j++)
            v[i * LANES + j] *= inv[j];
    w->kernel->round(w->spec->format, w->spec->rounding, v, r23, n * LANES, v);
    if (w->job->grid)
        return; /* the caller unscales */
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < LANES; j++)
            v[i * LANES + j] = v[i * LANES + j] * scale[j] * level;
}

/* A task is a band of rows, whole segments; LANES columns at a time. For rules that look at absmax
 * alone. */
static void lanes_task(void *arg, size_t task, size_t worker)
{
    const work *w = arg;
    const size_t cols = w->view.cols, length = group_length(w->spec->group);
    const size_t top = task * w->length, n = nyb_min(w->length, w->view.rows - top);
    const float level = w->level.scale * w->job->post;
    nyb_group_scale scales[LANES];
    uint32_t r23[CHUNK] = {0};
    float v[CHUNK] = {0};

    (void)worker;
    for (size_t col = 0; col < cols; col += LANES) {
        const size_t lanes = nyb_min(cols - col, LANES);

        for (size_t i = 0; i < n; i++) {
            const size_t first = (top + i) * cols + col;

            memcpy(v + i * LANES, w->x + first, lanes * sizeof *v);
            draw(w, first, lanes, r23 + i * LANES);
        }
        if (w->mixes)
            mix_lanes(w, n, v, false);
        for (size_t at = 0; at < n; at += length) {
            const size_t m = nyb_min(length, n - at);

            round_lanes(w, w->draws ? r23 + at * LANES : NULL, m, lanes, v + at * LANES, scales);
            if (w->job->scales)
                memcpy(w->job->scales + (top + at) / length * cols + col, scales,
                       lanes * sizeof *scales);
            for (size_t i = at; w->job->grid && i < at + m; i++)
                for (size_t j = 0; j < lanes; j++) {
                    w->job->grid[(top + i) * cols + col + j] = v[i * LANES + j];
                    v[i * LANES + j] = v[i * LANES + j] * scales[j].scale * level;
                }
        }
        for (size_t i = 0; i < n; i++)
            memcpy(w->values + (top + i) * cols + col, v + i * LANES, lanes * sizeof *v);
    }
}

/* A task is a band of rows, whole segments; LANES columns at a time are turned into vectors. For
 * all other rules. */
static void down_task(void *arg, size_t task, size_t worker)
{
    const work *w = arg;
    const size_t cols = w->view.cols, length = group_length(w->spec->group);
    const size_t top = task * w->length, n = nyb_min(w->length, w->view.rows - top);
    uint32_t r23[CHUNK], by_row[LANES], rs[CHUNK / 16 + 1];
    float v[CHUNK], dx[CHUNK], grid[CHUNK];

    (void)worker;
    for (size_t col = 0; col < cols; col += LANES) {
        const size_t lanes = nyb_min(cols - col, LANES);

        for (size_t i = 0; i < n; i++) {
            const size_t first = (top + i) * cols + col;

            draw(w, first, lanes, by_row);
            for (size_t j = 0; j < lanes; j++) {
                v[j * n + i] = w->x[first + j];
                if (w->dx)
                    dx[j * n + i] = w->dx[first + j];
                if (w->draws)
                    r23[j * n + i] = by_row[j];
            }
        }
        for (size_t j = 0; j < lanes; j++) {
            draw_scales(w, top * cols + col + j, length * cols, n / length + 1, rs);
            const parts out = {
                .grid = w->job->grid ? grid + j * n : NULL,
                .scales = w->job->scales ? w->job->scales + top / length * cols + col + j : NULL,
                .step = cols};
            run_vector(w, w->draws ? r23 + j * n : NULL, rs, n, v + j * n,
                       w->dx ? dx + j * n : NULL, out);
        }
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < lanes; j++) {
                const size_t at = (top + i) * cols + col + j;

                if (w->dx)
                    w->dx[at] = dx[j * n + i];
                else
                    w->values[at] = v[j * n + i];
                if (w->job->grid)
                    w->job->grid[at] = grid[j * n + i];
            }
    }
}

/* ---- tiles ------------------------------------------------------------------------------------
 */

static void tile_task(void *arg, size_t task, size_t worker)
{
    const work *w = arg;
    const size_t cols = w->view.cols, top = task * 16, n = nyb_min(16, w->view.rows - top);
    const size_t across = (cols + 15) / 16;
    uint32_t r23[256], none = 0;
    float v[256], grid[256];

    (void)worker;
    for (size_t col = 0; col < cols; col += 16) {
        const size_t m = nyb_min(cols - col, 16);

        for (size_t i = 0; i < n; i++) {
            memcpy(v + i * m, w->x + (top + i) * cols + col, m * sizeof *v);
            draw(w, (top + i) * cols + col, m, r23 + i * m);
        }
        const parts out = {.grid = grid,
                           .scales =
                               w->job->scales ? w->job->scales + task * across + col / 16 : NULL};
        round_groups(w, w->draws ? r23 : NULL, &none, 1, n * m, v, out);
        for (size_t i = 0; i < n; i++) {
            memcpy(w->values + (top + i) * cols + col, v + i * m, m * sizeof *v);
            if (w->job->grid)
                memcpy(w->job->grid + (top + i) * cols + col, grid + i * m, m * sizeof *grid);
        }
    }
}

/* ---- groups whose scale is known before rounding begins ---------------------------------------
 */

/* Row groups: one scale for `run` contiguous elements. */
static void row_scale_task(void *arg, size_t task, size_t worker)
{
    const work *w = arg;
    const float *x = w->x + task * w->view.run;
    const nyb_group_stats stats = stats_of(w->rule, x, w->view.run, 1);

    (void)worker;
    if (w->rule->search)
        w->rule->search(w->spec->format, w->kernel, x, w->view.run, &stats, &w->groups[task]);
    else
        w->rule->group(w->spec->format, &w->level, &stats, w->job->params, 0, &w->groups[task]);
}

static void channel_scale_task(void *arg, size_t task, size_t worker)
{
    const work *w = arg;
    const nyb_group_stats stats = stats_of(w->rule, w->x + task, w->view.rows, w->view.cols);

    (void)worker;
    w->rule->group(w->spec->format, &w->level, &stats, w->job->params, 0, &w->groups[task]);
}

/* Elements first .. first + n - 1 of the flat tensor; pieces end where the scale changes. */
static void flat_task(void *arg, size_t task, size_t worker)
{
    const work *w = arg;
    const size_t total = w->view.rows * w->view.cols, end = nyb_min((task + 1) * RUN, total);
    const size_t cols = w->view.cols;
    uint32_t r23[CHUNK];
    float v[CHUNK];

    (void)worker;
    for (size_t at = task * RUN, n; at < end; at += n) {
        const nyb_group_scale *s = &w->one;
        float *grid = w->job->grid ? w->job->grid + at : NULL;

        n = nyb_min(end - at, CHUNK);
        if (w->spec->group == NYB_GROUP_ROW) {
            s = &w->groups[at / w->view.run];
            n = nyb_min(n, w->view.run - at % w->view.run);
        }
        memcpy(v, w->x + at, n * sizeof *v);
        draw(w, at, n, r23);
        if (w->spec->group == NYB_GROUP_CHANNEL)
            for (size_t i = 0; i < n; i++)
                round_with(w, &w->groups[(at + i) % cols], w->draws ? r23 + i : NULL, 1, v + i,
                           grid ? grid + i : NULL);
        else
            round_with(w, s, w->draws ? r23 : NULL, n, v, grid);
        memcpy(w->values + at, v, n * sizeof *v);
    }
}

static void mask_flat_task(void *arg, size_t task, size_t worker)
{
    const work *w = arg;
    const size_t total = w->view.rows * w->view.cols, end = nyb_min((task + 1) * RUN, total);
    const float max = w->spec->format->max;

    (void)worker;
    for (size_t i = task * RUN; i < end; i++) {
        const nyb_group_scale *s = w->spec->group == NYB_GROUP_ROW ? &w->groups[i / w->view.run]
                                   : w->spec->group == NYB_GROUP_CHANNEL
                                       ? &w->groups[i % w->view.cols]
                                       : &w->one;

        if (!(fabsf((w->x[i] - s->offset) * s->inv * w->job->pre) <= max))
            w->dx[i] = 0.0f;
    }
}

/* ---- mixing a whole matrix beforehand ---------------------------------------------------------
 */

static void premix_task(void *arg, size_t task, size_t worker)
{
    const work *w = arg;
    const size_t cols = w->view.cols, length = w->length;
    float v[CHUNK] = {0};

    (void)worker;
    if (!w->view.down) {
        float *row = w->values + task * cols;

        if (row != w->x + task * cols)
            memcpy(row, w->x + task * cols, cols * sizeof *row);
        mix(w, cols, row, w->inverse);
        return;
    }
    const size_t top = task * length, n = nyb_min(length, w->view.rows - top);

    for (size_t col = 0; col < cols; col += LANES) {
        const size_t lanes = nyb_min(cols - col, LANES);

        for (size_t i = 0; i < n; i++)
            memcpy(v + i * LANES, w->x + (top + i) * cols + col, lanes * sizeof *v);
        mix_lanes(w, n, v, w->inverse);
        for (size_t i = 0; i < n; i++)
            memcpy(w->values + (top + i) * cols + col, v + i * LANES, lanes * sizeof *v);
    }
}

/* ---- the whole --------------------------------------------------------------------------------
 */

size_t nyb_round_groups(const nyb_spec *spec, const nyb_view *view)
{
    const size_t rows = view->rows, cols = view->cols, length = group_length(spec->group);

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
        return view->down ? (rows + length - 1) / length * cols
                          : rows * ((cols + length - 1) / length);
    case NYB_GROUP_TILE16:
        return (rows + 15) / 16 * ((cols + 15) / 16);
    }
    return 0;
}

static size_t own_scratch_bytes(const nyb_spec *spec, const nyb_view *view)
{
    const bool few = spec->group == NYB_GROUP_ROW || spec->group == NYB_GROUP_CHANNEL;

    return nyb_round_up((view->rows * view->cols / RUN + 1) * sizeof(nyb_group_stats), NYB_ALIGN) +
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

nyb_group_scale nyb_round_scale(const nyb_context *context, const nyb_round_job *job,
                                const float *x, const nyb_group_stats *stats)
{
    const nyb_scale_rule *rule = job->spec->scale;
    const nyb_format *format = job->spec->format;
    const nyb_level level = {.scale = 1.0f};
    const nyb_moments moments = {.absmax = stats->absmax,
                                 .sum_abs = stats->sum_abs,
                                 .sum_sq = stats->sum_sq,
                                 .n = stats->n,
                                 .n_nonzero = stats->n_nonzero};
    float fresh[NYB_SCALE_STATE_MAX] = {0};
    nyb_group_scale scale;

    if (job->clip > 0.0f)
        return of_clip(format, job->clip);
    if (rule->choose)
        return of_clip(format, rule->choose(format, &moments, job->state ? job->state : fresh));
    if (rule->search)
        rule->search(format, nyb_round_kernel_choose(context->cpu), x,
                     job->view.rows * job->view.cols, stats, &scale);
    else
        rule->group(format, &level, stats, job->params, 0, &scale);
    return scale;
}

static work begin(const nyb_context *context, const nyb_round_job *job, const float *x,
                  float *values, void *scratch)
{
    work w = {.job = job,
              .spec = job->spec,
              .rule = job->spec->scale,
              .kernel = nyb_round_kernel_choose(context->cpu),
              .mixer = nyb_mix_kernel_choose(context->cpu),
              .view = job->view,
              .x = x,
              .values = values,
              .level = {.scale = 1.0f},
              .scratch = scratch};

    w.groups = (nyb_group_scale *)((uint8_t *)scratch +
                                   nyb_round_up((job->view.rows * job->view.cols / RUN + 1) *
                                                    sizeof(nyb_group_stats),
                                                NYB_ALIGN));
    w.draws = nyb_rounding_draws(job->spec->rounding);
    w.mixes = nyb_mix_length(job->spec->mix) > 0;
    w.length = nyb_max(group_length(job->spec->group), nyb_mix_length(job->spec->mix));
    return w;
}

static void mix_matrix(const nyb_context *context, work *w)
{
    const size_t rows = w->view.rows;

    nyb_pool_run(context->pool, premix_task, w,
                 w->view.down ? rows / w->length + (rows % w->length != 0) : rows);
}

/* What precedes the elements: mix, tensor statistics, level, and scales of few large groups.
 * in_place: the mixed matrix may be written to values. */
static void prepare(const nyb_context *context, work *w, nyb_group_stats *tensor, bool in_place)
{
    const bool blocks = has_blocks(w->spec->group) || w->spec->group == NYB_GROUP_TILE16;
    const bool wants_tensor = w->rule->level || !blocks || tensor;
    nyb_group_stats stats = {0};

    w->signs = nyb_mix_signs(w->spec->mix, w->job->signs, w->signs_of);
    if (w->mixes && in_place && (w->rule->level || !blocks)) {
        mix_matrix(context, w);
        w->x = w->values;
        w->mixes = false;
    }
    if (wants_tensor)
        stats = nyb_round_stats(context, w->x, w->view.rows * w->view.cols, w->scratch);
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
    if (tensor)
        *tensor = stats;
}

static void run_elements(const nyb_context *context, work *w)
{
    const size_t rows = w->view.rows, cols = w->view.cols, n = rows * cols;

    if (has_blocks(w->spec->group) && w->view.down) {
        const bool simple = w->rule->absmax_only && w->rule->n_trials < 2 && !w->rule->finish &&
                            !w->rule->affine && !w->dx;

        nyb_pool_run(context->pool, simple ? lanes_task : down_task, w,
                     rows / w->length + (rows % w->length != 0));
    } else if (has_blocks(w->spec->group)) {
        const size_t per = cols % w->length == 0 ? RUN : rows_of_task(w);
        const size_t count = cols % w->length == 0 ? n : rows;

        nyb_pool_run(context->pool, along_task, w, count / per + (count % per != 0));
    } else if (w->spec->group == NYB_GROUP_TILE16 && !w->dx) {
        nyb_pool_run(context->pool, tile_task, w, rows / 16 + (rows % 16 != 0));
    } else {
        nyb_pool_run(context->pool, w->dx ? mask_flat_task : flat_task, w,
                     n / RUN + (n % RUN != 0));
    }
}

/* Samples against each other; pre and post are those of a linear transform. */
static void run_householder(const nyb_context *context, const nyb_round_job *job, const float *x,
                            float *values, nyb_group_stats *tensor, void *scratch)
{
    const size_t n = job->view.rows * job->view.cols, samples = n / job->view.run;
    const float factor = job->pre * job->post;

    if (tensor)
        *tensor = nyb_round_stats(context, x, n, scratch);
    nyb_householder_round(context, job->spec, job->stream, job->first, x, samples, job->view.run,
                          values, scratch);
    for (size_t i = 0; factor != 1.0f && i < n; i++)
        values[i] *= factor;
}

void nyb_round_run(const nyb_context *context, const nyb_round_job *job, const float *x,
                   float *values, nyb_group_stats *tensor, void *scratch)
{
    work w = begin(context, job, x, values, scratch);

    if (job->view.rows * job->view.cols == 0)
        return;
    if (job->spec->mix == NYB_MIX_HOUSEHOLDER) {
        run_householder(context, job, x, values, tensor, scratch);
        return;
    }
    prepare(context, &w, tensor, true);
    run_elements(context, &w);
}

void nyb_round_mask(const nyb_context *context, const nyb_round_job *job, const float *x, float *dx,
                    void *scratch)
{
    work w = begin(context, job, x, NULL, scratch);

    if (job->view.rows * job->view.cols == 0)
        return;
    w.dx = dx;
    prepare(context, &w, NULL, false);
    run_elements(context, &w);
}

void nyb_round_unmix(const nyb_context *context, const nyb_round_job *job, float *values)
{
    work w = {.job = job,
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
    mix_matrix(context, &w);
}
