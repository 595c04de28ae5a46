/* Which tensor is quantized how: recipe, edges, shortcuts, sign knowledge. */
#include "gemm/accumulate.h"
#include "graph/build.h"

static nyb_row f32_row(void)
{
    return (nyb_row){.spec.format = &nyb_format_f32, .samples = 1, .pre = 1, .post = 1};
}

static nyb_row int8_row(nyb_rounding rounding)
{
    return (nyb_row){.spec = {.format = &nyb_format_int8,
                              .scale = nyb_scale_rule_find("absmax"),
                              .group = NYB_GROUP_TENSOR,
                              .rounding = rounding,
                              .sr_bits = 16},
                     .samples = 1,
                     .pre = 1,
                     .post = 1};
}

/* A float format without a scale. */
static nyb_row float_row(const nyb_format *format)
{
    nyb_row row = int8_row(NYB_ROUND_NEAREST);

    row.spec.format = format;
    row.spec.scale = nyb_scale_rule_find("unit");
    return row;
}

/* HBFP6: block floating point of 6 bits (Drumond et al., NeurIPS 2018). */
static nyb_row hbfp6_row(nyb_rounding rounding)
{
    nyb_row row = int8_row(rounding);

    row.spec.format = &nyb_format_int6;
    row.spec.scale = nyb_scale_rule_find("hbfp");
    row.spec.group = NYB_GROUP_BLOCK64;
    return row;
}

static void all_rows(nyb_row rows[NYB_SLOTS], nyb_row row)
{
    for (int i = 0; i < NYB_SLOTS; i++)
        rows[i] = row;
}

static void apply_edge(nyb_edge edge, nyb_row rows[NYB_SLOTS])
{
    switch (edge) {
    case NYB_EDGE_RECIPE:
        return;
    case NYB_EDGE_F32:
        all_rows(rows, f32_row());
        return;
    case NYB_EDGE_INT8:
        all_rows(rows, int8_row(NYB_ROUND_NEAREST));
        rows[NYB_SLOT_DGRAD_DY] = rows[NYB_SLOT_WGRAD_DY] = int8_row(NYB_ROUND_STOCHASTIC);
        return;
    case NYB_EDGE_FP8:
        all_rows(rows, float_row(&nyb_format_e4m3b11));
        rows[NYB_SLOT_DGRAD_DY] = rows[NYB_SLOT_WGRAD_DY] = float_row(&nyb_format_e5m2);
        return;
    case NYB_EDGE_FP16:
        all_rows(rows, float_row(&nyb_format_fp16));
        return;
    case NYB_EDGE_BF16:
        all_rows(rows, float_row(&nyb_format_bf16));
        return;
    case NYB_EDGE_HBFP6:
        all_rows(rows, hbfp6_row(NYB_ROUND_NEAREST));
        rows[NYB_SLOT_DGRAD_DY] = rows[NYB_SLOT_WGRAD_DY] = hbfp6_row(NYB_ROUND_STOCHASTIC);
        return;
    }
}

static bool is_along_contraction(const nyb_row *row)
{
    return (row->spec.group != NYB_GROUP_TENSOR && row->spec.group != NYB_GROUP_ROW &&
            row->spec.group != NYB_GROUP_CHANNEL) ||
           nyb_mix_length(row->spec.mix) > 0;
}

/* A depthwise layer sums over the taps of one channel: there are no blocks of channels to share a
 * scale or to mix, and accumulators of their own are not emulated. Such layers are f32
 * (docs/decisions/0006). A channel of its weights is a filter, a row. */
static void apply_depthwise(const struct nyb_recipe *recipe, nyb_row rows[NYB_SLOTS])
{
    bool fits = nyb_accum_is_exact(&recipe->fwd_accum) &&
                nyb_accum_is_exact(&recipe->dgrad_accum) &&
                nyb_accum_is_exact(&recipe->wgrad_accum);

    for (int i = 0; i < NYB_SLOTS; i++)
        fits = fits && (nyb_row_is_f32(&rows[i]) || !is_along_contraction(&rows[i]));
    if (!fits)
        all_rows(rows, f32_row());
    if (rows[NYB_SLOT_FWD_W].spec.group == NYB_GROUP_CHANNEL)
        rows[NYB_SLOT_FWD_W].spec.group = NYB_GROUP_ROW;
    if (rows[NYB_SLOT_DGRAD_W].spec.group == NYB_GROUP_CHANNEL)
        rows[NYB_SLOT_DGRAD_W].spec.group = NYB_GROUP_ROW;
}

/* The shortest block that holds n channels: the same scales and codes as of a longer one, without
 * the zeros that would fill it up. */
static nyb_group shortest_block(const nyb_spec *spec, size_t n)
{
    const size_t needed = nyb_max(n, nyb_mix_length(spec->mix));

    switch (spec->group) {
    case NYB_GROUP_BLOCK32:
        return needed <= 16 ? NYB_GROUP_BLOCK16 : spec->group;
    case NYB_GROUP_BLOCK64:
        return needed <= 16 ? NYB_GROUP_BLOCK16 : needed <= 32 ? NYB_GROUP_BLOCK32 : spec->group;
    case NYB_GROUP_TENSOR:
    case NYB_GROUP_CHANNEL:
    case NYB_GROUP_ROW:
    case NYB_GROUP_BLOCK16:
    case NYB_GROUP_TILE16:
        return spec->group;
    }
    return spec->group;
}

static void shorten_blocks(const nyb_model *model, const nyb_layer *l, nyb_row rows[NYB_SLOTS])
{
    const size_t in = model->layers[l->in[0]].shape.c, out = l->shape.c;
    const size_t contraction[] = {
        [NYB_SLOT_FWD_X] = in,
        [NYB_SLOT_FWD_W] = in,
        [NYB_SLOT_DGRAD_DY] = out,
        [NYB_SLOT_DGRAD_W] = out,
    };

    for (size_t i = 0; i < sizeof contraction / sizeof *contraction; i++)
        rows[i].spec.group = shortest_block(&rows[i].spec, contraction[i]);
}

/* The backward pass of values that the forward pass has rounded: bf16. */
static void backward_of(const nyb_row *forward, nyb_row *dy, nyb_row *again)
{
    if (!nyb_row_is_f32(dy))
        *dy = float_row(&nyb_format_bf16);
    *again = f32_row();
    if (nyb_row_is_f32(forward))
        return;
    *again = float_row(&nyb_format_bf16);
    again->from = NYB_FROM_FWD;
}

/* What the layers that are quantized become in the last epochs, and so in evaluation. */
static nyb_edge finish_edge(const struct nyb_recipe *recipe)
{
#define X(constant, word, edge, sentence) [constant] = edge,
    static const nyb_edge edges[] = {NYB_KEEP_LIST(X)};
#undef X

    return recipe->finish_epochs > 0 ? edges[recipe->finish_keep] : NYB_EDGE_RECIPE;
}

bool nyb_graph_is_replaced(const struct nyb_recipe *recipe, nyb_mode mode)
{
    return mode != NYB_MODE_TRAIN && finish_edge(recipe) != NYB_EDGE_RECIPE;
}

static bool are_f32(const nyb_row rows[NYB_SLOTS])
{
    for (int i = 0; i < NYB_SLOTS; i++)
        if (!nyb_row_is_f32(&rows[i]))
            return false;
    return true;
}

/* Of rows that finish_edge leaves. */
static void finish_rows(nyb_keep keep, nyb_row rows[NYB_SLOTS])
{
    if (keep == NYB_KEEP_WEIGHTS) {
        rows[NYB_SLOT_FWD_X] = rows[NYB_SLOT_WGRAD_X] = rows[NYB_SLOT_DGRAD_DY] =
            rows[NYB_SLOT_WGRAD_DY] = f32_row();
    } else if (keep == NYB_KEEP_FORWARD) {
        backward_of(&rows[NYB_SLOT_FWD_W], &rows[NYB_SLOT_DGRAD_DY], &rows[NYB_SLOT_DGRAD_W]);
        backward_of(&rows[NYB_SLOT_FWD_X], &rows[NYB_SLOT_WGRAD_DY], &rows[NYB_SLOT_WGRAD_X]);
    }
}

/* Whether the backward pass has the weights that the forward pass has. */
static bool takes_mean(const nyb_row rows[NYB_SLOTS])
{
    const nyb_row *fwd = &rows[NYB_SLOT_FWD_W], *dgrad = &rows[NYB_SLOT_DGRAD_W];

    return dgrad->from == NYB_FROM_RAW && nyb_build_axis_free(&dgrad->spec) &&
           nyb_build_same_spec(&dgrad->spec, &fwd->spec);
}

static bool rule_fits(const nyb_model *model, const nyb_layer_rule *rule, const nyb_layer *l)
{
    return l->gemm >= 0 &&
           nyb_layer_rule_fits(rule, l->name, (size_t)l->gemm, (size_t)model->n_gemms);
}

nyb_edge nyb_graph_edge(const nyb_model *model, const struct nyb_recipe *recipe, int layer)
{
    const nyb_layer *l = &model->layers[layer];
    const char *text = recipe->layers;
    nyb_layer_rule rule;
    nyb_error none;

    while (nyb_layer_rule_next(&text, &rule, &none))
        if (rule_fits(model, &rule, l))
            return rule.edge;
    if (layer == model->first_gemm || (layer == model->last_gemm && l->op->of_rows))
        return recipe->edges;
    if (l->shortcut)
        return recipe->shortcut;
    return l->attr.kernel == 1 && l->op->is_gemm && !l->op->depthwise ? recipe->pointwise
                                                                      : NYB_EDGE_RECIPE;
}

static bool fits_some(const nyb_model *model, const nyb_layer_rule *rule)
{
    for (int i = 0; i < model->n_layers; i++)
        if (rule_fits(model, rule, &model->layers[i]))
            return true;
    return false;
}

nyb_status nyb_graph_check_layers(const nyb_model *model, const struct nyb_recipe *recipe,
                                  nyb_error *err)
{
    const char *text = recipe->layers;
    nyb_layer_rule rule;
    nyb_error none;

    while (nyb_layer_rule_next(&text, &rule, &none))
        if (!fits_some(model, &rule))
            return nyb_fail(err, NYB_UNKNOWN,
                            "layers: '%s' fits no layer of model '%s' that multiplies; its %d are "
                            "'%s' .. '%s' (nybble explain names all)",
                            rule.pattern, model->name, model->n_gemms,
                            model->layers[model->first_gemm].name,
                            model->layers[model->last_gemm].name);
    return NYB_OK;
}

void nyb_graph_rows(const nyb_model *model, const struct nyb_recipe *recipe, int layer,
                    nyb_mode mode, nyb_row rows[NYB_SLOTS])
{
    const nyb_layer *l = &model->layers[layer];
    const nyb_row table[NYB_SLOTS] = {recipe->fwd_x,   recipe->fwd_w,    recipe->dgrad_dy,
                                      recipe->dgrad_w, recipe->wgrad_dy, recipe->wgrad_x};

    memcpy(rows, table, sizeof table);
    apply_edge(nyb_graph_edge(model, recipe, layer), rows);
    if (nyb_graph_is_replaced(recipe, mode) && !are_f32(rows))
        apply_edge(finish_edge(recipe), rows);
    if (l->op->depthwise)
        apply_depthwise(recipe, rows);
    for (int i = 0; i < NYB_SLOTS; i++) {
        const bool is_x = i == NYB_SLOT_FWD_X || i == NYB_SLOT_WGRAD_X;

        if (is_x && rows[i].nonneg && !nyb_row_is_f32(&rows[i]) && model->layers[l->in[0]].nonneg)
            rows[i].spec.format = rows[i].nonneg;
    }
    shorten_blocks(model, l, rows);
    rows[NYB_SLOT_DGRAD_W].ema = takes_mean(rows) ? rows[NYB_SLOT_FWD_W].ema : 0.0f;
    if (nyb_mode_finishes(mode))
        finish_rows(recipe->finish_keep, rows);
}
