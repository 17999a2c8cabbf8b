// q8_sse41.h with sums of 16 bits, for the kernels of few codes (gemm_w46/gemm_x86.h).
#pragma once
#include "q8_sse41.h"

namespace sterna {
namespace {

struct NarrowVec128 : Q8Vec128 {
  // Tiles by vectors: 12 x 4 and 6 x 8, as in narrow_avx2.h.
  static constexpr int kGemmRows[] = {12, 6};

  // Adds a product to each sum of 16 bits: two activations times two weights, which must fit. The sum is added to in place and in order: left to
  // itself the compiler computes all of a step first, into registers that it then has to move or spill.
  static inline __attribute__((always_inline)) void DotPairs(Int& sums, Int activations, Int weights) {
    const Int product = _mm_maddubs_epi16(activations, weights);
    asm volatile("paddw %1, %0" : "+x"(sums) : "x"(product));
  }
  // Adds two sums of 16 bits to each of 32.
  static inline Int AddPairs(Int acc, Int sums) { return _mm_add_epi32(acc, _mm_madd_epi16(sums, _mm_set1_epi16(1))); }

  // A vector of weights from codes w + 8, two to a byte, the lower half first.
  static inline Int ExpandNibbles(const void* p) {
    const Int bytes = _mm_cvtepu8_epi16(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
    const Int codes = _mm_and_si128(_mm_or_si128(bytes, _mm_slli_epi16(bytes, 4)), _mm_set1_epi8(15));
    return _mm_sub_epi8(codes, _mm_set1_epi8(8));
  }
};

}  // namespace
}  // namespace sterna
