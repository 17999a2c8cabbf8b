// q8_avx2.h with sums of 16 bits, for the kernels of few codes (gemm_w46/gemm_x86.h).
#pragma once
#include "q8_avx2.h"
#include "steer.h"

namespace sterna {
namespace {

struct NarrowVec256 : Q8Vec256 {
  // Tiles by vectors: 12 x 8 and 6 x 16. Twelve sums, two vectors of weights, a broadcast and a product fill the registers.
  static constexpr int kGemmRows[] = {12, 6};

  // Adds a product to each sum of 16 bits: two activations times two weights, which must fit. The sum is added to in place and in order: left to
  // itself the compiler computes all of a step first, into registers that it then has to move or spill.
  static inline __attribute__((always_inline)) void DotPairs(Int& sums, Int activations, Int weights) {
    const Int product = _mm256_maddubs_epi16(activations, weights);
    STERNA_STEER(asm volatile("vpaddw %1, %0, %0" : "+x"(sums) : "x"(product)), sums = _mm256_add_epi16(sums, product));
  }
  // Adds two sums of 16 bits to each of 32.
  static inline Int AddPairs(Int acc, Int sums) { return _mm256_add_epi32(acc, _mm256_madd_epi16(sums, _mm256_set1_epi16(1))); }

  // A vector of weights from codes w + 8, two to a byte, the lower half first.
  static inline Int ExpandNibbles(const void* p) {
    const Int bytes = _mm256_cvtepu8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    const Int codes = _mm256_and_si256(_mm256_or_si256(bytes, _mm256_slli_epi16(bytes, 4)), _mm256_set1_epi8(15));
    return _mm256_sub_epi8(codes, _mm256_set1_epi8(8));
  }
};

}  // namespace
}  // namespace sterna
