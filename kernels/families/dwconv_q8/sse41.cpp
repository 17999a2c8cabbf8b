// dwconv_q8/sse41: the quantized depthwise convolution of dwconv_x86.h on pmaddwd: 16 channels, two rows a column, 16 bits.
//
// Registers (3 x 3): 8 accumulators of two outputs, 4 of a column, zero, 2 products: 15 of 16.
// Measured (kernels_bench, layers of MobileNetV2-224, Zen 5, peak of movdqa + pmaddubsw + pmaddwd + paddd 54 GMAC/s): 13..19
// GMAC/s, 0.25..0.36 of the peak: multiplies are a quarter of the instructions.
#include "kernel.h"
#include "isa/x86/q8_sse41.h"
#include "dwconv_x86.h"

extern "C" {
extern const sterna::DwConvQ8Kernel sterna_dwconv_q8_sse41;
const sterna::DwConvQ8Kernel sterna_dwconv_q8_sse41 = {"dwconv_q8/sse41", sterna::DwConvQ8<sterna::Q8Vec128>::PackedBytes,
    sterna::DwConvQ8<sterna::Q8Vec128>::Pack, sterna::DwConvQ8<sterna::Q8Vec128>::ScratchBytes,
    sterna::DwConvQ8<sterna::Q8Vec128>::Run};
}
