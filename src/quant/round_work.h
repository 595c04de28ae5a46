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
    const float *dx_in; /* masking: gradients instead of values; else NULL */
    float *dx;
    bool inverse;      /* of the mix of a whole matrix */
    bool draws, mixes; /* mixes: chunks are mixed as they come (false: they already are) */
    size_t length;     /* of a group; of a mix's segment if that is longer */
    float signs_of[128];
    const float *signs;
    nyb_level level;
    nyb_group_scale one;     /* group tensor */
    nyb_group_scale *groups; /* row, channel: one each */
    void *scratch;           /* of the statistics */
} nyb_round_work;

/* Elements of a block; 0 for the other groups. */
size_t nyb_round_group_length(nyb_group group);

/* round_scale.c: statistics and scales */
nyb_group_stats nyb_round_stats_of(const nyb_scale_rule *rule, const float *x, size_t count,
                                   size_t step);
nyb_group_scale nyb_round_of_clip(const nyb_format *format, float clip);
/* The scale of one group of n <= NYB_ROUND_CHUNK contiguous elements. */
nyb_group_scale nyb_round_small_group(const nyb_round_work *w, const float *x, size_t n);
/* Of n_groups groups, one after the other, of at most NYB_ROUND_CHUNK elements together. */
void nyb_round_small_groups(const nyb_round_work *w, const float *x, size_t n_groups, size_t length,
                            nyb_group_scale *scales);

/* round_block.c: tasks over blocks and tiles */
void nyb_round_draw(const nyb_round_work *w, uint64_t first, size_t n, uint32_t *r23);
/* Segments of the mix's length, the tail in powers of two; of one vector, or of lanes. */
void nyb_round_mix(const nyb_round_work *w, size_t n, float *v, bool inverse);
void nyb_round_mix_lanes(const nyb_round_work *w, size_t n, float *v, bool inverse);
size_t nyb_round_rows_of_task(const nyb_round_work *w);
void nyb_round_along_task(void *arg, size_t task, size_t worker);
void nyb_round_lanes_task(void *arg, size_t task, size_t worker);
void nyb_round_down_task(void *arg, size_t task, size_t worker);
void nyb_round_tile_task(void *arg, size_t task, size_t worker);

#endif
