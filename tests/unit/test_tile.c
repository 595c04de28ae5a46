/* The choice among the tiles: by CPU mask, best first, never none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "gemm/tile.h"

#define AVX512 (NYB_CPU_AVX2 | NYB_CPU_AVX512)

static void test_choose_s8(void **state)
{
    (void)state;
    assert_string_equal(nyb_tile_s8_choose(0, 7, true, 7)->name, "ref");
#if NYB_SIMD
    assert_string_equal(nyb_tile_s8_choose(NYB_CPU_AVX2, 7, true, 7)->name, "avx2");
    assert_string_equal(nyb_tile_s8_choose(NYB_CPU_AVX2, 127, true, 127)->name, "avx2");
    assert_string_equal(nyb_tile_s8_choose(AVX512, 7, true, 7)->name, "avx2");
    assert_string_equal(nyb_tile_s8_choose(AVX512 | NYB_CPU_AVX512VNNI, 7, true, 7)->name,
                        "avx512vnni");
    assert_string_equal(nyb_tile_s8_choose(~0u, 7, true, 7)->name, "amx");
#endif
}

static void test_choose_f32(void **state)
{
    (void)state;
    assert_string_equal(nyb_tile_f32_choose(0)->name, "ref");
#if NYB_SIMD
    assert_string_equal(nyb_tile_f32_choose(NYB_CPU_AVX2)->name, "avx2");
    assert_string_equal(nyb_tile_f32_choose(AVX512)->name, "avx512");
    assert_string_equal(nyb_tile_f32_choose(~0u)->name, "avx512vbmi");
#endif
}

/* What every tile promises the engines: all pairs of bytes are summed exactly, with bias too. */
static void test_sums_every_product(void **state)
{
    (void)state;
    for (const nyb_tile_s8 *const *tile = nyb_tile_s8_list; *tile; tile++)
        assert_true((*tile)->max_product >= 255 * 128);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choose_s8),
        cmocka_unit_test(test_choose_f32),
        cmocka_unit_test(test_sums_every_product),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
