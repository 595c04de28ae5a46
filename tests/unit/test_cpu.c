/* CPU detection on recorded machines, and the words a user may say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include <nybble/context.h>

#include "base/cpu.h"

#define AVX2         NYB_CPU_AVX2
#define UP_TO_AVX512 (NYB_CPU_AVX2 | NYB_CPU_AVX512)
#define UP_TO_VNNI   (UP_TO_AVX512 | NYB_CPU_AVX512VNNI)
#define UP_TO_AMX    (UP_TO_VNNI | NYB_CPU_VAES | NYB_CPU_AMX)

/* The first as cpuid shows it in a virtual machine; the others carry the feature bits of their
 * kind. */
static const nyb_cpu_regs granite_rapids = {.leaf0_eax = 0x24,
                                            .leaf1_ecx = 0xfffa3203,
                                            .leaf1_edx = 0x1f8bfbff,
                                            .leaf7_ebx = 0xf1bf2ffb,
                                            .leaf7_ecx = 0x1a415f46,
                                            .leaf7_edx = 0x23c14010,
                                            .xcr0 = 0x600e7,
                                            .amx_permitted = true};
static const nyb_cpu_regs cascade_lake = {.leaf0_eax = 0x16,
                                          .leaf1_ecx = 0xfffa3203,
                                          .leaf1_edx = 0x1f8bfbff,
                                          .leaf7_ebx = 0xd19f27eb,
                                          .leaf7_ecx = 0x0000080c,
                                          .leaf7_edx = 0xac000400,
                                          .xcr0 = 0x2e7};
static const nyb_cpu_regs skylake_x = {.leaf0_eax = 0x16,
                                       .leaf1_ecx = 0xfffa3203,
                                       .leaf1_edx = 0x1f8bfbff,
                                       .leaf7_ebx = 0xd19f4fbb,
                                       .leaf7_ecx = 0x0000000c,
                                       .leaf7_edx = 0x9c000600,
                                       .xcr0 = 0x2e7};
static const nyb_cpu_regs haswell = {.leaf0_eax = 0xd,
                                     .leaf1_ecx = 0x7ffafbff,
                                     .leaf1_edx = 0xbfebfbff,
                                     .leaf7_ebx = 0x000027ab,
                                     .leaf7_ecx = 0,
                                     .leaf7_edx = 0x9c000600,
                                     .xcr0 = 0x7};
static const nyb_cpu_regs sandy_bridge = {
    .leaf0_eax = 0xd, .leaf1_ecx = 0x1fbae3ff, .leaf1_edx = 0xbfebfbff, .xcr0 = 0x7};
/* A hybrid part: VAES and AVX-VNNI, but no AVX-512. */
static const nyb_cpu_regs alder_lake = {.leaf0_eax = 0x20,
                                        .leaf1_ecx = 0x7ffafbff,
                                        .leaf1_edx = 0xbfebfbff,
                                        .leaf7_ebx = 0x239c27eb,
                                        .leaf7_ecx = 0x98c027ac,
                                        .leaf7_edx = 0xfc1cc410,
                                        .xcr0 = 0x207};

static void recorded_machines_have_their_levels(void **state)
{
    (void)state;
    assert_int_equal(nyb_cpu_from_regs(&granite_rapids), UP_TO_AMX);
    assert_int_equal(nyb_cpu_from_regs(&cascade_lake), UP_TO_VNNI);
    assert_int_equal(nyb_cpu_from_regs(&skylake_x), UP_TO_AVX512);
    assert_int_equal(nyb_cpu_from_regs(&haswell), AVX2);
    assert_int_equal(nyb_cpu_from_regs(&alder_lake), AVX2);
    assert_int_equal(nyb_cpu_from_regs(&sandy_bridge), 0);
    assert_int_equal(nyb_cpu_from_regs(&(nyb_cpu_regs){0}), 0);
}

static void the_operating_system_must_save_registers(void **state)
{
    nyb_cpu_regs r = haswell;

    (void)state;
    r.xcr0 = 0x3; /* no ymm */
    assert_int_equal(nyb_cpu_from_regs(&r), 0);
    r = haswell;
    r.leaf1_ecx &= ~(1u << 27); /* OSXSAVE */
    assert_int_equal(nyb_cpu_from_regs(&r), 0);
    r = granite_rapids;
    r.xcr0 = 0x7; /* no zmm */
    assert_int_equal(nyb_cpu_from_regs(&r), AVX2);
    r.xcr0 = 0x67; /* all but zmm16-31 */
    assert_int_equal(nyb_cpu_from_regs(&r), AVX2);
    r.xcr0 = 0x60007; /* tiles without zmm */
    assert_int_equal(nyb_cpu_from_regs(&r), AVX2);
}

static void tiles_need_state_and_permission(void **state)
{
    nyb_cpu_regs r = granite_rapids;

    (void)state;
    r.amx_permitted = false;
    assert_int_equal(nyb_cpu_from_regs(&r), UP_TO_AMX & ~NYB_CPU_AMX);
    r = granite_rapids;
    r.xcr0 = 0x200e7; /* tile configuration, no tile data */
    assert_int_equal(nyb_cpu_from_regs(&r), UP_TO_AMX & ~NYB_CPU_AMX);
    r = granite_rapids;
    r.leaf7_edx &= ~(1u << 25); /* AMX-INT8 */
    assert_int_equal(nyb_cpu_from_regs(&r), UP_TO_AMX & ~NYB_CPU_AMX);
}

/* Taking away any bit of a level takes the level and those above it. */
static void every_bit_of_a_level_counts(void **state)
{
    static const int leaf1[] = {12, 23, 25, 27, 28, 29}, avx2[] = {3, 5, 8};
    static const int avx512[] = {16, 17, 28, 30, 31};

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        nyb_cpu_regs r = granite_rapids;
        r.leaf1_ecx &= ~(1u << leaf1[i]);
        assert_int_equal(nyb_cpu_from_regs(&r), 0);
    }
    for (size_t i = 0; i < 3; i++) {
        nyb_cpu_regs r = granite_rapids;
        r.leaf7_ebx &= ~(1u << avx2[i]);
        assert_int_equal(nyb_cpu_from_regs(&r), 0);
    }
    for (size_t i = 0; i < 5; i++) {
        nyb_cpu_regs r = granite_rapids;
        r.leaf7_ebx &= ~(1u << avx512[i]);
        assert_int_equal(nyb_cpu_from_regs(&r), AVX2);
    }
    nyb_cpu_regs r = granite_rapids;
    r.leaf0_eax = 6; /* leaf 7 is not there, whatever was read */
    assert_int_equal(nyb_cpu_from_regs(&r), 0);
}

static void a_word_limits_the_machine(void **state)
{
    static const struct {
        const char *word;
        uint32_t want;
    } known[] = {
        {"auto", UP_TO_AMX},      {"amx", UP_TO_AMX}, {"avx512vnni", UP_TO_VNNI | NYB_CPU_VAES},
        {"avx512", UP_TO_AVX512}, {"avx2", AVX2},     {"ref", 0}};
    uint32_t mask = 99;

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_int_equal(nyb_cpu_limit(known[i].word, UP_TO_AMX, &mask, NULL), NYB_OK);
        assert_int_equal(mask, known[i].want);
        if (i > 0) /* what is printed can be said */
            assert_string_equal(nyb_cpu_name(mask), known[i].word);
    }
}

static void a_level_that_is_missing_is_an_error(void **state)
{
    uint32_t mask = 99;
    nyb_error err;

    (void)state;
    assert_int_equal(nyb_cpu_limit("amx", UP_TO_VNNI, &mask, &err), NYB_INVALID);
    assert_non_null(strstr(err.text, "avx512vnni"));
    assert_int_equal(nyb_cpu_limit("avx2", 0, &mask, &err), NYB_INVALID);
    assert_int_equal(nyb_cpu_limit("avx3", UP_TO_AMX, &mask, &err), NYB_UNKNOWN);
    assert_non_null(strstr(err.text, "avx3"));
    assert_non_null(strstr(err.text, "avx512vnni"));
    assert_int_equal(nyb_cpu_limit("", UP_TO_AMX, &mask, &err), NYB_UNKNOWN);
    assert_int_equal(mask, 99);
}

static void a_cap_above_the_machine_is_the_machine(void **state)
{
    static const char *const words[] = {"auto", "amx", "avx512vnni", "avx512", "avx2", "ref"};
    const uint32_t machines[] = {0, AVX2, UP_TO_AVX512, UP_TO_VNNI, UP_TO_AMX};
    uint32_t mask = 99;

    (void)state;
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++)
        for (size_t j = 0; j < sizeof words / sizeof *words; j++) {
            uint32_t limited;

            assert_int_equal(nyb_cpu_cap(words[j], machines[i], &mask, NULL), NYB_OK);
            if (nyb_cpu_limit(words[j], machines[i], &limited, NULL) != NYB_OK)
                limited = machines[i];
            assert_int_equal(mask, limited);
        }
    assert_int_equal(nyb_cpu_cap("avx3", UP_TO_AMX, &mask, NULL), NYB_UNKNOWN);
}

static void the_environment_caps_every_word(void **state)
{
    uint32_t mask = 99, machine = nyb_cpu_detect();
    nyb_error err;

    (void)state;
    unsetenv("NYBBLE_CPU");
    assert_int_equal(nyb_cpu_parse(NULL, &mask, NULL), NYB_OK);
    assert_int_equal(mask, machine);
    setenv("NYBBLE_CPU", "ref", 1);
    assert_int_equal(nyb_cpu_parse(NULL, &mask, NULL), NYB_OK);
    assert_int_equal(mask, 0);
    assert_int_equal(nyb_cpu_parse("auto", &mask, NULL), NYB_OK);
    assert_int_equal(mask, 0);
    if (machine & NYB_CPU_AVX2) {
        assert_int_equal(nyb_cpu_parse("avx2", &mask, NULL), NYB_OK);
        assert_int_equal(mask, 0); /* lowered, not refused */
        setenv("NYBBLE_CPU", "avx2", 1);
        assert_int_equal(nyb_cpu_parse(nyb_cpu_name(machine), &mask, NULL), NYB_OK);
        assert_int_equal(mask, AVX2);
        assert_int_equal(nyb_cpu_parse("ref", &mask, NULL), NYB_OK);
        assert_int_equal(mask, 0);
    }
    setenv("NYBBLE_CPU", "amx", 1); /* the machine may have less */
    assert_int_equal(nyb_cpu_parse("auto", &mask, NULL), NYB_OK);
    assert_int_equal(mask, machine);
    setenv("NYBBLE_CPU", "avx3", 1);
    assert_int_equal(nyb_cpu_parse(NULL, &mask, &err), NYB_UNKNOWN);
    assert_non_null(strstr(err.text, "NYBBLE_CPU"));
    assert_int_equal(nyb_cpu_parse("ref", &mask, &err), NYB_UNKNOWN);
    setenv("NYBBLE_CPU", "", 1);
    assert_int_equal(nyb_cpu_parse("auto", &mask, NULL), NYB_OK);
    assert_int_equal(mask, machine);
    unsetenv("NYBBLE_CPU");
}

static void a_context_tells_what_it_uses(void **state)
{
    nyb_context *context;
    nyb_error err;

    (void)state;
    assert_int_equal(nyb_context_create("ref", 3, &context, NULL), NYB_OK);
    assert_string_equal(nyb_context_cpu(context), "ref");
    assert_int_equal(nyb_context_threads(context), 3);
    nyb_context_destroy(&context);
    assert_null(context);
    nyb_context_destroy(&context);
    assert_int_equal(nyb_context_create(NULL, 0, &context, NULL), NYB_OK);
    assert_true(nyb_context_threads(context) >= 1);
    nyb_context_destroy(&context);
    assert_int_equal(nyb_context_create("x86", 1, &context, &err), NYB_UNKNOWN);
    assert_null(context);
    assert_int_equal(nyb_context_create(NULL, 10000, &context, &err), NYB_INVALID);
    assert_null(context);
    assert_non_null(strchr(nyb_version(), '.'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_machines_have_their_levels),
        cmocka_unit_test(the_operating_system_must_save_registers),
        cmocka_unit_test(tiles_need_state_and_permission),
        cmocka_unit_test(every_bit_of_a_level_counts),
        cmocka_unit_test(a_word_limits_the_machine),
        cmocka_unit_test(a_level_that_is_missing_is_an_error),
        cmocka_unit_test(a_cap_above_the_machine_is_the_machine),
        cmocka_unit_test(the_environment_caps_every_word),
        cmocka_unit_test(a_context_tells_what_it_uses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
