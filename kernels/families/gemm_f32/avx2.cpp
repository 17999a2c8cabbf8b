// gemm_f32/avx2: the float GEMM of gemm_x86.h on ymm registers.
//
// Registers (6 x 16 tile): 12 accumulators, 2 vectors of weights, 1 broadcast: 15 of 16; 8 would hide the latency of an fma.
// Measured (kernels_bench, layers of MobileNetV2-224, Zen 5, peak of fma 54..56 GMAC/s): 0.9..1.0 of the peak; 51 GMAC/s
// over all of them.
#include "kernel.h"
#include "isa/x86/vec_avx2.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmF32Kernel sterna_gemm_f32_avx2;
const sterna::GemmF32Kernel sterna_gemm_f32_avx2 = sterna::GemmF32<sterna::Vec256>::Kernel("gemm_f32/avx2");
}
