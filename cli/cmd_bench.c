/* nybble bench gemm | conv | quant | linear | step | machine | recipes | accumulators: finds the
 * benchmark. */
#include <string.h>

#include "bench.h"
#include "verbs.h"

static const cli_option options[] = {
    {"m", "N", "gemm, quant, linear: rows of x (default: 1024)", CLI_SIZE,
     offsetof(bench_values, m), 1, 1 << 20},
    {"n", "N", "gemm, linear: rows of w (default: 1024); conv: images (default: 64)", CLI_SIZE,
     offsetof(bench_values, n), 1, 1 << 20},
    {"k", "N", "gemm, quant, linear: columns of x and w (default: 1024)", CLI_SIZE,
     offsetof(bench_values, k), 1, 1 << 20},
    {"h", "N", "conv: rows and columns of an image (default: 28)", CLI_SIZE,
     offsetof(bench_values, h), 1, 1 << 12},
    {"c", "N", "conv: channels of x (default: 128)", CLI_SIZE, offsetof(bench_values, c), 1,
     1 << 16},
    {"o", "N", "conv: channels of y (default: 128)", CLI_SIZE, offsetof(bench_values, o), 1,
     1 << 16},
    {"depthwise", NULL, "conv: one filter for each channel of x", CLI_FLAG,
     offsetof(bench_values, depthwise), 0, 0},
    {"kernel", "N", "conv: rows and columns of the kernel (default: 3)", CLI_SIZE,
     offsetof(bench_values, kernel), 1, 64},
    {"stride", "N", "conv: (default: 1)", CLI_SIZE, offsetof(bench_values, stride), 1, 64},
    {"pad", "N", "conv: pixels of padding (default: 1)", CLI_SIZE, offsetof(bench_values, pad), 0,
     64},
    {"rival", "f32|none",
     "gemm, conv, linear: take turns with our own f32 product (default), or "
     "not",
     CLI_TEXT, offsetof(bench_values, rival), 0, 0},
    {"a", "SPEC", "gemm, quant: the first operand (default: int4)", CLI_TEXT,
     offsetof(bench_values, a), 0, 0},
    {"b", "SPEC", "gemm: the second operand (default: int4)", CLI_TEXT, offsetof(bench_values, b),
     0, 0},
    {"model", "NAME", "step: model (see nybble train --help)", CLI_TEXT,
     offsetof(bench_values, model), 0, 0},
    {"input", "CxHxW", "step: shape of the input (default: 3x32x32)", CLI_TEXT,
     offsetof(bench_values, input), 0, 0},
    {"classes", "N", "step: number of classes (default: 10)", CLI_SIZE,
     offsetof(bench_values, classes), 2, 1000000},
    {"split", NULL, "step: where the time goes, by kind of work", CLI_FLAG,
     offsetof(bench_values, split), 0, 0},
    {"layers", NULL, "step: where the time goes, layer by layer", CLI_FLAG,
     offsetof(bench_values, layers), 0, 0},
    {"recipe", "NAME|FILE", "conv, linear, step: recipe (default: luq)", CLI_TEXT,
     offsetof(bench_values, recipe), 0, 0},
    {"set", "KEY=VALUE", "conv, linear, step: change a key of the recipe; may be repeated",
     CLI_LIST, offsetof(bench_values, set), 0, 0},
    {"time", "MS", "milliseconds each thing is measured for, at least (default: 500)", CLI_SIZE,
     offsetof(bench_values, milliseconds), 1, 600000},
    {"repeats", "N", "times each thing is measured, at least (default: 5)", CLI_SIZE,
     offsetof(bench_values, repeats), 1, 400},
    CLI_CPU_OPTION(bench_values),
    CLI_THREADS_OPTION(bench_values),
    CLI_JSON_OPTION(bench_values),
    {0},
};

/* What each benchmark takes beside --time, --repeats, --cpu, --threads and --json. */
typedef struct benchmark {
    const char *name;
    int (*run)(nyb_context *context, const bench_values *v); /* NULL: bench_step */
    const char *const *options;
} benchmark;

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})
static const benchmark benches[] = {
    {"gemm", bench_gemm, NAMES("m", "n", "k", "a", "b", "rival")},
    {"conv", bench_conv,
     NAMES("n", "h", "c", "o", "depthwise", "kernel", "stride", "pad", "rival", "recipe", "set")},
    {"quant", bench_quant, NAMES("m", "k", "a")},
    {"linear", bench_linear, NAMES("m", "n", "k", "rival", "recipe", "set")},
    {"step", NULL, NAMES("model", "input", "classes", "split", "layers", "recipe", "set")},
    {"machine", bench_machine, NAMES(NULL)},
};

static const benchmark *find(const char *name)
{
    for (size_t i = 0; i < sizeof benches / sizeof benches[0]; i++)
        if (strcmp(benches[i].name, name) == 0)
            return &benches[i];
    cli_error("bench",
              "'%s' is not gemm, conv, quant, linear, step, machine, recipes or accumulators",
              name);
    cli_hint("nybble bench --help");
    return NULL;
}

/* Options that belong to another benchmark would be ignored. */
static int check_options(const cli_verb *verb, const cli_args *args, const benchmark *b,
                         const bench_values *v)
{
    char why[80];
    snprintf(why, sizeof why, "has no effect on bench %s", b->name);
    for (const cli_option *o = verb->options; o->name; o++)
        if (!cli_is_among(o->name, b->options) &&
            !cli_is_among(o->name, NAMES("time", "repeats", "cpu", "threads", "json")) &&
            cli_refuse(verb, args, NAMES(o->name), why) != CLI_OK)
            return CLI_USAGE;
    if (strcmp(b->name, "step") != 0)
        return cli_refuse_train(verb, args, verb->train_options, why);
    if (!v->split && !v->json)
        return cli_refuse_train(verb, args, NAMES("augment-crop", "augment-flip"),
                                "is part of loading, which --split and --json measure");
    return CLI_OK;
}

static int run(const cli_verb *verb, int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "recipes") == 0)
        return cli_bench_recipes.run(&cli_bench_recipes, argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "accumulators") == 0)
        return cli_bench_accumulators.run(&cli_bench_accumulators, argc - 1, argv + 1);
    bench_values v = {.a = "int4",
                      .b = "int4",
                      .recipe = "luq",
                      .input = "3x32x32",
                      .classes = 10,
                      .m = 1024,
                      .n = 1024,
                      .k = 1024,
                      .h = 28,
                      .c = 128,
                      .o = 128,
                      .kernel = 3,
                      .stride = 1,
                      .pad = 1,
                      .rival = "f32",
                      .milliseconds = 500,
                      .repeats = 5};
    cli_args args;
    int exit_status = cli_parse(verb, argc, argv, &v, &args);
    if (exit_status != CLI_GO_ON)
        return exit_status;
    if (strcmp(v.rival, "f32") != 0 && strcmp(v.rival, "none") != 0) {
        cli_error("--rival", "'%s' is not f32 or none", v.rival);
        return CLI_USAGE;
    }
    const benchmark *b = find(args.at[0]);
    if (!b || check_options(verb, &args, b, &v) != CLI_OK)
        return CLI_USAGE;
    if (b->run == bench_conv && !cli_given(verb, &args, "n"))
        v.n = 64;
    if (v.depthwise && cli_given(verb, &args, "o") && v.o != v.c) {
        cli_error("bench conv",
                  "--depthwise has as many channels of y as of x: --o %zu is not --c %zu", v.o,
                  v.c);
        return CLI_USAGE;
    }
    if (!b->run)
        return bench_step(&args, &v);
    nyb_context *context;
    exit_status = cli_open_context(v.cpu, v.threads, &context);
    if (exit_status != CLI_OK)
        return exit_status;
    exit_status = b->run(context, &v);
    nyb_context_destroy(&context);
    return exit_status;
}

const cli_verb cli_verb_bench = {
    .name = "bench",
    .about = "time products, quantization, layers and training steps",
    .synopsis = "gemm | conv | quant | linear | step | machine | recipes | accumulators [options]",
    .description =
        "gemm: one packed product, x (m, k) by w (n, k). quant: scale and encode of x (m, k), "
        "memory for the result included, and a pure read of x. linear, conv: quantization and the "
        "three products of a layer. Operands of these four have one scale each. step: a whole "
        "training step of a model; --split and --layers show where its time "
        "goes, --split also what loading batches takes beside it. machine: bandwidths and peaks, "
        "which the shares of the others refer to. recipes: a "
        "leaderboard of whole "
        "runs. accumulators: accuracy against accumulator, chunk and GEMM. Both have options of "
        "their own, see nybble bench recipes --help.\n\n"
        "Prints the median and the 10 % and 90 % quantiles after one warm-up run. The limit of a "
        "product or a pass over memory is the longer of its multiply-adds at the kernel's peak and "
        "its bytes at the bandwidth of the smallest memory that holds them, both measured on the "
        "spot; bytes are those of each tensor, once.",
    .example = "  nybble bench gemm --m 1024 --n 1024 --k 1024 --a e3m0 --b int4 --threads 1\n"
               "  nybble bench conv --n 64 --h 28 --c 128 --o 128 --recipe luq\n"
               "  nybble bench step --model resnet18 --input 3x32x32 --batch 64 --recipe luq "
               "--split\n"
               "  nybble bench recipes --preset mlp --out runs/board --recipes f32,luq,luq_naive\n"
               "  nybble bench accumulators --out runs/atlas --base luq --accums e6m9,bf16\n",
    .options = options,
    .takes_train_options = true, /* what a single step depends on */
    .train_options = NAMES("batch", "lr", "momentum", "nesterov", "weight-decay", "label-smoothing",
                           "clip-norm", "seed", "augment-crop", "augment-flip", "normalize"),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
