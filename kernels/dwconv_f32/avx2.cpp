// dwconv_f32/avx2: the float depthwise convolution of dwconv_x86.h on ymm registers.
#include "../x86/vec_avx2.h"
#include "dwconv_x86.h"

extern "C" {
extern const sterna::DwConvF32Kernel sterna_dwconv_f32_avx2;
const sterna::DwConvF32Kernel sterna_dwconv_f32_avx2 = {"dwconv_f32/avx2", sterna::DwConvF32<sterna::Vec256>::Run};
}
