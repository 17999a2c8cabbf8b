// dwconv_f32/sse41: the float depthwise convolution of dwconv_x86.h on xmm registers.
//
// Registers (3 wide): 8 accumulators, 3 weights, 1 input, 1 product: 13 of 16.
// Measured (kernels_bench, layers of MobileNetV2-224, Zen 5, peak of movaps + mulps + addps 26 GMAC/s): 5..18 GMAC/s; large maps
// are limited by L2 and L3.
#include "kernel.h"
#include "isa/x86/vec_sse41.h"
#include "dwconv_x86.h"

extern "C" {
extern const sterna::DwConvF32Kernel sterna_dwconv_f32_sse41;
const sterna::DwConvF32Kernel sterna_dwconv_f32_sse41 = {"dwconv_f32/sse41", sterna::DwConvF32<sterna::Vec128>::Run};
}
