/* nybble bench linear, conv: the quantizations and the three products of a layer. */
#include "bench.h"

/* ---- shapes ------------------------------------------------------------------------------- */

bool bench_layer_init(bench_layer *l)
{
    if (l->kernel > l->x.h + 2 * l->pad || l->kernel > l->x.w + 2 * l->pad)
        return false;
    l->oh = (l->x.h + 2 * l->pad - l->kernel) / l->stride + 1;
    l->ow = (l->x.w + 2 * l->pad - l->kernel) / l->stride + 1;
    return true;
}

bench_layer bench_layer_linear(const bench_values *v)
{
    return (bench_layer){
        .x = {1, 1, v->m, v->k}, .o = v->n, .kernel = 1, .stride = 1, .oh = 1, .ow = v->m};
}

/* Pairs of an output and a tap that lie inside the image, along one dimension. */
static double useful_taps(size_t in, size_t out, const bench_layer *l)
{
    double n = 0;
    for (size_t y = 0; y < out; y++)
        for (size_t tap = 0; tap < l->kernel; tap++) {
            size_t at = y * l->stride + tap;
            n += at >= l->pad && at - l->pad < in;
        }
    return n;
}

double bench_layer_macs(const bench_layer *l)
{
    return (double)l->x.n * (double)l->x.c * (l->depthwise ? 1 : (double)l->o) *
           useful_taps(l->x.h, l->oh, l) * useful_taps(l->x.w, l->ow, l);
}

size_t bench_layer_weight_rows(const bench_layer *l)
{
    return l->depthwise ? l->x.c : l->o * l->kernel * l->kernel;
}

size_t bench_layer_weight_cols(const bench_layer *l)
{
    return l->depthwise ? l->kernel * l->kernel : l->x.c;
}

/* ---- measuring ---------------------------------------------------------------------------- */

#define LINES_MAX 8

typedef struct layer_bench {
    nyb_context *context;
    const bench_values *v;
    bench_layer layer;
    bench_limits limits;
    size_t n;
    bench_line lines[LINES_MAX];
} layer_bench;

static nyb_status spec_of(const nyb_recipe *recipe, const char *key, nyb_spec *spec, nyb_error *err)
{
    char text[96];
    nyb_recipe_print(recipe, key, text, sizeof text);
    return nyb_spec_parse(text, spec, err);
}

/* x, w, dy: quantized once each, unless they are f32. */
static nyb_status open_operands(layer_bench *b, const nyb_recipe *recipe, bench_operand o[3],
                                nyb_error *err)
{
    static const char *const keys[] = {"fwd.x", "fwd.w", "dgrad.dy"};
    static const char *const names[] = {"quantize x", "quantize w", "quantize dy"};
    const bench_layer *l = &b->layer;
    size_t rows[] = {l->x.n * l->x.h * l->x.w, bench_layer_weight_rows(l), l->x.n * l->oh * l->ow};
    size_t cols[] = {l->x.c, bench_layer_weight_cols(l), l->o};
    for (size_t i = 0; i < 3; i++) {
        nyb_spec spec;
        NYB_TRY(spec_of(recipe, keys[i], &spec, err));
        NYB_TRY(bench_operand_open(&o[i], b->context, &spec, rows[i], cols[i], i + 1, err));
        if (o[i].matrix)
            NYB_TRY(
                bench_measure_encode(names[i], &o[i], &b->limits, b->v, &b->lines[b->n++], err));
    }
    return NYB_OK;
}

static nyb_status measure(layer_bench *b, const nyb_recipe *recipe, nyb_error *err)
{
    static const struct {
        const char *name;
        nyb_plan_kind kind;
        int a, b; /* operands */
    } products[] = {{"y = x w'", NYB_PLAN_Y, 0, 1},
                    {"dx = dy w", NYB_PLAN_DX, 2, 1},
                    {"dw = dy' x", NYB_PLAN_DW, 2, 0}};
    bench_operand o[3] = {{0}};
    nyb_status status = open_operands(b, recipe, o, err);
    for (size_t i = 0; i < 3 && status == NYB_OK; i++)
        status =
            bench_measure_product(products[i].name, products[i].kind, &b->layer, &o[products[i].a],
                                  &o[products[i].b], &b->limits, b->v, &b->lines[b->n++], err);
    for (size_t i = 0; i < 3; i++)
        bench_operand_close(&o[i]);
    return status;
}

/* The last line: quantizations and products, against the rival's products. */
static void add_sum(layer_bench *b)
{
    double seconds = 0, rival = 0, limit = 0;
    for (size_t i = 0; i < b->n; i++) {
        seconds += b->lines[i].spread.median;
        rival += b->lines[i].rival.n ? b->lines[i].rival.median : 0;
        limit += b->lines[i].limit;
    }
    bench_line *l = &b->lines[b->n++];
    *l = (bench_line){.name = "step: the sum",
                      .engine = "",
                      .kernel = "",
                      .unit = "MAC",
                      .spread = {1, seconds, seconds, seconds},
                      .work = 3.0 * bench_layer_macs(&b->layer),
                      .limit = limit};
    if (rival > 0) {
        double ratio = rival / seconds;
        l->rival = (bench_spread){1, rival, rival, rival};
        l->ratio = (bench_spread){1, ratio, ratio, ratio};
    }
}

static int run(nyb_context *context, const bench_values *v, const char *what,
               const bench_layer *layer, json_t *extra)
{
    nyb_error err;
    nyb_recipe *recipe;
    layer_bench b = {.context = context, .v = v, .layer = *layer};
    bench_limits_init(&b.limits, context, v);
    if (nyb_recipe_create(v->recipe, &recipe, &err) != NYB_OK) {
        json_decref(extra);
        return cli_fail_recipe("--recipe", v->recipe, &err);
    }
    int exit_status = cli_apply_sets(recipe, &v->set);
    if (exit_status == CLI_OK && measure(&b, recipe, &err) != NYB_OK)
        exit_status = cli_fail(what, &err);
    nyb_recipe_destroy(&recipe);
    if (exit_status != CLI_OK) {
        json_decref(extra);
        return exit_status;
    }
    add_sum(&b);
    json_object_set_new(extra, "recipe", cli_json_string(v->recipe));
    json_object_set_new(extra, "limits", bench_limits_json(&b.limits));
    return bench_report(context, what, b.lines, b.n, v->json, extra);
}

int bench_linear(nyb_context *context, const bench_values *v)
{
    bench_layer layer = bench_layer_linear(v);
    return run(context, v, "linear", &layer, bench_describe_sizes(v));
}

int bench_conv(nyb_context *context, const bench_values *v)
{
    bench_layer layer = {.x = {v->n, v->h, v->h, v->c},
                         .o = v->depthwise ? v->c : v->o,
                         .kernel = v->kernel,
                         .stride = v->stride,
                         .pad = v->pad,
                         .depthwise = v->depthwise};
    if (!bench_layer_init(&layer)) {
        cli_error("bench conv", "a kernel of %zu is larger than %zu pixels with their padding",
                  v->kernel, v->h + 2 * v->pad);
        return CLI_USAGE;
    }
    return run(context, v, "conv", &layer,
               json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "n", (json_int_t)v->n, "h",
                         (json_int_t)v->h, "c", (json_int_t)v->c, "o", (json_int_t)layer.o,
                         "kernel", (json_int_t)v->kernel, "stride", (json_int_t)v->stride, "pad",
                         (json_int_t)v->pad, "depthwise", v->depthwise));
}
