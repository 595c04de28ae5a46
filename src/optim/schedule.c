#include "base/math.h"
#include "optim/optim.h"

#define PI 3.14159265358979323846

/* gamma for each milestone that step t has reached; a fraction means the nearest step. */
static double stepped(const nyb_schedule *schedule, uint64_t t)
{
    const size_t n = sizeof schedule->milestones / sizeof schedule->milestones[0];
    double factor = 1;

    for (size_t i = 0; i < n && schedule->milestones[i] > 0; i++)
        if (t >= (uint64_t)(schedule->milestones[i] * (double)schedule->n_steps + 0.5))
            factor *= schedule->gamma;
    return factor;
}

/* The fraction of the base rate at step t, warm-up left out. */
static double course(const nyb_schedule *schedule, uint64_t t)
{
    const double length = (double)schedule->n_steps - (double)schedule->n_warmup;
    const double done = (double)t - (double)schedule->n_warmup;
    const double progress = done < length ? done / length : 1;

    switch (schedule->kind) {
    case NYB_SCHEDULE_CONSTANT:
        return 1;
    case NYB_SCHEDULE_STEP:
        return stepped(schedule, t);
    case NYB_SCHEDULE_LINEAR:
        return 1 - progress;
    case NYB_SCHEDULE_COSINE:
        return 0.5 * (1 + nyb_cos(PI * progress));
    }
    return 1;
}

float nyb_schedule_rate(const nyb_schedule *schedule, uint64_t t)
{
    if (t < schedule->n_warmup)
        return (float)(schedule->base * (double)(t + 1) / (double)schedule->n_warmup);
    return (float)(schedule->base * course(schedule, t));
}

float nyb_schedule_fnt(double last, double peak, uint64_t t, uint64_t n_steps)
{
    const double half = (double)n_steps / 2, done = t < n_steps ? (double)t : (double)n_steps;
    const double climb = done <= half ? done : (double)n_steps - done;

    return (float)(n_steps ? last + (peak - last) * climb / half : last);
}
