/* Made by block_scales.py with gfloat 0.5.2 and ml_dtypes 0.6.0; see there. */
#ifndef BLOCK_SCALES_H
#define BLOCK_SCALES_H

#include <stdint.h>

static const struct {
    const char *format, *rule;
    int block;
    uint64_t fnv;
} block_scales[] = {
    {"e2m1", "e8m0", 32, 0x14d67504f95e2ace}, {"e3m2", "e8m0", 32, 0x1f1bafef7f2afd0b},
    {"e2m3", "e8m0", 32, 0xf1d2bd4baccc08d5}, {"e4m3fn", "e8m0", 32, 0xe3c8e8f2bd68dbe9},
    {"e5m2", "e8m0", 32, 0x0bcc698a859f5343}, {"int8", "e8m0", 32, 0xc1de2e577e9adc77},
    {"e2m1", "e4m3", 16, 0xb3ac8c7798d9b51d}, {"e2m1", "e4m3_over17", 16, 0x282a0f362d4f8f86},
};

#endif
