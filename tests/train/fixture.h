/* Small runs for the tests: a built-in model, a recipe, synthetic data. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <stdbool.h>

#include <nybble/nybble.h>

#include "../slow.h"

typedef struct fixture {
    nyb_context *context;
    nyb_model *model;
    nyb_recipe *recipe;
    nyb_data *data;
    nyb_train_options options;
    nyb_train *train;
} fixture;

/* Samples of the part that is evaluated. */
enum { FIXTURE_TEST = 64 / TEST_EVERY(4) };

/* Pairs "key=value" as fixture_init takes them. */
#define SETS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Everything but the train object; data is 28x28x1 synthetic with n_train samples. cmocka
 * assertions inside. sets: "key=value" pairs for the recipe, NULL-terminated, or NULL. */
void fixture_init(fixture *f, const char *cpu, size_t threads, const char *model,
                  const char *recipe, const char *const *sets, int batch, size_t n_train);
void fixture_start(fixture *f); /* creates f->train */
void fixture_free(fixture *f);
/* Whether this machine and build have a cpu level. */
bool fixture_has(const char *cpu);
/* Whether "auto" is that level: long tests need not run it twice. */
bool fixture_is_best(const char *cpu);
/* A run of all steps without a folder; writes the weights' hash. */
void fixture_hash(fixture *f, char hex[65]);
/* Of 16 samples in batches of 8, with two threads. */
void fixture_hash_of(const char *model, const char *recipe, const char *const *sets, char hex[65]);

/* One step of 10 classes that are easy to tell, with the rate of a much longer run; the loss. */
double fixture_easy_step(fixture *f, int step);

/* The loss of an evaluation, which must succeed. */
double fixture_eval(nyb_train *train);

/* A folder for runs: group setup and teardown of cmocka. */
extern char fixture_folder[64];
int fixture_make_folder(void **state);
int fixture_remove_folder(void **state);

#endif
