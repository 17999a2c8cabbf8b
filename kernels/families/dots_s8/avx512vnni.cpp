// dots_s8/avx512vnni: vpdpbusd takes one unsigned operand, so rows are read as row + 128 (their sign bits flipped), and 128 times the sum of
// the vector is subtracted from every total. Sums wrap modulo 2^32, and the totals fit.
//
// Registers: 4 sums, 1 of the vector, 1 of a row, 1 constant. 64 products take a load, an xor and a multiply; rows of a large gallery come from
// memory, which is what limits.
#include <immintrin.h>

#include "dots_vec.h"

namespace {

struct Core {
  using Sum = __m512i;
  static constexpr size_t kStep = 64;
  static inline __m512i Load(const int8_t* p) { return _mm512_loadu_si512(p); }
  static inline Sum Zero() { return _mm512_setzero_si512(); }
  static inline Sum Add(Sum sum, const int8_t* row, __m512i x) { return _mm512_dpbusd_epi32(sum, _mm512_xor_si512(Load(row), _mm512_set1_epi8(-128)), x); }
  static inline int32_t Total(Sum sum) {
    const __m256i eight = _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64(sum, 1));
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
  }
  static inline int32_t Offset(size_t depth, const int8_t* x) {
    Sum sum = Zero();
    for (size_t k = 0; k < depth; k += kStep) sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(-128), Load(x + k));
    return Total(sum);
  }
};

}  // namespace

extern "C" {
extern const sterna::DotsS8Kernel sterna_dots_s8_avx512vnni;
const sterna::DotsS8Kernel sterna_dots_s8_avx512vnni = {"dots_s8/avx512vnni", sterna::Dots<Core>};
}
