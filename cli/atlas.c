/* What records of runs say about accumulators: differences from the same recipe without them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"

const char *const atlas_gemms[ATLAS_GEMMS] = {
    NULL, "fwd", "dgrad", "fwd+dgrad", "wgrad", "fwd+wgrad", "dgrad+wgrad", "all",
};

static const char *const products[3] = {"fwd", "dgrad", "wgrad"};
static const char *const changes[3] = {"+fwd.accum=", "+dgrad.accum=", "+wgrad.accum="};

#define ACCUM_TEXT 64
#define SEEDS_MAX  4096

static const char *text_of(const json_t *record, const char *key)
{
    const char *text = json_string_value(json_object_get(record, key));
    return text ? text : "";
}

static bool is_diverged(const json_t *record)
{
    return json_is_true(json_object_get(record, "diverged"));
}

/* ---- labels ------------------------------------------------------------------------------- */

char *atlas_label(const char *base, const nyb_accum *accum, unsigned gemms)
{
    char text[ACCUM_TEXT];
    nyb_accum_print(accum, text, sizeof text);
    char *label = cli_alloc(strlen(base) + 3 * (strlen(changes[1]) + strlen(text)) + 1, 1);
    strcpy(label, base);
    for (int i = 0; i < 3; i++)
        if (gemms & (1u << i))
            strcat(strcat(label, changes[i]), text);
    return label;
}

/* "+fwd.accum=bf16+wgrad.accum=bf16" and nothing else: the set of GEMMs, or 0. */
static unsigned parse_changes(const char *text, char value[ACCUM_TEXT])
{
    unsigned gemms = 0;
    *value = 0;
    while (*text) {
        int i = 0;
        while (i < 3 && strncmp(text, changes[i], strlen(changes[i])) != 0)
            i++;
        if (i == 3)
            return 0;
        text += strlen(changes[i]);
        size_t n = strcspn(text, "+");
        if (n == 0 || n >= ACCUM_TEXT ||
            (*value && (strlen(value) != n || strncmp(value, text, n))))
            return 0;
        snprintf(value, ACCUM_TEXT, "%.*s", (int)n, text);
        gemms |= 1u << i;
        text += n;
    }
    return gemms;
}

/* A label as atlas_label makes it: the set of GEMMs, or 0. */
static unsigned parse_label(const char *label, size_t *n_base, nyb_accum *accum)
{
    char value[ACCUM_TEXT];
    for (const char *at = strchr(label, '+'); at; at = strchr(at + 1, '+')) {
        unsigned gemms = parse_changes(at, value);
        nyb_error err;
        if (!gemms || nyb_accum_parse(value, accum, &err) != NYB_OK)
            continue;
        *n_base = (size_t)(at - label);
        return gemms;
    }
    return 0;
}

/* ---- cells -------------------------------------------------------------------------------- */

/* The runs of one label, of the definition that was recorded last. */
typedef struct group {
    size_t n;
    const json_t *at[SEEDS_MAX];
} group;

static bool is_of(const json_t *record, const atlas_table *table, const char *label)
{
    return strcmp(text_of(record, "model"), table->model) == 0 &&
           strcmp(text_of(record, "setup"), table->setup) == 0 &&
           strcmp(text_of(record, "recipe"), label) == 0 && json_object_get(record, "diverged");
}

static void collect(const board_records *records, const atlas_table *table, const char *label,
                    group *g)
{
    const char *hash = "";
    for (size_t i = 0; i < records->n; i++)
        if (is_of(records->at[i], table, label))
            hash = text_of(records->at[i], "hash");
    g->n = 0;
    for (size_t i = 0; i < records->n && g->n < SEEDS_MAX; i++)
        if (is_of(records->at[i], table, label) &&
            strcmp(text_of(records->at[i], "hash"), hash) == 0)
            g->at[g->n++] = records->at[i];
}

static double accuracy_of(const json_t *record)
{
    return json_number_value(json_object_get(record, "test_acc"));
}

/* Of the mean of a sample: NaN for fewer than two. */
static double error_of(const double *x, size_t n)
{
    return board_deviation(x, n) / sqrt((double)n);
}

static atlas_cell compare(const group *g, const group *base)
{
    atlas_cell cell = {.n_runs = g->n};
    double *x = cli_alloc(2 * SEEDS_MAX, sizeof *x), *diffs = x + SEEDS_MAX;
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++) {
        const json_t *pair = NULL;
        if (is_diverged(g->at[i])) {
            cell.n_diverged++;
            continue;
        }
        x[n++] = accuracy_of(g->at[i]);
        for (size_t j = 0; j < base->n; j++)
            if (!is_diverged(base->at[j]) &&
                json_equal(json_object_get(g->at[i], "seed"), json_object_get(base->at[j], "seed")))
                pair = base->at[j];
        if (pair)
            diffs[cell.n_pairs++] = x[n - 1] - accuracy_of(pair);
    }
    cell.mean = board_mean(x, n);
    cell.diff = board_mean(diffs, cell.n_pairs);
    cell.diff_se = error_of(diffs, cell.n_pairs);
    cell.is_beyond = cell.n_diverged == 0 && cell.n_pairs > 1 && fabs(cell.diff) > 2 * cell.diff_se;
    free(x);
    return cell;
}

/* ---- tables ------------------------------------------------------------------------------- */

static bool is_same_accum(const nyb_accum *a, const nyb_accum *b)
{
    return a->format == b->format && a->chunk == b->chunk && a->rounding == b->rounding &&
           a->random_bits == b->random_bits;
}

/* The widest mantissa first, integers last; then long chains first, to nearest first, and then most
 * random bits. */
static int compare_rows(const void *a, const void *b)
{
    const nyb_accum *x = &((const atlas_row *)a)->accum, *y = &((const atlas_row *)b)->accum;
    char x_name[ACCUM_TEXT], y_name[ACCUM_TEXT];
    int x_bits = nyb_accum_mantissa(x), y_bits = nyb_accum_mantissa(y);
    if (x_bits != y_bits)
        return x_bits > y_bits ? -1 : 1;
    if (x->format != y->format) {
        nyb_accum_print(x, x_name, sizeof x_name);
        nyb_accum_print(y, y_name, sizeof y_name);
        return strcmp(x_name, y_name);
    }
    unsigned x_chunk = (unsigned)x->chunk - 1u, y_chunk = (unsigned)y->chunk - 1u; /* 0: longest */
    if (x_chunk != y_chunk)
        return x_chunk < y_chunk ? 1 : -1;
    if (x->rounding != y->rounding)
        return x->rounding < y->rounding ? -1 : 1;
    unsigned x_random = (unsigned)x->random_bits - 1u, y_random = (unsigned)y->random_bits - 1u;
    return x_random < y_random ? 1 : x_random > y_random ? -1 : 0; /* 0: all, the most */
}

static atlas_table *find_table(atlas *a, const json_t *record, const char *label, size_t n_base)
{
    for (size_t i = 0; i < a->n_tables; i++) {
        atlas_table *t = &a->tables[i];
        if (strcmp(t->model, text_of(record, "model")) == 0 &&
            strcmp(t->setup, text_of(record, "setup")) == 0 && strlen(t->base) == n_base &&
            strncmp(t->base, label, n_base) == 0)
            return t;
    }
    atlas_table *t = &a->tables[a->n_tables++];
    *t = (atlas_table){.model = text_of(record, "model"),
                       .setup = text_of(record, "setup"),
                       .base = cli_alloc(n_base + 1, 1)};
    memcpy(t->base, label, n_base);
    return t;
}

static void add_run(atlas *a, const board_records *records, const json_t *record)
{
    const char *label = text_of(record, "recipe");
    size_t n_base, i = 0;
    nyb_accum accum;
    unsigned gemms = parse_label(label, &n_base, &accum);
    if (!gemms || !json_object_get(record, "diverged"))
        return;
    atlas_table *t = find_table(a, record, label, n_base);
    if (!t->rows)
        t->rows = cli_alloc(records->n, sizeof *t->rows);
    while (i < t->n_rows && !is_same_accum(&t->rows[i].accum, &accum))
        i++;
    if (i == t->n_rows)
        t->rows[t->n_rows++].accum = accum;
    if (t->rows[i].cells[gemms].n_runs)
        return;
    group *g = cli_alloc(2, sizeof *g), *base = g + 1;
    collect(records, t, label, g);
    collect(records, t, t->base, base);
    t->rows[i].cells[gemms] = compare(g, base);
    free(g);
}

/* Of the base and f32, and what a run says about its sums. */
static void finish_table(atlas_table *t, const board_records *records)
{
    group *base = cli_alloc(2, sizeof *base), *f32 = base + 1;
    collect(records, t, t->base, base);
    collect(records, t, "f32", f32);
    t->own = compare(base, base);
    t->f32 = compare(f32, base);
    for (size_t i = 0; i < base->n; i++)
        for (int p = 0; p < 3; p++) {
            json_t *sum = json_object_get(json_object_get(base->at[i], "sums"), products[p]);
            if (!sum)
                continue;
            t->lengths[p] = (uint64_t)json_integer_value(json_object_get(sum, "length"));
            t->product_bits[p] = (int)json_integer_value(json_object_get(sum, "product_bits"));
        }
    qsort(t->rows, t->n_rows, sizeof *t->rows, compare_rows);
    free(base);
}

void atlas_make(atlas *a, const board_records *records)
{
    *a = (atlas){.tables = cli_alloc(records->n + 1, sizeof *a->tables)};
    for (size_t i = 0; i < records->n; i++)
        add_run(a, records, records->at[i]);
    for (size_t i = 0; i < a->n_tables; i++)
        finish_table(&a->tables[i], records);
}

void atlas_free(atlas *a)
{
    for (size_t i = 0; i < a->n_tables; i++) {
        free(a->tables[i].base);
        free(a->tables[i].rows);
    }
    free(a->tables);
    *a = (atlas){0};
}

/* ---- theory ------------------------------------------------------------------------------- */

#define DRAWN 16 /* products in a drawn sum: enough draws of each to meet every code */

/* Mantissa bits of a product of these operands, as VRR counts them; 0: cannot be drawn. */
static int product_bits(nyb_context *context, const nyb_explain_line *l)
{
    char a_text[sizeof l->a], b_text[sizeof l->b];
    nyb_error err;
    nyb_accum f32;
    nyb_accum_loss loss;
    nyb_spec a, b;
    snprintf(a_text, sizeof a_text, "%.*s", (int)strcspn(l->a, " "), l->a); /* not " x2" */
    snprintf(b_text, sizeof b_text, "%.*s", (int)strcspn(l->b, " "), l->b);
    if (nyb_accum_parse("f32", &f32, &err) != NYB_OK ||
        nyb_spec_parse(a_text, &a, &err) != NYB_OK || nyb_spec_parse(b_text, &b, &err) != NYB_OK ||
        nyb_accum_measure(context, &f32, 1, &a, &b, DRAWN, 0, &loss, &err) != NYB_OK)
        return 0;
    return loss.product_bits < 23 ? loss.product_bits : 23;
}

void board_add_sums(nyb_context *context, const nyb_train *train, json_t *record)
{
    nyb_explain_line longest[3] = {0};
    for (size_t i = 0; i < nyb_train_explain_count(train); i++) {
        nyb_explain_line l;
        nyb_train_explain_at(train, i, &l);
        for (int p = 0; p < 3; p++)
            if (strcmp(l.product, products[p]) == 0 && l.sum_length > longest[p].sum_length &&
                (strcmp(l.a, "f32") != 0 || strcmp(l.b, "f32") != 0))
                longest[p] = l;
    }
    json_t *sums = json_object();
    for (int p = 0; p < 3; p++) {
        if (!longest[p].sum_length)
            continue;
        json_t *sum = json_pack("{s:I}", "length", (json_int_t)longest[p].sum_length);
        int bits = product_bits(context, &longest[p]);
        if (bits)
            json_object_set_new(sum, "product_bits", json_integer(bits));
        json_object_set_new(sums, products[p], sum);
    }
    if (json_object_size(sums))
        json_object_set_new(record, "sums", sums);
    else
        json_decref(sums);
}

int atlas_mantissa(const atlas_table *t, int gemm, int chunk)
{
    if (!t->lengths[gemm] || !t->product_bits[gemm])
        return 0;
    return nyb_vrr_mantissa(t->product_bits[gemm], t->lengths[gemm], (uint64_t)chunk,
                            NYB_VRR_LEVELS);
}
