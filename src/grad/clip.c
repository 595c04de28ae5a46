#include <math.h>

#include "grad/grad.h"

size_t nyb_grad_scratch_bytes(const nyb_graph *g)
{
    size_t n_bytes = 0;

    for (int i = 0; i < g->n_params; i++)
        n_bytes = nyb_max(n_bytes, nyb_moments_scratch_bytes(1, g->params[i].n));
    return n_bytes;
}

double nyb_grad_norm(const nyb_graph *g, void *scratch)
{
    double sum = 0.0;

    for (int i = 0; i < g->n_params; i++) {
        nyb_moments m;

        if (!g->params[i].trained)
            continue;
        nyb_moments_run(g->context, g->params[i].gradient, 1, g->params[i].n, scratch, &m);
        if (m.n_nan + m.n_inf > 0)
            return NAN;
        sum += m.sum_sq;
    }
    return sqrt(sum);
}

typedef struct scale_job {
    float *x;
    size_t n;
    float factor;
} scale_job;

#define SCALE_CHUNK 16384

static void scale_task(void *arg, size_t task, size_t worker)
{
    const scale_job *job = arg;
    const size_t begin = task * SCALE_CHUNK, end = nyb_min(begin + SCALE_CHUNK, job->n);

    (void)worker;
    for (size_t i = begin; i < end; i++)
        job->x[i] *= job->factor;
}

void nyb_grad_clip(const nyb_graph *g, double norm, double max_norm)
{
    if (!(max_norm > 0.0) || !(norm > max_norm))
        return;
    for (int i = 0; i < g->n_params; i++) {
        scale_job job = {g->params[i].gradient, g->params[i].n, (float)(max_norm / norm)};

        if (g->params[i].trained)
            nyb_pool_run(g->context->pool, scale_task, &job,
                         (job.n + SCALE_CHUNK - 1) / SCALE_CHUNK);
    }
}
