/* What happens to gradients between backward and update: norm, clipping, finiteness. */
#ifndef NYB_GRAD_H
#define NYB_GRAD_H

#include "graph/graph.h"

/* Bytes of scratch that nyb_grad_norm needs for the graph's largest parameter. */
size_t nyb_grad_scratch_bytes(const nyb_graph *graph);

/* sqrt of the canonical sum of squares over all gradients, in parameter order; NaN if any gradient
 * is NaN or infinite. */
double nyb_grad_norm(const nyb_graph *graph, void *scratch);

/* Scales all gradients by max_norm / norm if norm > max_norm > 0. */
void nyb_grad_clip(const nyb_graph *graph, double norm, double max_norm);

#endif
