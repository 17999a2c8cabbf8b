// q8_avx512.h with sums of 16 bits, for the kernels of few codes (gemm_w46/gemm_x86.h).
#pragma once
#include "q8_avx512.h"
#include "steer.h"

namespace sterna {
namespace {

struct NarrowVec512 : Q8Vec512 {
  // Adds a product to each sum of 16 bits: two activations times two weights, which must fit. The sum is added to in place and in order: left to
  // itself the compiler computes all of a step first, into registers that it then has to move or spill.
  static inline __attribute__((always_inline)) void DotPairs(Int& sums, Int activations, Int weights) {
    const Int product = _mm512_maddubs_epi16(activations, weights);
    STERNA_STEER(asm volatile("vpaddw %1, %0, %0" : "+v"(sums) : "v"(product)), sums = _mm512_add_epi16(sums, product));
  }
  // Adds two sums of 16 bits to each of 32.
  static inline Int AddPairs(Int acc, Int sums) { return _mm512_add_epi32(acc, _mm512_madd_epi16(sums, _mm512_set1_epi16(1))); }

  // A vector of weights from codes w + 8, two to a byte, the lower half first.
  static inline Int ExpandNibbles(const void* p) {
    const Int bytes = _mm512_cvtepu8_epi16(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
    const Int codes = _mm512_and_si512(_mm512_or_si512(bytes, _mm512_slli_epi16(bytes, 4)), _mm512_set1_epi8(15));
    return _mm512_sub_epi8(codes, _mm512_set1_epi8(8));
  }
};

}  // namespace
}  // namespace sterna
