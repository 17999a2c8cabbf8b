// dwconv_q8/neondot: one output row of a quantized depthwise convolution for ARMv8.2 with dot product, bit-equal to ref.
//
//   y[j][c] = epilogue(bias[c] + sum_{kh, kw} (x[kh][j * stride - pad_left + kw * dilation][c] - x_zp) * w[kh][kw][c])
//
// 3x3: the three rows of an input column are interleaved to [channel][row 0, 1, 2, 2] (8 zips for 16 channels; the fourth weight is
// 0), and one sdot per 4 channels multiplies a whole tap column. At stride 1 a column serves the three output pixels above it, whose
// accumulators rotate: 8 zips + 12 sdot + 3 loads a pixel for 144 products, where smull and saddw need 38 + 6. At stride 2 a
// column serves one or two pixels. Registers: 12 of weights, 12 accumulators, 3 of pixels, 4 of zips. Other kernels go by pointers
// (general_neon.h), with weights packed as there.
//
// Packed 3x3 weights: bias as in general_neon.h, then int8 [blocks of 16 channels][tap column][16 channels][row 0, 1, 2, 0].
#include <arm_neon.h>

#include "general_neon.h"

namespace sterna {
namespace {

constexpr size_t kColumnBytes = 4 * kBlockDw;  // one tap column of 16 channels

bool Is3x3(size_t kernel_h, size_t kernel_w) { return kernel_h == 3 && kernel_w == 3; }

size_t PackedBytes(size_t channels, size_t kernel_h, size_t kernel_w) {
  const size_t taps = Is3x3(kernel_h, kernel_w) ? 12 : kernel_h * kernel_w;
  return BiasBytesDw(channels) + BlocksDw(channels) * kBlockDw * taps;
}

void PackColumns(size_t channels, const int8_t* w, int8_t* out) {
  for (size_t first = 0; first < channels; first += kBlockDw) {
    for (size_t kw = 0; kw < 3; ++kw) {
      for (size_t c = first; c < first + kBlockDw; ++c, out += 4) {
        for (size_t kh = 0; kh < 4; ++kh) out[kh] = c < channels && kh < 3 ? w[(kh * 3 + kw) * channels + c] : int8_t{0};
      }
    }
  }
}

bool Pack(size_t channels, size_t kernel_h, size_t kernel_w, const int8_t* w, const int32_t* bias, int32_t x_zp, void* packed) {
  const size_t taps = kernel_h * kernel_w;
  PackBiasDw(channels, taps, w, bias, x_zp, static_cast<int32_t*>(packed));
  int8_t* out = static_cast<int8_t*>(packed) + BiasBytesDw(channels);
  Is3x3(kernel_h, kernel_w) ? PackColumns(channels, w, out) : PackTapsDw(channels, taps, w, out);
  return true;
}

size_t ScratchBytes(size_t, size_t kernel_h, size_t kernel_w, size_t, size_t) { return kernel_h * kernel_w * sizeof(void*); }

struct Weights {
  int8x16_t tap[3][4];  // [tap column][4 channels]
};

// One input column of 16 channels, interleaved: v[i] holds channels 4i..4i+3 of the three rows.
struct Column {
  int8x16_t v[4];
};

// The three rows at channel c; `x`: the column's index, which may lie outside the image.
inline __attribute__((always_inline)) Column LoadColumn(const DwConvQ8Args* args, int64_t x, size_t c) {
  const bool outside = x < 0 || x >= static_cast<int64_t>(args->x_width);
  const size_t offset = static_cast<size_t>(x) * args->x_stride;
  int8x16_t r[3];
  for (int kh = 0; kh < 3; ++kh) r[kh] = vld1q_s8(reinterpret_cast<const int8_t*>(outside ? args->zero_pixel : args->rows[kh] + offset) + c);
  const int16x8_t top0 = vreinterpretq_s16_s8(vzip1q_s8(r[0], r[1])), top1 = vreinterpretq_s16_s8(vzip2q_s8(r[0], r[1]));
  const int16x8_t end0 = vreinterpretq_s16_s8(vzip1q_s8(r[2], r[2])), end1 = vreinterpretq_s16_s8(vzip2q_s8(r[2], r[2]));
  return {{vreinterpretq_s8_s16(vzip1q_s16(top0, end0)), vreinterpretq_s8_s16(vzip2q_s16(top0, end0)),
           vreinterpretq_s8_s16(vzip1q_s16(top1, end1)), vreinterpretq_s8_s16(vzip2q_s16(top1, end1))}};
}

inline __attribute__((always_inline)) void LoadBias(const DwConvQ8Args* args, size_t c, int32x4_t (&acc)[4]) {
  for (int i = 0; i < 4; ++i) acc[i] = vld1q_s32(static_cast<const int32_t*>(args->packed) + c + 4 * i);
}

inline __attribute__((always_inline)) void MultiplyColumn(int32x4_t (&acc)[4], const Column& x, const int8x16_t (&tap)[4]) {
  for (int i = 0; i < 4; ++i) acc[i] = vdotq_s32(acc[i], x.v[i], tap[i]);
}

// What does not change along a row, for one block of channels.
struct Block {
  const DwConvQ8Args* args;
  const RequantNeon* requant;
  size_t c;
};

// Stride 1. Input column t (counted from the first pixel's left tap) is tap 2 of pixel t - 2, tap 1 of t - 1 and tap 0 of t.
inline __attribute__((always_inline)) bool StepStride1(const Block& block, const Weights& w, size_t t, int32x4_t (&oldest)[4], int32x4_t (&middle)[4],
                                                       int32x4_t (&newest)[4]) {
  const Column x = LoadColumn(block.args, static_cast<int64_t>(t) - block.args->pad_left, block.c);
  LoadBias(block.args, block.c, newest);
  MultiplyColumn(oldest, x, w.tap[2]);
  MultiplyColumn(middle, x, w.tap[1]);
  MultiplyColumn(newest, x, w.tap[0]);
  if (t < 2) return true;
  FinishDw(block.args, *block.requant, oldest, t - 2, block.c);
  return t - 1 < block.args->y_width;
}

void RowStride1(const Block& block, const Weights& w) {
  int32x4_t a[4], b[4], c[4];
  LoadBias(block.args, block.c, a);
  LoadBias(block.args, block.c, b);
  for (size_t t = 0;; t += 3) {
    if (!StepStride1(block, w, t, a, b, c)) return;
    if (!StepStride1(block, w, t + 1, b, c, a)) return;
    if (!StepStride1(block, w, t + 2, c, a, b)) return;
  }
}

// Stride 2: the right column of a pixel is the left one of the next.
void RowStride2(const Block& block, const Weights& w) {
  int64_t x = -static_cast<int64_t>(block.args->pad_left);
  Column left = LoadColumn(block.args, x, block.c);
  for (size_t j = 0; j < block.args->y_width; ++j, x += 2) {
    int32x4_t acc[4];
    LoadBias(block.args, block.c, acc);
    MultiplyColumn(acc, left, w.tap[0]);
    MultiplyColumn(acc, LoadColumn(block.args, x + 1, block.c), w.tap[1]);
    left = LoadColumn(block.args, x + 2, block.c);
    MultiplyColumn(acc, left, w.tap[2]);
    FinishDw(block.args, *block.requant, acc, j, block.c);
  }
}

// Any stride and dilation.
void RowStrided(const Block& block, const Weights& w) {
  const int64_t dilation = static_cast<int64_t>(block.args->dilation_w);
  for (size_t j = 0; j < block.args->y_width; ++j) {
    const int64_t x = static_cast<int64_t>(j * block.args->stride_w) - block.args->pad_left;
    int32x4_t acc[4];
    LoadBias(block.args, block.c, acc);
    for (int kw = 0; kw < 3; ++kw) MultiplyColumn(acc, LoadColumn(block.args, x + kw * dilation, block.c), w.tap[kw]);
    FinishDw(block.args, *block.requant, acc, j, block.c);
  }
}

void Row3x3(const DwConvQ8Args* args, const RequantNeon& requant, const int8_t* packed) {
  for (size_t c = 0; c < args->channels; c += kBlockDw, packed += 3 * kColumnBytes) {
    Weights w;
    for (int i = 0; i < 12; ++i) w.tap[i / 4][i % 4] = vld1q_s8(packed + 16 * i);
    const Block block{args, &requant, c};
    if (args->dilation_w == 1 && args->stride_w == 1) {
      RowStride1(block, w);
    } else if (args->dilation_w == 1 && args->stride_w == 2) {
      RowStride2(block, w);
    } else {
      RowStrided(block, w);
    }
  }
}

void Run(const DwConvQ8Args* args) {
  if (args->y_width == 0) return;
  const RequantNeon requant = MakeRequantNeon(args->requant);
  const int8_t* w = static_cast<const int8_t*>(args->packed) + BiasBytesDw(args->channels);
  if (Is3x3(args->kernel_h, args->kernel_w)) return Row3x3(args, requant, w);
  for (size_t j = 0; j < args->y_width; ++j) GeneralPixelDw(args, requant, w, j, static_cast<const int8_t**>(args->scratch));
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::DwConvQ8Kernel sterna_dwconv_q8_neondot;
const sterna::DwConvQ8Kernel sterna_dwconv_q8_neondot = {"dwconv_q8/neondot", sterna::PackedBytes, sterna::Pack, sterna::ScratchBytes, sterna::Run};
}
