/* Recipes: a published low-precision training system as one table. */
#ifndef NYBBLE_RECIPE_H
#define NYBBLE_RECIPE_H

#include <nybble/quant.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A recipe the caller owns and may change by key; the built-in ones are templates. */
typedef struct nyb_recipe nyb_recipe;

/* The built-in recipes; NULL for i >= nyb_recipe_count(). */
NYB_API size_t nyb_recipe_count(void);
NYB_API const char *nyb_recipe_name_at(size_t i);
NYB_API const char *nyb_recipe_about_at(size_t i);

/* A copy of a built-in recipe (NYB_UNKNOWN lists the names), or of a text file of `key = value`
 * lines if name_or_file contains a '/' or '.' ("base = luq", on the first line, names the recipe or
 * file it starts from, else f32; unknown keys are errors; # begins a comment). Errors in a file
 * name its line. Names, that of a file too, are UTF-8, else NYB_INVALID. On failure *recipe is
 * NULL. */
NYB_API NYB_MUST_CHECK nyb_status nyb_recipe_create(const char *name_or_file, nyb_recipe **recipe,
                                                    nyb_error *err);
NYB_API void nyb_recipe_destroy(nyb_recipe **recipe);

/* key as `nybble recipe show` prints it ("wgrad.dy.samples"); an operand's key alone takes a whole
 * spec ("dgrad.dy" = "int4/absmax/tensor/stochastic"). The name of the recipe records the change
 * ("luq+wgrad.dy.samples=2"; of one key the last), unless key is one of name, about, source,
 * differs. NYB_UNKNOWN for keys and words that do not exist, NYB_INVALID for numbers out of their
 * range and for operands that cannot exist (two operands that do not go together are found when a
 * model is compiled). The recipe is unchanged on failure. */
NYB_API NYB_MUST_CHECK nyb_status nyb_recipe_set(nyb_recipe *recipe, const char *key,
                                                 const char *value, nyb_error *err);

NYB_API const char *nyb_recipe_name(const nyb_recipe *recipe);
NYB_API const char *nyb_recipe_about(const nyb_recipe *recipe);
NYB_API const char *nyb_recipe_source(const nyb_recipe *recipe);  /* citation */
NYB_API const char *nyb_recipe_differs(const nyb_recipe *recipe); /* how ours departs from it */

/* The field table: every key with its value as text; NULL and -1 for i >= nyb_recipe_field_count().
 * value is written into text; returns what snprintf would. Text that is empty means: does not apply
 * (the scale of an operand that is not quantized), and cannot be set back. */
NYB_API size_t nyb_recipe_field_count(void);
NYB_API const char *nyb_recipe_field_key(size_t i);
NYB_API const char *nyb_recipe_field_help(size_t i);
/* What a value may be: "f32, recipe or int8", "1 .. 16"; written as above. */
NYB_API int nyb_recipe_field_range(size_t i, char *text, size_t n_bytes);
/* 1 if the key only repeats a part of another's value ("fwd.x.scale" of "fwd.x"): a file that
 * stores a recipe leaves these out. */
NYB_API int nyb_recipe_field_is_part(size_t i);
NYB_API int nyb_recipe_field_print(const nyb_recipe *recipe, size_t i, char *text, size_t n_bytes);
/* The value of one key, as above; -1 if there is no such key. */
NYB_API int nyb_recipe_print(const nyb_recipe *recipe, const char *key, char *text, size_t n_bytes);

#ifdef __cplusplus
}
#endif
#endif
