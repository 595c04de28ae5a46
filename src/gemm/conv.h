/* The three products of a layer as implicit GEMMs: convolutions, and linear layers as 1x1 ones. */
#ifndef NYB_CONV_H
#define NYB_CONV_H

#include "base/context.h"
#include "base/rng.h"
#include "packed/packed.h"

#include <nybble/accumulate.h>

typedef enum nyb_product {
    NYB_PRODUCT_FWD, /* y[n,oh,ow,o]  = sum over r,s,c      x[n,oh*stride+r-pad,..,c] w[o,r,s,c] */
    NYB_PRODUCT_DX,  /* dx[n,h,w,c]   = sum over r,s,o      dy w                                 */
    NYB_PRODUCT_DW   /* dw[o,r,s,c]   = sum over n,oh,ow    dy x                                 */
} nyb_product;

/* NHWC images, OHWI weights. A linear layer on m rows of k: n=1, h=1, w=m, c=k, r=s=1. */
typedef struct nyb_conv_shape {
    size_t n, h, w, c;  /* input  */
    size_t o, r, s;     /* weights */
    size_t stride, pad; /* pad < r, s */
    size_t oh, ow;      /* output: (h + 2 pad - r) / stride + 1; set by nyb_conv_shape_check */
} nyb_conv_shape;

/* Fills oh, ow; NYB_SHAPE if there is no output, NYB_LIMIT if a size overflows. */
NYB_MUST_CHECK nyb_status nyb_conv_shape_check(nyb_conv_shape *shape, nyb_error *err);

/* An operand: packed codes, or real f32 (row-major, no padding); exactly one is not NULL. */
typedef struct nyb_operand {
    const nyb_packed *packed;
    const float *real;
} nyb_operand;

/* Who multiplies. X(constant, word, sentence) */
#define NYB_ENGINE_LIST(X)                                                                         \
    X(NYB_ENGINE_AUTO, "auto", "s8 where both operands are small integers, else f32")              \
    X(NYB_ENGINE_F32, "f32", "values of the codes in f32")                                         \
    X(NYB_ENGINE_MF, "mf", "multiplication-free products of FP7 (MF-BPROP) where they exist")
typedef enum nyb_engine {
#define X(constant, word, sentence) constant,
    NYB_ENGINE_LIST(X)
#undef X
} nyb_engine;

/* A planned product: engine and tile are chosen, tables built; immutable afterwards.
 * s8 engine if both formats have max_unit or shift > 0 and both come packed, else f32 engine
 * (packed operands are decoded to value * scale on the way). Both give the same bits on every CPU
 * and for any number of threads. With an accumulator of its own: the accumulate engine. */
typedef struct nyb_conv nyb_conv;

/* a and b are the formats of the operands: FWD x, w; DX dy, w; DW dy, x. f32 format: real operand.
 * n_samples >= 1: DW, and DX on the s8 engine without lines, over that many packed dy of the same
 * scale and zero (SMP), else 1. accum NULL or of format f32: exact. */
NYB_MUST_CHECK nyb_status nyb_conv_create(const nyb_context *context, nyb_product product,
                                          const nyb_conv_shape *shape, const nyb_format *a,
                                          const nyb_format *b, size_t n_samples,
                                          const nyb_accum *accum, nyb_conv **conv, nyb_error *err);

/* Zeros are the defaults. */
typedef struct nyb_conv_options {
    const nyb_accum *accum;
    /* mf: both operands packed, e3m0 by integers of 15 or less (int4, uint4), summed exactly; else
     * NYB_INVALID. The bits are those of s8. */
    nyb_engine engine;
    bool zero_a, zero_b; /* the operand is packed, and its zero may be any number (packed.h) */
    /* The operand is packed and has lines (packed.h). s8 takes those of a in FWD and DX: each of
     * one image or some, or of any rows where the kernel is 1x1 with stride 1; and those of b in
     * FWD: one for each output channel, without offset. All others are values to the f32 engine.
     * s8: t = (float)sum * (scale of a's line * s)     s: what a unit of both is worth beside lines
     *   t = t + (float)L * (offset of a's line * what a unit of b is worth), unless that offset is
     *       0; L: the sum over the pixels that the output sees of b's units less its zero
     *   t = t * scale of b's line
     * each rounded, and b's scale is not in s where b has lines. */
    bool lines_a, lines_b;
    /* DW: lines are those of one image each, and have no offset. s8 takes them in images of several
     * output pixels, whose sums fit int32, one draw of dy, operands that have no zero and whose
     * units are int8:
     *   t = t + (float)sum * (scale of a's line * that of b's)     image by image, from 0
     *   t = t * s
     * each rounded, sum: of one image; 1 where an operand has no lines. */
    bool image_lines;
} nyb_conv_options;
/* As nyb_conv_create. options NULL: defaults. */
NYB_MUST_CHECK nyb_status nyb_conv_create_with(const nyb_context *context, nyb_product product,
                                               const nyb_conv_shape *shape, const nyb_format *a,
                                               const nyb_format *b, size_t n_samples,
                                               const nyb_conv_options *options, nyb_conv **conv,
                                               nyb_error *err);
void nyb_conv_destroy(nyb_conv **conv);

const char *nyb_conv_engine(const nyb_conv *conv);     /* "s8", "f32", "mf", "accumulate" */
const char *nyb_conv_kernel(const nyb_conv *conv);     /* tile name: "amx" ... */
const nyb_accum *nyb_conv_accum(const nyb_conv *conv); /* NULL: exact */
size_t nyb_conv_scratch_bytes(const nyb_conv *conv);
uint64_t nyb_conv_macs(const nyb_conv *conv); /* useful multiply-adds, padding not counted */
uint64_t nyb_conv_shape_macs(const nyb_conv_shape *shape); /* those of one draw */

/* What the random bits of a product's sums are for. */
static inline uint8_t nyb_conv_sum_role(nyb_product product)
{
    return product == NYB_PRODUCT_FWD  ? NYB_RNG_SUM_Y
           : product == NYB_PRODUCT_DX ? NYB_RNG_SUM_DX
                                       : NYB_RNG_SUM_DW;
}

/* out = a (x) b. scratch: nyb_conv_scratch_bytes, 64-byte aligned, content irrelevant.
 * bias (FWD only, may be NULL): [o]. add: out += (residual add of the epilogue) instead of =.
 * stream: of the random bits of an accumulator that draws (the sample is that of dy); else NULL.
 * DW and DX read a[0..n_samples), and share one exact sum: DW: (float)sum * (sA*sB) *
 * (1/n_samples), DX: (float)sum * ((sA*sB) * (1/n_samples)).
 * s8: y = (float)acc * (sA*sB), + bias, + out. A scale of 0 gives zeros. */
void nyb_conv_run(const nyb_conv *conv, const nyb_context *context, const nyb_operand *a,
                  const nyb_operand *b, const float *bias, bool add, const nyb_stream *stream,
                  float *out, void *scratch);
/* FWD and DX whose output is bf16: what nyb_conv_run gives, to the nearest, ties to even; or, draws
 * not NULL, to one of its two neighbours, unbiased, by the 16-bit draw of its place in out. */
void nyb_conv_run_half(const nyb_conv *conv, const nyb_context *context, const nyb_operand *a,
                       const nyb_operand *b, const float *bias, const nyb_stream *stream,
                       const nyb_stream *draws, uint16_t *out, void *scratch);

#endif
