// q8_avx2.h with the dot product of CPUs that have vpdpbusd for ymm registers, and may lack AVX-512: four u8 x s8 products
// a lane, summed without saturation.
#pragma once
#include "q8_avx2.h"

namespace sterna {
namespace {

struct Q8VecVnni256 : Q8Vec256 {
  static constexpr bool kComplements = false;
  static constexpr size_t kWeightBytes = 32;
  static constexpr size_t kDwDepth = 4;
  using DwWeight = int8_t;

  // Tiles of gemm_q8, by vectors: 12 x 8 and 6 x 16. Twelve accumulators, two vectors of weights and a broadcast fill 15 of
  // 16 registers; two vpdpbusd a cycle of four or five cycles' latency need ten.
  static constexpr int kGemmRows[] = {12, 6};

  using Weights = Int;
  static inline Weights LoadWeights(const int8_t* p) { return LoadInt(p); }
  static inline Int Dot(Int acc, Int activations, Weights weights) { return _mm256_dpbusd_avx_epi32(acc, activations, weights); }
  static inline Int DwDot(Int acc, Int column, Int weights) { return _mm256_dpbusd_avx_epi32(acc, column, weights); }

  // Four rows of a column, interleaved by channel.
  static inline Quad Interleave(Int r0, Int r1, Int r2, Int r3) {
    const Int low01 = UnpackLow8(r0, r1), high01 = UnpackHigh8(r0, r1), low23 = UnpackLow8(r2, r3), high23 = UnpackHigh8(r2, r3);
    return {{UnpackLow16(low01, low23), UnpackHigh16(low01, low23), UnpackLow16(high01, high23), UnpackHigh16(high01, high23)}};
  }
};

}  // namespace
}  // namespace sterna
