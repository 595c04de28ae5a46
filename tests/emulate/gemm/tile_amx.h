/* The AMX instructions of src/gemm/tile_amx.h in plain C (Intel's manual, "Intel AMX"): what a
 * configuration allows, and that registers keep zeros beyond it, included. One thread's tiles. */
#ifndef NYB_TILE_AMX_H
#define NYB_TILE_AMX_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

typedef struct nyb_tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} nyb_tile_config;

typedef struct nyb_emulated_tiles {
    nyb_tile_config config;
    uint8_t tile[8][16][64];
} nyb_emulated_tiles;

static _Thread_local nyb_emulated_tiles nyb_emulated;

static inline void nyb_emulate_check(bool fine, const char *what)
{
    if (!fine) {
        fprintf(stderr, "AMX: %s\n", what);
        abort();
    }
}

static inline void nyb_emulate_config(const nyb_tile_config *config)
{
    nyb_emulate_check(config->palette == 1, "palette");
    for (int t = 0; t < 8; t++)
        nyb_emulate_check(config->rows[t] <= 16 && config->row_bytes[t] <= 64, "tile too large");
    memset(&nyb_emulated, 0, sizeof nyb_emulated);
    nyb_emulated.config = *config;
}

static inline void nyb_emulate_zero(int t)
{
    nyb_emulate_check(nyb_emulated.config.palette == 1, "no configuration");
    memset(nyb_emulated.tile[t], 0, sizeof nyb_emulated.tile[t]);
}

static inline void nyb_emulate_load(int t, const void *base, size_t stride)
{
    nyb_emulate_zero(t);
    for (size_t r = 0; r < nyb_emulated.config.rows[t]; r++)
        memcpy(nyb_emulated.tile[t][r], (const char *)base + r * stride,
               nyb_emulated.config.row_bytes[t]);
}

static inline void nyb_emulate_store(int t, void *base, size_t stride)
{
    nyb_emulate_check(nyb_emulated.config.palette == 1, "no configuration");
    for (size_t r = 0; r < nyb_emulated.config.rows[t]; r++)
        memcpy((char *)base + r * stride, nyb_emulated.tile[t][r],
               nyb_emulated.config.row_bytes[t]);
}

/* c += a b, int8 x int8: rows of a and c, columns of b and c, and the depth must fit. */
static inline void nyb_emulate_dot(int c, int a, int b)
{
    const nyb_tile_config *f = &nyb_emulated.config;

    nyb_emulate_check(f->rows[c] == f->rows[a] && f->row_bytes[c] == f->row_bytes[b] &&
                          f->row_bytes[a] == 4 * f->rows[b] && f->row_bytes[c] % 4 == 0,
                      "shapes of a product");
    for (size_t m = 0; m < f->rows[c]; m++)
        for (size_t n = 0; n < f->row_bytes[c] / 4u; n++) {
            uint32_t sum;
            memcpy(&sum, nyb_emulated.tile[c][m] + 4 * n, sizeof sum);
            for (size_t k = 0; k < f->row_bytes[a]; k++)
                sum += (uint32_t)((int8_t)nyb_emulated.tile[a][m][k] *
                                  (int8_t)nyb_emulated.tile[b][k / 4][4 * n + k % 4]);
            memcpy(nyb_emulated.tile[c][m] + 4 * n, &sum, sizeof sum);
        }
}

#define NYB_TILE_CONFIG(config)                  nyb_emulate_config(config)
#define NYB_TILE_RELEASE()                       memset(&nyb_emulated, 0, sizeof nyb_emulated)
#define NYB_TILE_ZERO(tile)                      nyb_emulate_zero(tile)
#define NYB_TILE_LOAD(tile, base, stride)        nyb_emulate_load(tile, base, stride)
#define NYB_TILE_LOAD_STREAM(tile, base, stride) nyb_emulate_load(tile, base, stride)
#define NYB_TILE_STORE(tile, base, stride)       nyb_emulate_store(tile, base, stride)
#define NYB_TILE_DOT(c, a, b)                    nyb_emulate_dot(c, a, b)

#endif
