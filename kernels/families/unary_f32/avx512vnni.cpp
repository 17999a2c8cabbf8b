// unary_f32/avx512vnni: the functions of functions.h on zmm registers.
#include "kernel.h"
#include "isa/x86/vec_avx512.h"
#include "functions.h"

extern "C" {
extern const sterna::UnaryF32Kernels sterna_unary_f32_avx512vnni;
const sterna::UnaryF32Kernels sterna_unary_f32_avx512vnni = sterna::Functions<sterna::Vec512>::Kernels("unary_f32/avx512vnni");
}
