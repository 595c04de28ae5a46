#include "packed/grouped.h"

#define BLOCK NYB_BLOCK_CODES

const nyb_grouped_kernel *const nyb_grouped_kernels[] = {
#if NYB_SIMD
    &nyb_grouped_avx2,
#endif
    &nyb_grouped_ref,
    NULL,
};

size_t nyb_grouped_code_bytes(const nyb_format *format, size_t rows, size_t cols, size_t group)
{
    if (cols > SIZE_MAX - group)
        return 0;
    return nyb_packed_bytes(format, rows, nyb_grouped_pitch(cols, group));
}

size_t nyb_grouped_scale_count(size_t rows, size_t cols, size_t group)
{
    size_t n;

    if (cols > SIZE_MAX - group || !nyb_mul_size(rows, nyb_grouped_pitch(cols, group) / group, &n))
        return 0;
    return n;
}

nyb_grouped nyb_grouped_view(const nyb_format *format, size_t rows, size_t cols, size_t group,
                             uint8_t *codes, float *scales)
{
    return (nyb_grouped){
        .packed = {.format = format,
                   .rows = rows,
                   .cols = cols,
                   .pitch = nyb_grouped_pitch(cols, group),
                   .scale = 1.0f,
                   .codes = codes},
        .group = group,
        .scales = scales,
    };
}

/* codes[(uint8_t)unit] = the lowest code worth unit, -1 if there is none. */
static void invert(const nyb_format *format, int16_t codes[256])
{
    memset(codes, 0xff, 256 * sizeof *codes);
    for (unsigned code = format->n_codes; code-- > 0;)
        codes[(uint8_t)format->units[code]] = (int16_t)code;
}

static void steps_init(const nyb_format *format, nyb_grouped_steps *steps)
{
    int16_t codes[256], former = -1;
    size_t n = 0;

    invert(format, codes);
    *steps = (nyb_grouped_steps){.inv_unit = 1.0f / format->unit};
    memset(steps->at, 127, sizeof steps->at);
    for (int unit = -128; unit < 128; unit++) {
        const int16_t code = codes[(uint8_t)unit];
        if (code < 0)
            continue;
        if (former < 0) {
            steps->code = (int8_t)code;
        } else {
            steps->at[n] = (int8_t)unit;
            steps->step[n++] = (int8_t)(code - former);
        }
        former = code;
    }
}

static void encode_bytes(const nyb_grouped *g, size_t first, size_t n_rows, const float *values)
{
    const nyb_packed *p = &g->packed;
    const float inv_unit = 1.0f / p->format->unit;
    int16_t table[256];

    invert(p->format, table);
    for (size_t row = first; row < first + n_rows; row++) {
        uint8_t *codes = p->codes + row * p->pitch;
        for (size_t col = 0; col < p->cols; col++)
            codes[col] = (uint8_t)table[(uint8_t)nyb_bits_of(values[col] * inv_unit + 0x1.8p23f)];
        memset(codes + p->cols, 0, p->pitch - p->cols);
        values += p->cols;
    }
    const size_t n = (first + n_rows) * p->pitch;
    if (first + n_rows == p->rows)
        memset(p->codes + n, 0, nyb_round_up(n, BLOCK) - n);
}

static const nyb_grouped_kernel *choose(uint32_t cpu)
{
    const nyb_grouped_kernel *const *kernel = nyb_grouped_kernels;
    while ((*kernel)->needs & ~cpu)
        kernel++; /* ends at "ref", which needs nothing */
    return *kernel;
}

/* Where the flat sequence of codes stands: pads are zeros that no value is read for. */
typedef struct cursor {
    const float *values;
    size_t rows, col; /* rows left, column */
} cursor;

static void cursor_move(cursor *at, size_t n, size_t pitch)
{
    at->col += n;
    if (at->col == pitch) {
        at->col = 0;
        at->rows--;
    }
}

/* 128 codes, some rows' ends and pads among them. */
static void ragged_block(const nyb_packed *p, const nyb_grouped_kernel *kernel,
                         const nyb_grouped_steps *steps, cursor *at, uint8_t codes[BLOCK])
{
    float values[BLOCK] = {0};
    uint8_t pad[BLOCK];

    memset(pad, 0xff, sizeof pad);
    for (size_t i = 0; i < BLOCK && at->rows;) {
        const size_t n = nyb_min(BLOCK - i, p->pitch - at->col);
        const size_t real = at->col < p->cols ? nyb_min(n, p->cols - at->col) : 0;
        memcpy(values + i, at->values, real * sizeof *values);
        memset(pad + i, 0, real);
        at->values += real;
        i += n;
        cursor_move(at, n, p->pitch);
    }
    kernel->codes_128(steps, values, codes);
    for (size_t i = 0; i < BLOCK; i++)
        codes[i] &= (uint8_t)~pad[i];
}

static void encode_nybbles(uint32_t cpu, const nyb_grouped *g, size_t first, size_t n_rows,
                           const float *values)
{
    const nyb_packed *p = &g->packed;
    const nyb_grouped_kernel *kernel = choose(cpu);
    uint8_t *out = p->codes + first * p->pitch / 2;
    const size_t n_blocks = nyb_div_up(n_rows * p->pitch, BLOCK);
    cursor at = {values, n_rows, 0};
    nyb_grouped_steps steps;

    steps_init(p->format, &steps);
    for (size_t b = 0; b < n_blocks; b++, out += NYB_BLOCK_BYTES) {
        uint8_t codes[BLOCK];
        if (at.rows && at.col + BLOCK <= p->cols) {
            kernel->codes_128(&steps, at.values, codes);
            at.values += BLOCK;
            cursor_move(&at, BLOCK, p->pitch);
        } else {
            ragged_block(p, kernel, &steps, &at, codes);
        }
        nyb_packed_join(codes, out);
    }
}

void nyb_grouped_encode_rows(uint32_t cpu, const nyb_grouped *grouped, size_t first, size_t n_rows,
                             const float *values)
{
    if (grouped->packed.format->bits == 4)
        encode_nybbles(cpu, grouped, first, n_rows, values);
    else
        encode_bytes(grouped, first, n_rows, values);
}

static void flat_nybbles(uint32_t cpu, const nyb_grouped *g, size_t first, size_t n,
                         const float *values)
{
    const nyb_grouped_kernel *kernel = choose(cpu);
    uint8_t *out = g->packed.codes + first / 2;
    uint8_t codes[BLOCK];
    nyb_grouped_steps steps;

    steps_init(g->packed.format, &steps);
    for (size_t at = 0; at < n; at += BLOCK, out += NYB_BLOCK_BYTES) {
        if (n - at >= BLOCK) {
            kernel->codes_128(&steps, values + at, codes);
        } else {
            float last[BLOCK] = {0};
            memcpy(last, values + at, (n - at) * sizeof *last);
            kernel->codes_128(&steps, last, codes);
            memset(codes + (n - at), 0, BLOCK - (n - at));
        }
        nyb_packed_join(codes, out);
    }
}

void nyb_grouped_encode_flat(uint32_t cpu, const nyb_grouped *grouped, size_t first, size_t n,
                             const float *values)
{
    const nyb_packed *p = &grouped->packed;
    int16_t table[256];

    if (p->format->bits == 4) {
        flat_nybbles(cpu, grouped, first, n, values);
        return;
    }
    invert(p->format, table);
    const float inv_unit = 1.0f / p->format->unit;
    for (size_t i = 0; i < n; i++)
        p->codes[first + i] =
            (uint8_t)table[(uint8_t)nyb_bits_of(values[i] * inv_unit + 0x1.8p23f)];
    if (first + n == p->rows * p->pitch)
        memset(p->codes + first + n, 0, nyb_round_up(n, BLOCK) - n);
}

void nyb_grouped_encode_columns(uint32_t cpu, const nyb_grouped *grouped, size_t first, size_t step,
                                size_t n_rows, size_t col, const float values[128][16])
{
    const nyb_packed *p = &grouped->packed;

    if (p->format->bits == 4) {
        _Alignas(64) uint8_t codes[16][64];
        nyb_grouped_steps steps;
        steps_init(p->format, &steps);
        choose(cpu)->columns_128(&steps, values, codes);
        for (size_t j = 0; j < n_rows; j++)
            memcpy(p->codes + ((first + j * step) * p->pitch + col) / 2, codes[j], sizeof *codes);
        return;
    }
    int16_t table[256];
    const float inv_unit = 1.0f / p->format->unit;
    invert(p->format, table);
    for (size_t j = 0; j < n_rows; j++) {
        uint8_t *codes = p->codes + (first + j * step) * p->pitch + col;
        for (size_t i = 0; i < BLOCK; i++)
            codes[i] = (uint8_t)table[(uint8_t)nyb_bits_of(values[i][j] * inv_unit + 0x1.8p23f)];
    }
}

typedef struct encode_job {
    uint32_t cpu;
    const nyb_grouped *grouped;
    const float *values;
    size_t rows; /* of a task, a multiple of 8 */
} encode_job;

static void encode_task(void *arg, size_t task, size_t worker)
{
    const encode_job *job = arg;
    const nyb_packed *p = &job->grouped->packed;
    const size_t first = task * job->rows;

    (void)worker;
    nyb_grouped_encode_rows(job->cpu, job->grouped, first, nyb_min(job->rows, p->rows - first),
                            job->values + first * p->cols);
}

void nyb_grouped_encode(const nyb_context *context, const nyb_grouped *grouped, const float *values)
{
    const nyb_packed *p = &grouped->packed;
    encode_job job = {.cpu = context->cpu, .grouped = grouped, .values = values};

    job.rows = nyb_round_up(nyb_div_up(16384, p->pitch), 8);
    nyb_pool_run(context->pool, encode_task, &job, nyb_div_up(p->rows, job.rows));
}

/* A group at a time: its codes are one nybble of adjacent bytes, or bytes. */
void nyb_grouped_decode_rows(const nyb_grouped *grouped, size_t first, size_t n_rows, float *real)
{
    const nyb_packed *p = &grouped->packed;
    const size_t length = grouped->group;
    float grid[256];

    for (unsigned code = 0; code < 256; code++)
        grid[code] = p->format->units[code % p->format->n_codes] * p->format->unit;
    for (size_t row = first; row < first + n_rows; row++) {
        for (size_t col = 0; col < p->cols; col += length) {
            const size_t flat = row * p->pitch + col, n = nyb_min(length, p->cols - col);
            const float scale = grouped->scales ? grouped->scales[flat / length] : 1.0f;
            const bool nybbles = p->format->bits == 4;
            const unsigned shift = nybbles && flat % BLOCK >= NYB_BLOCK_BYTES ? 4 : 0;
            const uint8_t *codes =
                p->codes +
                (nybbles ? flat / BLOCK * NYB_BLOCK_BYTES + flat % NYB_BLOCK_BYTES : flat);
            const uint8_t keep = nybbles ? 15 : 255;
            for (size_t i = 0; i < n; i++)
                *real++ = grid[codes[i] >> shift & keep] * scale * p->scale;
        }
    }
}
