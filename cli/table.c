#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

struct cli_table {
    const char *aligns;
    size_t n_columns, n_cells, n_reserved;
    size_t rule_after; /* cells; 0: none */
    char **cells;
};

cli_table *cli_table_create(const char *aligns, const char *const *headers)
{
    cli_table *table = cli_alloc(1, sizeof *table);
    table->aligns = aligns;
    table->n_columns = strlen(aligns);
    for (size_t i = 0; headers && i < table->n_columns; i++)
        cli_table_cell(table, "%s", headers[i]);
    if (headers)
        cli_table_rule(table);
    return table;
}

void cli_table_cell(cli_table *table, const char *format, ...)
{
    if (table->n_cells == table->n_reserved) {
        size_t n = table->n_reserved * 2 + 64;
        char **cells = cli_alloc(n, sizeof *cells);
        if (table->n_cells)
            memcpy(cells, table->cells, table->n_cells * sizeof *cells);
        free(table->cells);
        table->cells = cells;
        table->n_reserved = n;
    }
    va_list args;
    va_start(args, format);
    char text[1024];
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    table->cells[table->n_cells] = cli_alloc(strlen(text) + 1, 1);
    strcpy(table->cells[table->n_cells++], text);
}

void cli_table_rule(cli_table *table)
{
    table->rule_after = table->n_cells;
}

void cli_table_destroy(cli_table *table)
{
    for (size_t i = 0; i < table->n_cells; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table);
}

/* Characters on screen: bytes that do not continue a UTF-8 sequence. */
static int width_of(const char *cell)
{
    int n = 0;
    for (; *cell; cell++)
        n += ((unsigned char)*cell & 0xc0) != 0x80;
    return n;
}

static int width_of_column(const cli_table *table, size_t column)
{
    int width = 0;
    for (size_t i = column; i < table->n_cells; i += table->n_columns)
        if (width_of(table->cells[i]) > width)
            width = width_of(table->cells[i]);
    return width;
}

static void print_row(const cli_table *table, size_t first, FILE *out)
{
    for (size_t c = 0; c < table->n_columns; c++) {
        const char *cell = table->cells[first + c];
        int pad = width_of_column(table, c) - width_of(cell);
        bool is_last = c + 1 == table->n_columns;
        if (table->aligns[c] == 'r')
            fprintf(out, "%*s%s", pad, "", cell);
        else
            fprintf(out, "%s%*s", cell, is_last ? 0 : pad, "");
        fputs(is_last ? "\n" : "  ", out);
    }
}

static void print_rule(const cli_table *table, FILE *out)
{
    for (size_t c = 0; c < table->n_columns; c++) {
        for (int i = 0; i < width_of_column(table, c); i++)
            fputc('-', out);
        fputs(c + 1 == table->n_columns ? "\n" : "  ", out);
    }
}

void cli_table_print(cli_table *table, FILE *out)
{
    for (size_t i = 0; i + table->n_columns <= table->n_cells; i += table->n_columns) {
        if (i > 0 && i == table->rule_after)
            print_rule(table, out);
        print_row(table, i, out);
    }
    cli_table_destroy(table);
}

int cli_print_list(cli_table *table, json_t *list, bool json)
{
    if (json) {
        cli_table_destroy(table);
        return cli_print_json(list);
    }
    json_decref(list);
    cli_table_print(table, stdout);
    return cli_close_output();
}
