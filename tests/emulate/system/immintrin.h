/* Instructions that this CPU may lack, in plain C: the kernels for AVX-512, VNNI and VAES are
 * compiled against this header (meson setup -Demulate=true), so that their bits are checked on any
 * machine with AVX2. SIMDe (Debian's libsimde-dev) computes most; here is what its version 0.7.4
 * leaves out. AMX: ../gemm/tile_amx.h. Slow, and never installed. */
#ifndef NYB_EMULATE_IMMINTRIN_H
#define NYB_EMULATE_IMMINTRIN_H

#include_next <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <string.h>

/* A register as an array. */
#define EMU_UNION(name, type, count)                                                               \
    typedef union name {                                                                           \
        type at[count];                                                                            \
        simde__m512i i;                                                                            \
        simde__m512 f;                                                                             \
    } name
EMU_UNION(emu_i32, int32_t, 16);
EMU_UNION(emu_u32, uint32_t, 16);
EMU_UNION(emu_f32, float, 16);
EMU_UNION(emu_u8, uint8_t, 64);
EMU_UNION(emu_xmm, __m128i, 4);
EMU_UNION(emu_ymm, __m256i, 2);
#undef EMU_UNION

/* MXCSR with a rounding of _MM_FROUND_*. */
#define EMU_MXCSR(former, rounding) (((former) & ~0x6000u) | (uint32_t)((rounding)&3) << 13)

/* The mode is set and left in one statement, so that no other arithmetic moves into it. */
static inline float emu_fma(float a, float b, float c, int rounding)
{
    const uint32_t out = _mm_getcsr(), in = EMU_MXCSR(out, rounding);

    __asm__ volatile("vldmxcsr %3\n\tvfmadd213ss %2, %1, %0\n\tvldmxcsr %4"
                     : "+x"(a)
                     : "x"(b), "x"(c), "m"(in), "m"(out));
    return a;
}

static inline int32_t emu_to_int(float a, int rounding)
{
    const uint32_t out = _mm_getcsr(), in = EMU_MXCSR(out, rounding);
    int32_t result;

    __asm__ volatile("vldmxcsr %2\n\tvcvtss2si %1, %0\n\tvldmxcsr %3"
                     : "=r"(result)
                     : "x"(a), "m"(in), "m"(out));
    return result;
}

static inline simde__m512 emu_fmadd_round(simde__m512 a, simde__m512 b, simde__m512 c, int rounding)
{
    emu_f32 x = {.f = a}, y = {.f = b}, z = {.f = c};

    for (int i = 0; i < 16; i++)
        x.at[i] = emu_fma(x.at[i], y.at[i], z.at[i], rounding);
    return x.f;
}
#undef _mm512_fmadd_round_ps
#define _mm512_fmadd_round_ps emu_fmadd_round

#undef _mm512_add_round_ps
#define _mm512_add_round_ps(a, b, rounding)                                                        \
    emu_fmadd_round(a, simde_mm512_set1_ps(1.0f), b, rounding)

static inline simde__m512i emu_cvt_roundps(simde__m512 a, int rounding)
{
    emu_f32 x = {.f = a};
    emu_i32 r;

    for (int i = 0; i < 16; i++)
        r.at[i] = emu_to_int(x.at[i], rounding);
    return r.i;
}
#undef _mm512_cvt_roundps_epi32
#define _mm512_cvt_roundps_epi32 emu_cvt_roundps
#undef _mm512_cvtps_epi32
#define _mm512_cvtps_epi32(a) emu_cvt_roundps(a, _MM_FROUND_TO_NEAREST_INT)
#undef _mm512_cvttps_epi32
#define _mm512_cvttps_epi32(a) emu_cvt_roundps(a, _MM_FROUND_TO_ZERO)

static inline simde__m512 emu_cvtepi32_ps(simde__m512i a)
{
    emu_i32 x = {.i = a};
    emu_f32 r;

    for (int i = 0; i < 16; i++)
        r.at[i] = (float)x.at[i];
    return r.f;
}
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps emu_cvtepi32_ps

static inline simde__m512i emu_cvtepi16_epi32(__m256i a)
{
    emu_ymm r;

    r.at[0] = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(a));
    r.at[1] = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(a, 1));
    return r.i;
}
#undef _mm512_cvtepi16_epi32
#define _mm512_cvtepi16_epi32 emu_cvtepi16_epi32

static inline simde__m512i emu_cvtepu16_epi32(__m256i a)
{
    emu_ymm r;

    r.at[0] = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(a));
    r.at[1] = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1));
    return r.i;
}
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32 emu_cvtepu16_epi32

static inline simde__m512i emu_cvtepu8_epi32(__m128i a)
{
    emu_ymm r;

    r.at[0] = _mm256_cvtepu8_epi32(a);
    r.at[1] = _mm256_cvtepu8_epi32(_mm_srli_si128(a, 8));
    return r.i;
}
#undef _mm512_cvtepu8_epi32
#define _mm512_cvtepu8_epi32 emu_cvtepu8_epi32

static inline simde__m512i emu_cvtepu8_epi16(__m256i a)
{
    emu_ymm r;

    r.at[0] = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(a));
    r.at[1] = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(a, 1));
    return r.i;
}
#undef _mm512_cvtepu8_epi16
#define _mm512_cvtepu8_epi16 emu_cvtepu8_epi16

#define EMU_NARROW(name, type, vector)                                                             \
    static inline vector name(simde__m512i a)                                                      \
    {                                                                                              \
        emu_i32 x = {.i = a};                                                                      \
        union {                                                                                    \
            type at[16];                                                                           \
            vector v;                                                                              \
        } r;                                                                                       \
                                                                                                   \
        for (int i = 0; i < 16; i++)                                                               \
            r.at[i] = (type)x.at[i];                                                               \
        return r.v;                                                                                \
    }
EMU_NARROW(emu_cvtepi32_epi16, int16_t, __m256i)
EMU_NARROW(emu_cvtepi32_epi8, int8_t, __m128i)
#undef EMU_NARROW
#undef _mm512_cvtepi32_epi16
#define _mm512_cvtepi32_epi16 emu_cvtepi32_epi16
#undef _mm512_cvtepi32_epi8
#define _mm512_cvtepi32_epi8 emu_cvtepi32_epi8

static inline simde__m512i emu_srai_epi32(simde__m512i a, unsigned n)
{
    emu_i32 x = {.i = a};

    for (int i = 0; i < 16; i++)
        x.at[i] >>= n > 31 ? 31 : n;
    return x.i;
}
#undef _mm512_srai_epi32
#define _mm512_srai_epi32 emu_srai_epi32

/* SIMDe compares with zero, and leaves -0 and -NaN as they are. */
static inline simde__m512 emu_abs_ps(simde__m512 a)
{
    emu_f32 x = {.f = a};

    x.i = simde_mm512_and_si512(x.i, simde_mm512_set1_epi32(0x7fffffff));
    return x.f;
}
#undef _mm512_abs_ps
#define _mm512_abs_ps emu_abs_ps

static inline simde__m512 emu_permute_ps(simde__m512 a, int order)
{
    emu_f32 x = {.f = a}, r;

    for (int i = 0; i < 16; i++)
        r.at[i] = x.at[(i & ~3) + (order >> 2 * (i & 3) & 3)];
    return r.f;
}
#undef _mm512_permute_ps
#define _mm512_permute_ps emu_permute_ps

static inline __m256 emu_extractf32x8(simde__m512 a, int half)
{
    emu_ymm x = {.f = a};

    return _mm256_castsi256_ps(x.at[half]);
}
#undef _mm512_extractf32x8_ps
#define _mm512_extractf32x8_ps emu_extractf32x8

static inline simde__m512 emu_shuffle_f32x4(simde__m512 a, simde__m512 b, int order)
{
    emu_xmm x = {.f = a}, y = {.f = b}, r;

    for (int i = 0; i < 4; i++)
        r.at[i] = (i < 2 ? x : y).at[order >> 2 * i & 3];
    return r.f;
}
#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4 emu_shuffle_f32x4

static inline __mmask16 emu_cmplt_epi32(simde__m512i a, simde__m512i b)
{
    return simde_mm512_cmpgt_epi32_mask(b, a);
}
#undef _mm512_cmplt_epi32_mask
#define _mm512_cmplt_epi32_mask emu_cmplt_epi32

static inline __mmask64 emu_cmpneq_epi8(simde__m512i a, simde__m512i b)
{
    emu_u8 x = {.i = a}, y = {.i = b};
    __mmask64 r = 0;

    for (int i = 0; i < 64; i++)
        r |= (__mmask64)(x.at[i] != y.at[i]) << i;
    return r;
}
#undef _mm512_cmpneq_epi8_mask
#define _mm512_cmpneq_epi8_mask emu_cmpneq_epi8

#undef _mm512_madd_epi16
#define _mm512_madd_epi16 simde_mm512_madd_epi16 /* the alias has too many arguments */

#define EMU_AES(name, step)                                                                        \
    static inline simde__m512i name(simde__m512i a, simde__m512i key)                              \
    {                                                                                              \
        emu_xmm x = {.i = a}, k = {.i = key};                                                      \
                                                                                                   \
        for (int i = 0; i < 4; i++)                                                                \
            x.at[i] = step(x.at[i], k.at[i]);                                                      \
        return x.i;                                                                                \
    }
EMU_AES(emu_aesenc, _mm_aesenc_si128)
EMU_AES(emu_aesenclast, _mm_aesenclast_si128)
#undef EMU_AES
#undef _mm512_aesenc_epi128
#define _mm512_aesenc_epi128 emu_aesenc
#undef _mm512_aesenclast_epi128
#define _mm512_aesenclast_epi128 emu_aesenclast

#define EMU_REDUCE(name, reg, element, step)                                                       \
    static inline element name(simde__m512i a)                                                     \
    {                                                                                              \
        reg x = {.i = a};                                                                          \
                                                                                                   \
        for (int i = 1; i < 16; i++)                                                               \
            x.at[0] = (element)(step);                                                             \
        return x.at[0];                                                                            \
    }
EMU_REDUCE(emu_sum_i32, emu_i32, int32_t, (uint32_t)x.at[0] + (uint32_t)x.at[i])
EMU_REDUCE(emu_max_i32, emu_i32, int32_t, x.at[0] > x.at[i] ? x.at[0] : x.at[i])
EMU_REDUCE(emu_max_u32, emu_u32, uint32_t, x.at[0] > x.at[i] ? x.at[0] : x.at[i])
#undef EMU_REDUCE
#undef _mm512_reduce_add_epi32
#define _mm512_reduce_add_epi32 emu_sum_i32
#undef _mm512_reduce_max_epi32
#define _mm512_reduce_max_epi32 emu_max_i32
#undef _mm512_reduce_max_epu32
#define _mm512_reduce_max_epu32 emu_max_u32

/* Only the bytes of the mask are touched: these loads and stores exist for the ends of arrays. */
static inline void emu_copy(void *to, const void *from, uint64_t mask, size_t width)
{
    for (size_t i = 0; i < 64; i++)
        if (mask >> i & 1)
            memcpy((char *)to + i * width, (const char *)from + i * width, width);
}

#define EMU_LOAD(name, type, mask_type, width)                                                     \
    static inline type name(mask_type mask, const void *from)                                      \
    {                                                                                              \
        type r;                                                                                    \
                                                                                                   \
        memset(&r, 0, sizeof r);                                                                   \
        emu_copy(&r, from, mask, width);                                                           \
        return r;                                                                                  \
    }
EMU_LOAD(emu_load_ps, simde__m512, __mmask16, 4)
EMU_LOAD(emu_load_epi32, simde__m512i, __mmask16, 4)
EMU_LOAD(emu_load_epi8, simde__m512i, __mmask64, 1)
EMU_LOAD(emu_load256_epi8, __m256i, __mmask32, 1)
EMU_LOAD(emu_load128_epi8, __m128i, __mmask16, 1)
#undef EMU_LOAD
#undef _mm512_maskz_loadu_ps
#define _mm512_maskz_loadu_ps emu_load_ps
#undef _mm512_maskz_loadu_epi32
#define _mm512_maskz_loadu_epi32 emu_load_epi32
#undef _mm512_maskz_loadu_epi8
#define _mm512_maskz_loadu_epi8 emu_load_epi8
#undef _mm256_maskz_loadu_epi8
#define _mm256_maskz_loadu_epi8 emu_load256_epi8
#undef _mm_maskz_loadu_epi8
#define _mm_maskz_loadu_epi8 emu_load128_epi8

static inline void emu_store_ps(void *to, __mmask16 mask, simde__m512 v)
{
    emu_copy(to, &v, mask, 4);
}
static inline void emu_store_epi32(void *to, __mmask16 mask, simde__m512i v)
{
    emu_copy(to, &v, mask, 4);
}
static inline void emu_store_epi8(void *to, __mmask64 mask, simde__m512i v)
{
    emu_copy(to, &v, mask, 1);
}
#undef _mm512_mask_storeu_ps
#define _mm512_mask_storeu_ps emu_store_ps
#undef _mm512_mask_storeu_epi32
#define _mm512_mask_storeu_epi32 emu_store_epi32
#undef _mm512_mask_storeu_epi8
#define _mm512_mask_storeu_epi8 emu_store_epi8

#endif
