// One panel of packed weights, as every gemm_f32 wants them: float [k][channels of the panel], channels past n zero.
#pragma once
#include "kernel.h"

namespace sterna {

constexpr size_t kPackSide = 16;  // of the blocks that are turned

// Channels [first, first + width) of n; returns the end of the panel. Where a channel's weights follow each other, blocks are turned in a buffer, so that
// every cache line is read once; where a k's weights do, they are copied.
static inline float* PackPanelF32(size_t n, size_t k, const StridedF32& w, size_t first, size_t width, float* out) {
  const size_t count = n - first < width ? n - first : width;
  for (size_t p = 0; p < k; p += kPackSide) {
    const size_t depth = k - p < kPackSide ? k - p : kPackSide;
    for (size_t o = 0; o < width; o += kPackSide) {
      const size_t channels = width - o < kPackSide ? width - o : kPackSide;
      const size_t given = o >= count ? 0 : count - o < channels ? count - o : channels;
      const float* from = w.data + (first + o) * w.n_stride + p * w.k_stride;
      if (w.n_stride == 1) {
        for (size_t i = 0; i < depth; ++i) {
          for (size_t c = 0; c < given; ++c) out[i * width + o + c] = w.factor * from[i * w.k_stride + c];
        }
      } else {
        float block[kPackSide][kPackSide];
        for (size_t c = 0; c < given; ++c) {
          for (size_t i = 0; i < depth; ++i) block[c][i] = from[c * w.n_stride + i * w.k_stride];
        }
        for (size_t i = 0; i < depth; ++i) {
          for (size_t c = 0; c < given; ++c) out[i * width + o + c] = w.factor * block[c][i];
        }
      }
      for (size_t i = 0; i < depth; ++i) {
        for (size_t c = given; c < channels; ++c) out[i * width + o + c] = 0.0f;
      }
    }
    out += depth * width;
  }
  return out;
}

}  // namespace sterna
