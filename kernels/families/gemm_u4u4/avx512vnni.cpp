// gemm_u4u4/avx512vnni: the GEMM of 4-bit codes of gemm_w46/gemm_x86.h, in zmm registers; for the record (gemm_w46/avx512vnni.cpp).
//
// Measured (Zen 5, narrow_bench avx512vnni), against gemm_q8/avx512vnni: 0.76x at K = 32, 0.80x at 64, 0.83x from 128 on; one row 0.6x.
#include "families/gemm_w46/kernel.h"
#include "families/gemm_w46/gemm_x86.h"
#include "isa/x86/narrow_avx512.h"

extern "C" {
extern const sterna::GemmNarrowKernel sterna_gemm_u4u4_avx512vnni;
const sterna::GemmNarrowKernel sterna_gemm_u4u4_avx512vnni = sterna::NarrowKernel<sterna::NarrowVec512, sterna::SumsU4U4>("gemm_u4u4/avx512vnni");
}
