/* Records of finished runs: in run folders, and as lines of a file that many machines add to. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "board.h"

static const char *text_of(const json_t *record, const char *key)
{
    const char *text = json_string_value(json_object_get(record, key));
    return text ? text : "";
}

bool board_record_is_time(const json_t *record)
{
    return strcmp(text_of(record, "kind"), "time") == 0;
}

static bool is_record(const json_t *json)
{
    return *text_of(json, "model") && *text_of(json, "recipe") && *text_of(json, "hash") &&
           *text_of(json, "setup") &&
           (board_record_is_time(json) || json_is_integer(json_object_get(json, "seed")));
}

/* The same run; or the same thing timed on the same machine. */
static bool is_same(const json_t *a, const json_t *b)
{
    static const char *const keys[] = {"model", "recipe", "hash", "kind"};
    static const char *const places[] = {"machine", "cpu", "threads"};
    for (size_t i = 0; board_record_is_time(a) && i < sizeof places / sizeof places[0]; i++)
        if (!json_equal(json_object_get(a, places[i]), json_object_get(b, places[i])))
            return false;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(text_of(a, keys[i]), text_of(b, keys[i])) != 0)
            return false;
    return board_record_is_time(a) ||
           json_equal(json_object_get(a, "seed"), json_object_get(b, "seed"));
}

/* The record's text is this one, as JSON has it. */
static bool has_text(const json_t *record, const char *key, const char *text)
{
    json_t *wanted = cli_json_string(text);
    bool has = json_equal(json_object_get(record, key), wanted);
    json_decref(wanted);
    return has;
}

bool board_record_is(const json_t *record, const board_job *job)
{
    return is_record(record) && !board_record_is_time(record) &&
           has_text(record, "model", job->model->spec) &&
           has_text(record, "recipe", job->recipe->label) &&
           strcmp(text_of(record, "hash"), job->hash) == 0 &&
           json_integer_value(json_object_get(record, "seed")) == (json_int_t)job->seed;
}

/* ---- the list ----------------------------------------------------------------------------- */

void board_records_free(board_records *records)
{
    for (size_t i = 0; i < records->n; i++)
        json_decref(records->at[i]);
    free(records->at);
    *records = (board_records){0};
}

void board_records_add(board_records *records, json_t *record)
{
    for (size_t i = 0; i < records->n; i++) {
        if (!is_same(records->at[i], record))
            continue;
        if (board_record_is_time(record)) {
            json_decref(records->at[i]);
            records->at[i] = record;
            return;
        }
        const char *old = text_of(records->at[i], "weights_sha256");
        const char *new = text_of(record, "weights_sha256");
        if (*old && *new &&strcmp(old, new) != 0)
            cli_error("bench recipes",
                      "two records of %s, %s, seed %llu have different weights: made by versions "
                      "that compute differently; the first is used",
                      text_of(record, "model"), text_of(record, "recipe"),
                      (unsigned long long)json_integer_value(json_object_get(record, "seed")));
        json_decref(record);
        return;
    }
    if (records->n == records->n_reserved) {
        size_t n = records->n_reserved * 2 + 64;
        json_t **at = cli_alloc(n, sizeof *at);
        if (records->n)
            memcpy(at, records->at, records->n * sizeof *at);
        free(records->at);
        records->at = at;
        records->n_reserved = n;
    }
    records->at[records->n++] = record;
}

const json_t *board_records_find(const board_records *records, const board_job *job)
{
    for (size_t i = 0; i < records->n; i++)
        if (board_record_is(records->at[i], job))
            return records->at[i];
    return NULL;
}

/* ---- files -------------------------------------------------------------------------------- */

/* Lines from an open file; each must be a record. */
static int load_lines(board_records *records, FILE *in, const char *path)
{
    char *line = NULL;
    size_t n_reserved = 0;
    int number = 0, exit_status = CLI_OK;
    while (exit_status == CLI_OK && getline(&line, &n_reserved, in) >= 0) {
        json_error_t error;
        number++;
        if (line[strspn(line, " \t\r\n")] == 0)
            continue;
        json_t *record = cli_json_parse(line, &error);
        if (record && is_record(record)) {
            board_records_add(records, record);
            continue;
        }
        cli_error(path, "line %d is not the record of a run%s%s", number, record ? "" : ": ",
                  record ? "" : error.text);
        json_decref(record);
        exit_status = CLI_FAILURE;
    }
    if (ferror(in)) {
        cli_error(path, "%s", strerror(errno));
        exit_status = CLI_FAILURE;
    }
    free(line);
    return exit_status;
}

int board_records_load(board_records *records, const char *path)
{
    FILE *in = fopen(path, "r");
    if (!in && errno == ENOENT)
        return CLI_OK;
    if (!in) {
        cli_error(path, "%s", strerror(errno));
        return CLI_FAILURE;
    }
    int exit_status = load_lines(records, in, path);
    fclose(in);
    return exit_status;
}

/* Visits DIR's sub-folders in the order of their names, `depth` levels down. */
static int scan(board_records *records, const char *dir, int depth)
{
    struct dirent **entries;
    if (depth == 0) {
        char *path = cli_join(dir, "result.json");
        json_t *record = cli_json_load(path);
        if (record && is_record(record))
            board_records_add(records, record);
        else
            json_decref(record);
        free(path);
        return CLI_OK;
    }
    int n = scandir(dir, &entries, NULL, alphasort);
    if (n < 0 && (errno == ENOENT || errno == ENOTDIR))
        return CLI_OK;
    if (n < 0) {
        cli_error(dir, "%s", strerror(errno));
        return CLI_FAILURE;
    }
    int exit_status = CLI_OK;
    for (int i = 0; i < n; i++) {
        if (entries[i]->d_name[0] != '.' && exit_status == CLI_OK) {
            char *path = cli_join(dir, entries[i]->d_name);
            exit_status = scan(records, path, depth - 1);
            free(path);
        }
        free(entries[i]);
    }
    free(entries);
    return exit_status;
}

int board_records_scan(board_records *records, const char *dir)
{
    return scan(records, dir, 3);
}

/* Under the file's lock: an unfinished last line is cut off, a run that is there is not repeated.
 */
static bool append_locked(FILE *file, const json_t *record)
{
    char *line = NULL;
    size_t n_reserved = 0;
    ssize_t n;
    off_t end = 0;
    bool is_there = false;
    while ((n = getline(&line, &n_reserved, file)) >= 0 && line[n - 1] == '\n') {
        json_t *old = cli_json_parse(line, NULL);
        is_there = is_there || (old && !board_record_is_time(record) && is_same(old, record));
        json_decref(old);
        end += n;
    }
    free(line);
    if (ferror(file))
        return false;
    if (is_there)
        return true;
    char *text = cli_json_print(record, JSON_COMPACT | JSON_SORT_KEYS);
    bool good = text && fseeko(file, end, SEEK_SET) == 0 && ftruncate(fileno(file), end) == 0 &&
                fprintf(file, "%s\n", text) > 0 && fflush(file) == 0;
    free(text);
    return good;
}

int board_record_append(const char *path, const json_t *record)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    FILE *file = fd >= 0 ? fdopen(fd, "r+") : NULL;
    bool good = file && flock(fd, LOCK_EX) == 0 && append_locked(file, record);
    int error = errno;
    if (file && fclose(file) != 0 && good) {
        good = false;
        error = errno;
    } else if (!file && fd >= 0) {
        close(fd);
    }
    if (good)
        return CLI_OK;
    cli_error(path, "%s", strerror(error));
    return CLI_FAILURE;
}

bool board_make_dir(const char *dir)
{
    char *path = cli_alloc(strlen(dir) + 1, 1);
    bool good = true;
    strcpy(path, dir);
    for (char *p = path + 1; good; p++) {
        char end = *p;
        if (end != '/' && end != 0)
            continue;
        *p = 0;
        good = mkdir(path, 0777) == 0 || errno == EEXIST;
        *p = end;
        if (!end)
            break;
    }
    free(path);
    return good;
}

int board_write_text(const char *path, const char *text)
{
    nyb_error err;
    return nyb_text_save(path, text, &err) == NYB_OK ? CLI_OK : cli_fail("bench", &err);
}

int board_write_json(const char *path, const json_t *json, size_t flags)
{
    char *text = cli_json_print(json, flags | JSON_SORT_KEYS);
    int exit_status = board_write_text(path, text ? text : "");
    free(text);
    return exit_status;
}
