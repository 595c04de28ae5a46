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

        if (!g->params[i].learns)
            continue;
        nyb_moments_run(g->context, g->params[i].gradient, 1, g->params[i].n, scratch, &m);
        if (m.n_nan + m.n_inf > 0)
            return NAN;
        sum += m.sum_sq;
    }
    return sqrt(sum);
}

void nyb_grad_clip(const nyb_graph *g, double norm, double max_norm)
{
    if (max_norm > 0.0 && norm > max_norm)
        nyb_grad_scale(g, (float)(max_norm / norm));
}
