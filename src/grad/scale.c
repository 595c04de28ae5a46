/* Multiplying gradients, and the scale of the loss. NUMERICS 3.6. */
#include "grad/grad.h"

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

void nyb_grad_scale(const nyb_graph *g, float factor)
{
    for (int i = 0; i < g->n_params; i++) {
        scale_job job = {g->params[i].gradient, g->params[i].n, factor};

        if (g->params[i].learns)
            nyb_pool_run(g->context->pool, scale_task, &job, nyb_div_up(job.n, SCALE_CHUNK));
    }
}

nyb_loss_scaler nyb_loss_scaler_start(const struct nyb_recipe *recipe)
{
    const bool scales = recipe->loss_scale != NYB_LOSS_SCALE_NONE;

    return (nyb_loss_scaler){.scale = scales ? recipe->loss_scale_start : 1.0f};
}

bool nyb_loss_scaler_judge(nyb_loss_scaler *scaler, bool finite)
{
    if (!finite) {
        const float half = scaler->scale * 0.5f;

        scaler->scale = half > NYB_LOSS_SCALE_MIN ? half : NYB_LOSS_SCALE_MIN;
        scaler->n_good = 0;
        return false;
    }
    if (++scaler->n_good == NYB_LOSS_SCALE_PERIOD) {
        const float twice = scaler->scale * 2.0f;

        scaler->scale = twice < NYB_LOSS_SCALE_MAX ? twice : NYB_LOSS_SCALE_MAX;
        scaler->n_good = 0;
    }
    return true;
}
