// pool/avx2: the pools of pool_x86.h on ymm registers.
#include "kernel.h"
#include "isa/x86/q8_avx2.h"
#include "isa/x86/vec_avx2.h"
#include "pool_x86.h"

extern "C" {
extern const sterna::PoolKernels sterna_pool_avx2;
const sterna::PoolKernels sterna_pool_avx2 = sterna::Pools<sterna::Q8Vec256, sterna::Vec256>::Kernels("pool/avx2");
}
