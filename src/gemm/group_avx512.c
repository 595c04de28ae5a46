/* The epilogue of the grouped tiles on AVX-512. */
#include "gemm/group_avx512.h"

static inline void store_half(const float *c, __mmask16 mask, __m512 scale, const float *bias,
                              bool add, float *out)
{
    __m512 t = _mm512_mul_ps(_mm512_load_ps(c), scale);
    if (bias)
        t = _mm512_add_ps(t, _mm512_maskz_loadu_ps(mask, bias));
    if (add)
        t = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), t);
    _mm512_mask_storeu_ps(out, mask, t);
}

void nyb_group_store_avx512(const float *c, size_t rows, size_t n_valid, float scale,
                            const float *bias, bool add, float *const *out)
{
    const __m512 factor = _mm512_set1_ps(scale);
    const __mmask16 left = nyb_mask16(n_valid);
    const __mmask16 right = nyb_mask16(n_valid > 16 ? n_valid - 16 : 0);
    for (size_t m = 0; m < rows; m++, c += NYB_TILE_COLS) {
        if (!out[m])
            continue;
        store_half(c, left, factor, bias, add, out[m]);
        if (right)
            store_half(c + 16, right, factor, bias ? bias + 16 : NULL, add, out[m] + 16);
    }
}
