// How the x86 GEMMs cut their output channels and rows into register tiles.
//
// The n channels are cut into panels of at most `max_vectors` vectors of `lanes` channels, and the m rows into tiles. Rows are
// cut as evenly as possible: a low leftover has too few accumulators to hide the latency of a multiply-add, and would run at
// a fraction of the peak; 49 rows become seven tiles of 7, not six of 8 and one of 1. So are the panels of floats. Quantized
// panels are as wide as possible, because a wide row needs fewer instructions to narrow and store; a leftover is narrow, but
// its tiles are high.
#pragma once
#include <cstddef>

namespace sterna {

static constexpr inline size_t CeilDiv(size_t a, size_t b) { return (a + b - 1) / b; }
static constexpr inline size_t RoundUp(size_t a, size_t b) { return CeilDiv(a, b) * b; }

// `count` things in `parts` parts: the first `longer` parts hold size + 1, the others size.
struct Cut {
  size_t parts, size, longer;
};

static inline Cut CutEvenly(size_t count, size_t most) {
  const size_t parts = CeilDiv(count, most);
  if (parts == 0) return {0, 0, 0};
  return {parts, count / parts, count % parts};
}

static inline size_t PartSize(const Cut& cut, size_t part) { return cut.size + (part < cut.longer ? 1 : 0); }

}  // namespace sterna
