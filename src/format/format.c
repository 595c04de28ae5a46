#include "format/format.h"

#include <math.h>
#include <stdio.h>

#define X(word) &nyb_format_##word,
const nyb_format *const nyb_formats[] = {NYB_FORMAT_LIST(X) NULL};
#undef X

size_t nyb_format_count(void)
{
    return sizeof nyb_formats / sizeof *nyb_formats - 1;
}

const nyb_format *nyb_format_at(size_t i)
{
    return i < nyb_format_count() ? nyb_formats[i] : NULL;
}

const nyb_format *nyb_format_find(const char *name)
{
    for (const nyb_format *const *f = nyb_formats; name && *f; f++)
        if (strcmp((*f)->name, name) == 0)
            return *f;
    return NULL;
}

nyb_status nyb_format_parse(const char *name, const nyb_format **format, nyb_error *err)
{
    char names[256] = "";
    size_t used = 0;

    *format = nyb_format_find(name);
    if (*format)
        return NYB_OK;
    for (const nyb_format *const *f = nyb_formats; *f && used < sizeof names; f++)
        used += (size_t)snprintf(names + used, sizeof names - used, " %s", (*f)->name);
    return nyb_fail(err, NYB_UNKNOWN, "no format is named '%.60s'; there are:%s",
                    name ? name : "(null)", names);
}

const char *nyb_format_name(const nyb_format *format)
{
    return format->name;
}

const char *nyb_format_about(const nyb_format *format)
{
    return format->about;
}

int nyb_format_bits(const nyb_format *format)
{
    int bits = 0;

    if (format->grid == NYB_GRID_REAL)
        return format->bits;
    while ((1u << bits) < format->n_codes)
        bits++;
    return bits;
}

float nyb_format_decode(const nyb_format *format, unsigned code)
{
    float value;

    if (format->grid == NYB_GRID_REAL || code >= format->n_codes)
        return NAN;
    if (!format->units)
        return format->value[code];
    value = (float)format->units[code] * format->unit;
    /* The sign bit of sign-magnitude codes makes -0. */
    if (value == 0.0f && code != 0 && format->grid != NYB_GRID_INT)
        return -0.0f;
    return value;
}

float nyb_format_max(const nyb_format *format)
{
    return format->max;
}

int nyb_format_is_integer(const nyb_format *format)
{
    return format->max_unit > 0;
}
