// dwconv_q8/avx2: the quantized depthwise convolution of dwconv_x86.h on vpmaddwd: 32 channels, two rows a column, 16 bits.
//
// Registers: three outputs in flight (12 accumulators) beside a column of 4 do not fit 16, some spill; columns through
// scratch, or fewer outputs, were slower.
// Measured (kernels_bench, layers of MobileNetV2-224, Zen 5): 19..31 GMAC/s, 0.21..0.32 of the peak of vpmaddwd + vpaddd.
#include "../x86/q8_avx2.h"
#include "dwconv_x86.h"

extern "C" {
extern const sterna::DwConvQ8Kernel sterna_dwconv_q8_avx2;
const sterna::DwConvQ8Kernel sterna_dwconv_q8_avx2 = {"dwconv_q8/avx2", sterna::DwConvQ8<sterna::Q8Vec256>::PackedBytes,
    sterna::DwConvQ8<sterna::Q8Vec256>::Pack, sterna::DwConvQ8<sterna::Q8Vec256>::ScratchBytes,
    sterna::DwConvQ8<sterna::Q8Vec256>::Run};
}
