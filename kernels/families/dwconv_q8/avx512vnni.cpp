// dwconv_q8/avx512vnni: the quantized depthwise convolution of dwconv_x86.h on vpdpbusd: 64 channels, up to four rows a column.
//
// Registers (3 x 3, stride 1): 12 accumulators of three outputs in flight, 12 vectors of weights, 4 of the column, 4 others.
// 64 channels of an output: 8 unpacks, 12 vpdpbusd, 18 instructions to requantize, 11 loads, 1 store.
// Measured (kernels_bench, layers of MobileNetV2-224, Zen 5): 55..92 GMAC/s, 76 over all of them. A quarter of each
// dot product is idle and most instructions are not dot products, so the share of vpdpbusd's peak is 0.13..0.21.
#include "kernel.h"
#include "isa/x86/q8_avx512.h"
#include "dwconv_x86.h"

extern "C" {
extern const sterna::DwConvQ8Kernel sterna_dwconv_q8_avx512vnni;
const sterna::DwConvQ8Kernel sterna_dwconv_q8_avx512vnni = {"dwconv_q8/avx512vnni", sterna::DwConvQ8<sterna::Q8Vec512>::PackedBytes,
    sterna::DwConvQ8<sterna::Q8Vec512>::Pack, sterna::DwConvQ8<sterna::Q8Vec512>::ScratchBytes,
    sterna::DwConvQ8<sterna::Q8Vec512>::Run};
}
