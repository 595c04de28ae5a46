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

static const nyb_format *find_listed(const char *name)
{
    for (const nyb_format *const *f = nyb_formats; name && *f; f++)
        if (strcmp((*f)->name, name) == 0)
            return *f;
    return NULL;
}

const nyb_format *nyb_format_find(const char *name)
{
    const nyb_format *format = find_listed(name);

    return format || nyb_format_generic(name, &format, NULL) == NYB_OK ? format : NULL;
}

nyb_status nyb_format_parse(const char *name, const nyb_format **format, nyb_error *err)
{
    char names[320] = "";
    size_t used = 0;
    nyb_status status;

    NYB_TRY(nyb_check_pointers(name && format, err));
    *format = find_listed(name);
    if (*format)
        return NYB_OK;
    status = nyb_format_generic(name, format, err);
    if (status != NYB_UNKNOWN)
        return status;
    for (const nyb_format *const *f = nyb_formats; *f && used < sizeof names; f++)
        used += (size_t)snprintf(names + used, sizeof names - used, " %s", (*f)->name);
    return nyb_fail(err, NYB_UNKNOWN,
                    "no format is named '%.60s'; there are:%s, and " NYB_FORMAT_GENERIC_SYNTAX,
                    name, names);
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
    if (format->grid == NYB_GRID_FLOAT)
        return 1 + format->fp.exp_bits + format->fp.man_bits;
    while ((1u << bits) < format->n_codes)
        bits++;
    return bits;
}

/* sig * 2^exponent, exact, in integers: the hardware may take subnormal numbers for zeros. */
static uint32_t build(uint32_t sig, int exponent)
{
    if (sig == 0)
        return 0;
    for (; sig < 0x800000; sig <<= 1)
        exponent--;
    for (; exponent < -149; sig >>= 1)
        exponent++;
    return sig < 0x800000 ? sig : (uint32_t)(exponent + 150) << 23 | (sig & 0x7fffff);
}

static bool is_nan(const nyb_float_grid *fp, uint32_t sign, uint32_t magnitude)
{
    const uint32_t all = sign - 1, mantissas = (1u << fp->man_bits) - 1;

    switch (fp->special) {
    case NYB_SPECIAL_NONE:
        return false;
    case NYB_SPECIAL_IEEE:
        return magnitude > all - mantissas;
    case NYB_SPECIAL_FN:
    case NYB_SPECIAL_MERGED:
        return magnitude == all;
    case NYB_SPECIAL_FNUZ:
        return false;
    }
    return false;
}

static float decode_float(const nyb_float_grid *fp, uint32_t code)
{
    const uint32_t sign = 1u << (fp->exp_bits + fp->man_bits), magnitude = code & (sign - 1);
    const uint32_t one = 1u << fp->man_bits, mantissa = magnitude & (one - 1);
    const int exponent = (int)(magnitude >> fp->man_bits);
    const uint32_t minus = code & sign ? 0x80000000u : 0;

    if (is_nan(fp, sign, magnitude) || (fp->special == NYB_SPECIAL_FNUZ && code == sign))
        return NAN;
    if (fp->special == NYB_SPECIAL_IEEE && exponent == (1 << fp->exp_bits) - 1)
        return nyb_float_of(minus | 0x7f800000);
    if (magnitude == 0)
        return nyb_float_of(minus);
    if (exponent == 0 && fp->subnormals)
        return nyb_float_of(minus | build(mantissa, 1 - fp->bias - fp->man_bits));
    return nyb_float_of(minus | build(one | mantissa, exponent - fp->bias - fp->man_bits));
}

float nyb_format_decode(const nyb_format *format, unsigned code)
{
    float value;

    if (format->grid == NYB_GRID_REAL || code > format->n_codes - 1u)
        return NAN;
    if (format->grid == NYB_GRID_FLOAT)
        return decode_float(&format->fp, code);
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
    return format->max_unit > 0 || format->shift > 0;
}

static const char *specials(nyb_special special)
{
    switch (special) {
    case NYB_SPECIAL_NONE:
        return "neither Inf nor NaN";
    case NYB_SPECIAL_IEEE:
        return "Inf and NaN are the top exponent";
    case NYB_SPECIAL_FN:
        return "NaN is all ones, no Inf";
    case NYB_SPECIAL_FNUZ:
        return "NaN is the code of -0, no Inf, no -0";
    case NYB_SPECIAL_MERGED:
        return "all ones is Inf and NaN in one";
    }
    return "?";
}

int nyb_format_get_fields(const nyb_format *format, nyb_format_fields *fields)
{
    const nyb_float_grid *fp = &format->fp;

    if (format->grid != NYB_GRID_FLOAT)
        return 0;
    *fields = (nyb_format_fields){
        .exp_bits = fp->exp_bits,
        .man_bits = fp->man_bits,
        .bias = fp->bias,
        .subnormals = fp->subnormals,
        .min_normal = nyb_format_decode(format, fp->subnormals ? 1u << fp->man_bits : 1),
        .min = nyb_format_decode(format, 1),
        .specials = specials(fp->special),
        .ties = fp->ties_away ? "away from zero" : "to even",
    };
    return 1;
}
