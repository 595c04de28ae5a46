/* Inside a planned grouped product: geometry, and the layout of the scratch memory. */
#ifndef NYB_GROUP_CONV_IMPL_H
#define NYB_GROUP_CONV_IMPL_H

#include "gemm/group.h"
#include "gemm/group_conv.h"
#include "gemm/store.h"

/* k of one call of a tile: 16 KB of a panel, which stays in L1 while the rows pass by. */
#define NYB_GROUP_CHUNK 512
/* Rows of the source that are unpacked once for all their taps, if they are no longer than this. */
#define NYB_GROUP_ROW_BYTES ((size_t)64 * 1024)
#define NYB_GROUP_LINES     16 /* at most: taps down a kernel, and one */
/* Outputs of a task of FWD or DX, at most. */
#define NYB_GROUP_BLOCK 384
/* A of a task stays in L2. */
#define NYB_GROUP_A_BYTES ((size_t)192 * 1024)

/* One axis of a grid of outputs. Output i is pixel first + i * step; its tap a is tap
 * tap0 + a * tap_step, and reads source pixel base + i * i_move + a * a_move, if that exists.
 * FWD has one grid. DX has `stride` an axis: the outputs y with (y + pad) % stride = grid. */
typedef struct nyb_group_axis {
    size_t first, step, count;
    size_t tap0, tap_step, n_taps;
    ptrdiff_t base, i_move, a_move;
    size_t src;
    /* A line is the source in the order of the taps (backwards if a_move < 0), with `lead` blank
     * pixels before it and some after: the taps of output i are line pixels start + i * start_move
     * and following. */
    ptrdiff_t start, start_move;
    size_t lead, length;
} nyb_group_axis;

typedef struct nyb_group_grid {
    nyb_group_axis rows, cols;
    size_t n_outputs; /* of all images */
    size_t n_taps, n_groups, n_steps;
    size_t panels;                 /* offset in the panels area */
    size_t sb, start, panel_bytes; /* offsets in a panel, and from one panel to the next */
    size_t block, n_blocks;        /* outputs of a task, a multiple of 12 */
} nyb_group_grid;

struct nyb_group_conv {
    nyb_product product;
    nyb_conv_shape shape;
    const nyb_format *a, *b;
    size_t group, n_samples;
    const nyb_group_kernel *kernel;
    const nyb_store_kernel *store;
    int32_t bias, max_a, max_b; /* as nyb_group_args */
    size_t n_workers;
    uint64_t macs;
    size_t k_cols, k_pitch; /* contraction of a row, in codes; with pads */
    size_t row_groups;      /* k_pitch / group */
    size_t m, n, n_panels;  /* outputs: m: DW; n: channels of out, or c of all taps (DW) */
    size_t n_grids;         /* 0: DW */
    nyb_group_grid *grids;
    size_t panel_groups;     /* tasks of a block: each some of the panels */
    size_t block_m, block_n; /* DW: rows and panels of a task, at most */
    uint32_t *step_offset;   /* 0, 64, 128 ... */
    uint8_t *step_valid;     /* 64 */
    size_t max_steps;
    /* FWD, DX: unpacked lines of codes and scales, one for each tap down and a blank one; 0: read
     * pixel by pixel. */
    size_t row_bytes, n_lines;
    /* Scratch: shared panels; per worker A (FWD, DX: of each sample), its scales, sums, rows of the
     * source; or rows of b to be packed. */
    size_t shared_bytes, lda, lds, a_bytes, sa_bytes, c_bytes, pack_bytes, worker_bytes;
};

typedef struct nyb_group_job {
    const nyb_group_conv *conv;
    nyb_pool *pool;
    const nyb_grouped *const *a; /* [n_samples] */
    const nyb_grouped *b;
    uint8_t a_bytes[256]; /* what each code of a becomes */
    uint8_t b_bytes[256];
    const float *bias;
    bool add;
    float share, scale; /* 1 / n_samples; of all that is not in groups, the share too */
    void *out;
    bool half;               /* FWD, DX: out is bf16 (uint16_t), else f32 */
    const nyb_stream *draws; /* half: rounded by these; NULL: to the nearest */
    /* DW */
    size_t tap, n, n_panels; /* the first tap; outputs of a row of dy */
    size_t block_m, block_n; /* rows and panels of a task */
    const float *levels;     /* x's packed.scale of each tap; NULL: one for all */
    uint8_t *shared, *workers;
} nyb_group_job;

/* n codes from flat index `first` of a matrix, as bytes; both multiples of 16. */
void nyb_group_read(const nyb_group_conv *conv, const nyb_grouped *matrix, const uint8_t bytes[256],
                    size_t first, size_t n, uint8_t *out);
/* A panel of n_groups groups from 32 rows of bytes (n_valid of them), `ld` apart: codes and
 * `start`. codes has n_steps * 2 KB. */
void nyb_group_pack(const nyb_group_conv *conv, const uint8_t *rows, size_t ld, size_t n_groups,
                    size_t n_valid, int8_t *codes, int32_t *start);
/* sums of `rows` rows and all groups of a panel, chunk by chunk. */
void nyb_group_sum(const nyb_group_conv *conv, nyb_group_args *args);

/* What one unit of an operand of this scale is worth. */
static inline float nyb_group_unit(const nyb_grouped *operand, float scale)
{
    return scale * operand->packed.format->unit;
}

void nyb_group_map_run(nyb_group_job *job); /* FWD, DX */
void nyb_group_dw_run(nyb_group_job *job);

#endif
