// Bit planes in ymm registers: q8_avx2.h, and tables of 16 bytes (gemm_lookup.h).
#pragma once
#include "bits_sse41.h"
#include "q8_avx2.h"
#include "steer.h"

namespace sterna {
namespace {

struct BitsVec256 : Q8Vec256 {
  static inline Int SetInt(int32_t x) { return _mm256_set1_epi32(x); }
  static inline Int AddInt(Int a, Int b) { return _mm256_add_epi32(a, b); }
  static inline Int SubInt(Int a, Int b) { return _mm256_sub_epi32(a, b); }
  static inline Int AddU8(Int a, Int b) { return _mm256_add_epi8(a, b); }
  static inline void Settle(Int& sum) { STERNA_STEER(asm volatile("" : "+x"(sum)), (void)sum); }

  static inline Int LowNibbles(Int x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
  static inline Int HighNibbles(Int x) { return LowNibbles(_mm256_srli_epi16(x, 4)); }
  static inline Int LoadTable(const uint8_t* p) { return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(p))); }
  static inline Int LookUp(Int table, Int index) { return _mm256_shuffle_epi8(table, index); }

  static inline void AddBytesTo(Int bytes, uint16_t* shorts) {
    const Int low = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(bytes)), high = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(bytes, 1));
    StoreInt(shorts, _mm256_add_epi16(LoadInt(shorts), low));
    StoreInt(shorts + 16, _mm256_add_epi16(LoadInt(shorts + 16), high));
  }
  static inline Int WidenShorts(const uint16_t* shorts) { return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(shorts))); }
  static inline void StoreOffsets(uint32_t sign, uint32_t mask, uint16_t* out) { StoreTableOffsets(sign, mask, out); }
};

}  // namespace
}  // namespace sterna
