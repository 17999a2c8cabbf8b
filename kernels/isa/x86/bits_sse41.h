// Bit planes in xmm registers: q8_sse41.h, and tables of 16 bytes (gemm_lookup.h).
#pragma once
#include "q8_sse41.h"

namespace sterna {
namespace {

// Offsets of the tables of a word's eight steps: a step's mask in bits 8 to 11, its sign in bits 4 to 7.
inline void StoreTableOffsets(uint32_t sign, uint32_t mask, uint16_t* out) {
  const __m128i signs = _mm_cvtsi32_si128(static_cast<int32_t>(sign)), masks = _mm_cvtsi32_si128(static_cast<int32_t>(mask)), nibble = _mm_set1_epi8(15);
  const __m128i low = _mm_unpacklo_epi8(_mm_andnot_si128(nibble, _mm_slli_epi16(signs, 4)), _mm_and_si128(masks, nibble));
  const __m128i high = _mm_unpacklo_epi8(_mm_andnot_si128(nibble, signs), _mm_and_si128(_mm_srli_epi16(masks, 4), nibble));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi16(low, high));
}

struct BitsVec128 : Q8Vec128 {
  static inline Int SetInt(int32_t x) { return _mm_set1_epi32(x); }
  static inline Int AddInt(Int a, Int b) { return _mm_add_epi32(a, b); }
  static inline Int SubInt(Int a, Int b) { return _mm_sub_epi32(a, b); }
  static inline Int AddU8(Int a, Int b) { return _mm_add_epi8(a, b); }
  static inline void Settle(Int& sum) { asm volatile("" : "+x"(sum)); }

  static inline Int LowNibbles(Int x) { return _mm_and_si128(x, _mm_set1_epi8(15)); }
  static inline Int HighNibbles(Int x) { return LowNibbles(_mm_srli_epi16(x, 4)); }
  static inline Int LoadTable(const uint8_t* p) { return _mm_load_si128(reinterpret_cast<const __m128i*>(p)); }
  static inline Int LookUp(Int table, Int index) { return _mm_shuffle_epi8(table, index); }

  static inline void AddBytesTo(Int bytes, uint16_t* shorts) {
    StoreInt(shorts, _mm_add_epi16(LoadInt(shorts), _mm_cvtepu8_epi16(bytes)));
    StoreInt(shorts + 8, _mm_add_epi16(LoadInt(shorts + 8), UnpackHigh8(bytes, Zero())));
  }
  static inline Int WidenShorts(const uint16_t* shorts) { return _mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(shorts))); }
  static inline void StoreOffsets(uint32_t sign, uint32_t mask, uint16_t* out) { StoreTableOffsets(sign, mask, out); }
};

}  // namespace
}  // namespace sterna
