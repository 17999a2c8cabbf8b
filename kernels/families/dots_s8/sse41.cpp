// dots_s8/sse41: bytes are widened to 16 bits and multiplied by pmaddwd, which is exact for all values: 2 * 128 * 128 fits 32 bits.
//
// Registers: 4 sums, 2 of the vector, 1 of a row and 1 product. 16 products take 2 widening loads, 2 multiplies and 2 additions.
#include <smmintrin.h>

#include "dots_vec.h"

namespace {

struct Core {
  using Sum = __m128i;
  static constexpr size_t kStep = 16;
  struct Step {
    __m128i low, high;
  };
  static inline __m128i Widen(const int8_t* p) { return _mm_cvtepi8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
  static inline Sum Zero() { return _mm_setzero_si128(); }
  static inline Step Load(const int8_t* x) { return {Widen(x), Widen(x + 8)}; }
  static inline Sum Add(Sum sum, const int8_t* row, const Step& x) {
    return _mm_add_epi32(_mm_add_epi32(sum, _mm_madd_epi16(Widen(row), x.low)), _mm_madd_epi16(Widen(row + 8), x.high));
  }
  static inline int32_t Total(Sum sum) {
    const __m128i two = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
  }
  static inline int32_t Offset(size_t, const int8_t*) { return 0; }
};

}  // namespace

extern "C" {
extern const sterna::DotsS8Kernel sterna_dots_s8_sse41;
const sterna::DotsS8Kernel sterna_dots_s8_sse41 = {"dots_s8/sse41", sterna::Dots<Core>};
}
