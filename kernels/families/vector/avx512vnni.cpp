// vector/avx512vnni: the element-wise kernels of vector_x86.h on zmm registers.
#include "kernel.h"
#include "isa/x86/q8_avx512.h"
#include "isa/x86/vec_avx512.h"
#include "vector_x86.h"

extern "C" {
extern const sterna::VectorKernels sterna_vector_avx512vnni;
const sterna::VectorKernels sterna_vector_avx512vnni = sterna::Vector<sterna::Q8Vec512, sterna::Vec512>::Kernels("vector/avx512vnni");
}
