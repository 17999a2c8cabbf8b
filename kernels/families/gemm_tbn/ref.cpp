// gemm_tbn/ref: the executable specification of the ternary-binary GEMM, a in {-1, 0, 1}, w in {-1, 1}.
//
//   y[i][o] = epilogue(bias[o] + row_bias[i][o] + popcount(mask[i]) - 2 popcount(mask[i] & (sign[i] ^ w[o])))
#include "families/gemm_bnn/kernel.h"
#include "families/gemm_bnn/ref_bits.h"
#include "families/typed_reference.h"

namespace sterna {
namespace {

size_t PackedBytes(size_t n, size_t words) { return PlaneBytes(n, words, 1); }

template <typename T>
void Run(const GemmBitsArgs* args) {
  const size_t words = args->words;
  RunBits<T>(args, false, [words](const uint32_t* a, const uint32_t* mask, const uint32_t* w, const uint32_t*, int32_t) {
    int32_t sum = 0;
    for (size_t p = 0; p < words; ++p) sum += CountBits(mask[p]) - 2 * CountBits(mask[p] & (a[p] ^ w[p]));
    return sum;
  });
}

template <typename T>
constexpr GemmBitsKernel Reference() {
  return {"gemm_tbn/ref", PackedBytes, PackPlanes, NoScratch, Run<T>};
}

}  // namespace
}  // namespace sterna

STERNA_TYPED_REFERENCE(sterna::GemmBitsKernel, gemm_tbn, sterna::Reference)
