/* Weights to panels of 32 output columns (FWD, DX), in the order of K that the plan chose. */
#include "gemm/conv_impl.h"

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
    for (size_t p = 0; p < sub->n_parts; p++) {
        const size_t step = sub->part[p], n_steps = sub->part[p + 1] - step;
        conv->tile->pack_rows((const int8_t *)tmp, sub->n_taps * job->reader_b.pixel_bytes,
                              sub->w_step + step, sub->valid + step, n_steps, n, (int8_t *)panel);
        panel += n_steps * NYB_TILE_STEP_BYTES + NYB_TILE_TAIL_BYTES;
    }
}

/* DX needs, for each 32 input channels, all output channels: unpack everything once. */
static void unpack_dx(void *arg, size_t task, size_t worker)
{
    const nyb_conv_job *job = arg;
    const size_t taps = job->conv->shape.r * job->conv->shape.s;

    (void)worker;
    nyb_reader_pixels(&job->reader_b, task * taps, taps,
                      job->shared + task * taps * job->reader_b.pixel_bytes);
}

/* Whole steps of one tap after the other, straight from the unpacked weights. Each call leaves its
 * column sums where the next tap's steps begin; their total ends the panel. */
static void pack_dx_taps(const nyb_conv_job *job, const nyb_sub *sub, size_t c, size_t n,
                         int8_t *panel)
{
    const nyb_conv_shape *s = &job->conv->shape;
    const size_t px = job->reader_b.pixel_bytes, ld = s->r * s->s * px;
    const size_t n_steps = s->o / NYB_TILE_STEP;
    int32_t total[NYB_TILE_COLS] = {0}, sum[NYB_TILE_COLS];

    for (size_t t = 0; t < sub->n_taps; t++) {
        job->conv->tile->pack_cols((const int8_t *)job->shared + sub->tap[t] * px + c, ld, s->o, n,
                                   n_steps, panel);
        panel += n_steps * NYB_TILE_STEP_BYTES;
        memcpy(sum, panel, sizeof sum);
        for (size_t i = 0; i < NYB_TILE_COLS; i++)
            total[i] += sum[i];
    }
    memcpy(panel, total, sizeof total);
}

/* The rows of K of a panel, 32 columns each, zeros where a step runs past its segment. */
static void gather_dx(const nyb_conv_job *job, const nyb_sub *sub, size_t c, uint8_t *tmp)
{
    const nyb_conv_shape *s = &job->conv->shape;
    const size_t px = job->reader_b.pixel_bytes, ld = s->r * s->s * px;

    memset(tmp, 0, sub->n_steps * NYB_TILE_STEP * NYB_TILE_COLS);
    for (size_t t = 0; t < sub->n_taps; t++) {
        uint8_t *to = tmp + sub->tap_row[t] * NYB_TILE_COLS;
        const uint8_t *from = job->shared + sub->tap[t] * px + c;
        for (size_t o = 0; o < s->o; o++)
            memcpy(to + o * NYB_TILE_COLS, from + o * ld, NYB_TILE_COLS);
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

    if (s->o % NYB_TILE_STEP == 0 && sub->n_parts == 1) {
        pack_dx_taps(job, sub, c, n, panel);
        return;
    }
    if (!plain)
        gather_dx(job, sub, c, tmp);
    for (size_t p = 0; p < sub->n_parts; p++) {
        const size_t step = sub->part[p], n_steps = sub->part[p + 1] - step;
        conv->tile->pack_cols(rows + step * NYB_TILE_STEP * ld, ld,
                              nyb_min(n_rows - step * NYB_TILE_STEP, n_steps * NYB_TILE_STEP), n,
                              n_steps, panel);
        panel += n_steps * NYB_TILE_STEP_BYTES + NYB_TILE_TAIL_BYTES;
    }
}

static void pack_dx_f32(const nyb_conv_job *job, const nyb_sub *sub, size_t c, float *panel)
{
    const nyb_conv_shape *s = &job->conv->shape;
    const size_t n = nyb_min(NYB_TILE_COLS, s->c - c), taps = s->r * s->s;
    const float *w = job->reader_b.real ? job->reader_b.real : (const float *)job->shared;

    if (n < NYB_TILE_COLS)
        memset(panel, 0, sub->panel_bytes);
    for (size_t t = 0; t < sub->n_taps; t++)
        for (size_t o = 0; o < s->o; o++, panel += NYB_TILE_COLS)
            memcpy(panel, w + (o * taps + sub->tap[t]) * s->c + c, n * sizeof *panel);
}

static void pack_dx(void *arg, size_t task, size_t worker)
{
    const nyb_conv_job *job = arg;
    const nyb_map *map = &job->conv->map;
    const nyb_sub *sub = &map->subs[task / map->n_panels];
    const size_t i = task % map->n_panels;
    uint8_t *panel = job->shared + map->w_bytes + sub->panels + i * sub->panel_bytes;

    if (sub->n_taps == 0)
        return;
    if (job->conv->s8)
        pack_dx_s8(job, sub, i * NYB_TILE_COLS, nyb_job_worker(job, worker), (int8_t *)panel);
    else
        pack_dx_f32(job, sub, i * NYB_TILE_COLS, (float *)panel);
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
    nyb_pool_run(job->pool, pack_dx, job, map->n_subs * map->n_panels);
}
