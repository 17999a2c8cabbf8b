// dwconv_q8/avx2: the quantized depthwise convolution of dwconv_x86.h on vpmaddwd: 32 channels, two rows a column, widened to 16 bits.
#include "../x86/q8_avx2.h"
#include "dwconv_x86.h"

extern "C" {
extern const sterna::DwConvQ8Kernel sterna_dwconv_q8_avx2;
const sterna::DwConvQ8Kernel sterna_dwconv_q8_avx2 = {"dwconv_q8/avx2", sterna::DwConvQ8<sterna::Q8Vec256>::PackedBytes,
    sterna::DwConvQ8<sterna::Q8Vec256>::Pack, sterna::DwConvQ8<sterna::Q8Vec256>::ScratchBytes,
    sterna::DwConvQ8<sterna::Q8Vec256>::Run};
}
