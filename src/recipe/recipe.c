#include <stdio.h>

#include "recipe/recipe.h"

#include "io/io.h"
#include "registry.h"

#define X(name) extern const nyb_recipe_record nyb_recipe_##name;
NYB_RECIPE_LIST(X)
#undef X

const nyb_recipe_record *const nyb_recipe_records[] = {
#define X(name) &nyb_recipe_##name,
    NYB_RECIPE_LIST(X)
#undef X
        NULL};

#define FILE_MAX_BYTES (1u << 20)
#define DEPTH_MAX      8 /* of `base`; more is a cycle */

size_t nyb_recipe_count(void)
{
    return sizeof nyb_recipe_records / sizeof nyb_recipe_records[0] - 1;
}

const char *nyb_recipe_name_at(size_t i)
{
    return i < nyb_recipe_count() ? nyb_recipe_records[i]->name : NULL;
}

const char *nyb_recipe_about_at(size_t i)
{
    return i < nyb_recipe_count() ? nyb_recipe_records[i]->about : NULL;
}

static const nyb_recipe_record *find_record(const char *name)
{
    for (const nyb_recipe_record *const *r = nyb_recipe_records; *r; r++)
        if (strcmp((*r)->name, name) == 0)
            return *r;
    return NULL;
}

/* The names that begin as this one does, in the order of the list; if there are none, families by
 * their first names: all of them would fill a screen. */
static nyb_status fail_unknown(const char *name, nyb_error *err)
{
    static const char families[] = "f32, nybble, luq, bf16, fp16, int8, fp8_ocp, ultralow, mxfp4, "
                                   "nvfp4, statquant_psq, pact_sawb, lsq, and others";
    char names[300] = "";
    size_t used = 0;
    for (const nyb_recipe_record *const *r = nyb_recipe_records; *name && *r; r++) {
        if (strncmp((*r)->name, name, nyb_min(strlen(name), 2)) != 0 ||
            used + strlen((*r)->name) + 3 > sizeof names)
            continue;
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "",
                                 (*r)->name);
    }
    return nyb_fail(err, NYB_UNKNOWN, "no recipe is called '%.60s'; there are %s%s", name,
                    used ? "(close to it) " : "", used ? names : families);
}

static nyb_status load(nyb_recipe *recipe, const char *name_or_file, int depth, nyb_error *err);

static nyb_status load_record(nyb_recipe *recipe, const nyb_recipe_record *record, int depth,
                              nyb_error *err)
{
    if (record->base)
        NYB_TRY(load(recipe, record->base, depth + 1, err));
    NYB_TRY(nyb_recipe_set_field(recipe, "name", record->name, err));
    NYB_TRY(nyb_recipe_set_field(recipe, "about", record->about, err));
    if (record->source)
        NYB_TRY(nyb_recipe_set_field(recipe, "source", record->source, err));
    if (record->differs)
        NYB_TRY(nyb_recipe_set_field(recipe, "differs", record->differs, err));
    return nyb_recipe_apply_text(recipe, record->name, record->fields, NULL, depth, err);
}

/* Of the first n bytes of text, those of whole characters. */
static size_t whole_characters(const char *text, size_t n)
{
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    return n;
}

/* A file that does not name itself is called as its file is, without folder, and without ending
 * unless a built-in recipe is called so. */
static nyb_status name_after_file(nyb_recipe *recipe, const char *path, nyb_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *file = slash ? slash + 1 : path;
    char name[101];
    size_t n = whole_characters(file, nyb_min(strcspn(file, "."), 100));
    snprintf(name, sizeof name, "%.*s", (int)n, file);
    if (!*name || find_record(name)) {
        n = whole_characters(file, nyb_min(strlen(file), 100));
        snprintf(name, sizeof name, "%.*s", (int)n, file);
    }
    if (!nyb_text_is_utf8(name))
        return nyb_fail(err, NYB_INVALID,
                        "%.200s: a recipe is called as its file is, whose name is not UTF-8", path);
    return nyb_recipe_set_field(recipe, "name", name, err);
}

static nyb_status load_file(nyb_recipe *recipe, const char *path, int depth, nyb_error *err)
{
    uint8_t *bytes;
    size_t n_bytes;
    NYB_TRY(nyb_file_read(path, FILE_MAX_BYTES, &bytes, &n_bytes, err));
    nyb_status status;
    if (memchr(bytes, 0, n_bytes))
        status = nyb_fail(err, NYB_CORRUPT, "%.200s: not a recipe: it contains a zero byte", path);
    else
        status = nyb_recipe_apply_text(recipe, path, (const char *)bytes, load, depth, err);
    nyb_free(bytes);
    return status;
}

static nyb_status load(nyb_recipe *recipe, const char *name_or_file, int depth, nyb_error *err)
{
    if (depth > DEPTH_MAX)
        return nyb_fail(err, NYB_INVALID, "'%.200s': recipes start from each other in a circle",
                        name_or_file);
    const nyb_recipe_record *record = find_record(name_or_file);
    if (record)
        return load_record(recipe, record, depth, err);
    if (!strpbrk(name_or_file, "./"))
        return fail_unknown(name_or_file, err);
    NYB_TRY(name_after_file(recipe, name_or_file, err));
    return load_file(recipe, name_or_file, depth, err);
}

nyb_status nyb_recipe_create(const char *name_or_file, nyb_recipe **recipe, nyb_error *err)
{
    *recipe = NULL;
    NYB_TRY(nyb_check_pointers(name_or_file, err));
    nyb_recipe *r = nyb_alloc(sizeof *r);
    if (!r)
        return nyb_fail(err, NYB_MEMORY, "no memory for a recipe");
    nyb_status status = nyb_recipe_init(r, err);
    if (status == NYB_OK)
        status = load(r, name_or_file, 0, err);
    if (status == NYB_OK)
        status = nyb_recipe_check(r, err);
    if (status != NYB_OK) {
        nyb_free(r);
        return status;
    }
    *recipe = r;
    return NYB_OK;
}

void nyb_recipe_destroy(nyb_recipe **recipe)
{
    nyb_free(*recipe);
    *recipe = NULL;
}

static bool is_description(const char *key)
{
    return strcmp(key, "name") == 0 || strcmp(key, "about") == 0 || strcmp(key, "source") == 0 ||
           strcmp(key, "differs") == 0;
}

/* Where the next "+key=" begins, or the "+..." of a name that was cut; else the end. A value may
 * have a '+', as 1e+0 has. */
static char *next_change(char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz", digits[] = "0123456789";
    char of_keys[40];
    snprintf(of_keys, sizeof of_keys, "%s%s_.", letters, digits);
    for (char *plus = strchr(name, '+'); plus; plus = strchr(plus + 1, '+')) {
        const bool is_key = strspn(plus + 1, letters) > 0;
        if ((is_key && plus[1 + strspn(plus + 1, of_keys)] == '=') || strcmp(plus, "+...") == 0)
            return plus;
    }
    return name + strlen(name);
}

/* Takes "+key=value" out of a name. */
static void forget_change(char *name, const char *key)
{
    char change[80];
    snprintf(change, sizeof change, "+%s=", key);
    char *at = strstr(name, change);
    if (!at)
        return;
    const char *next = next_change(at + 1);
    memmove(at, next, strlen(next) + 1);
}

/* The name says what was changed: what this change undoes, it says no more. */
static void note_change(nyb_recipe *recipe, const char *key, const char *value)
{
    const size_t changed = nyb_recipe_field_find(key);
    for (size_t i = 0; i < nyb_recipe_field_count(); i++)
        if (nyb_recipe_field_undoes(changed, i))
            forget_change(recipe->name, nyb_recipe_field_key(i));
    size_t length = strlen(recipe->name);
    int n = snprintf(recipe->name + length, sizeof recipe->name - length, "+%s=%s", key, value);
    /* a name too long for its place says at least that it is not the whole truth */
    if (n < 0 || (size_t)n >= sizeof recipe->name - length)
        memcpy(recipe->name +
                   whole_characters(recipe->name, nyb_min(length, sizeof recipe->name - 5)),
               "+...", 5);
}

nyb_status nyb_recipe_set(nyb_recipe *recipe, const char *key, const char *value, nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(recipe && key && value, err));
    nyb_recipe changed = *recipe;
    NYB_TRY(nyb_recipe_set_field(&changed, key, value, err));
    NYB_TRY(nyb_recipe_check_rows(&changed, err));
    if (!is_description(key))
        note_change(&changed, key, value);
    *recipe = changed;
    return NYB_OK;
}

nyb_status nyb_recipe_sha256(const nyb_recipe *recipe, char hex[65], nyb_error *err)
{
    nyb_recipe plain;
    nyb_sha256 sha;
    NYB_TRY(nyb_recipe_init(&plain, err));
    nyb_sha256_begin(&sha);
    for (size_t i = 0; i < nyb_recipe_field_count(); i++) {
        const char *key = nyb_recipe_field_key(i);
        char value[256], usual[256], line[400];
        if (nyb_recipe_field_is_part(i) || is_description(key) || strcmp(key, "recompute") == 0)
            continue;
        nyb_recipe_field_print(recipe, i, value, sizeof value);
        nyb_recipe_field_print(&plain, i, usual, sizeof usual);
        if (strcmp(value, usual) == 0)
            continue;
        snprintf(line, sizeof line, "%s = %s\n", key, value);
        nyb_sha256_add(&sha, line, strlen(line));
    }
    nyb_sha256_end(&sha, hex);
    return NYB_OK;
}

const char *nyb_recipe_name(const nyb_recipe *recipe)
{
    return recipe->name;
}

const char *nyb_recipe_about(const nyb_recipe *recipe)
{
    return recipe->about;
}

const char *nyb_recipe_source(const nyb_recipe *recipe)
{
    return recipe->source;
}

const char *nyb_recipe_differs(const nyb_recipe *recipe)
{
    return recipe->differs;
}
