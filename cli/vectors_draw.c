/* Where test vectors come from: drawn numbers, operands, and the products of recipes. */
#include <math.h>

#include "vectors.h"

uint32_t vectors_draw(uint32_t *state)
{
    *state = (uint32_t)((uint64_t)*state * 48271 % 2147483647);
    return *state;
}

void vectors_draw_reals(uint32_t *state, size_t n, float *x)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = vectors_draw(state);
        const float m = 1.0f + (float)(bits >> 8 & 0x3fffff) * 0x1p-22f;

        x[i] = ldexpf((bits >> 7 & 1) ? -m : m, 2 - (int)(bits % 6));
    }
}

bool vectors_is_operand(const nyb_format *format)
{
    char text[80];
    nyb_spec spec;
    nyb_error err;

    snprintf(text, sizeof text, "%s/unit/tensor/nearest", nyb_format_name(format));
    return nyb_format_bits(format) <= 8 && nyb_format_max(format) < 0x1p64f &&
           nyb_spec_parse(text, &spec, &err) == NYB_OK && nyb_matrix_check(&spec, &err) == NYB_OK;
}

static bool is_quantized(const nyb_spec *spec)
{
    return nyb_format_bits(spec->format) < 32;
}

static int recipe_products(const nyb_recipe *recipe, vectors_product_fn *fn, void *user)
{
    static const struct {
        const char *a, *b, *accum;
    } keys[] = {{"fwd.x", "fwd.w", "fwd.accum"},
                {"dgrad.dy", "dgrad.w", "dgrad.accum"},
                {"wgrad.dy", "wgrad.x", "wgrad.accum"}};
    int exit_status = CLI_OK;

    for (size_t i = 0; i < sizeof keys / sizeof *keys && exit_status == CLI_OK; i++) {
        char a_text[120], b_text[120], accum[40];
        nyb_spec a, b;
        nyb_error err;

        nyb_recipe_print(recipe, keys[i].a, a_text, sizeof a_text);
        nyb_recipe_print(recipe, keys[i].b, b_text, sizeof b_text);
        nyb_recipe_print(recipe, keys[i].accum, accum, sizeof accum);
        if (nyb_spec_parse(a_text, &a, &err) != NYB_OK ||
            nyb_spec_parse(b_text, &b, &err) != NYB_OK)
            return cli_fail(nyb_recipe_name(recipe), &err);
        if (is_quantized(&a) && is_quantized(&b))
            exit_status = fn(user, &a, &b, accum);
    }
    return exit_status;
}

int vectors_recipe_products(vectors_product_fn *fn, void *user)
{
    int exit_status = CLI_OK;

    for (size_t i = 0; i < nyb_recipe_count() && exit_status == CLI_OK; i++) {
        nyb_recipe *recipe;
        nyb_error err;

        if (nyb_recipe_create(nyb_recipe_name_at(i), &recipe, &err) != NYB_OK)
            return cli_fail("vectors", &err);
        exit_status = recipe_products(recipe, fn, user);
        nyb_recipe_destroy(&recipe);
    }
    return exit_status;
}
