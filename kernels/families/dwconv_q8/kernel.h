#pragma once
#include "sterna/epilogue.h"

namespace sterna {

// dwconv_q8: one output row of a depthwise convolution, multiplier 1.
struct DwConvQ8Args {
  size_t channels, kernel_h, kernel_w, stride_w, dilation_w;
  size_t x_width, y_width;
  int32_t pad_left;
  const uint8_t* const* rows;  // kernel_h pointers to pixel 0 of an input row; a row outside the image is x_width pixels of x_zp
  size_t x_stride;             // bytes between pixels
  const uint8_t* zero_pixel;   // `channels` (+ slack) bytes of x_zp, for columns outside the image
  const void* packed;
  uint8_t* y;
  size_t y_stride;
  RequantQ8 requant;           // residual: pixel i at residual + i * residual_stride
  void* scratch;
};
struct DwConvQ8Kernel {
  const char* name;
  size_t (*packed_bytes)(size_t channels, size_t kernel_h, size_t kernel_w);
  // w: [kernel_h][kernel_w][channels]
  bool (*pack)(size_t channels, size_t kernel_h, size_t kernel_w, const int8_t* w, const int32_t* bias, int32_t x_zp, void* packed);
  size_t (*scratch_bytes)(size_t channels, size_t kernel_h, size_t kernel_w, size_t x_width, size_t y_width);
  void (*run)(const DwConvQ8Args* args);
  // Two output rows of one convolution, faster than run() twice where they read the same input rows; nullptr: no such thing.
  void (*run_two)(const DwConvQ8Args* upper, const DwConvQ8Args* lower) = nullptr;
};

}  // namespace sterna
