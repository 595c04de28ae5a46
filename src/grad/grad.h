/* What happens to gradients between backward and update: norm, clipping, finiteness. */
#ifndef NYB_GRAD_H
#define NYB_GRAD_H

#include "graph/graph.h"

/* Bytes of scratch that nyb_grad_norm needs for the graph's largest parameter. */
size_t nyb_grad_scratch_bytes(const nyb_graph *graph);

/* sqrt of the canonical sum of squares over all gradients, in parameter order; NaN if any gradient
 * is NaN or infinite. */
double nyb_grad_norm(const nyb_graph *graph, void *scratch);

/* False if any gradient is NaN or infinite. */
bool nyb_grad_finite(const nyb_graph *graph);

/* True if the backward pass clipped a gradient at the largest value of a format without a scale:
 * what is infinity to IEEE's encoders saturates in ours. */
bool nyb_grad_saturated(const nyb_graph *graph, nyb_mode mode);

/* Multiplies all gradients. */
void nyb_grad_scale(const nyb_graph *graph, float factor);

/* The factor of the loss gradient: a power of two, so that taking it back is exact. It keeps small
 * gradients from underflowing in formats without scales of their own. */
#define NYB_LOSS_SCALE_MIN    0x1p-10f
#define NYB_LOSS_SCALE_MAX    0x1p24f
#define NYB_LOSS_SCALE_PERIOD 2000

typedef struct nyb_loss_scaler {
    float scale;
    uint64_t n_good; /* updates since the scale last changed */
} nyb_loss_scaler;

/* The recipe's first scale; 1 if it has none. */
nyb_loss_scaler nyb_loss_scaler_start(const struct nyb_recipe *recipe);
/* Dynamic scaling after a backward pass: halves on overflow (false: skip the update), doubles after
 * NYB_LOSS_SCALE_PERIOD good updates; between MIN and MAX. */
bool nyb_loss_scaler_judge(nyb_loss_scaler *scaler, bool finite);

/* Scales all gradients by max_norm / norm if norm > max_norm > 0. */
void nyb_grad_clip(const nyb_graph *graph, double norm, double max_norm);

#endif
