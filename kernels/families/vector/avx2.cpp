// vector/avx2: the element-wise kernels of vector_x86.h on ymm registers.
#include "kernel.h"
#include "isa/x86/q8_avx2.h"
#include "isa/x86/vec_avx2.h"
#include "vector_x86.h"

extern "C" {
extern const sterna::VectorKernels sterna_vector_avx2;
const sterna::VectorKernels sterna_vector_avx2 = sterna::Vector<sterna::Q8Vec256, sterna::Vec256>::Kernels("vector/avx2");
}
