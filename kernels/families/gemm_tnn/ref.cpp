// gemm_tnn/ref: the executable specification of the ternary GEMM, a and w in {-1, 0, 1}.
//
//   y[i][o] = epilogue(bias[o] + row_bias[i][o] + popcount(nz) - 2 popcount(nz & (sign_a ^ sign_w))),  nz = mask_a & mask_w
#include "families/gemm_bnn/kernel.h"
#include "families/gemm_bnn/ref_bits.h"
#include "families/typed_reference.h"

namespace sterna {
namespace {

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

}  // namespace

STERNA_TYPED_REFERENCE(GemmBitsKernel, gemm_tnn, PackedBytes<2>, PackPlanes, NoScratch, Run<T>)

}  // namespace sterna
