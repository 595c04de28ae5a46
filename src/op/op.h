/* Operators: plain functions on tensors, each a record with forward and backward side by side. */
#ifndef NYB_OP_H
#define NYB_OP_H

#include "quant/quant.h"

/* Every tensor is [n][h][w][c], c fastest; a matrix is n x 1 x 1 x c; a sequence n x 1 x t x c. */
typedef struct nyb_shape {
    size_t n, h, w, c;
} nyb_shape;

static inline size_t nyb_shape_rows(nyb_shape s)
{
    return s.n * s.h * s.w;
}

static inline size_t nyb_shape_size(nyb_shape s)
{
    return s.n * s.h * s.w * s.c;
}

/* What a layer says of itself; an operator reads the members it knows. */
typedef struct nyb_attr {
    size_t out;                 /* conv2d, linear: output channels                       */
    size_t kernel, stride, pad; /* convolutions, maxpool, avgpool                              */
    bool bias;                  /* convolutions, linear                                        */
    float eps, momentum;   /* batchnorm: y uses sqrt(var + eps); running += momentum*(new-old) */
    float label_smoothing; /* softmax_xent                                          */
    float loss_scale;      /* softmax_xent: factor of its gradient; 0: 1            */
} nyb_attr;

#define NYB_OP_INPUTS  2
#define NYB_OP_PARAMS  2 /* trained: weight, bias / gamma, beta          */
#define NYB_OP_BUFFERS 2 /* not trained: running mean, running variance  */

typedef enum nyb_init {
    NYB_INIT_ZERO,
    NYB_INIT_ONE,
    NYB_INIT_HE_NORMAL /* N(0, 2 / fan_in), fan_in = elements per output */
} nyb_init;

typedef struct nyb_param_desc {
    const char *name; /* PyTorch's: "weight", "bias", "running_mean", "running_var" */
    nyb_init init;
    bool decay; /* weight decay applies */
} nyb_param_desc;

/* What batchnorm does in the same pass where the graph fuses it with its neighbours (graph/fuse.c);
 * all zero: nothing. The bits are those of the operators one after the other. Channels are a
 * multiple of 16. */
typedef struct nyb_op_fused {
    /* forward: out = relu(y [+ residual]); backward: dout is relu's */
    bool relu;
    const float *residual; /* or NULL */
    uint8_t *mask;         /* relu's: forward writes it (NULL: not wanted), backward reads it */
    float *kept;           /* backward: dout where the mask is set, for others; or NULL */
    /* x in bf16, any number of channels: forward writes it in training and takes it for x, backward
     * reads it instead of in[0]; NULL: x stays f32. given: who made x stored it so, in[0] is NULL
     */
    uint16_t *stored;
    bool given;
    const nyb_stream
        *draws; /* forward: x is rounded by these, as store.h says; NULL: to the nearest */
    const uint16_t *dout; /* backward: dout in bf16, instead of the f32 one; only with stored */
    /* of what is written (out, din[0]), as nyb_moments_run has them; or NULL */
    nyb_block_moments *moments;
    /* out, or din[0], is not written: out_rows, or din_rows, make it again where it is read. They
     * find in coefs (3 floats a channel) what they need. */
    bool unstored;
    float *coefs;
} nyb_op_fused;

/* One node with its memory. Pointers an operator does not use are NULL. Results never depend on the
 * context. saved may be NULL where no backward follows (evaluation); relu, add, batchnorm and
 * flatten may work in place, as far as backward_in allows. din NULL or dparam NULL: not computed.
 */
typedef struct nyb_op_args {
    const nyb_context *context;
    const nyb_attr *attr;
    nyb_shape in_shape[NYB_OP_INPUTS], out_shape;
    const float *in[NYB_OP_INPUTS];
    float *out;
    const float *param[NYB_OP_PARAMS];
    float *buffer[NYB_OP_BUFFERS];
    void *saved;           /* what forward leaves for backward, saved_bytes() */
    void *scratch;         /* scratch_bytes(), content lost between calls     */
    bool training;         /* batchnorm: batch statistics, and update buffers */
    const int32_t *labels; /* softmax_xent: [n] class, < out_shape.c of logits */

    /* backward */
    const float *dout;
    float *din[NYB_OP_INPUTS];    /* NULL: not wanted */
    bool din_add[NYB_OP_INPUTS];  /* din += instead of = */
    float *dparam[NYB_OP_PARAMS]; /* overwritten */

    nyb_op_fused fused; /* batchnorm */
} nyb_op_args;

typedef struct nyb_op {
    const char *name; /* "conv2d", "batchnorm", "relu", ... */
    const char *about;
    int n_inputs, n_params, n_buffers;
    nyb_param_desc params[NYB_OP_PARAMS], buffers[NYB_OP_BUFFERS];
    bool is_gemm; /* conv2d, depthwise_conv2d, linear: graph/build lowers them to quantization nodes
                   */
    bool depthwise;    /* is_gemm, with filters [c][r][s]: the products are nyb_depthwise's */
    bool backward_in;  /* backward reads in[]: the plan must keep it  */
    bool backward_out; /* backward reads out                          */
    bool makes_nonneg; /* output >= 0 whatever the input              */
    bool keeps_nonneg; /* output >= 0 if every input is               */
    bool of_rows;      /* is_gemm: of a matrix, rows by columns (linear), not of images           */
    bool is_view;      /* out is the memory of in[0] under another shape (flatten)               */
    bool passes_on; /* din of each input is dout: the first one takes its buffer (add, flatten) */
    bool stores_in; /* keeps in[0] for backward as the recipe's `store` says (batchnorm)       */

    NYB_MUST_CHECK nyb_status (*shape)(const nyb_attr *attr, const nyb_shape *in, nyb_shape *out,
                                       nyb_error *err);
    /* The functions below take what `shape` accepted: no size overflows then. */
    size_t (*param_size)(const nyb_attr *attr, const nyb_shape *in, int i);  /* floats; 0: none */
    size_t (*buffer_size)(const nyb_attr *attr, const nyb_shape *in, int i); /* floats; or NULL */
    size_t (*saved_bytes)(const nyb_attr *attr, const nyb_shape *in);        /* or NULL: 0 */
    size_t (*scratch_bytes)(const nyb_attr *attr, const nyb_shape *in);      /* or NULL: 0 */
    void (*forward)(const nyb_op_args *args);  /* is_gemm: NULL, the graph runs the products */
    void (*backward)(const nyb_op_args *args); /* is_gemm: bias gradient only (dparam[1] = column
                                                  sums of dout, canonical)                      */
    /* Rows of out after forward, of din[0] after backward, with their args; NULL: it cannot */
    void (*out_rows)(const nyb_op_args *args, size_t row, size_t n, float *rows);
    void (*din_rows)(const nyb_op_args *args, size_t row, size_t n, float *rows);
} nyb_op;

extern const nyb_op *const nyb_ops[]; /* NULL-terminated */
const nyb_op *nyb_op_find(const char *name);

/* softmax_xent: out_shape is 1x1x1x2: out[0] = mean loss, out[1] = number of correct top-1.
 * backward: din[0] = attr->loss_scale * d(mean loss)/d logits (dout is ignored). */

/* The loss of one row of logits, without smoothing; *right: its class is predicted, top 1, ties to
 * the first; none is if there is a NaN. */
float nyb_softmax_xent_row(const float *logits, size_t classes, size_t label, bool *right);

#endif
