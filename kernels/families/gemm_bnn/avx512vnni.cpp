// gemm_bnn/avx512vnni: the binary GEMM of isa/x86/gemm_popcount.h, by vpopcntd.
//
// Registers: 24 sums, 4 vectors of weights, a broadcast and a count: 30 of 32 (6 x 64 tile). 24 outputs of 32 bits take 72 instructions and 10 loads.
// Measured (kernels_bench bits, Zen 5, of a peak of vpxord + vpopcntd + vpaddd on registers of 2320..2470 GMAC/s): 0.62..0.66 of it at a depth of 256,
// 0.75..0.81 at 576, 0.84..0.88 at 1152.
#include "kernel.h"
#include "isa/x86/bits_avx512.h"
#include "isa/x86/gemm_popcount.h"

namespace {
using Gemm = sterna::GemmBits<sterna::PopcountCore<sterna::BitsVec512, sterna::Bits::kBinary>>;
}  // namespace

extern "C" {
extern const sterna::GemmBitsKernel sterna_gemm_bnn_avx512vnni;
const sterna::GemmBitsKernel sterna_gemm_bnn_avx512vnni = {"gemm_bnn/avx512vnni", Gemm::PackedBytes, Gemm::Pack, Gemm::ScratchBytes, Gemm::Run};
}
