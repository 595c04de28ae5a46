/* nybble accumulate: what dot products lose in a narrow accumulator, beside the prediction. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "verbs.h"

typedef struct values {
    const char *a, *b, *n, *accum, *cpu;
    size_t threads;
    uint64_t seed;
    bool json;
} values;

static const cli_option options[] = {
    {"n", "LENGTH[,..]", "lengths of the dot products, 1..4194304 (default: 576,4608,65536)",
     CLI_TEXT, offsetof(values, n), 0, 0},
    {"accum", "FORMAT[/CHUNK][/ROUNDING][,..]",
     "accumulators (default: e6m9,e6m9/64,fp16,fp16/64,bf16,bf16/64,dlfloat16/64)", CLI_TEXT,
     offsetof(values, accum), 0, 0},
    {"a", "SPEC", "how one operand is quantized (default: e5m2/unit)", CLI_TEXT,
     offsetof(values, a), 0, 0},
    {"b", "SPEC", "how the other is quantized (default: e5m2/unit)", CLI_TEXT, offsetof(values, b),
     0, 0},
    {"seed", "N", "of the random operands (default: 0)", CLI_U64, offsetof(values, seed), 0, 0},
    CLI_CPU_OPTION(values),
    CLI_THREADS_OPTION(values),
    CLI_JSON_OPTION(values),
    {0},
};

typedef struct study {
    nyb_context *context;
    nyb_spec a, b;
    uint64_t seed;
    size_t n_lengths, n_accums;
    size_t lengths[CLI_LIST_MAX];
    nyb_accum accums[CLI_LIST_MAX];
} study;

/* One line: a length in an accumulator. VRR is NaN where the theory has no say. */
typedef struct line {
    char accum[64];
    nyb_accum_loss loss;
    double vrr;
    int mantissa; /* 0: no floating format */
    int plain, levels, total;
} line;

static line predict(const nyb_accum *accum, const nyb_accum_loss *loss)
{
    const uint64_t chunk = (uint64_t)accum->chunk, n = loss->n;
    const int bits = loss->product_bits < 23 ? loss->product_bits : 23;
    line l = {.loss = *loss, .mantissa = nyb_accum_mantissa(accum), .vrr = NAN};

    nyb_accum_print(accum, l.accum, sizeof l.accum);
    if (l.mantissa)
        l.vrr = chunk ? nyb_vrr_chunked(l.mantissa, bits, n, chunk) : nyb_vrr(l.mantissa, bits, n);
    l.plain = nyb_vrr_mantissa(bits, n, 0, NYB_VRR_TOTAL);
    l.levels = nyb_vrr_mantissa(bits, n, chunk, NYB_VRR_LEVELS);
    l.total = nyb_vrr_mantissa(bits, n, chunk, NYB_VRR_TOTAL);
    return l;
}

static double fraction(uint64_t part, uint64_t n)
{
    return n ? (double)part / (double)n : 0;
}

static json_t *bits_or_null(int bits)
{
    return bits ? json_integer(bits) : json_null();
}

static json_t *json_line(const line *l)
{
    const nyb_accum_loss *loss = &l->loss;

    return json_pack(
        "{s:I, s:s, s:I, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "n",
        (json_int_t)loss->n, "accum", l->accum, "trials", (json_int_t)loss->trials, "product_bits",
        loss->product_bits, "retention", cli_json_real(loss->retention), "vrr",
        cli_json_real(l->vrr), "error", cli_json_real(loss->error), "swamped",
        cli_json_real(fraction(loss->adds.full, loss->adds.n)), "partly",
        cli_json_real(fraction(loss->adds.partial, loss->adds.n)), "mantissa",
        bits_or_null(l->mantissa), "needs_plain", bits_or_null(l->plain), "needs_levels",
        bits_or_null(l->levels), "needs_total", bits_or_null(l->total));
}

static void cell_bits(cli_table *table, int bits)
{
    if (bits)
        cli_table_cell(table, "%d", bits);
    else
        cli_table_cell(table, "-");
}

static void table_line(cli_table *table, const line *l)
{
    const nyb_accum_loss *loss = &l->loss;

    cli_table_cell(table, "%llu", (unsigned long long)loss->n);
    cli_table_cell(table, "%s", l->accum);
    cli_table_cell(table, "%.4f", loss->retention);
    if (isnan(l->vrr))
        cli_table_cell(table, "-");
    else
        cli_table_cell(table, "%.4f", l->vrr);
    cli_table_cell(table, "%.2g", loss->error);
    cli_table_cell(table, "%.2f %%", 100 * fraction(loss->adds.full, loss->adds.n));
    cli_table_cell(table, "%.1f %%", 100 * fraction(loss->adds.partial, loss->adds.n));
    cell_bits(table, l->mantissa);
    cell_bits(table, l->plain);
    cell_bits(table, l->levels);
    cell_bits(table, l->total);
}

static int report(const study *s, bool json)
{
    static const char *const headers[] = {"n",      "accumulator", "kept",  "VRR",
                                          "error",  "lost",        "cut",   "mantissa",
                                          "needed", "per chunk",   "total", NULL};
    char a[96], b[96];
    nyb_error err;
    json_t *lines = json_array();
    cli_table *table = cli_table_create("rlrrrrrrrrr", headers);
    nyb_status status = NYB_OK;

    for (size_t i = 0; i < s->n_lengths && status == NYB_OK; i++) {
        nyb_accum_loss losses[CLI_LIST_MAX];
        status = nyb_accum_measure(s->context, s->accums, s->n_accums, &s->a, &s->b, s->lengths[i],
                                   s->seed, losses, &err);
        for (size_t j = 0; j < s->n_accums && status == NYB_OK; j++) {
            const line l = predict(&s->accums[j], &losses[j]);
            json_array_append_new(lines, json_line(&l));
            table_line(table, &l);
        }
    }
    nyb_spec_print(&s->a, a, sizeof a);
    nyb_spec_print(&s->b, b, sizeof b);
    if (status != NYB_OK || json)
        cli_table_destroy(table);
    if (status != NYB_OK) {
        json_decref(lines);
        return cli_fail("accumulate", &err);
    }
    if (json)
        return cli_print_json(json_pack("{s:s, s:s, s:I, s:o}", "a", a, "b", b, "seed",
                                        (json_int_t)s->seed, "lines", lines));
    json_decref(lines);
    printf("Gaussian operands, a %s, b %s\n", a, b);
    cli_table_print(table, stdout);
    printf("kept: variance of the sums over that of exact ones; VRR: its prediction. error: root "
           "mean\nsquare, in standard deviations of the exact sum. lost, cut: additions that left "
           "the sum as it\nwas, that lost a part. needed: mantissa bits for a plain sum, for these "
           "chunks level by\nlevel, and by the total length.\n");
    return cli_close_output();
}

/* The next item of a list with commas; NULL after the last. */
static char *next_item(char **rest)
{
    return *rest ? strsep(rest, ",") : NULL;
}

static int too_many(const char *option)
{
    cli_error(option, "the list has more than %d items", CLI_LIST_MAX);
    return CLI_USAGE;
}

static int parse_lists(const values *v, study *s)
{
    char lengths[512], accums[1024];
    char *rest = lengths, *item;
    nyb_error err;

    if (strlen(v->n) >= sizeof lengths || strlen(v->accum) >= sizeof accums) {
        cli_error("--n, --accum", "the list is too long");
        return CLI_USAGE;
    }
    snprintf(lengths, sizeof lengths, "%s", v->n);
    snprintf(accums, sizeof accums, "%s", v->accum);
    while ((item = next_item(&rest))) {
        if (s->n_lengths == CLI_LIST_MAX)
            return too_many("--n");
        if (!cli_parse_size(item, 1, (size_t)1 << 22, &s->lengths[s->n_lengths++])) {
            cli_error("--n", "'%s' is not a length: 1..4194304", item);
            return CLI_USAGE;
        }
    }
    rest = accums;
    while ((item = next_item(&rest))) {
        if (s->n_accums == CLI_LIST_MAX)
            return too_many("--accum");
        if (nyb_accum_parse(item, &s->accums[s->n_accums++], &err) != NYB_OK)
            return cli_fail_argument("--accum", &err);
    }
    return CLI_OK;
}

static int run(const cli_verb *verb, int argc, char **argv)
{
    values v = {.a = "e5m2/unit",
                .b = "e5m2/unit",
                .n = "576,4608,65536",
                .accum = "e6m9,e6m9/64,fp16,fp16/64,bf16,bf16/64,dlfloat16/64"};
    cli_args args;
    nyb_error err;
    int exit_status = cli_parse(verb, argc, argv, &v, &args);

    if (exit_status != CLI_GO_ON)
        return exit_status;
    study s = {.seed = v.seed};
    if (nyb_spec_parse(v.a, &s.a, &err) != NYB_OK)
        return cli_fail_argument("--a", &err);
    if (nyb_spec_parse(v.b, &s.b, &err) != NYB_OK)
        return cli_fail_argument("--b", &err);
    exit_status = parse_lists(&v, &s);
    if (exit_status != CLI_OK)
        return exit_status;
    exit_status = cli_open_context(v.cpu, v.threads, &s.context);
    if (exit_status != CLI_OK)
        return exit_status;
    exit_status = report(&s, v.json);
    nyb_context_destroy(&s.context);
    return exit_status;
}

const cli_verb cli_verb_accumulate = {
    .name = "accumulate",
    .about = "measure what a narrow accumulator loses",
    .synopsis = "[options]",
    .description =
        "Draws dot products of Gaussian vectors, quantizes both operands, and adds the products in "
        "each accumulator: FORMAT says what every partial sum is rounded to, CHUNK how many "
        "products make one chain (chunk sums are added in a chain of their own), ROUNDING whether "
        "to nearest or stochastic (stochastic:N: by N random bits). Prints how much of the "
        "variance remains beside the variance retention ratio of Sakr et al. (ICLR 2019), "
        "the error, how many additions were swamped, and the smallest mantissa that the theory "
        "recommends.\n\n"
        "Formats: fp16, bf16, dlfloat16, any eXmY, int8, int12, int16 (clamped), f32.",
    .example = "  nybble accumulate --n 4608 --accum e6m9,e6m9/64,fp16\n"
               "  nybble accumulate --a int4/sawb --b int4/sawb --accum int16/32,int8/32\n",
    .options = options,
    .min_args = 0,
    .max_args = 0,
    .run = run,
};
