/* Runs of integers, for tables of what codes are worth. */
#ifndef NYB_FORMAT_RUNS_H
#define NYB_FORMAT_RUNS_H

/* k, k + 1 .. k + n - 1 */
#define NYB_RUN_4(k)   (k), (k) + 1, (k) + 2, (k) + 3
#define NYB_RUN_8(k)   NYB_RUN_4(k), NYB_RUN_4((k) + 4)
#define NYB_RUN_16(k)  NYB_RUN_8(k), NYB_RUN_8((k) + 8)
#define NYB_RUN_32(k)  NYB_RUN_16(k), NYB_RUN_16((k) + 16)
#define NYB_RUN_64(k)  NYB_RUN_32(k), NYB_RUN_32((k) + 32)
#define NYB_RUN_128(k) NYB_RUN_64(k), NYB_RUN_64((k) + 64)
#define NYB_RUN_256(k) NYB_RUN_128(k), NYB_RUN_128((k) + 128)

/* Two's complement: 0 .. n - 1, -n .. -1 */
#define NYB_SIGNED_4   0, 1, -2, -1
#define NYB_SIGNED_8   NYB_RUN_4(0), NYB_RUN_4(-4)
#define NYB_SIGNED_32  NYB_RUN_16(0), NYB_RUN_16(-16)
#define NYB_SIGNED_64  NYB_RUN_32(0), NYB_RUN_32(-32)
#define NYB_SIGNED_128 NYB_RUN_64(0), NYB_RUN_64(-64)
#define NYB_SIGNED_256 NYB_RUN_128(0), NYB_RUN_128(-128)

/* A period, again and again: codes at rest may have more bits than are read. */
#define NYB_TWICE(...)   __VA_ARGS__, __VA_ARGS__
#define NYB_4_TIMES(...) NYB_TWICE(__VA_ARGS__), NYB_TWICE(__VA_ARGS__)
#define NYB_8_TIMES(...) NYB_4_TIMES(__VA_ARGS__), NYB_4_TIMES(__VA_ARGS__)

#endif
