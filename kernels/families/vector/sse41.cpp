// vector/sse41: the element-wise kernels of vector_x86.h on xmm registers.
#include "kernel.h"
#include "isa/x86/q8_sse41.h"
#include "isa/x86/vec_sse41.h"
#include "vector_x86.h"

extern "C" {
extern const sterna::VectorKernels sterna_vector_sse41;
const sterna::VectorKernels sterna_vector_sse41 = sterna::Vector<sterna::Q8Vec128, sterna::Vec128>::Kernels("vector/sse41");
}
