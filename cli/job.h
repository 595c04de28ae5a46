/* A job: the texts that name model, data and recipe, and the objects made of them. */
#ifndef CLI_JOB_H
#define CLI_JOB_H

#include "cli.h"
#include "models/models.h"

typedef struct cli_job {
    /* what was asked for; not owned, except what read_config points into config */
    const char *data_spec, *model_spec, *recipe_spec, *cpu;
    const char *own_data_spec; /* of config.txt; data_spec may be another */
    size_t threads;            /* 0: one per CPU */
    size_t limit_train, limit_test;
    nyb_train_options options;
    char *config; /* content of a config.txt, cut into lines */

    nyb_context *context;
    nyb_data *data; /* NULL: none */
    nyb_recipe *recipe;
    nyb_model *model;
    nyb_train *train;
} cli_job;

/* Each returns CLI_OK, or the exit status of a failure that it has reported. The order of the calls
 * is the order here; close works after any of them. */

/* options = the defaults, the model's, and those given on the command line. */
int cli_job_set_options(cli_job *job, const cli_args *args);
int cli_job_open_recipe(cli_job *job, const cli_list *sets);
/* Instead of the two above: DIR/config.txt gives data, model, recipe and options, except texts that
 * are set already. */
int cli_job_read_config(cli_job *job, const char *dir);
int cli_job_open_context(cli_job *job);
int cli_job_open_data(cli_job *job, cli_input *input);
/* Model and training run for inputs of this shape. */
int cli_job_build(cli_job *job, const cli_input *input);
void cli_job_close(cli_job *job);

/* The config.txt of this job: malloc memory. */
char *cli_job_config(const cli_job *job);

/* "1x28x28" -> input, with the options' normalize. */
int cli_job_parse_input(const cli_job *job, const char *text, size_t classes, cli_input *input);

/* Lists for help texts. */
void cli_print_models(FILE *out);
void cli_print_recipes(FILE *out);

#endif
