/* nybble explain: what the graph compiler decided, per layer and product. */
#include <stdlib.h>
#include <string.h>

#include "job.h"
#include "verbs.h"

typedef struct values {
    const char *model, *recipe, *input, *cpu;
    cli_list set;
    size_t threads, classes;
    bool json, plan, energy;
} values;

static const cli_option options[] = {
    {"model", "NAME", "model, see below", CLI_TEXT, offsetof(values, model), 0, 0},
    {"recipe", "NAME|FILE", "recipe, see below (default: luq)", CLI_TEXT, offsetof(values, recipe),
     0, 0},
    {"set", "KEY=VALUE", "change a key of the recipe; may be repeated (`nybble recipe keys`)",
     CLI_LIST, offsetof(values, set), 0, 0},
    {"input", "CxHxW", "shape of the input (default: 1x28x28)", CLI_TEXT, offsetof(values, input),
     0, 0},
    {"classes", "N", "number of classes (default: 10)", CLI_SIZE, offsetof(values, classes), 2,
     1000000},
    {"energy", NULL, "operations and picojoules of each product instead, by a published table",
     CLI_FLAG, offsetof(values, energy), 0, 0},
    {"plan", NULL, "also print the step list and the memory plan", CLI_FLAG, offsetof(values, plan),
     0, 0},
    CLI_CPU_OPTION(values),
    CLI_THREADS_OPTION(values),
    CLI_JSON_OPTION(values),
    {0},
};

static json_t *totals(const nyb_train_summary *s)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "parameters", (json_int_t)s->n_parameters,
                     "saved_quantized_bytes", (json_int_t)s->saved_quantized_bytes,
                     "saved_quantized_f32_bytes", (json_int_t)s->saved_quantized_f32_bytes,
                     "saved_activation_bytes", (json_int_t)s->saved_activation_bytes, "arena_bytes",
                     (json_int_t)s->arena_bytes);
}

/* The lines of the step list and the memory plan. */
static json_t *plan_json(const nyb_train *train)
{
    char *text = NULL;
    size_t n_bytes;
    FILE *out = open_memstream(&text, &n_bytes);
    json_t *lines = json_array();
    if (out) {
        nyb_train_print_plan(train, out);
        fclose(out);
    }
    for (char *line = text ? strtok(text, "\n") : NULL; line; line = strtok(NULL, "\n"))
        json_array_append_new(lines, cli_json_string(line));
    free(text);
    return lines;
}

static int print_json(const cli_job *job, bool plan)
{
    nyb_train_summary s;
    nyb_train_summarize(job->train, &s);
    json_t *json = totals(&s), *lines = json_array();
    json_object_set_new(json, "model", cli_json_string(job->model_spec));
    json_object_set_new(json, "recipe", cli_json_string(nyb_recipe_name(job->recipe)));
    json_object_set_new(json, "batch", json_integer(job->options.batch));
    for (size_t i = 0; i < nyb_train_explain_count(job->train); i++) {
        nyb_explain_line l;
        nyb_train_explain_at(job->train, i, &l);
        json_array_append_new(lines,
                              json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "layer",
                                        l.layer, "product", l.product, "a", l.a, "b", l.b, "engine",
                                        l.engine, "kernel", l.kernel, "macs", (json_int_t)l.macs,
                                        "saved_bytes", (json_int_t)l.saved_bytes));
    }
    json_object_set_new(json, "lines", lines);
    if (plan)
        json_object_set_new(json, "plan", plan_json(job->train));
    return cli_print_json(json);
}

static int print_table(const cli_job *job, bool plan)
{
    char text[32], f32[32];
    nyb_train_summary s;
    nyb_train_summarize(job->train, &s);
    const char *const headers[] = {"layer",  "product", "a",    "b",
                                   "engine", "kernel",  "MACs", "kept"};
    cli_table *table = cli_table_create("llllllrr", headers);
    for (size_t i = 0; i < nyb_train_explain_count(job->train); i++) {
        nyb_explain_line l;
        nyb_train_explain_at(job->train, i, &l);
        cli_table_cell(table, "%s", l.layer);
        cli_table_cell(table, "%s", l.product);
        cli_table_cell(table, "%s", l.a);
        cli_table_cell(table, "%s", l.b);
        cli_table_cell(table, "%s", l.engine);
        cli_table_cell(table, "%s", l.kernel);
        cli_table_cell(table, "%s", cli_format_count((double)l.macs, text));
        cli_table_cell(table, "%s",
                       l.saved_bytes ? cli_format_bytes((double)l.saved_bytes, text) : "-");
    }
    cli_table_print(table, stdout);
    printf("\nbatch %d, %s parameters\n", job->options.batch,
           cli_format_count((double)s.n_parameters, text));
    printf("kept for backward: %s", cli_format_bytes((double)s.saved_activation_bytes, text));
    printf(", of it inputs of quantized products %s",
           cli_format_bytes((double)s.saved_quantized_bytes, text));
    printf(" (%s in f32)\n", cli_format_bytes((double)s.saved_quantized_f32_bytes, f32));
    printf("all planned memory: %s\n", cli_format_bytes((double)s.arena_bytes, text));
    if (plan) {
        putchar('\n');
        nyb_train_print_plan(job->train, stdout);
    }
    return cli_close_output();
}

/* ---- energy ------------------------------------------------------------------------------- */

/* "64 k int8 + 2 k fp32" */
static const char *print_operations(const uint64_t counts[NYB_ARITHS], char *text, size_t n_bytes)
{
    size_t used = 0;
    char count[32];
    snprintf(text, n_bytes, "-");
    for (int i = 0; i < NYB_ARITHS; i++)
        if (counts[i] && used < n_bytes)
            used += (size_t)snprintf(text + used, n_bytes - used, "%s%s %s", used ? " + " : "",
                                     cli_format_count((double)counts[i], count),
                                     nyb_arith_name((nyb_arith)i));
    return text;
}

static void add_energy_row(cli_table *table, const char *layer, const char *product,
                           const nyb_explain_line *l, const nyb_energy *e)
{
    char text[160];
    cli_table_cell(table, "%s", layer);
    cli_table_cell(table, "%s", product);
    cli_table_cell(table, "%.*s", l ? (int)strcspn(l->a, "/") : 0, l ? l->a : "");
    cli_table_cell(table, "%.*s", l ? (int)strcspn(l->b, "/") : 0, l ? l->b : "");
    cli_table_cell(table, "%s", l ? l->engine : "");
    cli_table_cell(table, "%s", print_operations(e->mul, text, sizeof text));
    cli_table_cell(table, "%s", print_operations(e->add, text, sizeof text));
    cli_table_cell(table, "%.4g", e->picojoules * 1e-6);
    cli_table_cell(table, "%.4g", e->f32_picojoules * 1e-6);
    if (e->f32_picojoules > 0)
        cli_table_cell(table, "%.1f %%", 100 * e->picojoules / e->f32_picojoules);
    else
        cli_table_cell(table, "-");
}

static const char energy_notes[] =
    "Energies of operations: Horowitz, ISSCC 2014, 45 nm. Counted: the multiplications and "
    "additions "
    "of the layers' products, as hardware with native units would do them, emulated here or not; "
    "4-bit x 4-bit as int8, FP6, FP8 and 16-bit formats as fp16; rescaling where scales change "
    "along "
    "a sum. Not counted: memory, which costs more than arithmetic; quantization, transforms and "
    "scales of operands; batchnorm, activations and optimizer.";

/* The rows of one layer, in the order of a step, and their sum; adds to the step's. */
static void add_energy_layer(cli_table *table, const nyb_train *train, const char *layer,
                             nyb_energy *step)
{
    nyb_energy sum = {0};
    for (size_t i = 0; i < nyb_train_explain_count(train); i++) {
        nyb_explain_line l;
        nyb_energy e;
        nyb_train_explain_at(train, i, &l);
        if (strcmp(l.layer, layer) != 0)
            continue;
        nyb_train_energy_at(train, i, &e);
        nyb_energy_add(&sum, &e);
        add_energy_row(table, layer, l.product, &l, &e);
    }
    add_energy_row(table, layer, "all", NULL, &sum);
    nyb_energy_add(step, &sum);
}

static int print_energy(const cli_job *job)
{
    const char *const headers[] = {"layer",           "product",   "a",  "b",         "engine",
                                   "multiplications", "additions", "uJ", "uJ in f32", "of f32"};
    cli_table *table = cli_table_create("lllllrrrrr", headers);
    nyb_energy step = {0};
    for (size_t i = 0; i < nyb_train_explain_count(job->train); i++) {
        nyb_explain_line l;
        nyb_train_explain_at(job->train, i, &l);
        if (strcmp(l.product, "fwd") == 0)
            add_energy_layer(table, job->train, l.layer, &step);
    }
    add_energy_row(table, "step", "all", NULL, &step);
    cli_table_print(table, stdout);
    printf("\nbatch %d\n", job->options.batch);
    cli_print_wrapped(stdout, energy_notes, 0, 0);
    return cli_close_output();
}

static json_t *operations_json(const uint64_t counts[NYB_ARITHS])
{
    json_t *json = json_object();
    for (int i = 0; i < NYB_ARITHS; i++)
        json_object_set_new(json, nyb_arith_name((nyb_arith)i),
                            json_integer((json_int_t)counts[i]));
    return json;
}

static json_t *energy_json(const nyb_energy *e)
{
    return json_pack("{s:I, s:o, s:o, s:f, s:f}", "macs", (json_int_t)e->macs, "multiplications",
                     operations_json(e->mul), "additions", operations_json(e->add), "picojoules",
                     e->picojoules, "f32_picojoules", e->f32_picojoules);
}

static json_t *table_json(void)
{
    json_t *table = json_object();
    for (int i = 0; i < NYB_ARITHS; i++)
        json_object_set_new(table, nyb_arith_name((nyb_arith)i),
                            json_pack("{s:f, s:f}", "multiplication",
                                      nyb_arith_mul_pj((nyb_arith)i), "addition",
                                      nyb_arith_add_pj((nyb_arith)i)));
    return table;
}

static int print_energy_json(const cli_job *job)
{
    json_t *lines = json_array();
    nyb_energy step = {0};
    for (size_t i = 0; i < nyb_train_explain_count(job->train); i++) {
        nyb_explain_line l;
        nyb_energy e;
        nyb_train_explain_at(job->train, i, &l);
        nyb_train_energy_at(job->train, i, &e);
        nyb_energy_add(&step, &e);
        json_t *line = energy_json(&e);
        json_object_update_new(line,
                               json_pack("{s:s, s:s, s:s, s:s, s:s}", "layer", l.layer, "product",
                                         l.product, "a", l.a, "b", l.b, "engine", l.engine));
        json_array_append_new(lines, line);
    }
    return cli_print_json(
        json_pack("{s:o, s:o, s:i, s:o, s:o, s:o, s:s}", "model", cli_json_string(job->model_spec),
                  "recipe", cli_json_string(nyb_recipe_name(job->recipe)), "batch",
                  job->options.batch, "picojoules_of_operations", table_json(), "lines", lines,
                  "step", energy_json(&step), "notes", energy_notes));
}

static int explain(const cli_job *job, const values *v)
{
    if (v->energy)
        return v->json ? print_energy_json(job) : print_energy(job);
    return v->json ? print_json(job, v->plan) : print_table(job, v->plan);
}

static int run(const cli_verb *verb, int argc, char **argv)
{
    values v = {.recipe = "luq", .input = "1x28x28", .classes = 10};
    cli_args args;
    int exit_status = cli_parse(verb, argc, argv, &v, &args);
    if (exit_status != CLI_GO_ON)
        return exit_status;
    if (!v.model) {
        cli_error("explain", "--model is needed");
        cli_hint("nybble explain --help");
        return CLI_USAGE;
    }
    if (v.energy && v.plan) {
        cli_error("explain", "--energy prints no --plan");
        return CLI_USAGE;
    }
    cli_job job = {
        .cpu = v.cpu, .threads = v.threads, .model_spec = v.model, .recipe_spec = v.recipe};
    cli_input input;
    exit_status = cli_job_set_options(&job, &args);
    if (exit_status == CLI_OK)
        exit_status = cli_job_open_recipe(&job, &v.set);
    if (exit_status == CLI_OK)
        exit_status = cli_job_open_context(&job);
    if (exit_status == CLI_OK)
        exit_status = cli_job_parse_input(&job, v.input, v.classes, &input);
    if (exit_status == CLI_OK)
        exit_status = cli_job_build(&job, &input);
    if (exit_status == CLI_OK)
        exit_status = explain(&job, &v);
    cli_job_close(&job);
    return exit_status;
}

static void print_more(FILE *out)
{
    cli_print_models(out);
    cli_print_recipes(out);
}

const cli_verb cli_verb_explain = {
    .name = "explain",
    .about = "per layer and product: operands, engine, kernel, work, memory",
    .synopsis = "--model NAME [options]",
    .description = "Compiles a training step as `nybble train` would and prints what was decided "
                   "for each layer's three products: how both operands are quantized, the engine "
                   "and kernel that multiply them, multiply-adds per step, and the bytes kept for "
                   "the backward pass. With --energy: the operations of each product and what "
                   "they would cost in hardware, per step.",
    .example = "  nybble explain --model resnet18 --recipe luq --input 3x32x32 --batch 64\n"
               "  nybble explain --model resnet14 --recipe luq --energy\n",
    .options = options,
    .takes_train_options = true,
    .train_options = (const char *const[]){"batch", "normalize", NULL},
    .print_more = print_more,
    .run = run,
};
