#pragma once
#include "sterna/epilogue.h"

namespace sterna {

// Outputs of a pool whose windows have the same shape, `x_step` floats apart. Tap (i, j) of the first is at x + i * row_stride + j * column_stride.
struct PoolF32Args {
  size_t channels, rows, columns;  // of a window: what lies in the image; may be 0
  const float* x;
  size_t row_stride, column_stride;  // floats
  size_t outputs, x_step, y_step;    // y_step: floats from one output to the next
  float* y;
};

// Windows of feature maps. 8-bit windows are folded tap by tap, `n` contiguous channels at a time; nothing is read or written beyond them.
struct PoolKernels {
  const char* name;
  void (*max_q8)(size_t n, const uint8_t* a, uint8_t* y);    // y = max(y, a): one tap of a max pool
  void (*sum_q8)(size_t n, const uint8_t* a, int32_t* acc);  // acc += a: one tap of an average pool
  void (*max_pool_f32)(const PoolF32Args* args);  // max(-inf, every tap); a NaN makes the result NaN
  void (*sum_pool_f32)(const PoolF32Args* args);  // 0 + every tap, row by row
};

}  // namespace sterna
