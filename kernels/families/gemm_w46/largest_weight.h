// The largest magnitude of `count` weights, at least 1: with the codes of A it decides how many products fit a sum of 16 bits.
#pragma once
#include <cstddef>
#include <cstdint>

namespace sterna {

static inline int32_t LargestWeight(const int8_t* w, size_t count) {
  int32_t largest = 1;
  for (size_t i = 0; i < count; ++i) {
    const int32_t magnitude = w[i] < 0 ? -w[i] : w[i];
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
}

}  // namespace sterna
