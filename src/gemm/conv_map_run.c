/* FWD and DX: tasks of a slab and some panels, blocks of 32 x 32 outputs. */
#include "gemm/conv_impl.h"

/* One task: which rows of A and which panels. */
typedef struct work {
    const nyb_conv_job *job;
    const nyb_sub *sub;
    const uint8_t *slab;   /* A of the grid's first output; of further samples slab_bytes behind */
    const uint8_t *panels; /* of the sub */
    const int32_t *slot_sums; /* zero_b: of the slab; of its first output's slot */
    size_t n_slots;           /* slots that lie in this (maybe shorter) slab */
    size_t n_blocks;
    const uint32_t *block_list; /* [n_blocks] of the band */
    size_t limit;               /* output pixels from `out` on that exist */
    size_t out;                 /* elements before channel 0 of the slab's first output */
    size_t first_panel, end_panel;
    uint8_t *sums; /* int32 or float [c_bytes] */
} work;

/* Rows of a block's outputs; slots without output get NULL. */
static void output_rows(const work *w, size_t block, size_t panel, void *rows[NYB_TILE_ROWS])
{
    const nyb_conv_job *job = w->job;
    const int32_t *pixel = w->sub->pixel + block * NYB_TILE_ROWS;
    const size_t stride = job->conv->map.out_c, first = w->out + panel * NYB_TILE_COLS;

    for (size_t m = 0; m < NYB_TILE_ROWS; m++)
        rows[m] = (uint32_t)pixel[m] < w->limit
                      ? nyb_store_at(job->out, job->half, first + (uint32_t)pixel[m] * stride)
                      : NULL;
}

/* The output that each row begins with, of those there are: what output_rows points at. */
static void output_indices(const work *w, size_t block, size_t panel, uint64_t first[NYB_TILE_ROWS])
{
    const int32_t *pixel = w->sub->pixel + block * NYB_TILE_ROWS;

    for (size_t m = 0; m < NYB_TILE_ROWS; m++)
        first[m] =
            w->out + panel * NYB_TILE_COLS + (uint64_t)(uint32_t)pixel[m] * w->job->conv->map.out_c;
}

static size_t block_rows(const work *w, size_t block)
{
    return nyb_min(w->sub->block_rows[block], w->n_slots - w->sub->block_slot[block]);
}

static size_t panel_cols(const work *w, size_t panel)
{
    return nyb_min(NYB_TILE_COLS, w->job->conv->map.out_c - panel * NYB_TILE_COLS);
}

/* output_rows, whose lines come while the products are summed. */
static void fetch_rows(const work *w, size_t block, size_t panel, void *rows[NYB_TILE_ROWS])
{
    output_rows(w, block, panel, rows);
    for (size_t m = 0; m < NYB_TILE_ROWS; m++)
        if (rows[m])
            nyb_store_fetch(rows[m], w->job->half, panel_cols(w, panel));
}

/* The epilogue of a block, without its rows and its scale. */
static nyb_store_args store_of(const work *w, size_t panel, size_t block)
{
    return nyb_job_store(w->job, block_rows(w, block), panel * NYB_TILE_COLS, panel_cols(w, panel));
}

/* ---- s8 ---- */

/* Of all samples. */
static void sum_s8(const work *w, size_t panel, size_t block, size_t part, bool accumulate,
                   int32_t *c)
{
    const nyb_conv *conv = w->job->conv;
    const nyb_sub *sub = w->sub;
    const uint32_t *list = sub->list + w->block_list[block] + part;
    const int8_t *b = (const int8_t *)w->panels + panel * sub->panel_bytes;
    nyb_tile_s8_args args = {
        .rows = block_rows(w, block),
        .n_steps = list[1] - list[0],
        .a = w->slab + (size_t)sub->block_slot[block] * conv->map.slot_bytes,
        .lda = conv->map.slot_bytes,
        .a_step = sub->a_step + list[0],
        .b = b,
        .b_step = sub->b_step + list[0],
        .sums = (const nyb_tile_sums *)(b + sub->sums),
        .valid = sub->valid,
        .c = c,
        .narrow = panel_cols(w, panel) <= NYB_TILE_COLS / 2,
        .bias = conv->bias,
        .max_a = conv->max_a,
        .max_b = conv->max_b,
    };
    for (size_t sample = 0; sample < conv->n_samples; sample++) {
        args.accumulate = accumulate || sample > 0;
        conv->tile->run(&args);
        args.a += conv->map.slab_bytes;
    }
}

/* What a block's sums of units lack: row m, column n: rows[m] + cols[n]. */
typedef struct lack {
    int64_t rows[NYB_TILE_ROWS], cols[NYB_TILE_COLS];
} lack;

static void find_lack(const work *w, size_t panel, size_t block, lack *l)
{
    const nyb_conv_job *job = w->job;
    const nyb_sub *sub = w->sub;
    const int32_t *totals = (const int32_t *)(w->panels + panel * sub->panel_bytes + sub->totals);
    const int64_t k = (int64_t)(sub->n_taps * job->conv->map.in_c);
    const size_t n_rows = block_rows(w, block);

    memset(l, 0, sizeof *l);
    for (size_t n = 0; job->conv->zero_a && n < NYB_TILE_COLS; n++)
        l->cols[n] = (int64_t)job->plus_a * totals[n];
    for (size_t t = 0; job->conv->zero_b && t < sub->n_taps; t++) {
        const int32_t *sums = w->slot_sums + sub->block_slot[block] + sub->tap_slot[t];

        for (size_t m = 0; m < n_rows; m++)
            l->rows[m] += sums[m];
    }
    for (size_t m = 0; job->conv->zero_b && m < n_rows; m++)
        l->rows[m] = job->plus_b * (l->rows[m] + k * job->plus_a);
}

/* Sums of a block begin with what they will lack, if anything; true then. */
static bool begin_sums(const work *w, size_t panel, size_t block, int32_t *c)
{
    lack l;

    if (!nyb_conv_lacks(w->job->conv))
        return false;
    find_lack(w, panel, block, &l);
    for (size_t m = 0; m < NYB_TILE_ROWS; m++)
        for (size_t n = 0; n < NYB_TILE_COLS; n++)
            c[m * NYB_TILE_COLS + n] =
                (int32_t)((uint32_t)(uint64_t)l.rows[m] + (uint32_t)(uint64_t)l.cols[n]);
    return true;
}

/* The epilogue of a block of sums, int32 or, rounded, float. */
static void store_sums(const work *w, size_t panel, size_t block, void *const rows[NYB_TILE_ROWS],
                       const int32_t *of_int, const float *of_float)
{
    const nyb_conv *conv = w->job->conv;
    nyb_store_args args = store_of(w, panel, block);
    nyb_store_lines lines;

    args.scale = w->job->scale;
    args.out = rows;
    if (conv->lines.a || conv->lines.b) {
        nyb_lines_store(w->job, w->out / conv->map.out_c, w->sub->pixel + block * NYB_TILE_ROWS,
                        w->limit, args.rows, panel * NYB_TILE_COLS, &lines);
        args.lines = &lines;
    }
    if (of_int)
        conv->store->of_int(of_int, &args);
    else
        conv->store->of_float(of_float, &args);
}

/* Parts are summed in int64: their int32 sums are exact, the total would not be. */
static void block_wide(const work *w, size_t panel, size_t block, int32_t *c)
{
    const size_t n = block_rows(w, block) * NYB_TILE_COLS;
    int64_t sum[NYB_TILE_BLOCK] = {0};
    float rounded[NYB_TILE_BLOCK];
    void *rows[NYB_TILE_ROWS];
    lack l;

    if (nyb_conv_lacks(w->job->conv)) {
        find_lack(w, panel, block, &l);
        for (size_t i = 0; i < NYB_TILE_BLOCK; i++)
            sum[i] = l.rows[i / NYB_TILE_COLS] + l.cols[i % NYB_TILE_COLS];
    }

    for (size_t part = 0; part < w->sub->n_parts; part++) {
        sum_s8(w, panel, block, part, false, c);
        for (size_t i = 0; i < n; i++)
            sum[i] += c[i];
    }
    for (size_t i = 0; i < n; i++)
        rounded[i] = (float)sum[i];
    output_rows(w, block, panel, rows);
    store_sums(w, panel, block, rows, NULL, rounded);
}

/* Convolutions: neighbouring blocks share most rows of A, so the panel is the fixed one. */
static void panel_by_panel(const work *w)
{
    int32_t *c = (int32_t *)w->sums;
    void *rows[NYB_TILE_ROWS];

    for (size_t panel = w->first_panel; panel < w->end_panel; panel++) {
        for (size_t block = 0; block < w->n_blocks; block++) {
            if (w->job->conv->map.wide) {
                block_wide(w, panel, block, c);
                continue;
            }
            fetch_rows(w, block, panel, rows);
            const bool begun = begin_sums(w, panel, block, c);
            for (size_t part = 0; part < w->sub->n_parts; part++)
                sum_s8(w, panel, block, part, begun || part > 0, c);
            store_sums(w, panel, block, rows, c, NULL);
        }
    }
}

/* Linear layers: 32 rows of A of one part stay in L1 while panels stream by from L2. */
static void block_by_block(const work *w)
{
    const size_t n_parts = w->sub->n_parts, n_panels = w->end_panel - w->first_panel;
    void *rows[NYB_TILE_ROWS];

    for (size_t part = 0; part < n_parts; part++) {
        for (size_t block = 0; block < w->n_blocks; block++) {
            int32_t *c = (int32_t *)w->sums;
            if (n_parts > 1)
                c += block * n_panels * NYB_TILE_BLOCK;
            for (size_t panel = w->first_panel; panel < w->end_panel; panel++) {
                const bool last = part + 1 == n_parts;
                if (last)
                    fetch_rows(w, block, panel, rows);
                const bool begun = part == 0 && begin_sums(w, panel, block, c);
                sum_s8(w, panel, block, part, begun || part > 0, c);
                if (last)
                    store_sums(w, panel, block, rows, c, NULL);
                if (n_parts > 1)
                    c += NYB_TILE_BLOCK;
            }
        }
    }
}

/* ---- f32 ---- */

static void blocks_f32(const work *w)
{
    const nyb_conv_job *job = w->job;
    const nyb_sub *sub = w->sub;
    const size_t pixel = job->conv->map.slot_bytes / sizeof(float);
    float *c = (float *)w->sums;
    void *rows[NYB_TILE_ROWS];

    for (size_t panel = w->first_panel; panel < w->end_panel; panel++) {
        const float *b = (const float *)(w->panels + panel * sub->panel_bytes);
        for (size_t block = 0; block < w->n_blocks; block++) {
            nyb_tile_f32_args args = {
                .rows = block_rows(w, block),
                .a = (const float *)w->slab + sub->block_slot[block] * pixel,
                .lda = pixel,
                .c = c,
                .narrow = panel_cols(w, panel) <= NYB_TILE_COLS / 2,
            };
            if (job->conv->accum.format) {
                uint64_t first[NYB_TILE_ROWS];
                output_indices(w, block, panel, first);
                args.b = b;
                nyb_accum_block(job, sub, first, &args);
            }
            for (size_t part = 0; !job->conv->accum.format && part < sub->n_parts; part++) {
                const size_t run = sub->list[part];
                args.n_runs = sub->list[part + 1] - run;
                args.run_off = sub->a_step + run;
                args.run_len = sub->w_step + run;
                args.b = b + part * NYB_F32_CHUNK * NYB_TILE_COLS;
                args.accumulate = part > 0;
                job->conv->tile_f32->run(&args);
            }
            nyb_store_args store = store_of(w, panel, block);
            output_rows(w, block, panel, rows);
            store.scale = 1;
            store.out = rows;
            job->conv->store->of_float(c, &store);
        }
    }
}

/* ---- tasks ---- */

/* Outputs that no tap reaches: zeros. */
static void blocks_zero(const work *w)
{
    static const float zeros[NYB_TILE_BLOCK];

    for (size_t panel = w->first_panel; panel < w->end_panel && !w->job->add; panel++) {
        for (size_t block = 0; block < w->n_blocks; block++) {
            nyb_store_args args = store_of(w, panel, block);
            void *rows[NYB_TILE_ROWS];
            output_rows(w, block, panel, rows);
            args.out = rows;
            w->job->conv->store->of_float(zeros, &args);
        }
    }
}

/* The part of grid `sub` that lies in the slab of groups first.. and rows i.. (n of them). */
static void run_sub(work *w, size_t first, size_t units, size_t i, size_t n, const uint8_t *slab,
                    const int32_t *slot_sums)
{
    const nyb_conv *conv = w->job->conv;
    const nyb_map *map = &conv->map;
    const nyb_sub *sub = w->sub;
    const size_t begin = nyb_max(i, sub->rows.first);
    const size_t end = nyb_min(i + n, sub->rows.first + sub->rows.count);
    const size_t image = first * map->interleave;

    if (begin >= end || sub->cols.count == 0)
        return;
    const size_t slot = (begin - i) * map->row_slots + sub->cols.first * map->interleave;
    w->slab = slab + slot * map->slot_bytes;
    w->slot_sums = slot_sums + slot;
    w->panels = w->job->shared + map->w_bytes + sub->panels;
    w->n_slots = ((units - 1) * map->unit_rows + end - begin - 1) * map->row_slots +
                 sub->cols.count * map->interleave;
    w->n_blocks = sub->n_blocks;
    w->block_list = sub->block_list + i / map->band * sub->n_blocks;
    while (w->n_blocks > 0 && sub->block_slot[w->n_blocks - 1] >= w->n_slots)
        w->n_blocks--;

    const size_t y = sub->rows.out + (begin - sub->rows.first) * sub->rows.step;
    const size_t pixel = y * map->cols.dst + sub->cols.out;
    const size_t exist = (conv->shape.n - image) * map->rows.dst * map->cols.dst - pixel;
    w->limit = nyb_min(exist, INT32_MAX);
    w->out = (image * map->rows.dst * map->cols.dst + pixel) * map->out_c;
    if (sub->n_taps == 0)
        blocks_zero(w);
    else if (!conv->s8)
        blocks_f32(w);
    else if (map->block_outer && !map->wide)
        block_by_block(w);
    else
        panel_by_panel(w);
}

/* Each sample's slab, behind them a row. */
static void fill_slabs(const nyb_conv_job *job, size_t first, size_t units, size_t i, size_t n,
                       uint8_t *slabs)
{
    const size_t n_samples = job->conv->n_samples, n_bytes = job->conv->map.slab_bytes;

    for (size_t sample = 0; sample < n_samples; sample++)
        nyb_slab_fill(job, sample, first, units, i, n, slabs + sample * n_bytes,
                      slabs + n_samples * n_bytes);
}

/* What the slots of all samples' slabs sum to. */
static void sum_slots(const nyb_conv_job *job, const uint8_t *slabs, int32_t *sums)
{
    const nyb_map *map = &job->conv->map;
    const size_t n_areas = map->rows.n_phases * map->cols.n_phases;

    memset(sums, 0, n_areas * map->area_slots * sizeof *sums);
    for (size_t sample = 0; sample < job->conv->n_samples; sample++)
        for (size_t area = 0; area < n_areas; area++)
            nyb_zero_slots(job->conv, slabs + sample * map->slab_bytes + area * map->area_bytes,
                           map->area_slots, sums + area * map->area_slots);
}

static void run_task(void *arg, size_t task, size_t worker)
{
    const nyb_conv_job *job = arg;
    const nyb_conv *conv = job->conv;
    const nyb_map *map = &conv->map;
    const size_t index = task % map->n_slabs, group = task / map->n_slabs;
    const size_t first = map->bands > 1 ? index / map->bands : index * map->units;
    const size_t units = nyb_min(map->units, map->n_groups - first);
    const size_t i = map->bands > 1 ? index % map->bands * map->band : 0;
    const size_t n = nyb_min(map->band, map->rows.count - i);
    uint8_t *sums = nyb_job_worker(job, worker), *own = sums + map->c_bytes;
    const uint8_t *slab = own;

    if (map->direct)
        slab = (const uint8_t *)(job->a->real + i * map->cols.src * map->in_c);
    else
        fill_slabs(job, first, units, i, n, own);
    const size_t n_slabs = map->direct ? 0 : conv->n_samples;
    int32_t *slot_sums = (int32_t *)(own + n_slabs * map->slab_bytes + map->row_bytes);
    if (conv->zero_b)
        sum_slots(job, slab, slot_sums);
    work w = {
        .job = job,
        .sums = sums,
        .first_panel = group * map->group_panels,
        .end_panel = nyb_min((group + 1) * map->group_panels, map->n_panels),
    };
    if (conv->s8)
        conv->tile->begin();
    for (size_t s = 0; s < map->n_subs; s++) {
        w.sub = &map->subs[s];
        run_sub(&w, first, units, i, n, slab, slot_sums);
    }
    if (conv->s8)
        conv->tile->end();
}

void nyb_map_run(nyb_conv_job *job)
{
    const nyb_map *map = &job->conv->map;

    nyb_map_pack(job);
    nyb_pool_run(job->pool, run_task, job, map->n_slabs * map->n_panel_groups);
}
