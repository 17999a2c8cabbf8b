// gemm_q8/avx512vnni: the quantized GEMM of gemm_x86.h on vpdpbusd, which does not saturate; sums wrap modulo 2^32 like ref's.
//
// Registers (6 x 64 tile): 24 accumulators, 4 vectors of weights, 1 broadcast of four activations: 29 of 32. A step is 24
// vpdpbusd and 10 loads; Zen 5 starts two of each a cycle, Zen 4 one multiply. 8 x 48, 12 x 32 and 12 x 16 serve what is left
// of the channels.
// Measured (kernels_bench, layers of MobileNetV2-224, Zen 5, peak of vpdpbusd 430..450 GMAC/s): 0.93..1.00 of the peak for
// 160 channels and more at depths from 160 on, 0.83..0.90 at depths of 64 and 96, 0.5..0.65 where requantizing dominates
// (depths of 16 to 32) or 24 channels fill 32 lanes; 335 GMAC/s over all of them. One row (a classifier) is limited by
// the memory of the weights: 100 GB/s.
#include "kernel.h"
#include "isa/x86/q8_avx512.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmQ8Kernel sterna_gemm_q8_avx512vnni;
const sterna::GemmQ8Kernel sterna_gemm_q8_avx512vnni = sterna::GemmQ8<sterna::Q8Vec512>::Kernel("gemm_q8/avx512vnni");
}
