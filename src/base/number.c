#include "base/number.h"

#include <fenv.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"

/* What stands for the point; of some locales more than one byte. */
static const char *separator(void)
{
    const char *point = localeconv()->decimal_point;

    return *point ? point : ".";
}

/* The first `from` in text becomes `to`; text has the room. */
static void replace(char *text, const char *from, const char *to)
{
    char *at = strstr(text, from);

    if (!at || strcmp(from, to) == 0)
        return;
    memmove(at + strlen(to), at + strlen(from), strlen(at + strlen(from)) + 1);
    memcpy(at, to, strlen(to));
}

/* The C library rounds numbers and their texts as the caller's modes say; here they go to the
 * nearest. fesetenv(former) ends it: on x86 there are two registers, which need not agree. */
static void to_nearest(fenv_t *former)
{
    fegetenv(former);
    fesetround(FE_TONEAREST);
}

const char *nyb_number_print(double value, char text[NYB_NUMBER_BYTES])
{
    fenv_t former;
    int digits = 15;

    to_nearest(&former);
    do
        snprintf(text, NYB_NUMBER_BYTES, "%.*g", digits, value);
    while (digits++ < 17 && strtod(text, NULL) != value);
    fesetenv(&former);
    replace(text, separator(), ".");
    return text;
}

const char *nyb_number_print_float(float value, char text[NYB_NUMBER_BYTES])
{
    fenv_t former;
    int digits = 6;

    to_nearest(&former);
    do
        snprintf(text, NYB_NUMBER_BYTES, "%.*g", digits, (double)value);
    while (digits++ < 9 && strtof(text, NULL) != value);
    fesetenv(&former);
    replace(text, separator(), ".");
    return text;
}

double nyb_number_parse(const char *text, const char **end)
{
    static const char letters[] = "0123456789+-.abcdefABCDEFxXpPinfINFtyTYnaNA()_";
    const size_t blank = strspn(text, " \t\n\v\f\r"), n = strspn(text + blank, letters);
    const char *const point = separator();
    char copy[256 + 16], *stop;
    fenv_t former;

    *end = text;
    if (n >= 255)
        return 0.0;
    memcpy(copy, text + blank, n);
    copy[n] = '\0';
    const char *const dot = strchr(copy, '.');
    const size_t at = dot ? (size_t)(dot - copy) : n;

    replace(copy, ".", point);
    to_nearest(&former);
    const double value = strtod(copy, &stop);
    fesetenv(&former);
    size_t used = (size_t)(stop - copy);

    if (used > at) /* behind the separator */
        used -= strlen(point) - 1;
    if (used > 0)
        *end = text + blank + used;
    return value;
}

/* volatile: compilers take a conversion for one that knows no modes, and may move it. */
float nyb_number_to_float(double value)
{
    const volatile double from = value;
    volatile float nearest;
    fenv_t former;

    to_nearest(&former);
    nearest = (float)from;
    fesetenv(&former);
    return nearest;
}
