// One output row of a float depthwise convolution, over a vector type V (x86/vec_*.h).
//
//   y[j][c] = epilogue(sum_{kh, kw} x[kh][j * stride - pad_left + kw * dilation][c] * w[kh][kw][c])
//                                                       |error| <= (kernel_h * kernel_w + 2) * eps * sum |x * w|
//
// Outputs whose taps all lie inside the row are done 8, 4, 2 or 1 at a time: a load of weights serves them all, and as many
// chains of fma hide the latency. Outputs at the borders are done alone. Channels are the inner loop: memory is read in order.
// Reads and writes exactly `channels` floats of a pixel.
#pragma once
#include "../x86/panels.h"
#include "sterna/microkernel.h"

namespace sterna {
namespace {

template <typename V>
struct DwConvF32 {
  static constexpr size_t kLanes = V::kLanes;

  struct Column {  // one vector of channels
    const DwConvF32Args* args;
    size_t channel;
    typename V::Mask mask;
    typename V::Reg bias, slope, lo, hi;
  };

  static Column MakeColumn(const DwConvF32Args* args, size_t channel) {
    const EpilogueF32& e = args->epilogue;
    const typename V::Mask mask = V::MakeMask(args->channels - channel);
    const typename V::Reg none = V::Set(0.0f);
    return {args, channel, mask, e.bias != nullptr ? V::LoadPart(e.bias + channel, mask) : none,
            e.slope != nullptr ? V::LoadPart(e.slope + channel, mask) : none, V::Set(e.lo), V::Set(e.hi)};
  }

  static inline __attribute__((always_inline)) void Finish(const Column& c, size_t j, typename V::Reg acc) {
    const EpilogueF32& e = c.args->epilogue;
    typename V::Reg x = V::Add(acc, c.bias), residual = V::Set(0.0f);
    if (e.residual != nullptr) residual = V::LoadPart(e.residual + j * e.residual_stride + c.channel, c.mask);
    if (e.residual_first) x = V::Add(x, residual);
    x = e.slope != nullptr ? V::NegativeTimes(x, c.slope) : V::Min(V::Max(x, c.lo), c.hi);
    if (!e.residual_first && e.residual != nullptr) x = V::Add(x, residual);
    V::StorePart(c.args->y + j * c.args->y_stride + c.channel, c.mask, x);
  }

  template <bool kWhole>
  static inline typename V::Reg Load(const float* p, typename V::Mask mask) {
    if constexpr (kWhole) return V::Load(p);
    return V::LoadPart(p, mask);
  }

  // Outputs j .. j + kPixels - 1, all of whose taps are inside; kWhole: so is the vector of channels.
  template <int kPixels, bool kWhole>
  static void Inside(const Column& c, size_t j) {
    const DwConvF32Args& a = *c.args;
    typename V::Reg acc[kPixels];
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; ++i) acc[i] = V::Set(0.0f);
    const size_t first = (j * a.stride_w - static_cast<size_t>(a.pad_left)) * a.x_stride + c.channel;
    const size_t pixel = a.stride_w * a.x_stride, tap = a.dilation_w * a.x_stride;
    const float* w = a.w + c.channel;
    for (size_t kh = 0; kh < a.kernel_h; ++kh) {
      const float* x = a.rows[kh] + first;
      for (size_t kw = 0; kw < a.kernel_w; ++kw, x += tap, w += a.channels) {
        const typename V::Reg weight = Load<kWhole>(w, c.mask);
#pragma GCC unroll 8
        for (int i = 0; i < kPixels; ++i) acc[i] = V::Fma(Load<kWhole>(x + i * pixel, c.mask), weight, acc[i]);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; ++i) Finish(c, j + i, acc[i]);
  }

  static void Border(const Column& c, size_t j) {
    const DwConvF32Args& a = *c.args;
    typename V::Reg acc = V::Set(0.0f);
    const float* w = a.w + c.channel;
    for (size_t kh = 0; kh < a.kernel_h; ++kh) {
      for (size_t kw = 0; kw < a.kernel_w; ++kw, w += a.channels) {
        const int64_t x = static_cast<int64_t>(j * a.stride_w + kw * a.dilation_w) - a.pad_left;
        const bool inside = x >= 0 && x < static_cast<int64_t>(a.x_width);
        const float* pixel = inside ? a.rows[kh] + static_cast<size_t>(x) * a.x_stride : a.zero_pixel;
        acc = V::Fma(V::LoadPart(pixel + c.channel, c.mask), V::LoadPart(w, c.mask), acc);
      }
    }
    Finish(c, j, acc);
  }

  // Outputs [first, last) have every tap inside the row.
  struct Interior {
    size_t first, last;
  };

  static Interior FindInterior(const DwConvF32Args& a) {
    const int64_t stride = static_cast<int64_t>(a.stride_w), span = static_cast<int64_t>((a.kernel_w - 1) * a.dilation_w);
    const int64_t width = static_cast<int64_t>(a.y_width), pad = a.pad_left;
    const int64_t room = static_cast<int64_t>(a.x_width) - 1 - span + pad;  // of the last tap's start
    int64_t first = pad <= 0 ? 0 : (pad + stride - 1) / stride, last = room < 0 ? 0 : room / stride + 1;
    if (last > width) last = width;
    if (first > last) first = last;
    return {static_cast<size_t>(first), static_cast<size_t>(last)};
  }

  template <int kPixels>
  static void InsideAll(const DwConvF32Args* args, size_t j) {
    size_t channel = 0;
    for (; channel + kLanes <= args->channels; channel += kLanes) Inside<kPixels, true>(MakeColumn(args, channel), j);
    if (channel < args->channels) Inside<kPixels, false>(MakeColumn(args, channel), j);
  }

  static void BorderAll(const DwConvF32Args* args, size_t j) {
    for (size_t channel = 0; channel < args->channels; channel += kLanes) Border(MakeColumn(args, channel), j);
  }

  static void Run(const DwConvF32Args* args) {
    const Interior in = FindInterior(*args);
    size_t j = 0;
    while (j < in.first) BorderAll(args, j++);
    for (; j + 8 <= in.last; j += 8) InsideAll<8>(args, j);
    if (j + 4 <= in.last) InsideAll<4>(args, j), j += 4;
    if (j + 2 <= in.last) InsideAll<2>(args, j), j += 2;
    if (j < in.last) InsideAll<1>(args, j), j += 1;
    while (j < args->y_width) BorderAll(args, j++);
  }
};

}  // namespace
}  // namespace sterna
