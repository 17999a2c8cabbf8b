// One output row of a float depthwise convolution, over a vector type V (isa/x86/vec_*.h).
//
//   y[j][c] = epilogue(sum_{kh, kw} x[kh][j * stride - pad_left + kw * dilation][c] * w[kh][kw][c])
//                                                       within ErrorBoundF32(kernel_h * kernel_w)
//
// Eight outputs are done at a time, with channels as the inner loop, so that memory is read in order. Inside a wide row, their input
// pixels follow each other. At its ends, and in narrow rows, a table points to the input pixels, zero_pixel for those outside: filling
// it takes longer than 16 channels do. Kernels 3 or 5 wide with stride 1 or 2 load each input once, for every output over it: 30 loads
// for the 72 fma of eight outputs under 3 x 3, beside 8 accumulators and 3 weights. Others load an input for each tap; kernels too
// large for the table do so an output at a time.
// The sum runs in order of kh, kw in every path, so that bits do not depend on how a row is divided.
// Reads and writes exactly `channels` floats of a pixel.
#pragma once
#include "isa/x86/panels.h"
#include "kernel.h"

namespace sterna {
namespace {

template <typename V>
struct DwConvF32 {
  using Reg = typename V::Reg;
  static constexpr size_t kLanes = V::kLanes;

  static constexpr size_t kNarrow = 24;  // outputs of a row of which the ends are a large part

  // One vector of channels.
  struct Column {
    const DwConvF32Args* args;
    size_t channel;
    typename V::Mask mask;
  };

  template <bool kWhole>
  static inline Reg Load(const float* p, typename V::Mask mask) {
    if constexpr (kWhole) return V::Load(p);
    return V::LoadPart(p, mask);
  }

  // PRelu and residuals.
  static __attribute__((noinline)) void FinishFully(const Column& c, size_t j, const Reg* acc, size_t outputs) {
    const EpilogueF32& e = c.args->epilogue;
    const Reg bias = e.bias != nullptr ? V::LoadPart(e.bias + c.channel, c.mask) : V::Set(0.0f);
    const Reg slope = e.slope != nullptr ? V::LoadPart(e.slope + c.channel, c.mask) : V::Set(0.0f);
    for (size_t i = 0; i < outputs; ++i) {
      Reg x = V::Add(acc[i], bias), residual = V::Set(0.0f);
      if (e.residual != nullptr) residual = V::LoadPart(e.residual + (j + i) * e.residual_stride + c.channel, c.mask);
      if (e.residual_first) x = V::Add(x, residual);
      x = e.slope != nullptr ? V::NegativeTimes(x, slope) : V::Min(V::Set(e.hi), V::Max(V::Set(e.lo), x));
      if (!e.residual_first && e.residual != nullptr) x = V::Add(x, residual);
      V::StorePart(c.args->y + (j + i) * c.args->y_stride + c.channel, c.mask, x);
    }
  }

  // Stores `count` of kPixels outputs.
  template <int kPixels, bool kWhole>
  static inline __attribute__((always_inline)) void Finish(const Column& c, size_t j, size_t count, const Reg (&acc)[kPixels]) {
    const EpilogueF32& e = c.args->epilogue;
    if (e.slope != nullptr || e.residual != nullptr) {
      Reg spilled[kPixels];
#pragma GCC unroll 8
      for (int i = 0; i < kPixels; ++i) spilled[i] = acc[i];
      return FinishFully(c, j, spilled, count);
    }
    const Reg bias = e.bias != nullptr ? Load<kWhole>(e.bias + c.channel, c.mask) : V::Set(0.0f);
    const Reg lo = V::Set(e.lo), hi = V::Set(e.hi);
    float* y = c.args->y + j * c.args->y_stride + c.channel;
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; ++i, y += c.args->y_stride) {
      if (static_cast<size_t>(i) == count) return;
      const Reg x = V::Min(hi, V::Max(lo, V::Add(acc[i], bias)));
      if constexpr (kWhole) {
        V::Store(y, x);
      } else {
        V::StorePart(y, c.mask, x);
      }
    }
  }

  // Input pixels of a row: one after the other, or by a table where some of them are zero_pixel.
  struct InRow {
    const float* x;
    size_t stride;
    const float* Next() {
      const float* here = x;
      x += stride;
      return here;
    }
    InRow From(size_t pixels) const { return {x + pixels * stride, stride}; }
  };
  struct InTable {
    const float* const* pixels;
    size_t channel;
    const float* Next() { return *pixels++ + channel; }
    InTable From(size_t count) const { return {pixels + count, channel}; }
  };

  // Adds a row of a kernel kWidth wide to kPixels outputs kStride apart: each input pixel is loaded once.
  template <int kPixels, bool kWhole, int kWidth, int kStride, typename In>
  static inline __attribute__((always_inline)) void AddRow(const Column& c, In x, const float* w, Reg (&acc)[kPixels]) {
    Reg weights[kWidth];
#pragma GCC unroll 5
    for (int t = 0; t < kWidth; ++t) weights[t] = Load<kWhole>(w + static_cast<size_t>(t) * c.args->channels, c.mask);
#pragma GCC unroll 20
    for (int at = 0; at < (kPixels - 1) * kStride + kWidth; ++at) {
      Reg value = Load<kWhole>(x.Next(), c.mask);
      V::Pin(value);
#pragma GCC unroll 5
      for (int t = 0; t < kWidth; ++t) {
        const int i = (at - t) / kStride;
        if (at >= t && (at - t) % kStride == 0 && i < kPixels) acc[i] = V::Fma(value, weights[t], acc[i]);
      }
    }
  }

  // The same for any kernel.
  template <int kPixels, bool kWhole, typename In>
  static inline __attribute__((always_inline)) void AddAnyRow(const Column& c, In x, const float* w, Reg (&acc)[kPixels]) {
    const DwConvF32Args& a = *c.args;
    for (size_t kw = 0; kw < a.kernel_w; ++kw, x = x.From(a.dilation_w), w += a.channels) {
      const Reg weight = Load<kWhole>(w, c.mask);
      In pixel = x;
#pragma GCC unroll 8
      for (int i = 0; i < kPixels; ++i, pixel = pixel.From(a.stride_w)) acc[i] = V::Fma(Load<kWhole>(In(pixel).Next(), c.mask), weight, acc[i]);
    }
  }

  // One vector of channels of outputs j .. j + count - 1; kWhole: all of its lanes exist. kWidth 0: any kernel.
  template <int kPixels, bool kWhole, int kWidth, int kStride, typename RowOf>
  static inline __attribute__((always_inline)) void Outputs(const Column& c, size_t j, size_t count, RowOf row) {
    const DwConvF32Args& a = *c.args;
    Reg acc[kPixels];
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; ++i) acc[i] = V::Set(0.0f);
    const float* w = a.w + c.channel;
    for (size_t kh = 0; kh < a.kernel_h; ++kh, w += a.kernel_w * a.channels) {
      if constexpr (kWidth == 0) {
        AddAnyRow<kPixels, kWhole>(c, row(kh), w, acc);
      } else {
        AddRow<kPixels, kWhole, kWidth, kStride>(c, row(kh), w, acc);
      }
    }
    Finish<kPixels, kWhole>(c, j, count, acc);
  }

  // Outputs whose taps all lie inside the width.
  template <int kPixels, int kWidth, int kStride>
  static __attribute__((noinline)) void Group(const DwConvF32Args* args, size_t j) {
    const size_t first = (j * args->stride_w - static_cast<size_t>(args->pad_left)) * args->x_stride;
    size_t channel = 0;
    const auto row = [&](size_t kh) { return InRow{args->rows[kh] + first + channel, args->x_stride}; };
    for (; channel + kLanes <= args->channels; channel += kLanes) Outputs<kPixels, true, kWidth, kStride>({args, channel, V::MakeMask(kLanes)}, j, kPixels, row);
    if (channel != args->channels) Outputs<kPixels, false, kWidth, kStride>({args, channel, V::MakeMask(args->channels - channel)}, j, kPixels, row);
  }

  static const float* Pixel(const DwConvF32Args& a, size_t kh, int64_t x) {
    return x >= 0 && x < static_cast<int64_t>(a.x_width) ? a.rows[kh] + static_cast<size_t>(x) * a.x_stride : a.zero_pixel;
  }

  static constexpr size_t kTable = 256;

  // Up to kPixels outputs anywhere: their input pixels are found once for all channels.
  template <int kPixels, int kWidth, int kStride>
  static __attribute__((noinline)) void GroupAnywhere(const DwConvF32Args* args, size_t j, size_t count) {
    const float* pixels[kTable];
    const size_t per_row = PerRow(*args, kPixels);
    const int64_t first = static_cast<int64_t>(j * args->stride_w) - args->pad_left;
    for (size_t kh = 0; kh < args->kernel_h; ++kh) {
      for (size_t i = 0; i < per_row; ++i) pixels[kh * per_row + i] = Pixel(*args, kh, first + static_cast<int64_t>(i));
    }
    size_t channel = 0;
    const auto row = [&](size_t kh) { return InTable{pixels + kh * per_row, channel}; };
    for (; channel + kLanes <= args->channels; channel += kLanes) Outputs<kPixels, true, kWidth, kStride>({args, channel, V::MakeMask(kLanes)}, j, count, row);
    if (channel != args->channels) Outputs<kPixels, false, kWidth, kStride>({args, channel, V::MakeMask(args->channels - channel)}, j, count, row);
  }

  // Input pixels of a row under `outputs` outputs.
  static size_t PerRow(const DwConvF32Args& a, size_t outputs) { return (outputs - 1) * a.stride_w + (a.kernel_w - 1) * a.dilation_w + 1; }

  // One output, its pixels found one by one.
  static void Single(const Column& c, size_t j) {
    const DwConvF32Args& a = *c.args;
    Reg acc[1] = {V::Set(0.0f)};
    const float* w = a.w + c.channel;
    for (size_t kh = 0; kh < a.kernel_h; ++kh) {
      for (size_t kw = 0; kw < a.kernel_w; ++kw, w += a.channels) {
        const float* pixel = Pixel(a, kh, static_cast<int64_t>(j * a.stride_w + kw * a.dilation_w) - a.pad_left);
        acc[0] = V::Fma(V::LoadPart(pixel + c.channel, c.mask), V::LoadPart(w, c.mask), acc[0]);
      }
    }
    Finish<1, false>(c, j, 1, acc);
  }

  static void RunSingly(const DwConvF32Args* args) {
    for (size_t j = 0; j < args->y_width; ++j) {
      for (size_t channel = 0; channel < args->channels; channel += kLanes) Single({args, channel, V::MakeMask(args->channels - channel)}, j);
    }
  }

  // Outputs [begin, end) have all their taps inside the width. Those before and after them are at edges, as are all of narrow rows.
  template <int kWidth, int kStride>
  static void RunRow(const DwConvF32Args* args, size_t begin, size_t end) {
    const size_t width = args->y_width;
    for (size_t j = 0; j < width;) {
      const bool inside = j >= begin && j + 8 <= end;
      const size_t left = width - j, next = j < begin ? begin - j : 8;
      const size_t count = left < next ? left : next;
      if (inside) Group<8, kWidth, kStride>(args, j);
      else if (count > 4) GroupAnywhere<8, kWidth, kStride>(args, j, count);
      else GroupAnywhere<4, 0, 1>(args, j, count);
      j += count;
    }
  }

  static void Run(const DwConvF32Args* args) {
    const size_t pad = args->pad_left, reach = (args->kernel_w - 1) * args->dilation_w + 1, y_width = args->y_width;
    if (args->kernel_h * PerRow(*args, 8) > kTable) return RunSingly(args);
    size_t begin = CeilDiv(pad, args->stride_w), end = args->x_width + pad < reach ? 0 : (args->x_width + pad - reach) / args->stride_w + 1;
    if (end > y_width) end = y_width;
    if (begin > 4 || y_width <= kNarrow) begin = 0, end = 0;
    const size_t width = args->dilation_w == 1 ? args->kernel_w : 0, stride = args->stride_w;
    if (width == 3 && stride == 1) return RunRow<3, 1>(args, begin, end);
    if (width == 3 && stride == 2) return RunRow<3, 2>(args, begin, end);
    if (width == 5 && stride == 1) return RunRow<5, 1>(args, begin, end);
    if (width == 5 && stride == 2) return RunRow<5, 2>(args, begin, end);
    RunRow<0, 1>(args, begin, end);
  }
};

}  // namespace
}  // namespace sterna
