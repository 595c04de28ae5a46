/* Recipes: a published low-precision training system as one table. */
#ifndef NYBBLE_RECIPE_H
#define NYBBLE_RECIPE_H

#include <nybble/quant.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A recipe the caller owns and may change by key; the built-in ones are templates. */
typedef struct nyb_recipe nyb_recipe;

NYB_API size_t nyb_recipe_count(void);
NYB_API const char *nyb_recipe_name_at(size_t i);

/* A copy of a built-in recipe (NYB_UNKNOWN lists the names), or of a text file of `key = value`
 * lines if name_or_file contains a '/' or '.' ("base = luq" names the recipe it starts from;
 * unknown keys are errors; # begins a comment). */
NYB_API NYB_MUST_CHECK nyb_status nyb_recipe_create(const char *name_or_file, nyb_recipe **recipe,
                                                    nyb_error *err);
NYB_API void nyb_recipe_destroy(nyb_recipe **recipe);

/* key as `nybble recipe show` prints it ("wgrad.dy.samples"); an operand's key alone takes a whole
 * spec ("dgrad.dy" = "int4/absmax/tensor/stochastic"). The recipe is unchanged on failure. */
NYB_API NYB_MUST_CHECK nyb_status nyb_recipe_set(nyb_recipe *recipe, const char *key,
                                                 const char *value, nyb_error *err);

NYB_API const char *nyb_recipe_name(const nyb_recipe *recipe);
NYB_API const char *nyb_recipe_about(const nyb_recipe *recipe);
NYB_API const char *nyb_recipe_source(const nyb_recipe *recipe);  /* citation */
NYB_API const char *nyb_recipe_differs(const nyb_recipe *recipe); /* how ours departs from it */

/* The field table: every key with its value as text. i < nyb_recipe_field_count(). value is
 * written into text; returns what snprintf would. */
NYB_API size_t nyb_recipe_field_count(void);
NYB_API const char *nyb_recipe_field_key(size_t i);
NYB_API const char *nyb_recipe_field_help(size_t i);
NYB_API int nyb_recipe_field_print(const nyb_recipe *recipe, size_t i, char *text, size_t n_bytes);

#ifdef __cplusplus
}
#endif
#endif
