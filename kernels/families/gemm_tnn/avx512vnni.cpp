// gemm_tnn/avx512vnni: the ternary GEMM of isa/x86/gemm_popcount.h, by vpopcntd.
//
// Registers: 20 sums, 2 vectors of signs and 2 of masks, 2 broadcasts, 2 counts and -2: 29 of 32 (10 x 32 tile). 20 outputs of 32 bits take 120 instructions and
// 24 loads. Measured (kernels_bench bits, Zen 5, of a peak of the six instructions on registers of 1070..1170 GMAC/s): 0.73 of it at a depth of 256,
// 0.82..0.87 at 1152.
#include "families/gemm_bnn/kernel.h"
#include "isa/x86/bits_avx512.h"
#include "isa/x86/gemm_popcount.h"

namespace {
using Gemm = sterna::GemmBits<sterna::PopcountCore<sterna::BitsVec512, sterna::Bits::kTernary>>;
}  // namespace

extern "C" {
extern const sterna::GemmBitsKernel sterna_gemm_tnn_avx512vnni;
const sterna::GemmBitsKernel sterna_gemm_tnn_avx512vnni = {"gemm_tnn/avx512vnni", Gemm::PackedBytes, Gemm::Pack, Gemm::ScratchBytes, Gemm::Run};
}
