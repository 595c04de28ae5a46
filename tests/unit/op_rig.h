/* A bench for any operator: its tensors, each in a heap block of exactly the promised size. */
#ifndef OP_RIG_H
#define OP_RIG_H

#include <stdlib.h>

#include "../golden/formula.h"
#include "op/op.h"

typedef struct rig {
    const nyb_op *op;
    nyb_attr attr;
    nyb_op_args args; /* in, param, dout point to the writable members below */
    float *in[NYB_OP_INPUTS], *param[NYB_OP_PARAMS], *dout;
    int32_t *labels;
    size_t in_size[NYB_OP_INPUTS], out_size, param_size[NYB_OP_PARAMS];
    size_t buffer_size[NYB_OP_BUFFERS];
} rig;

/* n floats: wide(t, i) + offset; NULL for none. */
static inline float *rig_floats(size_t n, uint32_t t, float offset)
{
    float *p = n ? malloc(n * sizeof *p) : NULL;

    for (size_t i = 0; i < n; i++)
        p[i] = formula_wide(t, (uint32_t)i) + offset;
    return p;
}

static inline void *rig_bytes(size_t n)
{
    void *p = n ? malloc(n) : NULL;

    if (p)
        memset(p, 0xa5, n);
    return p;
}

/* Inputs t = 1 and 7, dout 2, parameters 3 and 4, buffers 5 and 6 (+2); everything else is poison.
 * Training mode. False if the operator refuses the shape. */
static inline bool rig_create(rig *r, const nyb_context *context, const nyb_op *op,
                              const nyb_attr *attr, const nyb_shape *in)
{
    *r = (rig){.op = op, .attr = *attr};
    if (op->shape(attr, in, &r->args.out_shape, NULL) != NYB_OK)
        return false;
    r->args.context = context;
    r->args.attr = &r->attr;
    r->args.training = true;
    r->out_size = nyb_shape_size(r->args.out_shape);
    for (int i = 0; i < op->n_inputs; i++) {
        r->args.in_shape[i] = in[i];
        r->in_size[i] = nyb_shape_size(in[i]);
        r->args.in[i] = r->in[i] = rig_floats(r->in_size[i], i ? 7 : 1, 0);
        r->args.din[i] = rig_bytes(r->in_size[i] * sizeof(float));
    }
    for (int i = 0; i < op->n_params; i++) {
        r->param_size[i] = op->param_size(attr, in, i);
        r->args.param[i] = r->param[i] = rig_floats(r->param_size[i], 3 + (uint32_t)i, 0);
        r->args.dparam[i] = rig_bytes(r->param_size[i] * sizeof(float));
    }
    for (int i = 0; i < op->n_buffers; i++) {
        r->buffer_size[i] = op->buffer_size(attr, in, i);
        r->args.buffer[i] = rig_floats(r->buffer_size[i], 5 + (uint32_t)i, i ? 2 : 0);
    }
    r->args.out = rig_bytes(r->out_size * sizeof(float));
    r->args.dout = r->dout = rig_floats(r->out_size, 2, 0);
    r->args.saved = rig_bytes(op->saved_bytes ? op->saved_bytes(attr, in) : 0);
    r->args.scratch = rig_bytes(op->scratch_bytes ? op->scratch_bytes(attr, in) : 0);
    r->labels = malloc(nyb_shape_rows(in[0]) * sizeof *r->labels);
    r->args.labels = r->labels;
    for (size_t i = 0; i < nyb_shape_rows(in[0]); i++)
        r->labels[i] = (int32_t)(3 * i % in[0].c);
    return true;
}

static inline void rig_destroy(rig *r)
{
    for (int i = 0; i < NYB_OP_INPUTS; i++) {
        free(r->in[i]);
        free(r->args.din[i]);
    }
    for (int i = 0; i < NYB_OP_PARAMS; i++) {
        free(r->param[i]);
        free(r->args.dparam[i]);
    }
    for (int i = 0; i < NYB_OP_BUFFERS; i++)
        free(r->args.buffer[i]);
    free(r->args.out);
    free(r->dout);
    free(r->args.saved);
    free(r->args.scratch);
    free(r->labels);
}

#endif
