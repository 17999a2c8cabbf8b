// What dwconv_q8/neon and dwconv_q8/neondot share: an output pixel of any kernel size, by pointers to the pixels under its taps.
//
// Packed weights: bias and reach (isa/arm/bias_neon.h), then for blocks of 16 channels (the last one padded with zeros)
// int8 w[blocks][taps][16].
//
// Two taps are summed in 16 bits (|w| <= 127, so 2 * 128 * 127 = 32512 fits), then added into 32.
#pragma once
#include <arm_neon.h>

#include "kernel.h"
#include "isa/arm/bias_neon.h"
#include "isa/arm/tile_neon.h"

namespace sterna {

constexpr size_t kBlockDw = 16;

static inline size_t BlocksDw(size_t channels) { return (channels + kBlockDw - 1) / kBlockDw; }

// Where the weights start: a multiple of 64 bytes.
static inline size_t TapsOffsetDw(size_t channels) { return 2 * BiasBytesArm(channels); }

static inline void PackBiasDw(size_t channels, size_t taps, const int8_t* w, const int32_t* bias, int32_t x_zp, void* packed) {
  PackBiasArm(channels, w, 1, channels, taps, bias, x_zp, packed);
}

static inline void PackTapsDw(size_t channels, size_t taps, const int8_t* w, int8_t* out) {
  for (size_t first = 0; first < channels; first += kBlockDw) {
    for (size_t t = 0; t < taps; ++t) {
      for (size_t c = first; c < first + kBlockDw; ++c) *out++ = c < channels ? w[t * channels + c] : int8_t{0};
    }
  }
}

// Adds 16 sums of at most two products.
static inline __attribute__((always_inline)) void AddWideDw(int32x4_t acc[4], int16x8_t low, int16x8_t high) {
  acc[0] = vaddw_s16(acc[0], vget_low_s16(low));
  acc[1] = vaddw_high_s16(acc[1], low);
  acc[2] = vaddw_s16(acc[2], vget_low_s16(high));
  acc[3] = vaddw_high_s16(acc[3], high);
}

// Where the pixels of input columns are: outside the image there is zero_pixel.
static inline const int8_t* PixelDw(const DwConvQ8Args* args, const uint8_t* row, int64_t x) {
  const bool outside = x < 0 || x >= static_cast<int64_t>(args->x_width);
  return reinterpret_cast<const int8_t*>(outside ? args->zero_pixel : row + static_cast<size_t>(x) * args->x_stride);
}

// How channels [c, c + 16) end.
static inline FinishNeon FinishOfDw(const DwConvQ8Args* args, size_t c) {
  const float* reach = reinterpret_cast<const float*>(static_cast<const uint8_t*>(args->packed) + BiasBytesArm(args->channels));
  return FinishOf(args->requant, c, args->channels - c, kBlockDw, reach + c);
}

// Where channels [c, c + 16) of output pixel j go.
static inline __attribute__((always_inline)) TargetNeon TargetDw(const DwConvQ8Args* args, size_t j, size_t c) {
  return {args->y + j * args->y_stride + c, args->requant.scale + c, args->y_stride, j, c, args->channels - c};
}

// All channels of output pixel j. `taps`: room for kernel_h * kernel_w pointers; w: as PackTapsDw lays them out.
static inline void GeneralPixelDw(const DwConvQ8Args* args, const RequantNeon& requant, const int8_t* w, size_t j, const int8_t** taps) {
  const size_t count = args->kernel_h * args->kernel_w;
  const int64_t left = static_cast<int64_t>(j * args->stride_w) - args->pad_left;
  size_t t = 0;
  for (size_t kh = 0; kh < args->kernel_h; ++kh) {
    for (size_t kw = 0; kw < args->kernel_w; ++kw) taps[t++] = PixelDw(args, args->rows[kh], left + static_cast<int64_t>(kw * args->dilation_w));
  }
  const int32_t* bias = static_cast<const int32_t*>(args->packed);
  for (size_t c = 0; c < args->channels; c += kBlockDw) {
    int32x4_t acc[1][4];
    for (int i = 0; i < 4; ++i) acc[0][i] = vld1q_s32(bias + c + 4 * i);
    for (t = 0; t + 2 <= count; t += 2, w += 2 * kBlockDw) {
      const int8x16_t x0 = vld1q_s8(taps[t] + c), x1 = vld1q_s8(taps[t + 1] + c), w0 = vld1q_s8(w), w1 = vld1q_s8(w + kBlockDw);
      AddWideDw(acc[0], vmlal_s8(vmull_s8(vget_low_s8(x0), vget_low_s8(w0)), vget_low_s8(x1), vget_low_s8(w1)),
                vmlal_high_s8(vmull_high_s8(x0, w0), x1, w1));
    }
    if (t < count) {
      const int8x16_t x0 = vld1q_s8(taps[t] + c), w0 = vld1q_s8(w);
      AddWideDw(acc[0], vmull_s8(vget_low_s8(x0), vget_low_s8(w0)), vmull_high_s8(x0, w0));
      w += kBlockDw;
    }
    FinishRowsNeon<1>(requant, acc, TargetDw(args, j, c), FinishOf(args->requant, c, args->channels - c, kBlockDw, nullptr));
  }
}

}  // namespace sterna
