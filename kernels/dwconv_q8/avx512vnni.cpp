// dwconv_q8/avx512vnni: the quantized depthwise convolution of dwconv_x86.h on vpdpbusd: 64 channels, up to four rows a column.
#include "../x86/q8_avx512.h"
#include "dwconv_x86.h"

extern "C" {
extern const sterna::DwConvQ8Kernel sterna_dwconv_q8_avx512vnni;
const sterna::DwConvQ8Kernel sterna_dwconv_q8_avx512vnni = {"dwconv_q8/avx512vnni", sterna::DwConvQ8<sterna::Q8Vec512>::PackedBytes,
    sterna::DwConvQ8<sterna::Q8Vec512>::Pack, sterna::DwConvQ8<sterna::Q8Vec512>::ScratchBytes,
    sterna::DwConvQ8<sterna::Q8Vec512>::Run};
}
