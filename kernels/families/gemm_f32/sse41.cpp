// gemm_f32/sse41: the float GEMM of gemm_x86.h on xmm registers.
//
// Registers (6 x 8 tile): 12 accumulators, 2 vectors of weights, 1 broadcast, 1 product: 16 of 16; products of different rows
// do not wait for each other, sums take three cycles.
// Measured (kernels_bench, layers of MobileNetV2-224, Zen 5, peak of movaps + mulps + addps 26 GMAC/s): 0.42..0.72 of the peak,
// 17 GMAC/s over all of them. A broadcast takes a load and a shuffle, which the peak does not.
#include "kernel.h"
#include "isa/x86/vec_sse41.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmF32Kernel sterna_gemm_f32_sse41;
const sterna::GemmF32Kernel sterna_gemm_f32_sse41 = sterna::GemmF32<sterna::Vec128>::Kernel("gemm_f32/sse41");
}
