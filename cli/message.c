#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

void cli_error(const char *what, const char *why, ...)
{
    fflush(stdout);
    fprintf(stderr, "nybble: %s: ", what);
    va_list args;
    va_start(args, why);
    vfprintf(stderr, why, args);
    va_end(args);
    fputc('\n', stderr);
}

void cli_hint(const char *format, ...)
{
    fprintf(stderr, "hint: ");
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

int cli_fail(const char *what, const nyb_error *err)
{
    cli_error(what, "%s", err->text);
    return CLI_FAILURE;
}

int cli_fail_argument(const char *what, const nyb_error *err)
{
    cli_error(what, "%s", err->text);
    return err->status == NYB_UNKNOWN || err->status == NYB_INVALID ? CLI_USAGE : CLI_FAILURE;
}

int cli_close_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return CLI_OK;
    cli_error("standard output", "writing failed: some output is lost");
    return CLI_FAILURE;
}

char *cli_format_bytes(double n_bytes, char *text)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t u = 0;
    while (n_bytes >= 1024 && u < 4) {
        n_bytes /= 1024;
        u++;
    }
    snprintf(text, 32, u ? "%.1f %s" : "%.0f %s", n_bytes, units[u]);
    return text;
}

char *cli_format_count(double n, char *text)
{
    static const char *const units[] = {"", " k", " M", " G", " T"};
    size_t u = 0;
    while (n >= 1000 && u < 4) {
        n /= 1000;
        u++;
    }
    snprintf(text, 32, u ? "%.2f%s" : "%.0f%s", n, units[u]);
    return text;
}

char *cli_format_time(double seconds, char *text)
{
    if (!(seconds >= 0) || seconds > 1e9) {
        snprintf(text, 32, "?");
    } else if (seconds < 60) {
        snprintf(text, 32, "%.1f s", seconds);
    } else {
        long s = lrint(seconds);
        if (s < 3600)
            snprintf(text, 32, "%ld:%02ld", s / 60, s % 60);
        else
            snprintf(text, 32, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    }
    return text;
}
