/* The leaderboard: recipes x models x seeds as run folders, their records, and the tables. */
#ifndef CLI_BOARD_H
#define CLI_BOARD_H

#include "job.h"

/* ---- presets (board_plan.c) ---------------------------------------------------------------------
 */

/* What a campaign whose runs are comparable has in common; options of the command line win. */
typedef struct board_preset {
    const char *name, *data, *model, *epochs, *set;
    size_t limit_train;
} board_preset;
extern const board_preset board_presets[]; /* ended by name NULL */
const board_preset *board_preset_find(const char *name);

/* ---- plan: what shall be run (board_plan.c) -----------------------------------------------------
 */

#define BOARD_WORDS_MAX 1024 /* in one of its lists */

/* What was asked for; not owned. */
typedef struct board_request {
    const char *data;
    cli_list recipes, models, seeds, sets; /* recipes, models, seeds: comma separated each */
    size_t limit_train, limit_test;
} board_request;

typedef struct board_recipe {
    char *label; /* "luq+wgrad.dy.samples=2": as it was asked for */
    char *text;  /* every key that differs from the recipe f32 */
    nyb_recipe *recipe;
} board_recipe;

typedef struct board_model {
    char *spec;
    char *setup; /* data and training options, without the seed */
    nyb_train_options options;
} board_model;

#define BOARD_HASH 17 /* bytes of 64 bits in hexadecimal */

typedef struct board_job {
    const board_model *model;
    const board_recipe *recipe;
    uint64_t seed;
    char hash[BOARD_HASH]; /* of setup and recipe text: the same job gives the same weights */
} board_job;

/* Jobs are ordered by model, seed, recipe: a campaign cut short has whole seeds. */
typedef struct board_plan {
    size_t n_recipes, n_models, n_seeds, n_jobs;
    board_recipe *recipes;
    board_model *models;
    uint64_t *seeds;
    board_job *jobs;
} board_plan;

/* CLI_OK, or the exit status of a reported failure; board_plan_free is due in any case. */
int board_plan_make(board_plan *plan, const board_request *request, const cli_args *args);
void board_plan_free(board_plan *plan);

/* ---- records: one JSON object per finished run or measured time (board_record.c)
 * ---------------------------------
 */

typedef struct board_records {
    size_t n, n_reserved;
    json_t **at;
} board_records;

void board_records_free(board_records *records);
/* Takes over record. Records of the same run are kept once; a time replaces an older one. */
void board_records_add(board_records *records, json_t *record);
/* The record of this job; or NULL. */
const json_t *board_records_find(const board_records *records, const board_job *job);
/* "time", not a run. */
bool board_record_is_time(const json_t *record);
/* Both are of the same run. */
bool board_record_is(const json_t *record, const board_job *job);

/* Lines of JSON; a file that does not exist is empty. CLI_OK, or the status of a reported failure.
 */
int board_records_load(board_records *records, const char *path);
/* Every result.json below DIR/<model>/<recipe>/. */
int board_records_scan(board_records *records, const char *dir);
/* Appends a line unless the file has one of that run; safe against other processes. */
int board_record_append(const char *path, const json_t *record);
/* mkdir -p; false with errno. */
bool board_make_dir(const char *dir);
/* The whole file, on the disk, or what was there. */
int board_write_text(const char *path, const char *text);
int board_write_json(const char *path, const json_t *json, size_t flags);

/* ---- runs (board_run.c) -------------------------------------------------------------------------
 */

typedef struct board_campaign {
    const char *dir, *results; /* results: the file that finished runs are appended to; or NULL */
    const char *machine, *commit;
    bool quiet;
    cli_job job; /* data, context */
    cli_input input;
    size_t n_done, n_run, n_busy, n_failed;
} board_campaign;

/* Trains what nobody has finished and nobody else is training. CLI_OK, CLI_INTERRUPTED, or
 * CLI_FAILURE if some job could not be run; the others have been. */
int board_run(board_campaign *campaign, const board_plan *plan, size_t part, size_t n_parts,
              board_records *records);
/* The folder of a job: malloc memory. */
char *board_job_dir(const char *dir, const board_job *job);
/* What a job is, before it has a result. */
json_t *board_describe_job(const board_campaign *campaign, const board_job *job);
/* Model and training run of a job in *run; board_unbuild is due in any case. */
nyb_status board_build(const board_campaign *campaign, const board_job *job, cli_job *run,
                       nyb_error *err);
void board_unbuild(cli_job *run);
/* Some products with quantized operands are not computed from codes. */
bool board_is_emulated(const nyb_train *train);

/* ---- times (board_time.c) ----------------------------------------------------------------- */

/* Measures training steps of every model and recipe that is not emulated, in turns, so many seconds
 * each; records of kind "time", into the results file or, without one, board_times_path. */
int board_time(const board_campaign *campaign, const board_plan *plan, double seconds,
               board_records *records);
/* DIR/times.jsonl: malloc memory. */
char *board_times_path(const char *dir);

/* ---- the tables (board_report.c) ----------------------------------------------------------------
 */

typedef struct board_row {
    const char *recipe, *engine;
    bool emulated;
    size_t n_seeds, n_diverged, n_pairs;
    double mean, sd;              /* fractions, of runs that did not diverge; sd NaN for one run */
    double diff, diff_se;         /* from f32 by seed; NaN: none, or no error */
    bool is_beyond;               /* |diff| > 2 diff_se, and no run diverged */
    double samples_per_s;         /* median; NaN: emulated */
    double kept, kept_quantized;  /* bytes per batch */
    double energy, energy_of_f32; /* of a step's products: pJ; fraction of the f32 row's */
} board_row;

typedef struct board_table {
    const char *model, *setup;
    const json_t *sample; /* one of its records */
    const json_t *clock;  /* one of the machine whose times are shown */
    size_t n_rows;
    board_row *rows;
} board_table;

typedef struct board_report {
    size_t n_tables;
    board_table *tables;
} board_report;

void board_report_make(board_report *report, const board_records *records);
void board_report_free(board_report *report);
/* DIR/leaderboard.md and .csv. */
int board_report_write(const board_report *report, const char *dir);
int board_report_print(const board_report *report, bool json);

/* ---- what reports share (board_text.c) ------------------------------------------------------ */

double board_mean(const double *x, size_t n); /* NaN of none */
/* Of a sample: n - 1. NaN for fewer than two. */
double board_deviation(const double *x, size_t n);
/* ",0.25": a number, or nothing for NaN. */
void board_csv_number(FILE *out, double value);
void board_csv_text(FILE *out, const char *text); /* quoted */
/* DIR/name, all of it or nothing. */
int board_write_report(const char *dir, const char *name,
                       void (*print)(const void *report, FILE *out), const void *report);

/* ---- the atlas of accumulators (atlas.c, atlas_report.c) ---------------------------------- */

/* Adds to a record, as "sums", the longest sum of each GEMM that has a quantized operand. */
void board_add_sums(nyb_context *context, const nyb_train *train, json_t *record);

/* Sets of GEMMs: bits 0 fwd, 1 dgrad, 2 wgrad. */
#define ATLAS_GEMMS 8
extern const char *const atlas_gemms[ATLAS_GEMMS]; /* "fwd", "fwd+dgrad", "all"; [0] is NULL */
/* "BASE+fwd.accum=e6m9/64+...": malloc memory. */
char *atlas_label(const char *base, const nyb_accum *accum, unsigned gemms);

typedef struct atlas_cell {
    size_t n_runs, n_diverged, n_pairs;
    double mean;          /* accuracy, a fraction, of runs that did not diverge; or NaN */
    double diff, diff_se; /* from the base by seed; NaN: none, or no error */
    bool is_beyond;       /* |diff| > 2 diff_se, and no run diverged */
} atlas_cell;

typedef struct atlas_row {
    nyb_accum accum;
    atlas_cell cells[ATLAS_GEMMS];
} atlas_row;

typedef struct atlas_table {
    const char *model, *setup;
    char *base;
    atlas_cell own, f32; /* of the base; of f32, difference from the base included */
    uint64_t lengths[3]; /* longest sums of fwd, dgrad, wgrad; 0: not known */
    int product_bits[3];
    size_t n_rows;
    atlas_row *rows;
} atlas_table;

typedef struct atlas {
    size_t n_tables;
    atlas_table *tables;
} atlas;

/* Finds the runs of accumulators among records, which must live as long. */
void atlas_make(atlas *atlas, const board_records *records);
void atlas_free(atlas *atlas);
/* The smallest mantissa that VRR finds sufficient for the longest sums of a GEMM; 0: not known. */
int atlas_mantissa(const atlas_table *table, int gemm, int chunk);
/* DIR/atlas.md and .csv. */
int atlas_write(const atlas *atlas, const char *dir);
int atlas_print(const atlas *atlas, bool json);

#endif
