/* Accumulators as words: which exist, how they are written. */
#include "gemm/accumulate.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* Integers that only sums have: no operand is that wide. In f32 they are exact below 2^24. */
static const nyb_format wide[] = {
    {.name = "int12",
     .about = "12-bit integer sums, -2047..2047",
     .grid = NYB_GRID_INT,
     .bits = 16,
     .is_signed = true,
     .lo = -2047,
     .hi = 2047,
     .unit = 1,
     .max = 2047},
    {.name = "int16",
     .about = "16-bit integer sums, -32767..32767",
     .grid = NYB_GRID_INT,
     .bits = 16,
     .is_signed = true,
     .lo = -32767,
     .hi = 32767,
     .unit = 1,
     .max = 32767},
};

nyb_status nyb_accum_check(const nyb_accum *accum, nyb_error *err)
{
    const nyb_format *f = accum->format;

    if (accum->chunk < 0)
        return nyb_fail(err, NYB_INVALID, "a chunk of %d products; 1 or more, 0 for all",
                        accum->chunk);
    if (nyb_accum_is_exact(accum))
        return accum->chunk == 0
                   ? NYB_OK
                   : nyb_fail(err, NYB_INVALID,
                              "f32 means the engine's own sum, which has no chunks of %d",
                              accum->chunk);
    if (accum->rounding != NYB_ROUND_NEAREST)
        return nyb_fail(err, NYB_INVALID,
                        "an accumulator rounds to nearest: products have no random bits");
    if (f->grid == NYB_GRID_INT && f->is_signed)
        return NYB_OK;
    if (f->grid != NYB_GRID_FLOAT)
        return nyb_fail(err, NYB_INVALID,
                        "format '%s' cannot accumulate; floating formats (fp16, e6m9) and signed "
                        "integers (int8, int16) can",
                        f->name);
    if (f->fp.man_bits > 22 || (f->fp.ties_away && f->fp.subnormals))
        return nyb_fail(err, NYB_INVALID,
                        "format '%s' cannot accumulate: at most 22 mantissa bits, and no ties away "
                        "from zero beside subnormals",
                        f->name);
    return NYB_OK;
}

static nyb_status parse_format(const char *word, nyb_accum *accum, nyb_error *err)
{
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) {
        if (strcmp(wide[i].name, word) == 0) {
            accum->format = &wide[i];
            return NYB_OK;
        }
    }
    return nyb_format_parse(word, &accum->format, err);
}

static nyb_status parse_rounding(const char *word, nyb_accum *accum, nyb_error *err)
{
#define X(constant, name, sentence)                                                                \
    if (strcmp(word, name) == 0) {                                                                 \
        accum->rounding = constant;                                                                \
        return NYB_OK;                                                                             \
    }
    NYB_ROUNDING_LIST(X)
#undef X
    return nyb_fail(err, NYB_UNKNOWN, "no rounding is named '%s'; an accumulator rounds 'nearest'",
                    word);
}

static nyb_status parse_chunk(const char *word, nyb_accum *accum, nyb_error *err)
{
    char *end;
    const long chunk = strtol(word, &end, 10);

    if (*word < '0' || *word > '9' || *end || chunk < 1 || chunk > INT_MAX)
        return nyb_fail(err, NYB_INVALID, "'%s' is not a chunk length: 1 .. %d", word, INT_MAX);
    accum->chunk = (int)chunk;
    return NYB_OK;
}

nyb_status nyb_accum_parse(const char *text, nyb_accum *accum, nyb_error *err)
{
    nyb_accum result = {.rounding = NYB_ROUND_NEAREST};
    char words[96];
    char *rest = words;

    if (!text || strlen(text) >= sizeof words)
        return nyb_fail(err, NYB_INVALID, "'%.20s...' is not an accumulator", text ? text : "NULL");
    memcpy(words, text, strlen(text) + 1);
    NYB_TRY(parse_format(strsep(&rest, "/"), &result, err));
    char *word = strsep(&rest, "/");
    if (word && *word >= '0' && *word <= '9') {
        NYB_TRY(parse_chunk(word, &result, err));
        word = strsep(&rest, "/");
    }
    if (word)
        NYB_TRY(parse_rounding(word, &result, err));
    if (rest)
        return nyb_fail(err, NYB_INVALID, "'%s' has more than format/chunk/rounding", text);
    NYB_TRY(nyb_accum_check(&result, err));
    *accum = result;
    return NYB_OK;
}

int nyb_accum_print(const nyb_accum *accum, char *text, size_t n_bytes)
{
    const char *name = accum->format ? accum->format->name : "f32";

    return accum->chunk ? snprintf(text, n_bytes, "%s/%d", name, accum->chunk)
                        : snprintf(text, n_bytes, "%s", name);
}
