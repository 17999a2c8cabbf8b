// gemm_tnn/ref: the executable specification of the ternary GEMM, a and w in {-1, 0, 1}.
//
//   y[i][o] = epilogue(bias[o] + row_bias[i][o] + popcount(nz) - 2 popcount(nz & (sign_a ^ sign_w))),  nz = mask_a & mask_w
#include "families/gemm_bnn/kernel.h"
#include "families/gemm_bnn/ref_bits.h"
#include "families/typed_reference.h"

namespace sterna {
namespace {

size_t PackedBytes(size_t n, size_t words) { return PlaneBytes(n, words, 2); }

template <typename T>
void Run(const GemmBitsArgs* args) {
  const size_t words = args->words;
  RunBits<T>(args, true, [words](const uint32_t* a, const uint32_t* mask, const uint32_t* w, const uint32_t* w_mask, int32_t) {
    int32_t sum = 0;
    for (size_t p = 0; p < words; ++p) {
      const uint32_t nonzero = mask[p] & w_mask[p];
      sum += CountBits(nonzero) - 2 * CountBits(nonzero & (a[p] ^ w[p]));
    }
    return sum;
  });
}

template <typename T>
constexpr GemmBitsKernel Reference() {
  return {"gemm_tnn/ref", PackedBytes, PackPlanes, NoScratch, Run<T>};
}

}  // namespace
}  // namespace sterna

STERNA_TYPED_REFERENCE(sterna::GemmBitsKernel, gemm_tnn, sterna::Reference)
