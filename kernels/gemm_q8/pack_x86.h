// Panels of output channels, and the packed form of a quantized GEMM's weights, for avx2 and avx512vnni.
//
// The n output channels are cut into panels of 1..max vectors of `lanes` channels, as equal as possible (a lone narrow panel
// at the end would run far below the peak). Packed bytes, `depth` being 4 (vpdpbusd) or 2 (vpmaddwd):
//
//   int32 bias[round_up(n, lanes)]                    bias[o] - a_zp * sum_k w[o][k]
//   panel 0:  [ceil(k / depth)][panel channels][depth]     one row of a panel is what one step of the inner loop reads
//   panel 1: ...
//
// Channels past n and depths past k are zero, so whatever a kernel reads past the end of a row of A adds nothing.
#pragma once
#include <cstddef>
#include <cstdint>

namespace sterna {

struct PanelCut {
  size_t panels, vectors, wide;  // the first `wide` panels have one vector more than the others
  size_t narrow;                 // vectors of the others
};

static inline size_t CeilDiv(size_t a, size_t b) { return (a + b - 1) / b; }

static inline PanelCut CutPanels(size_t n, size_t lanes, size_t max_vectors) {
  const size_t vectors = CeilDiv(n, lanes);
  const size_t panels = CeilDiv(vectors, max_vectors);
  if (panels == 0) return {0, 0, 0, 0};
  return {panels, vectors, vectors % panels, vectors / panels};
}

static inline size_t VectorsOfPanel(const PanelCut& cut, size_t panel) { return cut.narrow + (panel < cut.wide ? 1 : 0); }

static inline size_t PackedQ8Bytes(size_t n, size_t k, size_t lanes, size_t depth) {
  const size_t channels = CeilDiv(n, lanes) * lanes;
  return channels * (sizeof(int32_t) + CeilDiv(k, depth) * depth);
}

static inline void PackBiasQ8(size_t n, size_t k, size_t lanes, const int8_t* w, const int32_t* bias, int32_t a_zp, int32_t* out) {
  for (size_t o = 0; o < CeilDiv(n, lanes) * lanes; ++o) {
    uint32_t sum = 0;
    for (size_t i = 0; o < n && i < k; ++i) sum += static_cast<uint32_t>(static_cast<int32_t>(w[o * k + i]));
    const uint32_t b = o < n && bias != nullptr ? static_cast<uint32_t>(bias[o]) : 0;
    out[o] = static_cast<int32_t>(b - static_cast<uint32_t>(a_zp) * sum);  // modulo 2^32, like the accumulators
  }
}

static inline void PackQ8(size_t n, size_t k, size_t lanes, size_t max_vectors, size_t depth, const int8_t* w, const int32_t* bias,
                          int32_t a_zp, void* packed) {
  PackBiasQ8(n, k, lanes, w, bias, a_zp, static_cast<int32_t*>(packed));
  int8_t* out = reinterpret_cast<int8_t*>(static_cast<int32_t*>(packed) + CeilDiv(n, lanes) * lanes);
  const PanelCut cut = CutPanels(n, lanes, max_vectors);
  size_t first = 0;
  for (size_t panel = 0; panel < cut.panels; ++panel) {
    const size_t columns = VectorsOfPanel(cut, panel) * lanes;
    for (size_t p = 0; p < k; p += depth) {
      for (size_t o = first; o < first + columns; ++o) {
        for (size_t d = p; d < p + depth; ++d) *out++ = o < n && d < k ? w[o * k + d] : int8_t{0};
      }
    }
    first += columns;
  }
}

}  // namespace sterna
