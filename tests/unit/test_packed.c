#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "packed/packed.h"

static nyb_packed make(const nyb_format *f, size_t rows, size_t cols)
{
    nyb_packed p = {.format = f, .rows = rows, .cols = cols, .pitch = nyb_packed_pitch(cols)};

    p.scale = 0.25f;
    p.codes = nyb_alloc(nyb_packed_bytes(f, rows, cols));
    assert_non_null(p.codes);
    return p;
}

static void sizes_are_padded_to_blocks(void **state)
{
    (void)state;
    assert_int_equal(nyb_packed_pitch(1), 16);
    assert_int_equal(nyb_packed_pitch(16), 16);
    assert_int_equal(nyb_packed_pitch(17), 32);
    assert_int_equal(nyb_packed_bytes(&nyb_format_int4, 1, 1), 64);
    assert_int_equal(nyb_packed_bytes(&nyb_format_int4, 8, 16), 64);
    assert_int_equal(nyb_packed_bytes(&nyb_format_int4, 9, 16), 128);
    assert_int_equal(nyb_packed_bytes(&nyb_format_int2, 9, 16), 128);
    assert_int_equal(nyb_packed_bytes(&nyb_format_int8, 9, 16), 256);
    assert_int_equal(nyb_packed_bytes(&nyb_format_int4, 3, 100), 192); /* 336 -> 384 codes */
    assert_int_equal(nyb_packed_bytes(&nyb_format_int4, SIZE_MAX / 16, 32), 0);
    assert_int_equal(nyb_packed_bytes(&nyb_format_int4, 1, SIZE_MAX), 0);
    assert_int_equal(nyb_packed_bytes(&nyb_format_int4, SIZE_MAX / 16, 16), 0);
}

/* The drawing of packed.h, byte by byte. */
static void code_j_is_low_and_code_64_plus_j_high(void **state)
{
    nyb_packed p = make(&nyb_format_int4, 16, 16);

    (void)state;
    for (size_t i = 0; i < 256; i++)
        nyb_packed_set(&p, i / 16, i % 16, (unsigned)(i * 7 + i / 64) & 15);
    for (size_t b = 0; b < 2; b++)
        for (size_t j = 0; j < 64; j++) {
            unsigned low = (unsigned)((128 * b + j) * 7 + (128 * b + j) / 64) & 15;
            unsigned high = (unsigned)((128 * b + 64 + j) * 7 + (128 * b + 64 + j) / 64) & 15;

            assert_int_equal(p.codes[64 * b + j], high << 4 | low);
        }
    nyb_free(p.codes);
}

static void every_code_of_every_format_comes_back(void **state)
{
    (void)state;
    for (size_t i = 1; i < nyb_format_count(); i++) {
        const nyb_format *f = nyb_format_at(i);
        const size_t rows = 7, cols = 43, n = rows * cols;

        if (f->bits > 8)
            continue;
        nyb_packed p = make(f, rows, cols);
        float *real = malloc(n * sizeof *real);

        assert_non_null(real);
        if (f->multiples)
            memset(nyb_packed_factors(&p), 1, rows * p.pitch / NYB_PITCH);
        for (int again = 0; again < 2; again++) /* overwriting, too */
            for (size_t at = 0; at < n; at++)
                nyb_packed_set(&p, at / cols, at % cols,
                               (unsigned)(at * 5 + (size_t)again) % f->n_codes);
        nyb_packed_decode(&p, real);
        for (size_t at = 0; at < n; at++) {
            unsigned code = (unsigned)(at * 5 + 1) % f->n_codes;
            float want = nyb_format_decode(f, code) * 0.25f;

            assert_int_equal(nyb_packed_get(&p, at / cols, at % cols), code);
            assert_memory_equal(&real[at], &want, sizeof want);
        }
        for (size_t row = 0; row < rows; row++) /* the padding stays code 0 */
            for (size_t col = cols; col < p.pitch; col++)
                assert_int_equal(nyb_packed_get(&p, row, col), 0);
        free(real);
        nyb_free(p.codes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_padded_to_blocks),
        cmocka_unit_test(code_j_is_low_and_code_64_plus_j_high),
        cmocka_unit_test(every_code_of_every_format_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
