// dwconv_f32/avx512vnni: the float depthwise convolution of dwconv_x86.h on zmm registers.
//
// Registers (two rows, 3 wide): 16 accumulators, 6 weights, 1 input: 23 of 32; 5 wide: 27.
// Measured (kernels_bench, layers of MobileNetV2-224, Zen 5): 20..50 GMAC/s; large maps are limited by L2 and L3.
#include "kernel.h"
#include "isa/x86/vec_avx512.h"
#include "dwconv_x86.h"

extern "C" {
extern const sterna::DwConvF32Kernel sterna_dwconv_f32_avx512vnni;
const sterna::DwConvF32Kernel sterna_dwconv_f32_avx512vnni = {"dwconv_f32/avx512vnni", sterna::DwConvF32<sterna::Vec512>::Run, sterna::DwConvF32<sterna::Vec512>::RunTwo};
}
