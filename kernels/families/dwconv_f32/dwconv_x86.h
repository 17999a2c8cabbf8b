// One output row of a float depthwise convolution, over a vector type V (isa/x86/vec_*.h).
//
//   y[j][c] = epilogue(sum_{kh, kw} x[kh][j * stride - pad_left + kw * dilation][c] * w[kh][kw][c])
//                                                       within ErrorBoundF32(kernel_h * kernel_w)
//
// Eight outputs are done at a time, or, where registers suffice, eight of each of two rows, with channels as the inner loop, so that
// memory is read in order. Inside a wide row, their input pixels follow each other. At its ends, and in narrow rows, a table points to
// the input pixels, zero_pixel for those outside: filling it takes longer than 16 channels do. Up to four outputs there are done apart,
// those of both rows together. Kernels 3 or 5 wide with stride 1 or 2 load each input once, for every output over it: 30 loads
// for the 72 fma of eight outputs under 3 x 3, beside 8 accumulators and 3 weights. Others load an input for each tap; kernels too
// large for the table do so an output at a time.
// The sum runs in order of kh, kw in every path, so that bits do not depend on how a row is divided.
// Writes exactly `channels` floats of a pixel, and reads up to 60 bytes more.
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

  // One vector of channels, of which some may not exist: their lanes are loaded, from the pixel or the tap that follows, but not stored.
  struct Column {
    const DwConvF32Args* args;
    size_t channel;
    bool whole() const { return channel + kLanes <= args->channels; }
    typename V::Mask mask() const { return V::MakeMask(args->channels - channel); }
  };

  // PRelu and residuals.
  static __attribute__((noinline)) void FinishFully(const Column& c, size_t j, const Reg* acc, size_t outputs) {
    const EpilogueF32& e = c.args->epilogue;
    const typename V::Mask mask = c.mask();
    const Reg slope = e.slope != nullptr ? V::LoadPart(e.slope + c.channel, mask) : V::Set(0.0f);
    for (size_t i = 0; i < outputs; ++i) {
      Reg x = acc[i], residual = V::Set(0.0f);
      if (e.residual != nullptr) residual = V::LoadPart(e.residual + (j + i) * e.residual_stride + c.channel, mask);
      if (e.residual_first) x = V::Add(x, residual);
      x = e.slope != nullptr ? V::NegativeTimes(x, slope) : V::Min(V::Set(e.hi), V::Max(V::Set(e.lo), x));
      if (!e.residual_first && e.residual != nullptr) x = V::Add(x, residual);
      V::StorePart(c.args->y + (j + i) * c.args->y_stride + c.channel, mask, x);
    }
  }

  // Stores `count` of kPixels outputs.
  template <int kPixels>
  static inline __attribute__((always_inline)) void Finish(const Column& c, size_t j, size_t count, const Reg (&acc)[kPixels]) {
    const EpilogueF32& e = c.args->epilogue;
    if (e.slope != nullptr || e.residual != nullptr || !c.whole()) {
      Reg spilled[kPixels];
#pragma GCC unroll 8
      for (int i = 0; i < kPixels; ++i) spilled[i] = acc[i];
      return FinishFully(c, j, spilled, count);
    }
    const Reg lo = V::Set(e.lo), hi = V::Set(e.hi);
    const size_t stride = c.args->y_stride;
    float* y = c.args->y + j * stride + c.channel;
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; ++i, y += stride) {
      if (static_cast<size_t>(i) == count) return;
      V::Store(y, V::Min(hi, V::Max(lo, acc[i])));
    }
  }

  // Where a sum begins.
  static inline Reg BiasOf(const Column& c) {
    const float* bias = c.args->epilogue.bias;
    if (bias == nullptr) return V::Set(0.0f);
    return c.whole() ? V::Load(bias + c.channel) : V::LoadPart(bias + c.channel, c.mask());
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

  // The input rows under some outputs.
  struct Rows {
    const float* const* starts;
    size_t stride;
    InRow At(size_t kh, size_t channel) const { return {starts[kh] + channel, stride}; }
  };
  struct Table {
    const float* const* pixels;
    size_t per_row;
    InTable At(size_t kh, size_t channel) const { return {pixels + kh * per_row, channel}; }
  };

  // Adds a row of a kernel kWidth wide to eight outputs kStride apart: each input pixel is loaded once.
  template <int kWidth, int kStride, typename In>
  static inline __attribute__((always_inline)) void AddRow(const Column& c, In x, const float* w, Reg (&acc)[8]) {
    Reg weights[kWidth];
#pragma GCC unroll 5
    for (int t = 0; t < kWidth; ++t) weights[t] = V::Load(w + static_cast<size_t>(t) * c.args->channels);
#pragma GCC unroll 20
    for (int at = 0; at < 7 * kStride + kWidth; ++at) {
      Reg value = V::Load(x.Next());
      V::Pin(value);
#pragma GCC unroll 5
      for (int t = 0; t < kWidth; ++t) {
        const int i = (at - t) / kStride;
        if (at >= t && (at - t) % kStride == 0 && i < 8) acc[i] = V::Fma(value, weights[t], acc[i]);
      }
    }
  }

  // The same for any kernel.
  template <typename In>
  static inline __attribute__((always_inline)) void AddAnyRow(const Column& c, In x, const float* w, Reg (&acc)[8]) {
    const DwConvF32Args& a = *c.args;
    for (size_t kw = 0; kw < a.kernel_w; ++kw, x = x.From(a.dilation_w), w += a.channels) {
      const Reg weight = V::Load(w);
      In pixel = x;
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i, pixel = pixel.From(a.stride_w)) acc[i] = V::Fma(V::Load(In(pixel).Next()), weight, acc[i]);
    }
  }

  // What is done at a time: eight outputs of a row.
  template <int kWidth, int kStride>
  struct OneRow {
    const DwConvF32Args* args;
    const DwConvF32Args& shape() const { return *args; }
    size_t rows() const { return args->kernel_h; }
    const float* Row(size_t kh) const { return args->rows[kh]; }
    // One vector of channels of outputs j .. j + count - 1. kWidth 0: any kernel.
    template <typename From>
    inline __attribute__((always_inline)) void Run(size_t channel, size_t j, size_t count, const From& from) const {
      const Column c = {args, channel};
      Reg acc[8];
      const Reg bias = BiasOf(c);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) acc[i] = bias;
      const float* w = args->w + channel;
      for (size_t kh = 0; kh < args->kernel_h; ++kh, w += args->kernel_w * args->channels) {
        if constexpr (kWidth == 0) {
          AddAnyRow(c, from.At(kh, channel), w, acc);
        } else {
          AddRow<kWidth, kStride>(c, from.At(kh, channel), w, acc);
        }
      }
      Finish(c, j, count, acc);
    }
  };

  // Adds an input row to outputs of two output rows: it is under the taps of row kh of the upper one, whose weights are at w, and of row kh - 1 of the lower.
  template <int kWidth, typename In>
  static inline __attribute__((always_inline)) void AddRowTwice(const Column& c, In x, const float* w, Reg (&upper)[8], Reg (&lower)[8]) {
    Reg up[kWidth], low[kWidth];
#pragma GCC unroll 5
    for (int t = 0; t < kWidth; ++t) {
      const float* tap = w + static_cast<size_t>(t) * c.args->channels;
      up[t] = V::Load(tap), low[t] = V::Load(tap - kWidth * c.args->channels);
    }
#pragma GCC unroll 12
    for (int at = 0; at < 7 + kWidth; ++at) {
      Reg value = V::Load(x.Next());
      V::Pin(value);
#pragma GCC unroll 5
      for (int t = 0; t < kWidth; ++t) {
        const int i = at - t;
        if (i >= 0 && i < 8) upper[i] = V::Fma(value, up[t], upper[i]), lower[i] = V::Fma(value, low[t], lower[i]);
      }
    }
  }

  // Or eight of each of two rows, with a stride of one: the lower one reads the input rows of the upper one but the first, and one more. 40 loads for the
  // 144 fma of sixteen outputs under 3 x 3, beside 16 accumulators and 6 weights.
  template <int kWidth>
  struct TwoRows {
    const DwConvF32Args *upper, *lower;
    const DwConvF32Args& shape() const { return *upper; }
    size_t rows() const { return upper->kernel_h + 1; }
    const float* Row(size_t kh) const { return kh < upper->kernel_h ? upper->rows[kh] : lower->rows[kh - 1]; }
    template <typename From>
    inline __attribute__((always_inline)) void Run(size_t channel, size_t j, size_t count, const From& from) const {
      const Column c = {upper, channel};
      Reg high[8], low[8];
      const Reg bias = BiasOf(c);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) high[i] = low[i] = bias;
      const size_t step = kWidth * upper->channels;
      const float* w = upper->w + channel;
      AddRow<kWidth, 1>(c, from.At(0, channel), w, high);
      for (size_t kh = 1; kh < upper->kernel_h; ++kh) AddRowTwice<kWidth>(c, from.At(kh, channel), w += step, high, low);
      AddRow<kWidth, 1>(c, from.At(upper->kernel_h, channel), w, low);
      Finish(c, j, count, high);
      Finish({lower, channel}, j, count, low);
    }
  };

  static constexpr size_t kTable = 256;
  static constexpr size_t kSpots = 4, kMostTaps = kTable / kSpots;

  // Outputs [begin, end), a multiple of eight, whose taps all lie inside the width.
  template <typename Job>
  static __attribute__((noinline)) void Inside(const Job job, size_t begin, size_t end) {
    const DwConvF32Args& a = job.shape();
    const float* starts[kMostTaps + 1];
    const size_t first = (begin * a.stride_w - static_cast<size_t>(a.pad_left)) * a.x_stride;
    for (size_t kh = 0; kh < job.rows(); ++kh) starts[kh] = job.Row(kh) + first;
    for (size_t j = begin; j < end; j += 8) {
      for (size_t channel = 0; channel < a.channels; channel += kLanes) job.Run(channel, j, 8, Rows{starts, a.x_stride});
      for (size_t kh = 0; kh < job.rows(); ++kh) starts[kh] += 8 * a.stride_w * a.x_stride;
    }
  }

  // Left of a row, x is a large number.
  static const float* Pixel(const DwConvF32Args& a, const float* row, size_t x) { return x < a.x_width ? row + x * a.x_stride : a.zero_pixel; }

  // Up to eight outputs anywhere: their input pixels are found once for all channels.
  template <typename Job>
  static __attribute__((noinline)) void Anywhere(const Job job, size_t j, size_t count) {
    const DwConvF32Args& a = job.shape();
    const float* pixels[kTable];
    const size_t per_row = PerRow(a), first = j * a.stride_w - static_cast<size_t>(a.pad_left);
    for (size_t kh = 0; kh < job.rows(); ++kh) {
      for (size_t i = 0; i < per_row; ++i) pixels[kh * per_row + i] = Pixel(a, job.Row(kh), first + i);
    }
    for (size_t channel = 0; channel < a.channels; channel += kLanes) job.Run(channel, j, count, Table{pixels, per_row});
  }

  // Input pixels of a row under eight outputs.
  static size_t PerRow(const DwConvF32Args& a) { return 7 * a.stride_w + (a.kernel_w - 1) * a.dilation_w + 1; }

  // Few outputs, anywhere in one or two rows: four at a time.
  struct Spots {
    const DwConvF32Args* args[kSpots];
    size_t at[kSpots], count;
    void Add(const DwConvF32Args* row, size_t begin, size_t end) {
      for (; begin < end; ++begin) {
        args[count] = row, at[count++] = begin;
        if (count == kSpots) Run();
      }
    }
    void Run() {
      if (count > 2) RunSpots<4>(*this);
      else if (count == 2) RunSpots<2>(*this);
      else if (count == 1) RunSpots<1>(*this);
      count = 0;
    }
  };
  template <size_t kCount>
  static __attribute__((noinline)) void RunSpots(const Spots& spots) {
    const DwConvF32Args& a = *spots.args[0];
    const size_t taps = a.kernel_h * a.kernel_w;
    const float* pixels[kTable];
    for (size_t i = 0; i < kCount; ++i) {
      const size_t spot = i < spots.count ? i : 0;
      const float* const* rows = spots.args[spot]->rows;
      for (size_t kw = 0; kw < a.kernel_w; ++kw) {
        const size_t x = spots.at[spot] * a.stride_w + kw * a.dilation_w - static_cast<size_t>(a.pad_left);
        const float** to = pixels + kw * kCount + i;
        for (size_t kh = 0; kh < a.kernel_h; ++kh, to += a.kernel_w * kCount) *to = Pixel(a, rows[kh], x);
      }
    }
    for (size_t channel = 0; channel < a.channels; channel += kLanes) {
      const Reg bias = BiasOf({&a, channel});
      Reg acc[kCount];
#pragma GCC unroll 4
      for (size_t i = 0; i < kCount; ++i) acc[i] = bias;
      const float* w = a.w + channel;
      const float* const* from = pixels;
      for (size_t tap = 0; tap < taps; ++tap, w += a.channels, from += kCount) {
        const Reg weight = V::Load(w);
#pragma GCC unroll 4
        for (size_t i = 0; i < kCount; ++i) acc[i] = V::Fma(V::Load(from[i] + channel), weight, acc[i]);
      }
#pragma GCC unroll 4
      for (size_t i = 0; i < kCount; ++i) {
        if (i == spots.count) break;
        const Reg one[1] = {acc[i]};
        Finish({spots.args[i], channel}, spots.at[i], 1, one);
      }
    }
  }

  // One output, its pixels found one by one.
  static void Single(const Column& c, size_t j) {
    const DwConvF32Args& a = *c.args;
    Reg acc[1] = {BiasOf(c)};
    const float* w = a.w + c.channel;
    for (size_t kh = 0; kh < a.kernel_h; ++kh) {
      for (size_t kw = 0; kw < a.kernel_w; ++kw, w += a.channels) {
        const float* pixel = Pixel(a, a.rows[kh], j * a.stride_w + kw * a.dilation_w - static_cast<size_t>(a.pad_left));
        acc[0] = V::Fma(V::Load(pixel + c.channel), V::Load(w), acc[0]);
      }
    }
    Finish(c, j, 1, acc);
  }

  static void RunSingly(const DwConvF32Args* args) {
    for (size_t j = 0; j < args->y_width; ++j) {
      for (size_t channel = 0; channel < args->channels; channel += kLanes) Single({args, channel}, j);
    }
  }

  // Outputs [begin, end) have all their taps inside the width.
  struct Range {
    size_t begin, end;
  };
  static Range InsideOf(const DwConvF32Args& a) {
    const size_t pad = a.pad_left, reach = (a.kernel_w - 1) * a.dilation_w + 1;
    const size_t begin = CeilDiv(pad, a.stride_w), end = a.x_width + pad < reach ? 0 : (a.x_width + pad - reach) / a.stride_w + 1;
    return {begin, end < a.y_width ? end : a.y_width};
  }

  // The row of a job, or both.
  template <typename Job>
  static void RunRows(const Job& job, const DwConvF32Args* upper, const DwConvF32Args* lower) {
    const size_t width = upper->y_width;
    Spots spots;
    spots.count = 0;
    const auto run_spots = [&](size_t begin, size_t end) {
      spots.Add(upper, begin, end);
      if (lower != nullptr) spots.Add(lower, begin, end);
      spots.Run();
    };
    const Range inside = InsideOf(*upper);
    size_t j = 0;
    if (width > kNarrow && inside.begin <= kSpots && inside.begin + 8 <= inside.end) {
      run_spots(0, inside.begin);
      j = inside.begin + (inside.end - inside.begin) / 8 * 8;
      Inside(job, inside.begin, j);
    }
    for (; j + kSpots < width; j += 8) Anywhere(job, j, width - j < 8 ? width - j : 8);
    run_spots(j, width);
  }

  static void Run(const DwConvF32Args* args) {
    const size_t taps = args->kernel_h * args->kernel_w;
    if (args->kernel_h * PerRow(*args) > kTable || taps > kMostTaps) return RunSingly(args);
    const size_t width = args->dilation_w == 1 ? args->kernel_w : 0, stride = args->stride_w;
    if (width == 3 && stride == 1) return RunRows(OneRow<3, 1>{args}, args, nullptr);
    if (width == 3 && stride == 2) return RunRows(OneRow<3, 2>{args}, args, nullptr);
    if (width == 5 && stride == 1) return RunRows(OneRow<5, 1>{args}, args, nullptr);
    if (width == 5 && stride == 2) return RunRows(OneRow<5, 2>{args}, args, nullptr);
    RunRows(OneRow<0, 1>{args}, args, nullptr);
  }

  // Whether each row of taps of the lower output row but the last is on the input row of the next one of the upper.
  static bool ShareRows(const DwConvF32Args& upper, const DwConvF32Args& lower) {
    for (size_t kh = 1; kh < upper.kernel_h; ++kh) {
      if (upper.rows[kh] != lower.rows[kh - 1]) return false;
    }
    return upper.stride_w == 1 && upper.dilation_w == 1 && (upper.kernel_h + 1) * PerRow(upper) <= kTable && upper.kernel_h * upper.kernel_w <= kMostTaps;
  }

  static void RunTwo(const DwConvF32Args* upper, const DwConvF32Args* lower) {
    if (upper->kernel_w == 3 && ShareRows(*upper, *lower)) return RunRows(TwoRows<3>{upper, lower}, upper, lower);
    if (upper->kernel_w == 5 && ShareRows(*upper, *lower)) return RunRows(TwoRows<5>{upper, lower}, upper, lower);
    Run(upper);
    Run(lower);
  }
};

}  // namespace
}  // namespace sterna
