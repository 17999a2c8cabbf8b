// cell_cosine/ref: the executable specification.
#include "kernel.h"

namespace sterna {
namespace {

void Sums(const CellCosineArgs* args) {
  const CellCosineArgs& s = *args;
  const uint8_t* x = s.x;
  const int16_t* background = s.background;
  for (size_t cell = 0; cell < s.cells; ++cell, x += s.channels, background += s.channels) {
    CellSums sums{0, 0, 0};
    for (size_t c = 0; c < s.channels; ++c) {
      const int32_t v = (x[c] ^ s.flip) - s.zp, b = (background[c] + (1 << (kBackgroundBits - 1))) >> kBackgroundBits;
      sums.dot += v * b, sums.vv += v * v, sums.bb += b * b;
    }
    s.sums[cell] = sums;
  }
}

void Blend(size_t n, const uint8_t* x, uint8_t flip, int32_t zp, int shift, int16_t* background) {
  for (size_t i = 0; i < n; ++i) {
    const int32_t difference = ((x[i] ^ flip) - zp) * (1 << kBackgroundBits) - background[i];
    background[i] = static_cast<int16_t>(background[i] + ((difference + (1 << (shift - 1))) >> shift));
  }
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::CellCosineKernel sterna_cell_cosine_ref;
const sterna::CellCosineKernel sterna_cell_cosine_ref = {"cell_cosine/ref", sterna::Sums, sterna::Blend};
}
