// gemm_tbn/sse41: the ternary-binary GEMM of isa/x86/gemm_lookup.h, four bits of 16 channels a shuffle.
#include "families/gemm_bnn/kernel.h"
#include "isa/x86/bits_sse41.h"
#include "isa/x86/gemm_lookup.h"

namespace {
using Gemm = sterna::GemmBits<sterna::LookupCore<sterna::BitsVec128, sterna::Bits::kTernaryBinary>>;
}  // namespace

extern "C" {
extern const sterna::GemmBitsKernel sterna_gemm_tbn_sse41;
const sterna::GemmBitsKernel sterna_gemm_tbn_sse41 = {"gemm_tbn/sse41", Gemm::PackedBytes, Gemm::Pack, Gemm::ScratchBytes, Gemm::Run};
}
