/* nybble bench recipes: recipes x models x seeds, resumable, as one table. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

typedef bench_campaign values;

static const cli_option options[] = {
    {"out", "DIR", "folder of the campaign: DIR/<model>/<recipe>/seed<k> and the tables", CLI_TEXT,
     offsetof(values, out), 0, 0},
    {"preset", "NAME",
     "data, model, epochs and what else makes runs comparable, see below; other options win",
     CLI_TEXT, offsetof(values, preset), 0, 0},
    {"recipes", "A,B,...",
     "recipes or files, each with changes as in luq+wgrad.dy.samples=2; all: every one of `nybble "
     "recipe list` (default: all)",
     CLI_LIST, offsetof(values, recipes), 0, 0},
    {"models", "A,B,...", "models (see nybble train --help)", CLI_LIST, offsetof(values, models), 0,
     0},
    {"seeds", "1,2,...", "seeds of each recipe and model (default: 1,2,3)", CLI_LIST,
     offsetof(values, seeds), 0, 0},
    {"times", "MS",
     "instead of training, time steps of the recipes that are computed from codes, in turns, MS "
     "milliseconds each, on an idle machine; the tables then show these times",
     CLI_SIZE, offsetof(values, times), 1, 600000},
    BENCH_CAMPAIGN_OPTIONS,
    CLI_CPU_OPTION(values),
    CLI_THREADS_OPTION(values),
    CLI_JSON_OPTION(values),
    {0},
};

/* ---- arguments ---------------------------------------------------------------------------- */

/* "I/N" */
static int parse_part(const char *text, size_t *part, size_t *n_parts)
{
    char first[32];
    *part = 0;
    *n_parts = 1;
    if (!text)
        return CLI_OK;
    const char *slash = strchr(text, '/');
    size_t length = slash ? (size_t)(slash - text) : 0;
    if (length > 0 && length < sizeof first) {
        memcpy(first, text, length);
        first[length] = 0;
        if (cli_parse_size(slash + 1, 1, 1 << 20, n_parts) &&
            cli_parse_size(first, 1, *n_parts, part)) {
            --*part;
            return CLI_OK;
        }
    }
    cli_error("--part", "'%s' is not of the form I/N with 1 <= I <= N, as 1/2", text);
    return CLI_USAGE;
}

/* Finds out what was asked for. The preset's epochs stand before those of the command line. */
static int make_request(const values *v, cli_args *args, board_request *request)
{
    const board_preset *preset = v->preset ? board_preset_find(v->preset) : NULL;
    if (v->preset && !preset) {
        cli_error("--preset", "'%s' is not mlp, resnet14s or resnet14", v->preset);
        return CLI_USAGE;
    }
    for (size_t i = 0; i < args->n_train; i++)
        if (strcmp(nyb_train_option_key(args->train[i].index), "seed") == 0) {
            cli_error("--seed", "a campaign has --seeds");
            return CLI_USAGE;
        }
    *request = (board_request){.data = v->data ? v->data : "fashion-mnist",
                               .recipes = v->recipes,
                               .models = v->models,
                               .seeds = v->seeds,
                               .sets = v->set,
                               .limit_train = v->limit_train,
                               .limit_test = v->limit_test};
    if (request->seeds.n == 0)
        request->seeds = (cli_list){1, {"1,2,3"}};
    if (!preset)
        return CLI_OK;
    request->data = v->data ? v->data : preset->data;
    if (request->models.n == 0)
        request->models = (cli_list){1, {preset->model}};
    if (!cli_given(v->verb, args, "limit-train"))
        request->limit_train = preset->limit_train;
    if (preset->set && request->sets.n < CLI_LIST_MAX) {
        memmove(request->sets.items + 1, request->sets.items,
                request->sets.n * sizeof *request->sets.items);
        request->sets.items[0] = preset->set;
        request->sets.n++;
    }
    if (args->n_train == CLI_LIST_MAX)
        return CLI_OK;
    memmove(args->train + 1, args->train, args->n_train * sizeof *args->train);
    args->n_train++;
    for (size_t i = 0; i < nyb_train_option_count(); i++)
        if (strcmp(nyb_train_option_key(i), "epochs") == 0)
            args->train[0] = (cli_train_option){i, preset->epochs};
    return CLI_OK;
}

/* The CPU's name and the number of processors. */
static void describe_machine(char *text, size_t n_bytes)
{
    char line[256], name[160] = "unknown CPU";
    FILE *in = fopen("/proc/cpuinfo", "r");
    while (in && fgets(line, sizeof line, in)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(name, sizeof name, "%s", colon + 1 + strspn(colon + 1, " "));
        break;
    }
    if (in)
        fclose(in);
    snprintf(text, n_bytes, "%s, %ld CPUs", name, sysconf(_SC_NPROCESSORS_ONLN));
}

/* ---- campaigns ---------------------------------------------------------------------------- */

static int load_records(const values *v, board_records *records)
{
    int exit_status = v->results ? board_records_load(records, v->results) : CLI_OK;
    for (size_t i = 0; i < v->import.n && exit_status == CLI_OK; i++) {
        if (access(v->import.items[i], R_OK) != 0) {
            cli_error("--import", "%s cannot be read", v->import.items[i]);
            return CLI_FAILURE;
        }
        exit_status = board_records_load(records, v->import.items[i]);
    }
    return exit_status;
}

static int print_plan(const board_plan *plan, size_t part, size_t n_parts,
                      const board_records *records, bool json)
{
    const char *const headers[] = {"model", "recipe", "seed", "state", "hash"};
    cli_table *table = cli_table_create("llrll", headers);
    json_t *list = json_array();
    size_t n = 0, n_missing = 0;
    for (size_t i = part; i < plan->n_jobs; i += n_parts) {
        const board_job *job = &plan->jobs[i];
        bool is_done = board_records_find(records, job) != NULL;
        n++;
        n_missing += !is_done;
        json_array_append_new(
            list, json_pack("{s:o, s:o, s:I, s:b, s:s}", "model", cli_json_string(job->model->spec),
                            "recipe", cli_json_string(job->recipe->label), "seed",
                            (json_int_t)job->seed, "finished", (int)is_done, "hash", job->hash));
        cli_table_cell(table, "%s", job->model->spec);
        cli_table_cell(table, "%s", job->recipe->label);
        cli_table_cell(table, "%llu", (unsigned long long)job->seed);
        cli_table_cell(table, "%s", is_done ? "finished" : "missing");
        cli_table_cell(table, "%s", job->hash);
    }
    if (json)
        return cli_print_list(table, list, true);
    json_decref(list);
    cli_table_print(table, stdout);
    printf("%zu runs, %zu missing\n", n, n_missing);
    return cli_close_output();
}

static int report(const values *v, board_records *records, int exit_status)
{
    char *times = board_times_path(v->out);
    int loaded = board_records_load(records, times);
    free(times);
    if (loaded != CLI_OK || board_records_scan(records, v->out) != CLI_OK)
        return CLI_FAILURE;
    if (records->n == 0 && exit_status == CLI_OK) {
        cli_error(v->verb->name, "no finished run in %s", v->out);
        return CLI_FAILURE;
    }
    return records->n == 0 ? exit_status : v->report(v, records, exit_status);
}

static int train(const values *v, const board_request *request, const board_plan *plan, size_t part,
                 size_t n_parts, board_records *records)
{
    char machine[200];
    describe_machine(machine, sizeof machine);
    board_campaign c = {.dir = v->out,
                        .results = v->results,
                        .machine = v->machine ? v->machine : machine,
                        .commit = v->commit ? v->commit : "",
                        .quiet = v->quiet,
                        .job = {.data_spec = request->data,
                                .cpu = v->cpu,
                                .threads = v->threads,
                                .limit_train = request->limit_train,
                                .limit_test = request->limit_test}};
    int exit_status = cli_job_open_context(&c.job);
    if (exit_status == CLI_OK)
        exit_status = cli_job_open_data(&c.job, &c.input);
    if (exit_status == CLI_OK) {
        exit_status = v->times ? board_time(&c, plan, (double)v->times * 1e-3, records)
                               : board_run(&c, plan, part, n_parts, records);
        if (!v->quiet && !v->times)
            fprintf(stderr,
                    "%zu runs trained, %zu were finished before, %zu are being trained by others, "
                    "%zu failed\n",
                    c.n_run, c.n_done, c.n_busy, c.n_failed);
    }
    cli_job_close(&c.job);
    return exit_status;
}

static int run_campaign(const values *v, const board_request *request, const cli_args *args,
                        board_records *records)
{
    board_plan plan;
    size_t part, n_parts;
    int exit_status = parse_part(v->part, &part, &n_parts);
    if (exit_status == CLI_OK && request->models.n == 0) {
        cli_error(v->verb->name, "--preset or --models is needed");
        cli_hint("nybble %s --help", v->verb->name);
        exit_status = CLI_USAGE;
    }
    if (exit_status != CLI_OK)
        return exit_status;
    exit_status = board_plan_make(&plan, request, args);
    if (exit_status == CLI_OK && v->dry_run) {
        exit_status = board_records_scan(records, v->out);
        if (exit_status == CLI_OK)
            exit_status = print_plan(&plan, part, n_parts, records, v->json);
    } else if (exit_status == CLI_OK) {
        exit_status = train(v, request, &plan, part, n_parts, records);
    }
    board_plan_free(&plan);
    return exit_status;
}

/* Options that would be ignored. */
static int check_options(const values *v, const cli_args *args)
{
    static const char *const of_runs[] = {
        "dry-run", "times",  "part",  "preset", "recipes",     "models",     "seeds", "base",
        "accums",  "chunks", "gemms", "data",   "limit-train", "limit-test", "set",   NULL};
    static const char *const of_training[] = {"dry-run", "part", NULL};
    int exit_status = CLI_OK;
    if (v->report_only)
        exit_status = cli_refuse(v->verb, args, of_runs,
                                 "does not go with --report-only, which reports all runs of --out");
    else if (v->times)
        exit_status = cli_refuse(v->verb, args, of_training, "does not go with --times");
    if (exit_status == CLI_OK && v->report_only && args->n_train > 0) {
        cli_error(v->verb->name, "--%s does not go with --report-only, which trains nothing",
                  nyb_train_option_key(args->train[0].index));
        exit_status = CLI_USAGE;
    }
    return exit_status;
}

int bench_campaign_run(bench_campaign *v, cli_args *args)
{
    board_request request;
    board_records records = {0};
    if (!v->out) {
        cli_error(v->verb->name, "--out is needed");
        cli_hint("nybble %s --help", v->verb->name);
        return CLI_USAGE;
    }
    int exit_status = check_options(v, args);
    if (exit_status == CLI_OK)
        exit_status = make_request(v, args, &request);
    if (exit_status == CLI_OK)
        exit_status = load_records(v, &records);
    if (exit_status == CLI_OK) {
        if (!v->report_only)
            exit_status = run_campaign(v, &request, args, &records);
        /* also when some run failed, or Ctrl-C came */
        if (exit_status != CLI_USAGE && !v->dry_run)
            exit_status = report(v, &records, exit_status);
    }
    board_records_free(&records);
    return exit_status;
}

/* ---- the verb ----------------------------------------------------------------------------- */

static int report_leaderboard(const values *v, const board_records *records, int exit_status)
{
    board_report tables;
    board_report_make(&tables, records);
    int written = board_report_write(&tables, v->out);
    if (exit_status == CLI_OK)
        exit_status = written == CLI_OK ? board_report_print(&tables, v->json) : written;
    board_report_free(&tables);
    return exit_status;
}

static int run(const cli_verb *verb, int argc, char **argv)
{
    values v = {.verb = verb, .report = report_leaderboard};
    cli_args args;
    int exit_status = cli_parse(verb, argc, argv, &v, &args);
    return exit_status == CLI_GO_ON ? bench_campaign_run(&v, &args) : exit_status;
}

void bench_print_presets(FILE *out)
{
    fprintf(out, "\nPresets:\n");
    for (const board_preset *p = board_presets; p->name; p++) {
        fprintf(out, "  %-12s --data %s --models %s --epochs %s", p->name, p->data, p->model,
                p->epochs);
        if (p->limit_train)
            fprintf(out, " --limit-train %zu", p->limit_train);
        fprintf(out, "%s%s\n", p->set ? " --set " : "", p->set ? p->set : "");
    }
}

const cli_verb cli_bench_recipes = {
    .name = "bench recipes",
    .about = "train recipes x models x seeds and compare them in one table",
    .synopsis = "--out DIR --preset NAME|--models A,B [options]",
    .description =
        "Trains every recipe with every model and seed, each in a run folder of its own as `nybble "
        "train --out` makes, and writes DIR/leaderboard.md and DIR/leaderboard.csv: accuracy after "
        "the last epoch, its spread over seeds, the difference from f32 paired by seed, speed, and "
        "memory kept for the backward pass. A run that ends in NaN or infinity is a result: "
        "diverged.\n\n"
        "The same command goes on where it was interrupted, and several processes may share a "
        "campaign: each run is claimed by a lock in its folder. Results do not depend on threads "
        "and instruction set, so runs of several machines may be merged by --results and --import; "
        "their times are kept apart.",
    .example = "  nybble bench recipes --preset mlp --out runs/board --recipes f32,luq,luq_naive\n"
               "  nybble bench recipes --preset resnet14s --out runs/board --part 1/2 \\\n"
               "      --recipes f32,luq,luq+wgrad.dy.samples=2,./my.recipe --seeds 1,2\n"
               "  nybble bench recipes --out runs/board --report-only\n",
    .options = options,
    .takes_train_options = true,
    .print_more = bench_print_presets,
    .run = run,
};
