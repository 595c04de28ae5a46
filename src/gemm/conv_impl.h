/* Inside a planned product: geometry, tables and the layout of the scratch memory. */
#ifndef NYB_CONV_IMPL_H
#define NYB_CONV_IMPL_H

#include "gemm/accumulate.h"
#include "gemm/conv.h"
#include "gemm/dot.h"
#include "gemm/store.h"
#include "gemm/tile.h"

/* A slab is the A operand of a task, unpacked: it shares L2 with a panel of weights (half as much:
 * with all the panels of a group). */
#define NYB_SLAB_BYTES ((size_t)576 * 1024)
/* Panels of one group of columns stay in L2 while the rows of A pass by. */
#define NYB_PANELS_BYTES ((size_t)1088 * 1024)
/* k of one chain of the f32 engine (NUMERICS, binding resolution 5). */
#define NYB_F32_CHUNK 4096

/* ---- one axis (rows or columns) of a product whose outputs are pixels: FWD, DX ---------------- *
 *
 * The source is cut in phases: position p of phase f holds padded coordinate p * step + f, and
 * padded coordinate z is source pixel z - src_pad (a zero if there is none). Output i of a grid
 * reads, for each of its taps, position i + off(tap) of phase(tap): always stride 1.
 *   FWD: step = stride, one grid, tap t reads phase t % stride at off t / stride.
 *   DX:  step 1, one phase, `stride` grids; grid g holds the dx pixels y with (y + pad) % stride =
 * g, and has the taps t = g, g + stride, ... (dx[y] += dy[(y + pad - t) / stride] w[t]). */
typedef struct nyb_axis {
    bool dx;
    size_t stride, pad, taps, src, dst;
    size_t n_phases; /* that some tap reads */
    size_t n_grids;
    size_t src_pad, i_base; /* i = 0 of all grids is dy coordinate i_base (DX) */
    size_t count;           /* outputs i of all grids are below it */
    size_t reach;           /* largest off */
    size_t pitch;           /* positions from one row (image) to the next: pads are shared */
} nyb_axis;

typedef struct nyb_grid_range {
    size_t first, count; /* of i */
    size_t out, step;    /* output pixel of `first`, and of each further i */
    size_t n_taps;
} nyb_grid_range;

typedef struct nyb_tap {
    size_t index, phase, off;
} nyb_tap;

void nyb_axis_init(nyb_axis *axis, bool dx, size_t stride, size_t pad, size_t taps, size_t src,
                   size_t dst);
nyb_grid_range nyb_axis_grid(const nyb_axis *axis, size_t grid);
/* Tap k of a grid with ascending index, 0 <= k < n_taps. */
nyb_tap nyb_axis_tap(const nyb_axis *axis, size_t grid, size_t k);
/* The same taps ordered by phase, then off, both ascending. */
nyb_tap nyb_axis_tap_by_offset(const nyb_axis *axis, size_t grid, size_t k);
/* True if what output i reads for a tap is a source pixel, and not a pad. */
bool nyb_axis_hits(const nyb_axis *axis, nyb_tap tap, size_t i);

/* ---- reading an operand -----------------------------------------------------------------------
 */

typedef struct nyb_reader {
    const nyb_tile_s8 *tile;      /* NULL: f32 */
    const nyb_tile_f32 *tile_f32; /* that decodes, then */
    const float *real;
    const uint8_t *codes;
    unsigned bits;
    size_t pitch, cols; /* of a row (pixel), in codes */
    size_t pixel_bytes; /* out: pitch bytes (s8), cols floats (f32) */
    size_t factors;     /* s8, formats with multiples: codes + factors are the factors; 0: none */
    uint8_t zero;       /* the byte that means 0 (s8) */
    bool clear_pads;    /* code 0 is not 0: s8 weights need their pad channels cleared */
    uint8_t bytes[256]; /* s8: what each code becomes */
    bool adds;          /* s8: that is the code plus that of code 0 (int8) */
    float values[256];  /* f32 */
    const nyb_packed *lines; /* f32: whose codes are worth that in row 0 only, or NULL */
} nyb_reader;

/* bias: what an s8 byte has above its unit (see tile.h). tile NULL: f32, else tile_f32 may be. */
void nyb_reader_init(nyb_reader *reader, const nyb_operand *operand, size_t cols,
                     const nyb_tile_s8 *tile, const nyb_tile_f32 *tile_f32, int32_t bias);
void nyb_reader_pixels(const nyb_reader *reader, size_t first, size_t n, void *out);

/* ---- FWD and DX: plan -------------------------------------------------------------------------
 */

/* One grid of outputs: a stride-1 product over the slab. A block of 32 outputs runs through n_parts
 * lists of steps (s8) or runs (f32), one after the other from its first on: K cut in parts (s8:
 * what L1 holds of A or int32 of sums; f32: 4096), or, where it needs no cut, the one list of the
 * steps that reach a pixel and not only pads from some output of the block (s8); bands see others.
 */
typedef struct nyb_sub {
    nyb_grid_range rows, cols;
    size_t n_taps;
    uint32_t *tap;     /* [n_taps] tap r * S + s, in the order of K */
    uint32_t *tap_row; /* s8: row of K where each tap begins */
    size_t n_steps;    /* s8: steps of a panel; f32: runs */
    uint32_t *w_step;  /* [n_steps] s8: offset in the reordered weights; f32: run_len */
    uint8_t *valid;    /* [n_steps] s8 */
    size_t n_parts;
    uint32_t *list;            /* [lists + 1] where each begins in a_step and b_step */
    uint32_t *a_step, *b_step; /* s8: as nyb_tile_s8_args; f32: run_off, none */
    size_t k;                  /* f32: length of K */
    size_t sums, panel_bytes;  /* s8: offset of the column sums in a panel; its size */
    size_t totals;             /* zero_a: offset of their totals, int32 */
    uint32_t *tap_slot;        /* [n_taps] zero_b: slot of a slab that output slot 0 reads */
    size_t panels;             /* offset of panel 0 in the panels area */
    size_t n_blocks;           /* of a full slab: 32 slots from block_slot, ascending */
    uint32_t *block_slot;
    uint32_t *block_list; /* [bands][n_blocks] its first */
    uint8_t *block_rows;  /* up to the last slot with an output */
    int32_t *pixel;       /* [n_blocks][32] output pixel relative to the slab's first; -1: none */
} nyb_sub;

typedef struct nyb_map {
    nyb_axis rows, cols;
    size_t in_c, out_c; /* channels of A's pixels and of the output */
    size_t pixel_bytes; /* of a pixel in a slab */
    size_t slot_bytes;  /* from one pixel to the next */
    bool direct;        /* f32: A is the real operand itself */
    bool wide;          /* s8: parts are summed in int64 */
    size_t interleave;  /* images that alternate pixel by pixel in a slab (1: one after another) */
    size_t n_groups;    /* of `interleave` images */
    size_t units;       /* groups in a slab */
    size_t bands, band; /* row bands of a group, and rows i in one (bands > 1: units = 1) */
    size_t unit_rows;   /* slab rows from one unit to the next */
    size_t row_slots;   /* cols.pitch * interleave */
    size_t area_slots, area_bytes; /* of one phase */
    size_t slab_bytes, row_bytes;  /* per worker; a slab of each sample */
    size_t n_slabs;
    size_t n_panels, group_panels, n_panel_groups;
    bool block_outer; /* for each block all panels: A stays in L1 (linear layers) */
    size_t n_subs;
    nyb_sub *subs;
    size_t w_bytes;      /* scratch: all weights unpacked (DX) */
    size_t pack_bytes;   /* scratch per worker while weights are packed */
    size_t panels_bytes; /* scratch */
    size_t c_bytes;      /* per worker: blocks of sums */
} nyb_map;

/* ---- DW: plans --------------------------------------------------------------------------------
 */

/* s8. A: dy, transposed to rows [o][slot]; B: x, panels of 32 channels; both in the order of x's
 * (phase) pixels, so that a tap is a byte offset of A. A unit is a band of rows of a group of
 * images whose pixels alternate; a chunk is a few units, a round some chunks. Each tap has a list
 * of the steps in which some position has a pixel of x and one of dy. */
typedef struct nyb_dw_s8 {
    size_t stride, pad;
    size_t phases_r, phases_c;
    size_t i_first, i_count, j_first, j_count; /* x's phase positions, rows and columns */
    size_t interleave, n_groups, bands, band, n_units;
    bool flat;           /* B has A's pitch; else its rows are padded to 64 positions */
    size_t pitch, front; /* A: positions per row; slots before the first row */
    size_t b_row, unit_positions, unit_steps;
    size_t a_rows, a_shift, a_top; /* A rows of a unit; row of (i = 0, tap 0); zero rows on top */
    size_t a_last_rows;            /* of a chunk's last unit: no next one's zeros follow */
    size_t a_at_once;              /* rows that are transposed together */
    size_t units, n_chunks, round, n_rounds; /* units in a chunk, chunks in a round */
    size_t lanes;                            /* chunks are dealt to this many accumulators */
    size_t lda, steps, sums, panel_bytes;    /* sums: offset of the column sums in a panel */
    size_t o_blocks, c_blocks, c_group, n_c_groups;
    bool wide;
    bool local;    /* sums live in a task's own memory: one lane, one round */
    bool by_image; /* a chunk is an image, and has a lane of a round for itself; behind them lie the
                      float sums of all images */
    size_t spill;  /* rounds that are summed in int32: by_image 1, wide till a spill to int64 */
    uint32_t *list;            /* [taps + 1] where each tap's begins in a_step and b_step */
    uint32_t *a_step, *b_step; /* as nyb_tile_s8_args; of all units of a chunk, as many of each */
    uint8_t *valid;            /* [steps] as nyb_tile_s8_args */
    size_t a_bytes, b_bytes;   /* of a chunk (A: of a sample) */
    size_t sums_bytes, pack_bytes; /* sums: int32, one lane; pack: per worker */
    size_t zero_parts;             /* zero_a, zero_b: parts that rows of pixels are dealt to */
    size_t zero_bytes;             /* what those take of the shared memory's end */
} nyb_dw_s8;

/* f32. A: dy transposed, [o][k]; B: patches of x, [k][32 of r * s * c]; chunks of 4096 k, gathered
 * in pieces. */
typedef struct nyb_dw_f32 {
    size_t n_chunks, round, n_rounds;
    size_t o_blocks, n_panels, columns;
    size_t a_floats; /* of a chunk and sample */
    size_t pack_bytes;
} nyb_dw_f32;

/* Accumulate. A task is a group of panels of 32 columns of r * s * c, for all rows o or a block of
 * 32; it keeps the state of its sums while k passes by in parts. */
typedef struct nyb_dw_accum {
    size_t columns, n_panels, o_blocks;
    size_t n_groups; /* of panels */
    size_t rows;     /* of o in a task */
} nyb_dw_accum;

/* ---- FWD with few rows (dot.c) ------------------------------------------------------------------
 *
 * s8. Rows of x as signed bytes stay in L1; tasks are groups of panels of 32 outputs. */
typedef struct nyb_few {
    const nyb_dot_kernel *kernel; /* NULL: another plan */
    int32_t plus;                 /* what is added to w's units so that they have no sign */
    size_t lda, n_panels, group_panels;
} nyb_few;

/* ---- operands with lines (conv_line.c) ---------------------------------------------------------
 *
 * Where a line of a has an offset, an output lacks that times the sum of b under the pixels that it
 * sees: outputs of an image that see the same taps are of one class. Shared memory, at `at`: sums
 * [classes][pitch] of f32; then [taps][channels] of int64.                                       */
typedef struct nyb_conv_lines {
    bool a, b;
    bool flat;                /* 1x1: an output is a row of a, of class 0 */
    size_t images_in, pixels; /* rows of a in an image; outputs in one */
    size_t classes, pitch, channels;
    uint32_t *class_of; /* [pixels]; NULL: flat */
    size_t *seen_by;    /* [classes] some output of each */
    size_t at;          /* in the shared memory */
} nyb_conv_lines;

/* ---- the product ------------------------------------------------------------------------------
 */

struct nyb_conv {
    nyb_product product;
    nyb_conv_shape shape; /* as given, or flattened to one column of pixels (1x1) */
    const nyb_format *a, *b;
    size_t n_samples;
    bool s8;
    bool mf; /* the s8 engine on a multiplication-free tile */
    const nyb_tile_s8 *tile;
    const nyb_tile_f32 *tile_f32;
    const nyb_store_kernel *store;
    int32_t bias, max_a, max_b; /* as nyb_tile_s8_args */
    size_t exact_k;             /* largest K whose int32 sum cannot overflow */
    bool zero_a, zero_b;        /* s8: what stands for 0 may be another unit than 0 */
    nyb_conv_lines lines;       /* s8 */
    size_t n_workers;
    uint64_t macs;
    nyb_few few;  /* FWD */
    nyb_map map;  /* FWD, DX */
    nyb_dw_s8 dw; /* DW */
    nyb_dw_f32 dw_f32;
    nyb_accum accum; /* format NULL: exact */
    nyb_accum_grid grid;
    const nyb_accum_kernel *accum_kernel;
    nyb_dw_accum dw_accum;
    size_t shared_bytes, worker_bytes; /* of scratch */
};

/* The outputs along an axis whose tap hits a pixel. */
typedef struct nyb_span {
    size_t first, count;
} nyb_span;
nyb_span nyb_conv_axis_span(size_t src, size_t out, size_t tap, size_t stride, size_t pad);
/* Pairs (output, tap) along an axis that hit a pixel; the same of forward, dX and dW. */
uint64_t nyb_conv_axis_hits(size_t src, size_t out, size_t taps, size_t stride, size_t pad);
/* What a code is to the s8 engine. */
static inline int32_t nyb_conv_unit(const nyb_format *format, unsigned code)
{
    return format->shift ? (int32_t)code - format->shift : format->units[code];
}
/* The largest |unit| of all codes: a file may hold some that no encoder writes (int4's -8). */
int32_t nyb_conv_largest_unit(const nyb_format *format);
/* What one unit of a packed operand is worth. */
float nyb_conv_unit_value(const nyb_operand *operand);

/* As nyb_conv_create_with, with a smaller exact_k (0: the real one) so that tests reach the
 * K-split. */
NYB_MUST_CHECK nyb_status nyb_conv_create_split(const nyb_context *context, nyb_product product,
                                                const nyb_conv_shape *shape, const nyb_format *a,
                                                const nyb_format *b, size_t n_samples,
                                                size_t exact_k, const nyb_conv_options *options,
                                                nyb_conv **conv, nyb_error *err);

typedef struct nyb_conv_job {
    const nyb_conv *conv;
    nyb_pool *pool;
    const nyb_operand *a, *b; /* a: [n_samples] */
    nyb_reader reader_a, reader_b;
    const float *bias;
    bool add;
    float scale;
    int32_t plus_b; /* zero_a, zero_b: what makes a unit its worth */
    int32_t plus_a; /* of all samples together */
    void *out;
    bool half;               /* FWD, DX: out is bf16 (uint16_t), else f32 */
    const nyb_stream *draws; /* half: rounded by these; NULL: to the nearest */
    uint8_t *shared, *workers;
    size_t round;             /* DW */
    size_t line_pixels;       /* outputs of a line of a */
    bool offsets;             /* some line of a has one */
    const float *line_cols;   /* scales of b's lines, in shared memory; NULL: it has none */
    bool fused, free, normal; /* accumulate: as nyb_accum_args */
    const nyb_stream *stream; /* accumulate: of an accumulator that draws */
    nyb_accum_key key;        /* FWD, DX: its */
} nyb_conv_job;

/* Blocks of a full slab, in order; each starts at the first output that no block has yet. */
typedef struct nyb_block_walk {
    size_t row, slot, next;
} nyb_block_walk;

bool nyb_block_next(const nyb_map *map, const nyb_sub *sub, nyb_block_walk *w);
/* Taps (bits by their number in K, of which there are at most NYB_SET_TAPS) of sub `index` that
 * reach a pixel from some output of the block at a slot, in a band. */
#define NYB_SET_TAPS 64
uint64_t nyb_block_taps(const nyb_map *map, size_t index, size_t band, size_t slot);
/* s8: steps of a panel. */
size_t nyb_sub_steps(const nyb_conv *conv, size_t index);
/* The tables of sub `index`; the layout is chosen. On failure nyb_sub_free is still due. */
NYB_MUST_CHECK nyb_status nyb_sub_plan(const nyb_conv *conv, size_t index, nyb_error *err);
void nyb_sub_free(nyb_sub *sub);

/* conv->few, its kernel NULL if the product is not for it. */
void nyb_few_plan(nyb_conv *conv, uint32_t cpu);
void nyb_few_run(nyb_conv_job *job);

/* nyb_map: tables and sizes from conv's shape and engine. On failure nyb_map_free is still due. */
NYB_MUST_CHECK nyb_status nyb_map_plan(nyb_conv *conv, nyb_error *err);
void nyb_map_free(nyb_map *map);
void nyb_map_run(nyb_conv_job *job);
void nyb_map_pack(nyb_conv_job *job);
/* Rows of A, of a sample, for units groups of images from group `first`, rows i from `i`, n of
 * them. */
void nyb_slab_fill(const nyb_conv_job *job, size_t sample, size_t first, size_t units, size_t i,
                   size_t n, uint8_t *slab, uint8_t *row);

NYB_MUST_CHECK nyb_status nyb_dw_s8_plan(nyb_conv *conv, nyb_error *err);
/* Slots from the start of a row of A to what tap (r, s) multiplies with B's first position. */
static inline size_t nyb_dw_tap_offset(const nyb_dw_s8 *dw, size_t r, size_t s)
{
    return dw->front + ((dw->a_shift - r / dw->stride) * dw->pitch + dw->j_first) * dw->interleave -
           s / dw->stride * dw->interleave;
}
void nyb_dw_s8_run(nyb_conv_job *job);

/* ---- operands whose zero is another unit than 0 (conv_zero.c) ---------------------------------
 *
 * The sum of (a + plus_a) (b + plus_b) over K pairs is that of a b, which the tiles give, and
 *     plus_a * sum of b  +  plus_b * (sum of a + K plus_a).
 * FWD, DX: pads hold a's zero, and a block's sums begin with the rest. DW: pads hold unit 0, and
 * the rest, of the pairs of pixels that a tap sees, is added to its sums.                        */

static inline bool nyb_conv_lacks(const nyb_conv *conv)
{
    return conv->zero_a || conv->zero_b;
}
/* job's plus_a, plus_b, and what pads hold; DW: the rest, too. */
void nyb_zero_prepare(nyb_conv_job *job);
/* FWD, DX: sums over K of the columns of a packed panel, to its totals. */
void nyb_zero_totals(const nyb_conv *conv, const nyb_sub *sub, void *panel);
/* Adds the sums of a's units over the channels of n slots. */
void nyb_zero_slots(const nyb_conv *conv, const uint8_t *slab, size_t n, int32_t *sums);
/* DW: bytes of shared memory, and of a worker's. */
void nyb_zero_plan_dw(nyb_conv *conv);
/* DW: what output (o, c) of a tap lacks is rows[o] + cols[c]. */
const int64_t *nyb_zero_rows(const nyb_conv_job *job, size_t tap);
const int64_t *nyb_zero_cols(const nyb_conv_job *job, size_t tap);

/* After the rest is planned. On failure nyb_lines_free is still due. */
NYB_MUST_CHECK nyb_status nyb_lines_plan(nyb_conv *conv, nyb_error *err);
void nyb_lines_free(nyb_conv *conv);
/* What outputs lack, if a line of a has an offset. */
void nyb_lines_prepare(nyb_conv_job *job);
/* Row m of a block is output pixel first + pixel[m], from column col on; there is none if pixel[m]
 * is negative or not below limit. */
void nyb_lines_store(const nyb_conv_job *job, size_t first, const int32_t pixel[NYB_TILE_ROWS],
                     size_t limit, size_t rows, size_t col, nyb_store_lines *lines);

void nyb_dw_f32_plan(nyb_conv *conv);
void nyb_dw_f32_run(nyb_conv_job *job);
/* B of output pixels [first_k, first_k + n_k): columns (r, s, c) of a panel, a row for each pixel.
 * row: memory for a row of x. */
void nyb_dw_gather(const nyb_conv_job *job, size_t first_k, size_t n_k, size_t panel, float *row,
                   float *b);

void nyb_dw_accum_plan(nyb_conv *conv);
void nyb_dw_accum_run(nyb_conv_job *job);
/* FWD and DX: args->c = the scaled sums of a block over all runs of sub; behind c lies as much
 * memory for partial sums, and again as much for generators if the accumulator draws; first: the
 * outputs that rows begin with, then. */
void nyb_accum_block(const nyb_conv_job *job, const nyb_sub *sub, const uint64_t *first,
                     const nyb_tile_f32_args *args);
/* job's readers and scale, what is known of the products. */
void nyb_accum_prepare(nyb_conv_job *job, const nyb_operand *b);
/* Scratch that prepare needs. */
size_t nyb_accum_shared_bytes(const nyb_conv *conv);

static inline uint8_t *nyb_job_worker(const nyb_conv_job *job, size_t worker)
{
    return job->workers + worker * job->conv->worker_bytes;
}

/* The epilogue of a block of sums from column `col` of the output on, without its rows and its
 * scale. */
static inline nyb_store_args nyb_job_store(const nyb_conv_job *job, size_t rows, size_t col,
                                           size_t n_cols)
{
    return (nyb_store_args){.rows = rows,
                            .n_valid = n_cols,
                            .bias = job->bias ? job->bias + col : NULL,
                            .add = job->add,
                            .half = job->half,
                            .draws = job->draws,
                            .origin = job->out};
}

/* Copies or sets n_bytes (a multiple of 4) without a call: pixels are short. */
static inline void nyb_copy_pixel(uint8_t *dst, const uint8_t *src, size_t n_bytes)
{
    size_t i = 0;
    for (; i + 16 <= n_bytes; i += 16)
        memcpy(dst + i, src + i, 16);
    for (; i < n_bytes; i += 4)
        memcpy(dst + i, src + i, 4);
}

#endif
