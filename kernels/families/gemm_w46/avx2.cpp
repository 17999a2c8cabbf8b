// gemm_w46/avx2: the GEMM of 4.6-bit codes of gemm_x86.h, on vpmaddubsw and vpaddw.
//
// Registers (6 x 16 tile): 12 sums of 16 bits, 2 vectors of weights, 1 broadcast of four activations, 1 product: 16 of 16; sums of 32 bits are in
// memory between flushes. 32 products take a multiply and an addition, where gemm_q8/avx2 takes two multiplies, an xor and an addition; two
// multiplies a cycle are the bound of both, and what is left of them (12 in 6.7 cycles) goes to additions that take a multiplier's port.
// Measured (Zen 5, narrow_bench avx2, M 192..3136, N 96..384), against gemm_q8/avx2 and gemm_f32/avx2: 1.43x and 2.2x at K = 32, 1.60x and
// 2.7x at 64, 1.68x and 3.1x at 128, 1.76x and 3.4x at 256, 1.80x and 3.6x from 576 on; one row 2.7..3.1x, as nothing is expanded.
#include "kernel.h"
#include "isa/x86/narrow_avx2.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmNarrowKernel sterna_gemm_w46_avx2;
const sterna::GemmNarrowKernel sterna_gemm_w46_avx2 = sterna::NarrowKernel<sterna::NarrowVec256, sterna::SumsW46>("gemm_w46/avx2");
}
