#include <limits.h>
#include <stdio.h>

#include "recipe/recipe.h"

#define LINE_MAX_BYTES 1200 /* above the longest field, `differs`, and its key */
#define FIELDS_MAX     256  /* above nyb_recipe_field_count() */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Cuts blanks at both ends, in place. */
static char *trim(char *text)
{
    while (is_blank(*text))
        text++;
    size_t n = strlen(text);
    while (n > 0 && is_blank(text[n - 1]))
        text[--n] = 0;
    return text;
}

/* A comment begins with # at the start of a line or after a blank. */
static void cut_comment(char *line)
{
    for (char *c = line; *c; c++)
        if (*c == '#' && (c == line || is_blank(c[-1]))) {
            *c = 0;
            return;
        }
}

/* Prefixes the sentence of a failure with file and line; without folders, as files nest. */
static nyb_status fail_at(const char *where, int line, nyb_status status, nyb_error *err)
{
    if (err) {
        nyb_error inner = *err;
        const char *slash = strrchr(where, '/');
        nyb_fail(err, status, "%.40s:%d: %s", slash ? slash + 1 : where, line, inner.text);
    }
    return status;
}

/* A key that is there twice, or undoes what an earlier line said, is a mistake. lines: where each
 * key was, 0 if nowhere. */
static nyb_status check_once(const char *key, int number, int *lines, nyb_error *err)
{
    const size_t field = nyb_recipe_field_find(key);
    if (field >= FIELDS_MAX || field == nyb_recipe_field_count())
        return NYB_OK; /* setting it fails */
    for (size_t i = 0; i < nyb_recipe_field_count(); i++)
        if (lines[i] && nyb_recipe_field_undoes(field, i))
            return nyb_fail(err, NYB_CORRUPT, "%s %s %s of line %d", key,
                            i == field ? "is there a second time, after" : "undoes",
                            i == field ? "that" : nyb_recipe_field_key(i), lines[i]);
    lines[field] = number;
    return NYB_OK;
}

/* A file's path is as seen from the folder of the file that names it. */
static nyb_status find_base(const char *where, const char *base, char path[PATH_MAX],
                            nyb_error *err)
{
    const char *slash = strrchr(where, '/');
    const bool is_relative = strpbrk(base, "./") && base[0] != '/' && slash;
    const int n = is_relative
                      ? snprintf(path, PATH_MAX, "%.*s/%s", (int)(slash - where), where, base)
                      : snprintf(path, PATH_MAX, "%s", base);
    if (n < 0 || n >= PATH_MAX)
        return nyb_fail(err, NYB_LIMIT, "base = %.200s: its path is too long", base);
    return NYB_OK;
}

/* A file that starts from a recipe is not that recipe: unless it has texts of its own, they say so.
 * The name that its path gave it survives. */
static nyb_status start_from(nyb_recipe *recipe, const char *where, const char *base,
                             nyb_recipe_base_fn *set_base, int depth, nyb_error *err)
{
    char path[PATH_MAX];
    char name[sizeof recipe->name], besides[sizeof recipe->name + 40];
    memcpy(name, recipe->name, sizeof name);
    NYB_TRY(find_base(where, base, path, err));
    NYB_TRY(set_base(recipe, path, depth + 1, err));
    memcpy(recipe->name, name, sizeof name);
    snprintf(recipe->about, sizeof recipe->about, "%.60s, with the keys of %.60s", base, name);
    const size_t n =
        (size_t)snprintf(besides, sizeof besides, "by the keys of %s; besides, ", name);
    const size_t n_differs = strlen(recipe->differs);
    if (n_differs > 0 && n + n_differs < sizeof recipe->differs) {
        memmove(recipe->differs + n, recipe->differs, n_differs + 1);
        memcpy(recipe->differs, besides, n);
    }
    return NYB_OK;
}

/* One line without its end. *first: nothing has been set yet. */
static nyb_status apply_line(nyb_recipe *recipe, const char *where, char *line,
                             nyb_recipe_base_fn *set_base, int depth, bool *first, int number,
                             int *lines, nyb_error *err)
{
    cut_comment(line);
    char *key = trim(line);
    if (*key == 0)
        return NYB_OK;
    char *equals = strchr(key, '=');
    if (!equals)
        return nyb_fail(err, NYB_CORRUPT, "'%.80s' is not of the form key = value", key);
    *equals = 0;
    char *value = trim(equals + 1);
    key = trim(key);
    bool was_first = *first;
    *first = false;
    if (strcmp(key, "base") != 0 || !set_base) {
        NYB_TRY(check_once(key, number, lines, err));
        return nyb_recipe_set_field(recipe, key, value, err);
    }
    if (!was_first)
        return nyb_fail(err, NYB_CORRUPT, "base must stand before every other key");
    return start_from(recipe, where, value, set_base, depth, err);
}

nyb_status nyb_recipe_apply_text(nyb_recipe *recipe, const char *where, const char *text,
                                 nyb_recipe_base_fn *set_base, int depth, nyb_error *err)
{
    static const char mark[] = "\xef\xbb\xbf"; /* with which some editors begin UTF-8 */
    bool first = true;
    int lines[FIELDS_MAX] = {0};
    if (strncmp(text, mark, 3) == 0)
        text += 3;
    for (int number = 1; *text; number++) {
        char line[LINE_MAX_BYTES];
        size_t length = strcspn(text, "\n");
        nyb_status status;
        if (length >= sizeof line) {
            status = nyb_fail(err, NYB_CORRUPT, "a line of %zu bytes is longer than %zu", length,
                              sizeof line - 1);
        } else {
            memcpy(line, text, length);
            line[length] = 0;
            status = apply_line(recipe, where, line, set_base, depth, &first, number, lines, err);
        }
        if (status != NYB_OK)
            return fail_at(where, number, status, err);
        text += length + (text[length] == '\n');
    }
    return NYB_OK;
}
