// gemm_u4u4/avx2: the GEMM of 4-bit codes of gemm_w46/gemm_x86.h: gemm_w46/avx2 with weights of half the bytes.
//
// A panel of weights is expanded to bytes in scratch once for a block of rows, and then read by every tile: 2 % of the time at 192 rows, and a
// step less than the loop itself would take for it. Registers: as in gemm_w46/avx2.cpp.
// Measured (Zen 5, narrow_bench avx2), against gemm_q8/avx2: 1.40x at K = 32, 1.56x at 64, 1.66x at 128, 1.73x from 256 on; one row 1.4x.
#include "families/gemm_w46/kernel.h"
#include "families/gemm_w46/gemm_x86.h"
#include "isa/x86/narrow_avx2.h"

extern "C" {
extern const sterna::GemmNarrowKernel sterna_gemm_u4u4_avx2;
const sterna::GemmNarrowKernel sterna_gemm_u4u4_avx2 = sterna::NarrowKernel<sterna::NarrowVec256, sterna::SumsU4U4>("gemm_u4u4/avx2");
}
