/* Weights to panels of 32 output columns (FWD, DX), in the order of K that the plan chose. */
#include "gemm/conv_impl.h"

#define PAIR 2 /* panels that a task of DX packs: both halves of a cache line of weights */

/* 32 rows of weights with their taps in the order of the plan: row n at tmp + n * row_bytes. */
static void gather_rows(const nyb_conv_job *job, const nyb_sub *sub, size_t first, size_t n,
                        uint8_t *tmp)
{
    const size_t px = job->reader_b.pixel_bytes, taps = sub->n_taps, row_bytes = taps * px;
    uint8_t *stored = tmp + NYB_TILE_COLS * row_bytes;
    bool in_order = true;

    for (size_t t = 0; t < taps; t++)
        in_order = in_order && sub->tap[t] == t;
    for (size_t o = 0; o < n; o++) {
        uint8_t *row = tmp + o * row_bytes;
        nyb_reader_pixels(&job->reader_b, (first + o) * taps, taps, in_order ? row : stored);
        for (size_t t = 0; !in_order && t < taps; t++)
            nyb_copy_pixel(row + t * px, stored + sub->tap[t] * px, px);
    }
}

/* Where the column sums of a panel go; NULL if nobody needs them. */
static nyb_tile_sums *sums_of(const nyb_conv *conv, const nyb_sub *sub, void *panel)
{
    return conv->bias ? (nyb_tile_sums *)((uint8_t *)panel + sub->sums) : NULL;
}

static void pack_fwd(void *arg, size_t task, size_t worker)
{
    const nyb_conv_job *job = arg;
    const nyb_conv *conv = job->conv;
    const nyb_map *map = &conv->map;
    const nyb_sub *sub = &map->subs[0];
    const size_t first = task * NYB_TILE_COLS;
    const size_t n = nyb_min(NYB_TILE_COLS, map->out_c - first);
    uint8_t *tmp = nyb_job_worker(job, worker);
    uint8_t *panel = job->shared + map->w_bytes + sub->panels + task * sub->panel_bytes;

    if (!conv->s8) {
        const float *w = (const float *)tmp;
        if (job->reader_b.real)
            w = job->reader_b.real + first * sub->k;
        else
            nyb_reader_pixels(&job->reader_b, first * sub->n_taps, n * sub->n_taps, tmp);
        if (n < NYB_TILE_COLS)
            memset(panel, 0, sub->panel_bytes);
        conv->tile_f32->transpose(w, sub->k, n, sub->k, (float *)panel, NYB_TILE_COLS);
        return;
    }
    gather_rows(job, sub, first, n, tmp);
    conv->tile->pack_rows((const int8_t *)tmp, sub->n_taps * job->reader_b.pixel_bytes, sub->w_step,
                          sub->valid, sub->n_steps, n, (int8_t *)panel, sums_of(conv, sub, panel));
    nyb_zero_totals(conv, sub, panel);
}

/* DX needs, for each 32 input channels, all output channels: unpack everything once, to rows of
 * [tap][o]. */
static void unpack_dx(void *arg, size_t task, size_t worker)
{
    const nyb_conv_job *job = arg;
    const nyb_conv_shape *s = &job->conv->shape;
    const size_t taps = s->r * s->s;

    (void)worker;
    for (size_t t = 0; t < taps; t++)
        nyb_reader_pixels(&job->reader_b, task * taps + t, 1,
                          job->shared + (t * s->o + task) * job->reader_b.pixel_bytes);
}

/* Whole steps of one tap after the other, straight from the unpacked weights. */
static void pack_dx_taps(const nyb_conv_job *job, const nyb_sub *sub, size_t c, size_t n_panels,
                         int8_t *panel)
{
    const nyb_conv_shape *s = &job->conv->shape;
    const size_t px = job->reader_b.pixel_bytes, n_steps = s->o / NYB_TILE_STEP;

    for (size_t t = 0; t < sub->n_taps; t++) {
        const int8_t *rows = (const int8_t *)job->shared + sub->tap[t] * s->o * px;
        for (size_t p = 0; p < n_panels; p++) {
            const size_t first = c + p * NYB_TILE_COLS, step = t * n_steps;
            int8_t *to = panel + p * sub->panel_bytes;
            nyb_tile_sums *sums = sums_of(job->conv, sub, to);
            job->conv->tile->pack_cols(rows + first, px, s->o, nyb_min(NYB_TILE_COLS, s->c - first),
                                       n_steps, to + step * NYB_TILE_STEP_BYTES,
                                       sums ? sums + step : NULL);
        }
    }
}

/* The rows of K of a panel, 32 columns each, zeros where a step runs past its segment. */
static void gather_dx(const nyb_conv_job *job, const nyb_sub *sub, size_t c, uint8_t *tmp)
{
    const nyb_conv_shape *s = &job->conv->shape;
    const size_t px = job->reader_b.pixel_bytes;

    memset(tmp, 0, sub->n_steps * NYB_TILE_STEP * NYB_TILE_COLS);
    for (size_t t = 0; t < sub->n_taps; t++) {
        uint8_t *to = tmp + sub->tap_row[t] * NYB_TILE_COLS;
        const uint8_t *from = job->shared + sub->tap[t] * s->o * px + c;
        for (size_t o = 0; o < s->o; o++)
            memcpy(to + o * NYB_TILE_COLS, from + o * px, NYB_TILE_COLS);
    }
}

static void pack_dx_s8(const nyb_conv_job *job, const nyb_sub *sub, size_t c, uint8_t *tmp,
                       int8_t *panel)
{
    const nyb_conv *conv = job->conv;
    const nyb_conv_shape *s = &conv->shape;
    const size_t n = nyb_min(NYB_TILE_COLS, s->c - c);
    const bool plain = s->r * s->s == 1;
    const int8_t *rows = (const int8_t *)(plain ? job->shared + c : tmp);
    const size_t ld = plain ? job->reader_b.pixel_bytes : NYB_TILE_COLS;
    const size_t n_rows = plain ? s->o : sub->n_steps * NYB_TILE_STEP;

    if (!plain)
        gather_dx(job, sub, c, tmp);
    conv->tile->pack_cols(rows, ld, n_rows, n, sub->n_steps, panel, sums_of(conv, sub, panel));
}

static void pack_dx_f32(const nyb_conv_job *job, const nyb_sub *sub, size_t c, float *panel)
{
    const nyb_conv_shape *s = &job->conv->shape;
    const size_t n = nyb_min(NYB_TILE_COLS, s->c - c), taps = s->r * s->s;
    const float *w = job->reader_b.real ? job->reader_b.real : (const float *)job->shared;
    const size_t tap_rows = job->reader_b.real ? 1 : s->o, o_rows = job->reader_b.real ? taps : 1;

    if (n < NYB_TILE_COLS)
        memset(panel, 0, sub->panel_bytes);
    for (size_t t = 0; t < sub->n_taps; t++)
        for (size_t o = 0; o < s->o; o++, panel += NYB_TILE_COLS)
            memcpy(panel, w + (o * o_rows + sub->tap[t] * tap_rows) * s->c + c, n * sizeof *panel);
}

static void pack_dx(void *arg, size_t task, size_t worker)
{
    const nyb_conv_job *job = arg;
    const nyb_map *map = &job->conv->map;
    const size_t pairs = nyb_div_up(map->n_panels, PAIR);
    const nyb_sub *sub = &map->subs[task / pairs];
    const size_t first = task % pairs * PAIR, end = nyb_min(first + PAIR, map->n_panels);
    uint8_t *panel = job->shared + map->w_bytes + sub->panels + first * sub->panel_bytes;

    if (sub->n_taps == 0)
        return;
    if (job->conv->s8 && job->conv->shape.o % NYB_TILE_STEP == 0) {
        pack_dx_taps(job, sub, first * NYB_TILE_COLS, end - first, (int8_t *)panel);
        for (size_t i = first; i < end; i++, panel += sub->panel_bytes)
            nyb_zero_totals(job->conv, sub, panel);
        return;
    }
    for (size_t i = first; i < end; i++, panel += sub->panel_bytes) {
        if (!job->conv->s8) {
            pack_dx_f32(job, sub, i * NYB_TILE_COLS, (float *)panel);
            continue;
        }
        pack_dx_s8(job, sub, i * NYB_TILE_COLS, nyb_job_worker(job, worker), (int8_t *)panel);
        nyb_zero_totals(job->conv, sub, panel);
    }
}

void nyb_map_pack(nyb_conv_job *job)
{
    const nyb_map *map = &job->conv->map;

    if (job->conv->product == NYB_PRODUCT_FWD) {
        nyb_pool_run(job->pool, pack_fwd, job, map->n_panels);
        return;
    }
    if (!job->reader_b.real)
        nyb_pool_run(job->pool, unpack_dx, job, job->conv->shape.o);
    nyb_pool_run(job->pool, pack_dx, job, map->n_subs * nyb_div_up(map->n_panels, PAIR));
}
