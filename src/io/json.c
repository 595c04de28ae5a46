#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/number.h"
#include "io/io.h"

void nyb_json_begin(nyb_json *json, FILE *out, bool pretty)
{
    memset(json, 0, sizeof *json);
    json->out = out;
    json->pretty = pretty;
}

/* The length of the UTF-8 sequence at s (RFC 3629: no overlong forms, no surrogates), or 0. */
static size_t utf8_length(const unsigned char *s)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

    if (s[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

bool nyb_text_is_utf8(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t n = 1;

    for (; *s && n > 0; s += n)
        n = utf8_length(s);
    return n > 0;
}

static void put_string(FILE *out, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    putc('"', out);
    while (*s) {
        size_t n = utf8_length(s);
        if (n == 0)
            fputs("\\ufffd", out);
        else if (*s == '"' || *s == '\\')
            fprintf(out, "\\%c", *s);
        else if (*s == '\n')
            fputs("\\n", out);
        else if (*s == '\t')
            fputs("\\t", out);
        else if (*s < 0x20 || *s == 0x7f)
            fprintf(out, "\\u%04x", *s);
        else
            fwrite(s, 1, n, out);
        s += n ? n : 1;
    }
    putc('"', out);
}

static void new_line(const nyb_json *json)
{
    if (json->pretty) {
        putc('\n', json->out);
        for (int i = 0; i < json->depth; i++)
            fputs("  ", json->out);
    }
}

/* Whatever stands between the last value and this one. */
static void lead(nyb_json *json, const char *key)
{
    if (json->depth == 0)
        return;
    bool *first = &json->first[json->depth - 1];
    if (!*first)
        putc(',', json->out);
    *first = false;
    new_line(json);
    if (key) {
        assert(json->close[json->depth - 1] == '}');
        put_string(json->out, key);
        fputs(json->pretty ? ": " : ":", json->out);
    }
}

static void trail(const nyb_json *json)
{
    if (json->depth == 0)
        putc('\n', json->out);
}

static void open_level(nyb_json *json, const char *key, char open, char close)
{
    assert(json->depth < NYB_JSON_DEPTH);
    lead(json, key);
    putc(open, json->out);
    json->close[json->depth] = close;
    json->first[json->depth] = true;
    json->depth++;
}

void nyb_json_object(nyb_json *json, const char *key)
{
    open_level(json, key, '{', '}');
}

void nyb_json_array(nyb_json *json, const char *key)
{
    open_level(json, key, '[', ']');
}

void nyb_json_end(nyb_json *json)
{
    assert(json->depth > 0);
    json->depth--;
    if (!json->first[json->depth])
        new_line(json);
    putc(json->close[json->depth], json->out);
    trail(json);
}

void nyb_json_string(nyb_json *json, const char *key, const char *value)
{
    lead(json, key);
    put_string(json->out, value);
    trail(json);
}

void nyb_json_int(nyb_json *json, const char *key, int64_t value)
{
    lead(json, key);
    fprintf(json->out, "%lld", (long long)value);
    trail(json);
}

void nyb_json_uint(nyb_json *json, const char *key, uint64_t value)
{
    lead(json, key);
    fprintf(json->out, "%llu", (unsigned long long)value);
    trail(json);
}

void nyb_json_double(nyb_json *json, const char *key, double value)
{
    char text[NYB_NUMBER_BYTES];

    lead(json, key);
    fputs(isfinite(value) ? nyb_number_print(value, text) : "null", json->out);
    trail(json);
}

void nyb_json_float(nyb_json *json, const char *key, float value)
{
    char text[NYB_NUMBER_BYTES];

    lead(json, key);
    fputs(isfinite(value) ? nyb_number_print_float(value, text) : "null", json->out);
    trail(json);
}

void nyb_json_bool(nyb_json *json, const char *key, bool value)
{
    lead(json, key);
    fputs(value ? "true" : "false", json->out);
    trail(json);
}
