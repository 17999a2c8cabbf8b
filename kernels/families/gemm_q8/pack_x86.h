// The packed weights of gemm_q8 on x86.
//
//   int32 bias[round_up(n, lanes)]                          bias[o] - a_zp * sum_k w[o][k], modulo 2^32, + 255 * the sum of the
//                                                           weights whose activations the kernel complements (isa/x86/q8_avx2.h)
//   panel 0: int8 [ceil(k / 4)][channels][4]                what one step of the inner loop reads is contiguous
//   panel 1: ...                                            max_vectors * lanes wide, the last narrower
//
// Four consecutive k of a channel share a lane. Channels past n and depths past k are zero, so the bytes that a kernel reads
// past the end of a row of A add nothing.
#pragma once
#include <cstddef>
#include <cstdint>

#include "isa/x86/panels.h"

namespace sterna {

constexpr size_t kGemmDepth = 4;  // products in a lane

struct PackQ8Shape {
  size_t n, k;
  size_t lanes, max_vectors;
  bool complements;
};

// Whether a kernel that complements does so with the activations that meet this weight.
static inline bool IsComplemented(size_t depth, int32_t weight) { return depth % 2 == 0 ? weight < 0 : weight > 0; }

static inline void PackBiasQ8(const PackQ8Shape& s, const int8_t* w, const int32_t* bias, int32_t a_zp, int32_t* out) {
  for (size_t o = 0; o < RoundUp(s.n, s.lanes); ++o) {
    uint32_t sum = 0, complemented = 0;
    for (size_t i = 0; o < s.n && i < s.k; ++i) {
      const int32_t weight = w[o * s.k + i];
      sum += static_cast<uint32_t>(weight);
      if (s.complements && IsComplemented(i, weight)) complemented += static_cast<uint32_t>(weight);
    }
    const uint32_t b = o < s.n && bias != nullptr ? static_cast<uint32_t>(bias[o]) : 0;
    out[o] = static_cast<int32_t>(b - static_cast<uint32_t>(a_zp) * sum + 255 * complemented);
  }
}

// write(weight) for each packed weight in turn.
template <typename Write>
static inline void ForEachPacked(const PackQ8Shape& s, const int8_t* w, Write write) {
  const size_t width = s.max_vectors * s.lanes, channels = RoundUp(s.n, s.lanes);
  for (size_t first = 0; first < channels; first += width) {
    const size_t end = first + width < channels ? first + width : channels;
    for (size_t p = 0; p < s.k; p += kGemmDepth) {
      for (size_t o = first; o < end; ++o) {
        for (size_t d = p; d < p + kGemmDepth; ++d) write(o < s.n && d < s.k ? w[o * s.k + d] : int8_t{0});
      }
    }
  }
}

static inline void PackQ8(const PackQ8Shape& s, const int8_t* w, const int32_t* bias, int32_t a_zp, void* packed) {
  int32_t* corrected = static_cast<int32_t*>(packed);
  PackBiasQ8(s, w, bias, a_zp, corrected);
  int8_t* out = reinterpret_cast<int8_t*>(corrected + RoundUp(s.n, s.lanes));
  const size_t width = s.max_vectors * s.lanes, channels = RoundUp(s.n, s.lanes);
  for (size_t first = 0; first < channels; first += width) {
    const size_t end = first + width < channels ? first + width : channels;
    for (size_t p = 0; p < s.k; p += kGemmDepth) {
      for (size_t o = first; o < end; ++o, out += kGemmDepth) {
        int8_t lane[kGemmDepth] = {0, 0, 0, 0};
        const size_t depth = o >= s.n ? 0 : s.k - p < kGemmDepth ? s.k - p : kGemmDepth;
        if (depth == kGemmDepth) {
          __builtin_memcpy(lane, w + o * s.k + p, kGemmDepth);
        } else {
          for (size_t d = 0; d < depth; ++d) lane[d] = w[o * s.k + p + d];
        }
        __builtin_memcpy(out, lane, kGemmDepth);
      }
    }
  }
}

}  // namespace sterna
