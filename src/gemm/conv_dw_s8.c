/* DW in exact integers: sums over pixels, dy transposed against panels of x, taps as offsets. */
#include "gemm/conv_impl.h"

/* Blocks of 32 columns that are written together: rows of weights often lie a multiple of 4 KB
 * apart, in one set of the L1 cache. */
#define WRITTEN 4

/* Scratch: [round] of (B panels, A of each sample), then int32 sums, then int64 sums. */
static uint8_t *chunk_at(const nyb_conv_job *job, size_t chunk)
{
    const nyb_dw_s8 *dw = &job->conv->dw;
    return job->shared + chunk % dw->round * (dw->b_bytes + job->conv->n_samples * dw->a_bytes);
}

static int32_t *sums_at(const nyb_conv_job *job, size_t lane, size_t o_block, size_t c_block)
{
    const nyb_dw_s8 *dw = &job->conv->dw;
    const size_t taps = job->conv->shape.r * job->conv->shape.s;
    uint8_t *sums =
        job->shared +
        nyb_round_up(dw->round * (dw->b_bytes + job->conv->n_samples * dw->a_bytes), NYB_ALIGN);
    return (int32_t *)(sums + lane * dw->sums_bytes) +
           (o_block * dw->c_blocks + c_block) * taps * NYB_TILE_BLOCK;
}

static int64_t *wide_at(const nyb_conv_job *job, size_t lane, size_t o_block, size_t c_block)
{
    const nyb_dw_s8 *dw = &job->conv->dw;
    int32_t *const first = sums_at(job, 0, 0, 0);
    return (int64_t *)((uint8_t *)first + dw->lanes * dw->sums_bytes) +
           (sums_at(job, lane, o_block, c_block) - first);
}

typedef struct unit {
    size_t image, n_images; /* of the group, that exist */
    size_t i;               /* first row of the band */
} unit;

static unit unit_of(const nyb_conv *conv, size_t index)
{
    const nyb_dw_s8 *dw = &conv->dw;
    unit u = {.image = index / dw->bands * dw->interleave,
              .i = dw->i_first + index % dw->bands * dw->band};
    u.n_images = nyb_min(dw->interleave, conv->shape.n - u.image);
    return u;
}

/* ---- B: x ---- */

/* Positions of row i of x's phase, zeros where there is no pixel. */
static void fill_x_row(const nyb_conv_job *job, unit u, size_t i, size_t pr, size_t pc,
                       uint8_t *dst, uint8_t *row)
{
    const nyb_dw_s8 *dw = &job->conv->dw;
    const nyb_conv_shape *s = &job->conv->shape;
    const size_t px = job->reader_b.pixel_bytes, lanes = dw->interleave;
    const size_t z = i * s->stride + pr;
    const size_t used = dw->j_count * lanes;

    if (z < s->pad || z - s->pad >= s->h || i >= dw->i_first + dw->i_count) {
        memset(dst, 0, dw->b_row * px);
        return;
    }
    const size_t y = z - s->pad, past = s->w + s->pad;
    const size_t left = s->pad > pc ? nyb_div_up(s->pad - pc, s->stride) : 0;
    const size_t first_j = nyb_max(dw->j_first, left);
    size_t end_j = past > pc ? nyb_div_up(past - pc, s->stride) : 0;
    end_j = nyb_max(nyb_min(end_j, dw->j_first + dw->j_count), first_j);
    if (end_j - first_j == dw->j_count && u.n_images == lanes)
        memset(dst + used * px, 0, (dw->b_row - used) * px);
    else
        memset(dst, 0, dw->b_row * px);
    for (size_t g = 0; g < u.n_images; g++) {
        const size_t pixel = ((u.image + g) * s->h + y) * s->w;
        if (lanes == 1 && s->stride == 1) {
            nyb_reader_pixels(&job->reader_b, pixel + first_j - s->pad, end_j - first_j,
                              dst + (first_j - dw->j_first) * px);
            continue;
        }
        nyb_reader_pixels(&job->reader_b, pixel, s->w, row);
        for (size_t j = first_j; j < end_j; j++)
            nyb_copy_pixel(dst + ((j - dw->j_first) * lanes + g) * px,
                           row + (j * s->stride + pc - s->pad) * px, px);
    }
}

/* Consecutive rows that fill B without a gap (linear layers) are read at once. */
static bool is_plain(const nyb_conv *conv)
{
    const nyb_dw_s8 *dw = &conv->dw;
    const nyb_conv_shape *s = &conv->shape;
    return dw->interleave == 1 && s->stride == 1 && s->pad == 0 && dw->b_row == s->w &&
           dw->j_count == s->w;
}

static void fill_x(const nyb_conv_job *job, size_t chunk, size_t n_units, size_t pr, size_t pc,
                   uint8_t *tmp, uint8_t *row)
{
    const nyb_conv *conv = job->conv;
    const nyb_dw_s8 *dw = &conv->dw;
    const size_t px = job->reader_b.pixel_bytes;

    for (size_t k = 0; k < n_units; k++) {
        const unit u = unit_of(conv, chunk * dw->units + k);
        uint8_t *dst = tmp + k * dw->unit_positions * px;
        size_t n = 0;
        if (is_plain(conv)) {
            n = nyb_min(dw->band, dw->i_first + dw->i_count - u.i);
            nyb_reader_pixels(&job->reader_b, (u.image * conv->shape.h + u.i) * conv->shape.w,
                              n * conv->shape.w, dst);
        } else {
            for (; n < dw->band; n++)
                fill_x_row(job, u, u.i + n, pr, pc, dst + n * dw->b_row * px, row);
        }
        memset(dst + n * dw->b_row * px, 0, (dw->unit_positions - n * dw->b_row) * px);
    }
}

static void pack_x(const nyb_conv_job *job, size_t chunk, size_t n_units, size_t phase,
                   uint8_t *tmp)
{
    const nyb_conv *conv = job->conv;
    const nyb_dw_s8 *dw = &conv->dw;
    const size_t px = job->reader_b.pixel_bytes, n_steps = n_units * dw->unit_steps;
    uint8_t *row = tmp + dw->steps * NYB_TILE_STEP * px + NYB_TILE_COLS;
    uint8_t *panel = chunk_at(job, chunk) + phase * dw->c_blocks * dw->panel_bytes;

    fill_x(job, chunk, n_units, phase / dw->phases_c, phase % dw->phases_c, tmp, row);
    for (size_t c = 0; c < conv->shape.c; c += NYB_TILE_COLS, panel += dw->panel_bytes)
        conv->tile->pack_cols((const int8_t *)tmp + c, px, n_steps * NYB_TILE_STEP,
                              nyb_min(NYB_TILE_COLS, conv->shape.c - c), n_steps, (int8_t *)panel,
                              conv->bias ? (nyb_tile_sums *)(panel + dw->sums) : NULL);
}

/* ---- A: dy ---- */

/* One row of a unit's A before it is transposed: slots with pads, zeros where dy has no row oh. */
static void fill_dy_row(const nyb_conv_job *job, const nyb_reader *dy, unit u, size_t oh,
                        uint8_t *dst, uint8_t *row)
{
    const nyb_dw_s8 *dw = &job->conv->dw;
    const nyb_conv_shape *s = &job->conv->shape;
    const size_t px = dy->pixel_bytes, lanes = dw->interleave;
    const size_t used = oh < s->oh ? s->ow : 0;

    memset(dst + used * lanes * px, dy->zero, (dw->pitch - used) * lanes * px);
    for (size_t g = 0; used && g < u.n_images; g++) {
        const size_t pixel = ((u.image + g) * s->oh + oh) * s->ow;
        if (lanes == 1) {
            nyb_reader_pixels(dy, pixel, s->ow, dst);
            continue;
        }
        nyb_reader_pixels(dy, pixel, s->ow, row);
        for (size_t j = 0; j < s->ow; j++)
            nyb_copy_pixel(dst + (j * lanes + g) * px, row + j * px, px);
    }
}

/* Rows [at, at + n) of a unit; row a_shift is dy row `base`. */
static void transpose_rows(const nyb_conv_job *job, const nyb_reader *dy, unit u, size_t base,
                           size_t at, size_t n, uint8_t *dst, uint8_t *tmp)
{
    const nyb_dw_s8 *dw = &job->conv->dw;
    const nyb_conv_shape *s = &job->conv->shape;
    const size_t row_slots = dw->pitch * dw->interleave, px = dy->pixel_bytes;
    const size_t first = at + base - dw->a_shift; /* wraps to a huge oh above the image */

    if (row_slots == s->ow && first < s->oh && n <= s->oh - first) {
        nyb_reader_pixels(dy, (u.image * s->oh + first) * s->ow, n * s->ow, tmp);
    } else {
        for (size_t i = 0; i < n; i++)
            fill_dy_row(job, dy, u, first + i, tmp + i * row_slots * px, tmp + n * row_slots * px);
    }
    job->conv->tile->transpose(tmp, px, n * row_slots, s->o, dst, dw->lda);
}

static void pack_dy(const nyb_conv_job *job, size_t chunk, size_t n_units, size_t sample,
                    uint8_t *tmp)
{
    const nyb_conv *conv = job->conv;
    const nyb_dw_s8 *dw = &conv->dw;
    const size_t row_slots = dw->pitch * dw->interleave;
    nyb_reader dy = job->reader_a;
    uint8_t *a = chunk_at(job, chunk) + dw->b_bytes + sample * dw->a_bytes;

    dy.codes = job->a[sample].packed->codes;
    for (size_t o = 0; dw->front > 0 && o < conv->shape.o; o++)
        memset(a + o * dw->lda, dy.zero, dw->front);
    for (size_t k = 0; k < n_units; k++) {
        const unit u = unit_of(conv, chunk * dw->units + k);
        const size_t base = dw->bands > 1 ? u.i : dw->i_first;
        const size_t n_rows = k + 1 == n_units ? dw->a_last_rows : dw->a_rows;
        for (size_t at = 0, n; at < n_rows; at += n) {
            n = nyb_min(dw->a_at_once, n_rows - at);
            transpose_rows(job, &dy, u, base, at, n,
                           a + dw->front + (k * dw->a_rows + at) * row_slots, tmp);
        }
    }
}

/* ---- tasks ---- */

static size_t chunk_units(const nyb_dw_s8 *dw, size_t chunk)
{
    return nyb_min(dw->units, dw->n_units - chunk * dw->units);
}

static void pack_task(void *arg, size_t task, size_t worker)
{
    const nyb_conv_job *job = arg;
    const nyb_dw_s8 *dw = &job->conv->dw;
    const size_t phases = dw->phases_r * dw->phases_c, kinds = phases + job->conv->n_samples;
    const size_t chunk = job->round * dw->round + task / kinds, kind = task % kinds;
    uint8_t *tmp = nyb_job_worker(job, worker);

    if (kind < phases)
        pack_x(job, chunk, chunk_units(dw, chunk), kind, tmp);
    else
        pack_dy(job, chunk, chunk_units(dw, chunk), kind - phases, tmp);
}

/* All taps of one chunk, o block and c block. */
static void sum_blocks(const nyb_conv_job *job, size_t chunk, size_t o_block, size_t c_block,
                       bool accumulate, int32_t *sums)
{
    const nyb_conv *conv = job->conv;
    const nyb_dw_s8 *dw = &conv->dw;
    const nyb_conv_shape *s = &conv->shape;
    const uint8_t *b = chunk_at(job, chunk);
    const uint8_t *a = b + dw->b_bytes + o_block * NYB_TILE_ROWS * dw->lda;
    nyb_tile_s8_args args = {
        .rows = nyb_min(NYB_TILE_ROWS, s->o - o_block * NYB_TILE_ROWS),
        .lda = dw->lda,
        .narrow = s->c - c_block * NYB_TILE_COLS <= NYB_TILE_COLS / 2,
        .bias = conv->bias,
        .max_a = conv->max_a,
        .max_b = conv->max_b,
    };

    for (size_t r = 0; r < s->r; r++) {
        for (size_t t = 0; t < s->s; t++) {
            const size_t phase = r % s->stride * dw->phases_c + t % s->stride;
            const uint32_t *list = dw->list + r * s->s + t;
            args.n_steps = (list[1] - list[0]) / dw->units * chunk_units(dw, chunk);
            args.a_step = dw->a_step + list[0];
            args.b_step = dw->b_step + list[0];
            args.valid = dw->valid;
            args.c = sums + (r * s->s + t) * NYB_TILE_BLOCK;
            args.b = (const int8_t *)b + (phase * dw->c_blocks + c_block) * dw->panel_bytes;
            args.sums = (const nyb_tile_sums *)(args.b + dw->sums);
            for (size_t i = 0; i < conv->n_samples; i++) {
                args.a = a + i * dw->a_bytes + nyb_dw_tap_offset(dw, r, t);
                args.accumulate = accumulate || i > 0;
                conv->tile->run(&args);
            }
        }
    }
}

/* ---- results ---- */

/* Where the weights of n blocks of a tap go; rows: memory for their rows. */
static nyb_store_args store_of(const nyb_conv_job *job, size_t o_block, size_t c_block, size_t n,
                               size_t tap, void *rows[NYB_TILE_ROWS])
{
    const nyb_conv_shape *s = &job->conv->shape;
    const size_t o = o_block * NYB_TILE_ROWS, c = c_block * NYB_TILE_COLS;
    const nyb_store_args args = {.rows = nyb_min(NYB_TILE_ROWS, s->o - o),
                                 .n_valid = nyb_min(n * NYB_TILE_COLS, s->c - c),
                                 .add = job->add,
                                 .out = rows};

    for (size_t m = 0; m < args.rows; m++)
        rows[m] = (float *)job->out + ((o + m) * s->r * s->s + tap) * s->c + c;
    return args;
}

/* What all sums of a block of a tap lack: row m, column n: rows[m] + cols[n]; NULL: nothing. */
typedef struct lack {
    const int64_t *rows, *cols;
} lack;

static lack lack_of(const nyb_conv_job *job, size_t o_block, size_t c_block, size_t tap)
{
    if (!nyb_conv_lacks(job->conv))
        return (lack){NULL, NULL};
    return (lack){nyb_zero_rows(job, tap) + o_block * NYB_TILE_ROWS,
                  nyb_zero_cols(job, tap) + c_block * NYB_TILE_COLS};
}

/* Completes the first lane's sums of a block of a tap, in int32. Rows and columns that there are
 * not hold anything: unsigned, so that their sums may wrap. */
static void join_lanes(const nyb_conv_job *job, size_t o_block, size_t c_block, size_t tap,
                       int32_t *sum)
{
    const nyb_conv_shape *s = &job->conv->shape;
    const size_t n_rows = nyb_min(NYB_TILE_ROWS, s->o - o_block * NYB_TILE_ROWS);
    const size_t n_cols = nyb_min(NYB_TILE_COLS, s->c - c_block * NYB_TILE_COLS);
    const lack l = lack_of(job, o_block, c_block, tap);

    for (size_t m = 0; l.rows && m < n_rows; m++)
        for (size_t j = 0; j < n_cols; j++) {
            int32_t *to = &sum[m * NYB_TILE_COLS + j];
            *to = (int32_t)((uint32_t)*to + (uint32_t)(uint64_t)l.rows[m] +
                            (uint32_t)(uint64_t)l.cols[j]);
        }
    for (size_t lane = 1; lane < job->conv->dw.lanes; lane++) {
        const int32_t *other = sums_at(job, lane, o_block, c_block) + tap * NYB_TILE_BLOCK;
        for (size_t i = 0; i < NYB_TILE_BLOCK; i++)
            sum[i] = (int32_t)((uint32_t)sum[i] + (uint32_t)other[i]);
    }
}

/* The same in int64, and what int32 has no room or a single factor no precision for. */
static void finish_wide(const nyb_conv_job *job, size_t o_block, size_t c_block, size_t tap,
                        const int32_t *sum)
{
    const nyb_dw_s8 *dw = &job->conv->dw;
    const lack l = lack_of(job, o_block, c_block, tap);
    const bool spilled = dw->wide && dw->n_rounds > dw->spill;
    int64_t total[NYB_TILE_BLOCK] = {0};
    float scaled[NYB_TILE_BLOCK];
    void *rows[NYB_TILE_ROWS];
    nyb_store_args args = store_of(job, o_block, c_block, 1, tap, rows);

    for (size_t lane = 0; lane < dw->lanes; lane++) {
        const int32_t *last =
            lane == 0 ? sum : sums_at(job, lane, o_block, c_block) + tap * NYB_TILE_BLOCK;
        for (size_t i = 0; i < NYB_TILE_BLOCK; i++)
            total[i] += last[i];
        const int64_t *wide =
            spilled ? wide_at(job, lane, o_block, c_block) + tap * NYB_TILE_BLOCK : NULL;
        for (size_t i = 0; wide && i < NYB_TILE_BLOCK; i++)
            total[i] += wide[i];
    }
    for (size_t m = 0; l.rows && m < args.rows; m++)
        for (size_t j = 0; j < args.n_valid; j++)
            total[m * NYB_TILE_COLS + j] += l.rows[m] + l.cols[j];
    for (size_t i = 0; i < args.rows * NYB_TILE_COLS; i++)
        scaled[i] = (float)total[i] * job->scale;
    args.scale = 1.0f / (float)job->conv->n_samples;
    job->conv->store->of_float(scaled, &args);
}

/* All lanes of n blocks to weights; sums: of the first lane, of each block all taps. */
static void finish_blocks(const nyb_conv_job *job, size_t o_block, size_t c_block, size_t n,
                          int32_t *sums)
{
    const nyb_conv *conv = job->conv;
    const size_t taps = conv->shape.r * conv->shape.s, block = taps * NYB_TILE_BLOCK;
    /* A power of two scales without rounding, so one factor gives the same bits. */
    const bool is_power = (conv->n_samples & (conv->n_samples - 1)) == 0;

    for (size_t tap = 0; tap < taps; tap++, sums += NYB_TILE_BLOCK) {
        void *rows[NYB_TILE_ROWS];

        if (conv->dw.wide || !is_power) {
            for (size_t i = 0; i < n; i++)
                finish_wide(job, o_block, c_block + i, tap, sums + i * block);
            continue;
        }
        for (size_t i = 0; i < n; i++)
            join_lanes(job, o_block, c_block + i, tap, sums + i * block);
        nyb_store_args args = store_of(job, o_block, c_block, n, tap, rows);
        args.step = block;
        args.scale = job->scale * (1.0f / (float)conv->n_samples);
        conv->store->of_int(sums, &args);
    }
}

static void finish_task(void *arg, size_t task, size_t worker)
{
    const nyb_conv_job *job = arg;
    const size_t o_block = task / job->conv->dw.c_blocks, c_block = task % job->conv->dw.c_blocks;

    (void)worker;
    finish_blocks(job, o_block, c_block, 1, sums_at(job, 0, o_block, c_block));
}

/* ---- images with lines ---- */

static float line_scale(const nyb_packed *p, size_t row)
{
    return p->lines ? nyb_packed_line(p, row)->scale : 1.0f;
}

/* The images of a round to the sums of all; after the last round these are the weights. */
static void join_task(void *arg, size_t task, size_t worker)
{
    const nyb_conv_job *job = arg;
    const nyb_conv_shape *s = &job->conv->shape;
    const nyb_dw_s8 *dw = &job->conv->dw;
    const size_t o_block = task / dw->c_blocks, c_block = task % dw->c_blocks;
    const size_t first = job->round * dw->round, taps = s->r * s->s;
    const size_t n_images = nyb_min(dw->round, dw->n_chunks - first);
    float *total = (float *)sums_at(job, dw->lanes, o_block, c_block);

    (void)worker;
    if (first == 0)
        memset(total, 0, taps * NYB_TILE_BLOCK * sizeof *total);
    for (size_t lane = 0; lane < n_images; lane++) {
        const size_t image = first + lane;
        const int32_t *sums = sums_at(job, lane, o_block, c_block);
        const float scale = line_scale(job->a->packed, image * s->oh * s->ow) *
                            line_scale(job->b->packed, image * s->h * s->w);

        for (size_t i = 0; i < taps * NYB_TILE_BLOCK; i++)
            total[i] = total[i] + (float)sums[i] * scale;
    }
    for (size_t tap = 0; first + n_images == dw->n_chunks && tap < taps; tap++) {
        void *rows[NYB_TILE_ROWS];
        nyb_store_args args = store_of(job, o_block, c_block, 1, tap, rows);

        args.scale = job->scale;
        job->conv->store->of_float(total + tap * NYB_TILE_BLOCK, &args);
    }
}

/* ---- sums ---- */

/* int64 += int32, for a task's blocks; the first time, =. */
static void spill(const nyb_conv_job *job, size_t lane, size_t o_block, size_t c_block, bool add)
{
    const int32_t *sums = sums_at(job, lane, o_block, c_block);
    int64_t *wide = wide_at(job, lane, o_block, c_block);

    for (size_t i = 0; i < job->conv->shape.r * job->conv->shape.s * NYB_TILE_BLOCK; i++)
        wide[i] = sums[i] + (add ? wide[i] : 0);
}

static void sum_task(void *arg, size_t task, size_t worker)
{
    const nyb_conv_job *job = arg;
    const nyb_dw_s8 *dw = &job->conv->dw;
    const size_t o_block = task % dw->o_blocks, lane = task / dw->o_blocks % dw->lanes;
    const size_t c_first = task / dw->o_blocks / dw->lanes * dw->c_group;
    const size_t c_end = nyb_min(c_first + dw->c_group, dw->c_blocks);
    const size_t first = job->round * dw->round;
    const size_t end = nyb_min(first + dw->round, dw->n_chunks);
    const size_t c_sums = job->conv->shape.r * job->conv->shape.s * NYB_TILE_BLOCK;
    const size_t at_once = c_sums > NYB_TILE_BLOCK ? 1 : WRITTEN;
    const bool fresh = job->round % dw->spill == 0;
    int32_t *sums =
        dw->local ? (int32_t *)nyb_job_worker(job, worker) : sums_at(job, lane, o_block, c_first);

    for (size_t c = c_first; dw->wide && fresh && job->round > 0 && c < c_end; c++)
        spill(job, lane, o_block, c, job->round > dw->spill);
    if (fresh && first + lane >= end)
        memset(sums, 0, (c_end - c_first) * c_sums * sizeof *sums);
    job->conv->tile->begin();
    for (size_t chunk = first + lane; chunk < end; chunk += dw->lanes) {
        for (size_t c = c_first; c < c_end; c++) {
            int32_t *to = sums + (c - c_first) * c_sums;
            sum_blocks(job, chunk, o_block, c, !(fresh && chunk == first + lane), to);
            /* One lane: the last chunk completes the sums, while they are in cache. */
            const size_t n = (c - c_first) % at_once + 1;
            if (dw->lanes == 1 && !dw->by_image && chunk + 1 == dw->n_chunks &&
                (n == at_once || c + 1 == c_end))
                finish_blocks(job, o_block, c + 1 - n, n, to - (n - 1) * c_sums);
        }
    }
    job->conv->tile->end();
}

void nyb_dw_s8_run(nyb_conv_job *job)
{
    const nyb_dw_s8 *dw = &job->conv->dw;
    const size_t kinds = dw->phases_r * dw->phases_c + job->conv->n_samples;

    for (job->round = 0; job->round < dw->n_rounds; job->round++) {
        const size_t n = nyb_min(dw->round, dw->n_chunks - job->round * dw->round);
        nyb_pool_run(job->pool, pack_task, job, n * kinds);
        nyb_pool_run(job->pool, sum_task, job, dw->o_blocks * dw->lanes * dw->n_c_groups);
        if (dw->by_image)
            nyb_pool_run(job->pool, join_task, job, dw->o_blocks * dw->c_blocks);
    }
    if (dw->lanes > 1 && !dw->by_image)
        nyb_pool_run(job->pool, finish_task, job, dw->o_blocks * dw->c_blocks);
}
