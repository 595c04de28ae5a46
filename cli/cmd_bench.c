/* nybble bench gemm | conv | quant | linear | step | machine | recipes | accumulators: finds the
 * benchmark. */
#include <string.h>

#include "bench.h"
#include "verbs.h"

static const cli_option options[] = {
    {"m", "N", "rows of x (default: 1024)", CLI_SIZE, offsetof(bench_values, m), 1, 1 << 20},
    {"n", "N", "rows of w (default: 1024); conv: images (default: 64)", CLI_SIZE,
     offsetof(bench_values, n), 1, 1 << 20},
    {"k", "N", "columns of x and w (default: 1024)", CLI_SIZE, offsetof(bench_values, k), 1,
     1 << 20},
    {"h", "N", "conv: rows and columns of an image (default: 28)", CLI_SIZE,
     offsetof(bench_values, h), 1, 1 << 12},
    {"c", "N", "conv: channels of x (default: 128)", CLI_SIZE, offsetof(bench_values, c), 1,
     1 << 16},
    {"o", "N", "conv: channels of y (default: 128)", CLI_SIZE, offsetof(bench_values, o), 1,
     1 << 16},
    {"depthwise", NULL, "conv: one filter for each channel of x, whatever --o says", CLI_FLAG,
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

static int run(const cli_verb *verb, int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "recipes") == 0)
        return cli_bench_recipes.run(&cli_bench_recipes, argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "accumulators") == 0)
        return cli_bench_accumulators.run(&cli_bench_accumulators, argc - 1, argv + 1);
    static const struct {
        const char *name;
        int (*bench)(nyb_context *context, const bench_values *v);
    } benches[] = {{"gemm", bench_gemm},
                   {"conv", bench_conv},
                   {"quant", bench_quant},
                   {"linear", bench_linear},
                   {"machine", bench_machine}};
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
    if (strcmp(args.at[0], "conv") == 0 && !cli_given(verb, &args, "n"))
        v.n = 64;
    if (strcmp(args.at[0], "step") == 0)
        return bench_step(&args, &v);
    for (size_t i = 0; i < sizeof benches / sizeof benches[0]; i++) {
        nyb_context *context;
        if (strcmp(args.at[0], benches[i].name) != 0)
            continue;
        exit_status = cli_open_context(v.cpu, v.threads, &context);
        if (exit_status != CLI_OK)
            return exit_status;
        exit_status = benches[i].bench(context, &v);
        nyb_context_destroy(&context);
        return exit_status;
    }
    cli_error("bench",
              "'%s' is not gemm, conv, quant, linear, step, machine, recipes or accumulators",
              args.at[0]);
    cli_hint("nybble bench --help");
    return CLI_USAGE;
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
    .takes_train_options = true,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
