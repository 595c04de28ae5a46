/* Whether all gradients are finite, and what was lost on the way: for the scale of the loss. */
#include "grad/grad.h"

#include <stdatomic.h>

typedef struct finite_job {
    const float *x;
    size_t n;
    atomic_bool *found; /* a NaN or Inf */
} finite_job;

#define FINITE_CHUNK 16384

/* A test on integers, cheaper than a norm: the exponent field is all ones in NaN and Inf alone. */
static void finite_task(void *arg, size_t task, size_t worker)
{
    const finite_job *job = arg;
    const size_t begin = task * FINITE_CHUNK, end = nyb_min(begin + FINITE_CHUNK, job->n);
    uint32_t any = 0;

    (void)worker;
    for (size_t i = begin; i < end; i++)
        any |= (nyb_bits_of(job->x[i]) & 0x7f800000u) == 0x7f800000u;
    if (any)
        atomic_store_explicit(job->found, true, memory_order_relaxed);
}

bool nyb_grad_finite(const nyb_graph *g)
{
    atomic_bool found = false;

    for (int i = 0; i < g->n_params; i++) {
        finite_job job = {g->params[i].gradient, g->params[i].n, &found};

        if (g->params[i].learns)
            nyb_pool_run(g->context->pool, finite_task, &job, nyb_div_up(job.n, FINITE_CHUNK));
    }
    return !found;
}

bool nyb_grad_saturated(const nyb_graph *g, nyb_mode mode)
{
    const nyb_program *p = &g->programs[mode];

    for (int i = 0; i < p->n_quants; i++) {
        const nyb_quant *q = &p->quants[i];
        const bool is_gradient = q->slot == NYB_SLOT_DGRAD_DY || q->slot == NYB_SLOT_WGRAD_DY;

        if (is_gradient && q->spec.scale == &nyb_scale_unit &&
            q->moments.absmax * (q->rounds ? q->pre : 1.0f) > q->spec.format->max)
            return true;
    }
    return false;
}
