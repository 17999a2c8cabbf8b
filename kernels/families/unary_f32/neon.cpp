// unary_f32/neon: the functions of functions.h on the four floats of a NEON register.
#include "kernel.h"
#include "isa/arm/vec_neon.h"
#include "functions.h"

extern "C" {
extern const sterna::UnaryF32Kernels sterna_unary_f32_neon;
const sterna::UnaryF32Kernels sterna_unary_f32_neon = sterna::Functions<sterna::VecNeon>::Kernels("unary_f32/neon");
}
