// The packed weights of the Arm kernels, in panels of 8, 16 or (neon) 24 or 32 channels; only the last is ever padded.
//
//   int32 bias[round_up(n, 16)]                                 bias[o] - a_zp * sum_k w[o][k], modulo 2^32
//   float reach[round_up(n, 16)]                                a bound of |bias[o] + sum_k (a[k] - a_zp) * w[o][k]| over all a
//   panel 0: int8 [round_up(k, step) / group][channels / 8][group / depth][8 channels][depth]
//   panel 1: ...
//
// `depth` consecutive k of a channel are neighbours: 8 for smmla, 4 for sdot, 2 for smull with sadalp. Channels past n and depths past k
// are zero, so the bytes that a kernel reads past the end of a row of A add nothing.
#pragma once
#include "isa/arm/bias_neon.h"

namespace sterna {

// Channels of the panel that starts at channel `first`, padding included; `most`: 16 or 32. Narrow panels use the multipliers
// less well, so 40 channels left are 24 and 16, not 32 and 8.
static inline size_t PanelWidthArm(size_t n, size_t first, size_t most) {
  const size_t left = RoundUpArm(n - first, 8);
  return left < most ? left : most == 32 && left == 40 ? 24 : most;
}

// Where panel 0 starts: a multiple of 64 bytes.
static inline size_t PanelsOffsetArm(size_t n) { return 2 * BiasBytesArm(n); }

static inline size_t PackedBytesArm(size_t n, size_t k, size_t step) { return PanelsOffsetArm(n) + RoundUpArm(n, 8) * RoundUpArm(k, step); }

// Widest panel; k that a kernel takes in one pass of its loop; k after which the next channels follow; k of a channel side by side.
struct PanelLayoutArm {
  size_t most, step, group, depth;
};

// A group of k, from `p` on, of the 8 channels from `unit` on.
static inline void PackUnitArm(size_t n, size_t k, const PanelLayoutArm& layout, const int8_t* w, size_t unit, size_t p, int8_t* out) {
  for (size_t q = p; q < p + layout.group; q += layout.depth) {
    for (size_t o = unit; o < unit + 8; ++o) {
      for (size_t d = q; d < q + layout.depth; ++d) *out++ = o < n && d < k ? w[o * k + d] : int8_t{0};
    }
  }
}

static inline void PackPanelsArm(size_t n, size_t k, const PanelLayoutArm& layout, const int8_t* w, int8_t* out) {
  for (size_t first = 0, end = 0; first < n; first = end) {
    end = first + PanelWidthArm(n, first, layout.most);
    for (size_t p = 0; p < RoundUpArm(k, layout.step); p += layout.group) {
      for (size_t unit = first; unit < end; unit += 8, out += 8 * layout.group) PackUnitArm(n, k, layout, w, unit, p, out);
    }
  }
}

}  // namespace sterna
