// gemm_tbn/avx512vnni: the ternary-binary GEMM of isa/x86/gemm_popcount.h, by vpopcntd.
//
// Registers: 24 sums, 4 vectors of weights, a broadcast and a fresh mask: 30 of 32 (6 x 64 tile). 24 outputs of 32 bits take 72 instructions and 34 loads.
// Measured (kernels_bench bits, Zen 5): 0.81..0.84 of gemm_bnn's speed, for the loads of masks.
#include "families/gemm_bnn/kernel.h"
#include "isa/x86/bits_avx512.h"
#include "isa/x86/gemm_popcount.h"

namespace {
using Gemm = sterna::GemmBits<sterna::PopcountCore<sterna::BitsVec512, sterna::Bits::kTernaryBinary>>;
}  // namespace

extern "C" {
extern const sterna::GemmBitsKernel sterna_gemm_tbn_avx512vnni;
const sterna::GemmBitsKernel sterna_gemm_tbn_avx512vnni = {"gemm_tbn/avx512vnni", Gemm::PackedBytes, Gemm::Pack, Gemm::ScratchBytes, Gemm::Run};
}
