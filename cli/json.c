/* JSON as nybble writes it: what jansson has not, and strings of any bytes. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* ---- text --------------------------------------------------------------------------------- */

/* The end of the string that begins at text, behind its quotation mark. */
static const char *string_end(const char *text)
{
    for (text++; *text && *text != '"'; text++)
        text += *text == '\\' && text[1];
    return text + (*text == '"');
}

/* jansson's integers are signed, and seeds are not: it holds those of 2^63 and more as negative
 * numbers. Their texts, one way or the other; false if it is no such seed. */
static bool put_seed(FILE *out, const char *text, bool reading)
{
    char *end;
    errno = 0;
    if (reading) {
        const unsigned long long seed = strtoull(text, &end, 10);
        if (*text == '-' || errno || seed <= INT64_MAX)
            return false;
        fprintf(out, "%lld", (long long)seed);
    } else {
        if (*text != '-')
            return false;
        fprintf(out, "%llu", (unsigned long long)strtoll(text, &end, 10));
    }
    return true;
}

/* The fewest digits that read back as the same number, as summary.json has them. */
static void put_real(FILE *out, const char *text)
{
    const double value = strtod(text, NULL);
    char number[40];
    int digits = 15;
    do
        snprintf(number, sizeof number, "%.*g", digits, value);
    while (digits++ < 17 && strtod(number, NULL) != value);
    fprintf(out, "%s%s", number, strpbrk(number, ".e") ? "" : ".0"); /* readers tell them apart */
}

/* A number of n bytes, as it is to be written or read; false: as it is. */
static bool put_number(FILE *out, const char *text, size_t n, bool is_seed, bool reading)
{
    if (strcspn(text, ".eE") >= n)
        return is_seed && put_seed(out, text, reading);
    if (!reading)
        put_real(out, text);
    return !reading;
}

/* JSON with its numbers rewritten; NULL without memory. */
static char *rewrite(const char *text, bool reading)
{
    char *changed = NULL;
    size_t n_bytes;
    bool is_seed = false; /* the last string is a key called so */
    FILE *out = open_memstream(&changed, &n_bytes);
    if (!out)
        return NULL;
    while (*text) {
        size_t n = 1;
        if (*text == '"') {
            n = (size_t)(string_end(text) - text);
            is_seed = n == 6 && strncmp(text, "\"seed\"", 6) == 0;
        } else if (*text == '-' || isdigit((unsigned char)*text)) {
            n = strspn(text, "+-.0123456789eE");
            if (put_number(out, text, n, is_seed, reading)) {
                text += n;
                n = 0;
            }
            is_seed = false;
        } else if (!strchr(": \t\r\n", *text)) {
            is_seed = false;
        }
        fwrite(text, 1, n, out);
        text += n;
    }
    if (fclose(out) == 0)
        return changed;
    free(changed);
    return NULL;
}

char *cli_json_print(const json_t *json, size_t flags)
{
    char *text = json_dumps(json, flags);
    char *changed = text ? rewrite(text, false) : NULL;
    free(text);
    return changed;
}

json_t *cli_json_parse(const char *text, json_error_t *error)
{
    char *changed = rewrite(text, true);
    json_t *json = json_loads(changed ? changed : "", 0, error);
    free(changed);
    return json;
}

json_t *cli_json_load(const char *path)
{
    char *text = NULL;
    size_t n_reserved = 0;
    FILE *in = fopen(path, "r");
    if (!in)
        return NULL;
    const ssize_t n = getdelim(&text, &n_reserved, 0, in); /* JSON has no zero byte */
    fclose(in);
    json_t *json = n > 0 ? cli_json_parse(text, NULL) : NULL;
    free(text);
    return json;
}

int cli_print_json(json_t *json)
{
    char *text = cli_json_print(json, JSON_INDENT(2));
    json_decref(json);
    if (!text) {
        cli_error("json", "no memory for the output");
        return CLI_FAILURE;
    }
    puts(text);
    free(text);
    return cli_close_output();
}

/* ---- values ------------------------------------------------------------------------------- */

json_t *cli_json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *cli_json_float(float value)
{
    char number[40];
    int digits = 6;
    do
        snprintf(number, sizeof number, "%.*g", digits, (double)value);
    while (digits++ < 9 && strtof(number, NULL) != value);
    return cli_json_real(strtod(number, NULL));
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
