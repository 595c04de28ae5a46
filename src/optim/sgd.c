#include "optim/optim.h"

#include "op/elem.h"

/* Floats of one task: fixed, and a multiple of 16. */
#define TASK_SIZE 16384

typedef struct sgd_work {
    const nyb_elem_kernel *kernel;
    nyb_elem_sgd sgd;
    float *w, *v;
    const float *g;
    size_t n;
} sgd_work;

static void sgd_task(void *arg, size_t task, size_t worker)
{
    const sgd_work *work = arg;
    const size_t at = task * TASK_SIZE;

    (void)worker;
    work->kernel->sgd(&work->sgd, work->w + at, work->v ? work->v + at : NULL, work->g + at,
                      nyb_min(TASK_SIZE, work->n - at));
}

void nyb_sgd_run(const nyb_context *context, const nyb_sgd *sgd, float lr, bool decay, float *w,
                 float *v, const float *g, size_t n)
{
    sgd_work work = {
        .kernel = nyb_elem_choose(context->cpu),
        .sgd = {lr, sgd->momentum, decay ? sgd->weight_decay : 0, sgd->nesterov},
        .w = w,
        .v = v,
        .g = g,
        .n = n,
    };

    nyb_pool_run(context->pool, sgd_task, &work, n / TASK_SIZE + (n % TASK_SIZE != 0));
}

typedef struct mean_work {
    const float *w;
    float *mean;
    float share;
    size_t n;
} mean_work;

static void mean_task(void *arg, size_t task, size_t worker)
{
    const mean_work *work = arg;
    const size_t at = task * TASK_SIZE, n = nyb_min(TASK_SIZE, work->n - at);
    const float *const w = work->w + at;
    float *const mean = work->mean + at;

    (void)worker;
    for (size_t i = 0; i < n; i++)
        mean[i] += work->share * (w[i] - mean[i]);
}

void nyb_mean_run(const nyb_context *context, float decay, const float *w, float *mean, size_t n)
{
    mean_work work = {w, mean, 1.0f - decay, n};

    nyb_pool_run(context->pool, mean_task, &work, n / TASK_SIZE + (n % TASK_SIZE != 0));
}
