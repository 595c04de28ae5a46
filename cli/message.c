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

int cli_print_json(json_t *json)
{
    if (!json) {
        cli_error("json", "no memory for the output");
        return CLI_FAILURE;
    }
    /* nine digits: a float reads back as the same float */
    json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(json);
    return cli_close_output();
}

json_t *cli_json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* Bytes of the UTF-8 character that begins here, 0 if none does; jansson knows. */
static size_t character_length(const char *text)
{
    for (size_t n = 1; n <= 4 && text[n - 1]; n++) {
        json_t *json = json_stringn(text, n);
        json_decref(json);
        if (json)
            return n;
    }
    return 0;
}

json_t *cli_json_string(const char *text)
{
    json_t *json = json_string(text);
    if (json)
        return json;
    char *clean = cli_alloc(strlen(text) + 1, 3), *end = clean; /* U+FFFD has three bytes */
    while (*text) {
        size_t n = character_length(text);
        memcpy(end, n ? text : "\xef\xbf\xbd", n ? n : 3);
        end += n ? n : 3;
        text += n ? n : 1;
    }
    json = json_string(clean);
    free(clean);
    return json;
}

json_t *cli_json_value(const char *text)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !isfinite(v))
        return cli_json_string(text);
    return strpbrk(text, ".eEn") ? json_real(v) : json_integer(strtoll(text, NULL, 10));
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
