/* Which layers are quantized how: edges that are something else than the recipe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"

static void hash_of(const char *recipe, const char *const *sets, char hex[65])
{
    fixture f;

    fixture_init(&f, "auto", 2, "mlp:80", recipe, sets, 16, 48); /* a first and a last layer */
    fixture_hash(&f, hex);
    fixture_free(&f);
}

#define ALL(forward, backward)                                                                     \
    {                                                                                              \
        "edges=recipe", "fwd.x=" forward, "fwd.w=" forward, "dgrad.dy=" backward,                  \
            "dgrad.w=" forward, "wgrad.dy=" backward, "wgrad.x=" forward, NULL                     \
    }

static void edges_are_rows(void **state)
{
    static const struct {
        const char *edge;
        const char *sets[8];
    } edges[] = {
        {"edges=f32", ALL("f32", "f32")},
        {"edges=int8", ALL("int8/absmax/tensor/nearest", "int8/absmax/tensor/stochastic")},
        {"edges=fp8", ALL("e4m3b11/unit/tensor/nearest", "e5m2/unit/tensor/nearest")},
        {"edges=fp16", ALL("fp16/unit/tensor/nearest", "fp16/unit/tensor/nearest")},
        {"edges=bf16", ALL("bf16/unit/tensor/nearest", "bf16/unit/tensor/nearest")},
        {"edges=hbfp6", ALL("int6/hbfp/block64/nearest", "int6/hbfp/block64/stochastic")},
    };
    char seen[sizeof edges / sizeof *edges][65];

    (void)state;
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        char got[65];

        hash_of("f32", edges[i].sets, seen[i]);
        hash_of("luq", (const char *const[]){edges[i].edge, NULL}, got);
        if (strcmp(got, seen[i]) != 0)
            fail_msg("%s has other weights than its rows", edges[i].edge);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(seen[i], seen[j]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(edges_are_rows)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
