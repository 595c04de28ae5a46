/* Rules for single layers: `layers = PATTERN:WORD ...`. */
#include <fnmatch.h>
#include <stdlib.h>

#include "recipe/recipe.h"

bool nyb_layer_rule_next(const char **text, nyb_layer_rule *rule, nyb_error *err)
{
    const char *const from = *text + strspn(*text, " "), *colon = NULL;
    const size_t n = strcspn(from, " ");
    char word[16] = "";

    err->text[0] = 0;
    if (n == 0)
        return false;
    *text = from + n;
    for (const char *c = from; c < *text; c++)
        colon = *c == ':' ? c : colon;
    if (colon && (size_t)(*text - colon) <= sizeof word)
        memcpy(word, colon + 1, (size_t)(*text - colon) - 1);
    if (!colon || colon == from || (size_t)(colon - from) >= sizeof rule->pattern ||
        !nyb_edge_find(word, &rule->edge)) {
        nyb_fail(err, NYB_INVALID,
                 "layers: '%.*s' is not PATTERN:WORD, as layer4.*:bf16 or last2:f32, with a WORD "
                 "of edges",
                 (int)nyb_min(n, 80), from);
        return false;
    }
    *rule = (nyb_layer_rule){.edge = rule->edge};
    memcpy(rule->pattern, from, (size_t)(colon - from));
    return true;
}

nyb_status nyb_layer_rules_check(const char *text, nyb_error *err)
{
    nyb_layer_rule rule;
    nyb_error inner;

    while (nyb_layer_rule_next(&text, &rule, &inner))
        ;
    return *inner.text ? nyb_fail(err, NYB_INVALID, "%s", inner.text) : NYB_OK;
}

/* "first2", "last13%": how many of n; false: it is no such word. */
static bool counts(const char *pattern, const char *word, size_t n, size_t *count)
{
    const size_t length = strlen(word);
    unsigned long number;
    char *end;

    if (strncmp(pattern, word, length) != 0 || pattern[length] < '0' || pattern[length] > '9')
        return false;
    number = nyb_min(strtoul(pattern + length, &end, 10), 100000ul);
    *count = *end == '%' ? (n * number + 50) / 100 : number;
    return *end == 0 || strcmp(end, "%") == 0;
}

bool nyb_layer_rule_fits(const nyb_layer_rule *rule, const char *name, size_t index, size_t n)
{
    size_t count;

    if (counts(rule->pattern, "first", n, &count))
        return index < count;
    if (counts(rule->pattern, "last", n, &count))
        return index + count >= n;
    return fnmatch(rule->pattern, name, 0) == 0;
}
