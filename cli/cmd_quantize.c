/* nybble quantize SPEC IN.npy OUT.npy: what a format makes of an array. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "verbs.h"

typedef struct values {
    const char *codes, *scales, *offsets, *axis, *cpu;
    size_t threads, step, draw;
    uint64_t seed;
    bool json;
} values;

static const cli_option options[] = {
    {"codes", "FILE", "also write one uint8 code per element (.npy)", CLI_TEXT,
     offsetof(values, codes), 0, 0},
    {"scales", "FILE",
     "also write the scale of each group (.npy): a row of them for each row of groups, along the "
     "axis; value = offset + (value of the code * scale) * level",
     CLI_TEXT, offsetof(values, scales), 0, 0},
    {"offsets", "FILE", "also write the offset of each group (.npy), likewise", CLI_TEXT,
     offsetof(values, offsets), 0, 0},
    {"axis", "N",
     "axis that groups and transforms run along, from 0, or from -1 backwards "
     "(default: -1, the last)",
     CLI_TEXT, offsetof(values, axis), 0, 0},
    {"seed", "N", "of the random bits of stochastic rounding (default: 0)", CLI_U64,
     offsetof(values, seed), 0, 0},
    {"step", "N", "step the random bits belong to (default: 0)", CLI_SIZE, offsetof(values, step),
     0, UINT32_MAX},
    {"draw", "N", "0..255: which of the independent draws (default: 0)", CLI_SIZE,
     offsetof(values, draw), 0, 255},
    CLI_CPU_OPTION(values),
    CLI_THREADS_OPTION(values),
    CLI_JSON_OPTION(values),
    {0},
};

/* level: NAN if nobody asked for it */
static int report(const nyb_spec *made, const nyb_array *in, const nyb_quant_stats *s, float level,
                  bool json)
{
    const bool copies = strcmp(nyb_format_name(made->format), "f32") == 0;
    const bool grouped = !copies && made->group != NYB_GROUP_TENSOR && s->scale == 0;
    char spec[96];
    nyb_spec_print(made, spec, sizeof spec);
    if (json) {
        json_t *dims = json_array();
        for (int i = 0; i < in->n_dims; i++)
            json_array_append_new(dims, json_integer((json_int_t)in->dims[i]));
        json_t *out =
            json_pack("{s:s, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "spec", spec,
                      "shape", dims, "n", (json_int_t)s->n, "n_nan", (json_int_t)s->n_nan, "n_inf",
                      (json_int_t)s->n_inf, "amax", cli_json_float((float)s->amax), "scale",
                      cli_json_float((float)s->scale), "mse", cli_json_real(s->mse), "bias",
                      cli_json_real(s->bias), "zero", cli_json_real(s->zero), "underflow",
                      cli_json_real(s->underflow), "clip", cli_json_real(s->clip));
        if (!isnan(level))
            json_object_set_new(out, "level", cli_json_float(level));
        return cli_print_json(out);
    }
    cli_table *table = cli_table_create("lrl", NULL);
    const struct {
        const char *name, *meaning;
        double value;
        int digits;
    } rows[] = {
        {"elements", "", (double)s->n, 15},
        {"NaN", copies ? "copied" : "encoded as zero", (double)s->n_nan, 15},
        {"infinite", copies ? "copied" : "encoded as the largest value", (double)s->n_inf, 15},
        {"amax", "largest finite magnitude", s->amax, 9},
        {"scale", grouped ? "each group has its own" : "value of one unit",
         grouped ? NAN : s->scale, 9},
        {"mse", "mean of (q - x)^2", s->mse, 9},
        {"bias", "mean of q - x", s->bias, 9},
        {"zero", "fraction that was zero", s->zero, 6},
        {"underflow", "fraction that became zero", s->underflow, 6},
        {"clip",
         isnan(s->clip) ? "not known of mixed tensors" : "fraction beyond the range of values",
         s->clip, 6},
    };
    printf("%s\n", spec);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cli_table_cell(table, "%s", rows[i].name);
        if (isnan(rows[i].value))
            cli_table_cell(table, "-");
        else
            cli_table_cell(table, "%.*g", rows[i].digits, rows[i].value);
        cli_table_cell(table, "%s", rows[i].meaning);
    }
    if (!isnan(level)) {
        cli_table_cell(table, "level");
        cli_table_cell(table, "%.9g", (double)level);
        cli_table_cell(table, "factor of all scales");
    }
    cli_table_print(table, stdout);
    return cli_close_output();
}

/* An array seen as [outer][along][inner]: groups run along the middle. */
typedef struct shape {
    size_t outer, along, inner;
} shape;

static int find_axis(const nyb_array *in, const char *text, shape *s)
{
    char *end = NULL;
    long axis = text ? strtol(text, &end, 10) : -1;
    if (axis < 0)
        axis += in->n_dims;
    if ((text && (end == text || *end)) || (in->n_dims > 0 && (axis < 0 || axis >= in->n_dims))) {
        cli_error("--axis", "'%s' is no axis of an array of %d dimensions", text, in->n_dims);
        return CLI_USAGE;
    }
    *s = (shape){1, 1, 1};
    for (int i = 0; i < in->n_dims; i++) {
        size_t *part = i < axis ? &s->outer : i > axis ? &s->inner : &s->along;
        *part *= in->dims[i];
    }
    return CLI_OK;
}

/* to[outer][inner][along] = from[outer][along][inner], elements of n_bytes; back: the reverse. */
static void turn(const shape *s, const void *from, void *to, size_t n_bytes, bool back)
{
    for (size_t o = 0; s->along > 0 && o < s->outer; o++)
        for (size_t i = 0; i < s->inner; i++)
            for (size_t a = 0; a < s->along; a++) {
                const size_t stored = (o * s->along + a) * s->inner + i;
                const size_t turned = (o * s->inner + i) * s->along + a;
                memcpy((char *)to + (back ? stored : turned) * n_bytes,
                       (const char *)from + (back ? turned : stored) * n_bytes, n_bytes);
            }
}

/* Blocks and rows: as many for each row of x; others one after the other. */
static int save_groups(const char *path, const nyb_spec *spec, const float *of_groups, size_t rows,
                       size_t n)
{
    nyb_error err;
    const bool even = spec->group != NYB_GROUP_CHANNEL && spec->group != NYB_GROUP_TILE16 &&
                      rows > 0 && n % rows == 0;
    const size_t dims[2] = {even ? rows : n, even ? n / rows : 1};
    if (nyb_array_save(path, of_groups, even ? 2 : 1, dims, &err) != NYB_OK)
        return cli_fail("quantize", &err);
    return CLI_OK;
}

/* Scales and offsets of the groups of rows x cols, to the files that want them. */
static int write_groups(nyb_context *context, const nyb_spec *spec, const float *x, size_t rows,
                        size_t cols, const values *v, float *level)
{
    nyb_error err;
    const size_t n = nyb_quant_group_count(spec, rows, cols);
    float *scales = cli_alloc(n, sizeof *scales), *offsets = cli_alloc(n, sizeof *offsets);
    int exit_status = CLI_OK;
    if (nyb_quantize_groups(context, spec, x, rows, cols, v->seed, (uint32_t)v->step,
                            (uint32_t)v->draw, NULL, NULL, scales, offsets, level, &err) != NYB_OK)
        exit_status = cli_fail("quantize", &err);
    if (exit_status == CLI_OK && v->scales)
        exit_status = save_groups(v->scales, spec, scales, rows, n);
    if (exit_status == CLI_OK && v->offsets)
        exit_status = save_groups(v->offsets, spec, offsets, rows, n);
    free(scales);
    free(offsets);
    return exit_status;
}

static int convert(nyb_context *context, const nyb_spec *spec, const nyb_array *in, const char *out,
                   const values *v)
{
    nyb_error err;
    nyb_quant_stats stats;
    shape s;
    int exit_status = find_axis(in, v->axis, &s);
    if (exit_status != CLI_OK)
        return exit_status;
    uint8_t *codes = v->codes ? cli_alloc(in->n, 1) : NULL;
    uint8_t *turned_codes = v->codes ? cli_alloc(in->n, 1) : NULL;
    float *q = cli_alloc(in->n, sizeof *q), *turned = cli_alloc(in->n, sizeof *q);
    float level = NAN;
    turn(&s, in->values, turned, sizeof *q, false);
    if (v->scales || v->offsets)
        exit_status = write_groups(context, spec, turned, s.outer * s.inner, s.along, v, &level);
    if (exit_status == CLI_OK &&
        nyb_quantize(context, spec, turned, s.outer * s.inner, s.along, v->seed, (uint32_t)v->step,
                     (uint32_t)v->draw, turned_codes, q, &stats, &err) != NYB_OK)
        exit_status = cli_fail("quantize", &err);
    turn(&s, q, turned, sizeof *q, true);
    if (codes)
        turn(&s, turned_codes, codes, 1, true);
    if (exit_status == CLI_OK && nyb_array_save(out, turned, in->n_dims, in->dims, &err) != NYB_OK)
        exit_status = cli_fail("quantize", &err);
    if (exit_status == CLI_OK && codes &&
        nyb_array_save_bytes(v->codes, codes, in->n_dims, in->dims, &err) != NYB_OK)
        exit_status = cli_fail("quantize", &err);
    free(codes);
    free(turned_codes);
    free(q);
    free(turned);
    if (exit_status != CLI_OK)
        return exit_status;
    return report(spec, in, &stats, level, v->json);
}

static int run(const cli_verb *verb, int argc, char **argv)
{
    values v = {0};
    cli_args args;
    int exit_status = cli_parse(verb, argc, argv, &v, &args);
    if (exit_status != CLI_GO_ON)
        return exit_status;
    nyb_error err;
    nyb_spec spec;
    if (nyb_spec_parse(args.at[0], &spec, &err) != NYB_OK)
        return cli_fail_argument(args.at[0], &err);
    if (v.codes && nyb_format_bits(spec.format) > 8) {
        cli_error("--codes", "%s has no codes", nyb_format_name(spec.format));
        return CLI_USAGE;
    }
    if (v.axis && nyb_quant_group_count(&spec, 2, 32) == 1 && spec.mix == NYB_MIX_NONE) {
        cli_error("--axis", "%s has one scale and no transform: nothing runs along an axis",
                  args.at[0]);
        return CLI_USAGE;
    }
    const cli_file files[] = {{"IN.npy", args.at[1], true},
                              {"OUT.npy", args.at[2], false},
                              {"--codes", v.codes, false},
                              {"--scales", v.scales, false},
                              {"--offsets", v.offsets, false}};
    if (cli_check_files(files, sizeof files / sizeof files[0]) != CLI_OK)
        return CLI_USAGE;
    nyb_context *context;
    exit_status = cli_open_context(v.cpu, v.threads, &context);
    if (exit_status != CLI_OK)
        return exit_status;
    nyb_array in;
    if (nyb_array_load(args.at[1], &in, &err) != NYB_OK) {
        exit_status = cli_fail("quantize", &err);
    } else {
        exit_status = convert(context, &spec, &in, args.at[2], &v);
        nyb_array_free(&in);
    }
    nyb_context_destroy(&context);
    return exit_status;
}

const cli_verb cli_verb_quantize = {
    .name = "quantize",
    .about = "quantize an array and measure what is lost",
    .synopsis = "SPEC IN.npy OUT.npy [options]",
    .description =
        "Quantizes IN with scales chosen from its own statistics and writes the dequantized f32 "
        "array OUT. SPEC is format/scale/group/rounding[/mix]; trailing parts may be left out and "
        "take the format's defaults; stochastic:32 takes 32 random bits an element instead of 16. "
        "NaN becomes zero, infinities the largest value (f32 copies them); both are counted. "
        "JSON has a scale of 0 where groups have their own.\n\n"
        "The same seed, step and draw give the same codes on every machine.",
    .example = "  nybble quantize e3m0/absmax/tensor/stochastic grad.npy q.npy --codes c.npy\n"
               "  nybble quantize int4/sawb weights.npy q.npy --json\n"
               "  nybble quantize e2m1/e8m0/block32 x.npy q.npy --axis 0\n",
    .options = options,
    .min_args = 3,
    .max_args = 3,
    .run = run,
};
