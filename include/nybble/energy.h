/* What the products of a training step would cost in energy, by a published table of operations. */
#ifndef NYBBLE_ENERGY_H
#define NYBBLE_ENERGY_H

#include <stdint.h>

#include <nybble/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Picojoules of one operation in a 45 nm process at 0.9 V: Horowitz, "Computing's energy problem
 * (and what we can do about it)", ISSCC 2014, Fig. 1.1.9.
 * X(constant, word, multiplication, addition) */
#define NYB_ARITH_LIST(X)                                                                          \
    X(NYB_ARITH_INT8, "int8", 0.2, 0.03)                                                           \
    X(NYB_ARITH_INT32, "int32", 3.1, 0.1)                                                          \
    X(NYB_ARITH_FP16, "fp16", 1.1, 0.4)                                                            \
    X(NYB_ARITH_FP32, "fp32", 3.7, 0.9)
typedef enum nyb_arith {
#define X(constant, word, mul, add) constant,
    NYB_ARITH_LIST(X)
#undef X
} nyb_arith;
#define NYB_ARITHS 4

NYB_API const char *nyb_arith_name(nyb_arith arith);
NYB_API double nyb_arith_mul_pj(nyb_arith arith);
NYB_API double nyb_arith_add_pj(nyb_arith arith);

/* Operations of a product (or of several) in one training step, as hardware with native units for
 * the operands would do them; whether nybble emulates the product makes no difference.
 *
 * One multiplication per multiply-add, of the wider operand's class. int8: integers of up to 8
 * bits, and formats whose values are small multiples of one unit or powers of two (all of 4 bits
 * but nf4; int8 is an upper bound for 4-bit x 4-bit). fp16: other formats of at most 16 bits (FP6,
 * FP8, fp16, bf16). fp32: f32, tf32. None where an operand is -1, 0 or 1 (binary, ternary), which
 * is a sign; engine mf has none either, but one int8 addition of exponents.
 *
 * One addition per multiply-add: int32 if both operands are of class int8, else fp32; with an
 * accumulator of its own by its format (integers: int8 or int32; floats of at most 16 bits: fp16),
 * and one more for each chunk (fp32 for integer accumulators). Where scales change along the sum,
 * each run of one scale takes a product of the two scales, a multiplication of the run's sum by it,
 * and an addition, all fp32 (an upper bound for narrow scales); the multiplications are int8
 * additions of exponents if all scales are powers of two.
 *
 * Not counted: memory traffic, which the same source puts above arithmetic (a DRAM access: 1300 to
 * 2600 pJ); quantization, scales, offsets and transforms of the operands; what happens once per
 * output; and everything that is no product of a layer (batchnorm, activations, optimizer). */
typedef struct nyb_energy {
    uint64_t macs; /* multiply-adds of the exact product in f32; 0 where f32 would not repeat it */
    uint64_t mul[NYB_ARITHS], add[NYB_ARITHS];
    double picojoules;
    double f32_picojoules; /* of the exact product in f32: 4.6 a multiply-add */
} nyb_energy;

/* sum += energy */
NYB_API void nyb_energy_add(nyb_energy *sum, const nyb_energy *energy);

#ifdef __cplusplus
}
#endif
#endif
