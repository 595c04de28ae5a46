/* What a recipe cannot be: the checks that need more than one field. */
#include <stddef.h>

#include "gemm/mf.h"
#include "quant/round.h"
#include "recipe/recipe.h"

static nyb_status check_row(const char *key, const nyb_row *row, nyb_error *err)
{
    if (nyb_row_is_f32(row))
        return NYB_OK;
    nyb_error inner;
    nyb_status status = nyb_spec_check(&row->spec, &inner);
    if (status != NYB_OK)
        return nyb_fail(err, status, "%s: %s", key, inner.text);
    if (!row->nonneg)
        return NYB_OK;
    nyb_spec spec = row->spec;
    spec.format = row->nonneg;
    status = nyb_spec_check(&spec, &inner);
    if (status != NYB_OK)
        return nyb_fail(err, status, "%s.nonneg: %s", key, inner.text);
    return NYB_OK;
}

/* Both operands of a product must be mixed alike; householder is undone, and no matter. */
static nyb_status check_mixes(const char *product, const nyb_row *a, const nyb_row *b,
                              nyb_error *err)
{
    nyb_mix left = a->spec.mix, right = b->spec.mix;
    if (left == NYB_MIX_HOUSEHOLDER)
        left = NYB_MIX_NONE;
    if (right == NYB_MIX_HOUSEHOLDER)
        right = NYB_MIX_NONE;
    if (left == right)
        return NYB_OK;
    return nyb_fail(err, NYB_INVALID,
                    "the operands of %s are mixed by '%s' and '%s': the transforms cancel only if "
                    "they are the same",
                    product, nyb_mix_word(left), nyb_mix_word(right));
}

/* Factors live in packed codes: what only rounded values can do is out of their reach. */
static nyb_status check_factors(const char *key, const nyb_row *row, nyb_error *err)
{
    const bool is_dy = strcmp(key, "wgrad.dy") == 0 || strcmp(key, "dgrad.dy") == 0;
    if (nyb_row_is_f32(row) || !row->spec.format->multiples)
        return NYB_OK;
    if (row->pre == 1.0f && row->post == 1.0f && row->from == NYB_FROM_RAW && row->ema == 0.0f &&
        (row->samples == 1 || is_dy))
        return NYB_OK;
    return nyb_fail(err, NYB_INVALID,
                    "%s: format '%s' is stored as codes; pre, post, ema, from and samples (but for "
                    "dy) are for formats whose values are rounded in f32",
                    key, row->spec.format->name);
}

/* The mean decides between an element's two neighbours; nothing else may. */
static nyb_status check_mean(const char *key, const nyb_row *row, nyb_error *err)
{
    const nyb_spec *s = &row->spec;

    if (row->ema == 0.0f ||
        (!nyb_row_is_f32(row) && s->rounding == NYB_ROUND_NEAREST && s->mix == NYB_MIX_NONE &&
         !s->scale->finish && s->scale->n_params == 0))
        return NYB_OK;
    return nyb_fail(err, NYB_INVALID,
                    "%s.ema = %g: it takes weights that are quantized to nearest, not mixed, by a "
                    "rule that neither learns nor corrects scales after rounding (ms_eden)",
                    key, (double)row->ema);
}

/* What comes back to an operand from a product of mixed ones is mixed, too: blocks are masked so; a
 * tensor's scale, or a level, would have to be found again from the mixed tensor. */
static nyb_status check_estimate(const char *key, const nyb_row *row, nyb_error *err)
{
    const bool in_blocks = nyb_round_group_length(row->spec.group) > 0 &&
                           row->spec.group != NYB_GROUP_TILE16 && !row->spec.scale->level;
    if (nyb_row_is_f32(row) || nyb_mix_length(row->spec.mix) == 0 || strncmp(key, "fwd.", 4) != 0)
        return NYB_OK;
    if (row->spec.scale->backward)
        return nyb_fail(err, NYB_INVALID,
                        "%s: rule '%s' learns from elements as they are, not from those that '%s' "
                        "mixes; it needs mix = none",
                        key, row->spec.scale->name, nyb_mix_word(row->spec.mix));
    if (row->ste == NYB_STE_MASK && !in_blocks)
        return nyb_fail(err, NYB_INVALID,
                        "%s.ste = mask: of elements that '%s' mixes it can mask those of block16, "
                        "block32 and block64 with scales of their own; ste = pass and mix = none "
                        "have no such limit",
                        key, nyb_mix_word(row->spec.mix));
    return NYB_OK;
}

static nyb_status check_samples(const char *key, const nyb_row *row, nyb_error *err)
{
    const bool draws = !nyb_row_is_f32(row) && (nyb_rounding_draws(row->spec.rounding) ||
                                                row->spec.scale->finish); /* MS-EDEN's scales */
    if (row->samples > 1 && !draws)
        return nyb_fail(err, NYB_INVALID,
                        "%s.samples = %d: every draw would be the same; it needs a stochastic "
                        "rounding in %s",
                        key, row->samples, key);
    return NYB_OK;
}

/* Only a power of two can be taken back exactly. */
static nyb_status check_loss_scale(const nyb_recipe *recipe, nyb_error *err)
{
    const float start = recipe->loss_scale_start;

    if (recipe->loss_scale != NYB_LOSS_SCALE_NONE && (nyb_bits_of(start) & 0x7fffff) != 0)
        return nyb_fail(
            err, NYB_INVALID,
            "loss_scale.start = %.10g is not a power of two; the next ones are %.10g and %.10g",
            (double)start, (double)nyb_float_of(nyb_bits_of(start) & 0x7f800000),
            2 * (double)nyb_float_of(nyb_bits_of(start) & 0x7f800000));
    return NYB_OK;
}

static bool is_mf_product(const nyb_row *a, const nyb_row *b)
{
    return !nyb_row_is_f32(a) && !nyb_row_is_f32(b) && nyb_spec_packs(&a->spec) &&
           nyb_spec_packs(&b->spec) && nyb_mf_can(a->spec.format, b->spec.format);
}

/* Products that mf cannot do run on other engines; it must have one. */
static nyb_status check_engine(const nyb_recipe *recipe, nyb_error *err)
{
    if (recipe->engine == NYB_ENGINE_MF && !is_mf_product(&recipe->fwd_x, &recipe->fwd_w) &&
        !is_mf_product(&recipe->dgrad_dy, &recipe->dgrad_w) &&
        !is_mf_product(&recipe->wgrad_dy, &recipe->wgrad_x))
        return nyb_fail(err, NYB_INVALID,
                        "engine = mf: no product of this recipe is e3m0 by int4 or uint4 (or "
                        "smaller), each with one scale; engines auto and f32 take all");
    return NYB_OK;
}

nyb_status nyb_recipe_check_rows(const nyb_recipe *recipe, nyb_error *err)
{
    static const struct {
        const char *key;
        size_t offset;
    } rows[] = {{"fwd.x", offsetof(struct nyb_recipe, fwd_x)},
                {"fwd.w", offsetof(struct nyb_recipe, fwd_w)},
                {"dgrad.dy", offsetof(struct nyb_recipe, dgrad_dy)},
                {"dgrad.w", offsetof(struct nyb_recipe, dgrad_w)},
                {"wgrad.dy", offsetof(struct nyb_recipe, wgrad_dy)},
                {"wgrad.x", offsetof(struct nyb_recipe, wgrad_x)}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const nyb_row *row = (const nyb_row *)((const char *)recipe + rows[i].offset);
        NYB_TRY(check_row(rows[i].key, row, err));
        NYB_TRY(check_estimate(rows[i].key, row, err));
        NYB_TRY(check_samples(rows[i].key, row, err));
        NYB_TRY(check_factors(rows[i].key, row, err));
        NYB_TRY(check_mean(rows[i].key, row, err));
    }
    NYB_TRY(check_loss_scale(recipe, err));
    return NYB_OK;
}

nyb_status nyb_recipe_check(const nyb_recipe *recipe, nyb_error *err)
{
    NYB_TRY(nyb_recipe_check_rows(recipe, err));
    NYB_TRY(check_engine(recipe, err));
    NYB_TRY(check_mixes("the forward product", &recipe->fwd_x, &recipe->fwd_w, err));
    NYB_TRY(check_mixes("the input gradient", &recipe->dgrad_dy, &recipe->dgrad_w, err));
    return check_mixes("the weight gradient", &recipe->wgrad_dy, &recipe->wgrad_x, err);
}
