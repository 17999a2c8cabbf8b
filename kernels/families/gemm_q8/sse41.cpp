// gemm_q8/sse41: the quantized GEMM of gemm_x86.h on pmaddubsw, exact for all inputs (isa/x86/q8_avx2.h says how).
//
// Registers (4 x 8 tile): 8 accumulators, 2 vectors of weights, 2 of complements, ones, 1 broadcast of four activations, 2
// products: 16 of 16. 16 products take a copy, an xor, two multiplies and a sum; a broadcast takes a load and a shuffle.
// Measured (kernels_bench, layers of MobileNetV2-224, Zen 5, peak of movdqa + pmaddubsw + pmaddwd + paddd 54 GMAC/s): 0.71..0.82
// of the peak for depths from 64 on, 0.59..0.70 below, 0.28 for one row; 38 GMAC/s over all of them.
#include "kernel.h"
#include "isa/x86/q8_sse41.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmQ8Kernel sterna_gemm_q8_sse41;
const sterna::GemmQ8Kernel sterna_gemm_q8_sse41 = sterna::GemmQ8<sterna::Q8Vec128>::Kernel("gemm_q8/sse41");
}
