/* From a real tensor to a packed one, in named stages: moments, scale, encode. */
#ifndef NYB_QUANT_INTERNAL_H
#define NYB_QUANT_INTERNAL_H

#include <nybble/quant.h>

#include "base/context.h"
#include "base/rng.h"
#include "packed/packed.h"

/* ---- 1 moments: over finite elements, canonical sums of NUMERICS binding resolution 4 -------- */

typedef struct nyb_moments {
    float absmax;           /* largest finite |x|; 0 if none */
    double sum_abs, sum_sq; /* canonical */
    uint64_t n, n_nonzero;  /* n counts all elements; n_nonzero the finite non-zero ones */
    uint64_t n_nan, n_inf;
} nyb_moments;

/* The same of one canonical block: 256 rows of 16 columns, row block major, column group minor. */
typedef struct nyb_block_moments {
    float sum_abs, sum_sq;
    uint32_t absmax_bits;             /* of a normal number, or 0 */
    uint32_t n_nonzero, n_nan, n_inf; /* subnormals are zeros */
} nyb_block_moments;

/* Scratch that nyb_moments_run needs, in bytes. */
size_t nyb_moments_scratch_bytes(size_t rows, size_t cols);
/* x: rows x cols, row-major. Bits do not depend on context. scratch: 64-byte aligned. */
void nyb_moments_run(const nyb_context *context, const float *x, size_t rows, size_t cols,
                     void *scratch, nyb_moments *moments);
/* How many blocks those are, and the moments of n elements from them. */
size_t nyb_moments_blocks(size_t rows, size_t cols);
void nyb_moments_total(const nyb_block_moments *blocks, size_t n_blocks, size_t n,
                       nyb_moments *moments);

/* ---- 2 scale ------------------------------------------------------------------------------ */

#define NYB_SCALE_PARAMS_MAX 2
#define NYB_SCALE_STATE_MAX  16 /* floats a rule may remember per (layer, slot) */

typedef struct nyb_group_stats nyb_group_stats; /* round.h */
typedef struct nyb_group_scale nyb_group_scale;
typedef struct nyb_level nyb_level;
typedef struct nyb_round_kernel nyb_round_kernel;

struct nyb_scale_rule {
    const char *name, *about;
    const char *source;
    uint8_t n_state; /* <= NYB_SCALE_STATE_MAX; saved in checkpoints; zero at the start */
    bool (*fits)(const nyb_format *format); /* NULL: any format with codes */
    /* The clip: largest magnitude that the format's top code stands for, > 0, or 0 if there is
     * no finite non-zero element. May read and update state. Capped at absmax where the rule's
     * paper says so. The scale is clip / (format max). */
    float (*choose)(const nyb_format *format, const nyb_moments *moments, float *state);

    /* Rules whose scale is not one clip per tensor (round.h); choose is then NULL, and the packed
     * path does not take them. level may be NULL (scale 1). group: the scale of one group (the
     * whole tensor is one, too); trial counts from 0 to n_trials - 1 (0 or 1: one): the trial of
     * least squared error on nearest rounding wins, the first of equals. finish may change the
     * scales of groups once their elements are rounded (MS-EDEN): n_groups groups of `length`
     * elements that were mixed together, t = what was rounded, grid = the result, r23 per group. */
    void (*level)(const nyb_format *format, const nyb_group_stats *tensor, nyb_level *level);
    void (*group)(const nyb_format *format, const nyb_level *level, const nyb_group_stats *stats,
                  const float *params, int trial, nyb_group_scale *scale);
    int n_trials;
    /* Rules whose scale needs the data themselves (MSE search, percentile); group is then NULL,
     * level scale 1. x: the n contiguous elements of one group (gather those that are not), stats:
     * theirs. Neither allocates nor runs in parallel: groups may be searched on different threads.
     */
    void (*search)(const nyb_format *format, const nyb_round_kernel *kernel, const float *x,
                   size_t n, const nyb_group_stats *stats, nyb_group_scale *scale);
    void (*finish)(const nyb_format *format, const nyb_level *level, const float *t,
                   const float *grid, size_t length, size_t n_groups, const uint32_t *r23,
                   nyb_group_scale *scales);
    /* The same as group for 16 blocks of which absmax is known (absmax_only), or NULL. */
    void (*blocks)(const nyb_format *format, const nyb_level *level, const float absmax[16],
                   float scale[16], float inv[16]);
    bool absmax_only; /* absmax is all that choose, level and group read of statistics */
    bool range_only;  /* min and max are all that group reads, and whether there are any */
    bool lags;   /* choose goes by its state alone once that says a clip: known before the tensor */
    bool open;   /* the estimator's mask leaves out the ends of the range, too */
    bool pow2;   /* scales are powers of two */
    bool affine; /* group may set an offset: codes and a scale are not enough */
    bool
        zeroed; /* affine, and 0 lies on the grid: offset = -scale * one of its integers, exactly */
    bool divides;                    /* inv of a group is not 1 / scale */
    bool (*groups)(nyb_group group); /* the groups that it can do; NULL: tensor only */

    /* Learned rules. params[0] is the scale or the clip, > 0; an update at most halves or doubles
     * it. init: params from the statistics of the first tensor. backward: dx (gradient of the
     * rounded tensor, n elements of one tensor) becomes that of x; dparams += . */
    uint8_t n_params;
    bool decays; /* weight decay pulls the parameters, too (PACT) */
    void (*init)(const nyb_format *format, const nyb_group_stats *tensor, float *params);
    void (*backward)(const nyb_format *format, const float *params, const float *x, float *dx,
                     size_t n, size_t n_features, double *dparams);
};

extern const nyb_scale_rule *const nyb_scale_rules[]; /* NULL-terminated */
extern const nyb_scale_rule nyb_scale_unit;           /* scale.c */
extern const nyb_scale_rule nyb_scale_luq_ref;        /* scale_luq_ref.c */
/* scale_mx.c */
extern const nyb_scale_rule nyb_scale_e8m0, nyb_scale_e8m0_ceil, nyb_scale_e8m0_even,
    nyb_scale_e8m0_rceil, nyb_scale_e8m0_quest;
/* scale_nv.c */
extern const nyb_scale_rule nyb_scale_e4m3, nyb_scale_e4m3_over17, nyb_scale_e4m3_46,
    nyb_scale_ms_eden;
/* scale_block.c */
extern const nyb_scale_rule nyb_scale_hbfp, nyb_scale_mean_abs, nyb_scale_bitnet, nyb_scale_twn;
/* scale_gradscale.c */
extern const nyb_scale_rule nyb_scale_gradscale, nyb_scale_gradscale_exact;
/* scale_affine.c */
extern const nyb_scale_rule nyb_scale_ptq, nyb_scale_ptq_ref, nyb_scale_psq;

/* scale_sawb.c, scale_learned.c, scale_mse.c, scale_percentile.c */
extern const nyb_scale_rule nyb_scale_sawb, nyb_scale_sawb_ibm, nyb_scale_sawb_fit,
    nyb_scale_sawb_zeroless;
extern const nyb_scale_rule nyb_scale_pact, nyb_scale_pactplus, nyb_scale_lsq, nyb_scale_lsqplus,
    nyb_scale_lsqplus_w, nyb_scale_ptq_mse;
extern const nyb_scale_rule nyb_scale_percentile_2, nyb_scale_percentile_3, nyb_scale_percentile_4,
    nyb_scale_percentile_5;

/* SAWB's clip where it has constants for the format, else absmax. */
float nyb_scale_sawb_clip(const nyb_format *format, const nyb_group_stats *stats);
/* scale = choose(...) / format max (exact for powers of two); 0 if it would be subnormal, or the
 * rule has no choose. */
float nyb_scale_choose(const nyb_spec *spec, const nyb_moments *moments, float *state);
/* What nyb_scale_choose will return whatever the tensor is, as long as anything in it is finite: of
 * rules that lag, once their state says a clip; else 0. */
float nyb_scale_lagging(const nyb_spec *spec, const float *state);
/* The scale whose top code stands for clip; 0 if it would be subnormal; at most 2^126, so that its
 * reciprocal is a normal number. f32: 1. */
float nyb_scale_of_clip(const nyb_format *format, float clip);
/* A group's scale and its reciprocal, no offset; 0 if scale would be subnormal, at most 2^126. */
void nyb_group_scale_set(nyb_group_scale *group, float scale);

/* ---- 3 encode ----------------------------------------------------------------------------- */

/* codes = round(x / scale): out->format, rows, cols, pitch and codes are set by the caller, scale
 * is out->scale (0: all codes 0), 1 / scale out->inv where that is not 0. The element's index in
 * the stream is row * cols + col. `sample` 0.. of SMP is in stream->sample. Bits do not depend on
 * context. */
void nyb_encode_run(const nyb_context *context, const nyb_spec *spec, const nyb_stream *stream,
                    const float *x, nyb_packed *out);

/* A tensor that is not in memory: rows `row` .. `row + n` of it are made where they are wanted.
 * Called by several threads. */
typedef struct nyb_row_maker {
    void (*make)(const void *self, size_t row, size_t n, float *rows);
    const void *self;
} nyb_row_maker;
/* Columns a maker's tensor may have: a multiple of 16, at most this. */
#define NYB_MAKER_COLS_MAX 2048
/* nyb_encode_run of a maker's tensor, the same codes. seen: NULL, or nyb_moments_blocks of its
 * shape; their nyb_moments_total is then that of the tensor, but for the sums, which stay 0. The
 * scale is not 0 then. */
void nyb_encode_made(const nyb_context *context, const nyb_spec *spec, const nyb_stream *stream,
                     const nyb_row_maker *maker, nyb_packed *out, nyb_block_moments *seen);

/* The specification: x's code given 1 / scale and a random field of 23 bits (encode_ref.c). r23 is
 * U16 << 7 | 64 with sr_bits 16, U32 >> 9 with sr_bits 32. */
unsigned nyb_encode_one(const nyb_spec *spec, float inv_scale, float x, uint32_t r23);

/* The variants, best first, reference last, NULL-terminated; all give the same bits. */
typedef struct nyb_encode_kernel {
    const char *name; /* "avx512", "avx2", "ref" */
    uint32_t needs;   /* NYB_CPU_* */
    /* n multiple of 128; first (the stream index of x[0]) multiple of 8; writes n codes in nybble
     * order (4-bit formats) or bytes (8-bit). false: this kernel cannot do spec (grid, rounding);
     * the caller takes the next. */
    bool (*encode)(const nyb_spec *spec, float inv_scale, const nyb_stream *stream, uint64_t first,
                   const float *x, size_t n, uint8_t *codes);
    /* n_blocks blocks of canonical sums, block i at x + i * stride: rows <= 256 rows of 16 columns,
     * ld floats apart. */
    void (*moments)(const float *x, size_t rows, size_t ld, size_t stride, size_t n_blocks,
                    nyb_block_moments *blocks);
} nyb_encode_kernel;

extern const nyb_encode_kernel *const nyb_encode_kernels[];
extern const nyb_encode_kernel nyb_encode_ref, nyb_encode_avx2, nyb_encode_avx512;
/* The first that the CPU mask allows. Never NULL. */
const nyb_encode_kernel *nyb_encode_kernel_choose(uint32_t cpu);
/* Float grids of up to 8 bits, and tables of up to 4 bits that are rounded to nearest, for any CPU.
 * false: others. */
bool nyb_encode_grid(uint32_t cpu, const nyb_spec *spec, float inv_scale, const nyb_stream *stream,
                     uint64_t first, const float *x, size_t n, uint8_t *codes);
/* Runs nyb_encode_grid or else the first kernel that the mask allows and that can do spec. */
void nyb_encode_blocks(uint32_t cpu, const nyb_spec *spec, float inv_scale,
                       const nyb_stream *stream, uint64_t first, const float *x, size_t n,
                       uint8_t *codes);

/* ---- telemetry ---------------------------------------------------------------------------- */

/* Compares x with what p stores (reference C, not for every step). */
void nyb_quant_measure(const float *x, const nyb_packed *p, nyb_quant_stats *stats);

/* The same of n rounded values, in the basis of x; scale stays 0. grid: of values at scale 1; NULL:
 * clip is NaN. */
void nyb_quant_measure_values(const nyb_format *format, const float *x, const float *values,
                              const float *grid, size_t n, nyb_quant_stats *stats);

/* "hadamard32"; "?" for a number that is no mix. */
const char *nyb_mix_word(nyb_mix mix);

/* Checks that a spec can exist (rounding fits the grid, group fits). */
NYB_MUST_CHECK nyb_status nyb_spec_check(const nyb_spec *spec, nyb_error *err);
/* Checks that the packed path can hold a spec that exists: one scale per tensor, no mix. */
NYB_MUST_CHECK nyb_status nyb_spec_check_tensor(const nyb_spec *spec, nyb_error *err);

#endif
