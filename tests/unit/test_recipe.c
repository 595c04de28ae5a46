/* Recipes: every key sets back what it prints, built-in tables, recipe files, and their errors. */
#include <fenv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/io.h"
#include "recipe/recipe.h"

static nyb_recipe *create(const char *name)
{
    nyb_error err = {.text = ""};
    nyb_recipe *r;
    if (nyb_recipe_create(name, &r, &err) != NYB_OK)
        fail_msg("%s: %s", name, err.text);
    return r;
}

static void expect(const nyb_recipe *r, const char *key, const char *value)
{
    char text[1024];
    assert_true(nyb_recipe_print(r, key, text, sizeof text) >= 0);
    assert_string_equal(text, value);
}

static void expect_set(nyb_recipe *r, const char *key, const char *value)
{
    nyb_error err = {.text = ""};
    if (nyb_recipe_set(r, key, value, &err) != NYB_OK)
        fail_msg("%s = %s: %s", key, value, err.text);
}

/* The set fails with this status, the sentence holds every word of `words` (NULL-ended), and the
 * recipe is unchanged. */
static void expect_error(const char *name, const char *key, const char *value, nyb_status status,
                         const char *const *words)
{
    nyb_error err = {.text = ""};
    nyb_recipe *r = create(name);
    nyb_recipe before = *r;
    assert_int_equal(nyb_recipe_set(r, key, value, &err), status);
    assert_int_equal(err.status, status);
    for (; *words; words++)
        if (!strstr(err.text, *words))
            fail_msg("'%s' does not mention '%s'", err.text, *words);
    assert_memory_equal(r, &before, sizeof before);
    nyb_recipe_destroy(&r);
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- built-in recipes --------------------------------------------------------------------- */

static void test_builtin_all(void **state)
{
    (void)state;
    assert_true(nyb_recipe_count() >= 10);
    for (size_t i = 0; i < nyb_recipe_count(); i++) {
        nyb_recipe *r = create(nyb_recipe_name_at(i));
        assert_string_equal(nyb_recipe_name(r), nyb_recipe_name_at(i));
        assert_string_equal(nyb_recipe_about(r), nyb_recipe_about_at(i));
        assert_true(strlen(nyb_recipe_source(r)) > 0);
        assert_true(i == 0 || strlen(nyb_recipe_differs(r)) > 0);
        nyb_recipe_destroy(&r);
        assert_null(r);
    }
}

static void test_luq_is_the_paper(void **state)
{
    (void)state;
    static const char *const want[][2] = {
        {"fwd.x", "int4/sawb/tensor/nearest"},
        {"fwd.x.nonneg", "uint4"},
        {"fwd.w", "int4/sawb/tensor/nearest"},
        {"dgrad.dy", "e3m0/absmax/tensor/stochastic"},
        {"dgrad.w", "int4/sawb/tensor/nearest"},
        {"wgrad.dy", "e3m0/absmax/tensor/stochastic"},
        {"wgrad.dy.samples", "1"},
        {"wgrad.x", "int4/sawb/tensor/nearest"},
        {"wgrad.x.nonneg", "uint4"},
        {"edges", "f32"},
        {"shortcut", "f32"},
        {"eval.scale", "frozen"},
        {"eval.decay", "0.9"},
        {"finish.epochs", "0"},
        {"nonfinite", "stop"},
        {"dgrad.dy.sr_bits", "16"},
        {"fwd.w.sr_bits", ""},
    };
    nyb_recipe *r = create("luq");
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        expect(r, want[i][0], want[i][1]);
    nyb_recipe_destroy(&r);
}

/* An ablation changes nothing of luq but what it is about. */
static void test_ablations_change_one_thing(void **state)
{
    (void)state;
    static const char *const family[][2] = {
        {"luq_naive", "e3m0/absmax/tensor/nearest"},
        {"luq_flush", "e3m0/absmax/tensor/flush"},
        {"luq_su", "e3m0/absmax/tensor/underflow"},
        {"luq_sr", "e3m0/absmax/tensor/flush-stochastic"},
        {"luq_int4sr", "int4/absmax/tensor/stochastic"},
        {"luq_int4rtn", "int4/absmax/tensor/nearest"},
    };
    nyb_recipe *luq = create("luq");
    for (size_t k = 0; k < sizeof family / sizeof family[0]; k++) {
        nyb_recipe *r = create(family[k][0]);
        expect(r, "dgrad.dy", family[k][1]);
        expect(r, "wgrad.dy", family[k][1]);
        for (size_t i = 4; i < nyb_recipe_field_count(); i++) {
            const char *key = nyb_recipe_field_key(i);
            char a[128];
            if (strncmp(key, "dgrad.dy", 8) == 0 || strncmp(key, "wgrad.dy", 8) == 0)
                continue;
            nyb_recipe_print(luq, key, a, sizeof a);
            expect(r, key, a);
        }
        nyb_recipe_destroy(&r);
    }
    nyb_recipe_destroy(&luq);
}

static void test_f32_quantizes_nothing(void **state)
{
    (void)state;
    static const char *const operands[] = {"fwd.x",   "fwd.w",    "dgrad.dy",
                                           "dgrad.w", "wgrad.dy", "wgrad.x"};
    nyb_recipe *r = create("f32");
    for (size_t i = 0; i < sizeof operands / sizeof operands[0]; i++)
        expect(r, operands[i], "f32");
    expect(r, "fwd.x.scale", "");
    expect(r, "fwd.x.nonneg", "none");
    nyb_recipe_destroy(&r);
}

/* ---- keys --------------------------------------------------------------------------------- */

/* What a run folder stores: all keys that are no part of another, set on f32, give every recipe. */
static void test_round_trip(void **state)
{
    (void)state;
    for (size_t k = 0; k < nyb_recipe_count(); k++) {
        nyb_recipe *r = create(nyb_recipe_name_at(k)), *copy = create("f32");
        char text[1024];
        if (k == 1) {
            expect_set(r, "wgrad.dy.sr_bits", "32");
            expect_set(r, "wgrad.dy.samples", "4");
            expect_set(r, "eval.decay", "0.987654");
            expect_set(r, "finish.lr", "0.0012345678");
            expect_set(r, "edges", "int8");
        }
        for (size_t i = 0; i < nyb_recipe_field_count(); i++) {
            nyb_recipe_field_print(r, i, text, sizeof text);
            if (*text && !nyb_recipe_field_is_part(i))
                expect_set(copy, nyb_recipe_field_key(i), text);
        }
        expect_set(copy, "name", nyb_recipe_name(r));
        for (size_t i = 0; i < nyb_recipe_field_count(); i++) {
            nyb_recipe_field_print(r, i, text, sizeof text);
            expect(copy, nyb_recipe_field_key(i), text);
        }
        nyb_recipe_destroy(&r);
        nyb_recipe_destroy(&copy);
    }
}

/* Every key that prints something takes it back, parts too, and says what it may be. */
static void test_every_key_sets_what_it_prints(void **state)
{
    (void)state;
    char text[1024], again[1024];
    for (size_t i = 0; i < nyb_recipe_field_count(); i++) {
        nyb_recipe *r = create("luq");
        nyb_recipe_field_print(r, i, text, sizeof text);
        if (*text) {
            expect_set(r, nyb_recipe_field_key(i), text);
            nyb_recipe_field_print(r, i, again, sizeof again);
            assert_string_equal(text, again);
        }
        assert_true(nyb_recipe_field_range(i, text, sizeof text) > 0);
        assert_true(strlen(nyb_recipe_field_help(i)) > 0);
        nyb_recipe_destroy(&r);
    }
}

/* Ends of ranges belong to them; a float prints so that it reads back as the same float. */
static void test_numbers(void **state)
{
    (void)state;
    static const float values[] = {0.1f, 0.98765439f, 1.0f / 3, 1.17549435e-38f, 999.999939f};
    nyb_recipe *r = create("luq");
    expect_set(r, "wgrad.dy.samples", "16");
    expect_set(r, "wgrad.dy.samples", "1");
    expect_set(r, "eval.decay", "0");
    expect_set(r, "eval.decay", "0.9999");
    expect_set(r, "finish.epochs", "10000");
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char text[32];
        r->finish_lr = values[i];
        nyb_recipe_print(r, "finish.lr", text, sizeof text);
        expect_set(r, "finish.lr", text);
        assert_true(r->finish_lr == values[i]);
    }
    expect_set(r, "finish.lr", "0.1");
    expect(r, "finish.lr", "0.1");
    nyb_recipe_destroy(&r);
}

static void test_modes_of_the_caller(void **state)
{
    (void)state;
    static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    nyb_recipe *r = create("luq");
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        fesetround(modes[i]);
        expect_set(r, "eval.decay", "0.123456");
        expect_set(r, "finish.lr", "0.3");
        fesetround(FE_TONEAREST);
        assert_true(r->eval_decay == 0.123456f && r->finish_lr == 0.3f);
    }
    nyb_recipe_destroy(&r);
}

static void test_set_parts(void **state)
{
    (void)state;
    nyb_recipe *r = create("luq");
    expect_set(r, "dgrad.dy.scale", "hindsight");
    expect(r, "dgrad.dy", "e3m0/hindsight/tensor/stochastic");
    expect_set(r, "wgrad.dy.rounding", "underflow");
    expect(r, "wgrad.dy", "e3m0/absmax/tensor/underflow");
    expect_set(r, "fwd.w.format", "f32");
    expect(r, "fwd.w", "f32");
    expect(r, "dgrad.w", "int4/sawb/tensor/nearest");
    expect_set(r, "fwd.w.format", "int8");
    expect(r, "fwd.w", "int8/absmax/tensor/nearest");
    expect_set(r, "fwd.x.nonneg", "none");
    expect(r, "fwd.x.nonneg", "none");
    nyb_recipe_destroy(&r);
    r = create("luq"); /* uint4 belongs to int4, not to what takes its place */
    expect_set(r, "fwd.x.rounding", "stochastic");
    expect(r, "fwd.x.nonneg", "uint4");
    expect_set(r, "fwd.x.format", "int8");
    expect(r, "fwd.x.nonneg", "none");
    expect_set(r, "wgrad.x", "e2m1/e8m0/block32");
    expect(r, "wgrad.x.nonneg", "none");
    nyb_recipe_destroy(&r);
}

static void test_name_records_changes(void **state)
{
    (void)state;
    nyb_recipe *r = create("luq");
    expect_set(r, "wgrad.dy.samples", "2");
    expect_set(r, "edges", "recipe");
    assert_string_equal(nyb_recipe_name(r), "luq+wgrad.dy.samples=2+edges=recipe");
    expect_set(r, "wgrad.dy.samples", "4");
    expect_set(r, "edges", "recipe");
    assert_string_equal(nyb_recipe_name(r), "luq+wgrad.dy.samples=4+edges=recipe");
    expect_set(r, "edges", "int8"); /* also in the middle, and what a whole operand undoes */
    expect_set(r, "fwd.x.scale", "absmax");
    expect_set(r, "fwd.x.nonneg", "uint5");
    expect_set(r, "fwd.x.ste", "mask");
    expect_set(r, "wgrad.dy.samples", "3");
    expect_set(r, "fwd.x.format", "int5");
    assert_string_equal(nyb_recipe_name(r), "luq+edges=int8+fwd.x.scale=absmax+fwd.x.ste=mask"
                                            "+wgrad.dy.samples=3+fwd.x.format=int5");
    expect_set(r, "fwd.x", "int8");
    assert_string_equal(nyb_recipe_name(r),
                        "luq+edges=int8+fwd.x.ste=mask+wgrad.dy.samples=3+fwd.x=int8");
    nyb_recipe_destroy(&r);
    r = create("luq"); /* a value with a plus */
    expect_set(r, "edges", "recipe");
    expect_set(r, "finish.lr", "1e+0");
    expect_set(r, "eval.decay", "+0.5");
    assert_string_equal(nyb_recipe_name(r), "luq+edges=recipe+finish.lr=1e+0+eval.decay=+0.5");
    expect_set(r, "eval.decay", "0.25");
    expect_set(r, "finish.lr", "2");
    assert_string_equal(nyb_recipe_name(r), "luq+edges=recipe+eval.decay=0.25+finish.lr=2");
    for (size_t i = 4; i < nyb_recipe_field_count(); i++) {
        char text[160];
        nyb_recipe_field_print(r, i, text, sizeof text);
        if (*text)
            expect_set(r, nyb_recipe_field_key(i), text);
    }
    assert_true(strlen(nyb_recipe_name(r)) < sizeof r->name);
    assert_string_equal(nyb_recipe_name(r) + strlen(nyb_recipe_name(r)) - 4, "+...");
    for (size_t i = 4; i < nyb_recipe_field_count(); i++) {
        char text[160];
        nyb_recipe_field_print(r, i, text, sizeof text);
        if (*text)
            expect_set(r, nyb_recipe_field_key(i), text);
        assert_non_null(strstr(nyb_recipe_name(r), "+...")); /* whatever was taken out */
    }
    expect_set(r, "name", "mine");
    assert_string_equal(nyb_recipe_name(r), "mine");
    nyb_recipe_destroy(&r);
}

static void test_set_errors(void **state)
{
    (void)state;
    expect_error("luq", "wgrad.dy.sample", "2", NYB_UNKNOWN, WORDS("wgrad.dy.samples"));
    expect_error("luq", "nothing.like.it", "2", NYB_UNKNOWN, WORDS("fwd.x", "edges", "nonfinite"));
    expect_error("luq", "wgrad.dy.samples", "0", NYB_INVALID, WORDS("1 .. 16"));
    expect_error("luq", "wgrad.dy.samples", "17", NYB_INVALID, WORDS("1 .. 16"));
    expect_error("luq", "wgrad.dy.samples", "2.5", NYB_INVALID, WORDS("whole"));
    expect_error("luq", "wgrad.dy.samples", "two", NYB_INVALID, WORDS("number"));
    expect_error("luq", "wgrad.dy.samples", "", NYB_INVALID, WORDS("number"));
    expect_error("luq", "eval.decay", "nan", NYB_INVALID, WORDS("range"));
    expect_error("luq", "edges", "F32", NYB_UNKNOWN, WORDS("f32", "recipe", "int8"));
    expect_error("luq", "fwd.x", "int9/sawb", NYB_UNKNOWN, WORDS("fwd.x", "int4"));
    expect_error("luq", "fwd.x.scale", "saw", NYB_UNKNOWN, WORDS("sawb", "absmax"));
    expect_error("luq", "fwd.x.rounding", "up", NYB_UNKNOWN, WORDS("nearest", "stochastic"));
    expect_error("luq", "fwd.x.sr_bits", "8", NYB_INVALID, WORDS("16", "32"));
    expect_error("luq", "fwd.x.nonneg", "uint", NYB_UNKNOWN, WORDS("uint4", "none"));
    expect_error("luq", "fwd.x.group", "rows", NYB_UNKNOWN, WORDS("tensor"));
    expect_error("f32", "fwd.x.scale", "absmax", NYB_INVALID, WORDS("fwd.x", "format first"));
    expect_error("luq", "name", "", NYB_INVALID, WORDS("name"));
    expect_error("luq", "about", "two\nlines", NYB_INVALID, WORDS("control"));
}

/* Combinations that no single key can see. */
static void test_impossible_operands(void **state)
{
    (void)state;
    expect_error("luq", "fwd.x.rounding", "flush", NYB_INVALID, WORDS("fwd.x", "flush", "int4"));
    expect_error("luq", "dgrad.dy.scale", "sawb", NYB_INVALID, WORDS("dgrad.dy", "sawb", "e3m0"));
    expect_error("luq", "fwd.x.nonneg", "e3m0", NYB_INVALID, WORDS("fwd.x.nonneg"));
    expect_error("luq_naive", "wgrad.dy.samples", "2", NYB_INVALID,
                 WORDS("wgrad.dy", "stochastic"));
    expect_error("f32", "wgrad.dy.samples", "2", NYB_INVALID, WORDS("wgrad.dy"));
    expect_error("lsq", "fwd.w.mix", "hadamard16", NYB_INVALID,
                 WORDS("fwd.w", "lsq", "hadamard16"));
    expect_error("quartet", "fwd.x", "int4/absmax/tensor/nearest/hadamard32", NYB_INVALID,
                 WORDS("fwd.x.ste", "hadamard32", "block16"));
    expect_error("quartet", "fwd.x", "e2m1/e4m3/block16/nearest/hadamard32", NYB_INVALID,
                 WORDS("fwd.x.ste", "hadamard32"));
}

static void test_unknown_recipe(void **state)
{
    (void)state;
    nyb_error err;
    nyb_recipe *r;
    assert_int_equal(nyb_recipe_create("lug", &r, &err), NYB_UNKNOWN);
    assert_null(r);
    assert_non_null(strstr(err.text, "lug"));
    assert_non_null(strstr(err.text, "luq_naive"));
    assert_int_equal(nyb_recipe_create("lug", &r, NULL), NYB_UNKNOWN);
}

static void test_nulls(void **state)
{
    (void)state;
    nyb_error err = {0};
    nyb_recipe *r = NULL;
    assert_int_equal(nyb_recipe_create(NULL, &r, &err), NYB_INVALID);
    assert_null(r);
    assert_non_null(strstr(err.text, "NULL"));
    assert_int_equal(nyb_recipe_create("luq", &r, NULL), NYB_OK);
    assert_int_equal(nyb_recipe_set(NULL, "edges", "f32", &err), NYB_INVALID);
    assert_int_equal(nyb_recipe_set(r, NULL, "f32", &err), NYB_INVALID);
    assert_int_equal(nyb_recipe_set(r, "edges", NULL, &err), NYB_INVALID);
    assert_string_equal(nyb_recipe_name(r), "luq");
    nyb_recipe_destroy(&r);
}

static void test_no_memory(void **state)
{
    (void)state;
    nyb_error err;
    nyb_recipe *r;
    nyb_alloc_fail_after(1, false);
    assert_int_equal(nyb_recipe_create("luq", &r, &err), NYB_MEMORY);
    nyb_alloc_fail_after(0, false);
    assert_null(r);
}

/* ---- files -------------------------------------------------------------------------------- */

static char folder[64];

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const void *bytes, size_t n)
{
    FILE *out = fopen(path_of(name), "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, n, out), n);
    assert_int_equal(fclose(out), 0);
}

static void expect_file_error(const char *content, nyb_status status, const char *const *words)
{
    nyb_error err = {.text = ""};
    nyb_recipe *r;
    write_file("bad.recipe", content, strlen(content));
    assert_int_equal(nyb_recipe_create(path_of("bad.recipe"), &r, &err), status);
    assert_null(r);
    for (; *words; words++)
        if (!strstr(err.text, *words))
            fail_msg("'%s' does not mention '%s'", err.text, *words);
}

static void test_file(void **state)
{
    (void)state;
    const char *text = "# mine\r\n\n  base = luq   # from here\r\n"
                       "wgrad.dy.samples=2\n\tedges = recipe\nabout = two # samples\n"
                       "differs = item#1\n\nfinish.epochs = 1";
    write_file("smp2.recipe", text, strlen(text));
    nyb_recipe *r = create(path_of("smp2.recipe"));
    expect(r, "name", "smp2");
    expect(r, "about", "two");
    expect(r, "differs", "item#1");
    expect(r, "wgrad.dy.samples", "2");
    expect(r, "edges", "recipe");
    expect(r, "finish.epochs", "1");
    expect(r, "fwd.x", "int4/sawb/tensor/nearest");
    nyb_recipe_destroy(&r);

    char second[256];
    snprintf(second, sizeof second, "base = %s\nname = other\n", path_of("smp2.recipe"));
    write_file("second.recipe", second, strlen(second));
    r = create(path_of("second.recipe"));
    expect(r, "name", "other");
    assert_non_null(strstr(nyb_recipe_about(r), "with the keys of second"));
    assert_memory_equal(nyb_recipe_differs(r), "by the keys of second; besides, item#1", 38);
    expect(r, "wgrad.dy.samples", "2");
    nyb_recipe_destroy(&r);

    static const char third[] = "\xef\xbb\xbf"
                                "base = ./second.recipe\r\nedges = int8\r\n";
    write_file("third.recipe", third, strlen(third)); /* seen from its folder, not from ours */
    r = create(path_of("third.recipe"));
    expect(r, "wgrad.dy.samples", "2");
    expect(r, "edges", "int8");
    nyb_recipe_destroy(&r);

    write_file("empty.recipe", "", 0);
    r = create(path_of("empty.recipe"));
    expect(r, "fwd.x", "f32");
    nyb_recipe_destroy(&r);
}

/* Also where they are cut. */
static void test_names_are_utf8(void **state)
{
    (void)state;
    nyb_recipe *r = create("luq");
    char name[160], file[256], text[] = "base = luq\n";
    size_t n = 0;
    expect_error("luq", "name", "caf\xe9", NYB_INVALID, WORDS("name", "UTF-8"));
    while (n < 156)
        n += (size_t)snprintf(name + n, sizeof name - n, "\xe2\x82\xac");
    for (size_t extra = 0; extra < 4; extra++) {
        memset(name + n, 'x', extra);
        name[n + extra] = 0;
        expect_set(r, "name", name);
        expect_set(r, "edges", "recipe");
        assert_true(nyb_text_is_utf8(nyb_recipe_name(r)));
        assert_non_null(strstr(nyb_recipe_name(r), "+..."));
    }
    nyb_recipe_destroy(&r);
    write_file("order.recipe", text, strlen(text));
    snprintf(file, sizeof file, "%s/%.120s.recipe", folder, name);
    assert_int_equal(symlink("order.recipe", file), 0);
    r = create(file);
    assert_true(nyb_text_is_utf8(nyb_recipe_name(r)));
    assert_int_equal(strlen(nyb_recipe_name(r)), 99);
    nyb_recipe_destroy(&r);
    unlink(file);
    nyb_error err;
    write_file("r\xe9.recipe", text, strlen(text));
    assert_int_equal(nyb_recipe_create(path_of("r\xe9.recipe"), &r, &err), NYB_INVALID);
    assert_non_null(strstr(err.text, "UTF-8"));
    assert_null(r);
    unlink(path_of("r\xe9.recipe"));
}

/* Lines may come in any order that ends in a recipe that can exist. */
static void test_file_checks_at_the_end(void **state)
{
    (void)state;
    const char *text = "base = luq\ndgrad.dy.rounding = nearest\ndgrad.dy.scale = sawb\n"
                       "dgrad.dy.format = int4\n";
    write_file("order.recipe", text, strlen(text));
    nyb_recipe *r = create(path_of("order.recipe"));
    expect(r, "dgrad.dy", "int4/sawb/tensor/nearest");
    nyb_recipe_destroy(&r);
    expect_file_error("base = luq\ndgrad.dy.scale = sawb\n", NYB_INVALID, WORDS("dgrad.dy"));
}

static void test_file_errors(void **state)
{
    (void)state;
    expect_file_error("base = luq\n\nedge = f32\n", NYB_UNKNOWN, WORDS("bad.recipe:3", "edges"));
    expect_file_error("base = lug\n", NYB_UNKNOWN, WORDS("bad.recipe:1", "luq_naive"));
    expect_file_error("edges = f32\nbase = luq\n", NYB_CORRUPT, WORDS(":2", "base"));
    expect_file_error("just words\n", NYB_CORRUPT, WORDS(":1", "key = value"));
    expect_file_error("finish.epochs = -1\n", NYB_INVALID, WORDS(":1", "0 .. 10000"));
    expect_file_error("edges = f32\n\nedges = recipe\n", NYB_CORRUPT,
                      WORDS(":3", "edges", "line 1"));
    expect_file_error("fwd.x.scale = sawb\nfwd.x = int4\n", NYB_INVALID,
                      WORDS(":1", "format first"));
    expect_file_error("base = luq\nfwd.x.scale = absmax\nfwd.x = int8\n", NYB_CORRUPT,
                      WORDS(":3", "fwd.x", "fwd.x.scale", "line 2"));
    expect_file_error("base = luq\nwgrad.x.nonneg = uint5\nwgrad.x.format = int5\n", NYB_CORRUPT,
                      WORDS(":3", "wgrad.x.nonneg"));
    char circle[160];
    snprintf(circle, sizeof circle, "base = %s\n", path_of("bad.recipe"));
    expect_file_error(circle, NYB_INVALID, WORDS("circle"));

    char longest[3000];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    expect_file_error(longest, NYB_CORRUPT, WORDS("longer"));
    nyb_error err;
    nyb_recipe *r;
    write_file("zero.recipe", "base = luq\n\0edges", 17);
    assert_int_equal(nyb_recipe_create(path_of("zero.recipe"), &r, &err), NYB_CORRUPT);
    assert_int_equal(nyb_recipe_create(path_of("missing.recipe"), &r, &err), NYB_IO);
    assert_null(r);
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/nybble-recipe-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"bad.recipe",   "smp2.recipe",  "second.recipe",
                                        "empty.recipe", "order.recipe", "zero.recipe",
                                        "third.recipe"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlink(path_of(names[i]));
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_builtin_all),
        cmocka_unit_test(test_luq_is_the_paper),
        cmocka_unit_test(test_ablations_change_one_thing),
        cmocka_unit_test(test_f32_quantizes_nothing),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_key_sets_what_it_prints),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_modes_of_the_caller),
        cmocka_unit_test(test_set_parts),
        cmocka_unit_test(test_name_records_changes),
        cmocka_unit_test(test_names_are_utf8),
        cmocka_unit_test(test_set_errors),
        cmocka_unit_test(test_impossible_operands),
        cmocka_unit_test(test_unknown_recipe),
        cmocka_unit_test(test_nulls),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_file_checks_at_the_end),
        cmocka_unit_test(test_file_errors),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
