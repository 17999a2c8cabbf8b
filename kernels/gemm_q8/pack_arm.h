// The packed weights of gemm_q8/neon and gemm_q8/neondot, in panels of 8, 16 or (neon) 24 or 32 channels; only the last is ever padded.
//
//   int32 bias[round_up(n, 8)]                                  bias[o] - a_zp * sum_k w[o][k], modulo 2^32
//   panel 0: int8 [round_up(k, 4) / 4][channels / 8][4 / depth][8 channels][depth]
//   panel 1: ...
//
// `depth` consecutive k of a channel share a lane: 4 for sdot, 2 for smull with sadalp. Channels past n and depths past k are
// zero, so the bytes that a kernel reads past the end of a row of A add nothing.
#pragma once
#include <cstddef>
#include <cstdint>

namespace sterna {

static inline size_t RoundUpArm(size_t v, size_t to) { return (v + to - 1) / to * to; }

// Channels of the panel that starts at channel `first`, padding included; `most`: 16 or 32. Narrow panels use the multipliers
// less well, so 40 channels left are 24 and 16, not 32 and 8.
static inline size_t PanelWidthArm(size_t n, size_t first, size_t most) {
  const size_t left = RoundUpArm(n - first, 8);
  return left < most ? left : most == 32 && left == 40 ? 24 : most;
}

// Where panel 0 starts: a multiple of 64 bytes.
static inline size_t PanelsOffsetArm(size_t n) { return RoundUpArm(n * sizeof(int32_t), 64); }

static inline size_t PackedBytesArm(size_t n, size_t k) { return PanelsOffsetArm(n) + RoundUpArm(n, 8) * RoundUpArm(k, 4); }

static inline void PackBiasArm(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, int32_t* out) {
  const size_t end = PanelsOffsetArm(n) / sizeof(int32_t);
  for (size_t o = 0; o < end; ++o) {
    uint32_t sum = 0;
    for (size_t i = 0; o < n && i < k; ++i) sum += static_cast<uint32_t>(static_cast<int32_t>(w[o * k + i]));
    const uint32_t b = o < n && bias != nullptr ? static_cast<uint32_t>(bias[o]) : 0;
    out[o] = static_cast<int32_t>(b - static_cast<uint32_t>(a_zp) * sum);
  }
}

// 4 k from `p` on of the 8 channels from `unit` on.
static inline void PackUnitArm(size_t n, size_t k, size_t depth, const int8_t* w, size_t unit, size_t p, int8_t* out) {
  for (size_t q = p; q < p + 4; q += depth) {
    for (size_t o = unit; o < unit + 8; ++o) {
      for (size_t d = q; d < q + depth; ++d) *out++ = o < n && d < k ? w[o * k + d] : int8_t{0};
    }
  }
}

static inline void PackPanelsArm(size_t n, size_t k, size_t depth, size_t most, const int8_t* w, int8_t* out) {
  const size_t padded_k = RoundUpArm(k, 4);
  for (size_t first = 0, end = 0; first < n; first = end) {
    end = first + PanelWidthArm(n, first, most);
    for (size_t p = 0; p < padded_k; p += 4) {
      for (size_t unit = first; unit < end; unit += 8, out += 32) PackUnitArm(n, k, depth, w, unit, p, out);
    }
  }
}

}  // namespace sterna
