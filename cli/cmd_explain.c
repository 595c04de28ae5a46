/* nybble explain: what the graph compiler decided, per layer and product. */
#include "job.h"
#include "verbs.h"

typedef struct values {
    const char *model, *recipe, *input, *cpu;
    cli_list set;
    size_t threads, classes;
    bool json, plan;
} values;

static const cli_option options[] = {
    {"model", "NAME", "model, see below", CLI_TEXT, offsetof(values, model), 0, 0},
    {"recipe", "NAME|FILE", "recipe, see below (default: luq)", CLI_TEXT, offsetof(values, recipe),
     0, 0},
    {"set", "KEY=VALUE", "change a key of the recipe; may be repeated (`nybble recipe keys`)",
     CLI_LIST, offsetof(values, set), 0, 0},
    {"input", "CxHxW", "shape of the input (default: 1x28x28)", CLI_TEXT, offsetof(values, input),
     0, 0},
    {"classes", "N", "number of classes (default: 10)", CLI_SIZE, offsetof(values, classes), 1,
     1000000},
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

static int print_json(const cli_job *job)
{
    nyb_train_summary s;
    nyb_train_summarize(job->train, &s);
    json_t *json = totals(&s), *lines = json_array();
    json_object_set_new(json, "model", json_string(job->model_spec));
    json_object_set_new(json, "recipe", json_string(nyb_recipe_name(job->recipe)));
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
        exit_status = v.json ? print_json(&job) : print_table(&job, v.plan);
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
                   "the backward pass.",
    .example = "  nybble explain --model resnet18 --recipe luq --input 3x32x32 --batch 64\n",
    .options = options,
    .takes_train_options = true,
    .print_more = print_more,
    .run = run,
};
