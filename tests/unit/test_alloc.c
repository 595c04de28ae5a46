/* Aligned, zeroed, counted memory that can be made to fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <nybble/context.h>

#include "base/base.h"

static void memory_is_aligned_and_zero(void **state)
{
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 1000003};

    (void)state;
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            unsigned char *p = nyb_alloc(sizes[i]);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % NYB_ALIGN, 0);
            for (size_t j = 0; j < sizes[i]; j++)
                assert_int_equal(p[j], 0);
            memset(p, 0xa5, sizes[i]); /* the next round may get it again */
            nyb_free(p);
        }
    nyb_free(NULL);
}

static void absurd_sizes_give_null(void **state)
{
    volatile size_t huge = SIZE_MAX;

    (void)state;
    assert_null(nyb_alloc(huge));
    assert_null(nyb_alloc(huge - 64));
    assert_null(nyb_alloc(huge / 2));
}

static void calls_are_counted(void **state)
{
    uint64_t before = nyb_alloc_count();

    (void)state;
    nyb_free(nyb_alloc(8));
    char *copy = nyb_strdup("nybble");
    assert_string_equal(copy, "nybble");
    nyb_free(copy);
    assert_int_equal(nyb_alloc_count() - before, 2);
}

/* Whether the next 5 calls succeed, as bits. */
static unsigned next_five(void)
{
    unsigned ok = 0;

    for (int i = 0; i < 5; i++) {
        void *p = nyb_alloc(1);
        ok |= (unsigned)(p != NULL) << i;
        nyb_free(p);
    }
    return ok;
}

static void the_nth_call_fails(void **state)
{
    (void)state;
    nyb_alloc_fail_after(1, false);
    assert_int_equal(next_five(), 0x1e);
    nyb_alloc_fail_after(3, false);
    assert_int_equal(next_five(), 0x1b);
    assert_int_equal(next_five(), 0x1f);
    nyb_alloc_fail_after(3, true);
    assert_int_equal(next_five(), 0x03);
    assert_int_equal(next_five(), 0x00);
    nyb_alloc_fail_after(0, false);
    assert_int_equal(next_five(), 0x1f);
    nyb_alloc_fail_after(2, true);
    nyb_alloc_fail_after(0, true);
    assert_int_equal(next_five(), 0x1f);
    nyb_alloc_fail_after(1, false);
    assert_null(nyb_strdup("x"));
}

/* Whichever allocation fails, the context is not made and nothing leaks (the sanitizers look). */
static void a_context_survives_any_failure(void **state)
{
    (void)state;
    for (int forever = 0; forever < 2; forever++)
        for (uint64_t n = 1;; n++) {
            nyb_context *context = (nyb_context *)&context;
            nyb_error err = {0};
            assert_true(n < 100);
            nyb_alloc_fail_after(n, forever);
            nyb_status status = nyb_context_create("ref", 3, &context, &err);
            nyb_alloc_fail_after(0, false);
            if (status == NYB_OK) {
                assert_true(n > 2);
                nyb_context_destroy(&context);
                break;
            }
            assert_int_equal(status, NYB_MEMORY);
            assert_int_equal(err.status, NYB_MEMORY);
            assert_null(context);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_and_zero),
        cmocka_unit_test(absurd_sizes_give_null),
        cmocka_unit_test(calls_are_counted),
        cmocka_unit_test(the_nth_call_fails),
        cmocka_unit_test(a_context_survives_any_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
