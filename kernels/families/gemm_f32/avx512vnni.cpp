// gemm_f32/avx512vnni: the float GEMM of gemm_x86.h on zmm registers.
//
// Registers (6 x 64 tile): 24 accumulators, 4 vectors of weights, 1 broadcast: 29 of 32; 8 would hide the latency of an fma.
// Measured (kernels_bench, layers of MobileNetV2-224, Zen 5, peak of fma 108..112 GMAC/s): 0.93..1.00 of the peak from a depth
// of 32 on, 0.65..0.85 at shallower ones and where 24 channels fill 32 lanes; 94 GMAC/s over all of them.
#include "kernel.h"
#include "isa/x86/vec_avx512.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmF32Kernel sterna_gemm_f32_avx512vnni;
const sterna::GemmF32Kernel sterna_gemm_f32_avx512vnni = sterna::GemmF32<sterna::Vec512>::Kernel("gemm_f32/avx512vnni");
}
