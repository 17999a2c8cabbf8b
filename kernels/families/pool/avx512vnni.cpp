// pool/avx512vnni: the pools of pool_x86.h on zmm registers.
#include "kernel.h"
#include "isa/x86/q8_avx512.h"
#include "isa/x86/vec_avx512.h"
#include "pool_x86.h"

extern "C" {
extern const sterna::PoolKernels sterna_pool_avx512vnni;
const sterna::PoolKernels sterna_pool_avx512vnni = sterna::Pools<sterna::Q8Vec512, sterna::Vec512>::Kernels("pool/avx512vnni");
}
