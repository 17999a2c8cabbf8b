// The product of few float rows by 4-bit weights on x86, over a vector type V that widens codes (avx2.cpp, avx512vnni.cpp).
//
//   y[i][o] = bias[o] + sum_g scale[o][g] * sum_(k in group g) a[i][k] * w[o][k]        within ErrorBoundF32(k)
//
// A lane is an output channel, and a 32-bit word of it eight consecutive weights, so that shifting a vector of words brings one weight of each
// channel after the other in place; weights never go through memory as floats. A tile is four vectors of channels by up to kMaxRows rows, which
// share what widening a weight takes. With one row the weights' way through memory is the limit, or nearly.
// Packed: panels of 4 * lanes channels; a panel is, for each group, uint16 scale[channels], then for each eight k uint32 [channels]. Channels past n
// are zero.
#pragma once
#include "isa/x86/panels.h"
#include "kernel.h"

namespace sterna {
namespace {

template <typename V>
struct GemmF32W4 {
  using Reg = typename V::Reg;
  static constexpr size_t kLanes = V::kLanes, kVectors = 4, kPanel = kVectors * kLanes, kWeights = 8;  // weights in a word
  static constexpr size_t kMaxRows = 4;

  static size_t PanelBytes(size_t k, size_t group) { return kPanel * (k / group * sizeof(uint16_t) + k / kWeights * sizeof(uint32_t)); }
  static size_t PackedBytes(size_t n, size_t k, size_t group) { return CeilDiv(n, kPanel) * PanelBytes(k, group); }

  static uint32_t WordOf(const int8_t* w) {
    uint32_t word = 0;
    for (size_t i = 0; i < kWeights; ++i) word |= static_cast<uint32_t>(V::CodeOf(w[i])) << 4 * i;
    return word;
  }

  static void Pack(size_t n, size_t k, size_t group, const int8_t* w, const uint16_t* scale, void* packed) {
    uint8_t* out = static_cast<uint8_t*>(packed);
    const auto put = [&out](auto value) {
      __builtin_memcpy(out, &value, sizeof value);
      out += sizeof value;
    };
    for (size_t panel = 0; panel < n; panel += kPanel) {
      for (size_t g = 0; g < k / group; ++g) {
        for (size_t o = panel; o < panel + kPanel; ++o) put(o < n ? scale[o * (k / group) + g] : uint16_t{0});
        for (size_t p = g * group; p < (g + 1) * group; p += kWeights) {
          for (size_t o = panel; o < panel + kPanel; ++o) put(o < n ? WordOf(w + o * k + p) : uint32_t{0});
        }
      }
    }
  }

  // One group of one panel: sums[row][vector] += scale * products; returns the next group.
  template <int kRows>
  static inline __attribute__((always_inline)) const uint8_t* AddGroup(Reg (&sums)[kRows * kVectors], const float* a, size_t stride, size_t group, const uint8_t* packed) {
    const uint8_t* scales = packed;
    const uint8_t* words = packed + kPanel * sizeof(uint16_t);
    Reg parts[kRows * kVectors];
#pragma GCC unroll 16
    for (size_t i = 0; i < kRows * kVectors; ++i) parts[i] = V::Set(0.0f);
    for (size_t left = group / kWeights; left != 0; --left, a += kWeights, words += kPanel * sizeof(uint32_t)) {
      typename V::Words w[kVectors];
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) w[v] = V::LoadWords(words + v * kLanes * sizeof(uint32_t));
#pragma GCC unroll 8
      for (size_t p = 0; p < kWeights; ++p) {
        Reg x[kRows];
#pragma GCC unroll 4
        for (size_t i = 0; i < kRows; ++i) x[i] = V::Activation(a[i * stride + p]);
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v) {
          const Reg weights = V::WeightAt(w[v], p);
#pragma GCC unroll 4
          for (size_t i = 0; i < kRows; ++i) parts[i * kVectors + v] = V::Fma(x[i], weights, parts[i * kVectors + v]);
        }
      }
    }
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
      const Reg scale = V::LoadHalves(scales + v * kLanes * sizeof(uint16_t));
#pragma GCC unroll 4
      for (size_t i = 0; i < kRows; ++i) sums[i * kVectors + v] = V::Fma(scale, parts[i * kVectors + v], sums[i * kVectors + v]);
    }
    return words;
  }

  // Rows from `row` on, channels from `channel` on.
  template <int kRows>
  static __attribute__((noinline)) void Tile(const GemmF32W4Args* args, size_t row, size_t channel, const uint8_t* panel) {
    Reg sums[kRows * kVectors];
#pragma GCC unroll 16
    for (size_t i = 0; i < kRows * kVectors; ++i) sums[i] = V::Set(0.0f);
    const float* a = args->a + row * args->a_stride;
    for (size_t p = 0; p < args->k; p += args->group) panel = AddGroup<kRows>(sums, a + p, args->a_stride, args->group, panel);
    for (size_t v = 0; v < kVectors && channel + v * kLanes < args->n; ++v) {
      const size_t o = channel + v * kLanes;
      const typename V::Mask mask = V::MakeMask(args->n - o);
      const Reg bias = args->bias != nullptr ? V::LoadPart(args->bias + o, mask) : V::Set(0.0f);
      for (size_t i = 0; i < kRows; ++i) V::StorePart(args->y + (row + i) * args->y_stride + o, mask, V::Add(sums[i * kVectors + v], bias));
    }
  }

  template <int kRows = kMaxRows>
  static void RunTile(const GemmF32W4Args* args, size_t row, size_t rows, size_t channel, const uint8_t* panel) {
    if (rows >= kRows) return Tile<kRows>(args, row, channel, panel);
    if constexpr (kRows > 1) RunTile<kRows - 1>(args, row, rows, channel, panel);
  }

  static void Run(const GemmF32W4Args* args) {
    const uint8_t* panel = static_cast<const uint8_t*>(args->packed);
    for (size_t channel = 0; channel < args->n; channel += kPanel, panel += PanelBytes(args->k, args->group)) {
      for (size_t row = 0; row < args->m; row += kMaxRows) RunTile(args, row, args->m - row, channel, panel);
    }
  }
};

}  // namespace
}  // namespace sterna
