// From a tile of 32-bit sums to bytes of Y, for the GEMMs over a vector type V (q8_avx512.h, q8_avx2.h, q8_sse41.h).
#pragma once
#include "panels.h"
#include "requant_x86.h"

// Out of line, and once: GCC would make a copy for each number of rows.
#if defined(__clang__)
#define STERNA_ONCE __attribute__((noinline))
#else
#define STERNA_ONCE __attribute__((noinline, noclone))
#endif

namespace sterna {
namespace {

template <typename V>
struct TileQ8 {
  using Int = typename V::Int;
  static constexpr size_t kLanes = V::kLanes;

  struct Output {
    Requant<V> requant;
    size_t y_stride;
    WideQ8 wide;
    size_t n;
  };

  // Rows of one panel, from the first on.
  struct Place {
    size_t channel;         // the first
    typename V::Mask mask;  // channels that exist
    uint8_t* y;
    const uint8_t* residual;
  };

  static Output MakeOutput(const RequantQ8& r, size_t n, size_t y_stride, const WideQ8& wide = {}) {
    Output output = {MakeRequant<V>(r), y_stride, wide, n};
    if (wide.offset != nullptr) {
      output.requant.plain = false;
      return output;
    }
    for (size_t o = 0; o < n; o += kLanes) output.requant.plain &= V::AllBelowOne(V::LoadFloat(r.scale + o));
    return output;
  }

  static Place Below(Place at, const Output& out, size_t rows) {
    at.y += rows * out.y_stride;
    if (at.residual != nullptr) at.residual += rows * out.requant.residual_stride;
    return at;
  }

  // A narrowed register holds four vectors: of one row (and one idle, when a row has three), of two rows or of four.
  template <int kVectors>
  static constexpr int kParts = kVectors >= 3 ? 1 : 4 / kVectors;

  // Which vector of a row, and which row of its group, is at position i of a narrowed register.
  template <int kVectors>
  static constexpr int VectorAt(int i) { return kVectors == 3 && i == 3 ? 2 : i % kVectors; }
  template <int kVectors>
  static constexpr int RowAt(int i) { return kVectors >= 3 ? 0 : i / kVectors; }

  // One vector of WideQ8.
  struct WideVector {
    Int offset;
    typename V::Float scale, bias;
  };
  static inline WideVector LoadWide(const WideQ8& wide, size_t channel) {
    const WideVector at{V::LoadInt(wide.offset + channel), V::AsFloat(V::Zero()), V::AsFloat(V::Zero())};
    if (wide.scale == nullptr) return at;
    return {at.offset, V::LoadFloat(wide.scale + channel), V::LoadFloat(wide.bias + channel)};
  }
  static inline __attribute__((always_inline)) Int Widen(const WideVector& w, Int acc, bool floats) {
    const Int sum = V::AddInt(acc, w.offset);
    return floats ? V::AsInt(V::Add(V::Scale(sum, w.scale), w.bias)) : sum;
  }

  // The last channels of a panel, fewer than a vector; acc: one vector of each row, `step` apart.
  static STERNA_ONCE void StoreSomeWide(const Output& out, size_t channel, uint8_t* y, const Int* acc, size_t step, size_t rows) {
    const WideVector wide = LoadWide(out.wide, channel);
    for (; rows != 0; --rows, y += out.y_stride, acc += step) {
      alignas(64) int32_t lanes[kLanes];
      V::StoreInt(lanes, Widen(wide, *acc, out.wide.scale != nullptr));
      __builtin_memcpy(y, lanes, (out.n - channel) * sizeof(int32_t));
    }
  }

  // WideQ8: elements of four bytes, where Place counts a byte a channel. One copy for tiles of all widths, of which there are many.
  static STERNA_ONCE void StoreWide(const Output& out, const Place& at, const Int* acc, size_t rows, size_t vectors) {
    uint8_t* y = at.y + at.channel * (sizeof(int32_t) - 1);
    for (size_t v = 0; v < vectors; ++v, y += kLanes * sizeof(int32_t)) {
      const size_t channel = at.channel + v * kLanes;
      if (channel + kLanes > out.n) return StoreSomeWide(out, channel, y, acc + v, vectors, rows);
      const WideVector wide = LoadWide(out.wide, channel);
      for (size_t row = 0; row < rows; ++row) V::StoreInt(y + row * out.y_stride, Widen(wide, acc[row * vectors + v], out.wide.scale != nullptr));
    }
  }

  // PRelu, tables, residuals, large scales and WideQ8: out of line, from accumulators in memory.
  template <int kVectors>
  static STERNA_ONCE void FinishRows(const Output& out, const Place& at, const Int* acc, size_t rows) {
    if (out.wide.offset != nullptr) return StoreWide(out, at, acc, rows, kVectors);
    constexpr size_t kStep = kParts<kVectors>;
    const Requant<V> r = out.requant;
    typename V::Float scale[kVectors], scale_neg[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      scale[v] = V::LoadFloat(r.scale + at.channel + v * kLanes);
      scale_neg[v] = V::LoadFloat(r.scale_neg + at.channel + v * kLanes);
    }
    for (size_t row = 0; row < rows; row += kStep, acc += kStep * kVectors) {
      typename V::Float x[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const int v = VectorAt<kVectors>(i);
        const Int value = acc[RowAt<kVectors>(i) * kVectors + v];
        x[i] = r.is_signed ? V::ScaleSigned(value, scale[v], scale_neg[v]) : V::Scale(value, scale[v]);
      }
      Int q = V::InVectorOrder(V::Narrow(r.mid, x[0], x[1], x[2], x[3])), residual = q;
      if (r.residual != nullptr) {
        residual = V::template LoadParts<kStep>(rows - row, at.mask, at.residual + row * r.residual_stride, r.residual_stride);
      }
      q = FinishBytes<V>(r, q, residual);
      V::template StoreParts<kStep>(q, rows - row, at.mask, at.y + row * out.y_stride, out.y_stride);
    }
  }

  // The common epilogue: a scale for each channel, all below one, so that |acc * scale| < 2^31.
  template <int kRows, int kVectors>
  static inline __attribute__((always_inline)) void NarrowTile(const Output& out, const Place& at, const Int (&acc)[kRows * kVectors]) {
    constexpr int kStep = kParts<kVectors>;
    typename V::Float scale[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) scale[v] = V::LoadFloat(out.requant.scale + at.channel + v * kLanes);
#pragma GCC unroll 12
    for (int row = 0; row < kRows; row += kStep) {
      typename V::Float x[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const int v = VectorAt<kVectors>(i), from = row + RowAt<kVectors>(i);
        x[i] = V::Scale(acc[(from < kRows ? from : row) * kVectors + v], scale[v]);
      }
      const Int q = V::InVectorOrder(V::NarrowSmall(out.requant.mid, x[0], x[1], x[2], x[3]));
      V::template StoreParts<kStep>(q, kRows - row, at.mask, at.y + row * out.y_stride, out.y_stride);
    }
  }

  // A tile in registers: by the common epilogue where that suffices.
  template <int kRows, int kVectors>
  static inline __attribute__((always_inline)) void FinishTile(const Output& out, const Place& at, const Int (&acc)[kRows * kVectors]) {
    if (out.requant.plain) return NarrowTile<kRows, kVectors>(out, at, acc);
    // Whole groups: a row that does not exist repeats one that does.
    constexpr int kGroupRows = RoundUp(kRows, kParts<kVectors>);
    Int spilled[kGroupRows * kVectors];
#pragma GCC unroll 24
    for (int i = 0; i < kGroupRows * kVectors; ++i) spilled[i] = acc[i < kRows * kVectors ? i : i % kVectors];
    FinishRows<kVectors>(out, at, spilled, kRows);
  }
};

}  // namespace
}  // namespace sterna
