#pragma once
#include <cstddef>
#include <cstdint>

namespace sterna {

// bit_planes: ceil(n / 32) words of each plane from n stored activations: sign = x < zp, mask = x != zp. mask may be nullptr.
struct BitPlaneKernels {
  const char* name;
  void (*from_q8)(size_t n, const uint8_t* x, int32_t zp, uint32_t* sign, uint32_t* mask);
};

}  // namespace sterna
