// gemm_tnn/avx2: the ternary GEMM of isa/x86/gemm_lookup.h, four bits of 32 channels a shuffle.
#include "families/gemm_bnn/kernel.h"
#include "isa/x86/bits_avx2.h"
#include "isa/x86/gemm_lookup.h"

namespace {
using Gemm = sterna::GemmBits<sterna::LookupCore<sterna::BitsVec256, sterna::Bits::kTernary>>;
}  // namespace

extern "C" {
extern const sterna::GemmBitsKernel sterna_gemm_tnn_avx2;
const sterna::GemmBitsKernel sterna_gemm_tnn_avx2 = {"gemm_tnn/avx2", Gemm::PackedBytes, Gemm::Pack, Gemm::ScratchBytes, Gemm::Run};
}
