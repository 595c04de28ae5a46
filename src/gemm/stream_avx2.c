#include "gemm/stream_kernels.h"

const nyb_stream_kernel nyb_stream_avx2 = {NYB_CPU_AVX2, read_words, copy_words};
