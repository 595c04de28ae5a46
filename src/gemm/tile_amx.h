/* The AMX instructions as own statements: gcc 12's _tile_loadconfig tells the compiler of 8 of its
 * 64 bytes, so that stores to the rest may vanish, and its _tile_loadd orders nothing. */
#ifndef NYB_TILE_AMX_H
#define NYB_TILE_AMX_H

#include "base/base.h"

typedef struct nyb_tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} nyb_tile_config;

#define NYB_TILE_CONFIG(config)                                                                    \
    __asm__ volatile("ldtilecfg %0" ::"m"(*(const nyb_tile_config *)(config)) : "memory")
#define NYB_TILE_RELEASE()  __asm__ volatile("tilerelease" ::: "memory")
#define NYB_TILE_ZERO(tile) __asm__ volatile("tilezero %%tmm" #tile ::: "memory")
#define NYB_TILE_LOAD(tile, base, stride)                                                          \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(base), "r"(stride) : "memory")
/* T1: an operand that streams from L2 does not displace the other from L1. */
#define NYB_TILE_LOAD_STREAM(tile, base, stride)                                                   \
    __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm" #tile ::"r"(base), "r"(stride) : "memory")
#define NYB_TILE_STORE(tile, base, stride)                                                         \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(base), "r"(stride) : "memory")
#define NYB_TILE_DOT(c, a, b)                                                                      \
    __asm__ volatile("tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::: "memory")

#endif
