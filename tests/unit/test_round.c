/* The pipeline of rounded matrices against a plain double loop, and its invariances. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "known.h"
#include "quant/mix.h"
#include "quant/round.h"

#define ROWS 70
#define COLS 51

static float x[ROWS * COLS];

static int begin(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS * COLS; i++) {
        const float u = (float)(int32_t)known_u32(1, 0, 0, 0, 0, i) * 0x1p-31f;

        x[i] = u * u * u * (1.0f + (float)(i % 7));
    }
    return 0;
}

static nyb_spec parsed(const char *text)
{
    nyb_spec s = {0};
    nyb_error err = {.text = ""};

    if (nyb_spec_parse(text, &s, &err) != NYB_OK)
        fail_msg("%s: %s", text, err.text);
    return s;
}

/* false: this machine has no such cpu level. */
static bool run(const char *cpu, int threads, const nyb_spec *spec, nyb_view view, const float *in,
                float *out)
{
    const nyb_stream stream = {.seed = 5, .step = 3, .tensor = 2, .role = NYB_RNG_DY_DX};
    const nyb_stream signs = {.seed = 5, .step = 3, .tensor = 2, .role = NYB_RNG_HADAMARD};
    const nyb_round_job job = {
        .spec = spec, .view = view, .stream = &stream, .signs = &signs, .pre = 1, .post = 1};
    const size_t n_bytes = nyb_round_scratch_bytes(spec, &view);
    void *scratch = nyb_alloc(n_bytes + 1);
    nyb_context *context;
    uint32_t former;

    if (nyb_context_create(cpu, (size_t)threads, &context, NULL) != NYB_OK) {
        nyb_free(scratch);
        return false;
    }
    former = nyb_cpu_fp_enter();
    nyb_round_run(context, &job, in, out, scratch);
    nyb_context_destroy(&context);
    nyb_cpu_fp_restore(former);
    nyb_free(scratch);
    return true;
}

/* Blocks of 32 along a row, absmax: every value by hand. */
static void blocks_have_their_own_scales(void **state)
{
    const nyb_spec s = parsed("int4/absmax/block32/nearest");
    const nyb_view view = {.rows = ROWS, .cols = COLS};
    float *y = malloc(sizeof x);

    (void)state;
    run(NULL, 2, &s, view, x, y);
    for (size_t row = 0; row < ROWS; row++)
        for (size_t at = 0; at < COLS; at += 32) {
            const size_t n = nyb_min(32, COLS - at);
            const float *in = x + row * COLS + at, *out = y + row * COLS + at;
            float largest = 0, scale;

            for (size_t i = 0; i < n; i++)
                largest = fmaxf(largest, fabsf(in[i]));
            scale = largest / 7.0f;
            for (size_t i = 0; i < n; i++)
                assert_true(out[i] == rintf(in[i] * (1.0f / scale)) * scale);
        }
    free(y);
}

/* Groups down the rows are groups along the columns of the transposed matrix. */
static void down_is_along_of_the_transpose(void **state)
{
    static const char *const specs[] = {"int4/absmax/block16/nearest", "e3m0/absmax/block32/flush",
                                        "int4/absmax/block32/nearest/hadamard32",
                                        "int4/absmax/block16/nearest/random_hadamard64"};
    float *turned = malloc(sizeof x), *along = malloc(sizeof x), *down = malloc(sizeof x);

    (void)state;
    for (size_t r = 0; r < ROWS; r++)
        for (size_t c = 0; c < COLS; c++)
            turned[c * ROWS + r] = x[r * COLS + c];
    for (size_t k = 0; k < sizeof specs / sizeof *specs; k++) {
        const nyb_spec s = parsed(specs[k]);

        run(NULL, 2, &s, (nyb_view){.rows = COLS, .cols = ROWS}, turned, along);
        run(NULL, 2, &s, (nyb_view){.rows = ROWS, .cols = COLS, .down = true}, x, down);
        for (size_t r = 0; r < ROWS; r++)
            for (size_t c = 0; c < COLS; c++)
                assert_true(down[r * COLS + c] == along[c * ROWS + r]);
    }
    free(turned);
    free(along);
    free(down);
}

/* Every combination that exists: the same bits for every variant and number of threads, in place
 * or not, and no value beyond the largest by more than its format's coarsest step. */
static void bits_depend_on_nothing(void **state)
{
    static const char *const cpus[] = {"ref", "avx2", "avx512vnni", NULL};
    float *want = malloc(sizeof x), *got = malloc(sizeof x);

    (void)state;
    for (size_t f = 1; f < nyb_format_count(); f++)
        for (size_t r = 0; r < nyb_scale_rule_count(); r++)
            for (int group = 0; group <= NYB_GROUP_TILE16; group++)
                for (int down = 0; down < 2; down++) {
                    nyb_spec s = {.format = nyb_format_at(f),
                                  .scale = nyb_scale_rule_at(r),
                                  .group = (nyb_group)group,
                                  .rounding = NYB_ROUND_STOCHASTIC,
                                  .sr_bits = f % 2 ? 16 : 32,
                                  .mix = (f + r) % 3 ? NYB_MIX_NONE : NYB_MIX_RANDOM32};
                    const nyb_view view = {
                        .rows = ROWS, .cols = COLS, .run = 10 * COLS, .down = down};

                    if (nyb_spec_check(&s, NULL) != NYB_OK || s.scale->n_params > 0 ||
                        (7 * f + 3 * r + (size_t)group + (size_t)down) % 4)
                        continue;
                    run("ref", 1, &s, view, x, want);
                    for (size_t c = 1; c < 4; c++) {
                        memcpy(got, x, sizeof x);
                        if (run(cpus[c], c == 1 ? 7 : 2, &s, view, got, got))
                            assert_memory_equal(got, want, sizeof x);
                    }
                }
    free(want);
    free(got);
}

/* Unmixing gives the tensor back to rounding errors of the transform and the format. */
/* Codes of one scale stand for the values that rounding gives, also where elements are divided by
 * something else than the scale. */
static void packed_codes_are_the_values(void **state)
{
    static const char *const specs[] = {"ternary/twn/tensor/nearest",
                                        "ternary/bitnet/tensor/nearest",
                                        "int4/ptq_mse/tensor/nearest", "int4/lsq/tensor/nearest",
                                        "uint4/percentile99.9/tensor/nearest"};
    const nyb_stream stream = {.seed = 5, .step = 3, .tensor = 2, .role = NYB_RNG_DY_DX};
    const nyb_view view = {.rows = ROWS, .cols = COLS};
    float *want = malloc(sizeof x), *got = malloc(sizeof x);

    (void)state;
    for (size_t k = 0; k < sizeof specs / sizeof *specs; k++) {
        const nyb_spec s = parsed(specs[k]);
        float params[NYB_SCALE_PARAMS_MAX] = {0.25f};
        const nyb_round_job job = {.spec = &s,
                                   .view = view,
                                   .stream = &stream,
                                   .params = s.scale->n_params > 0 ? params : NULL,
                                   .pre = 1,
                                   .post = 1};
        nyb_packed p = {
            .format = s.format, .rows = ROWS, .cols = COLS, .pitch = nyb_packed_pitch(COLS)};
        void *scratch = nyb_alloc(nyb_round_scratch_bytes(&s, &view));
        const uint32_t former = nyb_cpu_fp_enter();
        nyb_context *context;

        assert_true(nyb_spec_packs(&s));
        assert_int_equal(nyb_context_create("auto", 2, &context, NULL), NYB_OK);
        const nyb_group_stats stats = nyb_round_stats(context, s.scale, x, ROWS * COLS, scratch);
        const nyb_group_scale scale = nyb_round_scale(context, &job, x, &stats);
        p.codes = nyb_alloc(nyb_packed_bytes(s.format, ROWS, COLS));
        p.scale = scale.scale;
        p.inv = s.scale->divides ? scale.inv : 0;
        assert_true(s.scale->divides == (scale.inv != 1.0f / scale.scale));
        nyb_encode_run(context, &s, &stream, x, &p);
        nyb_packed_decode(&p, got);
        nyb_round_run(context, &job, x, want, scratch);
        nyb_context_destroy(&context);
        nyb_cpu_fp_restore(former);
        for (size_t i = 0; i < ROWS * COLS; i++)
            if (got[i] != want[i])
                fail_msg("%s: element %zu of %a is %a, not %a", specs[k], i, (double)x[i],
                         (double)got[i], (double)want[i]);
        nyb_free(p.codes);
        nyb_free(scratch);
    }
    free(want);
    free(got);
}

static void unmix_undoes_a_mix(void **state)
{
    const nyb_spec s = parsed("int8/absmax/tensor/nearest/random_hadamard32");
    const nyb_stream stream = {.seed = 5, .step = 3, .tensor = 2};
    float *y = malloc(sizeof x);

    (void)state;
    for (int down = 0; down < 2; down++) {
        const nyb_view view = {.rows = ROWS, .cols = COLS, .down = down};
        nyb_stream signs = stream;
        nyb_context *context;

        signs.role = NYB_RNG_HADAMARD;
        const nyb_round_job job = {.spec = &s, .view = view, .signs = &signs};

        run(NULL, 1, &s, view, x, y);
        assert_int_equal(nyb_context_create(NULL, 1, &context, NULL), NYB_OK);
        nyb_round_unmix(context, &job, y);
        nyb_context_destroy(&context);
        for (size_t i = 0; i < ROWS * COLS; i++)
            assert_true(fabsf(y[i] - x[i]) < 0.08f);
    }
    free(y);
}

/* No gradient where an element is beyond either end of the range: below 0 for unsigned ones. */
static void the_mask_has_two_ends(void **state)
{
    static const struct {
        const char *spec;
        size_t n; /* of elements 0 .. 15 whose gradient is left; they are -4 .. 11 */
        size_t first;
    } cases[] = {
        {"uint4/unit/tensor/nearest", 12, 4},   {"uint2/unit/tensor/nearest", 4, 4},
        {"int2/unit/tensor/nearest", 3, 3},     {"int4/unit/tensor/nearest", 12, 0},
        {"e2m1/unit/tensor/nearest", 11, 0},    {"uint4/absmax/block16/nearest", 12, 4},
        {"int4/absmax/block16/nearest", 16, 0},
    };
    nyb_context *context;
    float real[16], dx[16];

    (void)state;
    assert_int_equal(nyb_context_create("auto", 1, &context, NULL), NYB_OK);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const nyb_spec spec = parsed(cases[c].spec);
        const nyb_view view = {.rows = 1, .cols = 16, .run = 16};
        const nyb_stream stream = {0};
        const nyb_round_job job = {
            .spec = &spec, .view = view, .stream = &stream, .signs = &stream, .pre = 1, .post = 1};
        void *scratch = nyb_alloc(nyb_round_scratch_bytes(&spec, &view) + 1);

        for (size_t i = 0; i < 16; i++) {
            real[i] = (float)i - 4;
            dx[i] = 1;
        }
        nyb_round_mask(context, &job, real, dx, scratch);
        for (size_t i = 0; i < 16; i++)
            if (dx[i] != (float)(i >= cases[c].first && i < cases[c].first + cases[c].n))
                fail_msg("%s: %g", cases[c].spec, (double)real[i]);
        nyb_free(scratch);
    }
    nyb_context_destroy(&context);
}

/* QuEST's mask is |x / X| < 6 (NUMERICS 7.6). */
static void the_mask_of_quest_has_no_ends(void **state)
{
    const nyb_spec spec = parsed("e2m1/e8m0_quest/block16/nearest");
    const nyb_view view = {.rows = 1, .cols = 16, .run = 16};
    const nyb_stream stream = {0};
    const nyb_round_job job = {
        .spec = &spec, .view = view, .stream = &stream, .signs = &stream, .pre = 1, .post = 1};
    void *scratch = nyb_alloc(nyb_round_scratch_bytes(&spec, &view) + 1);
    nyb_context *context;
    float real[16], dx[16];

    (void)state;
    assert_int_equal(nyb_context_create("auto", 1, &context, NULL), NYB_OK);
    for (size_t i = 0; i < 16; i++) { /* sigma is 3.9: X = 1 */
        const float large[6] = {6, -6, nextafterf(6, 0), nextafterf(-6, 0), 6.5f, -6.5f};

        real[i] = i < 6 ? large[i] : i % 2 ? 1.0f : -1.0f;
        dx[i] = 1;
    }
    nyb_round_mask(context, &job, real, dx, scratch);
    for (size_t i = 0; i < 16; i++)
        assert_true(dx[i] == (i == 0 || i == 1 || i == 4 || i == 5 ? 0 : 1));
    nyb_free(scratch);
    nyb_context_destroy(&context);
}

/* Of a gradient that is mixed already the mask is that of one that is not. */
static void a_mixed_gradient_is_masked_as_it_is(void **state)
{
    static const char *const texts[] = {"e2m1/e8m0_quest/block32/nearest/hadamard32",
                                        "int4/absmax/block16/nearest/hadamard64",
                                        "e2m1/e8m0/block16/nearest/hadamard16"};
    static float once[ROWS * COLS], already[ROWS * COLS];
    const nyb_stream stream = {0};
    nyb_context *context;

    (void)state;
    assert_int_equal(nyb_context_create("auto", 2, &context, NULL), NYB_OK);
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
        for (int down = 0; down < 2; down++) {
            const nyb_spec spec = parsed(texts[t]);
            const nyb_view view = {.rows = ROWS, .cols = COLS, .run = COLS, .down = down};
            nyb_round_job job = {.spec = &spec,
                                 .view = view,
                                 .stream = &stream,
                                 .signs = &stream,
                                 .pre = 1,
                                 .post = 1};
            void *scratch = nyb_alloc(nyb_round_scratch_bytes(&spec, &view) + 1);
            size_t n_masked = 0;

            for (size_t i = 0; i < ROWS * COLS; i++)
                once[i] = already[i] = (float)(int32_t)known_u32(2, 0, 0, 0, 0, i) * 0x1p-31f;
            nyb_round_mask(context, &job, x, once, scratch);
            nyb_round_unmix(context, &job, already); /* symmetric: a mix is its own inverse */
            job.mixed = true;
            nyb_round_mask(context, &job, x, already, scratch);
            for (size_t i = 0; i < ROWS * COLS; i++) {
                const float from = (float)(int32_t)known_u32(2, 0, 0, 0, 0, i) * 0x1p-31f;

                assert_float_equal(already[i], once[i], 1e-5);
                n_masked += fabsf(once[i] - from) > 0.01f;
            }
            assert_true(n_masked > 100 || strncmp(texts[t], "int4", 4) == 0);
            nyb_free(scratch);
        }
    nyb_context_destroy(&context);
}

enum { EDEN_MOST = 64 * 576 };

/* Signs, then transforms of 128, the tail in powers of two: of n elements. */
static void mix_by_hand(float *v, size_t n, const float *signs)
{
    for (size_t at = 0, size = 128; at < n; size /= 2)
        for (; n - at >= size; at += size)
            nyb_mix_ref.along(v + at, size, 1, signs, false);
}

/* S = sum t^2 / sum t q over each transform (NUMERICS 7.7): of a row of `width` elements, of which
 * `first` is the first of the stream and others are `step` apart. */
static void row_of_eden(const nyb_level *level, const nyb_stream *stream, const float *mixed,
                        size_t width, uint64_t first, size_t step, float *values)
{
    const nyb_format *f = &nyb_format_e2m1;
    nyb_stream bits = *stream;
    float t[EDEN_MOST];

    bits.role = NYB_RNG_SCALE;
    bits.sample = (uint8_t)(16 * stream->role + stream->sample);
    for (size_t at = 0, size = 128; at < width; size /= 2)
        for (; width - at >= size && at < width; at += size) {
            nyb_group_scale s[8];
            uint32_t r23[8];
            const size_t length = nyb_min(size, 16), n = size / length;

            for (size_t g = 0; g < n; g++) {
                nyb_group_stats stats = {.n = length};

                for (size_t i = at + g * length; i < at + (g + 1) * length; i++)
                    stats.absmax = fmaxf(stats.absmax, fabsf(mixed[i]));
                nyb_scale_ms_eden.group(f, level, &stats, NULL, 0, &s[g]);
                nyb_round_ref.draw(&bits, 32, first + (at + g * length) * step, 1, &r23[g]);
                for (size_t i = at + g * length; i < at + (g + 1) * length; i++)
                    t[i] = mixed[i] * s[g].inv;
            }
            nyb_round_ref.round(f, NYB_ROUND_NEAREST, t + at, NULL, size, values + at);
            nyb_scale_ms_eden.finish(f, level, t + at, values + at, length, n, r23, s);
            for (size_t i = at; i < at + size; i++)
                values[i] = values[i] * s[(i - at) / length].scale * level->scale;
        }
}

/* Widths whose last 128 are one transform, or several, and one whose last block has 8. */
static void eden_corrects_each_transform(void **state)
{
    static const size_t widths[] = {64, 144, 576, 96, 48, 176, 112, 200};
    static const char *const cpus[] = {"ref", "avx2", "avx512vnni"};
    const nyb_spec spec = parsed("e2m1/ms_eden/block16/nearest/random_hadamard128");
    const nyb_stream stream = {.seed = 5, .step = 3, .tensor = 2, .role = NYB_RNG_DY_DX};
    const nyb_stream signs_of = {.seed = 5, .step = 3, .tensor = 2, .role = NYB_RNG_HADAMARD};
    float *in = malloc(EDEN_MOST * sizeof *in), *turned = malloc(EDEN_MOST * sizeof *in);
    float *want = malloc(EDEN_MOST * sizeof *in), *got = malloc(EDEN_MOST * sizeof *in);
    float signs[128];

    (void)state;
    assert_non_null(nyb_mix_signs(spec.mix, &signs_of, signs));
    for (size_t k = 0; k < sizeof widths / sizeof *widths; k++)
        for (int down = 0; down < 2; down++) {
            const size_t width = widths[k], rows = 64, n = rows * width;
            const nyb_view view = {.rows = down ? width : rows,
                                   .cols = down ? rows : width,
                                   .run = width,
                                   .down = down};
            nyb_group_stats stats = {.n = n};
            nyb_level level;

            for (size_t i = 0; i < n; i++) {
                const float u = (float)(int32_t)known_u32(7, 0, 0, 0, 0, i) * 0x1p-31f;

                want[i] = in[i] = u * u * u;
            }
            for (size_t r = 0; r < rows; r++) {
                mix_by_hand(want + r * width, width, signs);
                for (size_t i = 0; i < width; i++) {
                    stats.absmax = fmaxf(stats.absmax, fabsf(want[r * width + i]));
                    turned[down ? i * rows + r : r * width + i] = in[r * width + i];
                }
            }
            nyb_scale_ms_eden.level(spec.format, &stats, &level);
            for (size_t r = 0; r < rows; r++) {
                memcpy(in, want + r * width, width * sizeof *in);
                row_of_eden(&level, &stream, in, width, down ? r : r * width, down ? rows : 1,
                            want + r * width);
            }
            for (size_t c = 0; c < 3; c++) {
                if (!run(cpus[c], 2, &spec, view, turned, got))
                    continue;
                for (size_t i = 0; i < n; i++)
                    if (got[down ? i % width * rows + i / width : i] != want[i])
                        fail_msg("%s, %zu wide, %s: row %zu, element %zu", cpus[c], width,
                                 down ? "down" : "along", i / width, i % width);
            }
        }
    free(in);
    free(turned);
    free(want);
    free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_have_their_own_scales),
        cmocka_unit_test(down_is_along_of_the_transpose),
        cmocka_unit_test(bits_depend_on_nothing),
        cmocka_unit_test(packed_codes_are_the_values),
        cmocka_unit_test(unmix_undoes_a_mix),
        cmocka_unit_test(eden_corrects_each_transform),
        cmocka_unit_test(the_mask_has_two_ends),
        cmocka_unit_test(the_mask_of_quest_has_no_ends),
        cmocka_unit_test(a_mixed_gradient_is_masked_as_it_is),
    };

    return cmocka_run_group_tests(tests, begin, NULL);
}
