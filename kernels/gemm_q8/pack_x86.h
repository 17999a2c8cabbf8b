// The packed weights of gemm_q8/avx2 and gemm_q8/avx512vnni.
//
//   int32 bias[round_up(n, lanes)]                          bias[o] - a_zp * sum_k w[o][k], modulo 2^32
//   panel 0: int8 [ceil(k / depth)][channels][depth]        what one step of the inner loop reads is contiguous
//   panel 1: ...                                            max_vectors * lanes wide, the last narrower
//
// `depth` consecutive k of a channel share a lane: 4 for vpdpbusd, 2 for vpmaddwd. Channels past n and depths past k are
// zero, so the bytes that a kernel reads past the end of a row of A add nothing.
#pragma once
#include <cstddef>
#include <cstdint>

#include "../x86/panels.h"

namespace sterna {

struct PackQ8Shape {
  size_t n, k;
  size_t lanes, max_vectors, depth;
};

static inline size_t PackedQ8Bytes(const PackQ8Shape& s) {
  return RoundUp(s.n, s.lanes) * (sizeof(int32_t) + RoundUp(s.k, s.depth));
}

static inline void PackBiasQ8(const PackQ8Shape& s, const int8_t* w, const int32_t* bias, int32_t a_zp, int32_t* out) {
  for (size_t o = 0; o < RoundUp(s.n, s.lanes); ++o) {
    uint32_t sum = 0;
    for (size_t i = 0; o < s.n && i < s.k; ++i) sum += static_cast<uint32_t>(static_cast<int32_t>(w[o * s.k + i]));
    const uint32_t b = o < s.n && bias != nullptr ? static_cast<uint32_t>(bias[o]) : 0;
    out[o] = static_cast<int32_t>(b - static_cast<uint32_t>(a_zp) * sum);
  }
}

static inline void PackQ8(const PackQ8Shape& s, const int8_t* w, const int32_t* bias, int32_t a_zp, void* packed) {
  int32_t* corrected = static_cast<int32_t*>(packed);
  PackBiasQ8(s, w, bias, a_zp, corrected);
  int8_t* out = reinterpret_cast<int8_t*>(corrected + RoundUp(s.n, s.lanes));
  const size_t width = s.max_vectors * s.lanes, channels = RoundUp(s.n, s.lanes);
  for (size_t first = 0; first < channels; first += width) {
    const size_t end = first + width < channels ? first + width : channels;
    for (size_t p = 0; p < s.k; p += s.depth) {
      for (size_t o = first; o < end; ++o) {
        for (size_t d = p; d < p + s.depth; ++d) *out++ = o < s.n && d < s.k ? w[o * s.k + d] : int8_t{0};
      }
    }
  }
}

}  // namespace sterna
