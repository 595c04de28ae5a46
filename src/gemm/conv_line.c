/* FWD and DX of operands whose rows have scales of their own, and maybe offsets. */
#include "gemm/conv_impl.h"

/* ---- which outputs see the same taps -----------------------------------------------------------
 */

/* Whether output y of an axis sees a pixel under a tap. */
static bool sees(const nyb_axis *axis, size_t y, size_t tap)
{
    if (axis->dx)
        return y + axis->pad >= tap && (y + axis->pad - tap) % axis->stride == 0 &&
               (y + axis->pad - tap) / axis->stride < axis->src;
    return y * axis->stride + tap >= axis->pad && y * axis->stride + tap - axis->pad < axis->src;
}

static bool see_alike(const nyb_axis *axis, size_t y, size_t other)
{
    for (size_t tap = 0; tap < axis->taps; tap++)
        if (sees(axis, y, tap) != sees(axis, other, tap))
            return false;
    return true;
}

/* The class of each output of an axis; first: the least output of each class. Returns how many. */
static size_t classify(const nyb_axis *axis, uint32_t *class_of, uint32_t *first)
{
    size_t n = 0, c;

    for (size_t y = 0; y < axis->dst; y++) {
        for (c = 0; c < n && !see_alike(axis, y, first[c]); c++)
            continue;
        if (c == n)
            first[n++] = (uint32_t)y;
        class_of[y] = (uint32_t)c;
    }
    return n;
}

static nyb_status plan_classes(nyb_conv *conv, nyb_error *err)
{
    const nyb_axis *rows = &conv->map.rows, *cols = &conv->map.cols;
    nyb_conv_lines *l = &conv->lines;
    uint32_t *memory = nyb_alloc(2 * (rows->dst + cols->dst) * sizeof *memory);

    l->class_of = nyb_alloc(l->pixels * sizeof *l->class_of);
    if (!memory || !l->class_of) {
        nyb_free(memory);
        return nyb_fail(err, NYB_MEMORY, "no memory for a product's tables");
    }
    uint32_t *row_first = memory + rows->dst, *col = row_first + rows->dst;
    uint32_t *col_first = col + cols->dst;
    const size_t n_rows = classify(rows, memory, row_first),
                 n_cols = classify(cols, col, col_first);
    l->classes = n_rows * n_cols;
    l->seen_by = nyb_alloc(l->classes * sizeof *l->seen_by);
    for (size_t i = 0; l->seen_by && i < l->classes; i++)
        l->seen_by[i] = row_first[i / n_cols] * cols->dst + col_first[i % n_cols];
    for (size_t i = 0; i < l->pixels; i++)
        l->class_of[i] = (uint32_t)(memory[i / cols->dst] * n_cols + col[i % cols->dst]);
    nyb_free(memory);
    return l->seen_by ? NYB_OK : nyb_fail(err, NYB_MEMORY, "no memory for a product's tables");
}

nyb_status nyb_lines_plan(nyb_conv *conv, nyb_error *err)
{
    const nyb_conv_shape *s = &conv->shape;
    const nyb_map *map = &conv->map;
    nyb_conv_lines *l = &conv->lines;

    if (!l->a && !l->b)
        return NYB_OK;
    l->flat = s->r == 1 && s->s == 1 && s->stride == 1;
    l->images_in = map->rows.src * map->cols.src;
    l->pixels = map->rows.dst * map->cols.dst;
    l->classes = 1;
    l->channels = map->out_c;
    l->pitch = nyb_round_up(map->out_c, NYB_ALIGN / sizeof(float));
    if (!l->flat && l->a)
        NYB_TRY(plan_classes(conv, err));
    l->at = nyb_round_up(conv->shared_bytes, NYB_ALIGN);
    conv->shared_bytes = l->at + (l->classes + 1) * l->pitch * sizeof(float) +
                         s->r * s->s * l->channels * sizeof(int64_t);
    conv->worker_bytes = nyb_max(conv->worker_bytes, nyb_packed_pitch(s->c));
    return NYB_OK;
}

void nyb_lines_free(nyb_conv *conv)
{
    nyb_free(conv->lines.class_of);
    nyb_free(conv->lines.seen_by);
}

/* ---- what outputs lack, and what columns are worth ---------------------------------------------
 */

static float *class_sums(const nyb_conv_job *job, size_t class)
{
    return (float *)(job->shared + job->conv->lines.at) + class * job->conv->lines.pitch;
}

static int64_t *tap_sums(const nyb_conv_job *job, size_t tap)
{
    const nyb_conv_lines *l = &job->conv->lines;

    return (int64_t *)(void *)class_sums(job, l->classes + 1) + tap * l->channels;
}

/* Sums of b under a tap: FWD of the channels of x for each of y, DX the other way round. */
static void tap_task(void *arg, size_t tap, size_t worker)
{
    const nyb_conv_job *job = arg;
    const nyb_conv_shape *s = &job->conv->shape;
    const bool dx = job->conv->product == NYB_PRODUCT_DX;
    int8_t *units = (int8_t *)nyb_job_worker(job, worker);
    int64_t *sums = tap_sums(job, tap);

    memset(sums, 0, job->conv->lines.channels * sizeof *sums);
    for (size_t o = 0; o < s->o; o++) {
        nyb_reader_pixels(&job->reader_b, o * s->r * s->s + tap, 1, units);
        for (size_t c = 0; c < s->c; c++)
            sums[dx ? c : o] += units[c] + job->plus_b;
    }
}

static void sum_classes(nyb_conv_job *job)
{
    const nyb_map *map = &job->conv->map;
    const nyb_conv_lines *l = &job->conv->lines;

    nyb_pool_run(job->pool, tap_task, job, map->rows.taps * map->cols.taps);
    for (size_t i = 0; i < l->classes; i++) {
        const size_t pixel = l->flat ? 0 : l->seen_by[i];
        const size_t y = pixel / map->cols.dst, x = pixel % map->cols.dst;

        for (size_t c = 0; c < l->channels; c++) {
            int64_t sum = 0;

            for (size_t tap = 0; tap < map->rows.taps * map->cols.taps; tap++)
                if (sees(&map->rows, y, tap / map->cols.taps) &&
                    sees(&map->cols, x, tap % map->cols.taps))
                    sum += tap_sums(job, tap)[c];
            class_sums(job, i)[c] = (float)sum;
        }
    }
}

void nyb_lines_prepare(nyb_conv_job *job)
{
    const nyb_conv_lines *l = &job->conv->lines;
    const nyb_packed *a = job->a->packed, *b = job->b->packed;

    if (l->a) {
        job->line_pixels = l->flat ? a->line_rows : a->line_rows / l->images_in * l->pixels;
        job->offsets = nyb_packed_has_offset(a);
    }
    if (job->offsets)
        sum_classes(job);
    if (l->b) {
        float *cols = class_sums(job, l->classes);

        for (size_t o = 0; o < l->channels; o++)
            cols[o] = nyb_packed_line(b, o * (b->rows / l->channels))->scale;
        job->line_cols = cols;
    }
}

/* ---- the epilogue ----------------------------------------------------------------------------
 */

void nyb_lines_store(const nyb_conv_job *job, size_t first, const int32_t pixel[NYB_TILE_ROWS],
                     size_t limit, size_t rows, size_t col, nyb_store_lines *lines)
{
    const nyb_conv_lines *l = &job->conv->lines;

    lines->cols = job->line_cols ? job->line_cols + col : NULL;
    for (size_t m = 0; m < rows; m++) {
        const size_t at = first + (uint32_t)pixel[m];

        lines->scale[m] = job->scale;
        lines->of[m] = NULL;
        if (!l->a || (uint32_t)pixel[m] >= limit)
            continue;
        const nyb_line *line = &job->a->packed->lines[at / job->line_pixels];
        lines->scale[m] = line->scale * job->scale;
        if (line->offset == 0.0f)
            continue;
        lines->plus[m] = line->offset * nyb_conv_unit_value(job->b);
        lines->of[m] = class_sums(job, l->flat ? 0 : l->class_of[at % l->pixels]) + col;
    }
}
