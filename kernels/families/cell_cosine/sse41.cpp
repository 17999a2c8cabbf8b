// cell_cosine/sse41: cell_cosine_vec.h on the 8 numbers of an xmm register.
#include <smmintrin.h>

#include "cell_cosine_vec.h"

namespace sterna {
namespace {

struct Words128 {
  using Reg = __m128i;
  using Sum = __m128i;
  using Shift = __m128i;
  static constexpr size_t kLanes = 8;
  static inline Reg Load(const int16_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  static inline void Store(int16_t* p, Reg v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v); }
  static inline Reg Widen(const uint8_t* p) { return _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
  static inline Reg Set(int16_t v) { return _mm_set1_epi16(v); }
  static inline Sum Zero() { return _mm_setzero_si128(); }
  static inline Reg Add(Reg a, Reg b) { return _mm_add_epi16(a, b); }
  static inline Reg Sub(Reg a, Reg b) { return _mm_sub_epi16(a, b); }
  static inline Reg Xor(Reg a, Reg b) { return _mm_xor_si128(a, b); }
  static inline Shift Count(int bits) { return _mm_cvtsi32_si128(bits); }
  static inline Reg ShiftRight(Reg a, Shift bits) { return _mm_sra_epi16(a, bits); }
  static inline Reg ShiftLeft(Reg a) { return _mm_slli_epi16(a, kBackgroundBits); }
  static inline Sum MulPairs(Sum sum, Reg a, Reg b) { return _mm_add_epi32(sum, _mm_madd_epi16(a, b)); }
  static inline int32_t Total(Sum s) {
    const __m128i pairs = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(pairs, _mm_shuffle_epi32(pairs, 0xb1)));
  }
};

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::CellCosineKernel sterna_cell_cosine_sse41;
const sterna::CellCosineKernel sterna_cell_cosine_sse41 = {"cell_cosine/sse41", sterna::CellCosine<sterna::Words128>::Sums, sterna::CellCosine<sterna::Words128>::Blend};
}
