#pragma once
#include "sterna/epilogue.h"

namespace sterna {

// gemm_f32w4: y[i][o] = bias[o] + sum_k a[i][k] * scale[o][k / group] * w[o][k] within ErrorBoundF32(k), for few rows, where reading the weights takes the time: they are
// kept two to a byte. k is a multiple of group, group one of 32. The result for a row depends on that row alone, bit for bit.
struct GemmF32W4Args {
  size_t m, n, k, group;
  const float* a;
  size_t a_stride;  // floats
  const void* packed;
  const float* bias;  // nullptr: none
  float* y;
  size_t y_stride;  // floats
};
struct GemmF32W4Kernel {
  const char* name;
  size_t (*packed_bytes)(size_t n, size_t k, size_t group);
  // w: [n][k], in [-8, 7]; scale: [n][k / group], IEEE 754 binary16, finite.
  void (*pack)(size_t n, size_t k, size_t group, const int8_t* w, const uint16_t* scale, void* packed);
  void (*run)(const GemmF32W4Args* args);
};

}  // namespace sterna
