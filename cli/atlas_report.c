/* The atlas of accumulators as tables: Markdown, CSV, JSON, text. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"

#define CELL 96

/* Columns in this order, those without a run left out. */
static const unsigned column_order[ATLAS_GEMMS - 1] = {1, 2, 4, 3, 5, 6, 7};

static size_t columns_of(const atlas_table *t, unsigned columns[ATLAS_GEMMS])
{
    size_t n = 0;
    for (size_t c = 0; c < ATLAS_GEMMS - 1; c++)
        for (size_t i = 0; i < t->n_rows; i++)
            if (t->rows[i].cells[column_order[c]].n_runs) {
                columns[n++] = column_order[c];
                break;
            }
    return n;
}

/* "-0.31 ± 0.05 * (3)": the number of pairs last. */
static void difference_cell(const atlas_cell *cell, char text[CELL])
{
    if (cell->n_runs == 0) {
        snprintf(text, CELL, "-");
        return;
    }
    if (cell->n_diverged == cell->n_runs) {
        snprintf(text, CELL, "diverged (%zu)", cell->n_runs);
        return;
    }
    int n = 0;
    if (isnan(cell->diff))
        n = snprintf(text, CELL, "-");
    else
        n = snprintf(text, CELL, "%+.2f", 100 * cell->diff);
    if (!isnan(cell->diff_se))
        n += snprintf(text + n, CELL - (size_t)n, " ± %.2f%s", 100 * cell->diff_se,
                      cell->is_beyond ? " *" : "");
    n += snprintf(text + n, CELL - (size_t)n, " (%zu)", cell->n_pairs);
    if (cell->n_diverged)
        snprintf(text + n, CELL - (size_t)n, ", %zu diverged", cell->n_diverged);
}

static void bits_cell(int bits, char text[CELL])
{
    if (bits)
        snprintf(text, CELL, "%d", bits);
    else
        snprintf(text, CELL, "-");
}

/* "luq: 85.31 % (3 runs); f32: +1.20 ± 0.10 (3)" */
static void print_base(const atlas_table *t, FILE *out)
{
    char f32[CELL];
    if (t->own.n_runs == 0)
        fprintf(out, "%s: no run", t->base);
    else if (isnan(t->own.mean))
        fprintf(out, "%s: diverged", t->base);
    else
        fprintf(out, "%s: %.2f %% (%zu run%s)", t->base, 100 * t->own.mean, t->own.n_runs,
                t->own.n_runs == 1 ? "" : "s");
    difference_cell(&t->f32, f32);
    if (t->f32.n_runs && strcmp(t->base, "f32") != 0)
        fprintf(out, "; f32: %s", f32);
    fprintf(out, "\n");
}

/* ---- theory ------------------------------------------------------------------------------- */

static bool has_theory(const atlas_table *t)
{
    for (int p = 0; p < 3; p++)
        if (atlas_mantissa(t, p, 0))
            return true;
    return false;
}

/* The chunks of the rows, each once; longest chains first as in the rows of one format. */
static size_t chunks_of(const atlas_table *t, int *chunks)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n_rows; i++) {
        size_t j = 0;
        while (j < n && chunks[j] != t->rows[i].accum.chunk)
            j++;
        if (j == n)
            chunks[n++] = t->rows[i].accum.chunk;
    }
    return n;
}

static void chunk_cell(int chunk, char text[CELL])
{
    if (chunk)
        snprintf(text, CELL, "%d", chunk);
    else
        snprintf(text, CELL, "one chain");
}

static void sum_cell(const atlas_table *t, int gemm, char text[CELL])
{
    if (t->lengths[gemm])
        snprintf(text, CELL, "%s, %llu products", atlas_gemms[1u << gemm],
                 (unsigned long long)t->lengths[gemm]);
    else
        snprintf(text, CELL, "%s", atlas_gemms[1u << gemm]);
}

/* ---- Markdown ----------------------------------------------------------------------------- */

static const char legend[] =
    "Cells: difference of the accuracy after the last epoch from the base's run of the same seed, "
    "in\n"
    "points, ± its standard error, and the number of such pairs; * beyond 2 standard errors. "
    "Without\n"
    "the * nothing is claimed. Rows: the accumulator of these GEMMs, FORMAT/CHUNK, its chunk sums "
    "added\n"
    "in the same format; the other GEMMs add up as the base does.\n";

static void print_theory(const atlas_table *t, FILE *out)
{
    char text[CELL];
    int *chunks = cli_alloc(t->n_rows + 1, sizeof *chunks);
    size_t n = chunks_of(t, chunks);
    fprintf(out, "\nSmallest mantissa by VRR, for the longest sums:\n\n| chunk ");
    for (int p = 0; p < 3; p++) {
        sum_cell(t, p, text);
        fprintf(out, "| %s ", text);
    }
    fprintf(out, "|\n|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        chunk_cell(chunks[i], text);
        fprintf(out, "| %s ", text);
        for (int p = 0; p < 3; p++) {
            bits_cell(atlas_mantissa(t, p, chunks[i]), text);
            fprintf(out, "| %s ", text);
        }
        fprintf(out, "|\n");
    }
    free(chunks);
}

static void print_markdown(const void *arg, FILE *out)
{
    const atlas *a = arg;
    char text[CELL];
    unsigned columns[ATLAS_GEMMS];
    fprintf(out, "# Accumulators\n");
    for (size_t k = 0; k < a->n_tables; k++) {
        const atlas_table *t = &a->tables[k];
        size_t n = columns_of(t, columns);
        fprintf(out, "\n## %s, %s\n\n`%s`\n\n", t->model, t->base, t->setup);
        print_base(t, out);
        fprintf(out, "\n| accumulator | mantissa ");
        for (size_t c = 0; c < n; c++)
            fprintf(out, "| %s ", atlas_gemms[columns[c]]);
        fprintf(out, "|\n|---|---");
        for (size_t c = 0; c < n; c++)
            fprintf(out, "|---");
        fprintf(out, "|\n");
        for (size_t i = 0; i < t->n_rows; i++) {
            nyb_accum_print(&t->rows[i].accum, text, sizeof text);
            fprintf(out, "| %s ", text);
            bits_cell(nyb_accum_mantissa(&t->rows[i].accum), text);
            fprintf(out, "| %s ", text);
            for (size_t c = 0; c < n; c++) {
                difference_cell(&t->rows[i].cells[columns[c]], text);
                fprintf(out, "| %s ", text);
            }
            fprintf(out, "|\n");
        }
        if (has_theory(t))
            print_theory(t, out);
    }
    fprintf(out, "\n%s", legend);
}

/* ---- CSV ---------------------------------------------------------------------------------- */

/* accum NULL: the base, or f32. */
static void csv_row(FILE *out, const atlas_table *t, const char *base, const nyb_accum *accum,
                    unsigned gemms, const atlas_cell *cell)
{
    char text[CELL] = "";
    int gemm = gemms == 1 ? 0 : gemms == 2 ? 1 : gemms == 4 ? 2 : -1;
    if (accum)
        nyb_accum_print(accum, text, sizeof text);
    board_csv_text(out, t->model);
    fputc(',', out);
    board_csv_text(out, base);
    fprintf(out, ",%s,", text);
    if (accum)
        fprintf(out, "%d,%d", accum->chunk, nyb_accum_mantissa(accum));
    else
        fputc(',', out);
    fprintf(out, ",%s,%zu,%zu", gemms ? atlas_gemms[gemms] : "", cell->n_runs, cell->n_diverged);
    board_csv_number(out, cell->mean);
    fprintf(out, ",%zu", cell->n_pairs);
    board_csv_number(out, cell->diff);
    board_csv_number(out, cell->diff_se);
    fprintf(out, ",%d", cell->is_beyond);
    board_csv_number(out, gemm >= 0 && t->lengths[gemm] ? (double)t->lengths[gemm] : NAN);
    int needed = gemm >= 0 ? atlas_mantissa(t, gemm, accum->chunk) : 0;
    board_csv_number(out, needed ? needed : NAN);
    fputc(',', out);
    board_csv_text(out, t->setup);
    fputc('\n', out);
}

static void print_csv(const void *arg, FILE *out)
{
    const atlas *a = arg;
    unsigned columns[ATLAS_GEMMS];
    fprintf(out, "model,base,accumulator,chunk,mantissa,gemms,runs,diverged,test_acc_mean,pairs,"
                 "diff_mean,diff_se,beyond_2se,sum_length,vrr_mantissa,setup\n");
    for (size_t k = 0; k < a->n_tables; k++) {
        const atlas_table *t = &a->tables[k];
        size_t n = columns_of(t, columns);
        if (t->own.n_runs)
            csv_row(out, t, t->base, NULL, 0, &t->own);
        if (t->f32.n_runs && strcmp(t->base, "f32") != 0)
            csv_row(out, t, "f32", NULL, 0, &t->f32);
        for (size_t i = 0; i < t->n_rows; i++)
            for (size_t c = 0; c < n; c++)
                if (t->rows[i].cells[columns[c]].n_runs)
                    csv_row(out, t, t->base, &t->rows[i].accum, columns[c],
                            &t->rows[i].cells[columns[c]]);
    }
}

int atlas_write(const atlas *a, const char *dir)
{
    if (!board_make_dir(dir)) {
        cli_error(dir, "%s", strerror(errno));
        return CLI_FAILURE;
    }
    int exit_status = board_write_report(dir, "atlas.md", print_markdown, a);
    return exit_status == CLI_OK ? board_write_report(dir, "atlas.csv", print_csv, a) : exit_status;
}

/* ---- standard output ---------------------------------------------------------------------- */

static json_t *cell_json(const atlas_cell *cell)
{
    return json_pack("{s:I, s:I, s:o, s:I, s:o, s:o, s:b}", "runs", (json_int_t)cell->n_runs,
                     "diverged", (json_int_t)cell->n_diverged, "test_acc_mean",
                     cli_json_real(cell->mean), "pairs", (json_int_t)cell->n_pairs, "diff_mean",
                     cli_json_real(cell->diff), "diff_se", cli_json_real(cell->diff_se),
                     "beyond_2se", (int)cell->is_beyond);
}

static json_t *row_json(const atlas_table *t, const atlas_row *row)
{
    char text[CELL];
    json_t *gemms = json_object(), *needed = json_object();
    for (size_t c = 0; c < ATLAS_GEMMS - 1; c++)
        if (row->cells[column_order[c]].n_runs)
            json_object_set_new(gemms, atlas_gemms[column_order[c]],
                                cell_json(&row->cells[column_order[c]]));
    for (int p = 0; p < 3; p++) {
        int bits = atlas_mantissa(t, p, row->accum.chunk);
        if (bits)
            json_object_set_new(needed, atlas_gemms[1u << p], json_integer(bits));
    }
    nyb_accum_print(&row->accum, text, sizeof text);
    return json_pack("{s:s, s:i, s:i, s:o, s:o}", "accumulator", text, "chunk", row->accum.chunk,
                     "mantissa", nyb_accum_mantissa(&row->accum), "gemms", gemms, "vrr_mantissa",
                     needed);
}

static int print_json(const atlas *a)
{
    json_t *tables = json_array();
    for (size_t k = 0; k < a->n_tables; k++) {
        const atlas_table *t = &a->tables[k];
        json_t *rows = json_array(), *lengths = json_object();
        for (size_t i = 0; i < t->n_rows; i++)
            json_array_append_new(rows, row_json(t, &t->rows[i]));
        for (int p = 0; p < 3; p++)
            if (t->lengths[p])
                json_object_set_new(lengths, atlas_gemms[1u << p],
                                    json_integer((json_int_t)t->lengths[p]));
        json_array_append_new(tables, json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "model",
                                                t->model, "setup", t->setup, "base", t->base, "own",
                                                cell_json(&t->own), "f32", cell_json(&t->f32),
                                                "sum_lengths", lengths, "rows", rows));
    }
    return cli_print_json(json_pack("{s:s, s:o}", "bench", "accumulators", "tables", tables));
}

static void print_table(const atlas_table *t)
{
    char text[CELL];
    unsigned columns[ATLAS_GEMMS];
    const char *headers[ATLAS_GEMMS + 2] = {"accumulator", "mantissa"};
    char aligns[ATLAS_GEMMS + 3] = "lr";
    size_t n = columns_of(t, columns);
    for (size_t c = 0; c < n; c++) {
        headers[2 + c] = atlas_gemms[columns[c]];
        strcat(aligns, "r");
    }
    cli_table *table = cli_table_create(aligns, headers);
    for (size_t i = 0; i < t->n_rows; i++) {
        nyb_accum_print(&t->rows[i].accum, text, sizeof text);
        cli_table_cell(table, "%s", text);
        bits_cell(nyb_accum_mantissa(&t->rows[i].accum), text);
        cli_table_cell(table, "%s", text);
        for (size_t c = 0; c < n; c++) {
            difference_cell(&t->rows[i].cells[columns[c]], text);
            cli_table_cell(table, "%s", text);
        }
    }
    cli_table_print(table, stdout);
}

static void print_theory_table(const atlas_table *t)
{
    char text[CELL], names[3][CELL];
    const char *headers[4] = {"VRR's mantissa"};
    int *chunks = cli_alloc(t->n_rows + 1, sizeof *chunks);
    size_t n = chunks_of(t, chunks);
    for (int p = 0; p < 3; p++) {
        sum_cell(t, p, names[p]);
        headers[1 + p] = names[p];
    }
    cli_table *table = cli_table_create("lrrr", headers);
    for (size_t i = 0; i < n; i++) {
        chunk_cell(chunks[i], text);
        cli_table_cell(table, "%s", text);
        for (int p = 0; p < 3; p++) {
            bits_cell(atlas_mantissa(t, p, chunks[i]), text);
            cli_table_cell(table, "%s", text);
        }
    }
    printf("\n");
    cli_table_print(table, stdout);
    free(chunks);
}

int atlas_print(const atlas *a, bool json)
{
    if (json)
        return print_json(a);
    for (size_t k = 0; k < a->n_tables; k++) {
        const atlas_table *t = &a->tables[k];
        printf("%s%s: %s\n", k ? "\n" : "", t->model, t->setup);
        print_base(t, stdout);
        print_table(t);
        if (has_theory(t))
            print_theory_table(t);
    }
    return cli_close_output();
}
