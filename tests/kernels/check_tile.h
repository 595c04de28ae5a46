/* What the checks of the tiles and their timings share. */
#ifndef CHECK_TILE_H
#define CHECK_TILE_H

#include "check.h"
#include "gemm/tile.h"

/* With the column sums of the steps behind them. */
static inline size_t ck_panel_bytes(size_t n_steps)
{
    return n_steps * (NYB_TILE_STEP_BYTES + NYB_TILE_SUMS_BYTES);
}

/* Timings, where --bench asks for them. */
void ck_time_tile_s8(ck *c, const nyb_tile_s8 *tile);
void ck_time_tile_f32(ck *c, const nyb_tile_f32 *tile);

#endif
