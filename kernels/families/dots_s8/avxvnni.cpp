// dots_s8/avxvnni: vpdpbusd takes one unsigned operand, so rows are read as row + 128 (their sign bits flipped), and 128 times the sum of
// the vector is subtracted from every total. Sums wrap modulo 2^32, and the totals fit.
//
// Registers: 4 sums, 1 of the vector, 1 of a row, 1 constant. 32 products take a load, an xor and a multiply.
#include <immintrin.h>

#include "dots_vec.h"

namespace {

struct Core {
  using Sum = __m256i;
  static constexpr size_t kStep = 32;
  static inline __m256i Load(const int8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static inline Sum Zero() { return _mm256_setzero_si256(); }
  static inline Sum Add(Sum sum, const int8_t* row, __m256i x) {
    return _mm256_dpbusd_avx_epi32(sum, _mm256_xor_si256(Load(row), _mm256_set1_epi8(-128)), x);
  }
  static inline int32_t Total(Sum sum) {
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
  }
  static inline int32_t Offset(size_t depth, const int8_t* x) {
    Sum sum = Zero();
    for (size_t k = 0; k < depth; k += kStep) sum = _mm256_dpbusd_avx_epi32(sum, _mm256_set1_epi8(-128), Load(x + k));
    return Total(sum);
  }
};

}  // namespace

extern "C" {
extern const sterna::DotsS8Kernel sterna_dots_s8_avxvnni;
const sterna::DotsS8Kernel sterna_dots_s8_avxvnni = {"dots_s8/avxvnni", sterna::Dots<Core>};
}
