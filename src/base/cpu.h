/* Which instruction sets this process may use: a pure function of register values. */
#ifndef NYB_CPU_H
#define NYB_CPU_H

#include "base/base.h"

/* Bits of a CPU mask. Each implies that the OS saves the registers it needs. */
#define NYB_CPU_AVX2       (1u << 0) /* AVX2, FMA, F16C, BMI1, BMI2, AES-NI, POPCNT         */
#define NYB_CPU_AVX512     (1u << 1) /* F, BW, DQ, VL, CD, and AVX2 above                    */
#define NYB_CPU_AVX512VNNI (1u << 2) /* AVX512_VNNI                                          */
#define NYB_CPU_VAES       (1u << 3) /* VAES on zmm registers, AVX512_VBMI                   */
#define NYB_CPU_AMX        (1u << 4) /* AMX-TILE, AMX-INT8, permission, and AVX512VNNI      */
#define NYB_CPU_ALL        0x1fu

/* Raw values; a test feeds recorded machines. */
typedef struct nyb_cpu_regs {
    uint32_t leaf0_eax; /* highest basic leaf                            */
    uint32_t leaf1_ecx, leaf1_edx;
    uint32_t leaf7_ebx, leaf7_ecx, leaf7_edx; /* subleaf 0                                    */
    uint64_t xcr0;                            /* 0 if OSXSAVE is not set                       */
    bool amx_permitted;                       /* arch_prctl(ARCH_REQ_XCOMP_PERM, 18) succeeded */
} nyb_cpu_regs;

uint32_t nyb_cpu_from_regs(const nyb_cpu_regs *regs);

/* Reads this machine's registers (0 in a build without SIMD); asks the kernel for AMX permission
 * (once per process, before threads are created). */
uint32_t nyb_cpu_detect(void);

/* Highest level a user may name: auto, amx, avx512vnni, avx512, avx2, ref. The mask is what that
 * word and $NYBBLE_CPU, if it is set, both allow on this machine; asking by word for a level the
 * machine lacks is NYB_INVALID, an unknown word NYB_UNKNOWN with the list. NULL means "auto". */
NYB_MUST_CHECK nyb_status nyb_cpu_parse(const char *word, uint32_t *mask, nyb_error *err);
/* The same for a machine with this mask; $NYBBLE_CPU is not read, word is not NULL. */
NYB_MUST_CHECK nyb_status nyb_cpu_limit(const char *word, uint32_t machine, uint32_t *mask,
                                        nyb_error *err);
/* The same, but a level that the machine lacks allows all that it has. */
NYB_MUST_CHECK nyb_status nyb_cpu_cap(const char *word, uint32_t machine, uint32_t *mask,
                                      nyb_error *err);
/* "amx", "avx512vnni", "avx512", "avx2" or "ref": the highest level of a mask. */
const char *nyb_cpu_name(uint32_t mask);

/* FTZ and DAZ on, rounding to nearest, exceptions masked; returns the former value for
 * nyb_cpu_fp_restore. NUMERICS, binding resolution 1: subnormals are zeros in every compute thread.
 */
uint32_t nyb_cpu_fp_enter(void);
void nyb_cpu_fp_restore(uint32_t former);

#endif
