// elementwise/avx512vnni: the element-wise kernels of elementwise_x86.h on zmm registers.
#include "kernel.h"
#include "isa/x86/q8_avx512.h"
#include "isa/x86/vec_avx512.h"
#include "elementwise_x86.h"

extern "C" {
extern const sterna::ElementwiseKernels sterna_elementwise_avx512vnni;
const sterna::ElementwiseKernels sterna_elementwise_avx512vnni = sterna::Elementwise<sterna::Q8Vec512, sterna::Vec512>::Kernels("elementwise/avx512vnni");
}
