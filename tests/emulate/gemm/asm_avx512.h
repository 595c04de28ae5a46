/* The statements of src/gemm/asm_avx512.h in plain C. */
#ifndef NYB_ASM_AVX512_H
#define NYB_ASM_AVX512_H

#include <immintrin.h>

#define NYB_FMA_512(acc, a, b)           ((acc) = simde_mm512_fmadd_ps(a, b, acc))
#define NYB_FMA_512_BROADCAST(acc, a, b) ((acc) = simde_mm512_fmadd_ps(b, _mm512_set1_ps(a), acc))
#define NYB_DOT_512(acc, a, b)           ((acc) = emu_dpbusd(acc, a, b))
#define NYB_KEEP_512(v)                  ((void)(v))

static inline simde__m512i emu_dpbusd(simde__m512i acc, simde__m512i a, simde__m512i b)
{
    emu_u32 sum = {.i = acc};
    emu_u8 x = {.i = a}, y = {.i = b};

    for (int i = 0; i < 64; i++)
        sum.at[i / 4] += (uint32_t)(x.at[i] * (int8_t)y.at[i]);
    return sum.i;
}

#endif
