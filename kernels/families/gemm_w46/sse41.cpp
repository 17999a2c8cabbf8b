// gemm_w46/sse41: the GEMM of 4.6-bit codes of gemm_x86.h, on pmaddubsw and paddw.
//
// Registers (6 x 8 tile): as in avx2.cpp; a multiply overwrites the activations, so that the first of two copies them.
// Measured (Zen 5, narrow_bench sse41), against gemm_q8/sse41: 1.39x at K = 32, 1.52x at 64, 1.6x at 128, 1.7x from 256 on; one row 3.0x.
#include "kernel.h"
#include "isa/x86/narrow_sse41.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmNarrowKernel sterna_gemm_w46_sse41;
const sterna::GemmNarrowKernel sterna_gemm_w46_sse41 = sterna::NarrowKernel<sterna::NarrowVec128, sterna::SumsW46>("gemm_w46/sse41");
}
