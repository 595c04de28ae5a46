/* What the files that compile a program share: growing lists, lifetimes, shapes. */
#ifndef NYB_BUILD_H
#define NYB_BUILD_H

#include "graph/graph.h"

typedef struct nyb_builder {
    nyb_graph *g;
    nyb_program *p;
    nyb_error *err;
    nyb_status status; /* the first failure; later calls then do nothing useful */
    int *value;        /* [n_layers] buffer of the output                       */
    int *grad;         /* [n_layers] buffer of dLoss/dOutput, or -1             */
    int *saved;        /* [n_layers] buffer that forward leaves, or -1          */
    int *x, *w;        /* [n_layers] quant of fwd.x and fwd.w, or -1            */
} nyb_builder;

void nyb_build_fail(nyb_builder *b, nyb_status status);
/* Room for one more item in a list; false when out of memory. */
bool nyb_build_reserve(nyb_builder *b, void **items, int n, int *n_capacity, size_t item_bytes);
int nyb_build_buffer(nyb_builder *b, const char *what, int layer, nyb_home home, int param,
                     size_t n_bytes);
/* The step now being added uses this buffer; -1: none. */
void nyb_build_touch(nyb_builder *b, int buffer);
/* A zeroed step, every buffer -1; counted by n_steps++ when it is filled. */
nyb_step *nyb_build_step(nyb_builder *b, nyb_step_kind kind, int layer);
void nyb_build_scratch(nyb_builder *b, size_t n_bytes);
/* A layer's output shape with the batch. */
nyb_shape nyb_build_shape(const nyb_builder *b, int layer);
/* The buffer of a layer's own parameter, or of its gradient. */
int nyb_build_param(nyb_builder *b, int layer, int index, nyb_home home);
/* The gradient buffer of an input, and whether to add to what other consumers left there. */
int nyb_build_gradient(nyb_builder *b, int layer, bool *add);
void nyb_build_op_args(nyb_builder *b, int layer, nyb_op_args *args);

/* build_gemm.c */
void nyb_build_gemm_forward(nyb_builder *b, int layer);
void nyb_build_gemm_backward(nyb_builder *b, int layer);

#endif
