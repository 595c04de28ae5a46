/* The list of encoder variants, and the loop over a tensor. */
#include "quant/round.h"

#include <float.h>

#define TASK (256 * NYB_BLOCK_CODES) /* codes */

const nyb_encode_kernel *const nyb_encode_kernels[] = {
#if NYB_SIMD
    &nyb_encode_avx512,
    &nyb_encode_avx2,
#endif
    &nyb_encode_ref,
    NULL,
};

const nyb_encode_kernel *nyb_encode_kernel_choose(uint32_t cpu)
{
    const nyb_encode_kernel *const *k = nyb_encode_kernels;

    while ((*k)->needs & ~cpu)
        k++; /* ends at "ref", which needs nothing */
    return *k;
}

void nyb_encode_blocks(uint32_t cpu, const nyb_spec *spec, float inv_scale,
                       const nyb_stream *stream, uint64_t first, const float *x, size_t n,
                       uint8_t *codes)
{
    const nyb_encode_kernel *const *k = nyb_encode_kernels;

    if (nyb_encode_grid(cpu, spec, inv_scale, stream, first, x, n, codes))
        return;
    /* "ref" does everything */
    while (((*k)->needs & ~cpu) || !(*k)->encode(spec, inv_scale, stream, first, x, n, codes))
        k++;
}

typedef struct job {
    uint32_t cpu;
    const nyb_spec *spec;
    const nyb_stream *stream;
    const float *x; /* from element x_first on */
    size_t x_first;
    const nyb_row_maker *maker;
    size_t task_rows, chunk_rows; /* of a maker's task, and of what it makes at once */
    nyb_block_moments *seen;      /* of the maker's tasks, or NULL */
    nyb_packed *out;
    float inv_scale;
    size_t n_flat; /* rows * pitch */
} job;

static const float *at(const job *j, size_t element)
{
    return j->x + (element - j->x_first);
}

/* ---- factors ----------------------------------------------------------------------------------
 */

/* The least factor whose largest value is not below a group's largest magnitude. */
static unsigned choose_factor(const nyb_format *f, float absmax, float scale)
{
    const float reach = f->max * scale, wanted = absmax / reach;
    unsigned factor = wanted < (float)f->multiples ? (unsigned)wanted : f->multiples;

    factor += factor < f->multiples && (float)factor * reach < absmax;
    return factor > 1 ? factor : 1;
}

/* x / (factor scale) of the elements base .. base + n, where base + n stays inside the tensor; the
 * factors of the groups that begin there are written. Groups of a row are 16 columns; the last may
 * have fewer. */
static void divide(const job *j, size_t base, size_t n, float *real)
{
    const nyb_packed *p = j->out;
    const nyb_round_kernel *kernel = nyb_round_kernel_choose(j->cpu);
    uint8_t *factors = nyb_packed_factors(p);

    for (size_t i = base, end = base + n, next; i < end; i = next) {
        const size_t row = i / p->cols, col = i % p->cols, first = i - col % NYB_PITCH;
        const size_t length = nyb_min(NYB_PITCH, p->cols - (col - col % NYB_PITCH));
        unsigned factor;
        float absmax;

        next = nyb_min(first + length, end);
        kernel->block_stats(at(j, first), 1, length, length, &absmax);
        factor = choose_factor(p->format, absmax, p->scale);
        factors[(row * p->pitch + col) / NYB_PITCH] = (uint8_t)factor;
        kernel->scale(at(j, i), next - i, 0.0f, 1.0f / ((float)factor * p->scale),
                      real + (i - base));
    }
}

/* Whole blocks, where every group is full. */
static void encode_factored(const job *j, size_t first, size_t n, uint8_t *codes)
{
    const nyb_packed *p = j->out;
    const nyb_round_kernel *kernel = nyb_round_kernel_choose(j->cpu);
    uint8_t *factors = nyb_packed_factors(p) + first / NYB_PITCH;
    float real[NYB_BLOCK_CODES], absmax[NYB_BLOCK_CODES / NYB_PITCH];

    for (size_t i = 0; i < n; i += NYB_BLOCK_CODES) {
        const float *x = at(j, first + i);

        kernel->block_stats(x, NYB_BLOCK_CODES / NYB_PITCH, NYB_PITCH, NYB_PITCH, absmax);
        for (size_t g = 0; g < NYB_BLOCK_CODES / NYB_PITCH; g++) {
            const unsigned factor = choose_factor(p->format, absmax[g], p->scale);
            const float inv = 1.0f / ((float)factor * p->scale);

            factors[i / NYB_PITCH + g] = (uint8_t)factor;
            for (size_t e = g * NYB_PITCH; e < (g + 1) * NYB_PITCH; e++)
                real[e] = x[e] * inv;
        }
        nyb_encode_blocks(j->cpu, j->spec, 1.0f, j->stream, first + i, real, NYB_BLOCK_CODES,
                          codes + i / 2);
    }
}

/* The block of 128 flat codes at `flat`, where rows are padded or the tensor ends. Its elements are
 * contiguous in x, one row's after the other's; they are encoded from an index that is a multiple
 * of 8, zeros follow the tensor's last, and are then placed one by one. */
static void encode_ragged(const job *j, size_t flat, uint8_t *codes)
{
    const nyb_packed *p = j->out;
    float real[2 * NYB_BLOCK_CODES] = {0};
    uint8_t dense[2 * NYB_BLOCK_CODES] = {0};
    nyb_packed from = {.format = p->format, .pitch = sizeof dense, .codes = dense};
    nyb_packed to = {.format = p->format, .pitch = NYB_BLOCK_CODES, .codes = codes};
    size_t row = flat / p->pitch, col = flat % p->pitch; /* multiples of 16 are no pads */
    size_t first = row * p->cols + col, base = first - first % 8, i = first;
    const size_t rows = (flat + NYB_BLOCK_CODES - 1) / p->pitch - row + 1; /* that it touches */
    const size_t most = nyb_min(rows * p->cols, NYB_BLOCK_CODES) + (first - base);

    memset(codes, 0, p->format->bits == 4 ? NYB_BLOCK_BYTES : NYB_BLOCK_CODES);
    if (p->format->multiples)
        divide(j, base, nyb_min(p->rows * p->cols - base, NYB_BLOCK_CODES + 8), real);
    else
        memcpy(real, at(j, base),
               nyb_min(p->rows * p->cols - base, NYB_BLOCK_CODES + 8) * sizeof(float));
    nyb_encode_blocks(j->cpu, j->spec, j->inv_scale, j->stream, base, real,
                      nyb_round_up(most, NYB_BLOCK_CODES), dense);
    for (size_t c = 0; c < NYB_BLOCK_CODES; c += p->pitch - p->cols, col = 0)
        for (; col < p->cols && c < NYB_BLOCK_CODES; col++, c++)
            nyb_packed_set(&to, 0, c, nyb_packed_get(&from, 0, i++ - base));
}

/* Flat codes begin .. end; begin is a multiple of 128, end too or where the tensor ends. */
static void encode_range(const job *j, size_t begin, size_t end)
{
    const size_t per_byte = j->out->format->bits == 4 ? 2 : 1;
    size_t whole = begin;

    if (j->out->cols == j->out->pitch)
        whole = end - end % NYB_BLOCK_CODES;
    if (whole > begin && j->out->format->multiples)
        encode_factored(j, begin, whole - begin, j->out->codes + begin / per_byte);
    else if (whole > begin)
        nyb_encode_blocks(j->cpu, j->spec, j->inv_scale, j->stream, begin, at(j, begin),
                          whole - begin, j->out->codes + begin / per_byte);
    for (size_t flat = whole; flat < end; flat += NYB_BLOCK_CODES)
        encode_ragged(j, flat, j->out->codes + flat / per_byte);
}

static void run_task(void *arg, size_t task, size_t worker)
{
    const job *j = arg;
    const size_t begin = task * TASK;

    (void)worker;
    encode_range(j, begin, nyb_min(begin + TASK, j->n_flat));
}

/* Eight rows of 16 k columns are whole blocks of 128. About 16 KiB at once stay in L1. */
#define CHUNK_ROWS   8
#define CHUNK_FLOATS 4096

/* Adds a chunk to what a task has seen. */
static void look_at(const job *j, const float *made, size_t rows, nyb_block_moments *seen)
{
    nyb_block_moments part[NYB_MAKER_COLS_MAX / 16];
    const size_t cols = j->out->cols;

    nyb_encode_kernel_choose(j->cpu)->moments(made, rows, cols, 16, cols / 16, part);
    for (size_t i = 0; i < cols / 16; i++) {
        seen->absmax_bits = nyb_max(seen->absmax_bits, part[i].absmax_bits);
        seen->n_nonzero += part[i].n_nonzero;
        seen->n_nan += part[i].n_nan;
        seen->n_inf += part[i].n_inf;
    }
}

static void made_task(void *arg, size_t task, size_t worker)
{
    _Alignas(64) float made[CHUNK_ROWS * NYB_MAKER_COLS_MAX];
    const job *all = arg;
    const size_t cols = all->out->cols, first = task * all->task_rows;
    const size_t last = nyb_min(first + all->task_rows, all->out->rows);
    job j = *all;

    (void)worker;
    j.x = made;
    for (size_t row = first; row < last; row += j.chunk_rows) {
        const size_t n = nyb_min(j.chunk_rows, last - row);

        j.maker->make(j.maker->self, row, n, made);
        if (j.seen)
            look_at(&j, made, n, &j.seen[task]);
        j.x_first = row * cols;
        encode_range(&j, j.x_first, j.x_first + n * cols);
    }
}

/* false: a tensor without a scale, all codes zero. */
static bool start(job *j)
{
    nyb_packed *out = j->out;

    if (!(out->scale >= FLT_MIN && out->scale <= 0x1p126f)) {
        memset(out->codes, 0, nyb_packed_bytes(out->format, out->rows, out->cols));
        return false;
    }
    j->inv_scale = out->format->multiples ? 1.0f : out->inv != 0.0f ? out->inv : 1.0f / out->scale;
    j->n_flat = out->rows * out->pitch;
    return true;
}

void nyb_encode_run(const nyb_context *context, const nyb_spec *spec, const nyb_stream *stream,
                    const float *x, nyb_packed *out)
{
    job j = {.cpu = context->cpu, .spec = spec, .stream = stream, .x = x, .out = out};

    if (start(&j))
        nyb_pool_run(context->pool, run_task, &j, j.n_flat / TASK + (j.n_flat % TASK != 0));
}

void nyb_encode_made(const nyb_context *context, const nyb_spec *spec, const nyb_stream *stream,
                     const nyb_row_maker *maker, nyb_packed *out, nyb_block_moments *seen)
{
    job j = {.cpu = context->cpu, .spec = spec, .stream = stream, .maker = maker, .out = out};

    if (!start(&j))
        return;
    if (seen) /* a task has at least as many elements as a block */
        memset(seen, 0, nyb_moments_blocks(out->rows, out->cols) * sizeof *seen);
    j.seen = seen;
    j.chunk_rows = CHUNK_ROWS * nyb_max(CHUNK_FLOATS / (CHUNK_ROWS * out->cols), 1);
    j.task_rows = j.chunk_rows * nyb_max(TASK / (j.chunk_rows * out->cols), 1);
    nyb_pool_run(context->pool, made_task, &j,
                 out->rows / j.task_rows + (out->rows % j.task_rows != 0));
}
