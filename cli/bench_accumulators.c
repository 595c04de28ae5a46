/* nybble bench accumulators: accuracy against accumulator x chunk x GEMM, a campaign of its own. */
#include <stdlib.h>
#include <string.h>

#include "bench.h"

typedef struct values {
    bench_campaign campaign; /* first: its options are shared */
    const char *base, *accums, *chunks, *gemms;
} values;

static const cli_option options[] = {
    {"out", "DIR", "folder of the campaign: DIR/<model>/<recipe>/seed<k> and the tables", CLI_TEXT,
     offsetof(bench_campaign, out), 0, 0},
    {"base", "RECIPE",
     "what every run is compared with: a recipe or file, with changes as in "
     "luq+wgrad.dy.samples=2 (default: luq)",
     CLI_TEXT, offsetof(values, base), 0, 0},
    {"accums", "A,B,...",
     "formats of the sums, each alone in place of the base's own (default: e6m9,bf16,fp16)",
     CLI_TEXT, offsetof(values, accums), 0, 0},
    {"chunks", "N,M,...", "products in one chain; 0: all of a sum (default: 0,64,16)", CLI_TEXT,
     offsetof(values, chunks), 0, 0},
    {"gemms", "A,B,...",
     "where: fwd, dgrad, wgrad, two of them as in fwd+dgrad, or all (default: fwd,dgrad,wgrad,all)",
     CLI_TEXT, offsetof(values, gemms), 0, 0},
    {"preset", "NAME",
     "data, model, epochs and what else makes runs comparable, see below; other options win "
     "(default: mlp, unless --models is given)",
     CLI_TEXT, offsetof(bench_campaign, preset), 0, 0},
    {"models", "A,B,...", "models (see nybble train --help)", CLI_LIST,
     offsetof(bench_campaign, models), 0, 0},
    {"seeds", "1,2,...", "seeds of each entry and model (default: 1)", CLI_LIST,
     offsetof(bench_campaign, seeds), 0, 0},
    BENCH_CAMPAIGN_OPTIONS,
    CLI_CPU_OPTION(bench_campaign),
    CLI_THREADS_OPTION(bench_campaign),
    CLI_JSON_OPTION(bench_campaign),
    {0},
};

/* ---- lists -------------------------------------------------------------------------------- */

#define WORD 64

/* The next of comma separated words, or false. Words that are too long are cut: unknown then. */
static bool next_word(const char **text, char word[WORD])
{
    if (!*text)
        return false;
    size_t n = strcspn(*text, ",");
    snprintf(word, WORD, "%.*s", (int)(n < WORD ? n : WORD), *text);
    *text = (*text)[n] ? *text + n + 1 : NULL;
    return true;
}

static int parse_accum(const char *word, nyb_accum *accum)
{
    nyb_error err;
    char text[WORD];
    if (nyb_accum_parse(word, accum, &err) != NYB_OK)
        return cli_fail_argument("--accums", &err);
    nyb_accum_print(accum, text, sizeof text);
    if (strcmp(text, "f32") == 0) {
        cli_error("--accums", "f32 is how the base adds up; it is always there");
        return CLI_USAGE;
    }
    if (accum->chunk) {
        cli_error("--accums", "'%s': chunks are given by --chunks", word);
        return CLI_USAGE;
    }
    return CLI_OK;
}

static int parse_gemms(const char *word, unsigned *gemms)
{
    for (*gemms = 1; *gemms < ATLAS_GEMMS; ++*gemms)
        if (strcmp(atlas_gemms[*gemms], word) == 0)
            return CLI_OK;
    cli_error("--gemms", "'%s' is not fwd, dgrad, wgrad, fwd+dgrad, fwd+wgrad, dgrad+wgrad or all",
              word);
    return CLI_USAGE;
}

/* ",LABEL" for every GEMM of one accumulator. */
static int print_gemms(const values *v, const nyb_accum *accum, FILE *out)
{
    const char *rest = v->gemms;
    char word[WORD];
    while (next_word(&rest, word)) {
        unsigned gemms;
        if (parse_gemms(word, &gemms) != CLI_OK)
            return CLI_USAGE;
        char *label = atlas_label(v->base, accum, gemms);
        fprintf(out, ",%s", label);
        free(label);
    }
    return CLI_OK;
}

static int print_chunks(const values *v, nyb_accum accum, FILE *out)
{
    const char *rest = v->chunks;
    char word[WORD], text[WORD];
    int exit_status = CLI_OK;
    while (exit_status == CLI_OK && next_word(&rest, word)) {
        size_t chunk;
        if (!cli_parse_size(word, 0, INT32_MAX, &chunk)) {
            cli_error("--chunks", "'%s' is not a number of products; 0: all of a sum", word);
            return CLI_USAGE;
        }
        accum.chunk = (int)chunk;
        nyb_error err;
        nyb_accum again;
        nyb_accum_print(&accum, text, sizeof text);
        if (nyb_accum_parse(text, &again, &err) != NYB_OK)
            return cli_fail_argument("--chunks", &err);
        exit_status = print_gemms(v, &accum, out);
    }
    return exit_status;
}

/* f32, the base, and the base with every accumulator: --recipes of a campaign, in malloc memory. */
static int list_entries(const values *v, char **entries)
{
    const char *rest = v->accums;
    char word[WORD];
    size_t n_bytes;
    int exit_status = CLI_OK;
    *entries = NULL;
    FILE *out = open_memstream(entries, &n_bytes);
    if (!out) {
        cli_error("bench accumulators", "no memory");
        return CLI_FAILURE;
    }
    fprintf(out, "f32,%s", v->base);
    while (exit_status == CLI_OK && next_word(&rest, word)) {
        nyb_accum accum;
        exit_status = parse_accum(word, &accum);
        if (exit_status == CLI_OK)
            exit_status = print_chunks(v, accum, out);
    }
    if (fclose(out) != 0 && exit_status == CLI_OK) {
        cli_error("bench accumulators", "no memory");
        exit_status = CLI_FAILURE;
    }
    size_t n = 0;
    for (const char *c = exit_status == CLI_OK ? *entries : ""; *c; c++)
        n += *c == ',';
    if (n >= BOARD_WORDS_MAX) {
        cli_error("--accums", "%zu entries; at most %d", n + 1, BOARD_WORDS_MAX);
        exit_status = CLI_USAGE;
    }
    return exit_status;
}

/* ---- the verb ----------------------------------------------------------------------------- */

static int report(const bench_campaign *v, const board_records *records, int exit_status)
{
    atlas found;
    atlas_make(&found, records);
    if (found.n_tables == 0) {
        /* one part of many may have trained nothing but f32 and the base */
        if (exit_status == CLI_OK && v->report_only) {
            cli_error("bench accumulators", "no finished run with an accumulator in %s", v->out);
            exit_status = CLI_FAILURE;
        }
        atlas_free(&found);
        return exit_status;
    }
    int written = atlas_write(&found, v->out);
    if (exit_status == CLI_OK)
        exit_status = written == CLI_OK ? atlas_print(&found, v->json) : written;
    atlas_free(&found);
    return exit_status;
}

static int run(const cli_verb *verb, int argc, char **argv)
{
    values v = {.campaign = {.verb = verb, .report = report},
                .base = "luq",
                .accums = "e6m9,bf16,fp16",
                .chunks = "0,64,16",
                .gemms = "fwd,dgrad,wgrad,all"};
    bench_campaign *campaign = &v.campaign;
    cli_args args;
    char *entries;
    int exit_status = cli_parse(verb, argc, argv, &v, &args);
    if (exit_status != CLI_GO_ON)
        return exit_status;
    if (strchr(v.base, ',')) {
        cli_error("--base", "'%s': one recipe, not a list", v.base);
        return CLI_USAGE;
    }
    exit_status = list_entries(&v, &entries);
    if (exit_status == CLI_OK) {
        campaign->recipes = (cli_list){1, {entries}};
        if (!campaign->preset && campaign->models.n == 0)
            campaign->preset = "mlp";
        if (campaign->seeds.n == 0)
            campaign->seeds = (cli_list){1, {"1"}};
        exit_status = bench_campaign_run(campaign, &args);
    }
    free(entries);
    return exit_status;
}

const cli_verb cli_bench_accumulators = {
    .name = "bench accumulators",
    .about = "train the atlas: accuracy against accumulator x chunk x GEMM",
    .synopsis = "--out DIR [--base RECIPE] [--accums A,B] [--chunks N,M] [options]",
    .description =
        "Trains f32, a base recipe, and the base with each accumulator, chunk and GEMM, "
        "BASE+fwd.accum=e6m9/64 and so on, and writes DIR/atlas.md and DIR/atlas.csv: differences "
        "of the accuracy after the last epoch from the base's run of the same seed, and the "
        "smallest mantissa that the variance retention ratio (VRR) finds sufficient for the "
        "longest sums. Only products with a quantized operand have an accumulator. A run that ends "
        "in NaN or infinity is a result: diverged.\n\n"
        "It is a campaign as that of nybble bench recipes: the same command goes on where it was "
        "interrupted, processes may share it, and either verb reads the other's runs.",
    .example = "  nybble bench accumulators --out runs/atlas --base luq --seeds 1,2,3\n"
               "  nybble bench accumulators --out runs/atlas --base fp8_ocp --accums e6m9,e5m6 \\\n"
               "      --chunks 0,64 --gemms wgrad,all --part 1/2\n"
               "  nybble bench accumulators --out runs/atlas --report-only\n",
    .options = options,
    .takes_train_options = true,
    .print_more = bench_print_presets,
    .run = run,
};
