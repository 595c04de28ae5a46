/* Every built-in recipe trains, and two steps of it give the same, pinned, weights whatever
 * computes them: tests/golden/recipes.txt, a line for each recipe. A commit that changes the
 * numbers of a recipe changes its line: test_recipes --update writes the file anew. Convolutions
 * give them with `recompute`, too. With --full also with seven threads and on the reference, which
 * trains the convolutions of every fourth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"

static bool full, update;

/* false if this machine lacks the level. */
static bool hash_of(const char *cpu, size_t threads, const char *model, const char *recipe,
                    bool recompute, char hex[65])
{
    static const char *const everywhere[] = {"edges=recipe", "shortcut=recipe", NULL};
    static const char *const repeat[] = {"recompute=products", NULL};
    fixture f;

    if (!fixture_has(cpu))
        return false;
    /* mlp: every layer in the recipe's formats; resnet8: edges and shortcuts as the recipe has them
     */
    fixture_init(&f, cpu, threads, model, recipe,
                 recompute                   ? repeat
                 : strcmp(model, "mlp") == 0 ? everywhere
                                             : NULL,
                 8, 16);
    fixture_hash(&f, hex);
    fixture_free(&f);
    return true;
}

/* n_variants: how many of the list. */
static void check_variants(const char *model, const char *recipe, const char *want,
                           size_t n_variants)
{
    static const struct {
        const char *cpu;
        size_t threads;
    } variants[] = {{"avx2", 3}, {"avx512vnni", 2}, {"auto", 7}, {"ref", 1}};
    char got[65];

    for (size_t i = 0; i < n_variants; i++)
        if (!(full && fixture_is_best(variants[i].cpu)) &&
            hash_of(variants[i].cpu, variants[i].threads, model, recipe, false, got) &&
            strcmp(got, want) != 0)
            fail_msg("%s, %s: %s with %zu threads gives %s, not %s", recipe, model, variants[i].cpu,
                     variants[i].threads, got, want);
}

static void every_recipe_gives_its_pinned_weights(void **state)
{
    static const char *const models[] = {"mlp", "resnet8"};
    FILE *golden = fopen(GOLDEN_FILE, update ? "w" : "r");
    char line[256];

    (void)state;
    assert_non_null(golden);
    if (update)
        fputs("# recipe, model, weights_sha256 after two steps (tests/train/test_recipes.c)\n",
              golden);
    else
        assert_non_null(fgets(line, sizeof line, golden));
    for (size_t i = 0; i < nyb_recipe_count(); i++)
        for (size_t m = 0; m < 2; m++) {
            char hex[65], want[256];

            if (!update && !fgets(line, sizeof line, golden))
                fail_msg("%s has no line for %s, %s", GOLDEN_FILE, nyb_recipe_name_at(i),
                         models[m]);
            if (m == 1 && i % TEST_EVERY(8) != 0 && !full && !update)
                continue;
            hash_of("auto", 2, models[m], nyb_recipe_name_at(i), false, hex);
            snprintf(want, sizeof want, "%s %s %s\n", nyb_recipe_name_at(i), models[m], hex);
            if (update) {
                fputs(want, golden);
                continue;
            }
            assert_string_equal(want, line);
            if (m == 1) {
                char again[65];

                hash_of("auto", 2, models[m], nyb_recipe_name_at(i), true, again);
                if (strcmp(again, hex) != 0)
                    fail_msg("%s, %s: recompute = products gives %s", nyb_recipe_name_at(i),
                             models[m], again);
            }
            if (full || m == 0 || i % 7 == 0)
                check_variants(models[m], nyb_recipe_name_at(i), hex,
                               !full                  ? 1
                               : m == 0 || i % 4 == 0 ? 4
                                                      : 3);
        }
    assert_int_equal(fclose(golden), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_recipe_gives_its_pinned_weights)};

    for (int i = 1; i < argc; i++) {
        full = full || strcmp(argv[i], "--full") == 0;
        update = update || strcmp(argv[i], "--update") == 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
