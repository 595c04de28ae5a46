/* SGD whose three updates are rounded to a narrow format. NUMERICS 3.1. */
#include "optim/optim.h"

#include "quant/round.h"

/* Floats of one task, and of a worker's buffers: fixed. */
#define TASK_SIZE 16384
#define PART      1024

typedef struct rounded_work {
    const nyb_round_kernel *kernel;
    nyb_sgd sgd;
    nyb_update update;
    nyb_stream stream;
    int sr_bits;
    float lr;
    float *w, *v;
    const float *g;
    size_t n;
} rounded_work;

/* y[i] = round(a[i] + factor * b[i]): one multiplication, one addition, one rounding. y may be any
 * of the others. `first`: the stream's index of the first element. */
static void axpy(const rounded_work *work, nyb_rng_role role, uint64_t first, size_t n,
                 const float *a, float factor, const float *b, float *y)
{
    nyb_stream stream = work->stream;
    uint32_t r23[PART];

    stream.role = (uint8_t)role;
    for (size_t i = 0; i < n; i++) {
        const float product = factor * b[i];
        y[i] = a[i] + product;
    }
    if (nyb_rounding_draws(work->update.rounding))
        work->kernel->draw(&stream, work->sr_bits, first, n, r23);
    work->kernel->round(work->update.format, work->update.rounding, y,
                        nyb_rounding_draws(work->update.rounding) ? r23 : NULL, n, y);
}

static void update_part(const rounded_work *work, size_t first, size_t n)
{
    const nyb_sgd *sgd = &work->sgd;
    float *w = work->w + first, *v = work->v ? work->v + first : NULL;
    const float *d = work->g + first;
    float buffer[PART];

    if (sgd->weight_decay != 0) {
        axpy(work, NYB_RNG_AXPY_L2, first, n, d, sgd->weight_decay, w, buffer);
        d = buffer;
    }
    if (sgd->momentum != 0) {
        axpy(work, NYB_RNG_AXPY_MOMENTUM, first, n, d, sgd->momentum, v, v);
        for (size_t i = 0; sgd->nesterov && i < n; i++) {
            const float product = sgd->momentum * v[i];
            buffer[i] = d[i] + product;
        }
        d = sgd->nesterov ? buffer : v;
    }
    axpy(work, NYB_RNG_AXPY_UPDATE, first, n, w, -work->lr, d, w);
}

static void update_task(void *arg, size_t task, size_t worker)
{
    const rounded_work *work = arg;
    const size_t end = nyb_min((task + 1) * TASK_SIZE, work->n);

    (void)worker;
    for (size_t at = task * TASK_SIZE; at < end; at += PART)
        update_part(work, at, nyb_min(PART, end - at));
}

static void round_task(void *arg, size_t task, size_t worker)
{
    const rounded_work *work = arg;
    const size_t at = task * TASK_SIZE, n = nyb_min(TASK_SIZE, work->n - at);

    (void)worker;
    work->kernel->round(work->update.format, NYB_ROUND_NEAREST, work->w + at, NULL, n,
                        work->w + at);
}

/* 16 random bits decide exactly where an f32 has at most 16 bits more than the format. */
static int random_bits(const nyb_format *format)
{
    return format->grid == NYB_GRID_FLOAT && format->fp.man_bits >= 7 ? 16 : 32;
}

bool nyb_update_rounds(const nyb_update *update)
{
    return update->format && update->format->grid != NYB_GRID_REAL;
}

void nyb_sgd_run_rounded(const nyb_context *context, const nyb_sgd *sgd, const nyb_update *update,
                         const nyb_stream *stream, float lr, bool decay, float *w, float *v,
                         const float *g, size_t n)
{
    rounded_work work = {
        .kernel = nyb_round_kernel_choose(context->cpu),
        .sgd = *sgd,
        .update = *update,
        .stream = *stream,
        .sr_bits = random_bits(update->format),
        .lr = lr,
        .w = w,
        .v = v,
        .g = g,
        .n = n,
    };

    if (!decay)
        work.sgd.weight_decay = 0;
    nyb_pool_run(context->pool, update_task, &work, n / TASK_SIZE + (n % TASK_SIZE != 0));
}

void nyb_update_round(const nyb_context *context, const nyb_update *update, float *w, size_t n)
{
    rounded_work work = {
        .kernel = nyb_round_kernel_choose(context->cpu), .update = *update, .w = w, .n = n};

    nyb_pool_run(context->pool, round_task, &work, n / TASK_SIZE + (n % TASK_SIZE != 0));
}
