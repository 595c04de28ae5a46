/* Specs: one quantized operand as four words, and what can be combined. */
#include "quant/quant.h"

#include <stdio.h>

#define WORDS      5
#define WORD_BYTES 64

static const char *rounding_word(nyb_rounding rounding)
{
    switch (rounding) {
#define X(constant, word, sentence)                                                                \
    case constant:                                                                                 \
        return word;
        NYB_ROUNDING_LIST(X)
#undef X
    }
    return "?";
}

static const char *group_word(nyb_group group)
{
    switch (group) {
#define X(constant, word, length, sentence)                                                        \
    case constant:                                                                                 \
        return word;
        NYB_GROUP_LIST(X)
#undef X
    }
    return "?";
}

/* A format with f32's range: clip / max would be subnormal, that is 0. */
static bool has_no_scale(const nyb_format *format)
{
    return format->max >= 0x1p126f;
}

/* What a format's spec says where the text is silent. Floats of more than 8 bits are a cast. */
static nyb_spec defaults(const nyb_format *format)
{
    const bool casts = (format->grid == NYB_GRID_FLOAT && format->bits > 8) || has_no_scale(format);

    return (nyb_spec){
        .format = format,
        .scale = casts ? &nyb_scale_unit : nyb_scale_rules[0],
        .group = NYB_GROUP_TENSOR,
        .rounding = format->grid == NYB_GRID_LOG2 ? NYB_ROUND_STOCHASTIC : NYB_ROUND_NEAREST,
        .sr_bits = 16,
    };
}

static nyb_status parse_scale(const char *word, nyb_spec *spec, nyb_error *err)
{
    char names[512] = "";
    size_t used = 0;

    spec->scale = nyb_scale_rule_find(word);
    if (spec->scale)
        return NYB_OK;
    for (const nyb_scale_rule *const *r = nyb_scale_rules; *r && used < sizeof names; r++)
        used += (size_t)snprintf(names + used, sizeof names - used, " %s", (*r)->name);
    return nyb_fail(err, NYB_UNKNOWN, "no scale rule is named '%s'; there are:%s", word, names);
}

static nyb_status parse_group(const char *word, nyb_spec *spec, nyb_error *err)
{
#define X(constant, name, length, sentence)                                                        \
    if (strcmp(word, name) == 0) {                                                                 \
        spec->group = constant;                                                                    \
        return NYB_OK;                                                                             \
    }
    NYB_GROUP_LIST(X)
#undef X
#define X(constant, name, length, sentence) " " name
    return nyb_fail(err, NYB_UNKNOWN, "no group is named '%s'; there are:" NYB_GROUP_LIST(X), word);
#undef X
}

const char *nyb_mix_word(nyb_mix mix)
{
    switch (mix) {
#define X(constant, word, length, sentence)                                                        \
    case constant:                                                                                 \
        return word;
        NYB_MIX_LIST(X)
#undef X
    }
    return "?";
}

static nyb_status parse_mix(const char *word, nyb_spec *spec, nyb_error *err)
{
#define X(constant, name, length, sentence)                                                        \
    if (strcmp(word, name) == 0) {                                                                 \
        spec->mix = constant;                                                                      \
        return NYB_OK;                                                                             \
    }
    NYB_MIX_LIST(X)
#undef X
#define X(constant, name, length, sentence) " " name
    return nyb_fail(err, NYB_UNKNOWN, "no mix is named '%s'; there are:" NYB_MIX_LIST(X), word);
#undef X
}

static nyb_status find_rounding(const char *word, nyb_spec *spec, nyb_error *err)
{
#define X(constant, name, sentence)                                                                \
    if (strcmp(word, name) == 0) {                                                                 \
        spec->rounding = constant;                                                                 \
        return NYB_OK;                                                                             \
    }
    NYB_ROUNDING_LIST(X)
#undef X
#define X(constant, name, sentence) " " name
    return nyb_fail(err, NYB_UNKNOWN, "no rounding is named '%s'; there are:" NYB_ROUNDING_LIST(X),
                    word);
#undef X
}

static nyb_status parse_rounding(const char *text, nyb_spec *spec, nyb_error *err)
{
    char word[WORD_BYTES];
    char *colon;

    snprintf(word, sizeof word, "%s", text);
    colon = strchr(word, ':');
    if (colon) {
        *colon = '\0';
        if (strcmp(colon + 1, "16") != 0 && strcmp(colon + 1, "32") != 0)
            return nyb_fail(err, NYB_UNKNOWN, "rounding '%s': random bits are :16 or :32", text);
        spec->sr_bits = colon[1] == '1' ? 16 : 32;
    }
    NYB_TRY(find_rounding(word, spec, err));
    if (colon && !nyb_rounding_draws(spec->rounding))
        return nyb_fail(err, NYB_INVALID, "rounding '%s': '%s' draws no random bits", text, word);
    return NYB_OK;
}

nyb_status nyb_spec_parse(const char *text, nyb_spec *spec, nyb_error *err)
{
    nyb_status (*const parse[WORDS])(const char *, nyb_spec *, nyb_error *) = {
        NULL, parse_scale, parse_group, parse_rounding, parse_mix};
    const nyb_format *format;
    nyb_spec result = {0};

    NYB_TRY(nyb_check_pointers(text && spec, err));
    for (size_t i = 0; i < WORDS && text; i++) {
        const char *slash = strchr(text, '/');
        size_t n = slash ? (size_t)(slash - text) : strlen(text);
        char word[WORD_BYTES];

        if (n >= sizeof word || (slash && i == WORDS - 1))
            return nyb_fail(err, NYB_INVALID,
                            "a spec is format/scale/group/rounding/mix, not '...%.60s'", text);
        memcpy(word, text, n);
        word[n] = '\0';
        if (i == 0) {
            NYB_TRY(nyb_format_parse(word, &format, err));
            result = defaults(format);
        } else {
            NYB_TRY(parse[i](word, &result, err));
        }
        text = slash ? slash + 1 : NULL;
    }
    NYB_TRY(nyb_spec_check(&result, err));
    *spec = result;
    return NYB_OK;
}

int nyb_spec_print(const nyb_spec *spec, char *text, size_t n_bytes)
{
    if (spec->format->grid == NYB_GRID_REAL)
        return snprintf(text, n_bytes, "%s", spec->format->name);
    return snprintf(text, n_bytes, "%s/%s/%s/%s%s%s%s", spec->format->name, spec->scale->name,
                    group_word(spec->group), rounding_word(spec->rounding),
                    nyb_rounding_draws(spec->rounding) && spec->sr_bits == 32 ? ":32" : "",
                    spec->mix == NYB_MIX_NONE ? "" : "/",
                    spec->mix == NYB_MIX_NONE ? "" : nyb_mix_word(spec->mix));
}

static bool only_log2(nyb_rounding rounding)
{
    switch (rounding) {
    case NYB_ROUND_NEAREST:
    case NYB_ROUND_STOCHASTIC:
        return false;
    case NYB_ROUND_FLUSH:
    case NYB_ROUND_UNDERFLOW:
    case NYB_ROUND_FLUSH_STOCHASTIC:
        return true;
    }
    return true;
}

/* Names the formats that a rule is for. */
static nyb_status fail_fits(const nyb_spec *spec, nyb_error *err)
{
    char names[320] = "";
    size_t used = 0;

    for (size_t i = 0; i < nyb_format_count() && used < sizeof names; i++) {
        const nyb_format *f = nyb_format_at(i);

        if (f->grid != NYB_GRID_REAL && spec->scale->fits(f))
            used += (size_t)snprintf(names + used, sizeof names - used, " %s", f->name);
    }
    return nyb_fail(err, NYB_INVALID, "scale rule '%s' is not for format '%s', but for:%s",
                    spec->scale->name, spec->format->name, names);
}

/* Names the groups of which a rule can find scales. */
static nyb_status fail_groups(const nyb_spec *spec, nyb_error *err)
{
    char names[80] = "";
    size_t used = 0;

#define X(constant, word, length, sentence)                                                        \
    if (spec->scale->groups(constant) && used < sizeof names)                                      \
        used += (size_t)snprintf(names + used, sizeof names - used, " %s", word);
    NYB_GROUP_LIST(X)
#undef X
    return nyb_fail(err, NYB_INVALID, "scale rule '%s' has no scales for group '%s', but for:%s",
                    spec->scale->name, group_word(spec->group), names);
}

nyb_status nyb_spec_check(const nyb_spec *spec, nyb_error *err)
{
    const nyb_format *f = spec ? spec->format : NULL;

    if (!f)
        return nyb_fail(err, NYB_INVALID, "a spec without a format");
    if (f->grid == NYB_GRID_REAL)
        return NYB_OK;
    if (!spec->scale)
        return nyb_fail(err, NYB_INVALID, "a spec of format '%s' without a scale rule", f->name);
    if (spec->scale->fits && !spec->scale->fits(f))
        return fail_fits(spec, err);
    if (strcmp(group_word(spec->group), "?") == 0)
        return nyb_fail(err, NYB_INVALID, "group %d does not exist", (int)spec->group);
    if (spec->scale != &nyb_scale_unit && has_no_scale(f))
        return nyb_fail(err, NYB_INVALID,
                        "format '%s' reaches as far as f32 does, so that a scale would be "
                        "subnormal: its rule is 'unit', not '%s'",
                        f->name, spec->scale->name);
    if (spec->scale->search && spec->group == NYB_GROUP_CHANNEL)
        return nyb_fail(err, NYB_INVALID,
                        "scale rule '%s' searches contiguous elements; an output channel of "
                        "weights is group 'row'",
                        spec->scale->name);
    if (f->multiples &&
        (spec->group != NYB_GROUP_TENSOR || spec->mix != NYB_MIX_NONE || !spec->scale->choose))
        return nyb_fail(err, NYB_INVALID,
                        "format '%s' has factors of its own for each 16 codes: scale rules of one "
                        "clip, group 'tensor', no mix",
                        f->name);
    if (strcmp(nyb_mix_word(spec->mix), "?") == 0)
        return nyb_fail(err, NYB_INVALID, "mix %d does not exist", (int)spec->mix);
    if (spec->group != NYB_GROUP_TENSOR && !spec->scale->groups)
        return nyb_fail(err, NYB_INVALID,
                        "scale rule '%s' has one scale per tensor; group '%s' needs another rule",
                        spec->scale->name, group_word(spec->group));
    if (spec->scale->groups && !spec->scale->groups(spec->group))
        return fail_groups(spec, err);
    if (spec->mix == NYB_MIX_HOUSEHOLDER &&
        (spec->scale != &nyb_scale_psq || spec->group != NYB_GROUP_ROW))
        return nyb_fail(
            err, NYB_INVALID,
            "mix '%s' is of samples, scaled one by one: it goes with psq/row, not %s/%s",
            nyb_mix_word(spec->mix), spec->scale->name, group_word(spec->group));
    if (strcmp(rounding_word(spec->rounding), "?") == 0)
        return nyb_fail(err, NYB_INVALID, "rounding %d does not exist", (int)spec->rounding);
    if (only_log2(spec->rounding) && f->grid != NYB_GRID_LOG2)
        return nyb_fail(err, NYB_INVALID,
                        "rounding '%s' is for powers of two; format '%s' has another grid",
                        rounding_word(spec->rounding), f->name);
    if (nyb_rounding_draws(spec->rounding) && f->grid == NYB_GRID_INT && f->is_signed &&
        f->lo != -f->hi)
        return nyb_fail(err, NYB_INVALID,
                        "rounding '%s' works on magnitudes; format '%s' is not symmetric",
                        rounding_word(spec->rounding), f->name);
    if (nyb_rounding_draws(spec->rounding) && spec->sr_bits != 16 && spec->sr_bits != 32)
        return nyb_fail(err, NYB_INVALID, "random bits must be 16 or 32, not %d", spec->sr_bits);
    return NYB_OK;
}

nyb_status nyb_spec_check_tensor(const nyb_spec *spec, nyb_error *err)
{
    if (spec->format->grid == NYB_GRID_REAL)
        return NYB_OK;
    if (spec->group != NYB_GROUP_TENSOR || spec->mix != NYB_MIX_NONE)
        return nyb_fail(err, NYB_INVALID,
                        "codes of one scale are packed here: group 'tensor' and mix 'none', not "
                        "'%s' and '%s'",
                        group_word(spec->group), nyb_mix_word(spec->mix));
    if (spec->scale->affine || spec->scale->level)
        return nyb_fail(err, NYB_INVALID, "scale rule '%s' is more than a scale for packed codes",
                        spec->scale->name);
    if (spec->format->bits > 8)
        return nyb_fail(err, NYB_INVALID,
                        "codes of format '%s' have %d bits; only those of at most 8 are packed",
                        spec->format->name, nyb_format_bits(spec->format));
    return NYB_OK;
}
