/* nybble format list | show NAME | rules: what codes are worth, and how scales are chosen. */
#include <string.h>

#include "verbs.h"

typedef struct values {
    bool json;
} values;

static const cli_option options[] = {
    CLI_JSON_OPTION(values),
    {0},
};

static const char *engine_of(const nyb_format *format)
{
    return nyb_format_is_integer(format) ? "s8" : "f32";
}

/* What the fields of a code mean. */
static void add_fields(json_t *json, const nyb_format *f)
{
    nyb_format_fields g;
    if (!nyb_format_get_fields(f, &g))
        return;
    json_object_set_new(json, "fields",
                        json_pack("{s:i, s:i, s:i, s:b, s:o, s:o, s:s, s:s}", "exp_bits",
                                  g.exp_bits, "man_bits", g.man_bits, "bias", g.bias, "subnormals",
                                  g.subnormals, "min_normal", cli_json_float(g.min_normal), "min",
                                  cli_json_float(g.min), "specials", g.specials, "ties", g.ties));
}

static json_t *describe(const nyb_format *f)
{
    json_t *json = json_pack("{s:s, s:s, s:i, s:o, s:s}", "name", nyb_format_name(f), "about",
                             nyb_format_about(f), "bits", nyb_format_bits(f), "max",
                             cli_json_float(nyb_format_max(f)), "engine", engine_of(f));
    add_fields(json, f);
    return json;
}

static int list(bool json)
{
    json_t *array = json_array();
    const char *const headers[] = {"format", "bits", "max", "engine", "what it is"};
    cli_table *table = cli_table_create("lrrll", headers);
    for (size_t i = 0; i < nyb_format_count(); i++) {
        const nyb_format *f = nyb_format_at(i);
        json_array_append_new(array, describe(f));
        cli_table_cell(table, "%s", nyb_format_name(f));
        cli_table_cell(table, "%d", nyb_format_bits(f));
        cli_table_cell(table, "%g", (double)nyb_format_max(f));
        cli_table_cell(table, "%s", engine_of(f));
        cli_table_cell(table, "%s", nyb_format_about(f));
    }
    return cli_print_list(table, array, json);
}

static void print_fields(const nyb_format *f)
{
    nyb_format_fields g;
    if (!nyb_format_get_fields(f, &g))
        return;
    printf("fields: 1 sign, %d exponent, %d mantissa bit%s   bias: %d\n", g.exp_bits, g.man_bits,
           g.man_bits == 1 ? "" : "s", g.bias);
    if (g.subnormals)
        printf("smallest normal: %.9g   smallest: %.9g\n", (double)g.min_normal, (double)g.min);
    else
        printf("smallest: %.9g   no subnormals\n", (double)g.min);
    printf("%s   nearest: ties %s\n", g.specials, g.ties);
}

static int show_json(const nyb_format *f, unsigned n_codes)
{
    json_t *json = describe(f);
    json_t *codes = json_array();
    for (unsigned code = 0; code < n_codes; code++)
        json_array_append_new(codes, cli_json_float(nyb_format_decode(f, code)));
    json_object_set_new(json, "values", codes);
    return cli_print_json(json);
}

static int show(const char *name, bool json)
{
    nyb_error err;
    const nyb_format *f;
    if (nyb_format_parse(name, &f, &err) != NYB_OK)
        return cli_fail_argument("format", &err);
    int bits = nyb_format_bits(f);
    unsigned n_codes = bits <= 8 ? 1u << bits : 0;
    if (json)
        return show_json(f, n_codes);
    printf("%s: %s\nbits: %d   largest value at scale 1: %g   engine: %s\n", nyb_format_name(f),
           nyb_format_about(f), bits, (double)nyb_format_max(f), engine_of(f));
    print_fields(f);
    if (n_codes == 0) {
        if (strcmp(nyb_format_name(f), "f32") == 0)
            printf("values are stored as they are; there are no codes\n");
        return cli_close_output();
    }
    putchar('\n');
    const char *const headers[] = {"code", "bits", "value"};
    cli_table *table = cli_table_create("rrr", headers);
    for (unsigned code = 0; code < n_codes; code++) {
        char binary[9];
        for (int b = 0; b < bits; b++)
            binary[b] = (char)('0' + (code >> (bits - 1 - b) & 1));
        binary[bits] = 0;
        cli_table_cell(table, "%u", code);
        cli_table_cell(table, "%s", binary);
        cli_table_cell(table, "%.9g", (double)nyb_format_decode(f, code));
    }
    cli_table_print(table, stdout);
    return cli_close_output();
}

static int rules(bool json)
{
    json_t *array = json_array();
    const char *const headers[] = {"scale rule", "what it is", "source"};
    cli_table *table = cli_table_create("lll", headers);
    for (size_t i = 0; i < nyb_scale_rule_count(); i++) {
        const nyb_scale_rule *rule = nyb_scale_rule_at(i);
        const char *name = nyb_scale_rule_name(rule), *about = nyb_scale_rule_about(rule);
        const char *source = nyb_scale_rule_source(rule);
        json_array_append_new(
            array, json_pack("{s:s, s:s, s:s}", "name", name, "about", about, "source", source));
        cli_table_cell(table, "%s", name);
        cli_table_cell(table, "%s", about);
        cli_table_cell(table, "%s", source);
    }
    return cli_print_list(table, array, json);
}

static int run(const cli_verb *verb, int argc, char **argv)
{
    values v = {0};
    cli_args args;
    int exit_status = cli_parse(verb, argc, argv, &v, &args);
    if (exit_status != CLI_GO_ON)
        return exit_status;
    if (strcmp(args.at[0], "list") == 0 && args.n == 1)
        return list(v.json);
    if (strcmp(args.at[0], "show") == 0 && args.n == 2)
        return show(args.at[1], v.json);
    if (strcmp(args.at[0], "rules") == 0 && args.n == 1)
        return rules(v.json);
    cli_error("format", "'%s%s%s' is not list, show NAME or rules", args.at[0],
              args.n > 1 ? " " : "", args.n > 1 ? args.at[1] : "");
    cli_hint("nybble format --help");
    return CLI_USAGE;
}

const cli_verb cli_verb_format = {
    .name = "format",
    .about = "list number formats and scale rules, show every code of one",
    .synopsis = "list | show NAME | rules [options]",
    .description =
        "A number format gives each code a value; a tensor's scale multiplies it. Formats of the "
        "s8 "
        "engine are small integers times one unit: their products are summed exactly in int32. "
        "Products with any other format run on the f32 engine. Beside those of the list there are "
        "generic formats: eXmY or eXmYbB has a sign, X exponent bits (1..8), Y mantissa bits "
        "(0..23) and the bias B (default 2^(X-1)-1); subnormals, saturating, neither Inf nor NaN "
        "except with X 8 and B 127, where the top exponent is theirs.",
    .example = "  nybble format show e3m0\n  nybble format show e6m9\n",
    .options = options,
    .min_args = 1,
    .max_args = 2,
    .run = run,
};
