/* Inside the pipeline of rounded matrices: what its files share. */
#ifndef NYB_ROUND_WORK_H
#define NYB_ROUND_WORK_H

#include "quant/mix.h"

#define NYB_ROUND_CHUNK 2048 /* floats of a worker's buffers */
#define NYB_ROUND_LANES 16   /* columns worked on together where groups run down the rows */
#define NYB_ROUND_RUN   8192 /* elements of a task */

typedef struct nyb_round_work {
    const nyb_round_job *job;
    const nyb_spec *spec;
    const nyb_scale_rule *rule;
    const nyb_round_kernel *kernel;
    const nyb_mix_kernel *mixer;
    nyb_view view;
    const float *x;
    float *values;
    float *dx;         /* masking: gradients instead of values; else NULL */
    bool inverse;      /* of the mix of a whole matrix */
    bool grid_only;    /* blocks are left as grid values at scale 1 */
    bool draws, mixes; /* mixes: chunks are mixed as they come (false: they already are) */
    size_t length;     /* of a group; of a mix's segment if that is longer */
    float signs_of[128];
    const float *signs;
    nyb_level level;
    nyb_group_scale one;     /* group tensor */
    nyb_group_scale *groups; /* row, channel: one each */
    void *scratch;           /* of the statistics */
} nyb_round_work;

/* round_scale.c: statistics and scales */
nyb_group_stats nyb_round_stats_of(const nyb_round_kernel *kernel, const nyb_scale_rule *rule,
                                   const float *x, size_t count, size_t step);
nyb_group_scale nyb_round_of_clip(const nyb_format *format, float clip);
/* The scale of one group of n <= NYB_ROUND_CHUNK contiguous elements. */
nyb_group_scale nyb_round_small_group(const nyb_round_work *w, const float *x, size_t n);
/* Of n_groups groups, one after the other, of at most NYB_ROUND_CHUNK elements together. */
void nyb_round_small_groups(const nyb_round_work *w, const float *x, size_t n_groups, size_t length,
                            nyb_group_scale *scales);

/* round.c. values: where a matrix that is mixed as a whole goes. */
nyb_round_work nyb_round_begin(const nyb_context *context, const nyb_round_job *job, const float *x,
                               float *values, void *scratch);
/* Of x to values. */
void nyb_round_mix_matrix(const nyb_context *context, nyb_round_work *w);
/* Whether nyb_round_lanes can do it. */
bool nyb_round_has_lanes(const nyb_round_work *w);

/* Where the straight-through estimator lets gradients through: least .. most, the ends being
 * outside for rules that are open there. NaN is outside. */
typedef struct nyb_round_range {
    float least, most;
    bool open;
} nyb_round_range;
nyb_round_range nyb_round_range_of(const nyb_round_work *w);
static inline bool nyb_round_keeps(const nyb_round_range *r, float v)
{
    return r->open ? v > r->least && v < r->most : v >= r->least && v <= r->most;
}

/* round_block.c: blocks */

/* What a vector rounds towards, and where the parts of its values go. */
typedef struct nyb_round_parts {
    const float *toward;     /* as the vector, or NULL */
    float *grid;             /* as the vector, or NULL */
    nyb_group_scale *scales; /* of its first group, or NULL */
    size_t step;             /* to the next group's */
} nyb_round_parts;

/* One vector along the contraction, in place: n <= NYB_ROUND_CHUNK elements, whole segments but for
 * the last. rs: 23 random bits per group. dx: masked instead. */
void nyb_round_vector(const nyb_round_work *w, const uint32_t *r23, const uint32_t *rs, size_t n,
                      float *v, float *dx, nyb_round_parts out);
/* A group of each of NYB_ROUND_LANES columns, n rows of NYB_ROUND_LANES floats: scales per lane. */
void nyb_round_lanes(const nyb_round_work *w, const uint32_t *r23, size_t n, size_t lanes, float *v,
                     nyb_group_scale *scales);
/* The bits of the scales of the groups that begin at element `first`, `step` elements apart. */
void nyb_round_draw_scales(const nyb_round_work *w, uint64_t first, size_t step, size_t n,
                           uint32_t *rs);

/* One tile, n rows of m columns, to v without gaps. */
void nyb_round_tile(const nyb_round_work *w, size_t top, size_t col, size_t n, size_t m,
                    float v[256], nyb_round_parts out);
/* Columns that tiles do not cross; tiles side by side. */
size_t nyb_round_tap(const nyb_view *view);
size_t nyb_round_tiles_across(const nyb_view *view);

/* tasks over blocks and tiles */
void nyb_round_draw(const nyb_round_work *w, uint64_t first, size_t n, uint32_t *r23);
/* Segments of the mix's length, the tail in powers of two; of one vector, or of `cols` side
 * by side: an n x cols matrix. */
void nyb_round_mix(const nyb_round_work *w, size_t n, float *v, bool inverse);
void nyb_round_mix_columns(const nyb_round_work *w, size_t n, float *v, size_t cols, bool inverse);
size_t nyb_round_rows_of_task(const nyb_round_work *w);
void nyb_round_along_task(void *arg, size_t task, size_t worker);
void nyb_round_lanes_task(void *arg, size_t task, size_t worker);
void nyb_round_down_task(void *arg, size_t task, size_t worker);
void nyb_round_tile_task(void *arg, size_t task, size_t worker);

#endif
