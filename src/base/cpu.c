#include "base/cpu.h"

#include <stdlib.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <xmmintrin.h>
#endif

/* Bits of the Intel SDM, volume 2, CPUID. */
#define BIT(n)               (1u << (n))
#define LEAF1_ECX_AVX2_LEVEL (BIT(12) | BIT(20) | BIT(23) | BIT(25) | BIT(28) | BIT(29))
/*                            FMA       SSE4.2    POPCNT    AES       AVX       F16C    */
#define LEAF1_ECX_OSXSAVE    BIT(27)
#define LEAF7_EBX_AVX2_LEVEL (BIT(3) | BIT(5) | BIT(8))                        /* BMI1 AVX2 BMI2 */
#define LEAF7_EBX_AVX512     (BIT(16) | BIT(17) | BIT(28) | BIT(30) | BIT(31)) /* F DQ CD BW VL */
#define LEAF7_ECX_VAES       (BIT(1) | BIT(9)) /* AVX512_VBMI VAES: no CPU has one of them */
#define LEAF7_ECX_VNNI       BIT(11)
#define LEAF7_EDX_AMX        (BIT(24) | BIT(25)) /* TILE INT8 */
#define XCR0_YMM             0x6u                /* xmm, ymm                          */
#define XCR0_ZMM             0xe6u               /* and opmask, zmm high, zmm 16..31  */
#define XCR0_TILE            0x60000u            /* tile configuration, tile data     */

static bool has(uint64_t value, uint64_t bits)
{
    return (value & bits) == bits;
}

uint32_t nyb_cpu_from_regs(const nyb_cpu_regs *r)
{
    uint32_t mask = 0;

    if (r->leaf0_eax < 7 || !has(r->leaf1_ecx, LEAF1_ECX_OSXSAVE) || !has(r->xcr0, XCR0_YMM) ||
        !has(r->leaf1_ecx, LEAF1_ECX_AVX2_LEVEL) || !has(r->leaf7_ebx, LEAF7_EBX_AVX2_LEVEL))
        return 0;
    mask |= NYB_CPU_AVX2;
    if (!has(r->xcr0, XCR0_ZMM) || !has(r->leaf7_ebx, LEAF7_EBX_AVX512))
        return mask;
    mask |= NYB_CPU_AVX512;
    if (has(r->leaf7_ecx, LEAF7_ECX_VAES))
        mask |= NYB_CPU_VAES;
    if (!has(r->leaf7_ecx, LEAF7_ECX_VNNI))
        return mask;
    mask |= NYB_CPU_AVX512VNNI;
    if (has(r->xcr0, XCR0_TILE) && has(r->leaf7_edx, LEAF7_EDX_AMX) && r->amx_permitted)
        mask |= NYB_CPU_AMX;
    return mask;
}

#if defined(__x86_64__) && NYB_SIMD
static uint64_t read_xcr0(void)
{
    uint32_t lo, hi;

    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* Linux gives tile registers only on request: arch_prctl(2). */
static bool ask_for_tiles(void)
{
    return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* XTILEDATA */) == 0;
}
#endif

uint32_t nyb_cpu_detect(void)
{
    nyb_cpu_regs r = {0};

#if defined(__x86_64__) && NYB_SIMD
    uint32_t eax, ebx, ecx, edx;

    __cpuid(0, r.leaf0_eax, ebx, ecx, edx);
    __cpuid(1, eax, ebx, r.leaf1_ecx, r.leaf1_edx);
    if (r.leaf0_eax >= 7)
        __cpuid_count(7, 0, eax, r.leaf7_ebx, r.leaf7_ecx, r.leaf7_edx);
    if (has(r.leaf1_ecx, LEAF1_ECX_OSXSAVE))
        r.xcr0 = read_xcr0();
    if (has(r.leaf7_edx, LEAF7_EDX_AMX) && has(r.xcr0, XCR0_TILE))
        r.amx_permitted = ask_for_tiles();
#endif
    /* A build with -Demulate=true computes the kernels for later CPUs in C. */
    const uint32_t mask = nyb_cpu_from_regs(&r);
    return NYB_EMULATE && mask ? NYB_CPU_ALL : mask;
}

/* Levels a user may name, highest first, with all bits each allows. */
static const struct level {
    const char *word;
    uint32_t allowed, needs;
} levels[] = {
    {"amx", ~0u, NYB_CPU_AMX},
    {"avx512vnni", ~NYB_CPU_AMX, NYB_CPU_AVX512VNNI},
    {"avx512", NYB_CPU_AVX2 | NYB_CPU_AVX512, NYB_CPU_AVX512},
    {"avx2", NYB_CPU_AVX2, NYB_CPU_AVX2},
    {"ref", 0, 0},
};
#define N_LEVELS (sizeof levels / sizeof *levels)

/* "auto" allows everything, as the highest level does. */
static nyb_status find_level(const char *word, const struct level **level, nyb_error *err)
{
    *level = NULL;
    for (size_t i = 0; i < N_LEVELS; i++)
        if (!strcmp(levels[i].word, word))
            *level = &levels[i];
    if (!*level && strcmp(word, "auto") != 0)
        return nyb_fail(err, NYB_UNKNOWN,
                        "cpu '%.100s': want auto, amx, avx512vnni, avx512, avx2 or ref", word);
    return NYB_OK;
}

nyb_status nyb_cpu_limit(const char *word, uint32_t machine, uint32_t *mask, nyb_error *err)
{
    const struct level *level;

    NYB_TRY(find_level(word, &level, err));
    if (level && !has(machine, level->needs))
        return nyb_fail(err, NYB_INVALID, "cpu '%s': this machine has only %s", word,
                        nyb_cpu_name(machine));
    *mask = level ? machine & level->allowed : machine;
    return NYB_OK;
}

nyb_status nyb_cpu_cap(const char *word, uint32_t machine, uint32_t *mask, nyb_error *err)
{
    const struct level *level;

    NYB_TRY(find_level(word, &level, err));
    *mask = level ? machine & level->allowed : machine;
    return NYB_OK;
}

nyb_status nyb_cpu_parse(const char *word, uint32_t *mask, nyb_error *err)
{
    const uint32_t machine = nyb_cpu_detect();
    const char *variable = getenv("NYBBLE_CPU");
    uint32_t wanted, cap;
    nyb_error why;
    nyb_status status;

    status = nyb_cpu_cap(variable && *variable ? variable : "auto", machine, &cap, &why);
    if (status != NYB_OK)
        return nyb_fail(err, status, "NYBBLE_CPU: %s", why.text);
    NYB_TRY(nyb_cpu_limit(word ? word : "auto", machine, &wanted, err));
    *mask = wanted & cap;
    return NYB_OK;
}

const char *nyb_cpu_name(uint32_t mask)
{
    if (mask & NYB_CPU_AMX)
        return "amx";
    if (mask & NYB_CPU_AVX512VNNI)
        return "avx512vnni";
    if (mask & NYB_CPU_AVX512)
        return "avx512";
    return mask & NYB_CPU_AVX2 ? "avx2" : "ref";
}

/* The register of floating-point modes. For computing: whatever mode the caller has set, subnormals
 * are zeros as operands and as results, exceptions are masked, and results are rounded to nearest.
 */
#if defined(__x86_64__)
#define COMPUTE 0x9fc0u /* MXCSR: FTZ (bit 15), DAZ (bit 6), masks */

static uint32_t read_modes(void)
{
    return _mm_getcsr();
}

static void write_modes(uint32_t modes)
{
    _mm_setcsr(modes);
}
#elif defined(__aarch64__)
#define COMPUTE 0x1000000u /* FPCR: FZ (bit 24) */

static uint32_t read_modes(void)
{
    uint64_t modes;

    __asm__ volatile("mrs %0, fpcr" : "=r"(modes));
    return (uint32_t)modes; /* the upper half is reserved */
}

static void write_modes(uint32_t modes)
{
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)modes));
}
#else
#define COMPUTE 0u

static uint32_t read_modes(void)
{
    return 0;
}

static void write_modes(uint32_t modes)
{
    (void)modes;
}
#endif

uint32_t nyb_cpu_fp_enter(void)
{
    const uint32_t former = read_modes();

    write_modes(COMPUTE);
    return former;
}

void nyb_cpu_fp_restore(uint32_t former)
{
    write_modes(former);
}
