/* Rounding of blocks along the columns, of blocks down the rows, and of tiles. */
#include "quant/round_work.h"

#include <math.h>

/* ---- one buffer of groups ---------------------------------------------------------------------
 */

/* The scales of n_groups groups of `length`, then their values. rs: 23 random bits per group. */
static void round_groups(const nyb_round_work *w, const uint32_t *r23, const uint32_t *rs,
                         size_t n_groups, size_t length, float *v, nyb_round_parts out)
{
    nyb_group_scale scales[NYB_ROUND_CHUNK / 16 + 1];
    const float pre = w->job->pre, level = w->level.scale * w->job->post;
    float t[NYB_ROUND_CHUNK];

    nyb_round_small_groups(w, v, n_groups, length, scales);
    for (size_t g = 0; g < n_groups; g++) {
        float *part = v + g * length;

        if (scales[g].offset != 0.0f)
            for (size_t i = 0; i < length; i++)
                part[i] -= scales[g].offset;
        w->kernel->scale(part, length, 0.0f, scales[g].inv * pre, t + g * length);
    }
    if (out.toward) {
        float u[NYB_ROUND_CHUNK];

        for (size_t g = 0; g < n_groups; g++)
            w->kernel->scale(out.toward + g * length, length, scales[g].offset, scales[g].inv * pre,
                             u + g * length);
        nyb_round_toward(w->kernel, w->spec->format, t, u, n_groups * length, v);
    } else {
        w->kernel->round(w->spec->format, w->spec->rounding, t, r23, n_groups * length, v);
    }
    if (w->rule->finish) /* for each transform; a group of several short ones is one */
        for (size_t g = 0, together; g < n_groups; g += together) {
            together = nyb_max(nyb_mix_length(w->spec->mix) / length, 1);
            while (together > n_groups - g) /* as nyb_round_mix cuts a tail */
                together /= 2;
            w->rule->finish(w->spec->format, &w->level, t + g * length, v + g * length, length,
                            together, rs + g, scales + g);
        }
    if (out.grid)
        memcpy(out.grid, v, n_groups * length * sizeof *v);
    for (size_t g = 0; out.scales && g < n_groups; g++)
        out.scales[g * out.step] = scales[g];
    for (size_t g = 0; !w->grid_only && g < n_groups; g++)
        w->kernel->unscale(v + g * length, length, scales[g].scale, level, scales[g].offset,
                           v + g * length);
}

/* dx = 0 where x was clipped; both mixed. */
static void mask_groups(const nyb_round_work *w, size_t n_groups, size_t length, const float *x,
                        float *dx)
{
    const nyb_round_range range = nyb_round_range_of(w);

    for (size_t g = 0; g < n_groups; g++) {
        const nyb_group_scale s = nyb_round_small_group(w, x + g * length, length);
        const float inv = s.inv * w->job->pre;

        for (size_t i = g * length; i < (g + 1) * length; i++)
            if (!nyb_round_keeps(&range, (x[i] - s.offset) * inv))
                dx[i] = 0.0f;
    }
}

/* Segments of the mix's length, the tail in powers of two. */
void nyb_round_mix(const nyb_round_work *w, size_t n, float *v, bool inverse)
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

/* The same of `cols` vectors side by side. */
void nyb_round_mix_columns(const nyb_round_work *w, size_t n, float *v, size_t cols, bool inverse)
{
    const size_t length = nyb_mix_length(w->spec->mix);
    size_t at = 0;

    for (size_t size = length; size > 1 && at < n; size /= 2)
        for (; n - at >= size; at += size)
            w->mixer->across(v + at * cols, size, cols, cols, w->signs, inverse);
}

/* ---- blocks along the columns -----------------------------------------------------------------
 */

void nyb_round_vector(const nyb_round_work *w, const uint32_t *r23, const uint32_t *rs, size_t n,
                      float *v, float *dx, nyb_round_parts out)
{
    const size_t length = nyb_round_group_length(w->spec->group), whole = n / length;

    if (w->mixes)
        nyb_round_mix(w, n, v, false);
    if (dx) {
        if (w->mixes && !w->job->mixed)
            nyb_round_mix(w, n, dx, false);
        mask_groups(w, whole, length, v, dx);
        if (n % length)
            mask_groups(w, 1, n % length, v + whole * length, dx + whole * length);
        if (w->mixes)
            nyb_round_mix(w, n, dx, true);
        return;
    }
    round_groups(w, r23, rs, whole, length, v, out);
    if (n % length) {
        const nyb_round_parts last = {.toward = out.toward ? out.toward + whole * length : NULL,
                                      .grid = out.grid ? out.grid + whole * length : NULL,
                                      .scales = out.scales ? out.scales + whole * out.step : NULL};

        round_groups(w, r23 ? r23 + whole * length : NULL, rs + whole, 1, n % length,
                     v + whole * length, last);
    }
}

void nyb_round_draw(const nyb_round_work *w, uint64_t first, size_t n, uint32_t *r23)
{
    if (w->draws)
        w->kernel->draw(w->job->stream, w->spec->sr_bits, w->job->first + first, n, r23);
}

void nyb_round_draw_scales(const nyb_round_work *w, uint64_t first, size_t step, size_t n,
                           uint32_t *rs)
{
    nyb_stream stream = *w->job->stream;

    if (!w->rule->finish)
        return;
    stream.role = NYB_RNG_SCALE;
    stream.sample = (uint8_t)(16 * w->job->stream->role + w->job->stream->sample);
    for (size_t i = 0; i < n; i++) /* each from a block of its own */
        w->kernel->draw(&stream, 32, w->job->first + first + i * step, 1, &rs[i]);
}

size_t nyb_round_rows_of_task(const nyb_round_work *w)
{
    return nyb_max(NYB_ROUND_RUN / w->view.cols, 1);
}

/* Rows that are whole segments follow each other as one vector; a task takes NYB_ROUND_RUN elements
 * of it, else some rows. */
void nyb_round_along_task(void *arg, size_t task, size_t worker)
{
    const nyb_round_work *w = arg;
    const size_t cols = w->view.cols, length = nyb_round_group_length(w->spec->group);
    const size_t across = nyb_div_up(cols, length);
    const bool flat = cols % w->length == 0;
    const size_t n = flat ? w->view.rows * cols : cols, per = nyb_round_rows_of_task(w);
    const size_t begin = flat ? task * NYB_ROUND_RUN : 0,
                 end = flat ? nyb_min(begin + NYB_ROUND_RUN, n) : cols;
    const size_t last = flat ? 1 : nyb_min((task + 1) * per, w->view.rows);
    uint32_t r23[NYB_ROUND_CHUNK], rs[NYB_ROUND_CHUNK / 16 + 1];
    float v[NYB_ROUND_CHUNK], dx[NYB_ROUND_CHUNK];

    (void)worker;
    for (size_t row = flat ? 0 : task * per; row < last; row++)
        for (size_t at = begin; at < end; at += NYB_ROUND_CHUNK) {
            const size_t m = nyb_min(end - at, NYB_ROUND_CHUNK), first = row * cols + at;
            const nyb_round_parts out = {
                .toward = w->job->toward ? w->job->toward + first : NULL,
                .grid = w->job->grid ? w->job->grid + first : NULL,
                .scales = w->job->scales ? w->job->scales + row * across + at / length : NULL,
                .step = 1};

            memcpy(v, w->x + first, m * sizeof *v);
            if (w->dx)
                memcpy(dx, w->dx + first, m * sizeof *dx);
            nyb_round_draw(w, first, m, r23);
            nyb_round_draw_scales(w, first, length, m / length + 1, rs);
            nyb_round_vector(w, w->draws ? r23 : NULL, rs, m, v, w->dx ? dx : NULL, out);
            memcpy((w->dx ? w->dx : w->values) + first, w->dx ? dx : v, m * sizeof *v);
        }
}

/* ---- blocks down the rows ---------------------------------------------------------------------
 */

void nyb_round_lanes(const nyb_round_work *w, const uint32_t *r23, size_t n, size_t lanes, float *v,
                     nyb_group_scale *scales)
{
    const float pre = w->job->pre, level = w->level.scale * w->job->post;
    float absmax[NYB_ROUND_LANES], inv[NYB_ROUND_LANES] = {0}, scale[NYB_ROUND_LANES] = {0};

    w->kernel->column_absmax(v, n, NYB_ROUND_LANES, NYB_ROUND_LANES, absmax);
    for (size_t j = 0; j < lanes; j++) {
        const nyb_group_stats stats = {.absmax = absmax[j], .n = n};

        w->rule->group(w->spec->format, &w->level, &stats, w->job->params, 0, &scales[j]);
        inv[j] = scales[j].inv * pre;
        scale[j] = scales[j].scale;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < NYB_ROUND_LANES; j++)
            v[i * NYB_ROUND_LANES + j] *= inv[j];
    w->kernel->round(w->spec->format, w->spec->rounding, v, r23, n * NYB_ROUND_LANES, v);
    if (w->grid_only || w->job->grid)
        return; /* the caller unscales, or wants none */
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < NYB_ROUND_LANES; j++)
            v[i * NYB_ROUND_LANES + j] = v[i * NYB_ROUND_LANES + j] * scale[j] * level;
}

/* A task is a band of rows, whole segments; NYB_ROUND_LANES columns at a time. For rules that look
 * at absmax alone. */
void nyb_round_lanes_task(void *arg, size_t task, size_t worker)
{
    const nyb_round_work *w = arg;
    const size_t cols = w->view.cols, length = nyb_round_group_length(w->spec->group);
    const size_t top = task * w->length, n = nyb_min(w->length, w->view.rows - top);
    const float level = w->level.scale * w->job->post;
    nyb_group_scale scales[NYB_ROUND_LANES];
    uint32_t r23[NYB_ROUND_CHUNK] = {0};
    float v[NYB_ROUND_CHUNK] = {0};

    (void)worker;
    for (size_t col = 0; col < cols; col += NYB_ROUND_LANES) {
        const size_t lanes = nyb_min(cols - col, NYB_ROUND_LANES);

        for (size_t i = 0; i < n; i++) {
            const size_t first = (top + i) * cols + col;

            memcpy(v + i * NYB_ROUND_LANES, w->x + first, lanes * sizeof *v);
            nyb_round_draw(w, first, lanes, r23 + i * NYB_ROUND_LANES);
        }
        if (w->mixes)
            nyb_round_mix_columns(w, n, v, NYB_ROUND_LANES, false);
        for (size_t at = 0; at < n; at += length) {
            const size_t m = nyb_min(length, n - at);

            nyb_round_lanes(w, w->draws ? r23 + at * NYB_ROUND_LANES : NULL, m, lanes,
                            v + at * NYB_ROUND_LANES, scales);
            if (w->job->scales)
                memcpy(w->job->scales + (top + at) / length * cols + col, scales,
                       lanes * sizeof *scales);
            for (size_t i = at; w->job->grid && i < at + m; i++)
                for (size_t j = 0; j < lanes; j++) {
                    w->job->grid[(top + i) * cols + col + j] = v[i * NYB_ROUND_LANES + j];
                    v[i * NYB_ROUND_LANES + j] =
                        v[i * NYB_ROUND_LANES + j] * scales[j].scale * level;
                }
        }
        for (size_t i = 0; i < n; i++)
            memcpy(w->values + (top + i) * cols + col, v + i * NYB_ROUND_LANES, lanes * sizeof *v);
    }
}

/* A task is a band of rows, whole segments; NYB_ROUND_LANES columns at a time are turned into
 * vectors. For all other rules. */
void nyb_round_down_task(void *arg, size_t task, size_t worker)
{
    const nyb_round_work *w = arg;
    const size_t cols = w->view.cols, length = nyb_round_group_length(w->spec->group);
    const size_t top = task * w->length, n = nyb_min(w->length, w->view.rows - top);
    uint32_t r23[NYB_ROUND_CHUNK], by_row[NYB_ROUND_LANES], rs[NYB_ROUND_CHUNK / 16 + 1];
    float v[NYB_ROUND_CHUNK], dx[NYB_ROUND_CHUNK], grid[NYB_ROUND_CHUNK];

    (void)worker;
    for (size_t col = 0; col < cols; col += NYB_ROUND_LANES) {
        const size_t lanes = nyb_min(cols - col, NYB_ROUND_LANES);

        for (size_t i = 0; i < n; i++) {
            const size_t first = (top + i) * cols + col;

            nyb_round_draw(w, first, lanes, by_row);
            for (size_t j = 0; j < lanes; j++) {
                v[j * n + i] = w->x[first + j];
                if (w->dx)
                    dx[j * n + i] = w->dx[first + j];
                if (w->draws)
                    r23[j * n + i] = by_row[j];
            }
        }
        for (size_t j = 0; j < lanes; j++) {
            nyb_round_draw_scales(w, top * cols + col + j, length * cols, n / length + 1, rs);
            const nyb_round_parts out = {
                .grid = w->job->grid ? grid + j * n : NULL,
                .scales = w->job->scales ? w->job->scales + top / length * cols + col + j : NULL,
                .step = cols};
            nyb_round_vector(w, w->draws ? r23 + j * n : NULL, rs, n, v + j * n,
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

size_t nyb_round_tap(const nyb_view *view)
{
    return view->tap ? view->tap : view->cols;
}

size_t nyb_round_tiles_across(const nyb_view *view)
{
    const size_t tap = nyb_round_tap(view);

    return tap ? view->cols / tap * ((tap + 15) / 16) : 0;
}

/* The m columns from `col` on of the n rows from `top` on, to v. */
void nyb_round_tile(const nyb_round_work *w, size_t top, size_t col, size_t n, size_t m,
                    float v[256], nyb_round_parts out)
{
    const size_t cols = w->view.cols;
    uint32_t r23[256], none = 0;
    float toward[256];

    out.toward = w->job->toward ? toward : NULL;
    for (size_t i = 0; i < n; i++) {
        memcpy(v + i * m, w->x + (top + i) * cols + col, m * sizeof *v);
        if (out.toward)
            memcpy(toward + i * m, w->job->toward + (top + i) * cols + col, m * sizeof *toward);
        nyb_round_draw(w, (top + i) * cols + col, m, r23 + i * m);
    }
    round_groups(w, w->draws ? r23 : NULL, &none, 1, n * m, v, out);
}

void nyb_round_tile_task(void *arg, size_t task, size_t worker)
{
    const nyb_round_work *w = arg;
    const size_t cols = w->view.cols, top = task * 16, n = nyb_min(16, w->view.rows - top);
    const size_t tap = nyb_round_tap(&w->view);
    nyb_group_scale *scales =
        w->job->scales ? w->job->scales + task * nyb_round_tiles_across(&w->view) : NULL;
    float v[256], grid[256];

    (void)worker;
    for (size_t col = 0, m; col < cols; col += m) {
        m = nyb_min(tap - col % tap, 16);
        nyb_round_tile(w, top, col, n, m, v, (nyb_round_parts){.grid = grid, .scales = scales});
        scales = scales ? scales + 1 : NULL;
        for (size_t i = 0; i < n; i++) {
            memcpy(w->values + (top + i) * cols + col, v + i * m, m * sizeof *v);
            if (w->job->grid)
                memcpy(w->job->grid + (top + i) * cols + col, grid + i * m, m * sizeof *grid);
        }
    }
}
