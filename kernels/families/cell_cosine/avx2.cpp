// cell_cosine/avx2: cell_cosine_vec.h on the 16 numbers of a ymm register. Wider ones would gain nothing: a map of 20 x 20 x 64 takes some 3 us.
#include <immintrin.h>

#include "cell_cosine_vec.h"

namespace sterna {
namespace {

struct Words256 {
  using Reg = __m256i;
  using Sum = __m256i;
  using Shift = int;
  static constexpr size_t kLanes = 16;
  static inline Reg Load(const int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static inline void Store(int16_t* p, Reg v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  static inline Reg Widen(const uint8_t* p) { return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static inline Reg Set(int16_t v) { return _mm256_set1_epi16(v); }
  static inline Sum Zero() { return _mm256_setzero_si256(); }
  static inline Reg Add(Reg a, Reg b) { return _mm256_add_epi16(a, b); }
  static inline Reg Sub(Reg a, Reg b) { return _mm256_sub_epi16(a, b); }
  static inline Reg Xor(Reg a, Reg b) { return _mm256_xor_si256(a, b); }
  static inline Shift Count(int bits) { return bits; }
  static inline Reg ShiftRight(Reg a, Shift bits) { return _mm256_srai_epi16(a, bits); }
  static inline Reg ShiftLeft(Reg a) { return _mm256_slli_epi16(a, kBackgroundBits); }
  static inline Sum MulPairs(Sum sum, Reg a, Reg b) { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }
  static inline int32_t Total(Sum s) {
    const __m128i fours = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    const __m128i pairs = _mm_add_epi32(fours, _mm_shuffle_epi32(fours, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(pairs, _mm_shuffle_epi32(pairs, 0xb1)));
  }
};

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::CellCosineKernel sterna_cell_cosine_avx2;
const sterna::CellCosineKernel sterna_cell_cosine_avx2 = {"cell_cosine/avx2", sterna::CellCosine<sterna::Words256>::Sums, sterna::CellCosine<sterna::Words256>::Blend};
}
