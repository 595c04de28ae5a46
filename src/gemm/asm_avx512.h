/* AVX-512 instructions as own statements, where gcc 12 spills the accumulators around the
 * intrinsic. tests/emulate has a twin of this header in plain C. */
#ifndef NYB_ASM_AVX512_H
#define NYB_ASM_AVX512_H

#include <immintrin.h>

/* acc += a b, 16 floats, fused */
#define NYB_FMA_512(acc, a, b) __asm__("vfmadd231ps %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b))
/* The same with one float from memory. */
#define NYB_FMA_512_BROADCAST(acc, a, b)                                                           \
    __asm__("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(b), "m"(a))
/* 16 dwords += sums of four products of bytes, a without sign, b with (VNNI). */
#define NYB_DOT_512(acc, a, b) __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b))
/* What computes v stays apart from what uses it. */
#define NYB_KEEP_512(v) __asm__("" : "+v"(v))

#endif
