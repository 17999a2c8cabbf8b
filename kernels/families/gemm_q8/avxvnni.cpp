// gemm_q8/avxvnni: the quantized GEMM of gemm_x86.h on vpdpbusd in ymm registers, which does not saturate.
//
// Registers (6 x 16 tile): 12 accumulators, 2 vectors of weights, 1 broadcast of four activations: 15 of 16. A step is 12
// vpdpbusd and 8 loads. 12 x 8 serves what is left of the channels.
// Measured (kernels_bench, layers of MobileNetV2-224, Zen 5, peak of vpdpbusd 212 GMAC/s): 0.87..0.98 of the peak for depths from
// 64 on (0.69..0.91 with a residual), 0.59..0.79 where requantizing dominates (depths of 16 to 32); 165 GMAC/s over all of
// them. One row (a classifier) is limited by the memory of the weights: 55 GB/s.
#include "kernel.h"
#include "isa/x86/q8_avxvnni.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmQ8Kernel sterna_gemm_q8_avxvnni;
const sterna::GemmQ8Kernel sterna_gemm_q8_avxvnni = sterna::GemmQ8<sterna::Q8VecVnni256>::Kernel("gemm_q8/avxvnni");
}
