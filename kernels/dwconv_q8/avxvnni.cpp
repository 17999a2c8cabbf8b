// dwconv_q8/avxvnni: the quantized depthwise convolution of dwconv_x86.h on vpdpbusd in ymm registers: 32 channels, up to four
// rows a column.
#include "../x86/q8_avxvnni.h"
#include "dwconv_x86.h"

extern "C" {
extern const sterna::DwConvQ8Kernel sterna_dwconv_q8_avxvnni;
const sterna::DwConvQ8Kernel sterna_dwconv_q8_avxvnni = {"dwconv_q8/avxvnni", sterna::DwConvQ8<sterna::Q8VecVnni256>::PackedBytes,
    sterna::DwConvQ8<sterna::Q8VecVnni256>::Pack, sterna::DwConvQ8<sterna::Q8VecVnni256>::ScratchBytes,
    sterna::DwConvQ8<sterna::Q8VecVnni256>::Run};
}
