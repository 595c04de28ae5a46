/* Operands whose zero is another unit than 0: what sums of units lack. */
#include "gemm/conv_impl.h"

#define PARTS_MAX 16
#define AT_ONCE   64 /* pixels of a 1x1 product that are read together */

/* What makes a unit its worth. */
static int32_t plus_of(const nyb_operand *operand)
{
    return operand->packed->format->shift - operand->packed->zero;
}

/* ---- FWD, DX: columns of panels, slots of slabs ------------------------------------------------
 */

void nyb_zero_totals(const nyb_conv *conv, const nyb_sub *sub, void *panel)
{
    const int8_t *b = panel;
    int32_t *totals = (int32_t *)((uint8_t *)panel + sub->totals);

    if (!conv->zero_a)
        return;
    memset(totals, 0, NYB_TILE_COLS * sizeof *totals);
    for (size_t half = 0; half < 2; half++) {
        int32_t four[NYB_TILE_STEP] = {0};

        for (size_t i = 0; i < sub->n_steps; i++)
            for (size_t k4 = 0; k4 < NYB_TILE_STEP / 4; k4++) {
                const int8_t *line = b + i * NYB_TILE_STEP_BYTES +
                                     nyb_tile_s8_offset(4 * k4, half * NYB_TILE_COLS / 2);
                for (size_t j = 0; j < NYB_TILE_STEP; j++)
                    four[j] += line[j];
            }
        for (size_t j = 0; j < NYB_TILE_STEP; j++)
            totals[half * NYB_TILE_COLS / 2 + j / 4] += four[j];
    }
}

/* Of bytes ^ flip, eight at a time: a word's odd and even bytes go to four sums of 16 bits, which
 * hold 128 such pairs. */
static int32_t sum_bytes(const uint8_t *bytes, size_t n, uint8_t flip)
{
    const uint64_t even = 0x00ff00ff00ff00ff, low = 0x0000ffff0000ffff;
    size_t i = 0;
    int32_t sum = 0;

    while (i + 8 <= n) {
        uint64_t four = 0, word;

        for (size_t end = nyb_min(n, i + 8 * 128); i + 8 <= end; i += 8) {
            memcpy(&word, bytes + i, sizeof word);
            word ^= UINT64_C(0x0101010101010101) * flip;
            four += (word & even) + (word >> 8 & even);
        }
        four = (four & low) + (four >> 16 & low);
        sum += (int32_t)((uint32_t)four + (uint32_t)(four >> 32));
    }
    for (; i < n; i++)
        sum += bytes[i] ^ flip;
    return sum;
}

void nyb_zero_slots(const nyb_conv *conv, const uint8_t *slab, size_t n, int32_t *sums)
{
    const size_t channels = conv->map.in_c;
    const uint8_t flip = conv->tile->a_biased ? 0 : 0x80; /* int8, then, as 128 more */

    for (size_t i = 0; i < n; i++, slab += conv->map.slot_bytes)
        sums[i] += sum_bytes(slab, channels, flip) - (conv->bias + flip) * (int32_t)channels;
}

/* ---- DW: sums over the pixels that a tap pairs --------------------------------------------------
 *
 * Shared memory: rows [taps][o] and cols [taps][c] in int64; then, of each part of the rows of
 * pixels, int32 sums [taps][c] of x and [taps][o] of each sample of dy. */

static size_t taps_of(const nyb_conv *conv)
{
    return conv->shape.r * conv->shape.s;
}

static int64_t *rows_at(const nyb_conv_job *job)
{
    return (int64_t *)(job->shared + job->conv->shared_bytes - job->conv->dw.zero_bytes);
}

static int64_t *cols_at(const nyb_conv_job *job)
{
    return rows_at(job) + taps_of(job->conv) * job->conv->shape.o;
}

/* source 0: x; 1 + i: sample i of dy. */
static int32_t *part_at(const nyb_conv_job *job, size_t source, size_t part)
{
    const nyb_conv *conv = job->conv;
    const size_t taps = taps_of(conv), c = conv->shape.c, o = conv->shape.o;
    int32_t *parts = (int32_t *)(cols_at(job) + taps * c);

    return source == 0
               ? parts + part * taps * c
               : parts + conv->dw.zero_parts * taps * (c + (source - 1) * o) + part * taps * o;
}

/* A 1x1 product, which the plan made one column of pixels. */
static bool is_flat(const nyb_conv_shape *s)
{
    return s->r == 1 && s->s == 1 && s->stride == 1;
}

void nyb_zero_plan_dw(nyb_conv *conv)
{
    const nyb_conv_shape *s = &conv->shape;
    const size_t taps = taps_of(conv), lines = is_flat(s) ? s->h : s->n * nyb_max(s->h, s->oh);
    const size_t pixels = is_flat(s) ? AT_ONCE : nyb_max(s->w, s->ow);
    const size_t longest = nyb_packed_pitch(nyb_max(s->c, s->o));
    nyb_dw_s8 *dw = &conv->dw;

    if (!nyb_conv_lacks(conv))
        return;
    dw->zero_parts = nyb_min(lines, PARTS_MAX);
    dw->zero_bytes = taps * (s->o + s->c) * sizeof(int64_t) +
                     dw->zero_parts * taps * (s->c + conv->n_samples * s->o) * sizeof(int32_t);
    dw->zero_bytes = nyb_round_up(dw->zero_bytes, NYB_ALIGN);
    conv->shared_bytes = nyb_round_up(conv->shared_bytes, NYB_ALIGN) + dw->zero_bytes;
    conv->worker_bytes =
        nyb_max(conv->worker_bytes,
                s->s * sizeof(nyb_span) + longest * (pixels + 2 * s->s * sizeof(int32_t)));
}

/* sums += (or -=) n pixels from the first on, step apart; all channels of the pitch. */
static void add_pixels(const nyb_reader *reader, const uint8_t *row, size_t first, size_t n,
                       size_t step, bool minus, int32_t *sums)
{
    const size_t px = reader->pixel_bytes;

    for (size_t c = 0; c < px; c += NYB_PITCH)
        for (size_t i = 0, end; i < n; i = end) {
            int16_t some[NYB_PITCH] = {0}; /* holds 255 units */

            end = nyb_min(n, i + 255);
            for (size_t k = i; k < end; k++) {
                const int8_t *units = (const int8_t *)row + (first + k * step) * px + c;

                for (size_t j = 0; j < NYB_PITCH; j++)
                    some[j] = (int16_t)(some[j] + units[j]);
            }
            for (size_t j = 0; j < NYB_PITCH; j++)
                sums[c + j] += minus ? -some[j] : some[j];
        }
}

static void add_sums(const int32_t *line, size_t n, int32_t *sums)
{
    for (size_t i = 0; i < n; i++)
        sums[i] += line[i];
}

/* sums of [*first, *end) become those of [to_first, to_end). */
static void move_window(const nyb_reader *reader, const uint8_t *row, size_t *first, size_t *end,
                        size_t to_first, size_t to_end, int32_t *sums)
{
    if (to_end > *end)
        add_pixels(reader, row, *end, to_end - *end, 1, false, sums);
    if (to_first < *first)
        add_pixels(reader, row, to_first, *first - to_first, 1, false, sums);
    if (to_end < *end)
        add_pixels(reader, row, to_end, *end - to_end, 1, true, sums);
    if (to_first > *first)
        add_pixels(reader, row, *first, to_first - *first, 1, true, sums);
    *first = to_first;
    *end = to_end;
}

typedef struct zero_task {
    const nyb_conv_job *job;
    nyb_reader reader;
    bool is_x;
    int32_t *sums;   /* of the part */
    nyb_span *spans; /* of each tap column: pixels that it pairs, `step` apart */
    size_t step;
    int32_t *lines, *common; /* sums of each tap column: of a row, of rows that all tap rows see */
    uint8_t *row;
} zero_task;

/* Whether a tap row pairs row y of the operand with one of the other. */
static bool sees_row(const zero_task *t, size_t r, size_t y)
{
    const nyb_conv_shape *s = &t->job->conv->shape;
    const size_t from = y + s->pad - r, to = y * s->stride + r - s->pad; /* may wrap: huge */

    return t->is_x ? from % s->stride == 0 && from / s->stride < s->oh : to < s->h;
}

/* lines of the tap columns, to the sums of tap row r. */
static void add_taps(const zero_task *t, size_t r, const int32_t *lines)
{
    const size_t n_taps = t->job->conv->shape.s, cols = t->reader.cols;

    for (size_t tap = 0; tap < n_taps; tap++)
        add_sums(lines + tap * t->reader.pitch, cols, t->sums + (r * n_taps + tap) * cols);
}

/* Row y of an image, to the sums of the taps that see it. */
static void add_line(zero_task *t, size_t image, size_t y)
{
    const nyb_conv_shape *s = &t->job->conv->shape;
    const size_t width = t->is_x ? s->w : s->ow, height = t->is_x ? s->h : s->oh;
    const size_t pitch = t->reader.pitch;
    size_t first = 0, end = 0, n_seen = 0;

    nyb_reader_pixels(&t->reader, (image * height + y) * width, width, t->row);
    for (size_t tap = 0; tap < s->s; tap++) {
        const nyb_span span = t->spans[tap];
        int32_t *line = t->lines + tap * pitch;

        if (t->step == 1 && tap > 0)
            memcpy(line, line - pitch, pitch * sizeof *line);
        else
            memset(line, 0, pitch * sizeof *line);
        if (t->step == 1 && span.count == 0)
            move_window(&t->reader, t->row, &first, &end, first, first, line);
        else if (t->step == 1)
            move_window(&t->reader, t->row, &first, &end, span.first, span.first + span.count,
                        line);
        else
            add_pixels(&t->reader, t->row, span.first, span.count, t->step, false, line);
    }
    for (size_t r = 0; r < s->r; r++)
        n_seen += sees_row(t, r, y);
    if (n_seen == s->r)
        add_sums(t->lines, s->s * pitch, t->common);
    for (size_t r = 0; r < s->r && n_seen < s->r; r++)
        if (sees_row(t, r, y))
            add_taps(t, r, t->lines);
}

static zero_task zero_begin(const nyb_conv_job *job, size_t source, size_t part, size_t worker)
{
    const nyb_conv_shape *s = &job->conv->shape;
    zero_task t = {.job = job, .is_x = source == 0, .sums = part_at(job, source, part)};

    nyb_reader_init(&t.reader, t.is_x ? job->b : &job->a[source - 1], t.is_x ? s->c : s->o,
                    job->conv->tile, NULL, 0);
    t.spans = (nyb_span *)nyb_job_worker(job, worker);
    t.lines = (int32_t *)(t.spans + s->s);
    t.common = t.lines + s->s * t.reader.pitch;
    t.row = (uint8_t *)(t.common + s->s * t.reader.pitch);
    t.step = t.is_x ? s->stride : 1;
    for (size_t tap = 0; tap < s->s; tap++) {
        t.spans[tap] = nyb_conv_axis_span(s->w, s->ow, tap, s->stride, s->pad);
        if (t.is_x)
            t.spans[tap].first = t.spans[tap].first * s->stride + tap - s->pad;
    }
    memset(t.common, 0, s->s * t.reader.pitch * sizeof *t.common);
    memset(t.sums, 0, taps_of(job->conv) * t.reader.cols * sizeof *t.sums);
    return t;
}

static void part_task(void *arg, size_t task, size_t worker)
{
    const nyb_conv_job *job = arg;
    const nyb_conv *conv = job->conv;
    const nyb_conv_shape *s = &conv->shape;
    const size_t parts = conv->dw.zero_parts, source = task / parts, part = task % parts;

    if (source == 0 ? !conv->zero_a : !conv->zero_b)
        return;
    zero_task t = zero_begin(job, source, part, worker);
    const size_t height = t.is_x ? s->h : s->oh, lines = is_flat(s) ? s->h : s->n * height;
    const size_t per = nyb_div_up(lines, parts), end = nyb_min((part + 1) * per, lines);

    for (size_t i = part * per, n = 1; i < end; i += n) {
        if (!is_flat(s)) {
            add_line(&t, i / height, i % height);
            continue;
        }
        n = nyb_min(AT_ONCE, end - i);
        nyb_reader_pixels(&t.reader, i, n, t.row);
        memset(t.lines, 0, t.reader.pitch * sizeof *t.lines);
        add_pixels(&t.reader, t.row, 0, n, 1, false, t.lines);
        add_sums(t.lines, t.reader.cols, t.sums);
    }
    for (size_t r = 0; r < s->r; r++)
        add_taps(&t, r, t.common);
}

/* All parts of a source's sum i of `taps` x cols. */
static int64_t total_of(const nyb_conv_job *job, size_t source, size_t i)
{
    int64_t total = 0;

    for (size_t part = 0; part < job->conv->dw.zero_parts; part++)
        total += part_at(job, source, part)[i];
    return total;
}

static void prepare_dw(nyb_conv_job *job)
{
    const nyb_conv *conv = job->conv;
    const nyb_conv_shape *s = &conv->shape;
    int64_t *rows = rows_at(job), *cols = cols_at(job);

    nyb_pool_run(job->pool, part_task, job, conv->dw.zero_parts * (1 + conv->n_samples));
    for (size_t tap = 0; tap < taps_of(conv); tap++) {
        const nyb_span r = nyb_conv_axis_span(s->h, s->oh, tap / s->s, s->stride, s->pad);
        const nyb_span t = nyb_conv_axis_span(s->w, s->ow, tap % s->s, s->stride, s->pad);
        const int64_t pairs = (int64_t)(s->n * r.count * t.count);

        for (size_t c = 0; c < s->c; c++)
            cols[tap * s->c + c] =
                conv->zero_a ? job->plus_a * total_of(job, 0, tap * s->c + c) : 0;
        for (size_t o = 0; o < s->o; o++) {
            int64_t sum = pairs * job->plus_a;

            for (size_t i = 0; conv->zero_b && i < conv->n_samples; i++)
                sum += total_of(job, 1 + i, tap * s->o + o);
            rows[tap * s->o + o] = job->plus_b * sum;
        }
    }
}

const int64_t *nyb_zero_rows(const nyb_conv_job *job, size_t tap)
{
    return rows_at(job) + tap * job->conv->shape.o;
}

const int64_t *nyb_zero_cols(const nyb_conv_job *job, size_t tap)
{
    return cols_at(job) + tap * job->conv->shape.c;
}

void nyb_zero_prepare(nyb_conv_job *job)
{
    const nyb_conv *conv = job->conv;

    job->plus_a = 0;
    job->plus_b = plus_of(job->b);
    for (size_t i = 0; i < conv->n_samples; i++)
        job->plus_a += plus_of(&job->a[i]);
    if (conv->product == NYB_PRODUCT_DW)
        prepare_dw(job);
    else
        job->reader_a.zero = (uint8_t)(conv->bias - plus_of(&job->a[0]));
}
