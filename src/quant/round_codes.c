/* Rounding of blocks straight to packed codes: values exist only in buffers of a task. */
#include "quant/round_codes.h"

#include <assert.h>
#include <math.h>

#define BAND  NYB_BLOCK_CODES /* rows of a task where blocks run down them */
#define WIDE  128             /* columns of a band whose random bits are drawn together */
#define BANDS 8               /* groups of 16 in a band */

/* Where a factor times that of a plan might leave the normal numbers. */
#define LARGEST_FACTOR 0x1p120f

bool nyb_codes_scales(const nyb_round_work *r, float factor, const float absmax[16],
                      float scale[16], float inv[16])
{
    uint32_t top = 0;
    float most = 0.0f;

    r->rule->blocks(r->spec->format, &r->level, absmax, scale, inv);
    for (size_t j = 0; j < 16; j++) {
        inv[j] *= r->job->pre;
        top = nyb_bits_of(absmax[j]) > top ? nyb_bits_of(absmax[j]) : top;
        most = inv[j] > most ? inv[j] : most;
        inv[j] *= factor;
    }
    return top < 0x7f800000 && most <= LARGEST_FACTOR;
}

/* ---- down -------------------------------------------------------------------------------------
 */

/* A band's n rows of at most 16 columns, from row `top` and column `col` on; under one tap. */
typedef struct tile {
    const nyb_round_work *round;
    size_t tap, top, n, col, lanes;
    const float *rows[BAND]; /* whole ones */
    uint32_t drawn[BAND * WIDE];
    const uint32_t *r23; /* of this tile's elements, ld apart */
    size_t ld;
    float v[BAND][NYB_ROUND_LANES];
    float scales[BANDS][NYB_ROUND_LANES]; /* of group, lane */
} tile;

static void find_rows(const nyb_codes_work *w, tile *t)
{
    const nyb_window *c = w->window;
    const size_t cols = w->round.view.cols;

    for (size_t i = t->n; i < BAND; i++)
        t->rows[i] = w->zeros;
    if (!c) {
        for (size_t i = 0; i < t->n; i++)
            t->rows[i] = w->round.x + (t->top + i) * cols;
        return;
    }
    const size_t di = t->tap / c->s - c->pad, dj = t->tap % c->s - c->pad; /* may wrap below 0 */
    size_t ow = t->top % c->ow, oh = t->top / c->ow % c->oh, image = t->top / c->ow / c->oh;

    for (size_t i = 0; i < t->n; i++) {
        const size_t y = oh * c->stride + di, x = ow * c->stride + dj;

        t->rows[i] =
            y < c->h && x < c->w ? w->round.x + ((image * c->h + y) * c->w + x) * cols : w->zeros;
        if (++ow == c->ow) {
            ow = 0;
            if (++oh == c->oh) {
                oh = 0;
                image++;
            }
        }
    }
}

/* Random bits of this tile and those right of it, up to WIDE columns. */
static void draw_tile(const nyb_codes_work *w, tile *t)
{
    const size_t cols = w->round.view.cols, from = t->col / WIDE * WIDE;

    if (!w->round.draws)
        return;
    if (t->col == from || t->ld == 0) {
        t->ld = nyb_min(cols - from, WIDE);
        if (cols == t->ld)
            nyb_round_draw(t->round, t->top * cols, t->n * cols, t->drawn);
        for (size_t i = 0; cols != t->ld && i < t->n; i++)
            nyb_round_draw(t->round, (t->top + i) * cols + from, t->ld, t->drawn + i * t->ld);
    }
    t->r23 = t->drawn + (t->col - from);
}

static void load_tile(tile *t)
{
    if (t->lanes == NYB_ROUND_LANES) /* without a call */
        for (size_t i = 0; i < t->n; i++)
            memcpy(t->v[i], t->rows[i] + t->col, sizeof t->v[i]);
    else
        for (size_t i = 0; i < t->n; i++)
            memcpy(t->v[i], t->rows[i] + t->col, t->lanes * sizeof *t->v[i]);
}

static void mix_tile(tile *t)
{
    const nyb_round_work *r = t->round;

    for (size_t at = 0; r->mixes && at < t->n; at += r->length)
        nyb_round_mix_columns(r, nyb_min(r->length, t->n - at), t->v[at], NYB_ROUND_LANES, false);
}

static void point_at_values(const tile *t, const float *rows[BAND])
{
    for (size_t i = 0; i < BAND; i++)
        rows[i] = t->v[i];
}

/* All columns together: for rules that look at absmax alone. */
static void round_tile(const nyb_codes_work *w, tile *t)
{
    const nyb_round_work *r = t->round;
    const size_t length = w->out->group;
    nyb_group_scale scales[NYB_ROUND_LANES];
    uint32_t r23[BAND][NYB_ROUND_LANES] = {{0}};

    for (size_t i = 0; r->draws && i < t->n; i++)
        memcpy(r23[i], t->r23 + i * t->ld, t->lanes * sizeof *r23[i]);
    for (size_t at = 0; at < t->n; at += length) {
        nyb_round_lanes(r, r->draws ? r23[at] : NULL, nyb_min(length, t->n - at), t->lanes,
                        t->v[at], scales);
        for (size_t j = 0; j < t->lanes; j++)
            t->scales[at / length][j] = scales[j].scale;
    }
}

/* One column after the other. */
static void round_columns(const nyb_codes_work *w, tile *t)
{
    nyb_round_work r = *t->round;
    const size_t length = w->out->group, cols = r.view.cols;
    nyb_group_scale scales[BANDS];
    uint32_t r23[BAND], rs[BAND / 16 + 1];
    float v[BAND];

    r.mixes = false;
    for (size_t at = 0; at < t->n; at += r.length) {
        const size_t n = nyb_min(r.length, t->n - at);

        for (size_t j = 0; j < t->lanes; j++) {
            for (size_t i = 0; i < n; i++) {
                v[i] = t->v[at + i][j];
                r23[i] = r.draws ? t->r23[(at + i) * t->ld + j] : 0;
            }
            nyb_round_draw_scales(&r, (t->top + at) * cols + t->col + j, length * cols,
                                  n / length + 1, rs);
            nyb_round_vector(&r, r.draws ? r23 : NULL, rs, n, v, NULL,
                             (nyb_round_parts){.scales = scales, .step = 1});
            for (size_t g = 0; g < nyb_div_up(n, length); g++)
                t->scales[at / length + g][j] = scales[g].scale;
            for (size_t i = 0; i < n; i++)
                t->v[at + i][j] = v[i];
        }
    }
}

static size_t first_row(const nyb_codes_work *w, const tile *t)
{
    return w->window ? t->tap * w->channels + t->col
                     : t->col % w->channels * w->taps + t->col / w->channels;
}

static void store_scales(const nyb_codes_work *w, const tile *t)
{
    const size_t length = w->out->group, groups = w->out->packed.pitch / length;
    const size_t end = nyb_min((t->top + BAND) / length, groups);

    for (size_t j = 0; j < t->lanes; j++) {
        float *scales = w->out->scales + (first_row(w, t) + j * w->taps) * groups;

        for (size_t g = t->top / length; g < end; g++) {
            const size_t at = g * length - t->top;

            scales[g] = at < t->n ? t->scales[at / length][j] : 0.0f;
        }
    }
}

static void store_tile(const nyb_codes_work *w, const tile *t)
{
    const size_t first = first_row(w, t), cols = w->out->packed.cols;

    store_scales(w, t);
    if (!w->turned) {
        nyb_grouped_encode_columns(w->cpu, w->out, first, w->taps, t->lanes, t->top, t->v);
        return;
    }
    for (size_t j = 0; j < t->lanes; j++)
        for (size_t i = 0; i < t->n; i++)
            w->turned[(first + j * w->taps) * cols + t->top + i] = t->v[i][j];
}

/* False if a group or a factor needs care. */
static bool fast_tile(const nyb_codes_work *w, tile *t)
{
    const nyb_round_work *r = t->round;
    const size_t length = w->out->group, first = first_row(w, t);
    const float *mixed[BAND], *const *rows = t->rows;
    _Alignas(64) float absmax[16], inv[BANDS][16] = {{0}};
    _Alignas(64) uint8_t codes[16][64];
    size_t col = t->col;

    if (r->mixes) {
        point_at_values(t, mixed);
        rows = mixed;
        col = 0;
    }
    for (size_t at = 0; at < t->n; at += length) {
        w->kernel->rows_absmax(rows + at, nyb_min(length, t->n - at), col, t->lanes, absmax);
        if (!nyb_codes_scales(r, w->plan.factor, absmax, t->scales[at / length], inv[at / length]))
            return false;
    }
    w->kernel->columns(&w->plan, rows, col, t->lanes, (const float(*)[16])inv, length,
                       r->draws ? t->r23 : t->drawn, t->ld, codes);
    store_scales(w, t);
    for (size_t j = 0; j < t->lanes; j++)
        memcpy(w->out->packed.codes + ((first + j * w->taps) * w->out->packed.pitch + t->top) / 2,
               codes[j], sizeof *codes);
    return true;
}

static void run_tile(const nyb_codes_work *w, tile *t)
{
    draw_tile(w, t);
    if (t->round->mixes || !w->kernel) {
        load_tile(t);
        mix_tile(t);
    }
    if (w->kernel && fast_tile(w, t))
        return;
    if (!t->round->mixes && w->kernel)
        load_tile(t);
    if (nyb_round_has_lanes(t->round))
        round_tile(w, t);
    else
        round_columns(w, t);
    store_tile(w, t);
}

static void band_task(void *arg, size_t task, size_t worker)
{
    const nyb_codes_work *w = arg;
    nyb_round_work r = w->round;
    nyb_round_job job = *w->round.job;
    tile t;

    (void)worker;
    r.job = &job;
    t.round = &r;
    t.top = task * BAND;
    t.n = nyb_min(BAND, r.view.rows - t.top);
    t.ld = 0;
    memset(t.v, 0, sizeof t.v);
    memset(t.drawn, 0, r.draws && t.n < BAND ? sizeof t.drawn : 0);
    for (size_t tap = 0; tap < w->n_taps; tap++) {
        t.tap = w->tap + tap;
        job.first = w->round.job->first + t.tap * r.view.rows * r.view.cols;
        r.level = w->levels[tap];
        find_rows(w, &t);
        for (t.col = 0; t.col < r.view.cols; t.col += t.lanes) {
            t.lanes = nyb_min(w->channels - t.col % w->channels, NYB_ROUND_LANES);
            t.lanes = nyb_min(t.lanes, WIDE - t.col % WIDE);
            run_tile(w, &t);
        }
    }
}

/* ---- tiles ------------------------------------------------------------------------------------
 */

/* A band of 16 rows: scales to the rows of out, grid values to w->turned. */
static void tiles_task(void *arg, size_t task, size_t worker)
{
    const nyb_codes_work *w = arg;
    const nyb_round_work *r = &w->round;
    const size_t cols = r->view.cols, top = task * 16, n = nyb_min(16, r->view.rows - top);
    const size_t tap = nyb_round_tap(&r->view), groups = w->out->packed.pitch / 16;
    nyb_group_scale scale;
    float v[256];

    (void)worker;
    for (size_t col = 0, m; col < cols; col += m) {
        m = nyb_min(tap - col % tap, 16);
        nyb_round_tile(r, top, col, n, m, v, (nyb_round_parts){.scales = &scale});
        for (size_t i = 0; i < n; i++) {
            const size_t row = ((top + i) * cols + col) / tap;

            w->out->scales[row * groups + col % tap / 16] = scale.scale;
            memcpy(w->turned + (top + i) * cols + col, v + i * m, m * sizeof *v);
        }
    }
}

/* ---- levels -----------------------------------------------------------------------------------
 */

/* The largest finite magnitude of n rows' elements from col on, at most 16, as bits. */
static uint32_t rows_absmax(const nyb_codes_work *w, const float *const *rows, size_t n, size_t col,
                            size_t lanes)
{
    uint32_t most = 0;
    float absmax[16];

    if (w->kernel) {
        w->kernel->rows_absmax(rows, n, col, lanes, absmax);
        for (size_t j = 0; j < 16; j++)
            most = nyb_bits_of(absmax[j]) > most ? nyb_bits_of(absmax[j]) : most;
        if (most < 0x7f800000)
            return most;
        most = 0;
    }
    for (size_t i = 0; i < n; i++) {
        w->round.kernel->block_stats(rows[i] + col, 1, lanes, lanes, absmax);
        most = nyb_bits_of(*absmax) > most ? nyb_bits_of(*absmax) : most;
    }
    return most;
}

/* Of a band under its tap, mixed if it will be. */
static float band_absmax(const nyb_codes_work *w, tile *t)
{
    const size_t cols = w->round.view.cols;
    const bool mixes = w->round.mixes;
    const float *mixed[BAND];
    uint32_t most = 0;

    find_rows(w, t);
    point_at_values(t, mixed);
    for (t->col = 0; t->col < cols; t->col += t->lanes) {
        uint32_t some;

        t->lanes = nyb_min(cols - t->col, NYB_ROUND_LANES);
        if (mixes) {
            load_tile(t);
            mix_tile(t);
        }
        some = rows_absmax(w, mixes ? mixed : t->rows, t->n, mixes ? 0 : t->col, t->lanes);
        most = some > most ? some : most;
    }
    return nyb_float_of(most);
}

/* Of a band under all taps of the pass, one after the other: they see much the same rows. */
static void absmax_task(void *arg, size_t task, size_t worker)
{
    const nyb_codes_work *w = arg;
    const size_t cols = w->round.view.cols, n_bands = nyb_div_up(w->round.view.rows, BAND);
    tile t;

    (void)worker;
    t.round = &w->round;
    t.top = task * BAND;
    t.n = nyb_min(BAND, w->round.view.rows - t.top);
    if (!w->window && !w->round.mixes) {
        w->round.kernel->block_stats(w->round.x + t.top * cols, 1, t.n * cols, t.n * cols,
                                     &w->absmax[task]);
        return;
    }
    memset(t.v, 0, sizeof t.v);
    for (size_t tap = 0; tap < w->n_taps; tap++) {
        t.tap = w->tap + tap;
        w->absmax[tap * n_bands + task] = band_absmax(w, &t);
    }
}

static void find_levels(const nyb_context *context, nyb_codes_work *w)
{
    const nyb_scale_rule *rule = w->round.rule;
    const size_t n_bands = nyb_div_up(w->round.view.rows, BAND);

    for (size_t tap = 0; tap < w->n_taps; tap++)
        w->levels[tap] = (nyb_level){.scale = 1.0f};
    if (!rule->level)
        return;
    nyb_pool_run(context->pool, absmax_task, w, n_bands);
    for (size_t tap = 0; tap < w->n_taps; tap++) {
        nyb_group_stats stats = {.n = w->round.view.rows * w->round.view.cols};

        for (size_t i = 0; i < n_bands; i++)
            stats.absmax = fmaxf(stats.absmax, w->absmax[tap * n_bands + i]);
        rule->level(w->round.spec->format, &stats, &w->levels[tap]);
    }
}

/* ---- the whole --------------------------------------------------------------------------------
 */

#define TAPS_AT_ONCE 64

/* A matrix that is mixed as a whole before its level is known. Where blocks run down the rows,
 * bands are mixed twice instead, for the level and to be rounded. */
static bool needs_matrix(const nyb_spec *spec, const nyb_view *view)
{
    return spec->scale->level && nyb_mix_length(spec->mix) > 0 &&
           (!view->down || spec->group == NYB_GROUP_TILE16);
}

/* Grid values before they are encoded: of tiles, and of rows that begin inside a block of codes. */
static bool needs_turned(const nyb_spec *spec, const nyb_view *view, const nyb_grouped *out)
{
    return spec->group == NYB_GROUP_TILE16 || (view->down && out->packed.pitch % BAND != 0);
}

static size_t matrix_bytes(const nyb_view *view)
{
    return nyb_round_up(view->rows * view->cols * sizeof(float), NYB_ALIGN);
}

static size_t zeros_bytes(const nyb_view *view)
{
    return nyb_round_up(view->cols * sizeof(float), NYB_ALIGN);
}

static size_t absmax_bytes(const nyb_view *view)
{
    return nyb_round_up((view->rows / BAND + 1) * TAPS_AT_ONCE * sizeof(float), NYB_ALIGN);
}

size_t nyb_round_codes_scratch_bytes(const nyb_spec *spec, const nyb_view *view,
                                     const nyb_grouped *out)
{
    return nyb_round_up(nyb_round_scratch_bytes(spec, view), NYB_ALIGN) + zeros_bytes(view) +
           absmax_bytes(view) + (needs_matrix(spec, view) ? matrix_bytes(view) : 0) +
           (needs_turned(spec, view, out) ? matrix_bytes(view) : 0);
}

/* Whether the kernel's table and the rule's sixteen groups are all it takes. */
static bool is_fast(const nyb_spec *spec)
{
    return spec->scale->blocks && spec->scale->absmax_only && !spec->scale->finish &&
           spec->scale->n_trials < 2 && spec->format->units[0] == 0;
}

static nyb_codes_work start(const nyb_context *context, const nyb_round_job *job, const float *x,
                            const nyb_grouped *out, nyb_level *levels, void *scratch)
{
    const nyb_view *view = &job->view;
    uint8_t *at =
        (uint8_t *)scratch + nyb_round_up(nyb_round_scratch_bytes(job->spec, view), NYB_ALIGN);
    float *zeros = (float *)at;
    nyb_codes_work w = {.out = out,
                        .cpu = context->cpu,
                        .taps = 1,
                        .channels = view->cols,
                        .zeros = zeros,
                        .n_taps = 1,
                        .levels = levels};

    memset(zeros, 0, view->cols * sizeof *zeros);
    at += zeros_bytes(view);
    w.absmax = (float *)at;
    at += absmax_bytes(view);
    w.round = nyb_round_begin(context, job, x, (float *)at, scratch);
    at += needs_matrix(job->spec, view) ? matrix_bytes(view) : 0;
    w.turned = needs_turned(job->spec, view, out) ? (float *)at : NULL;
    w.round.grid_only = true;
    w.kernel =
        is_fast(job->spec) && !job->toward && !w.turned && nyb_codes_plan_init(job->spec, &w.plan)
            ? nyb_codes_kernel_choose(context->cpu)
            : NULL;
    return w;
}

static void run_bands(const nyb_context *context, nyb_codes_work *w)
{
    nyb_pool_run(context->pool, band_task, w, nyb_div_up(w->round.view.rows, BAND));
}

void nyb_round_codes(const nyb_context *context, const nyb_round_job *job, const float *x,
                     size_t taps, nyb_grouped *out, void *scratch)
{
    const nyb_view *view = &job->view;
    nyb_level level = {.scale = 1.0f};

    const bool tiles = job->spec->group == NYB_GROUP_TILE16;

    assert(tiles || !job->toward || !view->down);
    assert(tiles || out->packed.cols >= (view->down ? view->rows : view->cols));
    if (view->rows * view->cols == 0)
        return;
    nyb_codes_work w = start(context, job, x, out, &level, scratch);
    w.taps = taps;
    w.channels = view->cols / taps;
    w.round.signs = nyb_mix_signs(job->spec->mix, job->signs, w.round.signs_of);
    if (needs_matrix(job->spec, view)) {
        nyb_round_mix_matrix(context, &w.round);
        w.round.x = w.round.values;
        w.round.mixes = false;
    }
    find_levels(context, &w);
    w.round.level = level;
    out->packed.scale = level.scale * job->post;
    if (tiles)
        nyb_pool_run(context->pool, tiles_task, &w, (view->rows + 15) / 16);
    else if (view->down)
        run_bands(context, &w);
    else
        nyb_codes_along(context, &w);
    if (w.turned)
        nyb_grouped_encode(context, out, w.turned);
}

/* ---- windows ----------------------------------------------------------------------------------
 */

void nyb_round_windows(const nyb_context *context, const nyb_round_job *job, const float *x,
                       const nyb_window *window, nyb_grouped *out, float *levels, void *scratch)
{
    const size_t n_taps = window->r * window->s;
    nyb_level of_taps[TAPS_AT_ONCE];

    assert(job->view.down && out->packed.pitch % BAND == 0);
    if (job->view.rows * job->view.cols == 0)
        return;
    nyb_codes_work w = start(context, job, x, out, of_taps, scratch);
    w.window = window;
    w.round.signs = nyb_mix_signs(job->spec->mix, job->signs, w.round.signs_of);
    for (w.tap = 0; w.tap < n_taps; w.tap += w.n_taps) {
        w.n_taps = nyb_min(n_taps - w.tap, TAPS_AT_ONCE);
        find_levels(context, &w);
        run_bands(context, &w);
        for (size_t tap = 0; tap < w.n_taps; tap++)
            levels[w.tap + tap] = of_taps[tap].scale * job->post;
    }
}
