/* Rounding real matrices in groups: every scale granularity and transform; values stay real. */
#ifndef NYB_ROUND_H
#define NYB_ROUND_H

#include "packed/grouped.h"
#include "quant/quant.h"

/* The packed path (quant.h) handles one scale per tensor and codes of at most 8 bits. This path
 * handles everything: the matrix is mixed, cut in groups, each group gets a scale, each element is
 * rounded to the format's grid, and what comes out is the real value of each code, exactly
 *     offset + (grid value * group scale) * tensor scale        (two roundings, offset a third)
 * so that any product of such matrices is the product of the codes. */

/* ---- 1 the matrix -----------------------------------------------------------------------------
 */

/* rows x cols, row-major, without padding. The contraction of its product runs along the columns
 * of a row, or down the rows. */
typedef struct nyb_view {
    size_t rows, cols;
    bool down;  /* groups and mixes run down the rows (stride cols), else along them */
    size_t run; /* GROUP_ROW: contiguous elements that share a scale (a sample; a filter) */
    size_t tap; /* GROUP_TILE16: tiles do not cross multiples of so many columns; 0: no such */
} nyb_view;

/* ---- 2 mix (mix.c) ----------------------------------------------------------------------------
 */

/* Length of a mix: 16 for hadamard16; 0 for none and householder. */
size_t nyb_mix_length(nyb_mix mix);
/* signs[0..length): of a random mix from the first block of stream (role NYB_RNG_HADAMARD, sample =
 * the product): bit i of the 128 bits set: -1; fixed ones from the mix. Returns NULL for mixes
 * without signs, else signs. */
const float *nyb_mix_signs(nyb_mix mix, const nyb_stream *stream, float signs[128]);

/* ---- 3 scales ---------------------------------------------------------------------------------
 */

/* What a scale is chosen from; over finite elements (subnormals are zeros). */
struct nyb_group_stats {
    float absmax, min, max;      /* 0 if there is none */
    double sum, sum_abs, sum_sq; /* ascending; long tensors in runs that are joined */
    uint64_t n, n_nonzero;       /* n: finite elements */
};

/* value = offset + (grid * scale) * level.scale; grid = round((x - offset) * inv). */
struct nyb_group_scale {
    float scale, inv, offset; /* scale 0: all values are offset */
};

/* What all groups of a tensor share. */
struct nyb_level {
    float scale; /* 1 where there is only one level */
    float aux;   /* the rule's own */
};

/* ---- 4 rounding kernels (round_ref.c, round_avx2.c, round_avx512.c) ----------------------------
 */

struct nyb_round_kernel {
    const char *name; /* "avx512", "avx2", "ref" */
    uint32_t needs;   /* NYB_CPU_* */
    /* y[i] = the value at scale 1 of the code of t[i] (in place allowed): saturating, NaN as 0,
     * +-Inf to the largest; zeros are +0, subnormals of f32 are zeros. Any format with a grid, any
     * n. r23: a field of 23 random bits per element (roundings that draw: round |t| up iff r23 +
     * floor(frac * 2^23) >= 2^23, frac the position between the two neighbours on the grid), else
     * NULL. */
    void (*round)(const nyb_format *format, nyb_rounding rounding, const float *t,
                  const uint32_t *r23, size_t n, float *y);
    /* r23[i] for elements first + i of a stream: sr_bits 16: U16 << 7 | 64, 32: U32 >> 9. Any
     * first and n. */
    void (*draw)(const nyb_stream *stream, int sr_bits, uint64_t first, size_t n, uint32_t *r23);

    /* absmax[i] = the largest finite magnitude of the `length` elements at x + i * stride (in
     * floats); subnormals count as 0, and so does nothing at all. */
    void (*block_stats)(const float *x, size_t n_blocks, size_t length, size_t stride,
                        float *absmax);
    /* absmax[j] = the same over column j of rows x cols, whose rows begin ld floats apart. */
    void (*column_absmax)(const float *x, size_t rows, size_t cols, size_t ld, float *absmax);
    /* The least and the largest finite element of n; subnormals are zeros, zeros are +0. false: of
     * none, and nothing is written. */
    bool (*range)(const float *x, size_t n, float *min, float *max);
    /* t = (x - offset) * inv, each rounded; no subtraction if offset is 0, else NaN is 0; in place
     * allowed. */
    void (*scale)(const float *x, size_t n, float offset, float inv, float *t);
    /* values = offset + (grid * group_scale) * level_scale, each rounded; no addition if offset is
     * 0. In place allowed. */
    void (*unscale)(const float *grid, size_t n, float group_scale, float level_scale, float offset,
                    float *values);
};

extern const nyb_round_kernel *const nyb_round_kernels[]; /* best first, NULL-terminated */
extern const nyb_round_kernel nyb_round_ref, nyb_round_avx2, nyb_round_avx512;
const nyb_round_kernel *nyb_round_kernel_choose(uint32_t cpu);

/* y[i] = of the two neighbours of t[i] on the grid the one nearer to u[i] (if that is as near to
 * both, the larger in magnitude), however far u[i] is: Q-EMA of TetraJet (Chen et al., 2025), with
 * u the mean of t's own past. What is on the grid stays. In place allowed. */
void nyb_round_toward(const nyb_round_kernel *kernel, const nyb_format *format, const float *t,
                      const float *u, size_t n, float *y);

/* ---- 5 the whole (round.c) --------------------------------------------------------------------
 */

typedef struct nyb_householder nyb_householder; /* householder.h */

typedef struct nyb_round_job {
    const nyb_spec *spec;
    nyb_view view;
    const nyb_stream *stream; /* element index = first + row * cols + col of the view */
    uint64_t first;
    const nyb_stream *signs; /* of a random mix */
    float pre, post;         /* x is multiplied by pre before rounding, the value by post; 1 */
    float clip;              /* of a rule that chooses one: taken instead; 0: chosen */
    const float *toward;     /* as x, or NULL: nyb_round_toward's u, scaled as x is. Nearest, not
                                mixed, rules without finish; no blocks down */
    const float *params;     /* of a learned rule, or NULL */
    float *state;            /* of the rule, NYB_SCALE_STATE_MAX floats, or NULL (a fresh one) */
    /* Where the parts of the values are left, or NULL: grid values at scale 1 (rows x cols), scales
     * in the order of groups (nyb_round_groups of them), and what they share (scale includes post).
     * Not for householder. */
    float *grid;
    nyb_group_scale *scales;
    nyb_level *level;
    bool mixed; /* nyb_round_mask: dx is mixed already */
    /* nyb_round_pack of householder: the plan, and memory for it. */
    nyb_householder *reflection;
    void *reflection_memory;
} nyb_round_job;

/* Number of groups. Their order: blocks along: row major, ceil(cols / length) to a row; blocks
 * down: cols to a band of `length` rows; tiles: ceil(tap / 16) for each tap to a band (tap = cols
 * where there is one); rows, channels: one each. */
size_t nyb_round_groups(const nyb_spec *spec, const nyb_view *view);
size_t nyb_round_scratch_bytes(const nyb_spec *spec, const nyb_view *view);
/* values: rows x cols, may be x itself. Mixed operands stay mixed, householder is undone. Bits do
 * not depend on context. */
void nyb_round_run(const nyb_context *context, const nyb_round_job *job, const float *x,
                   float *values, void *scratch);
/* What nyb_round_run rounds to as codes: no level, pre and post 1. Sets out's codes, and its lines
 * if it has any (the tensor's one, or those of its rows' groups), else scale and zero of one scale,
 * which has an offset only if the rule is zeroed. Householder: codes are those of the reflected
 * rows. values: rows x cols where nyb_round_pack_stores, else it may be NULL. */
void nyb_round_pack(const nyb_context *context, const nyb_round_job *job, const float *x,
                    float *values, nyb_packed *out, void *scratch);
bool nyb_round_pack_stores(const nyb_spec *spec, size_t cols); /* of out */
/* What a rule reads of n elements (absmax_only: absmax, n; range_only: min, max): canonical, the
 * bits do not depend on context. scratch: of nyb_round_scratch_bytes of any spec on as many
 * elements. */
nyb_group_stats nyb_round_stats(const nyb_context *context, const nyb_scale_rule *rule,
                                const float *x, size_t n, void *scratch);
/* The scale of a whole tensor by a rule of any kind; params of learned rules; state as in job. */
nyb_group_scale nyb_round_scale(const nyb_context *context, const nyb_round_job *job,
                                const float *x, const nyb_group_stats *stats);
/* The same for packed codes: out's scale, and inv of rules that divide. */
void nyb_round_scale_packed(const nyb_context *context, const nyb_round_job *job, const float *x,
                            const nyb_group_stats *stats, nyb_packed *out);
/* The straight-through estimator's mask: dx (as x) becomes 0 where rounding clipped x. Mixed
 * blocks: dx is mixed, unless job->mixed, masked, and mixed back; not for rules with a level. */
void nyb_round_mask(const nyb_context *context, const nyb_round_job *job, const float *x, float *dx,
                    void *scratch);
/* Takes a mix back: what nyb_round_run would have written without it, to rounding errors. */
void nyb_round_unmix(const nyb_context *context, const nyb_round_job *job, float *values);

/* ---- 6 blocks to codes (round_codes.c) ---------------------------------------------------------
 */

/* How images lie under a window of r x s taps: row (n, y, x) of a view of n * oh * ow rows is,
 * under tap (i, j), pixel (n, y stride + i - pad, x stride + j - pad) of images h x w, zeros
 * beside. */
typedef struct nyb_window {
    size_t h, w, oh, ow, r, s, stride, pad;
} nyb_window;

/* Blocks of formats with max_unit, no offsets: codes and scales of what nyb_round_run rounds to,
 * out->packed.scale that of the level. job->grid, scales, level are not used. Tiles: row r * (cols
 * / tap) + t of out is what row r of the view has in tap t, in groups of 16 with the scales of
 * their tiles. Along: out has the view's rows. Down: column t * (cols / taps) + c of the view is
 * row c * taps + t of out; out has rows columns, or, if its pitch is a multiple of 128, more: zeros
 * of scale 0. */
void nyb_round_codes(const nyb_context *context, const nyb_round_job *job, const float *x,
                     size_t taps, nyb_grouped *out, void *scratch);
/* The same under each tap of a window: the view, down, is that of one tap, whose stream begins at
 * first + tap * rows * cols; row tap * cols + c of out is its column c, levels[tap] its scale. The
 * pitch is a multiple of 128. */
void nyb_round_windows(const nyb_context *context, const nyb_round_job *job, const float *x,
                       const nyb_window *window, nyb_grouped *out, float *levels, void *scratch);
size_t nyb_round_codes_scratch_bytes(const nyb_spec *spec, const nyb_view *view,
                                     const nyb_grouped *out);
/* The length of such blocks; 0 if the spec has none. */
size_t nyb_spec_group_length(const nyb_spec *spec);
/* Elements of a block; 0 for the other groups. */
size_t nyb_round_group_length(nyb_group group);

/* One scale per tensor, at most 8 bits, no mix, no offset: the packed path can hold it. */
bool nyb_spec_packs(const nyb_spec *spec);

#endif
