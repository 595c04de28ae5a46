/* What the reports of campaigns share: figures, CSV cells, files. */
#include <math.h>
#include <stdlib.h>

#include "board.h"

double board_mean(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return n ? sum / (double)n : NAN;
}

double board_deviation(const double *x, size_t n)
{
    double mean = board_mean(x, n), sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return n > 1 ? sqrt(sum / (double)(n - 1)) : NAN;
}

void board_csv_number(FILE *out, double value)
{
    if (isnan(value))
        fputc(',', out);
    else
        fprintf(out, ",%.9g", value);
}

void board_csv_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"')
            fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

int board_write_report(const char *dir, const char *name,
                       void (*print)(const void *report, FILE *out), const void *report)
{
    char *text = NULL;
    size_t n_bytes;
    FILE *out = open_memstream(&text, &n_bytes);
    if (out)
        print(report, out);
    if (!out || fclose(out) != 0 || !text) {
        free(text);
        cli_error(name, "no memory for the report");
        return CLI_FAILURE;
    }
    char *path = cli_join(dir, name);
    int exit_status = board_write_text(path, text);
    free(path);
    free(text);
    return exit_status;
}
