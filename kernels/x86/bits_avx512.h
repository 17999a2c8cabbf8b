// Bit planes in zmm registers: q8_avx512.h, and the population count of each lane.
#pragma once
#include "q8_avx512.h"

namespace sterna {
namespace {

struct BitsVec512 : Q8Vec512 {
  static inline Int SetInt(int32_t x) { return _mm512_set1_epi32(x); }
  static inline Int AddInt(Int a, Int b) { return _mm512_add_epi32(a, b); }
  static inline Int SubInt(Int a, Int b) { return _mm512_sub_epi32(a, b); }

  // A word in every lane.
  static inline Int Broadcast(const uint32_t* p) { return _mm512_set1_epi32(static_cast<int32_t>(*p)); }
  static inline Int CountDiffering(Int a, Int w) { return _mm512_popcnt_epi32(_mm512_xor_si512(a, w)); }
  // Only where the mask is set. vpternlogd overwrites its first operand: a fresh copy of the mask is loaded, because loads are free where
  // three instructions for each count fill the ports, and a move is not.
  static inline Int CountDiffering(const uint32_t* mask, Int a, Int w) {
    asm("" : "+r"(mask));  // the compiler would else load it once and copy it
    return _mm512_popcnt_epi32(_mm512_ternarylogic_epi32(Broadcast(mask), a, w, 0x60));
  }
};

}  // namespace
}  // namespace sterna
