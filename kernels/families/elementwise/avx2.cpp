// elementwise/avx2: the element-wise kernels of elementwise_x86.h on ymm registers.
#include "kernel.h"
#include "isa/x86/q8_avx2.h"
#include "isa/x86/vec_avx2.h"
#include "elementwise_x86.h"

extern "C" {
extern const sterna::ElementwiseKernels sterna_elementwise_avx2;
const sterna::ElementwiseKernels sterna_elementwise_avx2 = sterna::Elementwise<sterna::Q8Vec256, sterna::Vec256>::Kernels("elementwise/avx2");
}
