// dwconv_q8/sse41: the quantized depthwise convolution of dwconv_x86.h on pmaddwd: 16 channels, two rows a column, 16 bits.
#include "../x86/q8_sse41.h"
#include "dwconv_x86.h"

extern "C" {
extern const sterna::DwConvQ8Kernel sterna_dwconv_q8_sse41;
const sterna::DwConvQ8Kernel sterna_dwconv_q8_sse41 = {"dwconv_q8/sse41", sterna::DwConvQ8<sterna::Q8Vec128>::PackedBytes,
    sterna::DwConvQ8<sterna::Q8Vec128>::Pack, sterna::DwConvQ8<sterna::Q8Vec128>::ScratchBytes,
    sterna::DwConvQ8<sterna::Q8Vec128>::Run};
}
