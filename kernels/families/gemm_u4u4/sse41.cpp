// gemm_u4u4/sse41: the GEMM of 4-bit codes of gemm_w46/gemm_x86.h: gemm_w46/sse41 with weights of half the bytes (avx2.cpp).
//
// Measured (Zen 5, narrow_bench sse41), against gemm_q8/sse41: 1.39x at K = 32, 1.5x at 64, 1.6x at 128, 1.65x from 256 on; one row 1.4x.
#include "families/gemm_w46/kernel.h"
#include "families/gemm_w46/gemm_x86.h"
#include "isa/x86/narrow_sse41.h"

extern "C" {
extern const sterna::GemmNarrowKernel sterna_gemm_u4u4_sse41;
const sterna::GemmNarrowKernel sterna_gemm_u4u4_sse41 = sterna::NarrowKernel<sterna::NarrowVec128, sterna::SumsU4U4>("gemm_u4u4/sse41");
}
