// Bit planes of stored activations, 32 at a time. P knows how an instruction set compares 32 bytes with the zero-point: Below(x) has a bit for
// each that is less, Other(x) for each that is not equal. Reads up to 31 bytes past the end.
#pragma once
#include "kernel.h"

namespace sterna {
namespace {

template <typename P>
void PlanesFromQ8(size_t n, const uint8_t* x, int32_t zp, uint32_t* sign, uint32_t* mask) {
  const P planes(zp);
  for (size_t first = 0; first < n; first += 32) {
    const uint32_t exists = n - first < 32 ? (uint32_t{1} << (n - first)) - 1 : ~uint32_t{0};
    sign[first / 32] = planes.Below(x + first) & exists;
    if (mask != nullptr) mask[first / 32] = planes.Other(x + first) & exists;
  }
}

}  // namespace
}  // namespace sterna
