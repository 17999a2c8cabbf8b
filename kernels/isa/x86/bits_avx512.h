// Bit planes in zmm registers: q8_avx512.h, and the population count of each lane.
#pragma once
#include "q8_avx512.h"
#include "steer.h"

namespace sterna {
namespace {

struct BitsVec512 : Q8Vec512 {
  static inline Int SetInt(int32_t x) { return _mm512_set1_epi32(x); }
  static inline Int AddInt(Int a, Int b) { return _mm512_add_epi32(a, b); }
  static inline Int SubInt(Int a, Int b) { return _mm512_sub_epi32(a, b); }

  // Ends what belongs to one sum before the next begins: gcc would else compute the counts of a whole tile first, and spill the sums.
  static inline void Settle(Int& sum) { STERNA_STEER(asm volatile("" : "+v"(sum)), (void)sum); }

  // A word in every lane.
  static inline Int Broadcast(const uint32_t* p) { return _mm512_set1_epi32(static_cast<int32_t>(*p)); }
  static inline Int CountDiffering(Int a, Int w) { return _mm512_popcnt_epi32(_mm512_xor_si512(a, w)); }
  // Only where the mask is set. vpternlogd overwrites an operand, and a copy in a register would be a fourth instruction where three fill
  // the ports: the mask is loaded afresh for each count, which the compiler would not do.
  static inline Int CountDiffering(const uint32_t* mask, Int a, Int w) {
    Int fresh;
    STERNA_STEER(asm volatile("vpbroadcastd %1, %0" : "=v"(fresh) : "m"(*mask)), fresh = Broadcast(mask));
    return _mm512_popcnt_epi32(_mm512_ternarylogic_epi32(fresh, a, w, 0x60));
  }

  // sum += ones of nz - 2 (ones of nz where a and w differ), nz the bits that neither mask clears. vpdpbusd multiplies the second count, which
  // fits a byte, by -2: six instructions and four loads for a row of two vectors, where two counts by CountDiffering load four masks.
  static inline Int AddTernary(Int sum, Int mask_a, Int a, Int mask_w, Int w) {
    const Int nonzero = _mm512_and_si512(mask_a, mask_w);
    sum = _mm512_add_epi32(sum, _mm512_popcnt_epi32(nonzero));
    return _mm512_dpbusd_epi32(sum, _mm512_popcnt_epi32(_mm512_ternarylogic_epi32(nonzero, a, w, 0x60)), _mm512_set1_epi32(0xfe));
  }
};

}  // namespace
}  // namespace sterna
