/* Rounding of blocks straight to packed codes: values exist only in buffers of a task. */
#include "quant/round_work.h"

#include <assert.h>

#define BAND NYB_BLOCK_CODES /* rows of a task where blocks run down them */

typedef struct work {
    nyb_round_work round;
    const nyb_grouped *out;
    uint32_t cpu;
    size_t taps, channels; /* column t * channels + c of the view is row c * taps + t of out */
    float *turned;         /* grid values as out's rows, or NULL: encoded at once */
} work;

/* ---- along ------------------------------------------------------------------------------------
 */

/* Grid values in the order of codes, pads included, on their way to whole blocks. */
typedef struct queue {
    size_t first, n; /* flat index of values[0] */
    float values[NYB_ROUND_CHUNK + 2 * BAND];
} queue;

static void flush(const work *w, queue *q, bool all)
{
    const size_t n = all ? q->n : q->n / BAND * BAND;

    nyb_grouped_encode_flat(w->cpu, w->out, q->first, n, q->values);
    memmove(q->values, q->values + n, (q->n - n) * sizeof *q->values);
    q->first += n;
    q->n -= n;
}

/* m elements of the view from element `first` on; scales: where those of their groups go. */
static void round_along(const work *w, size_t first, size_t m, float *scales, queue *q)
{
    const nyb_round_work *r = &w->round;
    const size_t length = w->out->group;
    nyb_group_scale groups[NYB_ROUND_CHUNK / 16 + 1];
    uint32_t r23[NYB_ROUND_CHUNK], rs[NYB_ROUND_CHUNK / 16 + 1];
    float *v = q->values + q->n;

    memcpy(v, r->x + first, m * sizeof *v);
    nyb_round_draw(r, first, m, r23);
    nyb_round_draw_scales(r, first, length, m / length + 1, rs);
    nyb_round_vector(r, r->draws ? r23 : NULL, rs, m, v, NULL,
                     (nyb_round_parts){.scales = groups, .step = 1});
    for (size_t g = 0; g < (m + length - 1) / length; g++)
        scales[g] = groups[g].scale;
    q->n += m;
}

/* Rows that are whole segments are one vector, of which a task takes a part, else eight rows or a
 * multiple, so that no byte is shared. */
static size_t along_rows(const work *w)
{
    return nyb_round_up(nyb_round_rows_of_task(&w->round), 8);
}

static bool is_flat(const work *w)
{
    return w->round.view.cols % w->round.length == 0;
}

static void flat_task(void *arg, size_t task, size_t worker)
{
    const work *w = arg;
    const size_t n = w->round.view.rows * w->round.view.cols;
    const size_t begin = task * NYB_ROUND_RUN, end = nyb_min(begin + NYB_ROUND_RUN, n);
    queue q;

    (void)worker;
    q.first = begin;
    q.n = 0;
    for (size_t at = begin; at < end; at += NYB_ROUND_CHUNK) {
        round_along(w, at, nyb_min(end - at, NYB_ROUND_CHUNK), w->out->scales + at / w->out->group,
                    &q);
        flush(w, &q, true);
    }
}

static void rows_task(void *arg, size_t task, size_t worker)
{
    const work *w = arg;
    const nyb_packed *p = &w->out->packed;
    const size_t cols = w->round.view.cols, pitch = p->pitch, length = w->out->group;
    const size_t begin = task * along_rows(w), end = nyb_min(begin + along_rows(w), p->rows);
    const float pad = p->format->units[0] * p->format->unit;
    queue q;

    (void)worker;
    q.first = begin * pitch;
    q.n = 0;
    for (size_t row = begin; row < end; row++) {
        for (size_t at = 0; at < cols; at += NYB_ROUND_CHUNK) {
            round_along(w, row * cols + at, nyb_min(cols - at, NYB_ROUND_CHUNK),
                        w->out->scales + (row * pitch + at) / length, &q);
            flush(w, &q, false);
        }
        for (size_t i = cols; i < pitch; i++)
            q.values[q.n++] = pad;
        flush(w, &q, row + 1 == end);
    }
}

/* ---- down -------------------------------------------------------------------------------------
 */

/* A band's n rows of at most 16 columns, from row `top` and column `col` on. */
typedef struct tile {
    size_t top, n, col, lanes;
    float v[BAND][NYB_ROUND_LANES];
    uint32_t r23[BAND][NYB_ROUND_LANES];
    nyb_group_scale scales[BAND / 16][NYB_ROUND_LANES]; /* of group, lane */
} tile;

static void load_tile(const nyb_round_work *r, tile *t)
{
    for (size_t i = 0; i < t->n; i++) {
        const size_t first = (t->top + i) * r->view.cols + t->col;

        memcpy(t->v[i], r->x + first, t->lanes * sizeof *t->v[i]);
        nyb_round_draw(r, first, t->lanes, t->r23[i]);
    }
}

/* All columns together: for rules that look at absmax alone. */
static void round_tile(const work *w, tile *t)
{
    const nyb_round_work *r = &w->round;
    const size_t length = w->out->group;

    if (r->mixes)
        for (size_t at = 0; at < t->n; at += r->length)
            nyb_round_mix_lanes(r, nyb_min(r->length, t->n - at), t->v[at], false);
    for (size_t at = 0; at < t->n; at += length)
        nyb_round_lanes(r, r->draws ? t->r23[at] : NULL, nyb_min(length, t->n - at), t->lanes,
                        t->v[at], t->scales[at / length]);
}

/* One column after the other. */
static void round_columns(const work *w, tile *t)
{
    const nyb_round_work *r = &w->round;
    const size_t length = w->out->group, cols = r->view.cols;
    uint32_t r23[BAND], rs[BAND / 16 + 1];
    float v[BAND];

    for (size_t at = 0; at < t->n; at += r->length) {
        const size_t n = nyb_min(r->length, t->n - at);

        for (size_t j = 0; j < t->lanes; j++) {
            for (size_t i = 0; i < n; i++) {
                v[i] = t->v[at + i][j];
                r23[i] = t->r23[at + i][j];
            }
            nyb_round_draw_scales(r, (t->top + at) * cols + t->col + j, length * cols,
                                  n / length + 1, rs);
            nyb_round_vector(
                r, r->draws ? r23 : NULL, rs, n, v, NULL,
                (nyb_round_parts){.scales = &t->scales[at / length][j], .step = NYB_ROUND_LANES});
            for (size_t i = 0; i < n; i++)
                t->v[at + i][j] = v[i];
        }
    }
}

static void store_tile(const work *w, const tile *t)
{
    const nyb_packed *p = &w->out->packed;
    const size_t first = t->col % w->channels * w->taps + t->col / w->channels;
    const size_t length = w->out->group, groups = p->pitch / length;
    const size_t end = nyb_min((t->top + BAND) / length, groups);

    for (size_t j = 0; j < t->lanes; j++) {
        float *scales = w->out->scales + (first + j * w->taps) * groups;

        for (size_t g = t->top / length; g < end; g++) {
            const size_t at = g * length - t->top;

            scales[g] = at < t->n ? t->scales[at / length][j].scale : 0.0f;
        }
        for (size_t i = 0; w->turned && i < t->n; i++)
            w->turned[(first + j * w->taps) * p->cols + t->top + i] = t->v[i][j];
    }
    if (!w->turned)
        nyb_grouped_encode_columns(w->cpu, w->out, first, w->taps, t->lanes, t->top, t->v);
}

static void band_task(void *arg, size_t task, size_t worker)
{
    const work *w = arg;
    const nyb_round_work *r = &w->round;
    const size_t cols = r->view.cols;
    tile t;

    (void)worker;
    t.top = task * BAND;
    t.n = nyb_min(BAND, r->view.rows - t.top);
    memset(t.v, 0, sizeof t.v);
    memset(t.r23, 0, sizeof t.r23);
    for (t.col = 0; t.col < cols; t.col += t.lanes) {
        t.lanes = nyb_min(w->channels - t.col % w->channels, NYB_ROUND_LANES);
        load_tile(r, &t);
        if (nyb_round_has_lanes(r))
            round_tile(w, &t);
        else
            round_columns(w, &t);
        store_tile(w, &t);
    }
}

/* ---- the whole --------------------------------------------------------------------------------
 */

/* A matrix that is mixed before its level is known. */
static bool needs_matrix(const nyb_spec *spec)
{
    return spec->scale->level && nyb_mix_length(spec->mix) > 0;
}

/* Rows that begin inside a block of codes. */
static bool needs_turned(const nyb_view *view, const nyb_grouped *out)
{
    return view->down && out->packed.pitch % BAND != 0;
}

static size_t matrix_bytes(const nyb_view *view)
{
    return nyb_round_up(view->rows * view->cols * sizeof(float), NYB_ALIGN);
}

size_t nyb_round_codes_scratch_bytes(const nyb_spec *spec, const nyb_view *view,
                                     const nyb_grouped *out)
{
    return nyb_round_up(nyb_round_scratch_bytes(spec, view), NYB_ALIGN) +
           (needs_matrix(spec) ? matrix_bytes(view) : 0) +
           (needs_turned(view, out) ? matrix_bytes(view) : 0);
}

void nyb_round_codes(const nyb_context *context, const nyb_round_job *job, const float *x,
                     size_t taps, nyb_grouped *out, void *scratch)
{
    const nyb_view *view = &job->view;
    const size_t n = view->rows * view->cols;
    uint8_t *rest =
        (uint8_t *)scratch + nyb_round_up(nyb_round_scratch_bytes(job->spec, view), NYB_ALIGN);
    float *matrix = (float *)rest;
    nyb_round_job own = *job;
    nyb_level level = {.scale = 1.0f};

    assert(out->packed.cols >= (view->down ? view->rows : view->cols));
    own.grid = NULL;
    own.scales = NULL;
    own.level = &level;
    if (needs_matrix(job->spec))
        rest += matrix_bytes(view);
    if (n == 0)
        return;
    work w = {.round = nyb_round_begin(context, &own, x, matrix, scratch),
              .out = out,
              .cpu = context->cpu,
              .taps = taps,
              .channels = view->cols / taps,
              .turned = needs_turned(view, out) ? (float *)rest : NULL};
    w.round.grid_only = true;
    nyb_round_prepare(context, &w.round, NULL, true);
    out->packed.scale = level.scale;
    if (!view->down) {
        const bool flat = is_flat(&w);
        const size_t per = flat ? NYB_ROUND_RUN : along_rows(&w), count = flat ? n : view->rows;

        nyb_pool_run(context->pool, flat ? flat_task : rows_task, &w,
                     count / per + (count % per != 0));
        return;
    }
    nyb_pool_run(context->pool, band_task, &w, (view->rows + BAND - 1) / BAND);
    if (w.turned)
        nyb_grouped_encode(context, out, w.turned);
}
