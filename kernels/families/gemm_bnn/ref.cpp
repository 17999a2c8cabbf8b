// gemm_bnn/ref: the executable specification of the binary GEMM, a and w in {-1, 1}: bits that differ count -1, others +1.
//
//   y[i][o] = epilogue(bias[o] + row_bias[i][o] + depth - 2 popcount(a[i] ^ w[o]))
#include "kernel.h"
#include "families/typed_reference.h"
#include "ref_bits.h"

namespace sterna {
namespace {

template <typename T>
void Run(const GemmBitsArgs* args) {
  const size_t words = args->words;
  RunBits<T>(args, false, [words](const uint32_t* a, const uint32_t*, const uint32_t* w, const uint32_t*, int32_t depth) {
    int32_t sum = depth;
    for (size_t p = 0; p < words; ++p) sum -= 2 * CountBits(a[p] ^ w[p]);
    return sum;
  });
}

}  // namespace

STERNA_TYPED_REFERENCE(GemmBitsKernel, gemm_bnn, PackedBytes<1>, PackPlanes, NoScratch, Run<T>)

}  // namespace sterna
