// gemm_bnn/sse41: the binary GEMM of isa/x86/gemm_lookup.h, four bits of 16 channels a shuffle.
#include "kernel.h"
#include "isa/x86/bits_sse41.h"
#include "isa/x86/gemm_lookup.h"

namespace {
using Gemm = sterna::GemmBits<sterna::LookupCore<sterna::BitsVec128, sterna::Bits::kBinary>>;
}  // namespace

extern "C" {
extern const sterna::GemmBitsKernel sterna_gemm_bnn_sse41;
const sterna::GemmBitsKernel sterna_gemm_bnn_sse41 = {"gemm_bnn/sse41", Gemm::PackedBytes, Gemm::Pack, Gemm::ScratchBytes, Gemm::Run};
}
