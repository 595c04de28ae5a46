/* The update of f32 master weights, and the learning rate's course. */
#ifndef NYB_OPTIM_H
#define NYB_OPTIM_H

#include "base/context.h"
#include "base/rng.h"
#include "recipe/recipe.h"

typedef struct nyb_sgd {
    float momentum;     /* 0: plain */
    bool nesterov;      /* PyTorch's form */
    float weight_decay; /* L2, added to the gradient: g += wd * w, where decay is wanted */
} nyb_sgd;

/* PyTorch's order, each product-sum one fmaf:
 *   g = fmaf(wd, w, g);  v = fmaf(momentum, v, g) (first step: v starts at 0);
 *   d = nesterov ? fmaf(momentum, v, g) : v;  w = fmaf(-lr, d, w).
 * A weight decay or momentum of 0 leaves its operation out; v may then be NULL (momentum 0). */
void nyb_sgd_run(const nyb_context *context, const nyb_sgd *sgd, float lr, bool decay, float *w,
                 float *v, const float *g, size_t n);

/* The same with every update rounded to a format (Wang et al., NeurIPS 2018; NUMERICS 3.1), in
 * PyTorch's order; R: one rounding of an f32 product and an f32 sum, saturating:
 *   g = R(g + wd * w)              random bits of role NYB_RNG_AXPY_L2
 *   v = R(g + momentum * v)        NYB_RNG_AXPY_MOMENTUM
 *   d = nesterov ? g + momentum * v : v      not stored, not rounded
 *   w = R(w + -lr * d)             NYB_RNG_AXPY_UPDATE
 * Element i of the stream (seed, step, tensor; its role is set here) is element i of w. Stochastic
 * rounding is exactly unbiased for formats with 7 or more bits of mantissa. NaN becomes 0 and Inf
 * the largest value: check gradients before. */
void nyb_sgd_run_rounded(const nyb_context *context, const nyb_sgd *sgd, const nyb_update *update,
                         const nyb_stream *stream, float lr, bool decay, float *w, float *v,
                         const float *g, size_t n);
/* w = the nearest values of the update's format: where weights begin. */
void nyb_update_round(const nyb_context *context, const nyb_update *update, float *w, size_t n);
/* False: updates are those of nyb_sgd_run. */
bool nyb_update_rounds(const nyb_update *update);

/* An exponential mean of weights: mean += (1 - decay) * (w - mean), each operation rounded. */
void nyb_mean_run(const nyb_context *context, float decay, const float *w, float *mean, size_t n);

/* X(constant, word, sentence) */
#define NYB_SCHEDULE_LIST(X)                                                                       \
    X(NYB_SCHEDULE_CONSTANT, "constant", "the base rate throughout")                               \
    X(NYB_SCHEDULE_STEP, "step", "times gamma at each milestone (fractions of the run)")           \
    X(NYB_SCHEDULE_LINEAR, "linear", "from the base rate to 0")                                    \
    X(NYB_SCHEDULE_COSINE, "cosine", "half a cosine from the base rate to 0")

typedef enum nyb_schedule_kind {
#define X(constant, word, sentence) constant,
    NYB_SCHEDULE_LIST(X)
#undef X
} nyb_schedule_kind;

typedef struct nyb_schedule {
    nyb_schedule_kind kind;
    double base;
    uint64_t n_steps;     /* of the whole run, warm-up included */
    uint64_t n_warmup;    /* linear from base / n_warmup to base */
    double gamma;         /* step: 0.1 */
    double milestones[4]; /* step: fractions of n_steps, increasing; 0 ends */
} nyb_schedule;

/* The rate of step 0 <= t < n_steps; double arithmetic with nyb_cos, cast to float. */
float nyb_schedule_rate(const nyb_schedule *schedule, uint64_t t);
/* FNT's triangle (NUMERICS 1.8): t in 0..T, from last up to peak at T/2 and back to last. */
float nyb_schedule_fnt(double last, double peak, uint64_t t, uint64_t n_steps);

#endif
