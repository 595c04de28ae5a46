/* Inside a planned depthwise product: geometry, and the layout of the scratch memory. */
#ifndef NYB_DEPTHWISE_IMPL_H
#define NYB_DEPTHWISE_IMPL_H

#include "gemm/conv_impl.h"
#include "gemm/depthwise.h"
#include "gemm/depthwise_kernel.h"

/* One axis, rows or columns. Output y of forward sees source pixel y * stride + t - pad under tap
 * t, output y of dX source pixel (y + pad - t) / stride where that is whole. */
typedef struct nyb_depthwise_axis {
    bool dx;
    size_t stride, pad, taps, src, dst;
} nyb_depthwise_axis;

/* The taps of an output that hit a pixel: tap, tap + 1 (dX: + stride) ...; src: of the first. */
typedef struct nyb_depthwise_spot {
    size_t tap, n_taps, src;
} nyb_depthwise_spot;

nyb_depthwise_spot nyb_depthwise_spot_at(const nyb_depthwise_axis *axis, size_t y);

/* Outputs y, y + step .. that see the same taps, each of them one source pixel (forward: stride
 * pixels) after the former's. */
typedef struct nyb_depthwise_span {
    size_t y, n;
    nyb_depthwise_spot spot; /* of the first */
} nyb_depthwise_span;

struct nyb_depthwise {
    nyb_product product;
    nyb_conv_shape shape;
    const nyb_format *a, *b;
    size_t n_samples;
    bool s8;
    const nyb_depthwise_kernel *kernel;
    const nyb_tile_s8 *tile;      /* s8: unpacks nybbles */
    const nyb_tile_f32 *tile_f32; /* else: decodes codes */
    int32_t max_product;
    size_t n_workers;
    uint64_t macs;
    nyb_depthwise_axis rows, cols; /* dW: those of forward, whose windows it shares */
    nyb_depthwise_span *spans;     /* of the columns */
    size_t n_spans;
    size_t pitch;              /* channels from one pixel (tap) to the next where unpacked */
    size_t band, n_bands;      /* output rows (dW: of dy) of a task; tasks of an image */
    size_t slab, slab_dy;      /* s8: bytes of a task's source, of its dy */
    size_t x_row;              /* dW, s8: pixels of a row of x, padding included */
    size_t n_chunks;           /* dW, f32 */
    size_t at_turned, at_real; /* scratch: offsets of weights [tap][channel]; of decoded operands */
    size_t at_sums;            /* dW, f32: of [chunk][tap][channel] */
    size_t shared_bytes, worker_bytes;
};

/* Channels of a task of dW's f32 chains. */
#define NYB_DEPTHWISE_BLOCK 64

typedef struct nyb_depthwise_job {
    const nyb_depthwise *plan;
    nyb_pool *pool;
    const nyb_operand *a;
    nyb_reader reader_a, reader_b;
    const float *real_a, *real_b; /* f32: the operands, decoded; samples of a one after the other */
    const void *w;                /* [tap][pitch] floats or int16 */
    const float *bias;
    bool add;
    float scale;
    void *out;
    bool half;               /* forward, dX: out is bf16 (uint16_t), else f32 */
    const nyb_stream *draws; /* half: rounded by these; NULL: to the nearest */
    uint8_t *shared, *workers;
} nyb_depthwise_job;

static inline uint8_t *nyb_depthwise_worker(const nyb_depthwise_job *job, size_t worker)
{
    return job->workers + worker * job->plan->worker_bytes;
}

/* Source rows [*first, *end) that output rows [y, y_end) see; none: both 0. */
void nyb_depthwise_source(const nyb_depthwise *plan, size_t y, size_t y_end, size_t *first,
                          size_t *end);

void nyb_depthwise_run_pixels(nyb_depthwise_job *job); /* forward, dX */
void nyb_depthwise_run_dw_s8(nyb_depthwise_job *job);
void nyb_depthwise_run_dw_f32(nyb_depthwise_job *job);

#endif
