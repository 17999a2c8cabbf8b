// dwconv_f32/sse41: the float depthwise convolution of dwconv_x86.h on xmm registers.
#include "../x86/vec_sse41.h"
#include "dwconv_x86.h"

extern "C" {
extern const sterna::DwConvF32Kernel sterna_dwconv_f32_sse41;
const sterna::DwConvF32Kernel sterna_dwconv_f32_sse41 = {"dwconv_f32/sse41", sterna::DwConvF32<sterna::Vec128>::Run};
}
