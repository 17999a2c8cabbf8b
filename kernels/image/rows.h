// Turning rows of float pixels into bytes.
#pragma once
#include <cstring>

#include "image/image.h"

namespace sterna {

typedef float F4 __attribute__((vector_size(16)));

inline F4 LoadF4(const float* p) {
  F4 v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
inline void StoreF4(float* p, F4 v) { std::memcpy(p, &v, sizeof(v)); }

// v in [0, 255.4], rounded half to even: adding 1.5 * 2^23 leaves the integer in the low bits, and vectorizes everywhere.
inline uint8_t RoundToByte(float v) {
  const float shifted = v + 12582912.0f;
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  return static_cast<uint8_t>(bits);
}

inline float Luma(float r, float g, float b) { return 0.299f * r + 0.587f * g + 0.114f * b; }

// One canvas row of `width` RGB pixels in float.
inline void StoreRow(const float* rgb, size_t width, size_t channels, uint8_t* out) {
  if (channels == 3) {
    for (size_t i = 0; i < 3 * width; ++i) out[i] = RoundToByte(rgb[i]);
    return;
  }
  for (size_t i = 0; i < width; ++i) out[i] = RoundToByte(Luma(rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]));
}

}  // namespace sterna
