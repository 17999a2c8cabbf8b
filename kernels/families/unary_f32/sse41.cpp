// unary_f32/sse41: the functions of functions.h on xmm registers.
#include "kernel.h"
#include "isa/x86/vec_sse41.h"
#include "functions.h"

extern "C" {
extern const sterna::UnaryF32Kernels sterna_unary_f32_sse41;
const sterna::UnaryF32Kernels sterna_unary_f32_sse41 = sterna::Functions<sterna::Vec128>::Kernels("unary_f32/sse41");
}
