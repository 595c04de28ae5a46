/* nybble bench linear: the quantizations and the three products of a linear layer. */
#include "bench.h"

static nyb_status spec_of(const nyb_recipe *recipe, const char *key, nyb_spec *spec, nyb_error *err)
{
    char text[96];
    nyb_recipe_print(recipe, key, text, sizeof text);
    return nyb_spec_parse(text, spec, err);
}

/* Quantizing x, w, dy once each, and the three products. */
static nyb_status measure_linear(nyb_context *context, const nyb_recipe *recipe,
                                 const bench_values *v, bench_line *lines, size_t *n_lines,
                                 nyb_error *err)
{
    nyb_spec specs[3];
    NYB_TRY(spec_of(recipe, "fwd.x", &specs[0], err));
    NYB_TRY(spec_of(recipe, "fwd.w", &specs[1], err));
    NYB_TRY(spec_of(recipe, "dgrad.dy", &specs[2], err));
    static const char *const names[] = {"quantize x", "quantize w", "quantize dy"};
    size_t rows[] = {v->m, v->n, v->m}, cols[] = {v->k, v->k, v->n};
    bench_operand o[3] = {{0}};
    nyb_status status = NYB_OK;
    *n_lines = 0;
    for (size_t i = 0; i < 3 && status == NYB_OK; i++) {
        status = bench_operand_open(&o[i], context, &specs[i], rows[i], cols[i], i + 1, err);
        if (status == NYB_OK && o[i].matrix)
            status = bench_measure_encode(names[i], &o[i], v, &lines[(*n_lines)++], err);
    }
    if (status == NYB_OK)
        status = bench_measure_product("y = x w'", NYB_PLAN_Y, &o[0], &o[1], v, v->m * v->n,
                                       &lines[(*n_lines)++], err);
    if (status == NYB_OK)
        status = bench_measure_product("dx = dy w", NYB_PLAN_DX, &o[2], &o[1], v, v->m * v->k,
                                       &lines[(*n_lines)++], err);
    if (status == NYB_OK)
        status = bench_measure_product("dw = dy' x", NYB_PLAN_DW, &o[2], &o[0], v, v->n * v->k,
                                       &lines[(*n_lines)++], err);
    for (size_t i = 0; i < 3; i++)
        bench_operand_close(&o[i]);
    return status;
}

int bench_linear(nyb_context *context, const bench_values *v)
{
    nyb_error err;
    nyb_recipe *recipe;
    bench_line lines[8];
    size_t n = 0;
    if (nyb_recipe_create(v->recipe, &recipe, &err) != NYB_OK)
        return cli_fail_argument("--recipe", &err);
    int exit_status = cli_apply_sets(recipe, &v->set);
    if (exit_status == CLI_OK && measure_linear(context, recipe, v, lines, &n, &err) != NYB_OK)
        exit_status = cli_fail("bench linear", &err);
    nyb_recipe_destroy(&recipe);
    if (exit_status != CLI_OK)
        return exit_status;
    double seconds = 0;
    for (size_t i = 0; i < n; i++)
        seconds += lines[i].spread.median;
    lines[n++] = (bench_line){.name = "step: the sum",
                              .engine = "",
                              .kernel = "",
                              .unit = "MAC",
                              .spread = {1, seconds, seconds, seconds},
                              .work = 3.0 * (double)v->m * (double)v->n * (double)v->k};
    json_t *extra = bench_describe_sizes(v);
    json_object_set_new(extra, "recipe", json_string(v->recipe));
    return bench_report(context, "linear", lines, n, v->json, extra);
}
