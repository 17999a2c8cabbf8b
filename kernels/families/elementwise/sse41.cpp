// elementwise/sse41: the element-wise kernels of elementwise_x86.h on xmm registers.
#include "kernel.h"
#include "isa/x86/q8_sse41.h"
#include "isa/x86/vec_sse41.h"
#include "elementwise_x86.h"

extern "C" {
extern const sterna::ElementwiseKernels sterna_elementwise_sse41;
const sterna::ElementwiseKernels sterna_elementwise_sse41 = sterna::Elementwise<sterna::Q8Vec128, sterna::Vec128>::Kernels("elementwise/sse41");
}
