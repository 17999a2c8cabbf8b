// Where the fast paths of the depthwise kernels apply. `Args` is DwConvQ8Args or DwConvF32Args.
#pragma once
#include <cstddef>

namespace sterna {

// Output pixels of a row: [begin, end).
struct InteriorNeon {
  size_t begin, end;
};

// Those whose taps are all inside the image, for 3x3 of stride 1 or 2; none for other kernels.
template <typename Args>
static inline InteriorNeon InteriorOf(const Args* args) {
  const bool fits = args->kernel_h == 3 && args->kernel_w == 3 && args->dilation_w == 1 && args->stride_w <= 2 && args->pad_left >= 0;
  const size_t pad = static_cast<size_t>(args->pad_left), stride = args->stride_w;
  if (!fits || args->x_width + pad < 3) return {0, 0};
  const size_t begin = (pad + stride - 1) / stride, end = (args->x_width + pad - 3) / stride + 1;
  if (begin >= args->y_width || begin >= end) return {0, 0};
  return {begin, end < args->y_width ? end : args->y_width};
}

}  // namespace sterna
