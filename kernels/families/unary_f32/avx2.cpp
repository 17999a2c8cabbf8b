// unary_f32/avx2: the functions of functions.h on ymm registers.
#include "kernel.h"
#include "isa/x86/vec_avx2.h"
#include "functions.h"

extern "C" {
extern const sterna::UnaryF32Kernels sterna_unary_f32_avx2;
const sterna::UnaryF32Kernels sterna_unary_f32_avx2 = sterna::Functions<sterna::Vec256>::Kernels("unary_f32/avx2");
}
