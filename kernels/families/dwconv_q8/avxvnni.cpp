// dwconv_q8/avxvnni: the quantized depthwise convolution of dwconv_x86.h on vpdpbusd in ymm registers: 32 channels, up to four
// rows a column.
//
// Registers (3 x 3): 8 accumulators of two outputs, 4 of a column, 2 of its unpacking: 14 of 16; weights are memory operands.
// 32 channels of an output: 16 unpacks, 12 vpdpbusd, 19 instructions to requantize, 18 loads, 1 store.
// Measured (kernels_bench, layers of MobileNetV2-224, Zen 5, peak of vpdpbusd 212 GMAC/s): 39..57 GMAC/s, 0.18..0.27 of the peak.
#include "kernel.h"
#include "isa/x86/q8_avxvnni.h"
#include "dwconv_x86.h"

extern "C" {
extern const sterna::DwConvQ8Kernel sterna_dwconv_q8_avxvnni;
const sterna::DwConvQ8Kernel sterna_dwconv_q8_avxvnni = {"dwconv_q8/avxvnni", sterna::DwConvQ8<sterna::Q8VecVnni256>::PackedBytes,
    sterna::DwConvQ8<sterna::Q8VecVnni256>::Pack, sterna::DwConvQ8<sterna::Q8VecVnni256>::ScratchBytes,
    sterna::DwConvQ8<sterna::Q8VecVnni256>::Run};
}
