/* The leaderboard's tables: what records of runs say about recipes, and how sure that is. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"

#define SEEDS_MAX 4096

static const char *text_of(const json_t *record, const char *key)
{
    const char *text = json_string_value(json_object_get(record, key));
    return text ? text : "";
}

static double number_of(const json_t *record, const char *key)
{
    json_t *value = json_object_get(record, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static bool is_true(const json_t *record, const char *key)
{
    return json_is_true(json_object_get(record, key));
}

/* ---- one recipe --------------------------------------------------------------------------- */

/* Sorts x. */
static double median_of(double *x, size_t n)
{
    double upper = cli_quantile(x, n, 0.5);
    return n % 2 ? upper : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* The runs of one recipe, model and setup: all of the same definition. */
typedef struct group {
    size_t n;
    const json_t *at[SEEDS_MAX];
} group;

static void add_differences(board_row *row, const group *g, const group *base)
{
    double diffs[SEEDS_MAX];
    for (size_t i = 0; i < g->n; i++)
        for (size_t j = 0; j < base->n; j++)
            if (json_equal(json_object_get(g->at[i], "seed"),
                           json_object_get(base->at[j], "seed")) &&
                !is_true(g->at[i], "diverged") && !is_true(base->at[j], "diverged"))
                diffs[row->n_pairs++] =
                    number_of(g->at[i], "test_acc") - number_of(base->at[j], "test_acc");
    row->diff = board_mean(diffs, row->n_pairs);
    row->diff_se = board_deviation(diffs, row->n_pairs) / sqrt((double)row->n_pairs);
    row->is_beyond = row->n_diverged == 0 && row->n_pairs > 1 && fabs(row->diff) > 2 * row->diff_se;
}

static bool is_same_machine(const json_t *a, const json_t *b)
{
    return strcmp(text_of(a, "machine"), text_of(b, "machine")) == 0 &&
           strcmp(text_of(a, "cpu"), text_of(b, "cpu")) == 0 &&
           json_equal(json_object_get(a, "threads"), json_object_get(b, "threads"));
}

/* What was measured of a recipe on the clock's machine for itself, or NULL. */
static const json_t *measurement_of(const board_records *records, const json_t *run,
                                    const json_t *clock)
{
    for (size_t i = 0; i < records->n; i++) {
        const json_t *r = records->at[i];
        if (board_record_is_time(r) && is_same_machine(r, clock) &&
            strcmp(text_of(r, "model"), text_of(run, "model")) == 0 &&
            strcmp(text_of(r, "recipe"), text_of(run, "recipe")) == 0 &&
            strcmp(text_of(r, "hash"), text_of(run, "hash")) == 0)
            return r;
    }
    return NULL;
}

/* clock: a record of the machine whose times are shown: of measured ones, or of runs. */
static board_row make_row(const board_records *records, const group *g, const group *base,
                          const json_t *clock)
{
    const json_t *last = g->at[g->n - 1]; /* what the program is now may be another than before */
    const json_t *measured = measurement_of(records, last, clock), *of = last;
    double accuracies[SEEDS_MAX], rates[SEEDS_MAX];
    size_t n_accuracies = 0, n_rates = 0;
    /* The memory of today's program, where that was measured. */
    if (measured && json_object_get(measured, "saved_activation_bytes"))
        of = measured;
    board_row row = {.recipe = text_of(last, "recipe"),
                     .engine = text_of(last, "engine"),
                     .emulated = is_true(last, "emulated"),
                     .n_seeds = g->n,
                     .kept = number_of(of, "saved_activation_bytes"),
                     .kept_quantized = number_of(of, "saved_quantized_bytes"),
                     .energy = number_of(last, "energy_pj")};
    row.energy_of_f32 = base->n ? row.energy / number_of(base->at[base->n - 1], "energy_pj") : NAN;
    for (size_t i = 0; i < g->n; i++) {
        if (is_true(g->at[i], "diverged")) {
            row.n_diverged++;
            continue;
        }
        accuracies[n_accuracies++] = number_of(g->at[i], "test_acc");
        double rate = number_of(g->at[i], "samples_per_s");
        if (!row.emulated && rate > 0 && is_same_machine(g->at[i], clock))
            rates[n_rates++] = rate;
    }
    row.mean = board_mean(accuracies, n_accuracies);
    row.sd = board_deviation(accuracies, n_accuracies);
    if (board_record_is_time(clock))
        row.samples_per_s = measured && !row.emulated ? number_of(measured, "samples_per_s") : NAN;
    else
        row.samples_per_s = n_rates ? median_of(rates, n_rates) : NAN;
    if (g != base)
        add_differences(&row, g, base);
    else
        row.diff = row.diff_se = NAN;
    return row;
}

/* f32 first, then by accuracy, then what diverged. */
static int compare_rows(const void *a, const void *b)
{
    const board_row *x = a, *y = b;
    bool x_first = strcmp(x->recipe, "f32") == 0, y_first = strcmp(y->recipe, "f32") == 0;
    if (x_first != y_first)
        return x_first ? -1 : 1;
    if (isnan(x->mean) != isnan(y->mean))
        return isnan(x->mean) ? 1 : -1;
    if (x->mean > y->mean || x->mean < y->mean)
        return x->mean > y->mean ? -1 : 1;
    return strcmp(x->recipe, y->recipe);
}

/* ---- one model and setup ------------------------------------------------------------------ */

static bool is_of_table(const json_t *record, const board_table *table)
{
    return strcmp(text_of(record, "model"), table->model) == 0 &&
           strcmp(text_of(record, "setup"), table->setup) == 0;
}

/* A run, not a time. */
static bool is_in_table(const json_t *record, const board_table *table)
{
    return !board_record_is_time(record) && is_of_table(record, table);
}

/* The runs of a recipe; of several definitions under one name the one that was recorded last. */
static void collect(const board_records *records, const board_table *table, const char *recipe,
                    group *g)
{
    const char *hash = "";
    for (size_t i = 0; i < records->n; i++)
        if (is_in_table(records->at[i], table) &&
            strcmp(text_of(records->at[i], "recipe"), recipe) == 0)
            hash = text_of(records->at[i], "hash");
    g->n = 0;
    for (size_t i = 0; i < records->n && g->n < SEEDS_MAX; i++)
        if (is_in_table(records->at[i], table) &&
            strcmp(text_of(records->at[i], "recipe"), recipe) == 0 &&
            strcmp(text_of(records->at[i], "hash"), hash) == 0)
            g->at[g->n++] = records->at[i];
}

/* The machine, instruction set and threads that were timed last; else those of most runs. */
static const json_t *choose_clock(const board_records *records, const board_table *table)
{
    for (size_t i = records->n; i-- > 0;)
        if (board_record_is_time(records->at[i]) && is_of_table(records->at[i], table))
            return records->at[i];
    const json_t *best = table->sample;
    size_t n_best = 0;
    for (size_t i = 0; i < records->n; i++) {
        size_t n = 0;
        for (size_t j = 0; j < records->n && is_in_table(records->at[i], table); j++)
            n += is_in_table(records->at[j], table) &&
                 is_same_machine(records->at[i], records->at[j]);
        if (n > n_best) {
            n_best = n;
            best = records->at[i];
        }
    }
    return best;
}

static void fill_table(board_table *table, const board_records *records)
{
    group *base = cli_alloc(1, sizeof *base), *g = cli_alloc(1, sizeof *g);
    table->clock = choose_clock(records, table);
    table->rows = cli_alloc(records->n, sizeof *table->rows);
    collect(records, table, "f32", base);
    for (size_t i = 0; i < records->n; i++) {
        const char *recipe = text_of(records->at[i], "recipe");
        bool is_new = is_in_table(records->at[i], table);
        for (size_t j = 0; j < table->n_rows; j++)
            is_new = is_new && strcmp(table->rows[j].recipe, recipe) != 0;
        if (!is_new)
            continue;
        collect(records, table, recipe, g);
        table->rows[table->n_rows++] =
            make_row(records, strcmp(recipe, "f32") == 0 ? base : g, base, table->clock);
    }
    qsort(table->rows, table->n_rows, sizeof *table->rows, compare_rows);
    free(base);
    free(g);
}

void board_report_make(board_report *report, const board_records *records)
{
    *report = (board_report){.tables = cli_alloc(records->n + 1, sizeof *report->tables)};
    for (size_t i = 0; i < records->n; i++) {
        bool is_new = !board_record_is_time(records->at[i]);
        for (size_t j = 0; j < report->n_tables; j++)
            is_new = is_new && !is_in_table(records->at[i], &report->tables[j]);
        if (!is_new)
            continue;
        board_table *table = &report->tables[report->n_tables++];
        *table = (board_table){.model = text_of(records->at[i], "model"),
                               .setup = text_of(records->at[i], "setup"),
                               .sample = records->at[i]};
        fill_table(table, records);
    }
}

void board_report_free(board_report *report)
{
    for (size_t i = 0; i < report->n_tables; i++)
        free(report->tables[i].rows);
    free(report->tables);
    *report = (board_report){0};
}

/* ---- cells -------------------------------------------------------------------------------- */

#define CELL 96

static void accuracy_cell(const board_row *row, char text[CELL])
{
    if (isnan(row->mean))
        snprintf(text, CELL, "diverged");
    else if (isnan(row->sd))
        snprintf(text, CELL, "%.2f", 100 * row->mean);
    else
        snprintf(text, CELL, "%.2f ± %.2f", 100 * row->mean, 100 * row->sd);
}

static void difference_cell(const board_row *row, char text[CELL])
{
    if (isnan(row->diff))
        snprintf(text, CELL, "-");
    else if (isnan(row->diff_se))
        snprintf(text, CELL, "%+.2f", 100 * row->diff);
    else
        snprintf(text, CELL, "%+.2f ± %.2f%s", 100 * row->diff, 100 * row->diff_se,
                 row->is_beyond ? " *" : "");
}

static void rate_cell(const board_row *row, char text[CELL])
{
    if (row->emulated)
        snprintf(text, CELL, "(emulated)");
    else if (isnan(row->samples_per_s))
        snprintf(text, CELL, "-");
    else
        snprintf(text, CELL, "%.0f", row->samples_per_s);
}

static void kept_cell(const board_table *table, const board_row *row, char text[CELL])
{
    double batch = number_of(table->sample, "batch");
    snprintf(text, CELL, "%.1f", row->kept / batch / 1024);
}

static void energy_cell(const board_row *row, char text[CELL])
{
    if (isnan(row->energy_of_f32))
        snprintf(text, CELL, "-");
    else
        snprintf(text, CELL, "%.1f", 100 * row->energy_of_f32);
}

static void seeds_cell(const board_row *row, char text[CELL])
{
    if (row->n_diverged)
        snprintf(text, CELL, "%zu, %zu diverged", row->n_seeds, row->n_diverged);
    else
        snprintf(text, CELL, "%zu", row->n_seeds);
}

#define COLUMNS 8
static const char *const headers[COLUMNS] = {"recipe",           "engine",    "accuracy, %",
                                             "vs f32, points",   "samples/s", "kept, KiB/sample",
                                             "energy, % of f32", "seeds"};

static void cells_of(const board_table *table, const board_row *row, char cells[COLUMNS][CELL])
{
    snprintf(cells[0], CELL, "%s", row->recipe);
    snprintf(cells[1], CELL, "%s", row->engine);
    accuracy_cell(row, cells[2]);
    difference_cell(row, cells[3]);
    rate_cell(row, cells[4]);
    kept_cell(table, row, cells[5]);
    energy_cell(row, cells[6]);
    seeds_cell(row, cells[7]);
}

static void print_machine(const board_table *table, FILE *out)
{
    json_int_t threads = json_integer_value(json_object_get(table->clock, "threads"));
    fprintf(out, "%s, %s, %lld thread%s", text_of(table->clock, "machine"),
            text_of(table->clock, "cpu"), (long long)threads, threads == 1 ? "" : "s");
}

/* ---- Markdown, CSV ------------------------------------------------------------------------ */

static const char legend[] =
    "Accuracy: test part, after the last epoch, mean ± sample standard deviation over seeds. vs "
    "f32:\n"
    "mean difference from the f32 run of the same seed ± its standard error; * beyond 2 standard\n"
    "errors. Without the * nothing is claimed, whatever the order of the rows. Kept: for the "
    "backward\n"
    "pass. Times only of recipes whose quantized products are all computed from codes.\n";

static void print_markdown(const void *arg, FILE *out)
{
    const board_report *report = arg;
    char cells[COLUMNS][CELL];
    fprintf(out, "# Leaderboard\n");
    for (size_t t = 0; t < report->n_tables; t++) {
        const board_table *table = &report->tables[t];
        fprintf(out, "\n## %s\n\n`%s`\n\n", table->model, table->setup);
        for (size_t c = 0; c < COLUMNS; c++)
            fprintf(out, "| %s ", headers[c]);
        fprintf(out, "|\n");
        for (size_t c = 0; c < COLUMNS; c++)
            fprintf(out, "|---");
        fprintf(out, "|\n");
        for (size_t i = 0; i < table->n_rows; i++) {
            cells_of(table, &table->rows[i], cells);
            for (size_t c = 0; c < COLUMNS; c++)
                fprintf(out, "| %s ", cells[c]);
            fprintf(out, "|\n");
        }
        fprintf(out, "\nTimes: ");
        print_machine(table, out);
        fprintf(out, ".\n");
    }
    fprintf(out, "\n%s", legend);
}

static void print_csv(const void *arg, FILE *out)
{
    const board_report *report = arg;
    fprintf(out, "model,recipe,engine,emulated,seeds,diverged,test_acc_mean,test_acc_sd,pairs,"
                 "diff_mean,diff_se,beyond_2se,samples_per_s,saved_activation_bytes,"
                 "saved_quantized_bytes,energy_pj,batch,setup\n");
    for (size_t t = 0; t < report->n_tables; t++)
        for (size_t i = 0; i < report->tables[t].n_rows; i++) {
            const board_table *table = &report->tables[t];
            const board_row *row = &table->rows[i];
            board_csv_text(out, table->model);
            fputc(',', out);
            board_csv_text(out, row->recipe);
            fprintf(out, ",%s,%d,%zu,%zu", row->engine, row->emulated, row->n_seeds,
                    row->n_diverged);
            board_csv_number(out, row->mean);
            board_csv_number(out, row->sd);
            fprintf(out, ",%zu", row->n_pairs);
            board_csv_number(out, row->diff);
            board_csv_number(out, row->diff_se);
            fprintf(out, ",%d", row->is_beyond);
            board_csv_number(out, row->samples_per_s);
            board_csv_number(out, row->kept);
            board_csv_number(out, row->kept_quantized);
            board_csv_number(out, row->energy);
            board_csv_number(out, number_of(table->sample, "batch"));
            fputc(',', out);
            board_csv_text(out, table->setup);
            fputc('\n', out);
        }
}

int board_report_write(const board_report *report, const char *dir)
{
    if (!board_make_dir(dir)) {
        cli_error(dir, "%s", strerror(errno));
        return CLI_FAILURE;
    }
    int exit_status = board_write_report(dir, "leaderboard.md", print_markdown, report);
    return exit_status == CLI_OK ? board_write_report(dir, "leaderboard.csv", print_csv, report)
                                 : exit_status;
}

/* ---- standard output ---------------------------------------------------------------------- */

static json_t *row_json(const board_row *row)
{
    return json_pack("{s:s, s:s, s:b, s:I, s:I, s:o, s:o, s:I, s:o, s:o, s:b, s:o, s:o, s:o, s:o}",
                     "recipe", row->recipe, "engine", row->engine, "emulated", (int)row->emulated,
                     "seeds", (json_int_t)row->n_seeds, "diverged", (json_int_t)row->n_diverged,
                     "test_acc_mean", cli_json_real(row->mean), "test_acc_sd",
                     cli_json_real(row->sd), "pairs", (json_int_t)row->n_pairs, "diff_mean",
                     cli_json_real(row->diff), "diff_se", cli_json_real(row->diff_se), "beyond_2se",
                     (int)row->is_beyond, "samples_per_s", cli_json_real(row->samples_per_s),
                     "saved_activation_bytes", cli_json_real(row->kept), "saved_quantized_bytes",
                     cli_json_real(row->kept_quantized), "energy_pj", cli_json_real(row->energy));
}

static int print_json(const board_report *report)
{
    json_t *tables = json_array();
    for (size_t t = 0; t < report->n_tables; t++) {
        const board_table *table = &report->tables[t];
        json_t *rows = json_array();
        for (size_t i = 0; i < table->n_rows; i++)
            json_array_append_new(rows, row_json(&table->rows[i]));
        json_array_append_new(tables,
                              json_pack("{s:s, s:s, s:o, s:s, s:o}", "model", table->model, "setup",
                                        table->setup, "batch",
                                        cli_json_real(number_of(table->sample, "batch")), "machine",
                                        text_of(table->clock, "machine"), "rows", rows));
    }
    return cli_print_json(json_pack("{s:s, s:o}", "bench", "recipes", "tables", tables));
}

int board_report_print(const board_report *report, bool json)
{
    char cells[COLUMNS][CELL];
    if (json)
        return print_json(report);
    for (size_t t = 0; t < report->n_tables; t++) {
        const board_table *table = &report->tables[t];
        printf("%s%s: %s\n", t ? "\n" : "", table->model, table->setup);
        cli_table *out = cli_table_create("llrrrrrr", headers);
        for (size_t i = 0; i < table->n_rows; i++) {
            cells_of(table, &table->rows[i], cells);
            for (size_t c = 0; c < COLUMNS; c++)
                cli_table_cell(out, "%s", cells[c]);
        }
        cli_table_print(out, stdout);
    }
    return cli_close_output();
}
