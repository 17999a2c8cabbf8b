// dots_s8/avx2: bytes are widened to 16 bits and multiplied by vpmaddwd, which is exact for all values: 2 * 128 * 128 fits 32 bits.
// vpmaddubsw would need half as many instructions, but saturates; the rows of a large gallery come from memory, which is slower than either.
//
// Registers: 4 sums, 2 of the vector, 1 of a row and 1 product. 32 products take 2 widening loads, 2 multiplies and 2 additions.
#include <immintrin.h>

#include "dots_vec.h"

namespace {

struct Core {
  using Sum = __m256i;
  static constexpr size_t kStep = 32;
  struct Step {
    __m256i low, high;
  };
  static inline __m256i Widen(const int8_t* p) { return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static inline Sum Zero() { return _mm256_setzero_si256(); }
  static inline Step Load(const int8_t* x) { return {Widen(x), Widen(x + 16)}; }
  static inline Sum Add(Sum sum, const int8_t* row, const Step& x) {
    return _mm256_add_epi32(_mm256_add_epi32(sum, _mm256_madd_epi16(Widen(row), x.low)), _mm256_madd_epi16(Widen(row + 16), x.high));
  }
  static inline int32_t Total(Sum sum) {
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
  }
  static inline int32_t Offset(size_t, const int8_t*) { return 0; }
};

}  // namespace

extern "C" {
extern const sterna::DotsS8Kernel sterna_dots_s8_avx2;
const sterna::DotsS8Kernel sterna_dots_s8_avx2 = {"dots_s8/avx2", sterna::Dots<Core>};
}
