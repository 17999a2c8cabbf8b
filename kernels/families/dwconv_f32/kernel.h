#pragma once
#include "sterna/epilogue.h"

namespace sterna {

// dwconv_f32: one output row of a float depthwise convolution, multiplier 1, within ErrorBoundF32(kernel_h * kernel_w). The arguments are those
// of dwconv_q8. An element does not depend on y_width or on its place, bit for bit.
struct DwConvF32Args {
  size_t channels, kernel_h, kernel_w, stride_w, dilation_w;
  size_t x_width, y_width;
  int32_t pad_left;
  const float* const* rows;
  size_t x_stride;
  const float* zero_pixel;
  const float* w;  // [kernel_h][kernel_w][channels], readable 63 bytes beyond
  float* y;
  size_t y_stride;
  EpilogueF32 epilogue;
};
struct DwConvF32Kernel {
  const char* name;
  void (*run)(const DwConvF32Args* args);
  // Two output rows of one convolution to the bits of run() for each, faster where they read the same input rows; nullptr: no such thing.
  void (*run_two)(const DwConvF32Args* upper, const DwConvF32Args* lower) = nullptr;
};

}  // namespace sterna
