/* How a product sums: in groups, as codes of one scale, several draws, in an accumulator. */
#include "gemm/accumulate.h"
#include "gemm/mf.h"
#include "graph/build.h"

const nyb_format *nyb_build_format(const nyb_builder *b, const nyb_source *s)
{
    if (s->quant >= 0 && nyb_quant_is_packed(&b->p->quants[s->quant]))
        return b->p->quants[s->quant].packed.format;
    return &nyb_format_f32;
}

static const nyb_accum *recipe_accum(const nyb_recipe *r, nyb_product product)
{
    switch (product) {
    case NYB_PRODUCT_FWD:
        return &r->fwd_accum;
    case NYB_PRODUCT_DX:
        return &r->dgrad_accum;
    case NYB_PRODUCT_DW:
        return &r->wgrad_accum;
    }
    return NULL;
}

/* Layers that the recipe leaves in f32 add up exactly, and so do products of finishing epochs, but
 * for a forward pass that is kept. */
static const nyb_accum *product_accum(const nyb_builder *b, int layer, nyb_product product,
                                      const nyb_source *a, const nyb_source *second)
{
    const bool real = a->quant < 0 && second->quant < 0;

    const bool kept = product == NYB_PRODUCT_FWD && b->g->recipe.finish_keep == NYB_KEEP_FORWARD;

    if ((nyb_mode_finishes(b->p->mode) && !kept) ||
        nyb_graph_is_replaced(&b->g->recipe, b->p->mode) ||
        (real && nyb_graph_edge(b->g->model, &b->g->recipe, layer) != NYB_EDGE_RECIPE))
        return NULL;
    return recipe_accum(&b->g->recipe, product);
}

/* Whether it sums integers, which are codes of one scale. */
static bool sums_codes(const nyb_accum *accum)
{
    return !nyb_accum_is_exact(accum) && accum->format->grid == NYB_GRID_INT;
}

/* Codes of which any may stand for 0. */
static bool has_zero(const nyb_builder *b, const nyb_source *s)
{
    const nyb_quant *q = s->quant >= 0 ? &b->p->quants[s->quant] : NULL;

    return q && q->packs && q->lines < 0 && q->spec.scale->affine;
}

static bool has_lines(const nyb_builder *b, const nyb_source *s)
{
    return s->quant >= 0 && b->p->quants[s->quant].lines >= 0;
}

/* Whether dW's operands may have lines that its images' sums are multiplied by: those of samples
 * that are images, without offset. */
static bool has_image_lines(const nyb_builder *b, const nyb_source *s)
{
    const nyb_quant *q = s->quant >= 0 ? &b->p->quants[s->quant] : NULL;

    return !q || q->lines < 0 ||
           (q->spec.group == NYB_GROUP_ROW && !q->spec.scale->affine && q->reflects < 0 &&
            !b->g->model->layers[q->layer].op->of_rows);
}

nyb_conv_options nyb_build_options(const nyb_builder *b, int layer, nyb_product product,
                                   const nyb_source *a, const nyb_source *second)
{
    nyb_conv_options options = {.accum = product_accum(b, layer, product, a, second),
                                .engine = b->g->recipe.engine,
                                .zero_a = has_zero(b, a),
                                .zero_b = has_zero(b, second),
                                .lines_a = has_lines(b, a),
                                .lines_b = has_lines(b, second)};

    options.image_lines = has_image_lines(b, a) && has_image_lines(b, second);
    if (options.engine == NYB_ENGINE_MF &&
        (!nyb_accum_is_exact(options.accum) || options.lines_a || options.lines_b ||
         !nyb_mf_can(nyb_build_format(b, a), nyb_build_format(b, second))))
        options.engine = NYB_ENGINE_AUTO;
    return options;
}

/* Whether dW's taps can see x's codes: blocks are rounded under each of them; codes of one scale
 * are moved, with zeros beside the images; tiles would fall apart. */
static bool has_windows(const nyb_row *dy, const nyb_row *x, size_t group)
{
    if (x->spec.group == NYB_GROUP_TILE16)
        return false;
    if (nyb_spec_group_length(&x->spec) > 0)
        return nyb_spec_group_length(&x->spec) == group;
    return dy->spec.format->units[0] == 0 && x->spec.format->units[0] == 0;
}

/* Whether products of small integers are exact sums of them. */
static bool sums_integers(const nyb_builder *b, nyb_product product)
{
    const nyb_recipe *r = &b->g->recipe;

    return r->engine == NYB_ENGINE_AUTO && nyb_accum_is_exact(recipe_accum(r, product));
}

size_t nyb_build_group(const nyb_builder *b, int layer, nyb_product product, const nyb_row *rows)
{
    const nyb_slot slot = (nyb_slot)(2 * product);
    const nyb_row *a = &rows[slot], *second = &rows[slot + 1];
    const size_t of_a = nyb_spec_group_length(&a->spec);
    const size_t of_b = nyb_spec_group_length(&second->spec);
    const size_t group = of_a && of_b ? nyb_min(of_a, of_b) : nyb_max(of_a, of_b);

    if (!sums_integers(b, product) || group == 0 || second->samples != 1 ||
        (a->samples != 1 && product == NYB_PRODUCT_FWD))
        return 0;
    if ((of_a == 0 && !nyb_build_packs_units(a, slot)) ||
        (of_b == 0 && !nyb_build_packs_units(second, slot + 1)))
        return 0;
    if (product == NYB_PRODUCT_DW && nyb_build_has_window(b, layer) &&
        !has_windows(a, second, group))
        return 0;
    return group;
}

/* Whether an operand is codes of small integers with one scale, or can be. */
static bool is_units(const nyb_row *row, nyb_slot slot)
{
    return nyb_build_rounds_units(row, slot) ||
           (nyb_build_packs(row, slot) && row->spec.format->multiples == 0 &&
            nyb_format_is_integer(row->spec.format));
}

bool nyb_build_sums_codes(const nyb_builder *b, int layer, nyb_product product, const nyb_row *rows)
{
    const nyb_slot slot = (nyb_slot)(2 * product);
    const nyb_op *op = b->g->model->layers[layer].op;
    const bool lines =
        nyb_build_has_lines(&rows[slot], slot) || nyb_build_has_lines(&rows[slot + 1], slot + 1);
    const bool codes = sums_codes(recipe_accum(&b->g->recipe, product)) && !lines &&
                       (rows[slot].samples == 1 || product == NYB_PRODUCT_DW);

    /* Depthwise products know units and a scale, no zero, and take no draws here. */
    const bool plain = nyb_spec_packs(&rows[slot].spec) && nyb_spec_packs(&rows[slot + 1].spec) &&
                       rows[slot].samples == 1;

    /* A sample of a linear layer is one term of dW's sums: lines are for groups of them. */
    return (codes || sums_integers(b, product)) && (!op->depthwise || plain) &&
           !(product == NYB_PRODUCT_DW && op->of_rows && lines) && is_units(&rows[slot], slot) &&
           is_units(&rows[slot + 1], slot + 1);
}

int nyb_build_count_draws(const nyb_builder *b, int layer, nyb_product product, const nyb_row *rows,
                          size_t group, bool packs)
{
    const nyb_slot slot = (nyb_slot)(2 * product);
    const nyb_row *a = &rows[slot], *second = &rows[slot + 1];
    const nyb_recipe *r = &b->g->recipe;

    switch (product) {
    case NYB_PRODUCT_FWD:
        return 1;
    case NYB_PRODUCT_DX: /* of codes that are integers; nyb_conv_create_with */
        packs |= nyb_build_packs(a, slot) && nyb_build_packs(second, slot + 1) &&
                 nyb_format_is_integer(a->spec.format) &&
                 nyb_format_is_integer(second->spec.format) &&
                 !b->g->model->layers[layer].op->depthwise && r->engine != NYB_ENGINE_F32 &&
                 nyb_accum_is_exact(recipe_accum(r, product));
        break;
    case NYB_PRODUCT_DW: /* of any packed codes */
        packs |= nyb_build_packs(a, slot);
        break;
    }
    return group > 0 || packs ? a->samples : 1;
}

nyb_status nyb_build_check_codes(const nyb_builder *b, const nyb_step *s,
                                 const nyb_conv_options *options)
{
    const nyb_source *const sources[] = {&s->a[0], &s->b};
    const bool lines[] = {options->lines_a, options->lines_b};
    nyb_row rows[NYB_SLOTS];
    char text[96];

    if (!options->accum || !sums_codes(options->accum))
        return NYB_OK;
    nyb_graph_rows(b->g->model, &b->g->recipe, s->layer, b->p->mode, rows);
    for (int i = 0; i < 2; i++) {
        const nyb_slot slot = (nyb_slot)(2 * s->product + i);

        if (nyb_build_format(b, sources[i])->max_unit > 0 && !lines[i])
            continue;
        nyb_spec_print(&rows[slot].spec, text, sizeof text);
        return nyb_fail(b->err, NYB_INVALID,
                        "accumulator '%s' sums integer codes of one scale, as those of "
                        "int4/absmax/tensor, but %s of layer '%s' is %s; floating accumulators "
                        "(fp16, e6m9) take any",
                        options->accum->format->name, nyb_slot_name(slot),
                        b->g->model->layers[s->layer].name, text);
    }
    return NYB_OK;
}

nyb_status nyb_build_check_draws(const nyb_builder *b, int layer, const nyb_row *row, int n)
{
    if (nyb_row_is_f32(row) || row->samples == n || row->spec.format->multiples == 0)
        return NYB_OK;
    return nyb_fail(b->err, NYB_INVALID,
                    "dgrad.dy.samples = %d: the input gradient of layer '%s' would have to take "
                    "the mean of draws of '%s'; only exact products of codes with one scale, and "
                    "no depthwise ones, sum them; wgrad.dy.samples goes everywhere",
                    row->samples, b->g->model->layers[layer].name, row->spec.format->name);
}
