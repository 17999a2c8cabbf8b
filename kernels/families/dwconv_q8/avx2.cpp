// dwconv_q8/avx2: the quantized depthwise convolution of dwconv_x86.h on vpmaddwd: 32 channels, two rows a column, 16 bits.
//
// Registers (3 x 3): 8 accumulators of two outputs, 4 of a column, zero, 2 products: 15 of 16. Three outputs that share
// columns, as with 32 registers, spilled: 0.93 against 0.69 ms over the layers of MobileNetV2-224.
// 32 channels of an output: 24 unpacks, 24 vpmaddwd and as many sums, 19 instructions to requantize, 30 loads, 1 store.
// Measured (layers of MobileNetV2-224, Zen 5, peak of vpmaddubsw + vpmaddwd + vpaddd 118 GMAC/s): 26..33 GMAC/s, 30 over all
// of them, 0.25 of the peak: multiplies are a quarter of the instructions, and a quarter of their operands is zero.
#include "kernel.h"
#include "isa/x86/q8_avx2.h"
#include "dwconv_x86.h"

extern "C" {
extern const sterna::DwConvQ8Kernel sterna_dwconv_q8_avx2;
const sterna::DwConvQ8Kernel sterna_dwconv_q8_avx2 = {"dwconv_q8/avx2", sterna::DwConvQ8<sterna::Q8Vec256>::PackedBytes,
    sterna::DwConvQ8<sterna::Q8Vec256>::Pack, sterna::DwConvQ8<sterna::Q8Vec256>::ScratchBytes,
    sterna::DwConvQ8<sterna::Q8Vec256>::Run};
}
