// gemm_tbn/ref: the executable specification of the ternary-binary GEMM, a in {-1, 0, 1}, w in {-1, 1}.
//
//   y[i][o] = epilogue(bias[o] + row_bias[i][o] + popcount(mask[i]) - 2 popcount(mask[i] & (sign[i] ^ w[o])))
#include "families/gemm_bnn/kernel.h"
#include "families/gemm_bnn/ref_bits.h"
#include "families/typed_reference.h"

namespace sterna {
namespace {

template <typename T>
void Run(const GemmBitsArgs* args) {
  const size_t words = args->words;
  RunBits<T>(args, false, [words](const uint32_t* a, const uint32_t* mask, const uint32_t* w, const uint32_t*, int32_t) {
    int32_t sum = 0;
    for (size_t p = 0; p < words; ++p) sum += CountBits(mask[p]) - 2 * CountBits(mask[p] & (a[p] ^ w[p]));
    return sum;
  });
}

}  // namespace

STERNA_TYPED_REFERENCE(GemmBitsKernel, gemm_tbn, PackedBytes<1>, PackPlanes, NoScratch, Run<T>)

}  // namespace sterna
