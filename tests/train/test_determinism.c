/* The same bits for any number of threads, every instruction set and every compiler: ten steps of
 * resnet14, whose hashes are pinned here: a commit that changes numerics changes these lines. With
 * an argument N: N steps, on the fastest level, avx2 and ref only (make check-full). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"

static size_t n_steps = 10;
static const char luq_hash[] = "5b68d811ca52a0f6bb15aa4a431dfca9b541a5919d58c3a8cc73da7a049d634a";
static const char f32_hash[] = "241de6bd01c5d6bc15edd473f719a7ac1697d6ab595a4bd1b5ca3624f76c170d";
static const char drawn_hash[] = "d1c07b6f21441d6f709a3d582adf85bfbc673af0d4e1b1a7130698f19351323a";

/* The hash after n_steps; false if this machine lacks the level. */
static bool hash_with(const char *cpu, size_t threads, const char *recipe, const char *const *sets,
                      char hex[65])
{
    fixture f;

    if (!fixture_has(cpu))
        return false;
    fixture_init(&f, cpu, threads, "resnet14", recipe, sets, 16, 16 * n_steps);
    fixture_hash(&f, hex);
    fixture_free(&f);
    return true;
}

static bool hash_of(const char *cpu, size_t threads, const char *recipe, char hex[65])
{
    return hash_with(cpu, threads, recipe, NULL, hex);
}

static void threads_do_not_matter(void **state)
{
    static const size_t threads[] = {2, 3, 7};
    char want[65], got[65];

    (void)state;
    if (n_steps != 10)
        skip();
    hash_of("auto", 1, "luq", want);
    assert_string_equal(want, luq_hash);
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        hash_of("auto", threads[i], "luq", got);
        assert_string_equal(got, want);
    }
}

static void instruction_sets_do_not_matter(void **state)
{
    static const char *const levels[] = {"amx", "avx512vnni", "avx2", "ref"};
    char want[65], got[65];

    (void)state;
    hash_of("auto", 2, "luq", want);
    printf("weights_sha256 after %zu steps: %s\n", n_steps, want);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (n_steps != 10 && (i < 2 || fixture_is_best(levels[i]))) /* auto is one of these */
            continue;
        if (!hash_of(levels[i], 2, "luq", got)) {
            printf("%s: not on this machine\n", levels[i]);
            continue;
        }
        assert_string_equal(got, want);
    }
}

/* Backward products without multiplications. */
static void nor_does_the_engine(void **state)
{
    static const char *const sets[] = {"engine=mf", NULL};
    char got[65];

    (void)state;
    if (n_steps != 10)
        skip();
    hash_with("auto", 2, "luq", sets, got);
    assert_string_equal(got, luq_hash);
}

/* Accumulators that draw: each sum has its random bits, whoever adds it up. */
static void nor_do_threads_to_drawn_sums(void **state)
{
    static const char *const sets[] = {"fwd.accum=e6m5/stochastic",
                                       "dgrad.accum=e6m5/64/stochastic",
                                       "wgrad.accum=bf16/stochastic:9", "wgrad.dy.samples=2", NULL};
    char want[65], got[65];

    (void)state;
    if (n_steps != 10)
        skip();
    n_steps = 2;
    hash_with("auto", 1, "luq", sets, want);
    hash_with("auto", 3, "luq", sets, got);
    assert_string_equal(got, want);
    hash_with("ref", 2, "luq", sets, got);
    assert_string_equal(got, want);
    n_steps = 10;
}

/* What is stored in bf16 by chance: of codes of one scale, of grouped ones, and of f32's edges. */
static void nor_do_they_to_drawn_stores(void **state)
{
    static const char *const levels[] = {"avx512vnni", "avx2", "ref"};
    static const char *const recipes[] = {"luq", "mxfp4"};
    static const char *const sets[] = {"store=bf16/stochastic", NULL};
    static const char *const nearest[] = {"store=bf16", NULL};
    char want[65], got[65];

    (void)state;
    if (n_steps != 10)
        skip();
    n_steps = 2;
    for (size_t i = 0; i < 2; i++) {
        hash_with("auto", 1, recipes[i], sets, want);
        if (i == 0)
            assert_string_equal(want, drawn_hash);
        hash_with("auto", 7, recipes[i], sets, got);
        assert_string_equal(got, want);
        for (size_t j = 0; j < 3; j++)
            if (hash_with(levels[j], 2, recipes[i], sets, got))
                assert_string_equal(got, want);
        hash_with("auto", 2, recipes[i], nearest, got);
        assert_string_not_equal(got, want);
    }
    n_steps = 10;
}

static void f32_too(void **state)
{
    char want[65], got[65];

    (void)state;
    if (n_steps != 10)
        skip();
    hash_of("auto", 1, "f32", want);
    assert_string_equal(want, f32_hash);
    hash_of("auto", 3, "f32", got);
    assert_string_equal(got, want);
    if (hash_of("avx2", 2, "f32", got))
        assert_string_equal(got, want);
}

/* Negative control: another seed must give other bits. */
static void another_seed_differs(void **state)
{
    char a[65], b[65];
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 1, "mlp", "luq", NULL, 16, 32);
    f.options.normalize = 0;
    fixture_hash(&f, a);
    fixture_free(&f);
    fixture_init(&f, "auto", 1, "mlp", "luq", NULL, 16, 32);
    f.options.normalize = 0;
    f.options.seed = 2;
    fixture_hash(&f, b);
    fixture_free(&f);
    assert_string_not_equal(a, b);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(instruction_sets_do_not_matter),
        cmocka_unit_test(nor_does_the_engine),
        cmocka_unit_test(nor_do_threads_to_drawn_sums),
        cmocka_unit_test(nor_do_they_to_drawn_stores),
        cmocka_unit_test(f32_too),
        cmocka_unit_test(another_seed_differs),
    };

    if (argc > 1)
        n_steps = strtoul(argv[1], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
