#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "recipe/recipe.h"

/* Only built-in recipes: the fuzzer shall not open files. */
static nyb_status set_base(nyb_recipe *recipe, const char *base, int depth, nyb_error *err)
{
    (void)recipe;
    (void)depth;
    return nyb_fail(err, NYB_UNKNOWN, "no recipe '%.40s'", base);
}

/* A recipe that was accepted prints as one that is accepted, and equal. */
static void check_round_trip(const nyb_recipe *recipe)
{
    nyb_error err;
    nyb_recipe copy;
    char text[1024], again[1024];
    if (nyb_recipe_init(&copy, &err) != NYB_OK)
        abort();
    for (size_t i = 0; i < nyb_recipe_field_count(); i++) {
        nyb_recipe_field_print(recipe, i, text, sizeof text);
        if (*text && !nyb_recipe_field_is_part(i) &&
            nyb_recipe_set_field(&copy, nyb_recipe_field_key(i), text, &err) != NYB_OK)
            abort();
    }
    for (size_t i = 0; i < nyb_recipe_field_count(); i++) {
        nyb_recipe_field_print(recipe, i, text, sizeof text);
        nyb_recipe_field_print(&copy, i, again, sizeof again);
        if (strcmp(text, again) != 0)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    nyb_error err;
    nyb_recipe recipe;
    char *text = malloc(n_bytes + 1);
    if (!text)
        return 0;
    memcpy(text, bytes, n_bytes);
    text[n_bytes] = 0;
    if (nyb_recipe_init(&recipe, &err) == NYB_OK &&
        nyb_recipe_apply_text(&recipe, "fuzz", text, set_base, 0, &err) == NYB_OK &&
        nyb_recipe_check(&recipe, &err) == NYB_OK)
        check_round_trip(&recipe);
    free(text);
    return 0;
}
