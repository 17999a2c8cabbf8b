// dwconv_f32/avx512vnni: the float depthwise convolution of dwconv_x86.h on zmm registers.
#include "../x86/vec_avx512.h"
#include "dwconv_x86.h"

extern "C" {
extern const sterna::DwConvF32Kernel sterna_dwconv_f32_avx512vnni;
const sterna::DwConvF32Kernel sterna_dwconv_f32_avx512vnni = {"dwconv_f32/avx512vnni", sterna::DwConvF32<sterna::Vec512>::Run};
}
