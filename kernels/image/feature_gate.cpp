// FeatureGate: which cells of a feature map left a learned background, by the cosine between the two.
#include <cstring>

#include "image/image.h"
#include "sterna/registry.h"

namespace sterna {
namespace {

// cos <= 1 - threshold, without a root: dot^2 <= (1 - threshold)^2 |v|^2 |b|^2 where dot is positive. All products are of doubles, each rounded once,
// so every CPU decides alike. A cell whose numbers are at most one step of the quantization on average, in the frame and in the background, has no
// direction to speak of: it is quiet, also when both are zero.
bool IsActive(const CellSums& s, size_t channels, double kept_square) {
  const int32_t noise = static_cast<int32_t>(channels);
  if (s.vv <= noise && s.bb <= noise) return false;
  if (s.dot <= 0) return true;
  const double dot = s.dot, energy = static_cast<double>(s.vv) * static_cast<double>(s.bb);
  return dot * dot <= kept_square * energy;
}

}  // namespace

void LearnBackground(const FeatureMap& map, int16_t* background, uint8_t* streaks) {
  for (size_t i = 0; i < map.cells * map.channels; ++i) background[i] = static_cast<int16_t>(((map.data[i] ^ map.flip) - map.zp) * (1 << kBackgroundBits));
  std::memset(streaks, 0, map.cells);
}

size_t FeatureGate(const FeatureMap& map, const FeatureGateOptions& options, int16_t* background, uint8_t* streaks, uint8_t* mask) {
  const CellCosineKernel& kernel = *BestKernels().cell_cosine;
  const double kept = 1.0 - options.threshold, kept_square = kept * kept;
  std::memset(mask, 0, (map.cells + 7) / 8);
  size_t active = 0;
  constexpr size_t kBlock = 64;
  CellSums sums[kBlock];
  for (size_t first = 0; first < map.cells; first += kBlock) {
    const size_t cells = map.cells - first < kBlock ? map.cells - first : kBlock;
    const uint8_t* x = map.data + first * map.channels;
    int16_t* b = background + first * map.channels;
    const CellCosineArgs args{cells, map.channels, x, map.flip, map.zp, b, sums};
    kernel.sums(&args);
    for (size_t i = 0; i < cells; ++i) {
      const size_t cell = first + i;
      const bool moved = IsActive(sums[i], map.channels, kept_square);
      streaks[cell] = !moved ? 0 : static_cast<uint8_t>(streaks[cell] < 255 ? streaks[cell] + 1 : 255);
      if (moved) mask[cell >> 3] = static_cast<uint8_t>(mask[cell >> 3] | 1 << (cell & 7)), ++active;
      if (!moved || streaks[cell] > options.patience) kernel.blend(map.channels, x + i * map.channels, map.flip, map.zp, options.shift, b + i * map.channels);
    }
  }
  if (static_cast<double>(active) > options.renewal * static_cast<double>(map.cells)) LearnBackground(map, background, streaks);
  return active;
}

}  // namespace sterna
