/* Formats that a name describes: eXmY, eXmYbB. */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>

#include "format/format.h"

#define NAME_BYTES 16 /* "e8m23b150" and its 0 fit */

typedef struct node {
    nyb_format format;
    struct node *next;
    char name[NAME_BYTES];
    char about[96];
    int8_t units[256]; /* of those whose values are small multiples of the least */
} node;

/* Records live as long as the process: others point to them. Nodes are only ever put in front. At
 * most some 30,000 names exist. See docs/decisions/0005. */
static _Atomic(node *) made;

/* A decimal without leading zeros, of at most three digits; NULL if there is none. */
static const char *read_number(const char *text, int *number)
{
    int n = 0;

    *number = 0;
    for (; n < 3 && text[n] >= '0' && text[n] <= '9'; n++)
        *number = 10 * *number + (text[n] - '0');
    return n == 0 || (n > 1 && text[0] == '0') ? NULL : text + n;
}

typedef struct shape {
    int exponent, mantissa, bias;
} shape;

/* False if the name does not look like eXmY or eXmYbB. */
static bool read_name(const char *name, shape *s)
{
    const char *at = name;

    if (!at || *at != 'e' || !(at = read_number(at + 1, &s->exponent)) || *at != 'm' ||
        !(at = read_number(at + 1, &s->mantissa)))
        return false;
    s->bias = s->exponent >= 1 && s->exponent <= 8 ? (1 << (s->exponent - 1)) - 1 : 0;
    if (*at == 'b' && !(at = read_number(at + 1, &s->bias)))
        return false;
    return *at == 0;
}

/* Every value must be an f32: 2^-149 or more, below 2^128. With 8 bits of exponent and a bias of
 * 127 the top exponent would be that of 2^128; there it is what it is in f32, Inf and NaN. */
static nyb_status check(const char *name, const shape *s, nyb_error *err)
{
    const int least = s->exponent == 8 ? 127 : 0, most = 150 - s->mantissa;

    if (s->exponent < 1 || s->exponent > 8 || s->mantissa > 23)
        return nyb_fail(err, NYB_INVALID,
                        "format '%s': generic formats are " NYB_FORMAT_GENERIC_SYNTAX, name);
    if (s->bias < least || s->bias > most)
        return nyb_fail(err, NYB_INVALID,
                        "format '%s': with a bias of %d its values are not those of f32; %d..%d is "
                        "possible",
                        name, s->bias, least, most);
    return NYB_OK;
}

#define LEAST_UNIT 0x1p-60f /* so that no product of scales is a subnormal number for it */

/* Codes of at most 8 bits whose values are whole multiples, up to 127, of the least: operands of
 * the s8 engine. */
static void find_units(node *n, const shape *s)
{
    nyb_format *f = &n->format;
    const float unit = ldexpf(1.0f, 1 - s->bias - s->mantissa);

    if (f->bits > 8 || unit < LEAST_UNIT || f->max / unit > 127.0f)
        return;
    for (unsigned code = 0; code < 1u << f->bits; code++) /* bits of no code are not read */
        n->units[code] = (int8_t)(nyb_format_decode(f, code % f->n_codes) / unit);
    f->unit = unit;
    f->max_unit = (int16_t)(f->max / unit);
    f->units = n->units;
}

static node *create(const char *name, const shape *s)
{
    const int bits = 1 + s->exponent + s->mantissa;
    node *n = nyb_alloc(sizeof *n);
    nyb_format *f;

    if (!n)
        return NULL;
    f = &n->format;
    snprintf(n->name, sizeof n->name, "%s", name);
    snprintf(n->about, sizeof n->about,
             "generic: %d exponent bits, %d mantissa bits, bias %d; subnormals, saturating",
             s->exponent, s->mantissa, s->bias);
    *f = (nyb_format){
        .name = n->name,
        .about = n->about,
        .grid = NYB_GRID_FLOAT,
        .bits = bits <= 4    ? 4
                : bits <= 8  ? 8
                : bits <= 16 ? 16
                             : 32,
        .n_codes = bits < 32 ? 1u << bits : 0,
        .is_signed = true,
        .unit = 1.0f,
        .fp = {.exp_bits = (uint8_t)s->exponent,
               .man_bits = (uint8_t)s->mantissa,
               .bias = (int16_t)s->bias,
               .subnormals = true,
               .special = s->exponent == 8 && s->bias == 127 ? NYB_SPECIAL_IEEE : NYB_SPECIAL_NONE},
    };
    f->max = nyb_format_decode(f, nyb_format_encode(f, 0x1.fffffep127f, NYB_ROUND_NEAREST, 0, 1));
    find_units(n, s);
    return n;
}

static const node *find(const node *from, const node *end, const char *name)
{
    for (; from != end; from = from->next)
        if (strcmp(from->name, name) == 0)
            return from;
    return NULL;
}

nyb_status nyb_format_generic(const char *name, const nyb_format **format, nyb_error *err)
{
    node *first = atomic_load(&made), *mine;
    const node *known;
    shape s;

    *format = NULL;
    if (!read_name(name, &s))
        return nyb_fail(err, NYB_UNKNOWN, "'%.60s' is no generic format", name ? name : "(null)");
    NYB_TRY(check(name, &s, err));
    known = find(first, NULL, name);
    if (!known) {
        mine = create(name, &s);
        if (!mine)
            return nyb_fail(err, NYB_MEMORY, "no memory for format '%s'", name);
        mine->next = first;
        while (!known && !atomic_compare_exchange_weak(&made, &mine->next, mine)) {
            known = find(mine->next, first, name); /* what others have put in front */
            first = mine->next;
        }
        if (known)
            nyb_free(mine);
        else
            known = mine;
    }
    *format = &known->format;
    return NYB_OK;
}
