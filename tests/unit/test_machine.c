/* Peaks and streams: they do what benchmarks count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <nybble/nybble.h>

#include "base/base.h"
#include "gemm/stream.h"

#define WORDS 1024

static uint64_t *made_words(void)
{
    uint64_t *words = aligned_alloc(64, WORDS * sizeof *words);

    assert_non_null(words);
    for (size_t i = 0; i < WORDS; i++)
        words[i] = i * UINT64_C(0x9e3779b97f4a7c15);
    return words;
}

/* Every word is read: changing any changes the result. */
static void kernels_read_all_and_copy_all(void **state)
{
    const nyb_stream_kernel *kernels[] = {
        &nyb_stream_ref,
#if NYB_SIMD
        &nyb_stream_avx2,
#endif
    };
    uint64_t *words = made_words(), sum = 0;

    (void)state;
    for (size_t i = 0; i < WORDS; i++)
        sum ^= words[i];
    for (size_t j = 0; j < sizeof kernels / sizeof kernels[0]; j++) {
        uint64_t out[64];

        if (kernels[j]->needs & ~nyb_cpu_detect())
            continue;
        assert_true(kernels[j]->read(words, WORDS) == sum);
        kernels[j]->copy(words, out, 64);
        for (size_t i = 0; i < 64; i++)
            assert_true(out[i] == words[i] + 1);
    }
    free(words);
}

/* Each of two threads copies the first half of its part to the second, and touches nothing else. */
static void streams_cover_every_part(void **state)
{
    uint64_t *words = made_words(), *want = made_words();
    nyb_context *context;
    nyb_error err;

    (void)state;
    assert_int_equal(nyb_context_create("auto", 2, &context, &err), NYB_OK);
    nyb_stream_run(context, NYB_STREAM_READ, words, WORDS * sizeof *words, 3);
    assert_memory_equal(words, want, WORDS * sizeof *words);
    nyb_stream_run(context, NYB_STREAM_COPY, words, WORDS * sizeof *words, 3);
    for (size_t i = 0; i < WORDS; i++)
        if (i % (WORDS / 2) >= WORDS / 4)
            want[i] = want[i - WORDS / 4] + 1;
    assert_memory_equal(words, want, WORDS * sizeof *words);
    nyb_context_destroy(&context);
    free(words);
    free(want);
}

static void peaks_use_the_kernels_of_products(void **state)
{
    static const char *const pairs[][2] = {
        {"uint4", "int4"}, {"e3m0", "int4"}, {"int8", "int8"}, {"f32", "f32"}, {"int4m", "int4"}};
    nyb_context *context;
    nyb_error err;

    (void)state;
    assert_int_equal(nyb_context_create("auto", 2, &context, &err), NYB_OK);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        const nyb_format *a = nyb_format_find(pairs[i][0]), *b = nyb_format_find(pairs[i][1]);
        nyb_peak *peak;
        nyb_plan *plan;

        assert_int_equal(nyb_peak_create(context, a, b, 128, &peak, &err), NYB_OK);
        assert_int_equal(nyb_plan_create(context, NYB_PLAN_Y, (nyb_image){1, 1, 32, 128}, 32, 1, 1,
                                         1, 0, a, b, &plan, &err),
                         NYB_OK);
        assert_string_equal(nyb_peak_engine(peak), nyb_plan_engine(plan));
        assert_string_equal(nyb_peak_kernel(peak), nyb_plan_kernel(plan));
        assert_int_equal(nyb_peak_macs(peak), 2 * 32 * 32 * 128);
        nyb_peak_run(peak, 3);
        nyb_peak_destroy(&peak);
        nyb_plan_destroy(&plan);
    }
    nyb_context_destroy(&context);
}

static void wrong_peaks_are_refused(void **state)
{
    static const size_t depths[] = {0, 32, 100, 4096};
    const nyb_format *int4 = nyb_format_find("int4");
    nyb_context *context;
    nyb_peak *peak;
    nyb_error err;

    (void)state;
    assert_int_equal(nyb_context_create("auto", 1, &context, &err), NYB_OK);
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
        assert_int_equal(nyb_peak_create(context, int4, int4, depths[i], &peak, &err), NYB_INVALID);
        assert_null(peak);
    }
    assert_int_equal(nyb_peak_create(context, NULL, int4, 64, &peak, &err), NYB_INVALID);
    for (uint64_t i = 1;; i++) {
        nyb_status status;

        nyb_alloc_fail_after(i, false);
        status = nyb_peak_create(context, int4, int4, 64, &peak, &err);
        nyb_alloc_fail_after(0, false);
        if (status == NYB_OK)
            break;
        assert_int_equal(status, NYB_MEMORY);
        assert_null(peak);
        assert_true(i < 100);
    }
    nyb_peak_destroy(&peak);
    nyb_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_read_all_and_copy_all),
        cmocka_unit_test(streams_cover_every_part),
        cmocka_unit_test(peaks_use_the_kernels_of_products),
        cmocka_unit_test(wrong_peaks_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
