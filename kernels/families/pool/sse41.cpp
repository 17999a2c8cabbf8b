// pool/sse41: the pools of pool_x86.h on xmm registers.
#include "kernel.h"
#include "isa/x86/q8_sse41.h"
#include "isa/x86/vec_sse41.h"
#include "pool_x86.h"

extern "C" {
extern const sterna::PoolKernels sterna_pool_sse41;
const sterna::PoolKernels sterna_pool_sse41 = sterna::Pools<sterna::Q8Vec128, sterna::Vec128>::Kernels("pool/sse41");
}
