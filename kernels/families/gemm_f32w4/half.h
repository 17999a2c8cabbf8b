// IEEE 754 binary16 (half precision), for scales that are kept in 16 bits.
#pragma once
#include <cstdint>

namespace sterna {

// Exact. `h` is finite.
static inline float HalfToFloat(uint16_t h) {
  const uint32_t bits = (h & 0x7fffu) << 13;
  float magnitude;
  __builtin_memcpy(&magnitude, &bits, sizeof magnitude);
  magnitude *= 0x1p112f;  // exponents are biased by 127 instead of 15; numbers below the normal ones come out right too
  return (h & 0x8000u) != 0 ? -magnitude : magnitude;
}

// False when no finite half is exactly `x`.
static inline bool FloatToHalf(float x, uint16_t* h) {
  uint32_t bits, magnitude;
  __builtin_memcpy(&bits, &x, sizeof bits);
  const float scaled = __builtin_fabsf(x) * 0x1p-112f;
  __builtin_memcpy(&magnitude, &scaled, sizeof magnitude);
  *h = static_cast<uint16_t>((magnitude >> 13 & 0x7fff) | (bits >> 31 << 15));
  return magnitude >> 13 < 0x7c00 && HalfToFloat(*h) == x;
}

}  // namespace sterna
