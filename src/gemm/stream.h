/* Reading and copying memory as fast as the instruction set can, for benchmarks. */
#ifndef NYB_STREAM_H
#define NYB_STREAM_H

#include "base/cpu.h"

typedef struct nyb_stream_kernel {
    uint32_t needs; /* NYB_CPU_* */
    /* n words, a multiple of 64; 64-byte aligned. The exclusive or of all, so that all are read. */
    uint64_t (*read)(const uint64_t *in, size_t n);
    void (*copy)(const uint64_t *in, uint64_t *out, size_t n); /* out = in + 1: no memcpy */
} nyb_stream_kernel;

extern const nyb_stream_kernel nyb_stream_avx2, nyb_stream_ref;

#endif
