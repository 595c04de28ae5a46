/* nybble recipe list | show NAME: the table of a recipe, and every key. */
#include <stdlib.h>
#include <string.h>

#include "verbs.h"

typedef struct values {
    cli_list set;
    bool json;
} values;

static const cli_option options[] = {
    {"set", "KEY=VALUE", "show: change a key before; may be repeated", CLI_LIST,
     offsetof(values, set), 0, 0},
    CLI_JSON_OPTION(values),
    {0},
};

static int list(bool json)
{
    json_t *array = json_array();
    const char *const headers[] = {"recipe", "what it is"};
    cli_table *table = cli_table_create("ll", headers);
    for (size_t i = 0; i < nyb_recipe_count(); i++) {
        json_array_append_new(array, json_pack("{s:s, s:s}", "name", nyb_recipe_name_at(i), "about",
                                               nyb_recipe_about_at(i)));
        cli_table_cell(table, "%s", nyb_recipe_name_at(i));
        cli_table_cell(table, "%s", nyb_recipe_about_at(i));
    }
    return cli_print_list(table, array, json);
}

/* What else a row says, where it is not the default: "post 1.33, from fwd". */
static void add_extras(cli_table *table, const nyb_recipe *recipe, const char *operand)
{
    static const char *const keys[][2] = {
        {"sr_bits", "16"}, {"samples", "1"}, {"from", "raw"}, {"pre", "1"},
        {"post", "1"},     {"ste", "pass"},  {"ema", "0"},
    };
    char cell[96] = "";
    size_t used = 0;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char key[64], text[32];
        snprintf(key, sizeof key, "%s.%s", operand, keys[i][0]);
        if (nyb_recipe_print(recipe, key, text, sizeof text) <= 0 || !strcmp(text, keys[i][1]))
            continue;
        if (used < sizeof cell)
            used += (size_t)snprintf(cell + used, sizeof cell - used, "%s%s %s", used ? ", " : "",
                                     keys[i][0], text);
    }
    cli_table_cell(table, "%s", *cell ? cell : "-");
}

/* One row of the table: product, operand, and the parts of its spec. */
static void add_row(cli_table *table, const nyb_recipe *recipe, const char *product,
                    const char *operand)
{
    static const char *const parts[] = {".format", ".scale", ".group", ".rounding", ".mix"};
    char name[32];
    cli_table_cell(table, "%s", product);
    cli_table_cell(table, "%s", operand);
    snprintf(name, sizeof name, "%s.%s", product, operand);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char key[64], text[96], nonneg[32] = "none";
        snprintf(key, sizeof key, "%s%s", name, parts[i]);
        nyb_recipe_print(recipe, key, text, sizeof text);
        snprintf(key, sizeof key, "%s.nonneg", name);
        if (i == 0)
            nyb_recipe_print(recipe, key, nonneg, sizeof nonneg);
        if (strcmp(nonneg, "none") != 0)
            cli_table_cell(table, "%s/%s", text, nonneg);
        else
            cli_table_cell(table, "%s", *text ? text : "-");
    }
    add_extras(table, recipe, name);
}

/* Shown in the rows of the table: fwd.x and what follows it, but not fwd.accum. */
static bool is_operand_key(const char *key)
{
    static const char *const operands[] = {"fwd.x",   "fwd.w",    "dgrad.dy",
                                           "dgrad.w", "wgrad.dy", "wgrad.x"};
    for (size_t i = 0; i < sizeof operands / sizeof operands[0]; i++) {
        const size_t n = strlen(operands[i]);
        if (strncmp(key, operands[i], n) == 0 && (key[n] == '\0' || key[n] == '.'))
            return true;
    }
    return false;
}

static void show_table(const nyb_recipe *recipe)
{
    static const char *const operands[][2] = {{"fwd", "x"},   {"fwd", "w"},    {"dgrad", "dy"},
                                              {"dgrad", "w"}, {"wgrad", "dy"}, {"wgrad", "x"}};
    static const char *const headers[] = {"product", "operand",  "format", "scale",
                                          "group",   "rounding", "mix",    "besides"};
    printf("%s: %s\n", nyb_recipe_name(recipe), nyb_recipe_about(recipe));
    cli_print_wrapped(stdout, nyb_recipe_source(recipe), (size_t)printf("source:"), 9);
    if (*nyb_recipe_differs(recipe))
        cli_print_wrapped(stdout, nyb_recipe_differs(recipe), (size_t)printf("differs:"), 9);
    putchar('\n');
    cli_table *table = cli_table_create("llllllll", headers);
    for (size_t i = 0; i < sizeof operands / sizeof operands[0]; i++)
        add_row(table, recipe, operands[i][0], operands[i][1]);
    cli_table_print(table, stdout);
    putchar('\n');
    const char *const key_headers[] = {"key", "value", "meaning", "values"};
    table = cli_table_create("llll", key_headers);
    for (size_t i = 4; i < nyb_recipe_field_count(); i++) {
        char text[96];
        if (is_operand_key(nyb_recipe_field_key(i)))
            continue;
        cli_table_cell(table, "%s", nyb_recipe_field_key(i));
        nyb_recipe_field_print(recipe, i, text, sizeof text);
        cli_table_cell(table, "%s", text);
        cli_table_cell(table, "%s", nyb_recipe_field_help(i));
        nyb_recipe_field_range(i, text, sizeof text);
        cli_table_cell(table, "%s", text);
    }
    cli_table_print(table, stdout);
}

static int show_json(const nyb_recipe *recipe)
{
    json_t *json = json_object();
    for (size_t i = 0; i < nyb_recipe_field_count(); i++) {
        char text[1024];
        nyb_recipe_field_print(recipe, i, text, sizeof text);
        if (*text)
            json_object_set_new(json, nyb_recipe_field_key(i),
                                i < 4 ? cli_json_string(text) : cli_json_value(text));
    }
    return cli_print_json(json);
}

static int show(const char *name, const values *v)
{
    nyb_error err;
    nyb_recipe *recipe;
    if (nyb_recipe_create(name, &recipe, &err) != NYB_OK)
        return cli_fail_recipe("recipe", name, &err);
    int exit_status = cli_apply_sets(recipe, &v->set);
    if (exit_status == CLI_OK && v->json) {
        exit_status = show_json(recipe);
    } else if (exit_status == CLI_OK) {
        show_table(recipe);
        exit_status = cli_close_output();
    }
    nyb_recipe_destroy(&recipe);
    return exit_status;
}

static int keys(bool json)
{
    const char *const headers[] = {"key", "meaning", "values"};
    cli_table *table = cli_table_create("lll", headers);
    json_t *array = json_array();
    for (size_t i = 0; i < nyb_recipe_field_count(); i++) {
        char range[400];
        nyb_recipe_field_range(i, range, sizeof range);
        cli_table_cell(table, "%s", nyb_recipe_field_key(i));
        cli_table_cell(table, "%s", nyb_recipe_field_help(i));
        cli_table_cell(table, "%s", range);
        json_array_append_new(array, json_pack("{s:s, s:s, s:s}", "key", nyb_recipe_field_key(i),
                                               "help", nyb_recipe_field_help(i), "values", range));
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
    if (strcmp(args.at[0], "show") != 0 && v.set.n > 0) {
        cli_error("recipe", "--set changes what `recipe show` shows, nothing of `%s`", args.at[0]);
        return CLI_USAGE;
    }
    if (strcmp(args.at[0], "list") == 0 && args.n == 1)
        return list(v.json);
    if (strcmp(args.at[0], "keys") == 0 && args.n == 1)
        return keys(v.json);
    if (strcmp(args.at[0], "show") == 0 && args.n == 2)
        return show(args.at[1], &v);
    cli_error("recipe", "'%s%s%s' is not list, keys or show NAME", args.at[0],
              args.n > 1 ? " " : "", args.n > 1 ? args.at[1] : "");
    cli_hint("nybble recipe --help");
    return CLI_USAGE;
}

const cli_verb cli_verb_recipe = {
    .name = "recipe",
    .about = "list recipes, show what one really does",
    .synopsis = "list | keys | show NAME|FILE [options]",
    .description =
        "A recipe says, for each of the three matrix products of a layer (fwd: y = x w', dgrad: "
        "dx = dy w, wgrad: dw = dy' x), how its two operands are quantized, and what surrounds "
        "them. `list` names the built-in ones, `show` prints one as a table, `keys` explains every "
        "key.\n\n"
        "An operand is written format/scale/group/rounding[/mix], as "
        "e3m0/absmax/tensor/stochastic. "
        "A "
        "recipe file holds `key = value` lines; `base = luq` on its first line starts from another "
        "recipe; # begins a comment. A name with a '/' or '.' is a file.",
    .example = "  nybble recipe show luq\n"
               "  nybble recipe show luq --set wgrad.dy.samples=2 --json\n",
    .options = options,
    .min_args = 1,
    .max_args = 2,
    .run = run,
};
