// dwconv_f32/avx2: the float depthwise convolution of dwconv_x86.h on ymm registers.
//
// Registers (3 wide): 8 accumulators, 3 weights, 1 input: 12 of 16; eight chains hide the latency of an fma.
// Measured (kernels_bench, layers of MobileNetV2-224, Zen 5): 12..35 GMAC/s; large maps are limited by L2 and L3.
#include "kernel.h"
#include "isa/x86/vec_avx2.h"
#include "dwconv_x86.h"

extern "C" {
extern const sterna::DwConvF32Kernel sterna_dwconv_f32_avx2;
const sterna::DwConvF32Kernel sterna_dwconv_f32_avx2 = {"dwconv_f32/avx2", sterna::DwConvF32<sterna::Vec256>::Run};
}
