#include "../x86/bits_avx512.h"
#include "../x86/gemm_popcount.h"

namespace {
using Gemm = sterna::GemmBits<sterna::PopcountCore<sterna::BitsVec512, sterna::Bits::kBinary>>;
}  // namespace

extern "C" {
extern const sterna::GemmBitsKernel sterna_gemm_bnn_avx512vnni;
const sterna::GemmBitsKernel sterna_gemm_bnn_avx512vnni = {"gemm_bnn/avx512vnni", Gemm::PackedBytes, Gemm::Pack, Gemm::ScratchBytes, Gemm::Run};
}
