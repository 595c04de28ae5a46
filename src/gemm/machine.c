/* The limits of a machine: product kernels on tiles in the L1 cache, streams of memory. */
#include <nybble/machine.h>

#include "base/context.h"
#include "gemm/conv_impl.h"
#include "gemm/stream.h"

/* ---- peaks ------------------------------------------------------------------------------------
 */

#define ROWS 32
#define COLS NYB_TILE_COLS

struct nyb_peak {
    nyb_context *context;
    nyb_conv *conv; /* for its choice of a kernel */
    size_t k, repeats;
    size_t n_bytes; /* of a thread: a, b, c */
    uint8_t *memory;
};

static size_t bytes_of_a(const nyb_peak *p)
{
    return ROWS * p->k * (p->conv->s8 ? 1 : sizeof(float));
}

static size_t bytes_of_b(const nyb_peak *p)
{
    return p->conv->s8 ? p->k / NYB_TILE_STEP * (NYB_TILE_STEP_BYTES + NYB_TILE_SUMS_BYTES)
                       : COLS * p->k * sizeof(float);
}

/* Values that the formats have, of both signs where they may be. */
static void fill(const nyb_peak *p, uint8_t *memory)
{
    const size_t n = bytes_of_a(p), n_b = bytes_of_b(p);

    if (!p->conv->s8) {
        float *x = (float *)memory;

        for (size_t i = 0; i < (n + n_b) / sizeof *x; i++)
            x[i] = (float)(i % 17) - 8.0f;
        return;
    }
    for (size_t i = 0; i < n; i++)
        memory[i] = (uint8_t)(i % (size_t)(p->conv->max_a + 1));
    for (size_t i = 0; i < n_b; i++)
        memory[n + i] = (uint8_t)((int)(i % (size_t)(2 * p->conv->max_b + 1)) - p->conv->max_b);
}

nyb_status nyb_peak_create(nyb_context *context, const nyb_format *a, const nyb_format *b, size_t k,
                           nyb_peak **peak, nyb_error *err)
{
    const nyb_conv_shape shape = {
        .n = 1, .h = 1, .w = ROWS, .c = k, .o = COLS, .r = 1, .s = 1, .stride = 1};
    nyb_status status;

    *peak = NULL;
    NYB_TRY(nyb_check_pointers(context && a && b, err));
    if (k == 0 || k % NYB_TILE_STEP || k >= 4096)
        return nyb_fail(err, NYB_INVALID, "k %zu is no multiple of %d below 4096", k,
                        NYB_TILE_STEP);
    nyb_peak *p = nyb_alloc(sizeof *p);
    if (!p)
        return nyb_fail(err, NYB_MEMORY, "no memory for a peak");
    *p = (nyb_peak){.context = context, .k = k};
    status = nyb_conv_create(context, NYB_PRODUCT_FWD, &shape, a, b, 1, NULL, &p->conv, err);
    if (status == NYB_OK) {
        p->n_bytes =
            nyb_round_up(bytes_of_a(p) + bytes_of_b(p), NYB_ALIGN) + ROWS * COLS * sizeof(float);
        p->memory = nyb_alloc(p->n_bytes * nyb_pool_threads(context->pool));
        if (!p->memory)
            status = nyb_fail(err, NYB_MEMORY, "no memory for the operands of a peak");
    }
    if (status != NYB_OK) {
        nyb_peak_destroy(&p);
        return status;
    }
    for (size_t i = 0; i < nyb_pool_threads(context->pool); i++)
        fill(p, p->memory + i * p->n_bytes);
    *peak = p;
    return NYB_OK;
}

void nyb_peak_destroy(nyb_peak **peak)
{
    if (!*peak)
        return;
    nyb_conv_destroy(&(*peak)->conv);
    nyb_free((*peak)->memory);
    nyb_free(*peak);
    *peak = NULL;
}

const char *nyb_peak_engine(const nyb_peak *peak)
{
    return nyb_conv_engine(peak->conv);
}

const char *nyb_peak_kernel(const nyb_peak *peak)
{
    return nyb_conv_kernel(peak->conv);
}

uint64_t nyb_peak_macs(const nyb_peak *peak)
{
    return (uint64_t)ROWS * COLS * peak->k * nyb_pool_threads(peak->context->pool);
}

static void repeat_s8(const nyb_peak *p, uint8_t *memory)
{
    uint32_t steps[4096 / NYB_TILE_STEP], numbers[4096 / NYB_TILE_STEP];
    const nyb_conv *conv = p->conv;
    const int8_t *b = (const int8_t *)memory + bytes_of_a(p);
    const nyb_tile_s8_args args = {
        .rows = ROWS,
        .n_steps = p->k / NYB_TILE_STEP,
        .a = memory,
        .lda = p->k,
        .a_step = steps,
        .b = b,
        .b_step = numbers,
        .sums = (const nyb_tile_sums *)(b + p->k / NYB_TILE_STEP * NYB_TILE_STEP_BYTES),
        .c = (int32_t *)(memory + nyb_round_up(bytes_of_a(p) + bytes_of_b(p), NYB_ALIGN)),
        .bias = conv->bias,
        .max_a = conv->max_a,
        .max_b = conv->max_b};

    for (size_t i = 0; i < args.n_steps; i++) {
        steps[i] = (uint32_t)(i * NYB_TILE_STEP);
        numbers[i] = (uint32_t)i;
    }
    conv->tile->begin();
    for (size_t i = 0; i < p->repeats; i++)
        conv->tile->run(&args);
    conv->tile->end();
}

static void repeat_f32(const nyb_peak *p, uint8_t *memory)
{
    const uint32_t off = 0, len = (uint32_t)p->k;
    const nyb_tile_f32_args args = {
        .rows = ROWS,
        .n_runs = 1,
        .a = (const float *)memory,
        .lda = p->k,
        .run_off = &off,
        .run_len = &len,
        .b = (const float *)(memory + bytes_of_a(p)),
        .c = (float *)(memory + nyb_round_up(bytes_of_a(p) + bytes_of_b(p), NYB_ALIGN))};

    for (size_t i = 0; i < p->repeats; i++)
        p->conv->tile_f32->run(&args);
}

static void peak_task(void *arg, size_t task, size_t worker)
{
    const nyb_peak *p = arg;

    (void)worker;
    if (p->conv->s8)
        repeat_s8(p, p->memory + task * p->n_bytes);
    else
        repeat_f32(p, p->memory + task * p->n_bytes);
}

void nyb_peak_run(nyb_peak *peak, size_t repeats)
{
    peak->repeats = repeats;
    nyb_pool_run(peak->context->pool, peak_task, peak, nyb_pool_threads(peak->context->pool));
}

/* ---- streams ----------------------------------------------------------------------------------
 */

typedef struct stream_job {
    const nyb_stream_kernel *kernel;
    nyb_stream_kind kind;
    uint64_t *words;
    size_t n, repeats; /* words of a thread */
} stream_job;

static void stream_task(void *arg, size_t task, size_t worker)
{
    const stream_job *job = arg;
    uint64_t *words = job->words + task * job->n;
    uint64_t sum = 0;

    (void)worker;
    for (size_t i = 0; i < job->repeats; i++) {
        switch (job->kind) {
        case NYB_STREAM_READ:
            sum ^= job->kernel->read(words, job->n);
            break;
        case NYB_STREAM_COPY:
            job->kernel->copy(words, words + job->n / 2, job->n / 2);
            break;
        }
        __asm__ volatile("" : : "r"(sum)); /* so that what was read was wanted */
    }
}

void nyb_stream_run(nyb_context *context, nyb_stream_kind kind, void *memory, size_t n_bytes,
                    size_t repeats)
{
    const size_t n_threads = nyb_pool_threads(context->pool);
    const nyb_stream_kernel *kernel = &nyb_stream_ref;
#if NYB_SIMD
    if (!(nyb_stream_avx2.needs & ~context->cpu))
        kernel = &nyb_stream_avx2;
#endif
    stream_job job = {kernel, kind, memory, n_bytes / sizeof(uint64_t) / n_threads, repeats};

    nyb_pool_run(context->pool, stream_task, &job, n_threads);
}
