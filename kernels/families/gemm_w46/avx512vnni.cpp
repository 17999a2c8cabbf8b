// gemm_w46/avx512vnni: the GEMM of 4.6-bit codes of gemm_x86.h, in zmm registers. For the record: vpdpbusd does in one instruction what this takes
// two for, and dispatch leaves such layers on 8 bits (cmake/isa.cmake, BEATEN).
//
// Registers (6 x 64 tile): 24 sums, 4 vectors of weights, 1 broadcast, 1 product: 30 of 32.
// Measured (Zen 5, narrow_bench avx512vnni), against gemm_q8/avx512vnni: 0.76x at K = 32, 0.81x at 64, 0.85x from 128 on; one row 1.05x.
#include "kernel.h"
#include "isa/x86/narrow_avx512.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmNarrowKernel sterna_gemm_w46_avx512vnni;
const sterna::GemmNarrowKernel sterna_gemm_w46_avx512vnni = sterna::NarrowKernel<sterna::NarrowVec512, sterna::SumsW46>("gemm_w46/avx512vnni");
}
